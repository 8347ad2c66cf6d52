"""Serves the stream of a dead process to a sender, like a closed buffer; its entries count as accepted by the adopter.

The housekeeper finds an orphan, a sender takes what is in it in order, and settles it; the stream's directory goes
with its last entry. The account is the adopter's, a ``SpooledBuffer``, so that one snapshot holds both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from defender_logging._pipeline.entry import Entry
from defender_logging._pipeline.ranges import numbers_in
from defender_logging._pipeline.settling_calls import keep_dead_letters
from defender_logging._pipeline.spool.stream import StreamStore
from defender_logging._pipeline.spool.system import SpoolError
from defender_logging._pipeline.spooled_buffer import SpooledBuffer

__all__ = ["AdoptedBuffer"]


class AdoptedBuffer:
    """The rest of a dead process's stream, served by a sender like a closed buffer.

    Threads: the sender's, but for ``pending`` and ``abandon``.
    """

    is_closed = True

    def __init__(self, store: StreamStore, adopter: SpooledBuffer) -> None:
        self.stream = store.stream
        self.wake = adopter.wake
        self._store = store
        self._adopter = adopter
        self._left = store.unsettled_count
        self._read_seq = 0
        self._in_flight: dict[int, Entry] = {}
        self._handed_back: list[Entry] = []
        self._is_blind = False
        self._is_finished = False
        adopter.adopt(self._left)

    @property
    def pending(self) -> int:
        """How many entries are not settled."""
        return self._left

    @property
    def is_finished(self) -> bool:
        """True once all is settled, written down, and the stream is let go."""
        return self._is_finished

    @property
    def waiting_entries(self) -> int:
        """How many entries wait to be taken."""
        return len(self._handed_back) if self._is_blind else self._left - len(self._in_flight)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait to be taken, roughly."""
        return self._store.unsettled_bytes

    def take(self, max_entries: int, max_bytes: int) -> tuple[Entry, ...]:
        """Read the oldest entries and move them into flight."""
        if self._handed_back:
            count, room = 1, max_bytes - len(self._handed_back[0].line) - 1
            for entry in self._handed_back[1:max_entries]:
                room -= len(entry.line) + 1  # For the separator, as when it is read.
                if room < 0:
                    break
                count += 1
            chunk, self._handed_back = self._handed_back[:count], self._handed_back[count:]
        else:
            try:
                chunk = self._store.read_after(self._read_seq, max_bytes, max_entries)
            except SpoolError as error:
                self._is_blind = True
                self._adopter.note_failure(f"the spool cannot be read: {error}", duplicates_possible=0)
                return ()
            if chunk:
                self._read_seq = chunk[-1].seq
        self._count_damage()
        self._in_flight.update((entry.seq, entry) for entry in chunk)
        return tuple(chunk)

    def look_again(self) -> None:
        """Try again what has failed, to read or to write down what is settled; for the housekeeper."""
        self._finish_if_done()
        if self._is_blind:
            self._is_blind = False
            self.wake.set()

    def _count_damage(self) -> None:
        lost = sum(len(list(numbers_in(found.lost))) for found in self._store.take_damage())
        if lost:
            self._left -= lost
            self._finish_if_done()
            self._adopter.settle_adopted(0, (), lost)

    def settle(self, delivered: Sequence[Entry], rejected: Sequence[tuple[Entry, str]] = ()) -> None:
        """Write down what is settled, then count it for the adopter."""
        keep_dead_letters(self._store, rejected, self._adopter.last_error)
        self._store.settle([entry.seq for entry in (*delivered, *(entry for entry, _ in rejected))])
        self._adopter.write_cursor_of(self._store)
        for entry in (*delivered, *(entry for entry, _ in rejected)):
            del self._in_flight[entry.seq]
        self._left -= len(delivered) + len(rejected)
        self._finish_if_done()  # First: who hears that nothing is pending finds no stream either.
        self._adopter.settle_adopted(len(delivered), [reason for _, reason in rejected], 0)

    def _finish_if_done(self) -> None:
        # Not before its cursor is written: the next one who adopts it would send all of it again.
        if not self._left and not self._is_finished and self._adopter.write_cursor_of(self._store):
            self._is_finished = True
            with contextlib.suppress(SpoolError):
                self._store.close()

    def hand_back(self, entries: Sequence[Entry]) -> None:
        """Put entries in flight back to the front, for another sender."""
        for entry in entries:
            del self._in_flight[entry.seq]
        self._handed_back = [*entries, *self._handed_back]
        self.wake.set()

    def count_request(self, *, is_retry: bool) -> None:
        """Count a request that begins, for the adopter."""
        self._adopter.count_request(is_retry=is_retry)

    def note_failure(self, reason: str, *, duplicates_possible: int) -> None:
        """Remember why a request failed, for the adopter."""
        self._adopter.note_failure(reason, duplicates_possible=duplicates_possible)

    def let_go(self) -> None:
        """Write down what is settled and release the stream; what is left is an orphan again."""
        with contextlib.suppress(SpoolError):
            self._store.close()

    def abandon(self) -> None:
        """Close the parent's descriptors in a forked child."""
        self._store.abandon()
