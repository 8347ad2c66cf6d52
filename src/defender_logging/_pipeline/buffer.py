"""Holds the entries of one stream between the callers and the sender, numbers them, and keeps their account.

A draft comes from a handler in the caller's thread; a sender takes entries out in order and settles each one
as delivered or rejected, or hands it back. The buffer owns the account, so that every snapshot is taken at
one moment under one lock.

Guaranteed
- Every draft that ``append`` returned from has a ``seq``, and is waiting, in flight, or counted with a reason.
- ``append`` puts a draft into ``_inbox``, one step in C. It is numbered there and then, or, while entries wait
  ahead of it, together with others, by the sender or at last by a caller: a lock, a number and a count for each
  would cost the caller more than all the rest. All that looks at the account empties the inbox first. The
  section in which that is done, and what may interrupt it, is in ``inbox``.
- What was dropped is told in the trail itself (an entry ``dropped``) once half of the room is free again, so
  there is always room for that entry and it is never dropped itself.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

from defender_logging._pipeline import threads
from defender_logging._pipeline.chain import SEAL_BYTES, Chain, End, Mark, hashes_of
from defender_logging._pipeline.entry import Draft, Entry, new_entry
from defender_logging._pipeline.inbox import Inbox
from defender_logging._pipeline.ranges import Ranges
from defender_logging._pipeline.runs import (
    bytes_of,
    count_fitting,
    count_fitting_drafts,
    discard_keys,
    discard_left,
    seqs_of,
)
from defender_logging.clock import SYSTEM_CLOCK, Clock, Wake
from defender_logging.metrics import Account, Stats

__all__ = ["CLOSED", "QUEUE_FULL", "Bounds", "Buffer", "Overflow"]

QUEUE_FULL = "queue_full"
"""Reason of a drop: ``max_queue_bytes`` was reached."""

CLOSED = "closed"
"""Reason of a drop: the record was made after ``close()``."""

INTERRUPTED = "interrupted"
"""Reason of a drop: an exception of a signal handler landed in the one step that cannot be undone."""

MAX_PARKED = 1024
"""Most drafts that wait for their numbers (and one for each thread that appends in the same instant)."""

WAKE_PARKED = MAX_PARKED // 4
"""The sender is woken to number them when so many wait; where it is busy, a caller does it at the most."""

PARKED_SHARE = 8
"""They are at most this part of ``max_queue_bytes``: the bound stays as good as exact."""

MAX_TOLD_RANGES = 100
"""Most ranges in one ``dropped`` entry."""

_BEGIN, _END = Draft(b"", b"begin"), Draft(b"", b"end")
"""Parked like drafts: what the chain writes of its own is numbered in the same short section."""


class Overflow(str, Enum):
    """What happens to a record for which there is no room."""

    DROP_NEWEST = "drop_newest"
    DROP_OLDEST = "drop_oldest"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a buffer holds, and when it wakes its sender.

    Attributes:
        max_queue_bytes: of all entries not yet settled.
        overflow: what happens beyond.
        block_timeout_seconds: longest wait of one call with ``Overflow.BLOCK``.
        wake_entries: a waiting sender is woken early when this many entries wait,
        wake_bytes: or this many bytes.
    """

    max_queue_bytes: int
    overflow: Overflow
    block_timeout_seconds: float
    wake_entries: int
    wake_bytes: int


class _Settling(NamedTuple):
    """Entries that leave, and what the account says then."""

    gone: Sequence[Entry]
    delivered: int
    rejected_by_reason: Counter[str]


