"""A segment is one append-only file of frames, and what is known about it while it is in use.

Segments are made by the writer (and the syncer, when it saves entries from a bad one), named by rising numbers,
and never rewritten. The first line says which format this is and whose entries they are, so that every other file
of a stream can be lost.

A file counts as ours if its first line is exact, or, with that line damaged, if a whole entry is in it. Anything
else is left where it is and reported, as is a file of another version: deleting it is for people to decide.
"""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from defender_logging._pipeline.ranges import Ranges
from defender_logging._pipeline.spool.sealed import FORMAT
from defender_logging._pipeline.spool.system import FileSystem, write_all

__all__ = [
    "FirstLine",
    "Segment",
    "create_segment",
    "first_line",
    "is_unfinished",
    "load",
    "read_first_line",
    "segment_number",
]

_NAME = re.compile(r"([0-9]{8,})\.seg")
_START = f"defender-logging spool {FORMAT} ".encode()
_FIRST = re.compile(rb"(defender-logging spool ([0-9]+) ([0-9a-f]+)) ([0-9a-f]{8})")


@dataclass(slots=True)
class Segment:
    """One file and its state in this process; guarded by the catalogue's lock.

    Attributes:
        number: rises with each segment of the stream.
        path: of the file.
        fd: open for appending and reading; None once everything in it is synced and it is sealed.
        end: offset up to which its content counts.
        synced_end: offset up to which it is known to be on the disk.
        last_seq: the highest number in it, settled or not; 0 if there is none.
        is_sealed: nothing is appended any more.
        unsettled: the numbers in it that are neither delivered nor given up. No two segments share one.
    """

    number: int
    path: Path
    fd: int | None = None
    end: int = 0
    synced_end: int = 0
    last_seq: int = 0
    is_sealed: bool = True
    unsettled: Ranges = field(default_factory=Ranges)


class FirstLine(NamedTuple):
    """What the first line of a segment says: None where it is damaged; ``end`` is the offset behind it."""

    version: int | None
    identity: str | None
    end: int


def segment_number(name: str) -> int | None:
    """Return the number in a file's name; None if it is no segment."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def first_line(identity: str) -> bytes:
    """Return the first line of a segment for an identity's digest."""
    text = f"defender-logging spool {FORMAT} {identity}".encode()
    return b"%b %08x\n" % (text, zlib.crc32(text))


def read_first_line(data: bytes) -> FirstLine:
    """Read the first line; a damaged one ends nowhere, so that the search for entries begins at its start."""
    match = _FIRST.match(data)
    if match is None or zlib.crc32(match[1]) != int(match[4], 16):
        return FirstLine(None, None, 0)
    # The byte behind is the newline, whatever a disk has made of it.
    return FirstLine(int(match[2]), match[3].decode(), match.end() + 1)


def is_unfinished(data: bytes) -> bool:
    """Tell whether a file is a segment of ours whose maker died before the first line was on the disk."""
    text = data.rstrip(b"\0")
    return b"\n" not in text and (_START.startswith(text) or text.startswith(_START))


def create_segment(fs: FileSystem, directory: Path, number: int, identity: str) -> Segment:
    """Make an empty segment, open for appending.

    Raises:
        OSError: nothing is left behind then, or an empty file, which holds nothing for anybody.
    """
    path = directory / f"{number:08d}.seg"
    fd = fs.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)
    line = first_line(identity)
    try:
        write_all(fs, fd, line)
    except BaseException:
        fs.close(fd)
        with contextlib.suppress(OSError):
            fs.unlink(path)
        raise
    size = len(line)
    return Segment(number, path, fd, end=size, is_sealed=False)


def load(fs: FileSystem, segment: Segment, offset: int = 0, end: int | None = None) -> bytes:
    """Read a segment from ``offset`` to ``end`` (None: to the end of the file), by its path.

    A whole segment in memory is the bound of every reader: 4 MiB, or one entry that is longer. A shared memory map
    would cost nothing, but a file cut short by others then kills the process (SIGBUS).

    Raises:
        OSError: it is gone or cannot be read; that is not damage.
    """
    fd = fs.open(segment.path, os.O_RDONLY)
    try:
        size = (fs.status(fd).st_size if end is None else end) - offset
        return fs.read(fd, offset, max(size, 0))
    finally:
        fs.close(fd)
