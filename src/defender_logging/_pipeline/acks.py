"""Remembers the batches that a receiver has taken but not yet acknowledged, and when to ask about them.

The sender parks a batch here when the answer is a receipt, asks when it is time, settles what is confirmed and
sends again what is lost. Pure but for the names of channels; the clock is passed in.

Guaranteed
- A batch leaves only as confirmed, lost or handed back. Confirmed takes a literal «true» for its own receipt
  on its own channel; a query that fails or is answered with nonsense changes nothing but the next query's time.
- Receipts of a channel only rise, as one request is made at a time. One that does not means that the receiver
  began to count anew (a restart, or a second indexer behind a balancer), and a later «true» could mean another
  batch: all older batches of the channel are lost, and the channel is given up.
- After a loss the next one waits: 1 s, then twice as long each time up to the timeout, until something is
  confirmed. So a receiver that never acknowledges gets each batch at most once a timeout.
- The entries stay in flight in their buffers, uncompressed, and count there; ``parked_bytes`` bounds them.

Source: Splunk, "About HTTP Event Collector Indexer Acknowledgment"; ids per channel, true once and false for
ever after: measured, ross/logit.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import takewhile

from defender_logging._pipeline.entry import Batch
from defender_logging._pipeline.source import Source

__all__ = ["AckBook", "Parked"]

FIRST_WAIT_SECONDS = 1.0
"""Between the receipt and the first query: an idle Splunk needs about 1 s (measured)."""

MAX_WAIT_SECONDS = 10.0
"""Between queries that are answered; Splunk's own advice."""

MAX_FAILING_WAIT_SECONDS = 60.0
"""Between queries that fail: one may take the whole request timeout, in which nothing is sent."""

QUERIES_PER_TIMEOUT = 4
"""At least so many for each batch before it is lost."""

MAX_RECEIPTS_PER_QUERY = 1000
"""Keeps the answer far below the bound of what is read of one."""


@dataclass(frozen=True, slots=True)
class Parked:
    """A batch that waits for its acknowledgment."""

    source: Source
    batch: Batch
    channel: str
    receipt: int
    sent_at: float

    @property
    def size_bytes(self) -> int:
        """Bytes of its lines."""
        return sum(len(entry.line) for entry in self.batch.entries)


