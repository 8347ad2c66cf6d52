"""Knows which segment holds which unsettled number, and so all counts of a stream.

The writer adds numbers, the sender settles them, the backlog asks for the next one, the cursor is computed from
it. It does no input or output. Everything is guarded by ``lock``, held for a few steps; appending may enter again
between the steps of settling (a signal handler, a destructor), so each step leaves a consistent state.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple

from defender_logging._pipeline.ranges import Ranges
from defender_logging._pipeline.spool.cursor import Cursor
from defender_logging._pipeline.spool.segments import Segment

__all__ = ["Catalogue", "Stretch"]


class Stretch(NamedTuple):
    """Unsettled numbers that stand in one segment, with no number of another segment in between.

    ``wanted`` is a copy; only its numbers from ``first`` to below ``limit`` (None: no limit) belong to the stretch.
    """

    segment: Segment
    first: int
    limit: int | None
    wanted: Ranges


class Catalogue:
    """The segments of one stream, oldest first. Threads: any."""

    def __init__(self, segments: Iterable[Segment] = (), last_seq: int = 0) -> None:
        self.lock = threading.RLock()
        self.segments: list[Segment] = []
        self.absent = Ranges()
        """Numbers that are pending and in no file: the disk did not take them, and the buffer has them in memory."""
        self.last_seq = last_seq
        self.next_number = 1
        self.replace(segments)

    def reserve_number(self) -> int:
        """Take the number of the next segment."""
        with self.lock:
            number = self.next_number
            self.next_number = number + 1
            return number

    def add(self, segment: Segment) -> None:
        """Take a segment in, in its place by number."""
        with self.lock:
            self.segments.append(segment)
            self.segments.sort(key=lambda each: each.number)

    def replace(self, segments: Iterable[Segment]) -> None:
        """Take other segments for the ones known so far."""
        with self.lock:
            self.segments = list(segments)
            highest = max((segment.number for segment in self.segments), default=0)
            self.next_number = max(self.next_number, highest + 1)

    def remove(self, segment: Segment) -> None:
        """Forget a segment and what is in it."""
        with self.lock:
            if segment in self.segments:
                self.segments.remove(segment)

    def settle(self, seqs: Iterable[int]) -> int:
        """Strike numbers out; returns how many were in a file. Unknown and repeated ones count for nothing."""
        given = Ranges(seqs)
        with self.lock:
            for pair in given:
                self.absent.remove(*pair)
            return sum(
                last - first + 1
                for segment in tuple(self.segments)
                for pair in given
                for first, last in segment.unsettled.remove(*pair)
            )

    def cursor(self) -> Cursor:
        """Compute the cursor of this moment.

        It leaves out the absent numbers too: they may stand in a file the moment after.
        """
        with self.lock:
            unsettled = [pair for segment in self.segments for pair in segment.unsettled]
            unsettled += self.absent
            return Cursor.from_unsettled(unsettled, self._highest_in_files())

    def move_absent(self, seqs: Iterable[int], segment: Segment) -> int:
        """Let numbers that were written to ``segment`` stand there from now on; returns how many are still pending."""
        with self.lock:
            for seq in seqs:
                if self.absent.remove(seq, seq):
                    segment.unsettled.add(seq)
                segment.last_seq = max(
                    segment.last_seq, seq
                )  # Of settled ones too: the cursor has to cover them.
            self.last_seq = max(self.last_seq, segment.last_seq)
            return len(segment.unsettled)

    def finished(self) -> list[Segment]:
        """Sealed segments whose entries are all settled, and whose descriptor is closed.

        The one with the highest number is none of them: a cursor ahead of all files would not be believed.
        """
        with self.lock:
            highest = self._highest_in_files()
            return [
                each
                for each in self.segments
                if each.is_sealed and each.fd is None and not each.unsettled and each.last_seq < highest
            ]

    def _highest_in_files(self) -> int:
        return max((segment.last_seq for segment in self.segments), default=0)

    def stretch_after(self, seq: int) -> Stretch | None:
        """Find where the lowest unsettled number above ``seq`` stands; None if there is none."""
        with self.lock:
            nexts = sorted(
                (number, at)
                for at, segment in enumerate(self.segments)
                if (number := segment.unsettled.next_from(seq + 1)) is not None
            )
            if not nexts:
                return None
            first, at = nexts[0]
            segment = self.segments[at]
            limit = nexts[1][0] if len(nexts) > 1 else None
            return Stretch(segment, first, limit, segment.unsettled.copy())

    @property
    def unsettled_count(self) -> int:
        """How many entries are neither delivered nor given up."""
        with self.lock:
            return sum(len(segment.unsettled) for segment in self.segments)

    @property
    def pending_count(self) -> int:
        """How many entries are neither delivered nor given up, those in memory only among them."""
        with self.lock:
            return self.unsettled_count + len(self.absent)

    @property
    def unsettled_bytes(self) -> int:
        """Bytes of the files that hold an unsettled entry."""
        with self.lock:
            return sum(segment.end for segment in self.segments if segment.unsettled)
