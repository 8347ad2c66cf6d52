"""A clock that stands still until a test advances it.

Given to whatever takes a ``defender_logging.clock.Clock``: deadlines and backoffs of hours then pass in no
time, and never by accident.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from defender_logging.clock import Clock

__all__ = ["FakeClock"]

_SLICE_SECONDS = 0.002  # how soon a waiting thread notices that the clock was advanced
_REAL_LIMIT_SECONDS = 30.0


class _Waitable(Protocol):
    """A ``Wake`` or a ``threading.Event``."""

    def wait(self, timeout_seconds: float | None = None, /) -> bool: ...


@dataclass(eq=False, slots=True)
class _Waiter:
    """One thread in ``wait``: which wait it is, counted from 1, and until when."""

    number: int
    deadline: float


class FakeClock:
    """A ``Clock`` moved by hand. Safe to use from any thread.

    Args:
        unix_seconds: what ``time()`` begins with.
        monotonic_seconds: what ``monotonic()`` begins with.
        real_limit_seconds: how long a wait may last on a real clock before it counts as a hanging test.
    """

    def __init__(
        self,
        unix_seconds: float = 1_750_000_000.0,
        monotonic_seconds: float = 1_000.0,
        *,
        real_limit_seconds: float = _REAL_LIMIT_SECONDS,
    ) -> None:
        self._unix_seconds = unix_seconds
        self._monotonic_seconds = monotonic_seconds
        self._real_limit_seconds = real_limit_seconds
        self._changed = threading.Condition()
        self._waiters: list[_Waiter] = []
        self._waits = 0

    def __repr__(self) -> str:
        """Name both times and who waits."""
        waiting = len(self._waiters)
        return f"<FakeClock time={self._unix_seconds} monotonic={self._monotonic_seconds} waiting={waiting}>"

    def time(self) -> float:
        """Unix seconds."""
        with self._changed:
            return self._unix_seconds

    def monotonic(self) -> float:
        """Seconds that only ``advance`` moves."""
        with self._changed:
            return self._monotonic_seconds

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks; every wait that is over by then returns.

        Raises:
            ValueError: ``seconds`` is negative; ``jump`` sets the wall clock back.
        """
        if seconds < 0:
            raise ValueError(f"seconds={seconds!r} is negative; use jump() to set the wall clock back")
        with self._changed:
            self._unix_seconds += seconds
            self._monotonic_seconds += seconds
            # From here on they no longer count as waiting, although their threads have yet to notice.
            self._waiters = [waiter for waiter in self._waiters if waiter.deadline > self._monotonic_seconds]
            self._changed.notify_all()

    def jump(self, seconds: float) -> None:
        """Set only the wall clock, forward or back, as an administrator does."""
        with self._changed:
            self._unix_seconds += seconds

    @property
    def waits(self) -> int:
        """How many waits have begun so far."""
        with self._changed:
            return self._waits

    def wait(self, wake: _Waitable, timeout_seconds: float | None) -> bool:
        """Block until ``wake`` is set or the clock was advanced by ``timeout_seconds``; True if it was set.

        Raises:
            AssertionError: neither happened within ``real_limit_seconds``.
        """
        with self._changed:
            now = self._monotonic_seconds
            deadline = math.inf if timeout_seconds is None else now + timeout_seconds
            if deadline > now:
                self._waits += 1
                waiter = _Waiter(self._waits, deadline)
                self._waiters.append(waiter)
                self._changed.notify_all()
        if deadline <= now:
            return wake.wait(0)
        try:
            return self._wait(wake, deadline)
        finally:
            with self._changed:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def wait_until_waiting(self, count: int = 1, *, since: int = 0) -> None:
        """Block until ``count`` threads are in ``wait`` with time still to pass.

        Args:
            count: how many threads.
            since: only waits after this many count. To see a thread go to sleep *again* after waking it by
                hand, note ``waits`` before.

        Raises:
            AssertionError: there were fewer for ``real_limit_seconds``.
        """

        def waiting() -> int:
            return sum(waiter.number > since for waiter in self._waiters)

        with self._changed:
            if not self._changed.wait_for(lambda: waiting() >= count, self._real_limit_seconds):
                raise AssertionError(
                    f"{waiting()} threads wait for the fake clock, not {count}, "
                    f"after {self._real_limit_seconds} real seconds"
                )

    def _wait(self, wake: _Waitable, deadline: float) -> bool:
        """Wait in short real slices, counted, so that a frozen real clock cannot make this endless."""
        for _ in range(int(self._real_limit_seconds / _SLICE_SECONDS)):
            if wake.wait(_SLICE_SECONDS):
                return True
            if self.monotonic() >= deadline:
                return wake.wait(0)
        raise AssertionError(
            f"nobody advanced the fake clock to {deadline} or woke the thread "
            f"within {self._real_limit_seconds} real seconds"
        )


if TYPE_CHECKING:
    _KEEPS_TO_THE_INTERFACE: Clock = FakeClock()
