"""Holds the entries of one stream between the callers and the sender, numbers them, and keeps their account.

A draft comes from a handler in the caller's thread; a sender takes entries out in order and settles each one
as delivered or rejected, or hands it back. The buffer owns the account, so that every snapshot is taken at
one moment under one lock.

Guaranteed
- Every draft that ``append`` returned from has a ``seq``, and is waiting, in flight, or counted with a reason.
- The lock is held for a few steps only; no user code, no input or output and no logging runs under it.
- The short section may be entered again by the same thread (a signal handler, a destructor run by the
  collector): such a draft is parked in ``_inbox`` and numbered right after by the frame below. A plain RLock
  without parking lost entries, since the inner append ran between two steps of the outer one.
- A ``KeyboardInterrupt`` that lands inside the section is let through, after ``_repair`` has brought the
  counts in line with what the deque holds.
- What was dropped is told in the trail itself (an entry ``dropped``) once half of the room is free again, so
  there is always room for that entry and it is never dropped itself.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from defender_logging._pipeline import threads
from defender_logging._pipeline.chain import SEAL_BYTES, Chain, End, Mark, hashes_of
from defender_logging._pipeline.entry import Draft, Entry
from defender_logging._pipeline.ranges import Ranges
from defender_logging.clock import SYSTEM_CLOCK, Clock, Wake
from defender_logging.metrics import Account, Stats

__all__ = ["CLOSED", "QUEUE_FULL", "Bounds", "Buffer", "Overflow"]

QUEUE_FULL = "queue_full"
"""Reason of a drop: ``max_queue_bytes`` was reached."""

CLOSED = "closed"
"""Reason of a drop: the record was made after ``close()``."""

INTERRUPTED = "interrupted"
"""Reason of a drop: an exception of a signal handler landed in the one step that cannot be undone."""

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


class Buffer:
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
        self.stream = stream
        self.wake = wake
        self._bounds = bounds
        self._describe_drops = describe_drops
        self._tell = tell
        self._chain = chain
        self._clock = clock
        self._tail_start = f',"id":"{stream}-'.encode()
        self._tail_middle = f'","stream":"{stream}","seq":'.encode()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._inbox: deque[Draft] = deque()
        self._is_inside = False
        self._entries: deque[Entry] = deque()
        self._in_flight: dict[int, Entry] = {}
        self._own: set[int] = set()
        self._waiting_bytes = 0
        self._flight_bytes = 0
        self._last_seq = 0
        self._untold: dict[str, Ranges] = {}
        self._is_closed = False
        self._account = Account()

    def append(self, draft: Draft) -> None:
        """Number a draft and keep it, or drop by the overflow policy; never raises, blocks only by policy.

        Threads: any; may be entered again by the same thread.
        """
        if sys.is_finalizing():
            self._outlive_threads()
        with self._lock:
            if self._bounds.overflow is Overflow.BLOCK:
                self._wait_for_room(draft)
            self._inbox.append(draft)
            # Checked anew after each round: a signal handler may have parked a draft in the last instant.
            while self._inbox and not self._is_inside:
                self._empty_inbox()

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
                while self._inbox and not self._is_inside:
                    self._empty_inbox()

    def count_vocabulary_error(self) -> None:
        """Count a record that goes out with ``vocabulary_errors``."""
        with self._lock:
            self._account.vocabulary_errors += 1

    def _outlive_threads(self) -> None:
        """At interpreter shutdown all other threads are gone for good, one of them perhaps with the lock."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
            return
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._is_inside = False
        self._repair()

    def _empty_inbox(self) -> None:
        self._is_inside = True
        draft: Draft | None = None
        before = 0
        try:
            while self._inbox:
                if self._chain is not None and not self._is_closed and self._inbox[0] is not _END:
                    self._number_due(self._chain)
                before = self._last_seq
                draft = self._inbox[0]
                if draft.head:
                    self._number(draft)
                elif draft is _END and self._chain is not None:
                    self._number_end(self._chain)
                self._inbox.popleft()
                draft = None
        except BaseException:
            self._repair()
            if draft is not None and self._last_seq > before and self._inbox and self._inbox[0] is draft:
                self._inbox.popleft()  # Numbered before the interruption, and not to be numbered twice.
            raise
        finally:
            self._is_inside = False

    def _number(self, draft: Draft, *, is_own: bool = False) -> None:
        """Take the next ``seq``, splice the tail on, keep or drop."""
        seq = self._last_seq + 1
        line = self._line(draft)
        size = len(line)
        is_full = self._waiting_bytes + self._flight_bytes + size > self._bounds.max_queue_bytes
        if (is_full or self._is_closed) and not is_own and not self._find_room(size):
            self._drop(seq, CLOSED if self._is_closed else QUEUE_FULL)
            self._last_seq = seq
            if not self._entries and not self._in_flight:
                self._tell_drops()
            return
        self._entries.append(Entry(seq, line))
        self._waiting_bytes = waiting = self._waiting_bytes + size
        self._last_seq = seq
        if is_own:
            self._own.add(seq)
        count = len(self._entries)
        if count in (1, self._bounds.wake_entries) or waiting - size < self._bounds.wake_bytes <= waiting:
            self.wake.set()

    def _number_due(self, chain: Chain) -> None:
        """Write what the chain wants to stand before the next entry."""
        seq = self._last_seq + 1
        mark = chain.due(seq, self._clock.monotonic())
        if mark is not None:
            self._number(self._describe_mark(chain, mark), is_own=mark is Mark.STARTED)

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
        digits = b"%d" % seq
        marks = b"" if self._chain is None else self._chain.seal(seq, draft.core)
        return b"".join((draft.head, marks, self._tail_start, digits, self._tail_middle, digits, draft.foot))

    def _size(self, draft: Draft) -> int:
        """Return how long the line of a draft will be, without finishing it."""
        marks = 0 if self._chain is None else SEAL_BYTES
        digits = len(str(self._last_seq + 1))
        tail = len(self._tail_start) + len(self._tail_middle) + 2 * digits
        return len(draft.head) + marks + tail + len(draft.foot)

    def _repair(self) -> None:
        """Bring the counts in line with what is held, after an interruption between two steps of ``_number``."""
        account = self._account
        self._waiting_bytes = sum(len(entry.line) for entry in self._entries)
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

    @contextmanager
    def _section(self) -> Iterator[None]:
        """Hold the lock for the sender's side; drafts that arrive meanwhile from this thread are parked."""
        with self._lock:
            was_inside, self._is_inside = self._is_inside, True
            try:
                yield
            finally:
                self._is_inside = was_inside
                self._changed.notify_all()
                while self._inbox and not self._is_inside:
                    self._empty_inbox()

    def take(self, max_entries: int, max_bytes: int) -> tuple[Entry, ...]:
        """Move the oldest entries into flight: as many as fit, at least one if any waits.

        Threads: senders only.
        """
        taken: list[Entry] = []
        with self._section():
            room = max_bytes
            while self._entries and len(taken) < max_entries:
                # One byte for the separator; two more for the brackets are the destination's business.
                size = len(self._entries[0].line)
                if taken and size + 1 > room:
                    break
                entry = self._entries.popleft()
                taken.append(entry)
                self._in_flight[entry.seq] = entry
                self._waiting_bytes -= size
                self._flight_bytes += size
                room -= size + 1
        return tuple(taken)

    def settle(self, delivered: Iterable[Entry], rejected: Iterable[tuple[Entry, str]] = ()) -> None:
        """Count entries in flight as delivered or rejected (with a reason), and let them go.

        Threads: senders only.
        """
        with self._section():
            account = self._account
            before = account.delivered
            for entry in delivered:
                self._land(entry)
                account.delivered += 1
            for entry, reason in rejected:
                self._land(entry)
                account.rejected_by_reason[reason] += 1
            if account.delivered > before:
                account.last_success_unix_seconds = self._clock.time()
            self._tell_drops()

    def hand_back(self, entries: Sequence[Entry]) -> None:
        """Put entries in flight back to the front, for another sender. Threads: senders only."""
        with self._section():
            for entry in reversed(entries):
                line = self._in_flight.pop(entry.seq)
                self._flight_bytes -= len(line.line)
                self._waiting_bytes += len(line.line)
                self._entries.appendleft(line)
        self.wake.set()

    def _land(self, entry: Entry) -> None:
        self._flight_bytes -= len(self._in_flight.pop(entry.seq).line)
        self._own.discard(entry.seq)

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
        """How many entries wait to be taken; without the lock, so only a hint."""
        return len(self._entries)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait to be taken; without the lock, so only a hint."""
        return self._waiting_bytes

    @property
    def pending(self) -> int:
        """How many entries are not settled."""
        with self._lock:
            return self._held()

    def wait_settled(self, deadline: float) -> bool:
        """Wait until all that was accepted before this call is settled; False when ``deadline`` passes first.

        Args:
            deadline: a moment of the clock's ``monotonic``.
        """
        with self._lock:
            # What an interrupted append has left there would be numbered by the sender, behind our back.
            while self._inbox and not self._is_inside:
                self._empty_inbox()
            last = self._last_seq
            while self._lowest_pending() <= last:
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
