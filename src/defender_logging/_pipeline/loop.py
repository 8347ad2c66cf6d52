"""Takes batches, begins requests and judges answers, step by step: what a sender's thread does, without the thread.

Entries come from one or more buffers (the handler's own, and those of closed handlers that it took over),
are cut into a batch, framed by the destination, compressed, and carried by a lane; ``delivery`` judges the answer and
the buffer settles its entries. Where the answer is only a receipt, the batch waits in the lane's book until a query,
which is one more request, confirms it. With one request at a time the order is kept; with more, batches overtake.

Guaranteed
- What was taken from a buffer waits to go again, is under way on a lane, or in a lane's book until it is settled; so an
  exception in the middle of a step loses nothing.
- Queries never stop the sending: batches and queries take turns, and what a query comes to does not touch the
  destination's pause.
- Nothing is given up while the process runs; after a failure the whole destination waits, not the batch, and then
  one request alone finds out.

Small methods on plain state with the clock passed in, so that tests run them with a fake clock and transport.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from defender_logging._pipeline.acknowledging import Acknowledging, by_source
from defender_logging._pipeline.acks import AckBook
from defender_logging._pipeline.batching import Batching
from defender_logging._pipeline.delivery import Pause, Settlement, settle, verdict_of_failure
from defender_logging._pipeline.entry import Batch
from defender_logging._pipeline.gate import Gate
from defender_logging._pipeline.in_flight import make_limit
from defender_logging._pipeline.lanes import Answer, Flight, Lane, Lanes
from defender_logging._pipeline.packing import Packing
from defender_logging._pipeline.policy import Policy
from defender_logging._pipeline.reports import Reports
from defender_logging._pipeline.source import Source
from defender_logging._pipeline.telling import Telling
from defender_logging._pipeline.wire import Transport, TransportError
from defender_logging.clock import Clock, Wake
from defender_logging.destinations.base import Destination, Response, Verdict
from defender_logging.destinations.retry_after import retry_after_seconds

__all__ = ["Loop"]


class Loop:
    """The state of a sender, for one thread at a time.

    For any: ``add_source``, ``hurry``, ``state``, ``has_work``, ``is_leaving`` and, in a forked child, ``abandon``.

    Args:
        name: for the threads of the lanes and for reports.
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
        clock: Clock,
        draw: Callable[[], float],
    ) -> None:
        self._destination = destination
        self._transport = transport
        self._policy = policy
        self._wake = wake
        self._clock = clock
        self._packing = Packing(destination, policy.compression)
        self._batching = Batching(policy, clock.monotonic())
        self.is_leaving = False
        """Whether nothing more is to be begun."""
        self._gate = Gate(policy, draw)
        self._limit = make_limit(policy.max_in_flight)
        self._lanes = Lanes(
            name,
            transport,
            self._limit.highest,
            make_book=lambda: AckBook(policy.ack_timeout_seconds),
            wake=wake,
            clock=clock,
        )
        self._telling = Telling(name, reports)
        self._acknowledging = (
            Acknowledging(destination.acks, self._lanes, policy, self._telling) if destination.acks else None
        )

    def __repr__(self) -> str:
        return f"<Loop {self.state}, {len(self._lanes.flights)} of {self._limit.current} requests under way>"

    def add_source(self, source: Source) -> None:
        """Serve one more buffer, or one again that was let go of; those that came first are emptied first."""
        self._batching.add_source(source)

    def hurry(self) -> None:
        """Send what waits without gathering more, and try at once if only our own backoff forbids it."""
        if self._acknowledging is not None:
            self._acknowledging.hurry(self._clock.monotonic())
        self._batching.hurry()
        self._gate.let_one_pass()

    @property
    def state(self) -> str:
        """``idle``, ``sending``, ``retrying`` or ``held``."""
        if self._gate.pause is Pause.HOLD:
            return "held"
        if self._gate.pause is Pause.BACKOFF:
            return "retrying"
        return "sending" if self.has_work() else "idle"

    def has_work(self) -> bool:
        """Tell whether anything is not settled."""
        return any(source.pending for source in self._batching)

    def is_done(self) -> bool:
        """Tell whether no step is left: all is closed and settled, or it leaves and nothing is under way."""
        if self.is_leaving:
            return not self._lanes.flights
        # First what is asked without a lock, since this is asked at every step.
        return all(source.is_closed for source in self._batching) and not self.has_work()

    def limit(self, deadline: float) -> None:
        """From now on let no request last beyond the monotonic ``deadline``; only name resolution may."""
        self._lanes.limit(deadline)

    def close(self) -> None:
        """Close all connections; a later step opens them again."""
        self._lanes.close()

    def abandon(self) -> None:
        """Let go of all connections in a forked child, without a word to the peer."""
        self._lanes.abandon()

    def step(self, deadline: float | None) -> None:
        """Judge what was answered; else begin one request; else wait for the next event."""
        if self._judge_answers():
            return  # It may have been the last one.
        if self._acknowledging is not None:
            self._acknowledging.send_lost_again(self._batching.again, self._clock.monotonic())
        if self._begin_request():
            self._judge_answers()  # One at a time: it is answered already.
            return
        is_idle = not self._batching.have_waiting()
        wait = self._seconds_to_wait()
        if deadline is not None:
            left = max(0.0, deadline - self._clock.monotonic())
            wait = left if wait is None else min(wait, left)
        self._clock.wait(self._wake, wait)
        if is_idle:
            self._batching.begin_gathering(self._clock.monotonic())
        self._check_key()

    def _seconds_to_wait(self) -> float | None:
        """Seconds until the next step has something to do, if nothing happens meanwhile; None: nothing is to come."""
        if self.is_leaving:
            return None
        waits = [self._seconds_to_send()]
        if self._acknowledging is not None:
            waits += [self._acknowledging.seconds_to_loss(self._clock.monotonic())]
            waits += [self._seconds_to_query(lane) for lane in self._lanes.idle]
        return min((wait for wait in waits if wait is not None), default=None)

    def _seconds_to_send(self) -> float | None:
        """Seconds until a batch may be sent; None where there is none, or no room for it."""
        self._batching.admit_sources()
        if not (self._batching.have_waiting() and (self._batching.again or self._has_room())):
            return None
        now = self._clock.monotonic()
        seconds = self._gate.seconds_left(now) or self._batching.seconds_to_gather(now)
        if seconds == 0 and not self._has_lane():
            self._limit.note_shortage()
            return None
        return seconds

    def _has_lane(self) -> bool:
        """Whether one more batch may be under way; after a failure one alone finds out."""
        under_way = sum(flight.batch is not None for flight in self._lanes.flights)
        allowed = self._limit.current if self._gate.pause is Pause.NONE else 1
        return under_way < allowed and self._lanes.have_free

    def _has_room(self) -> bool:
        """Whether more may be taken; buffers on the disk have no bound of their own for what is in memory."""
        under_way = sum(flight.body_bytes for flight in self._lanes.flights)
        return under_way + self._parked_bytes() < self._policy.max_unacknowledged_bytes

    def _parked_bytes(self) -> int:
        return sum(lane.book.parked_bytes for lane in self._lanes)

    def _seconds_to_query(self, lane: Lane) -> float | None:
        """Seconds until acknowledgments are asked for on a lane; None where none is awaited."""
        if self._acknowledging is None:
            return None
        now = self._clock.monotonic()
        wait = self._acknowledging.seconds_to_query(lane, now, self._parked_bytes())
        return None if wait is None else max(wait, self._gate.seconds_asked_for(now))

    # Requests.

    def _begin_request(self) -> bool:
        """Begin a query or send a batch; False if neither is due."""
        if self.is_leaving:
            return False
        may_send = self._seconds_to_send() == 0
        for lane in self._lanes.idle:
            if self._seconds_to_query(lane) == 0 and not (may_send and lane.has_just_asked):
                lane.has_just_asked = True
                self._ask(lane)
                return True
        if may_send and self._batching.bring_next(
            self._clock.monotonic(), is_compressed=self._packing.compresses
        ):
            self._send(self._lanes.free_one(), *self._batching.again[0])
        return may_send

    def _ask(self, lane: Lane) -> None:
        flight = self._acknowledging.next_query(lane) if self._acknowledging is not None else None
        if flight is not None:
            flight.source.count_request(is_retry=False)
            self._lanes.begin(lane, flight)

    def _send(self, lane: Lane, source: Source, batch: Batch) -> None:
        """Begin a request for the batch at the head of what goes ``again``."""
        self._gate.note_request()
        lane.has_just_asked = False
        source.count_request(is_retry=batch.attempts > 0)
        headers = self._acknowledging.headers(lane) if self._acknowledging is not None else {}
        request, body_bytes = self._packing.pack(batch, headers, self._clock.time())
        flight = Flight(
            source,
            request,
            batch,
            body_bytes=body_bytes,
            gate_round=self._gate.round,
        )
        self._batching.again.popleft()
        self._lanes.begin(lane, flight)

    # Answers.

    def _judge_answers(self) -> bool:
        """Judge all answers that have come; False if there were none."""
        has_judged = False
        while (answer := self._lanes.next_answer()) is not None:
            has_judged = True
            if not self._is_sent_again(answer):
                self._judge(answer)
        return has_judged

    def _is_sent_again(self, answer: Answer) -> bool:
        """Make a request once more, at once: the receiver had closed the kept connection while it was idle."""
        flight, error = answer.flight, answer.outcome
        if not isinstance(error, TransportError) or not error.is_stale_connection or flight.is_second_try:
            return False
        count = len(flight.batch.entries) if flight.batch is not None else 0
        flight.source.note_failure(error.reason, duplicates_possible=count * error.is_ambiguous)
        flight.source.count_request(is_retry=True)
        self._lanes.begin(answer.lane, replace(flight, is_second_try=True))
        return True

    def _judge(self, answer: Answer) -> None:
        flight, outcome = answer.flight, answer.outcome
        if flight.batch is not None:  # So that it is in one of the two whatever happens below.
            self._batching.again.appendleft((flight.source, flight.batch))
        answer.lane.flight = None
        if not isinstance(outcome, (Response, TransportError)):
            raise outcome
        if flight.batch is not None:
            self._judge_batch(answer, flight.batch, outcome)
        elif self._acknowledging is not None:
            self._acknowledging.judge(
                answer.lane,
                flight,
                outcome if isinstance(outcome, Response) else outcome.reason,
                self._clock.monotonic(),
                self._seconds_asked_for(outcome),
            )

    def _judge_batch(self, answer: Answer, batch: Batch, outcome: Response | TransportError) -> None:
        verdict: Verdict
        if isinstance(outcome, Response):
            verdict = self._destination.interpret(
                outcome, count=len(batch.entries), body_bytes=answer.flight.body_bytes
            )
        else:
            verdict = verdict_of_failure(outcome)
        settlement = settle(batch, verdict, self._destination.simplify)
        if settlement.reason:
            settlement = replace(settlement, reason=self._transport.mask(settlement.reason))
        self._apply(answer, settlement)

    def _apply(self, answer: Answer, settlement: Settlement) -> None:
        again = self._batching.again
        source, batch = again[0]
        now = self._clock.monotonic()
        delivered = settlement.delivered
        if delivered and settlement.receipt is not None:
            # Before the batch leaves ``again``, so that it is in one of the two whatever happens.
            answer.lane.book.park(source, replace(batch, entries=delivered), settlement.receipt, now)
            delivered = ()
        again.popleft()
        again.extendleft((source, next_try) for next_try in reversed(settlement.again))
        if settlement.reason:
            source.note_failure(settlement.reason, duplicates_possible=settlement.duplicates_possible)
        if delivered or settlement.rejected:
            source.settle(delivered, settlement.rejected)
        if settlement.delivered and self._packing.learn_from_success(batch):
            self._telling.tell_of_no_compression()
        self._note(answer, settlement, now)

    def _note(self, answer: Answer, settlement: Settlement, now: float) -> None:
        """Let gate, limit and people know what an answer decided."""
        is_news = self._gate.note(
            settlement,
            now,
            round_=answer.flight.gate_round,
            asked_seconds=self._seconds_asked_for(answer.outcome) if settlement.reason else 0.0,
            has_new_key=settlement.refreshes_key and self._transport.refresh_key(),
        )
        if settlement.rejected:
            self._telling.tell_rejected(settlement, now)
        if not is_news:
            return
        self._telling.note(settlement, now)
        if settlement.pause is not Pause.NONE:
            self._limit.note_refusal()
        elif settlement.delivered:
            self._limit.note_success(answer.seconds)

    def _seconds_asked_for(self, outcome: object) -> float:
        if not isinstance(outcome, Response):
            return 0.0
        asked = retry_after_seconds(outcome, now_unix_seconds=self._clock.time()) or 0.0
        return min(asked, self._policy.retry_after_max_seconds)

    def _check_key(self) -> None:
        """While held because of the key: read its reference again, and try at once if it has changed."""
        now = self._clock.monotonic()
        if self._gate.is_key_check_due(now) and self._transport.refresh_key():
            self._gate.open(now)

    # What is left when a step breaks, or was the last one.

    def note_bug(self, error: BaseException) -> None:
        """Tell of an exception that broke a step."""
        self._telling.tell_trouble(
            f"met an internal error ({type(error).__name__}: {error}) and starts again"
        )
        for source, _ in list(self._batching.again)[:1]:
            source.note_failure(f"internal error: {type(error).__name__}: {error}", duplicates_possible=0)
        self._gate.shut_after_bug()

    @property
    def has_sources(self) -> bool:
        """Whether it serves any buffer."""
        return any(True for _ in self._batching)

    @property
    def holds_entries(self) -> bool:
        """Whether there is anything to hand back."""
        return bool(self._batching.again) or any(lane.book for lane in self._lanes)

    def give_away_sources(self) -> Iterator[Source]:
        """Take out the buffers, for another sender, after ``hand_back``."""
        while self.has_sources:
            yield self._batching.give_away_source()

    def hand_back(self) -> None:
        """Give everything back to its buffer in order; what was not acknowledged may have arrived."""
        left = by_source(parked for lane in self._lanes for parked in lane.book.take_all())
        for source, entries in left.items():
            reason = "no acknowledgment had come when another sender took over; the entries are sent again"
            source.note_failure(reason, duplicates_possible=len(entries))
        for source, batch in self._batching.again:
            left.setdefault(source, []).extend(batch.entries)
        for source, entries in left.items():
            source.hand_back(sorted(entries))
        self._batching.again.clear()  # Last: what an interruption leaves can be handed back again.
