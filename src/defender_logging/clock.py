"""Time is passed in: the system's clock, and the protocol that a fake one follows.

Deadlines and waits use ``monotonic``; only time stamps use ``time``. The fake is
``defender_logging.testing.FakeClock``.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

__all__ = ["SYSTEM_CLOCK", "Clock", "SystemClock", "Wake"]


class Wake:
    """A flag that one thread waits for and any thread sets; waiting takes the flag down again.

    Unlike ``threading.Event`` it is safe to set from a signal handler that interrupted ``set`` itself in the
    same thread: both sides are a single step in C. It costs a tenth, too.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Let the waiting thread go on, or the next one that waits."""
        try:  # noqa: SIM105 - no frame more: it is set at the end of the stack, too
            self._lock.release()
        except RuntimeError:  # Raised by a lock that is free: the flag is up already.
            pass

    def is_set(self) -> bool:
        """Tell whether the flag is up, leaving it there."""
        return not self._lock.locked()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until the flag is up, and take it down; False when the time is over first."""
        if timeout_seconds is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(max(timeout_seconds, 0.0), threading.TIMEOUT_MAX))


class Clock(Protocol):
    """What the pipeline needs of time."""

    def time(self) -> float:
        """Unix seconds, for time stamps only."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump, for deadlines and waits."""
        ...

    def wait(self, wake: Wake, timeout_seconds: float | None) -> bool:
        """Block until ``wake`` is set or the time is over; True if it was set."""
        ...


class SystemClock:
    """The machine's own clock. ``time`` is looked up at each call, so that freezegun works on it."""

    __slots__ = ()

    # Bound once: freezegun would freeze it as well, and a flush interval or a deadline then never ends.
    monotonic = staticmethod(time.monotonic)

    def time(self) -> float:
        """Unix seconds."""
        return time.time()

    def wait(self, wake: Wake, timeout_seconds: float | None) -> bool:
        """Block until ``wake`` is set or ``timeout_seconds`` have passed."""
        return wake.wait(timeout_seconds)


SYSTEM_CLOCK = SystemClock()
