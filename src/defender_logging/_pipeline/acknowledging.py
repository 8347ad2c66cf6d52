"""Asks for acknowledgments, where a receiver first only takes entries, and brings back what gets none.

The sender parks a batch in the ``AckBook`` of the lane that it went over, and comes here for the next query of a lane,
with the answer to one, and for what is lost. A book is only used while its lane is idle.

Guaranteed: a query that fails changes nothing but the time of the next one; it does not touch the sending.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace

from defender_logging._pipeline.acks import Parked
from defender_logging._pipeline.batching import Work
from defender_logging._pipeline.entry import Entry
from defender_logging._pipeline.lanes import Flight, Lane, Lanes
from defender_logging._pipeline.policy import Policy
from defender_logging._pipeline.source import Source
from defender_logging._pipeline.telling import Telling
from defender_logging._pipeline.wire import WireRequest
from defender_logging.destinations.base import Acks, Response

__all__ = ["Acknowledging", "by_source"]

HURRIED_QUERIES_SECONDS = 60.0
"""How long after a flush acknowledgments are asked for at most 1 s apart."""

KEY_REFUSALS = (401, 403)


class Acknowledging:
    """The acknowledgments of one sender. ``hurry`` is for any thread, all else for the sender.

    Args:
        acks: how to ask.
        lanes: whose books to look after.
        policy: for how long to wait, and how much may wait.
        telling: for people.
    """

    def __init__(self, acks: Acks, lanes: Lanes, policy: Policy, telling: Telling) -> None:
        self._acks = acks
        self._lanes = lanes
        self._policy = policy
        self._telling = telling
        self._hurries_until = 0.0
        self._not_before = 0.0

    def hurry(self, now: float) -> None:
        """Ask more often for a while: somebody waits."""
        self._hurries_until = now + HURRIED_QUERIES_SECONDS

    def headers(self, lane: Lane) -> Mapping[str, str]:
        """Return the headers for entries that go over a lane."""
        return self._acks.headers(lane.book.channel)

    def seconds_to_query(self, lane: Lane, now: float, parked_bytes: int) -> float | None:
        """Seconds until a lane's next query; None where it awaits none."""
        is_urgent = now < self._hurries_until or 4 * parked_bytes > self._policy.max_unacknowledged_bytes
        wait = lane.book.seconds_to_query(now, is_urgent=is_urgent)
        return None if wait is None else max(wait, self._not_before - now)

    def next_query(self, lane: Lane) -> Flight | None:
        """Return a lane's next query; None if there is nothing left to ask."""
        asked = lane.book.next_question()
        if not asked:
            return None
        query = self._acks.build_query(asked[0].channel, [parked.receipt for parked in asked])
        return Flight(asked[0].source, WireRequest(query.target, query.headers, query.body), asked=asked)

    def judge(
        self, lane: Lane, flight: Flight, outcome: Response | str, now: float, asked_seconds: float
    ) -> None:
        """Settle what a query confirms; ``outcome`` is its response, or why there is none."""
        reply = outcome if isinstance(outcome, str) else self._acks.read_reply(outcome)
        if isinstance(reply, str):
            lane.book.note_failure(now)
            self._not_before = max(
                self._not_before, now + asked_seconds
            )  # For all lanes: it is one receiver.
            reason = lane.transport.mask(reply)
            flight.source.note_failure(reason, duplicates_possible=0)
            if isinstance(outcome, Response) and outcome.status in KEY_REFUSALS:
                lane.transport.refresh_key()
            self._telling.note_failed_query(reason, now)
            return
        confirmed = lane.book.note_answer(flight.asked, reply, now)
        for source, entries in by_source(confirmed).items():
            source.settle(entries, ())
        self._telling.note_answered_query(has_confirmed=bool(confirmed))

    def send_lost_again(self, again: deque[Work], now: float) -> None:
        """Put what got no acknowledgment in time before other work, of each lane the oldest first."""
        lost = [parked for lane in self._lanes.idle for parked in lane.book.take_lost(now)]
        if not lost:
            return
        again.extendleft(
            (parked.source, replace(parked.batch, is_ambiguous=True, attempts=parked.batch.attempts + 1))
            for parked in reversed(lost)
        )
        reason = (
            f"no acknowledgment within {self._policy.ack_timeout_seconds:g} s, or the receiver began to count anew "
            "(a restart, or several indexers behind a balancer without sticky sessions); the entries are sent "
            "again on a new channel"
        )
        for source, entries in by_source(lost).items():
            source.note_failure(reason, duplicates_possible=len(entries))
        self._telling.note_loss(reason)

    def seconds_to_loss(self, now: float) -> float | None:
        """Seconds until ``send_lost_again`` has something; None where nothing waits."""
        waits = (lane.book.seconds_to_loss(now) for lane in self._lanes.idle)
        return min((wait for wait in waits if wait is not None), default=None)


def by_source(parked: Iterable[Parked]) -> dict[Source, list[Entry]]:
    """Return the entries of some parked batches, by their sources."""
    found: dict[Source, list[Entry]] = {}
    for one in parked:
        found.setdefault(one.source, []).extend(one.batch.entries)
    return found
