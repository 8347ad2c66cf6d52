"""Reads entries out of what receivers export: NDJSON of ours, Splunk's and Datadog's JSON, HEC envelopes, a spool.

A file or a spool directory goes in, one ``Found`` a JSON value comes out, with the entry as we wrote it, as far as
the form allows. One line is in memory at a time. What is no entry comes out too: somebody may have put it there.

Source of the forms: Splunk, "Export search results" (JSON, one ``result`` a line); Datadog, "Search logs" (API v1, v2)
and "Log archives" (``message``, ``host`` and ``service`` are taken out of ``attributes``).
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from defender_logging._pipeline.spool import SpoolDirectory, SpoolError, entries_of
from defender_logging.cli.exits import UsageError
from defender_logging.cli.spool_places import find_spools

MAX_LINE_BYTES = 16 << 20
"""No entry is longer, with whatever a receiver puts around it."""

_MAX_WRAPPERS = 4
_FRAME = frozenset({"preview", "offset", "lastrow", "init_offset"})
_TAKEN_OUT_BY_DATADOG = ("message", "host", "service")


class Found(NamedTuple):
    """One JSON value.

    Attributes:
        where: file and line, or stream, for people.
        entry: our entry; None if it is none.
    """

    where: str
    entry: dict[str, Any] | None


def read(path: str) -> Iterator[Found]:
    """Read a file (``-``: standard input; ``.gz`` is unpacked) or a spool directory.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        if path == "-":
            yield from _lines("-", sys.stdin.buffer)
        elif Path(path).is_dir():
            for place in find_spools(path).places:
                yield from _spooled(place.directory)
        else:
            with gzip.open(path) if path.endswith(".gz") else Path(path).open("rb") as file:
                yield from _lines(path, file)
    except (OSError, EOFError, SpoolError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path!r} cannot be read ({reason}); check the path and its permissions") from None


def _spooled(directory: SpoolDirectory) -> Iterator[Found]:
    """Yield what a spool still holds, dead letters too: the receiver does not have them."""
    for path in directory.stream_paths():
        for entry in entries_of(path):
            yield from _values(f"stream {path.name}", entry.line)
        for letter in directory.dead_letters(path.name).read():
            if letter.is_entry:
                yield from _values(f"dead letters of {path.name}", letter.line)


def _lines(name: str, file: IO[bytes] | gzip.GzipFile) -> Iterator[Found]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            _skip_line(file)
            yield Found(f"{name}:{number}", None)
        elif line.strip():
            yield from _values(f"{name}:{number}", line)


def _skip_line(file: IO[bytes] | gzip.GzipFile) -> None:
    while (part := file.readline(MAX_LINE_BYTES)) and not part.endswith(b"\n"):
        pass


def _values(where: str, line: bytes) -> Iterator[Found]:
    try:
        value = _JSON.decode(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        yield Found(where, None)
        return
    for each in value if isinstance(value, list) else [value]:
        if not _is_frame(each):
            yield Found(where, entry_in(each))


def _is_frame(value: Any) -> bool:
    """Tell whether it is a line that Splunk puts around its results."""
    return isinstance(value, dict) and "preview" in value and value.keys() <= _FRAME


def entry_in(value: Any) -> dict[str, Any] | None:
    """Return our entry, without what a receiver has put around it; None if there is none."""
    for _ in range(_MAX_WRAPPERS):
        if not isinstance(value, dict):
            return None
        if "stream" in value and "seq" in value:
            return value
        value = _unwrapped(value)
    return None


def _unwrapped(value: dict[str, Any]) -> Any:
    if isinstance(value.get("_raw"), str):
        with suppress(ValueError, RecursionError):
            return _JSON.decode(value["_raw"])
        return None
    if isinstance(value.get("result"), dict):
        result = value["result"]
        return result if "_raw" in result else _from_extracted(result)
    for name in ("event", "content"):
        if isinstance(value.get(name), dict):
            return value[name]
    inner = value.get("attributes")
    if isinstance(inner, dict):
        return {name: value[name] for name in _TAKEN_OUT_BY_DATADOG if name in value} | inner
    return None


def _from_extracted(result: dict[str, Any]) -> dict[str, Any]:
    """Return an entry from the fields that Splunk extracted: dotted names, ``{}`` for lists, all values text."""
    entry: dict[str, Any] = {}
    for name, value in result.items():
        if name.endswith("{}"):
            content = value if isinstance(value, list) else [value]
        else:  # What is extracted twice, as ``host`` is, stands there twice.
            content = value[0] if isinstance(value, list) and value else value
        *outer, last = name.removesuffix("{}").split(".")
        target = entry
        for part in outer:
            inner = target.setdefault(part, {})
            target = inner if isinstance(inner, dict) else {}
        target[last] = content
    return entry


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that stands there twice: readers do not agree which of the two counts."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name stands there twice")
    return values


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
