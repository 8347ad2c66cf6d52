"""All that the spool asks of the operating system, in one small object that tests can replace.

Every other module of the spool takes a ``FileSystem`` and uses nothing else of the system. What differs between
systems is settled here: flags that are missing somewhere, syncing (``fdatasync``, else ``fsync``), syncing a
directory (not possible on Windows) and ``flock`` (its fallback is in ``locks``).

Guaranteed: no symbolic link is followed in the last part of a path, no descriptor is inherited by a program that
the process starts, and what is made is readable for its owner only (0600, directories 0700).
Not guaranteed on Windows: that others cannot read it (permissions are inherited there), nor syncing directories.
The Windows branches follow its documentation and have not been run.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Protocol

from defender_logging.errors import DefenderLoggingError

if sys.platform == "win32":
    fcntl = None
else:
    import fcntl

__all__ = ["SYSTEM", "FileSystem", "SpoolError", "SystemFileSystem", "spool_error", "write_all"]

_ALWAYS = sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_BINARY", "O_NOINHERIT"))
_sync = getattr(os, "fdatasync", os.fsync)
_NO_FLOCK = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

_REMEDIES = {
    errno.ENOSPC: "free some space there, or give the spool another disk",
    errno.EDQUOT: "free some space there, or raise the quota of this user",
    errno.EACCES: "let this user write there",
    errno.EPERM: "let this user write there",
    errno.EROFS: "mount it for writing, or choose another spool_dir",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the system's limit of open files",
    errno.ELOOP: "remove the symbolic link: the spool follows none",
}


class SpoolError(DefenderLoggingError):
    """The spool cannot do what was asked, so the entry stays in memory; goes no further than the pipeline.

    Attributes:
        reason: the word to count under: ``spool_full`` (``max_spool_bytes`` is reached) or ``spool_failed``.
    """

    def __init__(self, sentence: str, reason: str = "spool_failed") -> None:
        super().__init__(sentence)
        self.reason = reason

    @property
    def is_full(self) -> bool:
        """True if dropping an old segment would make room."""
        return self.reason == "spool_full"


def spool_error(what: str, error: OSError) -> SpoolError:
    """Translate a failed system call into a sentence with its remedy."""
    remedy = _REMEDIES.get(error.errno or 0, "look at the disk; it is tried again by itself")
    code = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return SpoolError(f"{what} failed: {error.strerror or error} ({code}); {remedy}")


class FileSystem(Protocol):
    """The system calls of the spool. All raise ``OSError``; descriptors are plain numbers."""

    def open(self, path: Path, flags: int) -> int:
        """Open with ``flags`` and those that always hold; makes files with mode 0600."""
        ...

    def close(self, fd: int, /) -> None:
        """Close a descriptor."""
        ...

    def write(self, fd: int, data: bytes, /) -> int:
        """Write once; returns how many bytes went, which may be fewer."""
        ...

    def read(self, fd: int, offset: int, size: int) -> bytes:
        """Read ``size`` bytes, fewer only at the end of the file."""
        ...

    def status(self, where: Path | int) -> os.stat_result:
        """Status of a path (of a symbolic link itself) or of a descriptor."""
        ...

    def truncate(self, fd: int, size: int, /) -> None:
        """Cut a file."""
        ...

    def sync(self, fd: int, /) -> None:
        """Wait until the file's content is on the disk."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Wait until the names in a directory are on the disk."""
        ...

    def rename(self, source: Path, target: Path, /) -> None:
        """Give another name in one step; a file of that name is replaced."""
        ...

    def link(self, source: Path, target: Path, /) -> None:
        """Give a second name, which must not exist."""
        ...

    def unlink(self, path: Path, /) -> None:
        """Remove a file's name."""
        ...

    def make_directory(self, path: Path, *, with_parents: bool = False) -> None:
        """Make a directory for the owner only (mode 0700)."""
        ...

    def remove_directory(self, path: Path, /) -> None:
        """Remove an empty directory."""
        ...

    def names(self, path: Path) -> list[str]:
        """Names in a directory, sorted."""
        ...

    def set_mode(self, path: Path, mode: int, /) -> None:
        """Change the permissions of a path."""
        ...

    def flock(self, fd: int, *, is_shared: bool = False) -> bool | None:
        """Lock the file of a descriptor without waiting: True, False if another has it, None if not possible here."""
        ...


class SystemFileSystem:
    """The real one."""

    # The builtins themselves, since a frame of ours for each write would cost as much as half the call.
    close = staticmethod(os.close)
    write = staticmethod(os.write)
    truncate = staticmethod(os.ftruncate)
    sync = staticmethod(_sync)
    rename = staticmethod(os.replace)
    link = staticmethod(os.link)
    unlink = staticmethod(os.unlink)
    remove_directory = staticmethod(os.rmdir)
    set_mode = staticmethod(os.chmod)

    def open(self, path: Path, flags: int) -> int:
        """Open a file, 0600 if it is made."""
        return os.open(path, flags | _ALWAYS, 0o600)

    def read(self, fd: int, offset: int, size: int) -> bytes:
        """Read, going on after short reads. Moves the descriptor's position, which appending does not use."""
        os.lseek(fd, offset, os.SEEK_SET)
        parts: list[bytes] = []
        while size > 0 and (part := os.read(fd, size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def status(self, where: Path | int) -> os.stat_result:
        """Status without following a link."""
        return os.fstat(where) if isinstance(where, int) else os.lstat(where)

    def sync_directory(self, path: Path) -> None:
        """Sync the names, where the system can."""
        if sys.platform != "win32":
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _ALWAYS)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def make_directory(self, path: Path, *, with_parents: bool = False) -> None:
        """Make a directory; only the last part gets 0700, parents the usual mode."""
        if with_parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(0o700)

    def names(self, path: Path) -> list[str]:
        """Sorted names."""
        return sorted(each.name for each in path.iterdir())

    def flock(self, fd: int, *, is_shared: bool = False) -> bool | None:
        """Lock by ``flock``, which ends with the last descriptor of the opening, so with the process at the latest."""
        if fcntl is None:
            return None
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _NO_FLOCK:
                return None
            raise
        return True


def write_all(fs: FileSystem, fd: int, data: bytes) -> None:
    """Write all of ``data``, going on after short writes. For files that nobody reads before they are complete."""
    view = memoryview(data)
    while view:
        written = fs.write(fd, bytes(view[: 1 << 20]))
        if written == 0:
            raise OSError(errno.EIO, "nothing was written")
        view = view[written:]


SYSTEM: FileSystem = SystemFileSystem()
