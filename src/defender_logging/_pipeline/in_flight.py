"""How many requests may be under way at once: a fixed number, or one that adapts to the receiver.

The sender asks for ``current`` before each request and tells what became of it. Pure: latencies are passed in.

The adaptive one knows nothing of the receiver but its answers. It goes round by round, and a round is as many answers
as requests may be under way, which is about one latency. After a round
- it allows one request more, if there was something to send and no room for it (additive increase);
- it allows a tenth less, if the round took longer than is usual, as a receiver that fills up does;
- it allows half, at once, when the receiver refuses (multiplicative decrease), and remembers at how many that was: it
  comes near that number again only after ``PATIENCE_ROUNDS``, because each refusal makes everything wait for a while.
Usual is an average that follows slowly, with the spread around it, so a receiver that is always slow is not punished
for it. A latency that creeps up in proportion to what is under way looks usual, too: ``HIGHEST_ADAPTIVE`` bounds that.

Source: the scheme is TCP's; its use for log receivers: Vector, "Adaptive Request Concurrency" (its numbers are others).
"""

from __future__ import annotations

from typing import Literal, Protocol

__all__ = ["HIGHEST_ADAPTIVE", "HIGHEST_FIXED", "AdaptiveLimit", "FixedLimit", "Limit", "make_limit"]

HIGHEST_FIXED = 32
"""Each request under way is a thread and a connection; receivers count connections, too."""

HIGHEST_ADAPTIVE = 16
"""At 100 ms and 1,000 entries a request this is 160,000 entries a second: more than one process can log."""

DECREASE_ON_REFUSAL = 0.5
DECREASE_ON_LATENCY = 0.9

PATIENCE_ROUNDS = 30
"""Good rounds just below a number that was refused, before it is tried again. At 100 ms these are 3 s."""

SMOOTHING = 0.25
"""Weight of the newest round in the average latency and in its spread,"""

SMOOTHING_UNUSUAL = 0.02
"""and of one that is not usual: else a receiver that fills up would soon look as if it had always been so slow."""

UNUSUAL_DEVIATIONS = 3.0
"""A round that is this many mean deviations above the average is not usual,"""

LEAST_SPREAD = 0.25
"""unless it is less than this part above the average,"""

LEAST_SPREAD_SECONDS = 0.01
"""or less than this, which is the noise of threads that wait for each other."""


class Limit(Protocol):
    """How many requests with entries may be under way. Belongs to the sender."""

    @property
    def highest(self) -> int:
        """What ``current`` never exceeds."""
        ...

    @property
    def current(self) -> int:
        """How many may be under way now, at least 1."""
        ...

    def note_shortage(self) -> None:
        """There was something to send, and no room for it."""
        ...

    def note_success(self, seconds: float) -> None:
        """A request was answered well after so many seconds."""
        ...

    def note_refusal(self) -> None:
        """A request was refused, or not answered."""
        ...


class FixedLimit:
    """Always the same number."""

    def __init__(self, number: int) -> None:
        self.highest = self.current = number

    def __repr__(self) -> str:
        return f"<FixedLimit {self.current}>"

    def note_shortage(self) -> None:
        """Change nothing."""

    def note_success(self, seconds: float) -> None:
        """Change nothing."""

    def note_refusal(self) -> None:
        """Change nothing."""


class AdaptiveLimit:
    """Begins at 1 and finds out; see the top of the file."""

    highest = HIGHEST_ADAPTIVE

    def __init__(self) -> None:
        self._limit = 1.0
        self._refused_at: int | None = None
        self._good_rounds = 0
        self._mean: float | None = None
        self._deviation = 0.0
        self._begin_round()

    def __repr__(self) -> str:
        return f"<AdaptiveLimit {self.current}, usually {self._mean} s>"

    def _begin_round(self) -> None:
        self._answers = 0
        self._seconds = 0.0
        self._was_short = False

    @property
    def current(self) -> int:
        """How many may be under way now."""
        return int(self._limit)

    def note_shortage(self) -> None:
        """Remember that more would be of use."""
        self._was_short = True

    def note_success(self, seconds: float) -> None:
        """Count an answer; the last one of a round decides."""
        self._answers += 1
        self._seconds += seconds
        if self._answers < self.current:
            return
        latency = self._seconds / self._answers
        is_usual = self._is_usual(latency)
        if not is_usual:
            self._limit = max(1.0, self._limit * DECREASE_ON_LATENCY)
        elif self._was_short:
            self._allow_one_more()
        self._good_rounds += 1
        self._learn(latency, SMOOTHING if is_usual else SMOOTHING_UNUSUAL)
        self._begin_round()

    def note_refusal(self) -> None:
        """Halve, and begin a new round."""
        # One refusal after the other is an outage, which says nothing about how many are too many.
        self._refused_at = self.current if self._good_rounds else None
        self._good_rounds = 0
        self._limit = max(1.0, self._limit * DECREASE_ON_REFUSAL)
        self._begin_round()

    def _allow_one_more(self) -> None:
        if self._refused_at is not None and self.current + 1 >= self._refused_at:
            if self._good_rounds < PATIENCE_ROUNDS:
                return
            self._refused_at = None
        self._limit = min(float(self.highest), self._limit + 1.0)

    def _is_usual(self, latency: float) -> bool:
        if self._mean is None:
            return True
        spread = max(UNUSUAL_DEVIATIONS * self._deviation, LEAST_SPREAD * self._mean, LEAST_SPREAD_SECONDS)
        return latency <= self._mean + spread

    def _learn(self, latency: float, weight: float) -> None:
        if self._mean is None:
            self._mean, self._deviation = latency, latency / 2
            return
        self._deviation += weight * (abs(latency - self._mean) - self._deviation)
        self._mean += weight * (latency - self._mean)


def make_limit(max_in_flight: int | Literal["auto"]) -> Limit:
    """Return the limit for the setting ``max_in_flight``."""
    return AdaptiveLimit() if max_in_flight == "auto" else FixedLimit(max_in_flight)
