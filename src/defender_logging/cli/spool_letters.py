"""Feeds dead letters to a sender as if they were a stream, and strikes out those that arrive.

``spool_sending`` makes one for each stream whose letters shall go; the sender takes entries from it as from any
buffer. A letter is struck out after the receiver has it, so a death in between sends it again with the same ``id``;
one that is refused once more stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from defender_logging._pipeline.entry import Entry
from defender_logging._pipeline.spool import DeadLetter, DeadLetters, SpoolError
from defender_logging._pipeline.spooled_buffer import SpooledBuffer


class LetterSource:
    """The dead letters of one stream that are entries. Threads: the sender's.

    Args:
        shelf: where they are struck out.
        letters: what to send.
        account: counts them as adopted entries.
    """

    is_closed = True

    def __init__(self, shelf: DeadLetters, letters: Iterable[DeadLetter], account: SpooledBuffer) -> None:
        self.wake = account.wake
        self._shelf = shelf
        self._account = account
        letters = [letter for letter in letters if letter.is_entry]
        self._ids = {letter.seq or 0: letter.id for letter in letters}
        self._waiting = [Entry(letter.seq or 0, letter.line) for letter in letters]
        self._in_flight = 0
        account.adopt(len(self._waiting))

    @property
    def pending(self) -> int:
        """How many are neither delivered nor refused again."""
        return len(self._waiting) + self._in_flight

    @property
    def waiting_entries(self) -> int:
        """How many wait to be taken."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait to be taken."""
        return sum(len(entry.line) for entry in self._waiting)

    def take(self, max_entries: int, max_bytes: int) -> tuple[Entry, ...]:
        """Move the oldest into flight: as many as fit, at least one."""
        count, size = 0, 0
        for entry in self._waiting[:max_entries]:
            size += len(entry.line) + 1
            if count and size > max_bytes:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        self._in_flight += count
        return tuple(taken)

    def settle(self, delivered: Iterable[Entry], rejected: Iterable[tuple[Entry, str]] = ()) -> None:
        """Strike out what arrived, and count."""
        arrived = list(delivered)
        reasons = [reason for _, reason in rejected]
        self._in_flight -= len(arrived) + len(reasons)
        self._account.settle_adopted(len(arrived), reasons, 0)
        if arrived:
            try:
                self._shelf.discard(self._ids[entry.seq] for entry in arrived)
            except SpoolError as error:
                self._account.note_failure(f"delivered, but not struck out: {error}", duplicates_possible=0)

    def hand_back(self, entries: Sequence[Entry]) -> None:
        """Put entries in flight back to the front."""
        self._in_flight -= len(entries)
        self._waiting = [*entries, *self._waiting]

    def count_request(self, *, is_retry: bool) -> None:
        """Count a request that begins."""
        self._account.count_request(is_retry=is_retry)

    def note_failure(self, reason: str, *, duplicates_possible: int) -> None:
        """Remember why a request failed."""
        self._account.note_failure(reason, duplicates_possible=duplicates_possible)
