"""Tells people of a lasting trouble once, and of its end; a buffer with a store has one for all its troubles.

Threads: whoever holds the buffer's lock.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Troubles"]


class Troubles:
    """The troubles that last, by kind.

    Args:
        tell: takes a sentence for people; must not block or log.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._lasting: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._lasting)

    def begin(self, kind: str, sentence: str) -> None:
        """Tell of a trouble, unless it lasts already."""
        if kind not in self._lasting:
            self._lasting.add(kind)
            self._tell(sentence)

    def end(self, kind: str, sentence: str) -> None:
        """Tell that a trouble is over, if there was one."""
        if kind in self._lasting:
            self._lasting.discard(kind)
            self._tell(sentence)
