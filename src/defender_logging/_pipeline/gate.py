"""Says when the next request with entries may be made: after a failure the whole destination waits, not the batch.

The sender asks before each request and tells what each answer decided. Pure but for the random source of the
``Backoff``; the moments are those of the monotonic clock, passed in.

Guaranteed: a wait that the receiver asked for is kept, by a flush as well; our own guess gives way to a flush once.
"""

from __future__ import annotations

from collections.abc import Callable

from defender_logging._pipeline.backoff import Backoff
from defender_logging._pipeline.delivery import Pause, Settlement
from defender_logging._pipeline.policy import Policy

__all__ = ["KEY_CHECK_SECONDS", "Gate"]

KEY_CHECK_SECONDS = 5.0
"""While held because of the key, its reference is read again this often, so a rotated key heals at once."""

_SHORTEST_WAIT_SECONDS = 0.001
"""A key check that is due this instant must not look like an open gate."""


class Gate:
    """Open, or shut until a moment. ``let_one_pass`` and ``pause`` are for any thread, all else for the sender."""

    def __init__(self, policy: Policy, draw: Callable[[], float]) -> None:
        self._hold_retry_seconds = policy.hold_retry_seconds
        self._backoff = Backoff(policy.retry_initial_seconds, policy.retry_max_seconds, draw)
        self.pause = Pause.NONE
        """What the last answer asked for."""
        self.round = 0
        """How often it was shut: an answer to a request of an earlier round tells of a trouble that is known."""
        self._not_before = 0.0
        self._was_asked_for = False
        self._may_pass = False
        self._next_key_check: float | None = None

    def __repr__(self) -> str:
        return f"<Gate {self.pause.value} until {self._not_before:.3f}>"

    def let_one_pass(self) -> None:
        """Let one request pass although our own backoff forbids it."""
        self._may_pass = True

    def note_request(self) -> None:
        """Take back the leave to pass: it has been used."""
        self._may_pass = False

    def seconds_left(self, now: float) -> float:
        """Seconds until a request may be made, or until the key is to be read again; 0: one may be made now."""
        left = self._not_before - now
        if left <= 0 or (self._may_pass and not self._was_asked_for):
            return 0.0
        if self._next_key_check is None:
            return left
        return max(_SHORTEST_WAIT_SECONDS, min(left, self._next_key_check - now))

    def seconds_asked_for(self, now: float) -> float:
        """Seconds that the receiver still wants to be left alone, queries included."""
        return max(0.0, self._not_before - now) if self._was_asked_for else 0.0

    def note(
        self, settlement: Settlement, now: float, *, round_: int, asked_seconds: float, has_new_key: bool
    ) -> bool:
        """Learn what an answer decided, and the seconds that it asked for.

        Of many requests under way, many may fail by one trouble: that must not count as many in a row, nor may
        one that went well open what another one has shut since.

        Args:
            settlement: what the answer decided.
            now: the moment.
            round_: the gate's ``round`` when the request was made.
            asked_seconds: the wait that the receiver asked for.
            has_new_key: the key that it refused has changed.

        Returns:
            False if the answer tells nothing new.
        """
        is_worse = settlement.pause is Pause.HOLD and self.pause is Pause.BACKOFF
        if round_ != self.round and not is_worse:
            if asked_seconds > self._not_before - now:
                self._shut(now, asked_seconds, was_asked_for=True)
            return False
        self.pause = settlement.pause
        self.round += settlement.pause is not Pause.NONE
        if settlement.delivered:
            self._backoff.reset()
        wait = 0.0
        if settlement.pause is Pause.BACKOFF:
            wait = self._backoff.next_seconds()
        elif settlement.pause is Pause.HOLD and not has_new_key:
            wait = self._hold_retry_seconds
        self._next_key_check = now + KEY_CHECK_SECONDS if settlement.refreshes_key else None
        # A receiver may also name a time when it refuses a batch for its size or for one entry.
        self._shut(now, max(wait, asked_seconds), was_asked_for=0 < asked_seconds >= wait)
        return True

    def _shut(self, now: float, seconds: float, *, was_asked_for: bool) -> None:
        self._not_before = now + seconds
        self._was_asked_for = was_asked_for

    def is_key_check_due(self, now: float) -> bool:
        """Tell whether the key is to be read again; True at most once in ``KEY_CHECK_SECONDS``."""
        if self._next_key_check is None or now < self._next_key_check:
            return False
        self._next_key_check = now + KEY_CHECK_SECONDS
        return True

    def open(self, now: float) -> None:
        """Let the next request pass: the reason for the wait is gone."""
        self._not_before = now

    def shut_after_bug(self) -> None:
        """Show a failure of our own; the sender itself waits for it."""
        self.pause = Pause.BACKOFF
