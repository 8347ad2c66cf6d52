"""Reads back what is still unsettled, in the order of the numbers, in chunks of bounded size.

The sender asks for what comes after a number; the catalogue says in which segment it stands; entries go out as
they were written. One segment is in memory at a time.

Guaranteed: order by number, whatever the clock did and in whichever segment a number stands; an unsettled number
is either returned or, when its segment has been read past its place without finding it, reported as lost, once.
An error while reading is never taken for damage: it raises, and may pass.
"""

from __future__ import annotations

from collections.abc import Iterator

from defender_logging._pipeline.entry import Entry
from defender_logging._pipeline.spool.catalogue import Catalogue, Stretch
from defender_logging._pipeline.spool.frames import Piece, gapless, pieces
from defender_logging._pipeline.spool.segments import Segment, load, read_first_line
from defender_logging._pipeline.spool.survey import Damage
from defender_logging._pipeline.spool.system import FileSystem, spool_error

__all__ = ["Backlog", "last_entry"]

SEPARATOR_BYTES = 1
"""What a batch holds between two entries; counted with each, as ``Buffer.take`` does."""


class Backlog:
    """Reads one stream. Not thread-safe; writers, syncers and settlers may work meanwhile."""

    def __init__(self, fs: FileSystem, catalogue: Catalogue) -> None:
        self.damage: list[Damage] = []
        self._fs = fs
        self._catalogue = catalogue
        self._segment: Segment | None = None
        self._data = b""
        self._base = 0
        self._at = 0
        self._passed_seq = 0

    def read_after(self, seq: int, max_bytes: int, max_entries: int | None = None) -> list[Entry]:
        """Return unsettled entries above ``seq``, rising: as many as fit, at least one if there is any.

        Raises:
            SpoolError: a segment cannot be read now.
        """
        entries: list[Entry] = []
        room = max_bytes
        while stretch := self._catalogue.stretch_after(seq):
            for entry in self._entries_of(stretch):
                size = len(entry.line) + SEPARATOR_BYTES
                if entries and (size > room or len(entries) == max_entries):
                    return entries
                entries.append(entry)
                room -= size
            seq = _last_of(stretch)
        return entries

    def _entries_of(self, stretch: Stretch) -> Iterator[Entry]:
        """Give the entries of a stretch, and report those that are not there."""
        segment, first, limit, wanted = stretch
        next_seq = first
        damaged: list[Piece] = []
        if self._find(stretch):
            for entry, end in gapless(self._data, self._at, first, _end_of_run(stretch)):
                # Not passed yet: should it not fit, the next call begins with it.
                yield entry
                self._at, self._passed_seq, next_seq = end, entry.seq, entry.seq + 1
            for piece in pieces(self._data, self._at):
                if piece.entry is None:
                    damaged.append(piece)
                    continue
                seq = piece.entry.seq
                if seq >= first:
                    below = seq if limit is None else min(seq, limit)
                    self._lose(segment, next_seq, below - 1, damaged)
                    damaged.clear()
                    if limit is not None and seq >= limit:
                        return
                    if seq in wanted:
                        yield piece.entry  # As above.
                    next_seq = seq + 1
                self._at, self._passed_seq = piece.end, seq
        self._lose(segment, next_seq, _last_of(stretch), damaged)

    def _find(self, stretch: Stretch) -> bool:
        """Bring the segment into memory, and the position before the stretch; False if the file is gone."""
        segment = stretch.segment
        if self._segment is segment and self._base == 0 and self._passed_seq >= stretch.first:
            self._at, self._passed_seq = read_first_line(self._data).end, 0
        with self._catalogue.lock:
            end = segment.end
        loaded = self._base + len(self._data)
        try:
            if self._segment is segment and self._passed_seq < stretch.first and loaded <= end:
                if loaded < end:
                    self._data = self._data[self._at :] + load(self._fs, segment, loaded, end)
                    self._base, self._at = self._base + self._at, 0
            else:
                self._segment = None
                self._data = b""  # Let go first, so that two segments are never in memory.
                self._data = load(self._fs, segment, 0, end)
                self._base, self._at, self._passed_seq = 0, read_first_line(self._data).end, 0
                self._segment = segment
        except FileNotFoundError as error:
            if segment.fd is not None:  # Removed by others, but still open: the next sync brings it back.
                raise spool_error(f"reading '{segment.path}'", error) from error
            self.forget()
            return False
        except OSError as error:
            raise spool_error(f"reading '{segment.path}'", error) from error
        return True

    def _lose(self, segment: Segment, first: int, last: int, damaged: list[Piece]) -> None:
        """Give up the unsettled numbers from ``first`` to ``last``: their place has been passed."""
        if first > last:
            return
        with self._catalogue.lock:
            lost = tuple(segment.unsettled.remove(first, last))
        if not lost:
            return
        start = damaged[0].start if damaged else self._at
        content = b"".join(self._data[piece.start : piece.end] for piece in damaged)
        self.damage.append(Damage(segment.number, self._base + start, content, lost))

    def forget(self) -> None:
        """Let go of the segment in memory."""
        self._segment, self._data, self._base, self._at = None, b"", 0, 0


def _end_of_run(stretch: Stretch) -> int:
    """Return the last of the wanted numbers that follow each other from the stretch's first on."""
    last = stretch.wanted.end_of_run(stretch.first)
    return last if stretch.limit is None else min(last, stretch.limit - 1)


def _last_of(stretch: Stretch) -> int:
    """Return the highest number that may belong to a stretch."""
    if stretch.limit is not None:
        return stretch.limit - 1
    *_, (_, last) = stretch.wanted
    return last


def last_entry(fs: FileSystem, catalogue: Catalogue) -> Entry | None:
    """Return the entry with the highest number, settled or not; None if there is none.

    Raises:
        OSError: its segment cannot be read now.
    """
    with catalogue.lock:
        segments = sorted(catalogue.segments, key=lambda each: each.last_seq)
    if not segments:
        return None
    found = (piece.entry for piece in pieces(load(fs, segments[-1])))
    return max((entry for entry in found if entry is not None), key=lambda entry: entry.seq, default=None)
