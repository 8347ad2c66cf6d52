"""Sets of sequence numbers, kept as merged ranges: what a gap in the trail is told with, and what is settled."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

__all__ = ["Ranges", "numbers_in"]


class Ranges:
    """A set of whole numbers as ``[first, last]`` pairs; its size is that of the gaps in it. Not thread-safe.

    Iteration gives the pairs in rising order.
    """

    __slots__ = ("_pairs",)

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._pairs: list[list[int]] = []
        for number in numbers:
            self.add(number)

    def __bool__(self) -> bool:
        return bool(self._pairs)

    def __len__(self) -> int:
        """How many numbers, not how many pairs."""
        return sum(last - first + 1 for first, last in self._pairs)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((first, last) for first, last in self._pairs)

    def __contains__(self, number: int) -> bool:
        return self.next_from(number) == number

    def __repr__(self) -> str:
        return f"Ranges({self._pairs})"

    def copy(self) -> Ranges:
        """Return an equal set that changes on its own."""
        other = Ranges()
        other._pairs = [[first, last] for first, last in self._pairs]
        return other

    def next_from(self, number: int) -> int | None:
        """Return the lowest number in the set that is not below ``number``; None if there is none."""
        pairs = self._pairs
        at = bisect_left(pairs, [number + 1])
        if at > 0 and number <= pairs[at - 1][1]:
            return number
        return pairs[at][0] if at < len(pairs) else None

    def end_of_run(self, number: int) -> int:
        """Return the last of the numbers in the set that follow each other from ``number`` on, which is in it."""
        return self._pairs[bisect_left(self._pairs, [number + 1]) - 1][1]

    def add(self, number: int) -> None:
        """Add one number; nothing happens if it is in already. Constant time for rising numbers."""
        pairs = self._pairs
        if pairs and pairs[-1][1] == number - 1:
            pairs[-1][1] = number
            return
        at = len(pairs) if not pairs or number > pairs[-1][1] else bisect_left(pairs, [number, number])
        if (at > 0 and number <= pairs[at - 1][1]) or (at < len(pairs) and pairs[at][0] == number):
            return
        joins_left = at > 0 and pairs[at - 1][1] == number - 1
        joins_right = at < len(pairs) and pairs[at][0] == number + 1
        if joins_left and joins_right:
            pairs[at - 1][1] = pairs.pop(at)[1]
        elif joins_left:
            pairs[at - 1][1] = number
        elif joins_right:
            pairs[at][0] = number
        else:
            pairs.insert(at, [number, number])

    def add_range(self, first: int, last: int) -> None:
        """Add all numbers from ``first`` to ``last``."""
        pairs = self._pairs
        self.remove(first, last)
        at = bisect_left(pairs, [first])
        if at < len(pairs) and pairs[at][0] == last + 1:
            last = pairs.pop(at)[1]
        if at > 0 and pairs[at - 1][1] == first - 1:
            pairs[at - 1][1] = last
        else:
            pairs.insert(at, [first, last])

    def remove(self, first: int, last: int) -> list[tuple[int, int]]:
        """Take out all numbers from ``first`` to ``last``; returns those that were in, as pairs."""
        if first > last:
            return []
        pairs = self._pairs
        start = bisect_left(pairs, [first])
        if start > 0 and pairs[start - 1][1] >= first:
            start -= 1
        end = bisect_left(pairs, [last + 1])
        removed = [(max(low, first), min(high, last)) for low, high in pairs[start:end]]
        if removed:
            left, right = pairs[start][0], pairs[end - 1][1]
            kept = ([[left, first - 1]] if left < first else []) + (
                [[last + 1, right]] if right > last else []
            )
            pairs[start:end] = kept
        return removed

    def take_first(self, count: int) -> list[list[int]]:
        """Remove and return the lowest ``count`` ranges, or all if there are fewer."""
        taken, self._pairs = self._pairs[:count], self._pairs[count:]
        return taken


def numbers_in(pairs: Iterable[tuple[int, int]]) -> Iterator[int]:
    """Give all numbers of pairs ``(first, last)``."""
    for first, last in pairs:
        yield from range(first, last + 1)
