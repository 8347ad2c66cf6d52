"""The values that travel: fields, draft, entry, batch.

A formatter turns a record into ``Fields``; a destination encodes them once, in the caller's thread, into a
``Draft`` (final bytes but for the number); the buffer numbers it into an ``Entry``; the worker cuts entries
into a ``Batch``. All are immutable, so any thread may hold them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

__all__ = ["SCHEMA", "Batch", "Draft", "Entry", "Fields", "Trace", "new_draft", "new_entry"]

SCHEMA = "1"
"""Version of the entry's layout, written as ``schema``."""


class Trace(NamedTuple):
    """The ids of the span that a record was made in, as integers (128 and 64 bits)."""

    trace_id: int
    span_id: int


class Fields(NamedTuple):
    """What one record says, as plain JSON values in the order of the wire.

    Attributes:
        values: names to str, int, float, bool, None, list or dict; strict JSON, redacted, without
            ``schema``, ``id``, ``stream`` and ``seq``.
        unix_microseconds: when it happened.
        levelno: the record's own level number.
        trace: the current span, where the process traces.
    """

    values: dict[str, Any]
    unix_microseconds: int
    levelno: int
    trace: Trace | None = None


class Draft(NamedTuple):
    """One encoded entry without its number.

    The final line is ``head + b',"id":"S-N","stream":"S","seq":N' + foot``. ``head`` is never an empty
    object: it ends right after a value, so the comma is always right. ``core`` is the digest for the hash chain
    (see ``integrity``), and empty without one.
    """

    head: bytes
    foot: bytes
    core: bytes = b""


class Entry(NamedTuple):
    """One numbered entry: the very bytes that are sent, one JSON object without a newline."""

    seq: int
    line: bytes


new_draft: Callable[[tuple[bytes, bytes, bytes]], Draft] = partial(tuple.__new__, Draft)
new_entry: Callable[[tuple[int, bytes]], Entry] = partial(tuple.__new__, Entry)
"""The same as ``Draft(...)`` and ``Entry(...)`` without a frame, for the places that every record passes."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries that travel in one request, in order.

    Attributes:
        entries: at least one.
        is_ambiguous: an earlier try may have arrived, so a further one may make duplicates.
        is_compressed: False after an answer that hints at a broken compression.
        attempts: requests already made for these entries together.
    """

    entries: tuple[Entry, ...]
    is_ambiguous: bool = False
    is_compressed: bool = True
    attempts: int = 0
