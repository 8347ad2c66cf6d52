"""Shows what is in the streams of a spool, beside running processes and without changing anything.

The command line asks; ``survey`` and ``reading`` read. What an owner finishes and removes meanwhile is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defender_logging._pipeline.entry import Entry
from defender_logging._pipeline.spool.catalogue import Catalogue
from defender_logging._pipeline.spool.dead_letters import DeadLetters
from defender_logging._pipeline.spool.home import describe
from defender_logging._pipeline.spool.locks import is_locked
from defender_logging._pipeline.spool.reading import Backlog
from defender_logging._pipeline.spool.survey import survey
from defender_logging._pipeline.spool.system import SYSTEM, FileSystem, SpoolError, spool_error

__all__ = ["StreamInfo", "describe_streams", "entries_of"]

READ_BYTES = 1 << 20
"""How much of a stream is taken into memory at once."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What can be said about one stream without disturbing its owner.

    Attributes:
        stream: its name.
        path: its directory.
        is_owned: a living process has it; otherwise it is an orphan.
        identity: digest of the identity; None if not known.
        meta: the description its owner wrote: ``handler`` (without secrets), ``pid``, ``host``, …; may be empty.
        entries: unsettled ones.
        bytes: of its segments.
        oldest_time: time of the oldest unsettled entry, as it is written in the entry; None if not known.
        dead_letters: how many.
        damaged: stretches of bytes that are no entry.
        problem: why it cannot be used, with the remedy; None if it can.
    """

    stream: str
    path: Path
    is_owned: bool
    identity: str | None
    meta: Mapping[str, Any]
    entries: int = 0
    bytes: int = 0
    oldest_time: str | None = None
    dead_letters: int = 0
    damaged: int = 0
    problem: str | None = None


def describe_streams(paths: Iterable[Path], fs: FileSystem = SYSTEM) -> list[StreamInfo]:
    """Describe streams by their directories, owned ones too; reads them whole."""
    return [info for path in paths if (info := _describe(fs, path))]


def _describe(fs: FileSystem, path: Path) -> StreamInfo | None:
    is_owned = False
    try:
        is_owned = is_locked(fs, path)
        found = describe(fs, path)
        if found.version_problem:
            return StreamInfo(path.name, path, is_owned, None, found.meta, problem=found.version_problem)
        held = survey(fs, path)
        catalogue = Catalogue(held.segments, held.last_seq)
        oldest = Backlog(fs, catalogue).read_after(0, 1)
        return StreamInfo(
            path.name,
            path,
            is_owned,
            found.identity,
            found.meta,
            entries=catalogue.unsettled_count,
            bytes=held.bytes_on_disk,
            oldest_time=_time_of(oldest[0].line) if oldest else None,
            dead_letters=len(DeadLetters(fs, path, 0).read()),
            damaged=len(held.damage),
            problem=found.identity_problem,
        )
    except FileNotFoundError:  # Its owner has just finished it.
        return None
    except (OSError, SpoolError) as error:
        return StreamInfo(path.name, path, is_owned, None, {}, problem=f"'{path}' cannot be read: {error}")


def entries_of(path: Path, fs: FileSystem = SYSTEM) -> Iterator[Entry]:
    """Give the unsettled entries of a stream in order, as of now, without taking it over.

    Raises:
        SpoolError: it cannot be read.
    """
    try:
        held = survey(fs, path)
    except OSError as error:
        raise spool_error(f"reading '{path}'", error) from error
    backlog = Backlog(fs, Catalogue(held.segments, held.last_seq))
    seq = 0
    while chunk := backlog.read_after(seq, READ_BYTES):
        yield from chunk
        seq = chunk[-1].seq


def _time_of(line: bytes) -> str | None:
    """Return the ``time`` of an entry, whatever its destination has put around it."""
    try:
        entry = json.loads(line)
        inner = entry.get("event", entry)
        time = inner.get("time") if isinstance(inner, dict) else None
    except (ValueError, AttributeError, RecursionError):
        return None
    return time if isinstance(time, str) else None
