"""Sees that every draft which was put in is numbered once, in order, whatever interrupts: the section of a buffer.

``Buffer.append`` puts a draft into ``_inbox``, and now or later somebody enters the section and has all that are there
numbered; what numbering means is the buffer's business.

Guaranteed
- The lock is held for a few steps only; no user code, no input or output and no logging runs under it.
- The short section may be entered again by the same thread (a signal handler, a destructor run by the
  collector): such a draft stays in the inbox and is numbered right after by the frame below. A plain RLock
  without an inbox lost entries, since the inner append ran between two steps of the outer one.
- A ``KeyboardInterrupt`` that lands inside the section is let through, as is a ``RecursionError``, after ``_repair``
  has brought the counts in line with what is held; where that fails too, before the next step of anybody.
- No loop stands between ``try`` and its handler, nor in a ``with``, where a caller's thread may be interrupted: from
  CPython 3.12 on the jump back is not covered, and an exception that lands on it passes every handler of its function.
"""

from __future__ import annotations

import sys
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from defender_logging._pipeline.entry import Draft
from defender_logging._pipeline.runs import discard_left

__all__ = ["Inbox"]


class Inbox(ABC):
    """Drafts that wait for their numbers, and the section in which they get them. A base of ``Buffer``.

    Every draft is an object of its own, or one that may stand in twice in a row without harm.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._inbox: deque[Draft] = deque()
        self._is_inside = False
        self._begun: tuple[Sequence[Draft], int] | None = None
        self._needs_repair = False
        self._last_seq = 0

    # What the buffer does in the section.

    @abstractmethod
    def _number_what_comes_before(self, draft: Draft) -> None:
        """Number what has to stand before ``draft``."""

    @abstractmethod
    def _next_drafts(self) -> Sequence[Draft]:
        """Return the drafts to number next: the first, or many where nothing is to be decided for any of them."""

    @abstractmethod
    def _number_one(self, draft: Draft) -> None:
        """Give a draft the next number."""

    @abstractmethod
    def _number_run(self, drafts: Sequence[Draft]) -> None:
        """Give drafts the next numbers."""

    @abstractmethod
    def _repair(self) -> None:
        """Bring the counts in line with what is held, after an interruption between two steps in the section."""

    # The section.

    @contextmanager
    def _section(self) -> Iterator[None]:
        """Hold the lock for the sender's side; drafts that arrive meanwhile from this thread are parked."""
        with self._lock:
            self._number_all()
            was_inside, self._is_inside = self._is_inside, True
            try:
                yield
            except BaseException:
                # Done below, or where that fails as well, before the next step of anybody.
                self._needs_repair = True
                raise
            finally:
                self._is_inside = was_inside
                self._changed.notify_all()
                self._number_all()

    def _number_all(self) -> None:
        """Number what is in the inbox; the lock is held. Inside ``_number`` it is left to the frame below."""
        if self._needs_repair and not self._is_inside:
            self._repair()
            self._needs_repair = False
        # Checked anew after each round: a signal handler may have parked a draft in the last instant.
        while self._inbox and not self._is_inside:
            self._number_next()

    def _number_parked(self) -> None:
        """Number what is in the inbox, if anything is."""
        if self._inbox:
            if sys.is_finalizing():
                self._outlive_threads()
            with self._lock:
                self._number_all()

    def _number_next(self) -> None:
        """Number the next drafts. Without a loop: one in here could be left without its handlers, see above."""
        self._is_inside = True
        try:
            if self._begun is not None:
                self._mend()
            if not self._inbox:  # A signal handler that logs was quicker.
                return
            self._number_what_comes_before(self._inbox[0])
            drafts = self._next_drafts()
            self._begun = (drafts, self._last_seq)
            if len(drafts) > 1:
                self._number_run(drafts)
                discard_left(self._inbox, len(drafts))
            else:
                self._number_one(drafts[0])
                self._inbox.popleft()
            self._begun = None
        except BaseException:
            # Noted first, since at the end of the stack mending may fail as well: then the next round begins with it.
            self._begun = self._begun or ((), self._last_seq)
            self._mend()
            raise
        finally:
            self._is_inside = False

    def _mend(self) -> None:
        """Put in order what an interrupted round left, before anything else is done."""
        assert self._begun is not None
        drafts, before = self._begun
        self._repair()
        if drafts and self._last_seq > before and self._inbox and self._inbox[0] is drafts[0]:
            # So many were numbered before the interruption, and are not to be numbered twice.
            discard_left(self._inbox, min(len(drafts), self._last_seq - before))
        self._begun = None

    def _outlive_threads(self) -> None:
        """At interpreter shutdown all other threads are gone for good, one of them perhaps with the lock."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
            return
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._is_inside = False
        self._repair()
