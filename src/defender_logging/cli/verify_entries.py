"""Looks at each entry of a hash chain alone: whether its ``hash`` is that of its content, and what it tells of others.

Entries come from ``verify_reading``; a short line goes to ``verify_streams``, made to be sorted by stream and number
and then to be judged beside its neighbours. Only entries whose own hash is right are believed, when they tell of drops
or of where a stream ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from defender_logging._pipeline.integrity import HASHED, Seal, core_digest

_STREAM = re.compile(r"[0-9A-Za-z_-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")
_MAX_SEQ = 10**18

SHORT = 32
"""Digits of a hash that are compared between entries: 128 bits."""

UNKNOWN = b"-"
_NOTHING = (UNKNOWN, UNKNOWN)


class Kind(bytes, Enum):
    """What a line is about; the order matters, as the best of several entries of one number comes first."""

    GOOD = b"0"
    STOPPED = b"1"  # Good too, and it ends the stream.
    UNKEYED = b"2"
    EDITED = b"3"
    BARE = b"4"
    END = b"5"
    TOLD = b"6"


class Sighting(NamedTuple):
    """One line.

    Attributes:
        stream: whose it is.
        seq: the number of the entry, or the first of a told gap.
        kind: a value of ``Kind``.
        prev: of the entry, or the hash before the gap; shortened, ``UNKNOWN`` if there is none.
        link: the entry's hash, the one after the gap, or that of the end.
        last: the last number of the gap.
    """

    stream: bytes
    seq: int
    kind: bytes
    prev: bytes
    link: bytes
    last: int


def sighting_in(line: bytes) -> Sighting:
    """Read a line that ``sightings`` has written."""
    stream, seq, kind, prev, link, last = line.split()
    return Sighting(stream, int(seq), kind, prev, link, int(last))


def _line(stream: str, seq: int, kind: Kind, links: tuple[bytes, bytes] = _NOTHING, last: int = 0) -> bytes:
    return b"%b %018d %b %b %b %d\n" % (stream.encode(), seq, kind.value, *links, last)


def sightings(
    entries: Iterable[Mapping[str, Any]], seals: Sequence[Seal], no_entry: Callable[[], None]
) -> Iterator[bytes]:
    """Look at each entry, and yield lines that sort by stream, number and kind.

    Args:
        entries: each as we wrote it.
        seals: those that may have made them.
        no_entry: called for each that has no stream and number.
    """
    plain = Seal()
    for entry in entries:
        place = _place_of(entry)
        if place is None:
            no_entry()
            continue
        stream, seq = place
        if entry.get("prev") is None and entry.get("hash") is None:
            yield _line(stream, seq, Kind.BARE)
            continue
        prev, link = _hash_in(entry.get("prev")), _hash_in(entry.get("hash"))
        entry_id = f"{stream}-{seq}"
        if not (prev and link and entry.get("id") == entry_id):
            yield _line(stream, seq, Kind.EDITED)
            continue
        core = _core_of(entry)
        if any(seal.link(prev, core, entry_id.encode()) == link for seal in seals):
            is_end = entry.get("trail") == "stopped" and _covered(entry, "of_stream") is None
            kind = Kind.STOPPED if is_end else Kind.GOOD
        else:
            is_plain = plain.link(prev, core, entry_id.encode()) == link
            kind = Kind.UNKEYED if is_plain else Kind.EDITED
        yield _line(stream, seq, kind, (prev[:SHORT], link[:SHORT]))
        if "trail" in entry and kind in (Kind.GOOD, Kind.STOPPED):
            yield from _told(stream, entry)


def _place_of(entry: Mapping[str, Any]) -> tuple[str, int] | None:
    stream, seq = entry.get("stream"), entry.get("seq")
    if isinstance(seq, str) and seq.isascii() and seq.isdecimal() and len(seq) < len(str(_MAX_SEQ)):
        seq = int(seq)
    if not isinstance(stream, str) or type(seq) is not int:
        return None
    return (stream, seq) if _STREAM.fullmatch(stream) and 0 < seq < _MAX_SEQ else None


def _hash_in(value: Any) -> bytes:
    """Return a hash as bytes; nothing for what is none."""
    return value.encode() if isinstance(value, str) and _HASH.fullmatch(value) else b""


def _core_of(entry: Mapping[str, Any]) -> bytes:
    try:
        return core_digest(entry)
    except (RecursionError, UnicodeEncodeError):  # No entry of ours is so deep, or has half a character.
        return b""


def _told(stream: str, entry: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield what an entry of ours tells of other entries."""
    if entry["trail"] == "stopped":
        place = _place_of({"stream": _covered(entry, "of_stream"), "seq": _covered(entry, "of_seq")})
        head = _hash_in(_covered(entry, "head"))
        if place is not None and head:
            yield _line(*place, Kind.END, (UNKNOWN, head[:SHORT]))
    elif entry["trail"] == "dropped":
        ranges, hashes = _covered(entry, "ranges"), _covered(entry, "range_hashes")
        for index, pair in enumerate(ranges if isinstance(ranges, list) else ()):
            first, last = _numbers_in(pair)
            if 0 < first <= last < _MAX_SEQ:
                yield _line(stream, first, Kind.TOLD, _hashes_at(hashes, index), last)


def _covered(entry: Mapping[str, Any], name: str) -> Any:
    """Return an extra that the hash covers; None for one that anybody may have added."""
    listed = entry.get(HASHED)
    return entry.get(name) if isinstance(listed, list) and name in listed else None


def _numbers_in(pair: Any) -> tuple[int, int]:
    is_pair = isinstance(pair, list) and [int, int] == [type(each) for each in pair]
    return (pair[0], pair[1]) if is_pair else (0, 0)


def _hashes_at(hashes: Any, index: int) -> tuple[bytes, bytes]:
    pair = hashes[index] if isinstance(hashes, list) and index < len(hashes) else None
    if not isinstance(pair, list) or len(pair) != len(_NOTHING):
        return _NOTHING
    return _hash_in(pair[0])[:SHORT] or UNKNOWN, _hash_in(pair[1])[:SHORT] or UNKNOWN
