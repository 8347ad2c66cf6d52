"""What workers want to tell people, kept until a thread that may log comes by.

A worker never calls into logging: ``dictConfig`` and ``logging.shutdown`` call ``close()`` while they hold
locks that a logging call needs. It leaves its report here, and the next log call, flush or close hands it to
the logger ``defender_logging``, whose records never enter our own handlers.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Sized

__all__ = ["LOGGER", "Reports"]

LOGGER = logging.getLogger("defender_logging")

MAX_WAITING_REPORTS = 100
"""A process that never logs again must not collect reports for ever; the newest are kept."""


class Reports:
    """A short queue of (level, sentence). Any thread may ``add``; one that may log calls ``emit``."""

    __slots__ = ("_waiting", "waiting")

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, str]] = deque(maxlen=MAX_WAITING_REPORTS)
        self.waiting: Sized = self._waiting
        """The queue itself: true while a report waits, without a call."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, levelno: int, sentence: str) -> None:
        """Leave a report; never blocks."""
        self._waiting.append((levelno, sentence))

    def forget(self) -> None:
        """Drop what waits: in a forked child it is the parent's to tell."""
        self._waiting.clear()

    def emit(self) -> None:
        """Log what waits; never raises an Exception. Not for our own threads."""
        while self._waiting:
            try:
                levelno, sentence = self._waiting.popleft()
            except IndexError:  # Another thread was quicker.
                return
            # A filter of the user's may fail over a record without his extras; nobody here called for it.
            with contextlib.suppress(Exception):
                LOGGER.log(levelno, "%s", sentence)
