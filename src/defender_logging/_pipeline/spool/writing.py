"""Appends entries to the stream's segments, in the caller's thread: one write each, and nothing else.

The buffer hands a numbered entry over; it is on its way to the disk, in the system's hands, when ``append``
returns, so the process may die any moment after. The syncer takes it from there to the disk itself.

Guaranteed
- An entry whose ``append`` returned is whole in the file. One whose ``append`` raised ``SpoolError`` is not in it
  for any reader of this process: a short write is undone, or the segment is sealed where it was good.
- An exception of a signal handler that lands in the middle is let through; what was written by then is kept, if
  whole, and ``last_seq`` of the catalogue says so. The next call goes on at once.
- After a failure the disk is left alone for ``PAUSE_SECONDS``, so a full disk costs a caller nothing.

Tried and dropped: a shared memory map (cheaper by 1 µs an entry, but a page fault during writeback stalls every
thread, and a failing disk kills by SIGBUS); a Python-level buffer (lost by ``kill -9``).
"""

from __future__ import annotations

import contextlib
import errno
from dataclasses import dataclass

from defender_logging._pipeline.spool.catalogue import Catalogue
from defender_logging._pipeline.spool.frames import encode_frame
from defender_logging._pipeline.spool.making import SegmentMaker
from defender_logging._pipeline.spool.segments import Segment
from defender_logging._pipeline.spool.system import FileSystem, SpoolError, spool_error
from defender_logging.clock import Clock

__all__ = ["PAUSE_SECONDS", "Writer"]

MAX_FRAME_BYTES = 64
"""What a frame adds to its line, at most."""

PAUSE_SECONDS = 0.5
"""How long after a failure the next try is made: short for a disk, long for a burst of log calls."""


@dataclass(frozen=True, slots=True)
class _Pause:
    until: float
    sentence: str
    reason: str


class Writer:
    """Writes one stream. Threads: any; each call may block for one write, and as long as a segment is made."""

    def __init__(
        self,
        fs: FileSystem,
        catalogue: Catalogue,
        maker: SegmentMaker,
        clock: Clock,
        *,
        syncs_each: bool,
        keeps_open: bool,
    ) -> None:
        self._fs = fs
        self._write = fs.write
        self._catalogue = catalogue
        self._lock = catalogue.lock
        self._maker = maker
        self._clock = clock
        self.syncs_each = syncs_each
        self._keeps_open = keeps_open
        self._segment_bytes = maker.quota.segment_bytes
        self._active: Segment | None = None
        self._resting: Segment | None = None
        self._pause: _Pause | None = None

    def append(self, seq: int, line: bytes) -> None:
        """Write one entry; ``seq`` rises from call to call, ``line`` is one line without its newline.

        Raises:
            SpoolError: it is not in the spool.
        """
        frame = encode_frame(seq, line)
        size = len(frame)
        with self._lock:
            active = self._active
            if active is None or active.end + size > self._segment_bytes:
                active = self._next_segment(size)
            start = active.end
            try:
                written = self._write(active.fd, frame)  # type: ignore[arg-type]  # an active segment is open
                if written == size:
                    if self.syncs_each:
                        self._fs.sync(active.fd)  # type: ignore[arg-type]  # as above
                        active.synced_end = start + size
                    active.unsettled.add(seq)
                    active.end = start + size
                    active.last_seq = self._catalogue.last_seq = seq
                    return
            except OSError as error:
                raise self._give_up(active, spool_error(f"writing '{active.path}'", error)) from error
            except BaseException:
                self._reconcile(active, seq, start, size)
                raise
            short = OSError(errno.ENOSPC, f"only {written} of {size} bytes were written")
            raise self._give_up(active, spool_error(f"writing '{active.path}'", short))

    def reserve(self, line_bytes: int) -> None:
        """Make sure that the next entry, of about this size, finds a segment with room.

        Raises:
            SpoolError: there is none, and none can be made.
        """
        size = line_bytes + MAX_FRAME_BYTES
        with self._lock:
            if self._active is None or self._active.end + size > self._segment_bytes:
                self._next_segment(size)

    def _next_segment(self, size: int) -> Segment:
        """Return a segment with room for ``size`` bytes: the one that rested after a failure, or a new one."""
        if self._pause is not None:
            if self._clock.monotonic() < self._pause.until:
                raise SpoolError(self._pause.sentence, self._pause.reason)
            self._pause = None
        resting, self._resting = self._resting, None
        if resting is not None and resting.end + size <= self._segment_bytes:
            self._active = resting
            return resting
        self._active = None
        for old in tuple(
            self._catalogue.segments
        ):  # One more than we know, if a call was interrupted in here.
            if not old.is_sealed:
                self.seal(old)
        try:
            self._active = segment = self._maker.make(size)
        except SpoolError as error:
            self._rest(error)
            raise
        if self.syncs_each:
            try:
                self._maker.sync_names()
            except OSError as error:
                raise self._give_up(segment, spool_error("syncing the spool's directory", error)) from error
        return segment

    def _give_up(self, active: Segment, error: SpoolError) -> SpoolError:
        """Undo what a failed write left, or seal the segment where it was good."""
        self._active = None
        try:
            assert active.fd is not None
            self._fs.truncate(active.fd, active.end)
            is_undone = self._fs.status(active.fd).st_size == active.end and not self.syncs_each
        except OSError:
            is_undone = False
        if is_undone:
            self._resting = active
        else:
            self.seal(active)
        self._rest(error)
        return error

    def _rest(self, error: SpoolError) -> None:
        self._pause = _Pause(self._clock.monotonic() + PAUSE_SECONDS, str(error), error.reason)

    def _reconcile(self, active: Segment, seq: int, start: int, size: int) -> None:
        """Bring our knowledge in line with the file, after an exception that was not the write's own."""
        try:
            assert active.fd is not None
            if self._fs.status(active.fd).st_size >= start + size:
                active.unsettled.add(seq)
                active.end = start + size
                active.last_seq = self._catalogue.last_seq = seq
            else:
                self._fs.truncate(active.fd, start)
        except OSError:
            self.seal(active)

    def seal(self, segment: Segment) -> None:
        """Append nothing more to a segment. Its descriptor is left to the syncer, where there is one to sync it."""
        with self._lock:
            segment.is_sealed = True
            if self._active is segment:
                self._active = None
            if self._resting is segment:
                self._resting = None
            if not self._keeps_open and segment.fd is not None:
                fd, segment.fd = segment.fd, None
                with contextlib.suppress(OSError):
                    self._fs.close(fd)

    def seal_active(self) -> None:
        """Let the next entry begin a new segment."""
        with self._lock:
            for segment in (self._active, self._resting):
                if segment is not None:
                    self.seal(segment)

    def retry_now(self) -> None:
        """End the pause after a failure: room was made, or the disk is seen to work."""
        self._pause = None
