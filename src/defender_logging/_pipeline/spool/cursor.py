"""Says how far a stream is settled: every number up to a low mark, and the ranges above it.

The catalogue computes it from what is still unsettled, ``write_cursor`` of the stream writes it after each batch,
and whoever adopts the stream subtracts it from what the segments hold. It is a hint that saves duplicates, never
the only place of an entry: missing, empty, damaged, or ahead of the segments, it counts for nothing and all that
they hold is sent again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from defender_logging._pipeline.spool.sealed import FORMAT, seal, unseal

__all__ = ["NOTHING_SETTLED", "Cursor"]


class Cursor(NamedTuple):
    """Numbers settled: all up to ``low``, and those in ``ranges`` (first and last), rising, above it."""

    low: int
    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def from_unsettled(cls, unsettled: Iterable[tuple[int, int]], last: int) -> Cursor:
        """Make the cursor that leaves out just the pairs ``unsettled`` of the numbers up to ``last``."""
        settled: list[tuple[int, int]] = []
        next_number = 1
        for first, end in sorted(unsettled):
            if first > next_number or not settled:
                settled.append((next_number, first - 1))
            next_number = max(next_number, end + 1)
        if next_number <= last:
            settled.append((next_number, last))
        if not settled:
            return NOTHING_SETTLED
        return cls(settled[0][1], tuple(settled[1:]))

    @property
    def highest(self) -> int:
        """The highest number that it calls settled."""
        return self.ranges[-1][1] if self.ranges else self.low

    def pairs(self) -> list[tuple[int, int]]:
        """All settled numbers as pairs."""
        return [(1, self.low), *self.ranges]

    def encode(self) -> bytes:
        """Return the content of the file."""
        return seal({"low": self.low, "ranges": self.ranges})

    @classmethod
    def decode(cls, content: bytes) -> Cursor | None:
        """Read the content of the file; None if it is damaged, of another version, or not a cursor."""
        found = unseal(content)
        return cls.from_body(found[1]) if found and found[0] == FORMAT else None

    @classmethod
    def from_body(cls, body: dict[str, Any]) -> Cursor | None:
        """Read the body of the file; None if it is not what ``encode`` writes."""
        low, ranges = body.get("low"), body.get("ranges")
        if type(low) is not int or low < 0 or not isinstance(ranges, list):
            return None
        before = low
        for pair in ranges:
            if not (isinstance(pair, list) and [int, int] == [type(number) for number in pair]):
                return None
            if not before < pair[0] <= pair[1]:
                return None
            before = pair[1]
        return cls(low, tuple((first, last) for first, last in ranges))


NOTHING_SETTLED = Cursor(0)
