"""Steps over many entries at once: each is a call or two in C, for it is made while callers wait for the buffer's lock.

The buffer takes and settles a batch with these. A loop of Python over as many entries took ten times as long, and
nobody else has the interpreter meanwhile.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import accumulate, islice, repeat, starmap
from operator import itemgetter
from typing import TypeVar

from defender_logging._pipeline.entry import Entry

__all__ = ["bytes_of", "count_fitting", "pop_left", "seqs_of"]

_Item = TypeVar("_Item")

_seq_of = itemgetter(0)
_line_of = itemgetter(1)


def bytes_of(entries: Iterable[Entry]) -> int:
    """Return the length of all lines together."""
    return sum(map(len, map(_line_of, entries)))


def seqs_of(entries: Iterable[Entry]) -> Iterable[int]:
    """Return the numbers, in order."""
    return map(_seq_of, entries)


def pop_left(items: deque[_Item], count: int) -> tuple[_Item, ...]:
    """Take the first ``count`` items out; no signal handler and no other thread sees half of it."""
    return tuple(starmap(items.popleft, repeat((), count)))


def count_fitting(entries: Iterable[Entry], max_entries: int, max_bytes: int) -> int:
    """Return how many of the first entries fit, each with a byte for its separator; at least one if there is any."""
    ends: Sequence[int] = tuple(accumulate(map(len, map(_line_of, islice(entries, max_entries)))))
    return max(bool(ends), bisect_right(range(len(ends)), max_bytes, key=lambda at: ends[at] + at + 1))
