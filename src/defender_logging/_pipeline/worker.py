"""Runs the loop between buffers and receiver: one thread per handler, for ever, and who comes after it.

The handler's ``Pipeline`` brings buffers, starts the thread and ends it; ``Loop`` makes the steps.

Guaranteed
- One thread at a time makes steps: whoever holds the baton.
- A thread that dies of a bug or of MemoryError loses nothing, since what was taken from a buffer is kept in the
  ``Loop``; it starts again after a pause.
- A sender that leaves passes its buffers on only after its last request, so the order of a stream is kept.
- The thread never calls into logging; what people should know goes to ``Reports``.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from defender_logging._pipeline import threads
from defender_logging._pipeline.loop import Loop
from defender_logging._pipeline.policy import Policy
from defender_logging._pipeline.reports import Reports
from defender_logging._pipeline.source import Source
from defender_logging._pipeline.wire import Transport
from defender_logging.clock import SYSTEM_CLOCK, Clock, Wake
from defender_logging.destinations.base import Destination

__all__ = ["Sender"]

_SYSTEM_RANDOM = random.SystemRandom()
"""Not the program's own generator: a program that seeds it must get the same numbers with us and without us."""

CRASH_PAUSE_SECONDS = 1.0
"""Between the death of the loop by a bug and its next start: no tight loop, no long silence."""


class Sender:
    """The thread of one handler. Every method may be called from any thread.

    Args:
        name: for the thread and for reports, such as ``SplunkHandler 'splunk' (https://host:8088)``.
        destination: whose rules to follow.
        transport: carries the requests.
        policy: when and how much.
        reports: where to tell people.
        wake: shared with the buffers.
        clock: time.
        draw: random numbers from 0 to 1.
    """

    def __init__(
        self,
        name: str,
        destination: Destination,
        transport: Transport,
        policy: Policy,
        *,
        reports: Reports,
        wake: Wake,
        clock: Clock = SYSTEM_CLOCK,
        draw: Callable[[], float] = _SYSTEM_RANDOM.random,
    ) -> None:
        self._name = name
        self._wake = wake
        self._clock = clock
        self.loop = Loop(
            name, destination, transport, policy, reports=reports, wake=wake, clock=clock, draw=draw
        )
        """For whoever makes the steps himself while no thread does."""
        self._deadline: float | None = None
        self._successor: Sender | None = None
        self._baton = threading.Lock()  # Whoever runs the loop holds it.
        self.is_running = False
        """Whether a thread runs the loop, or is about to."""

    def __repr__(self) -> str:
        return f"<Sender {self._name} {'running' if self.is_running else 'at rest'} {self.loop}>"

    # What other threads ask for.

    def add_buffer(self, buffer: Source) -> None:
        """Serve one more buffer, or one again that was let go of; those that came first are emptied first."""
        buffer.wake = self._wake
        self.loop.add_source(buffer)
        self._wake.set()
        if self.loop.is_leaving:
            self._hand_over()

    def hurry(self) -> None:
        """Send what waits without gathering more, and try at once if only our own backoff forbids it."""
        if self._successor is not None:
            self._successor.hurry()
        self.loop.hurry()
        self._wake.set()

    def leave(self, successor: Sender | None = None) -> None:
        """End the loop after the requests under way; the buffers keep what is not settled.

        Args:
            successor: serves the buffers from then on, and not before, so that the order of a stream is kept. The
                first one counts.
        """
        self._successor = self._successor or successor
        self.loop.is_leaving = True
        self._wake.set()
        self._hand_over()

    def finish_by(self, deadline: float) -> None:
        """End the loop at a monotonic time and begin no request that lasts beyond it, until a later time is given."""
        if self._successor is not None:
            self._successor.finish_by(deadline)
        self._deadline = deadline
        self.loop.limit(deadline)
        self._wake.set()

    def ensure_running(self) -> bool:
        """Start the thread if none runs; False if the interpreter refuses, or the loop had to end by now."""
        if self._successor is not None and not self.is_running:
            return self._successor.ensure_running()
        if self.is_running:
            return True
        if self._is_late():
            return False
        self.is_running = True
        is_started = False
        try:
            is_started = threads.start(self._name, self.run) is not None
        finally:
            # After an interrupt too. If that thread lives all the same, it has the baton and the next one none.
            # Never set to True here: a thread with little to do may have ended by now.
            if not is_started:
                self.is_running = False
        return is_started

    @property
    def state(self) -> str:
        """``idle``, ``sending``, ``retrying`` or ``held``."""
        return self.loop.state

    # The thread.

    def run(self) -> None:
        """Run until told to leave, or until all buffers are closed and empty; survive every exception.

        Returns at once where another thread runs the loop: two callers may have found none running.
        """
        # Looked at again after the baton is free: who brought something meanwhile saw it running and started nobody.
        while self._baton.acquire(blocking=False):
            self.is_running = True
            try:
                while not self._is_done():
                    try:
                        self.loop.step(self._deadline)
                    except BaseException as error:  # noqa: BLE001 - a sender that dies silently is the worst bug of all
                        self.loop.note_bug(error)
                        self._clock.wait(Wake(), CRASH_PAUSE_SECONDS)
            finally:
                self.is_running = False
                self.loop.close()
                self._baton.release()
                if self.loop.is_leaving:
                    self._hand_over()
            if self._is_done():
                self.is_running = False  # Another one may have been started, and found the baton taken.
                return

    def _is_done(self) -> bool:
        return self._is_late() or self.loop.is_done()

    def _is_late(self) -> bool:
        return self._deadline is not None and self._clock.monotonic() >= self._deadline

    def run_until(self, deadline: float) -> None:
        """Run in the calling thread until all is settled or the monotonic ``deadline`` has passed.

        For the time when no thread can be started any more. Only name resolution may outlast the deadline.
        """
        if self._successor is not None:
            self._successor.run_until(deadline)
        elif self._baton.acquire(blocking=False):
            try:
                self._step_until(deadline)
            finally:
                self._baton.release()

    def _step_until(self, deadline: float) -> None:
        self.loop.limit(deadline)
        while self.loop.has_work() and self._clock.monotonic() < deadline:
            self.loop.step(deadline)

    def _hand_over(self) -> None:
        """Put back what was taken, and pass the buffers on: done by whoever comes after the loop, never during it."""
        heir = self._successor
        # Looked at again after the baton is free: what somebody else brought meanwhile could not be passed on there.
        while self._has_leftovers(heir) and self._baton.acquire(blocking=False):
            try:
                self.loop.hand_back()
                if heir is not None:
                    for buffer in self.loop.give_away_sources():
                        heir.add_buffer(buffer)
            finally:
                self._baton.release()
        if heir is not None:
            heir.ensure_running()

    def _has_leftovers(self, heir: Sender | None) -> bool:
        return self.loop.holds_entries or (heir is not None and self.loop.has_sources)
