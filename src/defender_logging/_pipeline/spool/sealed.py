"""Writes small JSON files that show by themselves whether they are whole.

The cursor and a stream's description are kept so: one object with the format version, a CRC-32 and the body. A
file is always written beside and renamed, so a reader sees the old one or the new one; the checksum is for
disks and power cuts. What cannot be read is rebuilt from the segments by those who use it.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

from defender_logging._pipeline.spool.system import FileSystem, write_all

__all__ = ["FORMAT", "read_sealed", "seal", "unseal", "write_whole"]

FORMAT = 1
"""Version of everything in a stream's directory. A change that an older reader would misread raises it."""

MAX_BYTES = 64 << 20
"""More is not read: no file of ours comes near."""


def _checksum(version: object, body: object) -> str:
    text = json.dumps([version, body], separators=(",", ":"), sort_keys=True)
    return f"{zlib.crc32(text.encode()):08x}"


def seal(body: dict[str, Any]) -> bytes:
    """Return the file's content for ``body``."""
    return json.dumps({"format": FORMAT, "crc32": _checksum(FORMAT, body), "body": body}).encode() + b"\n"


def unseal(content: bytes) -> tuple[int, dict[str, Any]] | None:
    """Return format version and body; None if it is damaged. The body of another version means nothing here."""
    try:
        outer = json.loads(content)
        version, body = outer["format"], outer["body"]
        is_whole = outer["crc32"] == _checksum(version, body) and type(version) is int
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return (version, body) if is_whole and isinstance(body, dict) else None


def read_sealed(fs: FileSystem, path: Path) -> tuple[int, dict[str, Any]] | None:
    """Read and unseal a file; None if it is missing or damaged.

    Raises:
        OSError: it cannot be read, which is no damage and may pass.
    """
    try:
        fd = fs.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return unseal(fs.read(fd, 0, MAX_BYTES))
    finally:
        fs.close(fd)


def write_whole(fs: FileSystem, path: Path, content: bytes, *, is_synced: bool) -> None:
    """Write a file under another name and rename it, so that nobody ever sees half of it.

    Raises:
        OSError: nothing has changed then, but for a file ``*.new`` that the next call replaces.
    """
    draft = path.with_name(f"{path.name}.new")
    fd = fs.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(fs, fd, content)
        if is_synced:
            fs.sync(fd)
    finally:
        fs.close(fd)
    fs.rename(draft, path)
