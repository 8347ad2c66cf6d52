"""The directory that ``spool_dir`` names, as a place: whether it will do, who else may see it, its salt and its size.

``SpoolDirectory`` asks it before anything is written. ``<spool_dir>/salt`` keys the digests of identities; every other
name is a stream's directory. Several processes use a place at once, so nothing here needs a lock: what is made is
made whole under another name first.

Guaranteed: directories are made 0700 and files 0600; a directory that holds only the spool's own is closed to
others; one that others may write to is refused, since they could take the streams away.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from defender_logging._pipeline.spool.home import SALT_DRAFT, is_private_directory
from defender_logging._pipeline.spool.segments import segment_number
from defender_logging._pipeline.spool.system import FileSystem, SpoolError, write_all

__all__ = ["SpoolPlace"]

_SALT = "salt"
_SALT_BYTES = 32


class SpoolPlace:
    """A directory for streams; ``path`` may be a symbolic link, nothing in it may. Threads: any."""

    def __init__(self, fs: FileSystem, path: Path) -> None:
        self.path = path
        self._fs = fs
        self._salt: bytes | None = None

    def check(self) -> str | None:
        """Say what is wrong with the directory, as a sentence with its remedy; None if it will do. Changes nothing."""
        subject = f"spool_dir '{self.path}'"
        if not _is_there(self.path):
            parent = next(each for each in self.path.parents if _is_there(each))
            if not parent.is_dir():
                return f"{subject} cannot be made: '{parent}' is not a directory; choose another"
            if not os.access(parent, os.W_OK | os.X_OK):
                return f"{subject} cannot be made: '{parent}' is not writable; choose another, or make it yourself"
        elif not self.path.is_dir():
            return f"{subject} is not a directory; choose another"
        elif not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            return f"{subject} is not readable and writable for this user; change its owner or mode"
        elif self._is_open_to_others():
            return (
                f"{subject} can be written by other users; give the spool a directory of its own (chmod 700)"
            )
        return None

    def _is_open_to_others(self) -> bool:
        if os.name == "nt":
            return False
        status = self.path.stat()
        # Only for the owner, and if it is the spool's alone, it is closed to others when it is used.
        is_ours = status.st_uid == os.geteuid() and self._is_only_ours()
        return bool(status.st_mode & 0o022) and not is_ours

    def _is_only_ours(self) -> bool:
        names = self._fs.names(self.path)
        return not names or _SALT in names

    def prepare(self) -> bytes:
        """Make the directory if need be, close it to others, and return its salt.

        Raises:
            SpoolError: it will not do.
            OSError: it cannot be made.
        """
        try:
            self._fs.make_directory(self.path, with_parents=True)
        except FileExistsError:
            if problem := self.check():
                raise SpoolError(problem) from None
            self._close_to_others()
        self._salt = salt = self._read_or_make_salt()
        return salt

    def _close_to_others(self) -> None:
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if os.name != "nt" and mode & 0o077 and self._is_only_ours():
            self._fs.set_mode(self.path, 0o700)

    def _read_or_make_salt(self) -> bytes:
        path = self.path / _SALT
        with contextlib.suppress(FileNotFoundError):
            return self._read_salt(path)
        draft = path.with_name(f"{SALT_DRAFT}{os.getpid()}.{os.urandom(4).hex()}")
        fd = self._fs.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            # The one in memory, if somebody removed the file: streams on disk are keyed with it.
            write_all(self._fs, fd, (self._salt or os.urandom(_SALT_BYTES)).hex().encode() + b"\n")
            self._fs.sync(fd)
            self._give_name(draft, path)
        finally:
            self._fs.close(fd)
            with contextlib.suppress(OSError):
                self._fs.unlink(draft)
        return self._read_salt(path)

    def _give_name(self, draft: Path, path: Path) -> None:
        """Give the salt its name, whole and exclusively: of several processes one wins."""
        try:
            self._fs.link(draft, path)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            # No hard links on this file system: two who make it in the same instant agree by reading it again.
            self._fs.rename(draft, path)

    def _read_salt(self, path: Path) -> bytes:
        fd = self._fs.open(path, os.O_RDONLY)
        try:
            text = self._fs.read(fd, 0, 1024)
        finally:
            self._fs.close(fd)
        try:
            salt = bytes.fromhex(text.decode().strip())
        except ValueError:
            salt = b""
        if len(salt) != _SALT_BYTES:
            raise SpoolError(
                f"'{path}' is damaged: it has {len(text)} bytes that are not a salt; put a copy back, or remove it "
                "(entries of handlers with a literal key then have to be sent by `defender-logging spool send`)"
            )
        return salt

    def used_bytes(self) -> int:
        """Measure the segments of all streams: a file system call for each file."""
        return sum(
            self._size(path / name)
            for path in self.stream_paths()
            for name in self._names(path)
            if segment_number(name)
        )

    def _size(self, path: Path) -> int:
        try:
            return self._fs.status(path).st_size
        except FileNotFoundError:
            return 0

    def _names(self, path: Path) -> list[str]:
        try:
            return self._fs.names(path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return []

    def stream_paths(self) -> Iterator[Path]:
        """Paths of all streams; what a dead process left half made is no stream."""
        for name in self._names(self.path):
            path = self.path / name
            if not name.startswith((".", _SALT)) and is_private_directory(self._fs, path):
                yield path


def _is_there(path: Path) -> bool:
    """Tell whether there is anything of this name, a broken link too."""
    return path.exists() or path.is_symlink()
