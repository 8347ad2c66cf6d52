"""Sets entries and damaged bytes of one stream aside as dead letters, and remembers what people have to be told.

The sender brings entries that the receiver refuses for good, the survey and the backlog bring damaged bytes; they
go to ``dead_letters``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from defender_logging._pipeline.entry import Entry
from defender_logging._pipeline.spool.dead_letters import DeadLetter, DeadLetters
from defender_logging._pipeline.spool.home import Home
from defender_logging._pipeline.spool.survey import Damage
from defender_logging._pipeline.spool.system import FileSystem, SpoolError, spool_error
from defender_logging.clock import Clock

__all__ = ["DAMAGED", "Shelf"]

DAMAGED = "damaged"
"""Reason of a dead letter: the bytes on the disk are not those that were written."""


class Shelf:
    """What one stream has set aside. Threads: one at a time.

    Args:
        fs: the file system.
        stream: name of the stream.
        ensure_home: makes the stream's directory if it is not there.
        max_bytes: bound of the dead letters.
        clock: for their time stamps.
    """

    def __init__(
        self, fs: FileSystem, stream: str, ensure_home: Callable[[], Home], max_bytes: int, clock: Clock
    ) -> None:
        self._fs = fs
        self._stream = stream
        self._ensure_home = ensure_home
        self._max_bytes = max_bytes
        self._clock = clock
        self._damage: list[Damage] = []
        self._lost_count = 0

    def set_aside(self, entry: Entry, reason: str, answer: str) -> None:
        """Keep an entry. Raises ``SpoolError`` if it is not kept."""
        self._append(
            DeadLetter(
                f"{self._stream}-{entry.seq}", reason, answer, entry.seq, self._clock.time(), entry.line
            )
        )

    def set_damage_aside(self, found: Iterable[Damage]) -> None:
        """Keep damaged bytes; the torn end of a file, whose ``append`` never returned, is only told."""
        for damage in found:
            self._damage.append(damage)
            if damage.content and not damage.is_torn:
                place = f"{self._stream}-damaged-{damage.segment_number}-{damage.offset}"
                with contextlib.suppress(SpoolError):  # The damage is told in any case.
                    self._append(DeadLetter(place, DAMAGED, "", None, self._clock.time(), damage.content))

    def _append(self, letter: DeadLetter) -> None:
        try:
            home = self._ensure_home()
        except OSError as error:
            raise spool_error("making the stream's directory", error) from error
        self._lost_count += DeadLetters(self._fs, home.path, self._max_bytes).append(letter)

    def take_damage(self) -> list[Damage]:
        """Return the damage brought since the last call."""
        found, self._damage = self._damage, []
        return found

    def take_lost(self) -> int:
        """Return how many letters had to go for newer ones since the last call."""
        count, self._lost_count = self._lost_count, 0
        return count

    def remove_if_empty(self, home: Home) -> None:
        """Remove the files if no letter is left in them. Raises ``OSError`` if they are still there."""
        DeadLetters(self._fs, home.path, self._max_bytes).remove_if_empty()
