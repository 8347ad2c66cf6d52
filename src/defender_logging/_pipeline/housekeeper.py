"""Looks after the spools of a process: syncs them every half second, and looks for orphans every half minute.

One thread per process, started with the first spool and ended with the last. It works on pipelines that
``lifecycle`` hands it; what it finds wrong goes to their reports.

Guaranteed: no failure of one spool keeps the others from their turn; the thread survives every exception. Reading a
large orphan delays nobody's sync (it goes on between two segments), no caller and no sender.
Not guaranteed: that a sync is done after exactly half a second; a slow disk makes the next one later.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from functools import partial

from defender_logging._pipeline import threads
from defender_logging._pipeline.pipeline import Pipeline
from defender_logging.clock import SYSTEM_CLOCK, Clock, Wake

__all__ = ["FSYNC_INTERVAL_SECONDS", "ORPHAN_INTERVAL_SECONDS", "Housekeeper"]

FSYNC_INTERVAL_SECONDS = 0.5
"""With ``fsync: interval`` a power cut loses at most what was logged in this time."""

ORPHAN_INTERVAL_SECONDS = 30.0
"""A process that dies while another of its handlers lives is noticed within this time."""


class Housekeeper:
    """The chores of a process. ``watch`` may be called from any thread."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._wake = Wake()
        self._pipelines: list[Pipeline] = []
        self._next_search = 0.0
        self._next_sync = 0.0
        self._searches_wanted = self._searches_done = 0
        self._has_searched = Wake()
        self._is_ending = False
        self._baton = threading.Lock()  # Whoever runs the rounds holds it.

    def watch(self, pipeline: Pipeline) -> None:
        """Look after a pipeline with a spool from now on, beginning with a search for orphans."""
        self._pipelines.append(pipeline)
        self._searches_wanted += 1  # First: the thread may be quicker than this one.
        self._next_search = 0.0
        self._wake.set()
        if not self._baton.locked() and threads.start("housekeeper", self._run) is None:
            self._searches_done = self._searches_wanted  # Nobody will search any more.

    def forget(self, pipeline: Pipeline) -> None:
        """Look after it no more."""
        with contextlib.suppress(ValueError):
            self._pipelines.remove(pipeline)
        self._wake.set()

    def end_search(self, deadline: float) -> None:
        """Wait for a search that is due or under way until the monotonic ``deadline``, and begin none after it.

        For the exit of a program so short that its start and its end are one: what an earlier one left is its to send.
        """
        while self._pipelines and self._searches_done < self._searches_wanted and not self._is_ending:
            left = deadline - self._clock.monotonic()
            if left <= 0 or not self._clock.wait(self._has_searched, left):
                break
        self._is_ending = True

    def _run(self) -> None:
        # Looked at again after the baton is free: who watched meanwhile saw it taken and started nobody.
        while self._pipelines and self._baton.acquire(blocking=False):
            try:
                while self._pipelines:
                    self._clock.wait(self._wake, FSYNC_INTERVAL_SECONDS)
                    self.step()
            finally:
                self._baton.release()

    def step(self) -> None:
        """Do one round of chores."""
        self._sync()
        if self._clock.monotonic() >= self._next_search and not self._is_ending:
            self._search()

    def _sync(self) -> None:
        self._next_sync = self._clock.monotonic() + FSYNC_INTERVAL_SECONDS
        for pipeline in tuple(self._pipelines):
            _do(pipeline, pipeline.sync)

    def _search(self) -> None:
        self._next_search = self._clock.monotonic() + ORPHAN_INTERVAL_SECONDS
        wanted = self._searches_wanted
        for pipeline in tuple(self._pipelines):
            _do(pipeline, partial(pipeline.adopt_orphans, self._sync_if_due))
        self._searches_done = wanted
        self._has_searched.set()

    def _sync_if_due(self) -> None:
        if self._clock.monotonic() >= self._next_sync:
            self._sync()


def _do(pipeline: Pipeline, chore: Callable[[], None]) -> None:
    try:
        chore()
    except BaseException as error:  # noqa: BLE001 - the chores of the others go on
        pipeline.reports.add(
            logging.WARNING,
            f"{pipeline.label}: its spool cannot be looked after ({type(error).__name__}: {error})",
        )
