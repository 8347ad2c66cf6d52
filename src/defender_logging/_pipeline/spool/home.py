"""A stream's directory: made and locked by one process, described, taken over as an orphan, removed when empty.

``<spool_dir>/<stream>/`` holds ``lock``, ``meta.json`` (format, identity, process), segments, ``cursor.json`` and
``dead-letters.ndjson``. It is made under a name that begins with a dot and renamed once the lock is held, so that
nobody can take a directory for an orphan whose owner is about to lock it.

Guaranteed: who has a ``Home`` is the only one to change the directory (but for dead letters being discarded).
What a directory is, its lock apart, is told by ``describe``, which changes nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defender_logging._pipeline.spool.identity import SealedIdentity
from defender_logging._pipeline.spool.locks import Lock, take_lock
from defender_logging._pipeline.spool.sealed import FORMAT, read_sealed, seal, write_whole
from defender_logging._pipeline.spool.segments import read_first_line, segment_number
from defender_logging._pipeline.spool.system import FileSystem

__all__ = [
    "CURSOR",
    "DEAD_LETTERS",
    "SALT_DRAFT",
    "Description",
    "Home",
    "describe",
    "is_private_directory",
    "make_home",
    "remove_all",
    "remove_unfinished",
    "take_home",
]

CURSOR = "cursor.json"
DEAD_LETTERS = ("dead-letters.old.ndjson", "dead-letters.ndjson")
"""Names of the files, the older first."""

SALT_DRAFT = "salt."
"""Begins the name under which the directory's salt is made; see ``place``."""

_META = "meta.json"
_UNFINISHED = ".new-"
UNFINISHED_AGE_SECONDS = 60.0
"""A younger draft may have a living maker that is about to lock it; making one takes a millisecond."""
_FIRST_LINE_BYTES = 200


@dataclass(slots=True)
class Home:
    """A directory that this process owns. Not thread-safe."""

    fs: FileSystem
    path: Path
    lock: Lock

    def remove_if_empty(self) -> bool:
        """Remove the directory if nothing but our side files is in it; True if it is gone.

        The lock's file goes last and is held until the directory is gone: who opens it meanwhile finds it taken,
        or finds that its path leads nowhere.
        """
        side_files = {CURSOR, f"{CURSOR}.new", _META, f"{_META}.new"}
        names = self.fs.names(self.path)
        if any(name not in side_files and not _is_lock(name) for name in names):
            return False
        try:
            remove_all(self.fs, self.path)
        except OSError as error:
            # Somebody tries to claim it in this moment: he finds nothing, and takes his file away again.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return False
        return True


@dataclass(frozen=True, slots=True)
class Description:
    """What a stream's files say about it.

    Attributes:
        identity: digest; None if no file tells it.
        meta: the body of ``meta.json``; empty if damaged or missing.
        version_problem: that it is of another version, which nobody may touch.
        identity_problem: that there are entries, and nothing tells whose.
    """

    identity: str | None
    meta: Mapping[str, Any]
    version_problem: str | None = None
    identity_problem: str | None = None


_TRIES = 20
"""Others clear away what looks unfinished to them; so often in a row never."""


def make_home(fs: FileSystem, root: Path, stream: str, identity: SealedIdentity) -> Home:
    """Make and lock the directory of a stream; at once again where somebody took it for a dead process's rest.

    Raises:
        OSError: it cannot be made; what was begun is removed, now or by ``remove_unfinished``.
        FileExistsError: there is one with this name.
    """
    for _ in range(_TRIES - 1):
        with contextlib.suppress(FileNotFoundError):
            return _make_home(fs, root, stream, identity)
    return _make_home(fs, root, stream, identity)


