"""Says what is sent next, and when it has waited for company long enough.

First goes what has to go again, then what the sources hold: they take turns, so that new entries do not wait for
the whole of an adopted backlog, nor the backlog for them. A batch waits until it is full, until
``flush_interval_seconds`` have passed, or until somebody is in a hurry.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain

from defender_logging._pipeline.entry import Batch
from defender_logging._pipeline.policy import Policy
from defender_logging._pipeline.source import Source

__all__ = ["Batching", "Work"]

FRAME_BYTES = 2
"""The brackets of a JSON array; the separators are counted with the entries."""

Work = tuple[Source, Batch]
"""A batch, and whose it is."""


class Batching:
    """The work of one sender. ``add_source``, ``hurry`` and iterating are for any thread, all else for the sender.

    Args:
        policy: how large, and how long to wait.
        now: the moment.
    """

    def __init__(self, policy: Policy, now: float) -> None:
        self._policy = policy
        self._arriving: deque[Source] = deque()
        self._sources: deque[Source] = deque()
        self.again: deque[Work] = deque()
        """What was taken already and goes before all else."""
        self._gather_since = now
        self._is_hurried = False

    def __repr__(self) -> str:
        return f"<Batching {len(self.again)} batches again, {len(list(self))} sources>"

    def __iter__(self) -> Iterator[Source]:
        # Copies, each a single step in C once the list is there: other threads bring sources.
        return chain([*self._arriving], [*self._sources])

    def add_source(self, source: Source) -> None:
        """Bring one more source, or one again whose emptied buffer was done with."""
        if source not in tuple(self):
            self._arriving.append(source)

    def give_away_source(self) -> Source:
        """Take one source out, in order."""
        return (self._sources or self._arriving).popleft()

    def hurry(self) -> None:
        """Gather no more until all that waits has been taken."""
        self._is_hurried = True

    def admit_sources(self) -> None:
        """Give the sources that were brought their places."""
        while self._arriving:
            arriving = self._arriving.popleft()
            # Those of closed handlers and of dead processes go first: what they hold is older.
            (self._sources.appendleft if arriving.is_closed else self._sources.append)(arriving)

    def have_waiting(self) -> bool:
        """Tell whether anything is to be sent."""
        # Put back if there is something: a hurry between a look and its end would be lost.
        is_hurried, self._is_hurried = self._is_hurried, False
        # All are asked, whatever the answer: it has them number what is parked, also while nothing may be sent.
        waiting = [source.waiting_entries for source in self._sources]
        have_waiting = bool(self.again) or any(waiting)
        self._is_hurried = self._is_hurried or (is_hurried and have_waiting)
        return have_waiting

    def begin_gathering(self, now: float) -> None:
        """Let what comes from now on wait for company."""
        self._gather_since = now

    def seconds_to_gather(self, now: float) -> float:
        """Seconds that what waits should still wait for company."""
        if self.again or self._is_hurried or any(map(self._is_full, self._sources)):
            return 0.0
        return max(0.0, self._gather_since + self._policy.flush_interval_seconds - now)

    def _is_full(self, source: Source) -> bool:
        return source.is_closed or (
            source.waiting_entries >= self._policy.max_batch_entries
            or source.waiting_bytes >= self._policy.max_batch_bytes
        )

    def bring_next(self, now: float, *, is_compressed: bool) -> bool:
        """See that the next batch is the first of ``again``; False if there is none after all."""
        if self.again:
            return True
        self.begin_gathering(now)
        for _ in range(len(self._sources)):
            source = self._sources.popleft()
            entries = source.take(self._policy.max_batch_entries, self._policy.max_batch_bytes - FRAME_BYTES)
            if not source.is_closed or source.pending:  # An emptied source of a closed handler is done with.
                self._sources.append(source)
            if entries:
                self.again.append((source, Batch(entries, is_compressed=is_compressed)))
                return True
        return False