class AckBook:
    """The unacknowledged batches of one sender, and its channel. Not thread-safe: it belongs to the sender.

    Args:
        timeout_seconds: a batch that is not acknowledged by then is lost.
        make_channel: names a new channel.
    """

    def __init__(
        self, timeout_seconds: float, make_channel: Callable[[], str] = lambda: str(uuid.uuid4())
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._make_channel = make_channel
        self._parked: dict[tuple[str, int], Parked] = {}  # In the order in which they were sent.
        self._void: list[Parked] = []
        self._questions: deque[tuple[Parked, ...]] = deque()
        self._asked_at = 0.0
        self._wait = FIRST_WAIT_SECONDS
        self._is_failing = False
        self._has_news = False
        self._losses = 0
        self._calm_until = 0.0
        self.parked_bytes = 0
        """Bytes of the lines of all batches here."""
        self._open_channel()

    def __repr__(self) -> str:
        return f"<AckBook {len(self._parked)} batches, {self.parked_bytes} bytes>"

    def _open_channel(self) -> None:
        self.channel = self._make_channel()
        self._highest = -1

    def park(self, source: Source, batch: Batch, receipt: int, now: float) -> None:
        """Keep a batch that the receiver took on the current channel under this receipt."""
        if not (self._parked or self._is_failing):
            self._asked_at, self._wait = now, FIRST_WAIT_SECONDS
        parked = Parked(source, batch, self.channel, receipt, now)
        is_rising = receipt > self._highest
        if not is_rising:
            for key in [key for key in self._parked if key[0] == self.channel]:
                self._void.append(self._parked.pop(key))
        self._parked[self.channel, receipt] = parked
        self.parked_bytes += parked.size_bytes
        self._highest = receipt
        if not is_rising:
            self._open_channel()

    def seconds_to_query(self, now: float, *, is_urgent: bool) -> float | None:
        """Seconds until a query is due; None where there is nothing to ask."""
        if not self._parked:
            return None
        if self._questions:
            return 0.0
        wait = min(self._wait, FIRST_WAIT_SECONDS) if is_urgent and not self._is_failing else self._wait
        # A short timeout must not pass without a query.
        wait = min(wait, self._timeout_seconds / QUERIES_PER_TIMEOUT)
        return max(0.0, self._asked_at + wait - now)

    def next_question(self) -> tuple[Parked, ...]:
        """Return batches of one channel to ask about: all in turn, then again from the first; maybe none."""
        if not self._questions:
            self._has_news = False
            self._questions.extend(self._round())
        asked = self._questions.popleft() if self._questions else ()
        return tuple(parked for parked in asked if self._holds(parked))

    def _round(self) -> list[tuple[Parked, ...]]:
        channels: dict[str, list[Parked]] = {}
        for parked in self._parked.values():
            channels.setdefault(parked.channel, []).append(parked)
        step = MAX_RECEIPTS_PER_QUERY
        return [
            tuple(found[start : start + step])
            for found in channels.values()
            for start in range(0, len(found), step)
        ]

    def _holds(self, parked: Parked) -> bool:
        return self._parked.get((parked.channel, parked.receipt)) is parked

    def note_answer(self, asked: tuple[Parked, ...], safe: AbstractSet[int], now: float) -> list[Parked]:
        """Take out what is confirmed of what was asked, and choose the time of the next query."""
        confirmed = [parked for parked in asked if parked.receipt in safe and self._holds(parked)]
        for parked in confirmed:
            self._remove(parked)
        self._is_failing = False
        if confirmed:
            self._has_news = True
            self._losses = 0
        if not self._questions:
            wait = FIRST_WAIT_SECONDS if self._has_news else 2 * self._wait
            self._wait = min(wait, MAX_WAIT_SECONDS)
            self._asked_at = now
        return confirmed

    def note_failure(self, now: float) -> None:
        """Put the next query off: the last one came to nothing."""
        self._questions.clear()
        self._is_failing = True
        self._wait = min(2 * self._wait, MAX_FAILING_WAIT_SECONDS)
        self._asked_at = now

    def seconds_to_loss(self, now: float) -> float | None:
        """Seconds until ``take_lost`` has something; None where nothing is parked."""
        if self._void:
            return max(0.0, self._calm_until - now)
        for oldest in self._parked.values():
            return max(0.0, oldest.sent_at + self._timeout_seconds - now, self._calm_until - now)
        return None

    def take_lost(self, now: float) -> list[Parked]:
        """Take out what has to be sent again, oldest first; from then on the channel is another one."""
        if now < self._calm_until:
            return []
        # Asked with the same sum as in seconds_to_loss, so that no rounding comes between them.
        late = list(takewhile(lambda p: p.sent_at + self._timeout_seconds - now <= 0, self._parked.values()))
        lost = sorted([*self._void, *late], key=lambda parked: parked.sent_at)
        for parked in late:
            self._parked.pop((parked.channel, parked.receipt))
        self._void.clear()
        self.parked_bytes -= sum(parked.size_bytes for parked in lost)
        if any(parked.channel == self.channel for parked in late):
            self._open_channel()
        if lost:
            self._calm_until = now + min(
                self._timeout_seconds, FIRST_WAIT_SECONDS * 2.0 ** min(self._losses, 30)
            )
            self._losses += 1
        return lost

    def take_all(self) -> list[Parked]:
        """Take out everything: somebody else sends it again."""
        everything = [*self._void, *self._parked.values()]
        self._void.clear()
        self._parked.clear()
        self._questions.clear()
        self.parked_bytes = 0
        return everything

    def __bool__(self) -> bool:
        return bool(self._parked or self._void)

    def _remove(self, parked: Parked) -> None:
        del self._parked[parked.channel, parked.receipt]
        self.parked_bytes -= parked.size_bytes
