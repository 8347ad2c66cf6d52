"""Steps over many entries at once: each is a call or two in C, for it is made while callers wait for the buffer's lock.

The buffer numbers, takes and settles with these. A loop of Python over as many entries took ten times as long, and
nobody else has the interpreter meanwhile.

Guaranteed: no signal handler and no other thread sees half of a step; only a lack of memory can end one in its midst.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from itertools import accumulate, islice, repeat, starmap
from operator import add, itemgetter
from typing import Any

from defender_logging._pipeline.entry import Draft, Entry

__all__ = ["bytes_of", "count_fitting", "count_fitting_drafts", "discard_keys", "discard_left", "seqs_of"]

_first_of = itemgetter(0)
_second_of = itemgetter(1)


def bytes_of(entries: Iterable[Entry]) -> int:
    """Return the length of all lines together."""
    return sum(map(len, map(_second_of, entries)))


def seqs_of(entries: Iterable[Entry]) -> Iterable[int]:
    """Return the numbers, in order."""
    return map(_first_of, entries)


def discard_left(items: deque[Any], count: int) -> None:
    """Let go of the first ``count`` items; nothing is allocated once the first is out."""
    deque(starmap(items.popleft, repeat((), count)), maxlen=0)


def discard_keys(mapping: dict[int, Any], keys: Iterable[int]) -> None:
    """Let go of those items that there are."""
    deque(map(mapping.pop, keys, repeat(None)), maxlen=0)


def count_fitting(entries: Iterable[Entry], max_entries: int, max_bytes: int) -> int:
    """Return how many of the first entries fit, each with a byte for its separator; at least one if there is any."""
    ends = _ends(map(len, map(_second_of, islice(entries, max_entries))), 1)
    return max(bool(ends), bisect_right(ends, max_bytes))


def count_fitting_drafts(drafts: Iterable[Draft], tail_bytes: int, max_bytes: int) -> int:
    """Return how many of the first drafts fit, each with ``tail_bytes`` for what numbering adds."""
    heads, feet = map(_first_of, drafts), map(_second_of, drafts)
    return bisect_right(_ends(map(add, map(len, heads), map(len, feet)), tail_bytes), max_bytes)


def _ends(sizes: Iterable[int], extra: int) -> list[int]:
    """Return where each would end if they stood one after the other, each with ``extra`` bytes."""
    return list(accumulate(map(extra.__add__, sizes)))
