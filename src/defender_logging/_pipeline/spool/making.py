"""Makes the segments of a stream this process writes, and the directory they stand in, within the quota.

The writer asks for a segment when it needs one, the syncer when it saves entries from a bad one, the stream when it
saves what was in memory only. The quota
(``max_spool_bytes`` over all streams of the directory) is looked up only here: so each process may go over it by
what others have written meanwhile, at most one segment a process. A directory that was deleted is made again.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from defender_logging._pipeline.entry import Entry
from defender_logging._pipeline.spool.catalogue import Catalogue
from defender_logging._pipeline.spool.frames import encode_frame
from defender_logging._pipeline.spool.home import Home, make_home, take_home
from defender_logging._pipeline.spool.identity import SealedIdentity
from defender_logging._pipeline.spool.segments import Segment, create_segment
from defender_logging._pipeline.spool.survey import survey
from defender_logging._pipeline.spool.system import FileSystem, SpoolError, spool_error, write_all

__all__ = ["Quota", "SegmentMaker", "chunks"]


@dataclass(frozen=True, slots=True)
class Quota:
    """How large segments and the spool may be.

    Attributes:
        segment_bytes: a segment that would grow beyond is sealed; one longer entry makes a longer segment.
        max_spool_bytes: of the segments of all streams.
        used_bytes: measures them now.
    """

    segment_bytes: int
    max_spool_bytes: int
    used_bytes: Callable[[], int]


class SegmentMaker:
    """Makes segments and has the stream's home. Threads: any.

    Args:
        fs: the file system.
        path: the spool's directory and the stream's name.
        prepare: makes the spool's directory if it is not there, and says whose entries these are.
        catalogue: of the stream.
        quota: see ``Quota``.
    """

    def __init__(
        self,
        fs: FileSystem,
        path: tuple[Path, str],
        prepare: Callable[[], SealedIdentity],
        catalogue: Catalogue,
        quota: Quota,
    ) -> None:
        self.quota = quota
        self.home: Home | None = None
        self.has_new_names = False
        self._is_home_new = False
        self._fs = fs
        self._root, self._stream = path
        self._prepare = prepare
        self._digest = ""
        self._catalogue = catalogue

    def make(self, frame_bytes: int, *, is_rescue: bool = False, is_sealed: bool = False) -> Segment:
        """Make the next segment, for a frame of this size first.

        Args:
            frame_bytes: of the frame that it is made for.
            is_rescue: the bytes are on the disk already, in a file that cannot be trusted: no quota.
            is_sealed: it is not for the writer.

        Raises:
            SpoolError: the quota is reached, or the system refuses.
        """
        with self._catalogue.lock:
            try:
                home = self.ensure_home()
                if not is_rescue:
                    self._check_quota(frame_bytes)
                try:
                    return self._create(home, is_sealed=is_sealed)
                except FileNotFoundError:  # The directory was removed while we run.
                    home.lock.release()
                    self.home = None
                    return self._create(self.ensure_home(), is_sealed=is_sealed)
            except OSError as error:
                raise spool_error(f"making a file of the spool in '{self._root}'", error) from error

    def make_sealed(self, entries: Sequence[Entry], *, is_rescue: bool, is_synced: bool) -> Segment:
        """Make a segment with just these entries in it, which the catalogue is yet to be told of.

        Its descriptor is left open for the syncer.

        Raises:
            SpoolError: there is none of it.
        """
        frames = b"".join(encode_frame(*entry) for entry in entries)
        new = self.make(len(frames), is_rescue=is_rescue, is_sealed=True)
        assert new.fd is not None
        try:
            write_all(self._fs, new.fd, frames)
            if is_synced:
                self._fs.sync(new.fd)
        except OSError as error:
            self._catalogue.remove(new)
            fd, new.fd = new.fd, None
            with contextlib.suppress(OSError):
                self._fs.close(fd)
            with contextlib.suppress(OSError):
                self._fs.unlink(new.path)
            raise spool_error(
                f"writing entries {'anew ' if is_rescue else ''}to '{new.path}'", error
            ) from error
        new.end += len(frames)
        new.synced_end = new.end if is_synced else 0
        return new

    def ensure_home(self) -> Home:
        """Return the stream's directory, made and locked if need be.

        Raises:
            OSError: it cannot be made.
            SpoolError: another process has it.
        """
        with self._catalogue.lock:
            if self.home is None:
                self.home = self._make_home()
            return self.home

    def _create(self, home: Home, *, is_sealed: bool) -> Segment:
        number = self._catalogue.reserve_number()
        segment = create_segment(self._fs, home.path, number, self._digest)
        segment.is_sealed = is_sealed
        self._catalogue.add(segment)
        self.has_new_names = True
        return segment

    def _make_home(self) -> Home:
        identity = self._prepare()
        self._digest = identity.digest
        self._is_home_new = True
        try:
            return make_home(self._fs, self._root, self._stream, identity)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        return self._take_back()

    def _take_back(self) -> Home:
        """Take up a stream again that was closed with entries in it, as it is now: others may have sent some."""
        home = take_home(self._fs, self._root / self._stream)
        if home is None:
            raise SpoolError(
                f"the stream {self._stream} in '{self._root}' belongs to another process by now; "
                "new entries need a stream of their own"
            )
        self._catalogue.replace(survey(self._fs, home.path, is_quick=True).segments)
        return home

    def sync_names(self) -> None:
        """Wait until the names of new files are on the disk. Any thread.

        Raises:
            OSError: they may not be; the next call tries again.
        """
        if self.home is None or not self.has_new_names:
            return
        self.has_new_names = False
        try:
            self._fs.sync_directory(self.home.path)
            if self._is_home_new:
                self._is_home_new = False
                self._fs.sync_directory(self._root)
        except OSError:
            self.has_new_names = True
            raise

    def _check_quota(self, frame_bytes: int) -> None:
        needed = max(self.quota.segment_bytes, frame_bytes)
        used = self.quota.used_bytes()
        if used + needed > self.quota.max_spool_bytes:
            raise SpoolError(
                f"the spool '{self._root}' is full: {used} bytes are in use, {needed} are needed, and "
                f"max_spool_bytes is {self.quota.max_spool_bytes}; raise it, or look why entries do not leave",
                "spool_full",
            )


def chunks(entries: Sequence[Entry], max_bytes: int) -> Iterator[Sequence[Entry]]:
    """Cut entries into pieces of about ``max_bytes``, each of one entry at least."""
    begin = size = 0
    for at, entry in enumerate(entries):
        if at > begin and size + len(entry.line) > max_bytes:
            yield entries[begin:at]
            begin, size = at, 0
        size += len(entry.line)
    if begin < len(entries):
        yield entries[begin:]
