"""Judges hash chains: entries of any number of streams, in any order and repeated, to one ``StreamReport`` a stream.

``verify_entries`` has looked at each entry alone. Here its lines are sorted and walked, to look between the entries:
whether all are there, each ``prev`` is the ``hash`` before, and the end is one. docs/integrity.md has the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby
from typing import Any

from defender_logging._pipeline.integrity import GENESIS, Seal
from defender_logging._pipeline.ranges import Ranges
from defender_logging.cli.verify_entries import SHORT, UNKNOWN, Kind, Sighting, sighting_in, sightings
from defender_logging.cli.verify_sorting import sorted_lines


class Fault(str, Enum):
    """What can be wrong with a stream, worst first, as it is called in the output."""

    EDITED = "edited"
    TWO = "two different entries"
    BROKEN = "does not follow the entry before"
    GAP = "gap"
    CUT = "cut tail"
    LATE = "begins late"
    ABSENT = "absent"
    OPEN = "open end"
    UNKNOWN_KEY = "unknown key"
    UNKEYED = "sealed without a key"
    BARE = "not chained"


PARTIAL = frozenset({Fault.LATE, Fault.ABSENT, Fault.OPEN})
"""What is to be expected of a part of a trail, such as the export of a day."""


@dataclass
class StreamReport:
    """What is known about one stream when all is read.

    Attributes:
        stream: its name.
        entries: how many numbers are there.
        first: the lowest of them,
        last: and the highest; 0 if there are none.
        faults: numbers of the entries concerned, by what is wrong.
        dropped: numbers that are missing and that the trail itself tells of.
        duplicates: numbers that are there more than once, all the same.
    """

    stream: str
    entries: int = 0
    first: int = 0
    last: int = 0
    faults: dict[Fault, Ranges] = field(default_factory=dict)
    dropped: Ranges = field(default_factory=Ranges)
    duplicates: Ranges = field(default_factory=Ranges)

    def add(self, fault: Fault, first: int, last: int | None = None) -> None:
        """Note that something is wrong with the entries from ``first`` to ``last``."""
        self.faults.setdefault(fault, Ranges()).add_range(first, first if last is None else last)


def verify(
    entries: Iterable[Mapping[str, Any]], seals: Sequence[Seal], no_entry: Callable[[], None] = lambda: None
) -> Iterator[StreamReport]:
    """Verify entries, each as we wrote it.

    Args:
        entries: of any streams, in any order, repeated or not.
        seals: those that may have made them; plain entries are not accepted where a key is given.
        no_entry: called for each that has no stream and number.
    """
    return judge(sorted_lines(sightings(entries, seals, no_entry)))


def judge(lines: Iterable[bytes]) -> Iterator[StreamReport]:
    """Walk sorted lines; yields a report for each stream that has entries or is told of."""
    for stream, of_stream in groupby(map(sighting_in, lines), key=lambda sighting: sighting.stream):
        walk = _Walk(stream.decode())
        for sighting in of_stream:
            walk.step(sighting)
        yield walk.finish()


class _Walk:
    """What is remembered of a stream while its lines go by in the order of their numbers."""

    def __init__(self, stream: str) -> None:
        self.report = StreamReport(stream)
        self._next = 1
        self._link = GENESIS[:SHORT]  # ``hash`` of the entry before; UNKNOWN if it cannot be trusted
        self._newest: Sighting | None = None
        self._missing_at_end: tuple[int, int] | None = None
        self._is_ended = False
        self._count: dict[bytes, int] = {}

    def step(self, sighting: Sighting) -> None:
        if sighting.kind == Kind.TOLD.value:
            self._skip_told(sighting)
        elif sighting.kind == Kind.END.value:
            self._end(sighting)
        elif self._newest is not None and sighting.seq == self._newest.seq:
            self._repeat(sighting, self._newest)
        else:
            self._go_on(sighting)

    def _go_on(self, entry: Sighting) -> None:
        report, seq = self.report, entry.seq
        is_told = seq < self._next
        if is_told:  # As dropped, and delivered all the same.
            report.dropped.remove(seq, seq)
        else:
            self._miss_until(seq)
        is_good = entry.kind in (Kind.GOOD.value, Kind.STOPPED.value)
        if not is_good:
            report.add(_FAULT_OF[entry.kind], seq)
        elif not is_told and self._link not in (UNKNOWN, entry.prev):
            report.add(Fault.BROKEN, seq)
        if seq >= self._next - 1:  # Behind any other the told gap goes on, and its own hash counts.
            self._link = entry.link if is_good else UNKNOWN
        self._count[entry.kind] = self._count.get(entry.kind, 0) + 1
        report.entries += 1
        report.first = report.first or seq
        report.last = seq
        self._next = max(self._next, seq + 1)
        self._newest = entry
        self._missing_at_end = None
        self._is_ended = entry.kind == Kind.STOPPED.value

    def _miss_until(self, seq: int) -> None:
        """Note that what is missing below ``seq`` is missing without a word."""
        if self._next < seq:
            is_beginning = self._next == 1 and self._newest is None
            self.report.add(Fault.LATE if is_beginning else Fault.GAP, self._next, seq - 1)
            self._link = UNKNOWN
            self._next = seq

    def _repeat(self, entry: Sighting, known: Sighting) -> None:
        if entry == known:
            if entry.kind != Kind.EDITED.value:
                self.report.duplicates.add(entry.seq)
        elif entry.kind in (Kind.GOOD.value, Kind.STOPPED.value):
            self.report.add(Fault.TWO, entry.seq)
        else:
            self.report.add(_FAULT_OF[entry.kind], entry.seq)

    def _skip_told(self, told: Sighting) -> None:
        if told.last < self._next:
            return
        self._miss_until(told.seq)
        if UNKNOWN not in (told.prev, self._link) and told.seq == self._next and told.prev != self._link:
            self.report.add(Fault.BROKEN, told.seq)
        self.report.dropped.add_range(self._next, told.last)
        self._next, self._link = told.last + 1, told.link

    def _end(self, end: Sighting) -> None:
        """Take note of who adopted the stream saying that its last entry is this one."""
        newest = self._newest
        if newest is not None and newest.seq == end.seq:
            if newest.link != end.link and newest.kind in (Kind.GOOD.value, Kind.STOPPED.value):
                self.report.add(Fault.BROKEN, end.seq)
            self._is_ended = True
        elif end.seq >= self._next:
            self._missing_at_end = (self._next, end.seq)
            self._is_ended = True

    def finish(self) -> StreamReport:
        report, count = self.report, self._count
        if self._missing_at_end is not None:
            report.add(Fault.CUT if report.entries else Fault.ABSENT, *self._missing_at_end)
        elif not self._is_ended:
            report.add(Fault.OPEN, report.last)
        if any(kind.value in count for kind in (Kind.GOOD, Kind.STOPPED)):
            for fault in (Fault.UNKEYED, Fault.BARE):
                for pair in report.faults.pop(fault, ()):
                    report.add(Fault.EDITED, *pair)
        elif count:  # Not one is right, so they have their fault in common, and cannot say where the end is.
            report.faults.pop(Fault.OPEN, None)
            if count.keys() == {Kind.EDITED.value}:
                report.faults[Fault.UNKNOWN_KEY] = report.faults.pop(Fault.EDITED)
        return report


_FAULT_OF: Mapping[bytes, Fault] = {
    Kind.UNKEYED.value: Fault.UNKEYED,
    Kind.EDITED.value: Fault.EDITED,
    Kind.BARE.value: Fault.BARE,
}
