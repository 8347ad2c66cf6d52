"""Calls something near the end of the stack, where every step of it may be the one that fails."""

from __future__ import annotations

import sys
from collections.abc import Callable

ROOM = 80
"""Calls that are left for a depth of 0."""


def returns_at(depth: int, step: Callable[[], object]) -> bool:
    """Call ``step`` so many calls deeper, of ``ROOM`` that are left; False where the stack ends in it."""
    frame, here = sys._getframe(), 0
    while frame is not None:
        frame, here = frame.f_back, here + 1
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(here + ROOM)
    try:
        _call(depth, step)
    except RecursionError:
        return False
    finally:
        sys.setrecursionlimit(limit)
    return True


def _call(depth: int, step: Callable[[], object]) -> None:
    if depth:
        _call(depth - 1, step)
    else:
        step()