class Buffer(Inbox):
    """The entries of one stream. Any thread may append; the others say who may call them.

    Args:
        stream: name of the stream, ASCII.
        bounds: see ``Bounds``.
        wake: set when the sender should look.
        describe_drops: makes the draft that tells of drops, from a reason, ranges and a count.
        tell: takes a sentence for people, when drops begin; must not block or log.
        chain: chains the entries; None: they are not chained.
        clock: for the wait of ``Overflow.BLOCK``.
    """

    _may_park = True

    def __init__(
        self,
        stream: str,
        bounds: Bounds,
        *,
        wake: Wake,
        describe_drops: Callable[[str, Sequence[Sequence[int]], int], Draft],
        tell: Callable[[str], None],
        chain: Chain | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__()
        self.stream = stream
        self.wake = wake
        self._bounds = bounds
        self._may_block = bounds.overflow is Overflow.BLOCK
        may_park = self._may_park and bounds.wake_entries >= 2 * WAKE_PARKED
        self._max_parked_bytes = bounds.max_queue_bytes // PARKED_SHARE // MAX_PARKED if may_park else 0
        self._describe_drops = describe_drops
        self._tell = tell
        self._chain = chain
        self._clock = clock
        self._numbered = f'%b,"id":"{stream}-%d","stream":"{stream}","seq":%d%b'.encode()
        self._tail_bytes = len(self._numbered) - len("%b%d%d%b")
        self._entries: deque[Entry] = deque()
        self._in_flight: dict[int, bytes] = {}
        self._own: set[int] = set()
        self._settling: _Settling | None = None
        self._waiting_bytes = 0
        self._flight_bytes = 0
        self._untold: dict[str, Ranges] = {}
        self._is_closed = False
        self._account = Account()

    def append(self, draft: Draft) -> None:
        """Keep a draft for its number, or drop it by the overflow policy; never raises, blocks only by policy.

        Threads: any; may be entered again by the same thread.
        """
        if self._may_block:
            with self._lock:
                self._wait_for_room(draft)
                self._inbox.append(draft)
                self._number_all()
            return
        self._inbox.append(draft)
        # In this order: the sender, when it has taken the last entry, looks at the inbox before it sleeps.
        if len(draft.head) < self._max_parked_bytes and self._entries:
            parked = len(self._inbox)
            if parked < MAX_PARKED:
                if parked == WAKE_PARKED:
                    self.wake.set()
                return
        if sys.is_finalizing():
            self._outlive_threads()
        with self._lock:
            self._number_all()

    def begin(self) -> None:
        """Write ``started`` now instead of before the first entry; nothing without a chain. Any thread."""
        self._park(_BEGIN)

    def end(self) -> None:
        """Write ``stopped`` unless it is the last entry already; nothing without a chain. Any thread.

        For when nothing will follow: entries after it could be cut off unnoticed, up to the next ``stopped``.
        """
        self._park(_END)

    @property
    def is_chained(self) -> bool:
        """Whether the entries carry ``prev`` and ``hash``."""
        return self._chain is not None

    def append_end_of(self, end: End) -> None:
        """Close the chained stream of a dead process with an entry in this one, which is chained. Any thread."""
        if self._chain is not None:
            self.append(self._chain.describe_end_of(end))

    def _park(self, mark: Draft) -> None:
        if self._chain is not None:
            with self._lock:
                self._inbox.append(mark)
                self._number_all()

    def count_vocabulary_error(self) -> None:
        """Count a record that goes out with ``vocabulary_errors``."""
        with self._lock:
            self._account.vocabulary_errors += 1

    def _number_what_comes_before(self, draft: Draft) -> None:
        """Write what the chain wants to stand before the next entry."""
        if self._chain is None or self._is_closed or draft is _END:
            return
        mark = self._chain.due(self._last_seq + 1, self._clock.monotonic())
        if mark is not None:
            self._number(self._describe_mark(self._chain, mark), is_own=mark is Mark.STARTED)

    def _number_one(self, draft: Draft) -> None:
        if draft.head:
            self._number(draft)
        elif draft is _END and self._chain is not None:
            self._number_end(self._chain)

    def _next_drafts(self) -> Sequence[Draft]:
        """Return the drafts to number next: all for which there is room, or the first if there is none for it."""
        inbox = self._inbox
        first = inbox[0]
        if len(inbox) > 1 and self._chain is None and not self._is_closed and self._may_park:
            room = self._bounds.max_queue_bytes - self._waiting_bytes - self._flight_bytes
            # Asked first: else each draft that is dropped would cost a look at all.
            if self._size(first) <= room:
                # A list, since it is there before the iterator is: a collection in between may bring drafts.
                drafts = [*inbox]
                digits = 2 * len(str(self._last_seq + len(drafts)))
                return drafts[: count_fitting_drafts(drafts, self._tail_bytes + digits, room)] or (first,)
        return (first,)

    def _number(self, draft: Draft, *, is_own: bool = False) -> None:
        """Take the next ``seq``, splice the tail on, keep or drop."""
        seq = self._last_seq + 1
        line = self._line(draft)
        size = len(line)
        bounds = self._bounds
        is_full = self._waiting_bytes + self._flight_bytes + size > bounds.max_queue_bytes
        if (is_full or self._is_closed) and not is_own and not self._find_room(size):
            self._drop(seq, CLOSED if self._is_closed else QUEUE_FULL)
            self._last_seq = seq
            if not self._entries and not self._in_flight:
                self._tell_drops()
            return
        entries, waiting = self._entries, self._waiting_bytes
        entries.append(new_entry((seq, line)))
        self._waiting_bytes = waiting + size
        self._last_seq = seq
        if is_own:
            self._own.add(seq)
        self._wake_if_due(len(entries) - 1, waiting)

    def _wake_if_due(self, entries_before: int, bytes_before: int) -> None:
        """Wake the sender if what came is the first to wait, or makes it enough."""
        bounds = self._bounds
        if (
            not entries_before
            or entries_before < bounds.wake_entries <= len(self._entries)
            or bytes_before < bounds.wake_bytes <= self._waiting_bytes
        ):
            self.wake.set()

    def _number_run(self, drafts: Sequence[Draft]) -> None:
        """Number drafts for which there is room, as ``_number`` does each, at a third of the cost."""
        first = self._last_seq + 1
        numbered, entries = self._numbered, self._entries
        lines = [numbered % (head, seq, seq, foot) for seq, (head, foot, _) in enumerate(drafts, first)]
        run = tuple(map(new_entry, enumerate(lines, first)))
        waiting, count = self._waiting_bytes, len(entries)
        entries.extend(run)
        self._waiting_bytes = waiting + sum(map(len, lines))
        self._last_seq = first + len(run) - 1
        self._wake_if_due(count, waiting)

    def _number_end(self, chain: Chain) -> None:
        if chain.is_open(self._last_seq + 1):
            self._number(self._describe_mark(chain, Mark.STOPPED), is_own=True)

    def _describe_mark(self, chain: Chain, mark: Mark) -> Draft:
        account = self._account
        return chain.describe(
            mark,
            self._last_seq + 1,
            dropped=_total(account.dropped_by_reason),
            rejected=_total(account.rejected_by_reason),
        )

    def _line(self, draft: Draft) -> bytes:
        """Splice the tail on, with the number that is next, and what chains it to the entry before."""
        seq = self._last_seq + 1
        head, foot, core = draft
        if self._chain is not None:
            head += self._chain.seal(seq, core)
        return self._numbered % (head, seq, seq, foot)

    def _size(self, draft: Draft) -> int:
        """Return how long the line of a draft will be, without finishing it."""
        marks = 0 if self._chain is None else SEAL_BYTES
        digits = 2 * len(str(self._last_seq + 1))
        return len(draft.head) + marks + self._tail_bytes + digits + len(draft.foot)

    def _repair(self) -> None:
        """Bring the counts in line with what is held, after an interruption between two steps."""
        account = self._account
        self._finish_settling()
        # Those that are in both are not taken yet, or handed back already.
        discard_keys(self._in_flight, seqs_of(self._entries))
        self._waiting_bytes = bytes_of(self._entries)
        self._flight_bytes = sum(map(len, self._in_flight.values()))
        settled = account.delivered + _total(account.rejected_by_reason) + _total(account.dropped_by_reason)
        surplus = settled + self._held() - self._accepted()
        if surplus > 0:
            self._last_seq += surplus
        elif surplus < 0:
            account.dropped_by_reason[INTERRUPTED] -= surplus
        self.wake.set()

    def _accepted(self) -> int:
        return self._last_seq

    def _held(self) -> int:
        return len(self._entries) + len(self._in_flight)

    def _spool_bytes(self) -> int:
        return 0

    def _find_room(self, size: int) -> bool:
        """Make room where the policy says so; False if the new entry must go."""
        if self._is_closed or self._bounds.overflow is not Overflow.DROP_OLDEST:
            return False
        bound = self._bounds.max_queue_bytes - self._flight_bytes - size
        if bound < 0:
            return False
        spared: list[Entry] = []
        while self._entries and self._waiting_bytes > bound:
            entry = self._entries.popleft()
            if entry.seq in self._own:
                spared.append(entry)
                continue
            self._waiting_bytes -= len(entry.line)
            self._drop(entry.seq, QUEUE_FULL, entry.line)
        self._entries.extendleft(reversed(spared))
        return self._waiting_bytes <= bound

    def _drop(self, seq: int, reason: str, line: bytes = b"") -> None:
        """Count an entry as dropped; ``line`` is what was kept of it, where that is at hand."""
        if self._chain is not None:
            self._drop_from(self._chain, seq, reason, line)
        if reason != CLOSED:  # Nothing is sent after close(), so nothing could tell of it.
            if reason not in self._untold:
                self._untold[reason] = Ranges()
                self._tell(
                    f"the queue is full (max_queue_bytes is {self._bounds.max_queue_bytes}): entries are lost by "
                    f"overflow {self._bounds.overflow.value!r}, beginning with seq {seq}; the trail will tell "
                    "which, and a larger max_queue_bytes gives longer outages room"
                )
            self._untold[reason].add(seq)
        self._account.dropped_by_reason[reason] += 1

    def _drop_from(self, chain: Chain, seq: int, reason: str, line: bytes) -> None:
        if seq > self._last_seq:
            before = after = chain.drop_newest()
        else:
            before, after = hashes_of(line)
        if reason != CLOSED:
            chain.note_gap(seq, reason, before, after)

    def _wait_for_room(self, draft: Draft) -> None:
        """Wait, with the lock let go meanwhile, so that the numbering that follows finds the room still there."""
        deadline = self._clock.monotonic() + self._bounds.block_timeout_seconds
        size = self._size(draft)
        while self._waiting_bytes + self._flight_bytes + size > self._bounds.max_queue_bytes:
            left = deadline - self._clock.monotonic()
            if left <= 0 or self._is_inside or self._is_closed or threads.is_ours():
                return
            self._changed.wait(min(left, threading.TIMEOUT_MAX))

    def take(self, max_entries: int, max_bytes: int) -> tuple[Entry, ...]:
        """Move the oldest entries into flight: as many as fit, at least one if any waits.

        Threads: senders only.
        """
        with self._section():
            # A byte for each separator; two more for the brackets are the destination's business.
            count = count_fitting(self._entries, max_entries, max_bytes)
            taken = tuple(islice(self._entries, count))
            size = bytes_of(taken)
            # In this order: whatever interrupts it, no entry is nowhere, and ``_repair`` finds those that are twice.
            self._in_flight.update(taken)
            discard_left(self._entries, count)
            self._waiting_bytes -= size
            self._flight_bytes += size
        return taken

    def settle(self, delivered: Sequence[Entry], rejected: Sequence[tuple[Entry, str]] = ()) -> None:
        """Count entries in flight as delivered or rejected (with a reason), and let them go.

        Threads: senders only.
        """
        with self._section():
            account = self._account
            # Lists: CPython 3.12 and 3.13 crash where there is no memory for a generator.
            refused, reasons = [entry for entry, _ in rejected], [reason for _, reason in rejected]
            gone = [*delivered, *refused]
            size = self._size_in_flight(gone)
            # Noted first: an interruption in its midst is made good by ``_repair``.
            self._settling = _Settling(
                gone, account.delivered + len(delivered), account.rejected_by_reason + Counter(reasons)
            )
            self._finish_settling()
            self._flight_bytes -= size
            if delivered:
                account.last_success_unix_seconds = self._clock.time()
            self._tell_drops()

    def _finish_settling(self) -> None:
        """Do what ``_settling`` says; may be done twice."""
        if self._settling is None:
            return
        self._let_go_of(self._settling.gone)
        self._account.delivered = self._settling.delivered
        self._account.rejected_by_reason = self._settling.rejected_by_reason
        self._settling = None

    def _let_go_of(self, entries: Sequence[Entry]) -> None:
        discard_keys(self._in_flight, seqs_of(entries))
        self._own.difference_update(seqs_of(entries))

    def hand_back(self, entries: Sequence[Entry]) -> None:
        """Put entries in flight back to the front, for another sender. Threads: senders only."""
        with self._section():
            back = {entry.seq: entry for entry in entries if entry.seq in self._in_flight}.values()
            size = self._size_in_flight(back)
            # In this order, as in ``take``.
            self._entries.extendleft(reversed(back))
            discard_keys(self._in_flight, seqs_of(back))
            self._flight_bytes -= size
            self._waiting_bytes += bytes_of(back)  # They may have become shorter since they were taken.
        self.wake.set()

    def _size_in_flight(self, entries: Iterable[Entry]) -> int:
        """Return what entries in flight count for."""
        return sum(map(len, map(self._in_flight.__getitem__, seqs_of(entries))))

    def _tell_drops(self) -> None:
        """Say in the trail what is missing, when there is room again."""
        while self._untold:
            free = self._bounds.max_queue_bytes - self._waiting_bytes - self._flight_bytes
            if 2 * free < self._bounds.max_queue_bytes:
                return
            reason, ranges = next(iter(self._untold.items()))
            told = ranges.take_first(MAX_TOLD_RANGES)
            count = sum(last - first + 1 for first, last in told)
            if not ranges:
                del self._untold[reason]
            if self._chain is not None:
                told = self._chain.with_hashes(reason, told)
            self._number(self._describe_drops(reason, told, count), is_own=True)

    def count_request(self, *, is_retry: bool) -> None:
        """Count a request that begins."""
        with self._section():
            self._account.requests += 1
            self._account.retries += is_retry

    def note_failure(self, reason: str, *, duplicates_possible: int) -> None:
        """Remember why a request failed, and how many entries may arrive twice because of it."""
        with self._section():
            self._account.last_error = reason
            self._account.duplicates_possible += duplicates_possible

    def close(self) -> None:
        """Refuse entries from now on; those that wait still go out. Any thread; never waits."""
        self.end()
        with self._section():
            self._is_closed = True
        self.wake.set()

    @property
    def is_closed(self) -> bool:
        """True after ``close``."""
        return self._is_closed

    @property
    def waiting_entries(self) -> int:
        """How many entries wait to be taken, when those in the inbox have their numbers; only a hint."""
        self._number_parked()
        return len(self._entries)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait to be taken, those in the inbox as well."""
        self._number_parked()
        return self._waiting_bytes

    @property
    def pending(self) -> int:
        """How many entries are not settled."""
        with self._lock:
            self._number_all()
            return self._held()

    def wait_settled(self, deadline: float) -> bool:
        """Wait until all that was accepted before this call is settled; False when ``deadline`` passes first.

        Args:
            deadline: a moment of the clock's ``monotonic``.
        """
        with self._lock:
            self._number_all()
            return self._wait_for(self._last_seq, deadline)

    def _wait_for(self, last_seq: int, deadline: float) -> bool:
        while self._lowest_pending() <= last_seq:
            left = deadline - self._clock.monotonic()
            # Inside: a signal handler flushes in the middle of an append of this very thread. Waiting
            # would let go of the lock with half a step done.
            if left <= 0 or self._is_inside:
                return False
            self._changed.wait(min(left, threading.TIMEOUT_MAX))
        return True

    def _lowest_pending(self) -> float:
        lowest = min(self._in_flight, default=float("inf"))
        return min(lowest, self._entries[0].seq) if self._entries else lowest

    def stats(self, *, filtered: int, state: str) -> Stats:
        """Take all counts at one moment."""
        with self._lock:
            self._number_all()
            account = self._account
            return Stats(
                accepted=self._accepted(),
                delivered=account.delivered,
                rejected=_total(account.rejected_by_reason),
                dropped=_total(account.dropped_by_reason),
                pending=self._held(),
                filtered=filtered,
                dropped_by_reason=MappingProxyType(dict(account.dropped_by_reason)),
                rejected_by_reason=MappingProxyType(dict(account.rejected_by_reason)),
                vocabulary_errors=account.vocabulary_errors,
                retries=account.retries,
                requests=account.requests,
                duplicates_possible=account.duplicates_possible,
                queue_bytes=self._waiting_bytes + self._flight_bytes,
                spool_bytes=self._spool_bytes(),
                last_error=account.last_error,
                last_success_unix_seconds=account.last_success_unix_seconds,
                state=state,
            )


def _total(counts: Counter[str]) -> int:
    return sum(counts.values())