def _make_home(fs: FileSystem, root: Path, stream: str, identity: SealedIdentity) -> Home:
    """Make and lock the directory of a stream.

    Raises:
        OSError: it cannot be made; what was begun is removed, now or by ``remove_unfinished``.
        FileExistsError: there is one with this name.
    """
    # Not synced: this runs in a caller's thread, and the segments say whose they are as well.
    draft = root / f"{_UNFINISHED}{stream}"
    path = root / stream
    try:
        fs.make_directory(draft)
    except FileExistsError:  # Of an interrupted call of our own: nobody else has a stream of this name.
        remove_all(fs, draft)
        fs.make_directory(draft)
    lock: Lock | None = None
    try:
        lock = take_lock(fs, draft, is_new=True)
        if lock is None:
            raise FileNotFoundError(f"'{draft}' was taken away while it was made")  # noqa: TRY301 - as the others
        write_whole(fs, draft / _META, seal(_meta(stream, identity)), is_synced=False)
        fs.rename(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            remove_all(fs, draft)
        if lock is not None:
            lock.release()
        raise
    assert lock.path is not None
    lock.path = path / lock.path.name
    return Home(fs, path, lock)


def _meta(stream: str, identity: SealedIdentity) -> dict[str, Any]:
    return {
        "stream": stream,
        "identity": identity.digest,
        "handler": identity.printable,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "created_unix_seconds": int(time.time()),  # For people; nothing is ordered by it.
    }


def take_home(fs: FileSystem, path: Path) -> Home | None:
    """Take the directory of a dead process; None if a living one has it, or it is gone.

    Raises:
        OSError: it cannot be looked at.
    """
    if not is_private_directory(fs, path):
        return None
    lock = take_lock(fs, path)
    return None if lock is None else Home(fs, path, lock)


def is_private_directory(fs: FileSystem, path: Path) -> bool:
    """Tell whether a path is a directory of this user, and no symbolic link; False too if it is gone."""
    try:
        status = fs.status(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        return False
    return os.name == "nt" or status.st_uid == os.geteuid()


def describe(fs: FileSystem, path: Path) -> Description:
    """Read what a stream is, from ``meta.json`` or, where that is damaged, from the segments' first lines.

    Raises:
        OSError: files cannot be read, which may pass.
    """
    found = read_sealed(fs, path / _META)
    if found is not None and found[0] != FORMAT:
        return Description(None, {}, _unknown_version(path, found[0]))
    meta = found[1] if found is not None else {}
    identity = meta.get("identity")
    first_lines = [_first_line_of(fs, path / name) for name in fs.names(path) if segment_number(name)]
    for line in first_lines:
        if line.version is not None and line.version != FORMAT:
            return Description(None, meta, _unknown_version(path, line.version))
        identity = identity or line.identity
    if identity is None and first_lines:
        return Description(
            None,
            meta,
            identity_problem=f"nothing in '{path}' tells whose entries they are, so they are left there; "
            "`defender-logging spool send` delivers them to a handler that you name",
        )
    return Description(identity, meta)


def _first_line_of(fs: FileSystem, path: Path) -> Any:
    try:
        fd = fs.open(path, os.O_RDONLY)
    except FileNotFoundError:  # Finished and removed by its owner meanwhile.
        return read_first_line(b"")
    try:
        return read_first_line(fs.read(fd, 0, _FIRST_LINE_BYTES))
    finally:
        fs.close(fd)


def _unknown_version(path: Path, version: int) -> str:
    return (
        f"'{path}' was written in format {version}, and this release reads format {FORMAT}: it is left untouched; "
        "run the release that wrote it to deliver its entries"
    )


def remove_unfinished(fs: FileSystem, root: Path, name: str) -> bool:
    """Clear away what a process left that died while it made a directory; True if ``name`` is such a thing."""
    path = root / name
    if name.startswith(SALT_DRAFT):
        with contextlib.suppress(OSError):
            if time.time() - fs.status(path).st_mtime >= UNFINISHED_AGE_SECONDS:
                fs.unlink(path)
        return True
    if not name.startswith(_UNFINISHED):
        with contextlib.suppress(OSError):  # A stream's directory is never empty, unless its remover died.
            fs.remove_directory(path)
        return False
    with contextlib.suppress(OSError):
        if time.time() - fs.status(path).st_mtime < UNFINISHED_AGE_SECONDS:
            return True
        if home := take_home(fs, path):
            remove_all(fs, path)
            home.lock.release()
        elif not fs.names(path):
            fs.remove_directory(path)
    return True


def remove_all(fs: FileSystem, path: Path) -> None:
    """Remove a directory and the files in it, the lock's last.

    Raises:
        OSError: not all of it could be removed.
    """
    for name in sorted(fs.names(path), key=_is_lock):
        fs.unlink(path / name)
    fs.remove_directory(path)


def _is_lock(name: str) -> bool:
    return name == "lock" or name.startswith(("lock.", ".claim-"))
