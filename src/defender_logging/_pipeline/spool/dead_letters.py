"""Keeps what will never be delivered, with the reason and the receiver's answer, to be looked at and sent again.

The sender sets an entry aside when the receiver refuses it for good; a stream sets damaged bytes aside. They go to
``dead-letters.ndjson`` in the stream's directory, one JSON object a line, the entry's own bytes spliced in
unchanged; the command line reads, sends and discards them.

Guaranteed
- Append-only, one write a line: any process may append, and a torn line hurts no other. Discarding appends too,
  so the command line can discard beside a running owner.
- Bounded: a file that has grown to half of the bound becomes ``dead-letters.old.ndjson``; the letters of the file
  that it replaces are lost and counted.
A letter set aside twice (a death in between) has the same ``id`` and counts once.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from defender_logging._pipeline.spool.home import DEAD_LETTERS
from defender_logging._pipeline.spool.system import FileSystem, spool_error

__all__ = ["DeadLetter", "DeadLetters"]

_ENTRY = b',"entry":'
MAX_ANSWER_CHARACTERS = 2000
"""Of the receiver's answer; enough for every error text, too little for a page."""


class DeadLetter(NamedTuple):
    """One thing set aside.

    Attributes:
        id: the entry's ``stream-seq``; for damaged bytes a name made of their place.
        reason: the word that it is counted under.
        answer: the receiver's answer in words, without secrets; may be empty.
        seq: the entry's number; None for damaged bytes.
        time: when it was set aside, Unix seconds.
        line: the entry's bytes, or the damaged ones.
    """

    id: str
    reason: str
    answer: str
    seq: int | None
    time: float
    line: bytes

    @property
    def is_entry(self) -> bool:
        """True if it can be sent again."""
        return self.seq is not None


class DeadLetters:
    """The dead letters of one stream. Threads: one at a time; other processes may discard meanwhile.

    Args:
        fs: the file system.
        directory: of the stream.
        max_bytes: bound of both files together.
    """

    def __init__(self, fs: FileSystem, directory: Path, max_bytes: int) -> None:
        self._fs = fs
        self._old, self._path = (directory / name for name in DEAD_LETTERS)
        self._max_file_bytes = max_bytes // 2

    def append(self, letter: DeadLetter) -> int:
        """Set something aside.

        Returns:
            How many older letters had to go for it; 0 normally.

        Raises:
            SpoolError: it is not set aside.
        """
        line = _encode(letter)
        try:
            gone = self._make_room(len(line))
            self._write(line)
        except OSError as error:
            raise spool_error(f"writing '{self._path}'", error) from error
        return gone

    def _make_room(self, size: int) -> int:
        try:
            used = self._fs.status(self._path).st_size
        except FileNotFoundError:
            return 0
        if used + size <= self._max_file_bytes:
            return 0
        gone = self._letters([self._old, self._path]).keys() - self._letters([self._path]).keys()
        self._fs.rename(self._path, self._old)
        return len(gone)

    def _write(self, line: bytes) -> None:
        fd = self._fs.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            end = self._fs.status(fd).st_size
            if end and self._fs.read(fd, end - 1, 1) != b"\n":
                line = b"\n" + line  # A writer died in the middle of the line before.
            if self._fs.write(fd, line) != len(line):
                with contextlib.suppress(OSError):
                    self._fs.truncate(fd, end)
                raise OSError(errno.ENOSPC, "only a part was written")
        finally:
            self._fs.close(fd)

    def read(self) -> list[DeadLetter]:
        """Return all that are not discarded, oldest first; lines that cannot be read are left out.

        Raises:
            OSError: the files cannot be read.
        """
        return list(self._letters([self._old, self._path]).values())

    def _letters(self, paths: list[Path]) -> dict[str, DeadLetter]:
        letters: dict[str, DeadLetter] = {}
        for line in self._lines(paths):
            found = _decode(line)
            if isinstance(found, DeadLetter):
                letters[found.id] = found
            elif found is not None:
                for discarded in found:
                    letters.pop(discarded, None)
        return letters

    def _lines(self, paths: list[Path]) -> Iterator[bytes]:
        for path in paths:
            try:
                fd = self._fs.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                data = self._fs.read(fd, 0, self._fs.status(fd).st_size)
            finally:
                self._fs.close(fd)
            yield from data.split(b"\n")

    def discard(self, ids: Iterable[str]) -> None:
        """Strike letters out; safe beside a running owner. Their bytes go when the file does.

        Raises:
            SpoolError: they are still there.
        """
        try:
            self._write(json.dumps({"discarded": sorted(ids)}).encode() + b"\n")
        except OSError as error:
            raise spool_error(f"writing '{self._path}'", error) from error

    def remove_if_empty(self) -> None:
        """Remove the files if no letter is left in them. For the owner of the directory.

        Raises:
            OSError: they are still there.
        """
        if not self.read():
            for path in (self._old, self._path):
                with contextlib.suppress(FileNotFoundError):
                    self._fs.unlink(path)


def _encode(letter: DeadLetter) -> bytes:
    head: dict[str, Any] = {
        "id": letter.id,
        "reason": letter.reason,
        "answer": letter.answer[:MAX_ANSWER_CHARACTERS],
        "seq": letter.seq,
        "time": letter.time,
    }
    if not letter.is_entry:
        head["damaged_base64"] = base64.b64encode(letter.line).decode()
        return json.dumps(head).encode() + b"\n"
    # Spliced, not decoded and encoded again: what is sent later must be the very bytes.
    return json.dumps(head, separators=(",", ":")).encode()[:-1] + _ENTRY + letter.line + b"}\n"


def _decode(line: bytes) -> DeadLetter | set[str] | None:
    """Read a line: a letter, the ids of discarded ones, or None if it is damaged."""
    try:
        found = json.loads(line)
        if "discarded" in found:
            return set(found["discarded"])
        if "damaged_base64" in found:
            content = base64.b64decode(found["damaged_base64"])
        else:
            # Quotes inside the strings before are escaped, so the first place is the right one.
            content = line[line.index(_ENTRY) + len(_ENTRY) : -1]
        return DeadLetter(
            str(found["id"]),
            str(found["reason"]),
            str(found["answer"]),
            found["seq"],
            float(found["time"]),
            content,
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
