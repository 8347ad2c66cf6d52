"""Owns a directory on behalf of one process, until it lets go or dies.

A ``Lock`` comes from ``take_lock`` and belongs to a stream's home. Where the system has ``flock`` (Linux, macOS,
BSD) the kernel gives the lock back when the process dies, however it dies. Elsewhere, and on file systems without
it, *claims* do: the files ``lock.1``, ``lock.2``, … each made complete and exclusively (a hard link), each naming
its process. Only the highest counts; the next may be made once its process is dead, by exactly one, since a
second link to the same name fails.

Guaranteed: at most one process holds the lock of a path that still exists; a fork does not change the holder.
Not guaranteed by claims: that an orphan is seen at once (a new process may have the dead one's number), or ever
from another host (its processes cannot be seen, so they count as alive).
Tried and dropped: a single file taken over by renaming it; two that both saw it dead can rename it in turn.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from defender_logging._pipeline.spool.system import FileSystem, write_all

__all__ = ["Lock", "abandon_locks", "is_locked", "take_lock"]

_CLAIM = re.compile(r"lock\.([0-9]+)")


_open: set[int] = set()
"""Descriptors that hold or try locks, for ``abandon_locks``."""


@dataclass(slots=True)
class Lock:
    """One process's hold on a path. ``fd`` is None for a claim. Not thread-safe.

    One that nobody refers to any more lets go of its descriptor: an exception of a signal handler may land between
    taking a lock and noting it, and what is locked by nobody's hand would never be free again.
    """

    fs: FileSystem
    path: Path | None
    fd: int | None = None

    def __del__(self) -> None:
        """Close the descriptor, if any; a claim stays until the process is gone."""
        # Not after ``abandon_locks``: the number may be another file's by then. An interrupt in __init__ leaves none.
        fd = getattr(self, "fd", None)
        if fd in _open:
            _close(self.fs, fd)

    def release(self) -> None:
        """Let go; for a lock whose file is gone already too."""
        if self.fd is not None:
            fd, self.fd = self.fd, None
            _close(self.fs, fd)
        elif self.path is not None:
            with contextlib.suppress(OSError):
                self.fs.unlink(self.path)
        self.path = None

    def abandon(self) -> None:
        """Let go of the copy in a forked child; the parent goes on holding the lock.

        Closing is enough and right: unlocking would take the lock from the parent, and an open copy would keep
        it after the parent's death.
        """
        if self.fd is not None:
            fd, self.fd = self.fd, None
            _close(self.fs, fd)
        self.path = None


def take_lock(fs: FileSystem, directory: Path, *, is_new: bool = False) -> Lock | None:
    """Take the lock of a directory without waiting; None if another has it or the directory is gone.

    Args:
        fs: the file system.
        directory: holds the lock file.
        is_new: make the lock file; otherwise one that is missing means that the directory is being removed.

    Raises:
        OSError: the lock file cannot be opened or made.
    """
    path = directory / "lock"
    try:
        lock = Lock(fs, path, fs.open(path, os.O_RDWR | (os.O_CREAT if is_new else 0)))
    except FileNotFoundError:
        return None
    assert lock.fd is not None
    _open.add(lock.fd)  # Before it is locked: a fork may come at any moment.
    try:
        is_ours = fs.flock(lock.fd)
        if is_ours and _is_still_there(fs, lock.fd, path):
            return lock
    except BaseException:
        lock.release()
        raise
    lock.release()
    if is_ours is not None:
        return None
    try:
        return _claim(fs, directory)
    except FileNotFoundError:  # Its owner is just removing the directory.
        return None


def abandon_locks() -> None:
    """Let go of the parent's locks in a forked child, those too that another thread was just about to take.

    An inherited descriptor would keep a stream owned after the parent's death. Nothing else of the spool may have
    been used in the child before.
    """
    while _open:
        with contextlib.suppress(OSError):
            os.close(_open.pop())


def _close(fs: FileSystem, fd: int) -> None:
    _open.discard(fd)  # First, since the number may be another file's the moment after it is closed.
    with contextlib.suppress(OSError):
        fs.close(fd)


def is_locked(fs: FileSystem, directory: Path) -> bool:
    """Tell whether a living process holds the lock; leaves everything as it is."""
    try:
        fd = fs.open(directory / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who only look do not see each other.
        is_free = fs.flock(fd, is_shared=True)
    finally:
        fs.close(fd)
    if is_free is not None:
        return not is_free
    number = _highest_claim(fs, directory)
    return number > 0 and _is_claim_alive(fs, directory / f"lock.{number}")


def _is_still_there(fs: FileSystem, fd: int, path: Path) -> bool:
    """Tell whether the path still leads to the open file: the former owner may have removed it meanwhile."""
    try:
        there, here = fs.status(path), fs.status(fd)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _claim(fs: FileSystem, directory: Path) -> Lock | None:
    number = _highest_claim(fs, directory)
    if number and _is_claim_alive(fs, directory / f"lock.{number}"):
        return None
    draft = directory / f".claim-{os.getpid()}-{os.urandom(4).hex()}"
    claim = directory / f"lock.{number + 1}"
    fd = fs.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        write_all(fs, fd, f"{os.getpid()} {socket.gethostname()}\n".encode())
        fs.link(draft, claim)
    except FileExistsError:
        return None
    finally:
        fs.close(fd)
        with contextlib.suppress(OSError):
            fs.unlink(draft)
    return Lock(fs, claim)


def _highest_claim(fs: FileSystem, directory: Path) -> int:
    numbers = (int(match[1]) for name in fs.names(directory) if (match := _CLAIM.fullmatch(name)))
    return max(numbers, default=0)


def _is_claim_alive(fs: FileSystem, path: Path) -> bool:
    try:
        fd = fs.open(path, os.O_RDONLY)
    except FileNotFoundError:  # Just let go; whoever wants it comes again.
        return True
    try:
        pid, _, host = fs.read(fd, 0, 1024).decode(errors="replace").strip().partition(" ")
    finally:
        fs.close(fd)
    if not pid.isdigit() or host != socket.gethostname():
        return True  # A doubt leaves the entries where they are; taking them twice would be worse.
    return _is_process_alive(int(pid))


def _is_process_alive(pid: int) -> bool:
    if sys.platform == "win32":
        return _is_windows_process_alive(pid)
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def _is_windows_process_alive(pid: int) -> bool:
    # os.kill(pid, 0) would send CTRL_C there. Handles of ended processes are signalled: waiting gives 0 at once.
    import ctypes  # Only here: on every other system it would be an import for nothing.

    kernel32 = ctypes.windll.kernel32  # type: ignore[attr-defined]  # exists on Windows only
    handle = kernel32.OpenProcess(0x00100000, False, pid)
    if not handle:
        return False
    try:
        return bool(kernel32.WaitForSingleObject(handle, 0) != 0)
    finally:
        kernel32.CloseHandle(handle)
