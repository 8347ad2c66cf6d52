"""The oracle: it knows every entry that was logged, and holds the receivers and the accounts against that.

Every fault case of this folder ends with one ``oracle.assert_conserved(...)``. What it looks at:

- **account**: the identity of every snapshot; ``delivered`` is what the receivers really have.
- **conservation**: every logged ticket has arrived, but for those that a class of the account explains.
- **integrity**: what arrived for a ticket is what was logged, each time; one ticket has one id, one id one ticket.
- **duplicates**: none unless the case says so; always the same id with the same content.
- **order**: first arrivals rise within a stream, and the entries of one thread keep the order of its calls.
- **liveness**: after the fault every handler settles all that it holds, within ``LIVE_SECONDS``.
- **non-vacuity**: the fault was really met (``fired``), and no scripted answer is left unused.

A ticket is the number that the oracle puts into each record as an extra; an entry of another process has the number
that this process chose (``Oracle.note``). How to write a case: see tests/faults/README.md.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass, replace

from defender_logging.testing import LocalReceiver

LIVE_SECONDS = 20
"""A handler that has not settled all by then, with a receiver that answers, is taken for dead."""


def digest(fields: Mapping[str, object]) -> str:
    """A hash of some fields that does not depend on their order."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Oracle:
    """Every entry that was logged in one test, by its ticket. Any thread may log."""

    def __init__(self):
        self._tickets = itertools.count(1)
        self._issued = {}

    def log(self, logger, count=1, *, message="record", level=logging.INFO, **extra):
        """Log ``count`` records with a ticket each, and return the tickets: all of these calls have returned.

        Args:
            logger: where.
            count: how many.
            message: logged with the ticket behind it.
            level: of all of them.
            extra: further fields; they and the message have to arrive as they are.
        """
        tickets = list(itertools.islice(self._tickets, count))
        for ticket in tickets:
            text = f"{message} {ticket}"
            logger.log(level, text, extra={"ticket": ticket, **extra})
            self.note(ticket, threading.get_ident(), message=text, **extra)
        return tickets

    def call(self, log, *args, extra=None, expected=None, **given):
        """Make one call as it stands, such as ``call(logger.info, "%d", "x", extra={...})``, and return its ticket.

        Args:
            log: a method of a logger.
            args: for it.
            extra: for it too; the ticket is added.
            expected: what must arrive, where the design says in which form; other fields are the case's business.
            given: further keywords for it.
        """
        ticket = next(self._tickets)
        log(*args, extra={"ticket": ticket, **(extra or {})}, **given)
        self.note(ticket, threading.get_ident(), **(expected or {}))
        return ticket

    def note(self, ticket, writer=None, **fields):
        """Remember a ticket whose call has returned, in whatever process, with the fields that must arrive.

        Args:
            ticket: what the entry has in ``ticket``, a number or a text.
            writer: the thread that logged it, by any name; its tickets are noted in the order of its calls. None
                where that order is not known.
            fields: what must arrive.
        """
        assert ticket not in self._issued, f"ticket {ticket} was issued twice"
        self._issued[ticket] = (writer, tuple(fields), digest(fields))

    @property
    def issued(self):
        """All tickets so far."""
        return set(self._issued)

    def assert_conserved(
        self,
        receivers,
        *accounts,
        fired,
        missing=0,
        duplicates=False,
        in_order=True,
        has_killed=False,
    ):
        """Assert everything that has to hold after a fault.

        Args:
            receivers: one receiver, or several that got the entries together.
            accounts: handlers, which get ``LIVE_SECONDS`` to settle; or snapshots (``Stats`` or dicts of them) of
                handlers in processes that have ended.
            fired: how often the fault was met, or a function that tells it after all has settled; 0 (or False) means
                that the test shows nothing.
            missing: the tickets that must not arrive, or how many: rejected, dropped, or lost where the design says so.
            duplicates: False for none; True where an answer was ambiguous; ``"seen"`` where there must be some.
            in_order: False where several streams' senders or requests in flight make no order.
            has_killed: True where a process died without telling its account, and maybe before it could tell its last
                tickets.

        Returns:
            The snapshots, as dicts.
        """
        receivers = [receivers] if isinstance(receivers, LocalReceiver) else list(receivers)
        for account in [*accounts, *accounts]:  # Twice: drops are told in the trail when there is room again.
            if isinstance(account, logging.Handler):
                assert account.flush(LIVE_SECONDS), f"not live after the fault: {account.stats()}"
        assert fired() if callable(fired) else fired, "the fault did not happen, so this test shows nothing"
        snapshots = [_counts(account) for account in accounts]
        entries = [entry for receiver in receivers for entry in map(_fields, receiver.entries)]
        self._assert_fault_is_over(receivers)
        arrived = _ids(entries)
        self._assert_accounts(snapshots, arrived, is_exact=not has_killed)
        self._assert_integrity(entries, may_be_unknown=has_killed)
        self._assert_nothing_else_is_missing(entries, missing)
        self._assert_duplicates(arrived, [] if has_killed else snapshots, duplicates)
        self._assert_drops_are_told_truly(entries)
        if in_order:
            self._assert_order(entries)
        return snapshots

    @staticmethod
    def _assert_fault_is_over(receivers):
        unused = [receiver.unused_answers for receiver in receivers]
        assert not any(unused), f"scripted answers that were never given: {unused}"

    @staticmethod
    def _assert_accounts(snapshots, arrived, *, is_exact):
        for counts in snapshots:
            classes = sum(counts[name] for name in ("delivered", "rejected", "dropped", "pending"))
            assert counts["accepted"] == classes, counts
            assert counts["dropped"] == sum(counts["dropped_by_reason"].values()), counts
            assert counts["rejected"] == sum(counts.get("rejected_by_reason", {}).values()), counts
        delivered = sum(counts["delivered"] for counts in snapshots)
        if snapshots and is_exact:
            # An entry may have arrived whose confirmation did not.
            in_doubt = sum(counts["pending"] for counts in snapshots)
            assert delivered <= len(arrived) <= delivered + in_doubt, (len(arrived), snapshots)
        else:
            assert delivered <= len(arrived), (len(arrived), snapshots)

    def _assert_integrity(self, entries, *, may_be_unknown):
        ids = defaultdict(set)
        for entry in entries:
            ticket = entry.get("ticket")
            if ticket is None:
                assert "trail" in entry, f"nobody logged this: {entry}"
                continue
            ids[ticket].add(entry["id"])
            assert may_be_unknown or ticket in self._issued, f"nobody logged this: {entry}"
            if ticket in self._issued:
                _, names, expected = self._issued[ticket]
                found = {name: entry.get(name) for name in names}
                assert expected == digest(found), f"changed on the way: ticket {ticket} is {str(entry)[:500]}"
        twice = {ticket: found for ticket, found in ids.items() if len(found) > 1}
        assert not twice, f"logged once, arrived with several ids: {twice}"
        assert sum(map(len, ids.values())) == len(set().union(*ids.values())), "an id stands for two tickets"

    def _assert_nothing_else_is_missing(self, entries, missing):
        absent = self.issued - {entry.get("ticket") for entry in entries}
        if isinstance(missing, int):
            assert missing == len(absent), f"{len(absent)} missing, not {missing}: {sorted(absent)[:20]}"
        else:
            assert set(missing) == absent, (
                f"the missing ones are others: {sorted(absent ^ set(missing))[:20]}"
            )

    @staticmethod
    def _assert_duplicates(arrived, snapshots, duplicates):
        repeated = {entry_id: times for entry_id, times in arrived.items() if times > 1}
        if not duplicates:
            assert not repeated, f"arrived more than once: {dict(list(repeated.items())[:20])}"
        elif duplicates == "seen":
            assert repeated, "no duplicate was seen, though the case makes some"
        if snapshots and duplicates:
            possible = sum(counts["duplicates_possible"] for counts in snapshots)
            assert sum(repeated.values()) - len(repeated) <= possible, (
                f"not counted as possible duplicates: {repeated}"
            )

    @staticmethod
    def _assert_drops_are_told_truly(entries):
        arrived = {(entry["stream"], entry["seq"]) for entry in entries}
        for entry in entries:
            for first, last in entry.get("ranges", ()) if entry.get("trail") == "dropped" else ():
                told = {(entry["stream"], seq) for seq in range(first, last + 1)}
                assert not told & arrived, f"told as dropped, and arrived: {sorted(told & arrived)[:20]}"

    def _assert_order(self, entries):
        streams, writers, calls = defaultdict(list), defaultdict(list), {}
        for call, (ticket, (writer, _, _)) in enumerate(self._issued.items()):
            if writer is not None:
                calls[ticket] = (writer, call)
        first_arrivals = {}
        for entry in entries:
            first_arrivals.setdefault(entry["id"], entry)
        for entry in first_arrivals.values():
            if (
                "trail" not in entry
            ):  # What tells of drops may overtake a backlog on a disk that has no room for it.
                streams[entry["stream"]].append(entry["seq"])
            if entry.get("ticket") in calls:
                writer, call = calls[entry["ticket"]]
                writers[entry["stream"], writer].append((entry["seq"], call))
        for stream, seqs in streams.items():
            assert sorted(seqs) == seqs, f"stream {stream} arrived out of order"
        for pairs in writers.values():
            in_order = [call for _, call in sorted(pairs)]
            assert sorted(in_order) == in_order, "numbered in another order than one thread logged"


def _fields(entry):
    """The fields of a received entry; those of HEC's raw endpoint are a line of text."""
    return json.loads(entry.fields) if isinstance(entry.fields, str) else entry.fields


def _ids(entries):
    """How often each id has arrived."""
    found = defaultdict(int)
    for entry in entries:
        found[entry["id"]] += 1
    return found


def _counts(account):
    """One snapshot as a dict."""
    if isinstance(account, logging.Handler):
        account = account.stats()
    if not is_dataclass(account):
        return account
    plain = asdict(replace(account, dropped_by_reason={}, rejected_by_reason={}))
    return plain | {
        name: dict(getattr(account, name)) for name in ("dropped_by_reason", "rejected_by_reason")
    }
