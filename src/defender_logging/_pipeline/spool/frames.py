r"""Writes an entry as one line with a checksum, and finds the whole ones again in whatever a disk gives back.

An entry comes from the writer and goes, framed, to a segment in one write; the reader and the survey of an orphan
get ``Piece``s back. A frame is ``crc32 length seq line\\n``: three fixed-width hexadecimal numbers, each followed by
a blank, then the very bytes that are sent. The checksum covers all but itself and the newline.

Guaranteed
- One flipped bit, wherever it is, costs at most the entry it hit; in the newline it costs nothing.
- A file cut or zeroed anywhere gives back every entry that lies before whole.
- An entry's content is never taken for a frame: after damage, frames are looked for only after a newline or a
  NUL, and strict JSON holds neither.
Not guaranteed: that damage in neighbouring entries is told apart (it is one piece). A CRC-32 finds accidents, not
intent; against that there is ``integrity``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from defender_logging._pipeline.entry import Entry

try:  # The same checksum in a quarter of the time.
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

__all__ = ["HEADER_BYTES", "Piece", "bounds_of_gapless", "encode_frame", "gapless", "pieces"]

HEADER_BYTES = 8 + 1 + 8 + 1 + 16 + 1
"""Bytes before the line; one more follows it."""

_CRC_BYTES = 9
_HEADER = re.compile(rb"([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{16}) ")
_START = re.compile(rb"[\n\0](?=[0-9a-f]{8} [0-9a-f]{8} [0-9a-f]{16} )")


class Piece(NamedTuple):
    """A stretch of a segment, by its offsets: one whole entry, or bytes that are none (``entry`` is None)."""

    start: int
    end: int
    entry: Entry | None


def encode_frame(seq: int, line: bytes) -> bytes:
    """Return the bytes that stand for one entry. ``line`` is one line without its newline."""
    checked = b"%08x %016x %b" % (len(line), seq, line)
    return b"%08x %b\n" % (crc32(checked), checked)


def pieces(data: bytes, start: int = 0) -> Iterator[Piece]:
    """Divide ``data`` from offset ``start`` on into whole entries and damaged stretches, in order, without gaps."""
    while start < len(data):
        piece = _whole_at(data, start) or Piece(start, _next_whole(data, start), None)
        yield piece
        start = piece.end


def gapless(data: bytes, start: int, first: int, last: int) -> Iterator[tuple[Entry, int]]:
    """Give the entries with the numbers from ``first`` on, each with its end, as long as they stand there one by one.

    Ends before whatever is not the next number whole, which ``pieces`` is to look at. This is what reading a backlog
    costs, so it is written for speed: half of what ``pieces`` takes.
    """
    for seq in range(first, last + 1):
        begin = start + HEADER_BYTES
        header = data[start:begin]
        try:
            length, number = int(header[9:17], 16), int(header[18:34], 16)
        except ValueError:
            return
        end = begin + length
        line = data[begin:end]
        # The checksum is over the length and the number as well, and itself compared as text.
        checksum = b"%08x " % crc32(line, crc32(header[_CRC_BYTES:]))
        if number != seq or header[:_CRC_BYTES] != checksum or end > len(data):
            return
        start = min(end + 1, len(data))
        yield Entry(seq, line), start


def bounds_of_gapless(data: bytes, start: int) -> tuple[int, int] | None:
    """Return the first and the last number in ``data`` if, by count, every number between them stands there too.

    Looks at the first entry, the last one and the number of lines: a hundredth of what reading all of them costs, so
    what is damaged in the middle is not seen. None: there is a gap, or something is damaged, or there is no entry.
    """
    last_start = data.rfind(b"\n", start, len(data) - 1) + 1
    first, last = _whole_at(data, start), _whole_at(data, max(start, last_start))
    if first is None or first.entry is None or last is None or last.entry is None or last.end != len(data):
        return None
    count = data.count(b"\n", start)
    if not data.endswith(b"\n") or last.entry.seq - first.entry.seq + 1 != count:
        return None
    return first.entry.seq, last.entry.seq


def _whole_at(data: bytes, start: int) -> Piece | None:
    header = _HEADER.match(data, start)
    if header is None:
        return None
    checksum, length, seq = header.groups()
    first = start + HEADER_BYTES
    end = first + int(length, 16)
    if end > len(data):
        return None
    line = data[first:end]
    if crc32(line, crc32(data[start + _CRC_BYTES : first])) != int(checksum, 16):
        return None
    # The byte after the line is the newline, whatever a disk has made of it.
    return Piece(start, min(end + 1, len(data)), Entry(int(seq, 16), line))


def _next_whole(data: bytes, start: int) -> int:
    for boundary in _START.finditer(data, start):
        if _whole_at(data, boundary.end()):
            return boundary.end()
    return len(data)
