"""Reads the segments and the cursor of a stream that this process did not write, and counts what is unsettled.

The directory and its orphans go in; segments with their unsettled numbers, and all damage, come out, for the
adopter's catalogue or for a list. Changes nothing. One segment is in memory at a time.

Guaranteed: an entry that can be read is in the result, unless the cursor says that it is settled and the cursor
is believable. It is not if it claims a number above all that the segments hold: then it is of another time than
they are (a restored backup, a lost write), and all they hold counts as unsettled. That can make duplicates.
Numbers that stand in two segments (written anew after a failed sync) count once, in the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from defender_logging._pipeline.ranges import Ranges
from defender_logging._pipeline.spool.cursor import NOTHING_SETTLED, Cursor
from defender_logging._pipeline.spool.frames import bounds_of_gapless, pieces
from defender_logging._pipeline.spool.home import CURSOR
from defender_logging._pipeline.spool.sealed import FORMAT, read_sealed
from defender_logging._pipeline.spool.segments import (
    Segment,
    is_unfinished,
    load,
    read_first_line,
    segment_number,
)
from defender_logging._pipeline.spool.system import FileSystem

__all__ = ["Damage", "Survey", "survey"]


class Damage(NamedTuple):
    """Bytes of a segment that are no entry, and the numbers that are missing because of them, as far as known.

    Attributes:
        segment_number: which segment.
        offset: where in it.
        content: the bytes.
        lost: numbers of entries that were there, as pairs; those of an orphan are not known.
        is_torn: the unfinished end of a file, as a power cut leaves it, not an entry that was whole once.
    """

    segment_number: int
    offset: int
    content: bytes
    lost: tuple[tuple[int, int], ...] = ()
    is_torn: bool = False


@dataclass(slots=True)
class Survey:
    """What the files of one stream hold.

    Attributes:
        segments: ours, by number, each with its unsettled entries.
        damage: all damage in them.
        last_seq: the highest number found; 0 if none.
        strange: files named like segments that are not ours, which nobody may delete.
        bytes_on_disk: of all segments.
    """

    segments: list[Segment] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    last_seq: int = 0
    strange: list[Path] = field(default_factory=list)
    bytes_on_disk: int = 0


def _go_on() -> None: ...


def survey(
    fs: FileSystem, path: Path, *, is_quick: bool = False, between: Callable[[], None] = _go_on
) -> Survey:
    """Survey the directory ``path`` of a stream. Segments that vanish meanwhile count as delivered.

    Args:
        fs: the file system.
        path: the directory.
        is_quick: take a segment that has the right number of lines for whole, for who reads it later anyhow: what is
            damaged in it then shows when it is read.
        between: called after each segment, for who has other things to do meanwhile.

    Raises:
        OSError: something cannot be read; that is never taken for damage.
    """
    # The cursor first: what a living owner settles and removes later is only missing then, never counted twice.
    cursor = _read_cursor(fs, path)
    result = Survey()
    known = Ranges()
    for number, name in sorted((n, name) for name in fs.names(path) if (n := segment_number(name))):
        segment = Segment(number, path / name)
        try:
            data = load(fs, segment)
        except FileNotFoundError:
            continue
        if not (is_quick and _takes_for_whole(segment, data, known, result)):
            _survey_segment(segment, data, known, result)
        between()
    result.last_seq = max((last for _, last in known), default=0)
    if cursor.highest <= result.last_seq:
        for segment in result.segments:
            for pair in cursor.pairs():
                segment.unsettled.remove(*pair)
    return result


def _takes_for_whole(segment: Segment, data: bytes, known: Ranges, result: Survey) -> bool:
    header = read_first_line(data)
    bounds = bounds_of_gapless(data, header.end) if header.version == FORMAT else None
    if bounds is None:
        return False
    first, last = bounds
    already = known.next_from(first)
    if already is not None and already <= last:
        return False
    known.add_range(first, last)
    segment.unsettled.add_range(first, last)
    segment.last_seq = last
    segment.end = segment.synced_end = len(data)
    result.bytes_on_disk += len(data)
    result.segments.append(segment)
    return True


def _survey_segment(segment: Segment, data: bytes, known: Ranges, result: Survey) -> None:
    result.bytes_on_disk += len(data)
    first = read_first_line(data)
    found = list(pieces(data, first.end))
    if first.version != FORMAT and not is_unfinished(data) and not any(piece.entry for piece in found):
        result.strange.append(segment.path)
        return
    for piece in found:
        if piece.entry is None:
            content = data[piece.start : piece.end]
            # The newline of a whole entry was written, whatever happened to the rest of it.
            is_torn = piece.end == len(data) and not content.endswith(b"\n")
            result.damage.append(Damage(segment.number, piece.start, content, is_torn=is_torn))
        elif piece.entry.seq not in known:
            known.add(piece.entry.seq)
            segment.unsettled.add(piece.entry.seq)
            segment.last_seq = max(segment.last_seq, piece.entry.seq)
    segment.end = segment.synced_end = len(data)
    result.segments.append(segment)


def _read_cursor(fs: FileSystem, path: Path) -> Cursor:
    found = read_sealed(fs, path / CURSOR)
    if found is None or found[0] != FORMAT:
        return NOTHING_SETTLED
    return Cursor.from_body(found[1]) or NOTHING_SETTLED
