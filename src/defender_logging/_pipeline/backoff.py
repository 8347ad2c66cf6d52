"""How long to wait before the next try: exponential with full jitter, for ever.

Pure but for the random source, which is passed in. «Full jitter» (a uniform draw between 0 and the bound)
spreads the clients of a receiver that comes back best; see the AWS Architecture Blog, «Exponential Backoff
And Jitter».
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Counts the tries in a row that failed. Not thread-safe: it belongs to one sender.

    Args:
        initial_seconds: bound of the first wait.
        max_seconds: bound of every wait.
        draw: returns a number from 0 to 1, such as ``random.random``.
    """

    __slots__ = ("_draw", "_failures", "_initial_seconds", "_max_seconds")

    def __init__(self, initial_seconds: float, max_seconds: float, draw: Callable[[], float]) -> None:
        self._initial_seconds = initial_seconds
        self._max_seconds = max_seconds
        self._draw = draw
        self._failures = 0

    def reset(self) -> None:
        """Start over: something has been delivered."""
        self._failures = 0

    def next_seconds(self) -> float:
        """Count one more failure and return the seconds to wait."""
        # The exponent stops growing where no float could follow: a night is thousands of tries.
        bound = min(self._max_seconds, self._initial_seconds * 2.0 ** min(self._failures, 60))
        self._failures += 1
        return bound * self._draw()
