"""Writes the cursor file of a stream, and only then removes the segments that it has finished.

The sender calls it after each batch. A cursor is written beside and renamed, so a death leaves the old one or the
new one; in between nothing is lost, and the batch comes again. It is brought to the disk with the next ``sync``
(with ``Fsync.ALWAYS`` at once): losing it costs duplicates only, and a sync for each batch costs milliseconds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable

from defender_logging._pipeline.spool.catalogue import Catalogue
from defender_logging._pipeline.spool.home import CURSOR, Home
from defender_logging._pipeline.spool.sealed import write_whole
from defender_logging._pipeline.spool.segments import Segment
from defender_logging._pipeline.spool.system import FileSystem, SpoolError, spool_error

__all__ = ["Settler"]


class Settler:
    """Writes the cursor of one stream. Threads: any; ``lock`` is held meanwhile.

    Args:
        fs: the file system.
        catalogue: what is settled.
        note_room: called when files were removed.
        is_synced: bring each cursor to the disk at once.
    """

    def __init__(
        self, fs: FileSystem, catalogue: Catalogue, note_room: Callable[[], None], *, is_synced: bool
    ) -> None:
        self.lock = threading.RLock()
        self._fs = fs
        self._catalogue = catalogue
        self._note_room = note_room
        self._is_synced = is_synced
        self._written: bytes | None = None
        self._is_on_disk = True

    def write(self, home: Home) -> None:
        """Write what is settled, and remove the files that this finishes.

        Raises:
            SpoolError: it is not written; nothing is removed, unless the disk is full.
        """
        with self.lock:
            # In this order: the cursor may say more than what the files' removal relies on, never less.
            finished = self._catalogue.finished()
            content = self._catalogue.cursor().encode()
            if content != self._written and self._catalogue.segments:
                try:
                    self._replace(home, content)
                except SpoolError as error:
                    if getattr(error.__cause__, "errno", None) == errno.ENOSPC:
                        # A full disk must not stay full of what is delivered; without the cursor that costs at
                        # most duplicates, after a death.
                        for segment in finished:
                            self._remove(segment)
                        self._note_room()
                    raise
            for segment in finished:
                self._remove(segment)
            if finished:
                self._note_room()

    def _replace(self, home: Home, content: bytes) -> None:
        path = home.path / CURSOR
        try:
            write_whole(self._fs, path, content, is_synced=self._is_synced)
            if self._is_synced:
                self._fs.sync_directory(home.path)
        except OSError as error:
            # Of a directory that somebody removed nothing can come again.
            if not isinstance(error, FileNotFoundError) or self._catalogue.unsettled_count:
                raise spool_error(f"writing '{path}'", error) from error
        self._written = content
        self._is_on_disk = self._is_synced

    def _remove(self, segment: Segment) -> None:
        try:
            self._fs.unlink(segment.path)
        except FileNotFoundError:
            pass
        except OSError:  # In use by a reader (Windows), or not for long: the next call tries again.
            return
        self._catalogue.remove(segment)

    def sync(self, home: Home) -> None:
        """Bring the last cursor to the disk. A failure costs duplicates after a power cut, and is not told."""
        if self._is_on_disk:
            return
        self._is_on_disk = True
        with contextlib.suppress(OSError):
            fd = self._fs.open(home.path / CURSOR, os.O_RDONLY)
            try:
                self._fs.sync(fd)
            finally:
                self._fs.close(fd)
            self._fs.sync_directory(home.path)

    def forget(self) -> None:
        """Let the next call write in any case: the directory may be another one by then."""
        self._written = None
