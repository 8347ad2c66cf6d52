"""Brings what was appended to the disk itself, and entries out of a file that cannot be trusted any more.

The housekeeper calls ``sync`` every half second; a power cut then costs what was logged since the last call. Callers
go on appending meanwhile: no lock is held while the disk works.

Guaranteed
- A failed sync is never repeated and believed: the system may have thrown the pages away and report success the
  next time. The segment is sealed, and its entries from the last good sync on are read back through the open
  descriptor (they are in the page cache), written to a new segment, and that one is synced. Until this succeeds
  it is tried anew at each call.
- The same is done, from its beginning, with an open segment whose file was removed by somebody.
Not guaranteed: entries whose pages the system drops between the failed sync and reading back; the checksums find
them, and the backlog reports them.
Tried and dropped: keeping the lines in memory until synced; a disk that hangs would then fill it.
"""

from __future__ import annotations

import contextlib
import threading
from enum import Enum

from defender_logging._pipeline.spool.catalogue import Catalogue
from defender_logging._pipeline.spool.frames import pieces
from defender_logging._pipeline.spool.making import SegmentMaker
from defender_logging._pipeline.spool.segments import Segment
from defender_logging._pipeline.spool.system import FileSystem, SpoolError, spool_error
from defender_logging._pipeline.spool.writing import Writer

__all__ = ["Fsync", "Syncer"]


class Fsync(str, Enum):
    """When what was appended is brought to the disk itself."""

    OFF = "off"
    INTERVAL = "interval"
    ALWAYS = "always"


class Syncer:
    """Syncs one stream. Threads: any; blocks as long as the disk takes.

    ``lock`` is held meanwhile; it is taken before every other lock of the stream. While it is free and the
    catalogue's is held, nobody uses a descriptor.
    """

    def __init__(
        self, fs: FileSystem, catalogue: Catalogue, maker: SegmentMaker, writer: Writer, *, is_on: bool
    ) -> None:
        self._fs = fs
        self._catalogue = catalogue
        self._maker = maker
        self._writer = writer
        self.is_on = is_on
        self.lock = threading.RLock()
        self._distrusted: dict[int, int] = {}

    def sync(self) -> str | None:
        """Sync all that was appended before the call.

        Returns:
            A sentence for people if entries had to be written anew; None normally.

        Raises:
            SpoolError: not all of it is safe; what is not is tried again at the next call.
        """
        notes: list[str] = []
        problem: SpoolError | None = None
        with self.lock:
            for segment in self._open_segments():
                try:
                    note = self._sync_segment(segment)
                except SpoolError as error:
                    problem = error
                else:
                    notes += [note] if note else []
            try:
                if self.is_on:
                    self._maker.sync_names()
            except OSError as error:
                problem = spool_error("syncing the spool's directory", error)
        if problem is not None:
            raise problem
        return "; ".join(notes) or None

    def _open_segments(self) -> list[Segment]:
        with self._catalogue.lock:
            return [segment for segment in self._catalogue.segments if segment.fd is not None]

    def _sync_segment(self, segment: Segment) -> str | None:
        assert segment.fd is not None
        note: str | None = None
        if segment.is_sealed and not segment.unsettled:  # Nothing in it matters any more.
            self._let_go(segment)
            return None
        if segment.number not in self._distrusted:
            end = segment.end
            try:
                is_removed = self._fs.status(segment.fd).st_nlink == 0
                if self.is_on and not is_removed and end > segment.synced_end:
                    self._fs.sync(segment.fd)
            except OSError as error:
                self._distrust(segment, segment.synced_end)
                note = str(spool_error(f"syncing '{segment.path}'", error))
            else:
                if is_removed:
                    self._distrust(segment, 0)
                    note = f"'{segment.path}' was removed by somebody while it was in use"
                else:
                    self._note_synced(segment, end)
        if segment.number in self._distrusted:
            self._rescue(segment)
            note = f"{note or f'{segment.path} could not be trusted'}; its entries were written anew"
        return note

    def _note_synced(self, segment: Segment, end: int) -> None:
        with self._catalogue.lock:
            segment.synced_end = max(segment.synced_end, end)
            if segment.is_sealed and segment.end == segment.synced_end:
                self._close(segment)

    def _let_go(self, segment: Segment) -> None:
        with self._catalogue.lock:
            self._close(segment)
            self._distrusted.pop(segment.number, None)

    def _distrust(self, segment: Segment, from_offset: int) -> None:
        self._writer.seal(segment)
        self._distrusted[segment.number] = from_offset

    def _rescue(self, segment: Segment) -> None:
        """Write the unsettled entries behind the trusted part to a new segment, sync it, and go over to it."""
        trusted_end = self._distrusted[segment.number]
        with self._catalogue.lock:
            wanted = segment.unsettled.copy()
        assert segment.fd is not None
        try:
            data = self._fs.read(segment.fd, trusted_end, segment.end - trusted_end)
        except OSError as error:
            raise spool_error(f"reading '{segment.path}' back", error) from error
        entries = [piece.entry for piece in pieces(data) if piece.entry and piece.entry.seq in wanted]
        if entries:
            new = self._maker.make_sealed(entries, is_rescue=True, is_synced=self.is_on)
            new.last_seq = entries[-1].seq
            self._move([entry.seq for entry in entries], segment, new)
        with self._catalogue.lock:
            segment.end = segment.synced_end = trusted_end
            segment.last_seq = 0  # Not known any more; the highest number is in another segment, or settled.
            # So that whoever adopts this stream does not meet the entries twice; no harm if it fails.
            with contextlib.suppress(OSError):
                self._fs.truncate(segment.fd, trusted_end)
            self._close(segment)
        del self._distrusted[segment.number]

    def _move(self, seqs: list[int], old: Segment, new: Segment) -> None:
        """Let the numbers that are still unsettled stand in the new segment, in one step for all others."""
        with self._catalogue.lock:
            for seq in seqs:
                if old.unsettled.remove(seq, seq):
                    new.unsettled.add(seq)
            self._close(new)

    def _close(self, segment: Segment) -> None:
        if segment.fd is not None:
            fd, segment.fd = segment.fd, None
            with contextlib.suppress(OSError):
                self._fs.close(fd)
