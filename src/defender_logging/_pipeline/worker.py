"""Sends what the buffers hold: one thread per handler, one request at a time, in order, for ever.

Entries come from one or more buffers (the handler's own, and those of closed handlers that it took over),
are cut into a batch, framed by the destination, compressed, and carried by the transport; ``delivery``
judges the answer and the buffer settles its entries. Where the answer is only a receipt, the batch waits in an
``AckBook`` until a query, which is one more request between batches, confirms it.

Guaranteed
- What was taken from a buffer is in ``_work`` until it is settled. It is kept in the object and not in the
  thread, so a thread that dies of a bug or of MemoryError loses nothing: the loop starts again after a pause.
- Queries never stop the sending: batches and queries take turns, and what a query comes to does not touch the
  destination's pause.
- Nothing is given up while the process runs; after a failure the whole destination waits, not the batch.
- The loop never calls into logging; what people should know goes to ``Reports``.

The steps of the loop are small methods on plain state with the clock passed in, so that tests run it with a
fake clock and a fake transport, and so that the exit hook can run it in its own thread when the interpreter
no longer starts any.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from defender_logging._pipeline import threads
from defender_logging._pipeline.acks import AckBook, Parked
from defender_logging._pipeline.backoff import Backoff
from defender_logging._pipeline.compression import compressor
from defender_logging._pipeline.delivery import Pause, Settlement, settle, verdict_of_failure
from defender_logging._pipeline.entry import Batch, Entry
from defender_logging._pipeline.reports import Reports
from defender_logging._pipeline.source import Source
from defender_logging._pipeline.wire import Transport, TransportError, WireRequest
from defender_logging.clock import SYSTEM_CLOCK, Clock, Wake
from defender_logging.destinations.base import Acks, Destination, Request, Response, Verdict
from defender_logging.destinations.retry_after import retry_after_seconds

__all__ = ["Policy", "Sender"]

_SYSTEM_RANDOM = random.SystemRandom()
"""Not the program's own generator: a program that seeds it must get the same numbers with us and without us."""

CRASH_PAUSE_SECONDS = 1.0
"""Between the death of the loop by a bug and its next start: no tight loop, no long silence."""

TELL_OUTAGE_AFTER_SECONDS = 30.0
"""An outage shorter than this is the daily life of a network and nobody's business."""

REJECTION_REPORT_SECONDS = 60.0
"""Refused entries are all counted, but told at most this often."""

FRAME_BYTES = 2
"""The brackets of a JSON array; the separators are counted with the entries."""

KEY_CHECK_SECONDS = 5.0
"""While held because of the key, its reference is read again this often, so a rotated key heals at once."""

HURRIED_QUERIES_SECONDS = 60.0
"""How long after a flush acknowledgments are asked for at most 1 s apart."""

KEY_REFUSALS = (401, 403)


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers of batching and retrying; see ``settings`` for their meaning."""

    max_batch_entries: int
    max_batch_bytes: int
    flush_interval_seconds: float
    compression: str
    retry_initial_seconds: float
    retry_max_seconds: float
    retry_after_max_seconds: float
    hold_retry_seconds: float
    ack_timeout_seconds: float = 300.0
    max_unacknowledged_bytes: int = 33_554_432


class Sender:
    """The loop between buffers and receiver. ``step`` belongs to one thread at a time; all else is for any.

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
        self._destination = destination
        self._transport = transport
        self._policy = policy
        self._reports = reports
        self._wake = wake
        self._clock = clock
        self._backoff = Backoff(policy.retry_initial_seconds, policy.retry_max_seconds, draw)
        self._content_encoding, self._compress = compressor(policy.compression)
        self._arriving: deque[Source] = deque()
        self._buffers: deque[Source] = deque()
        self._work: deque[tuple[Source, Batch]] = deque()
        self._acks = destination.acks
        self._book = AckBook(policy.ack_timeout_seconds)
        self._has_just_asked = False
        self._hurries_queries_until = 0.0
        self._queries_fail_since: float | None = None
        self._has_told_of_acks = False
        self._gather_since = clock.monotonic()
        self._not_before = 0.0
        self._gate_was_asked_for = False
        self._may_pass_gate = False
        self._next_key_check: float | None = None
        self._failing_since: float | None = None
        self._told = ""
        self._next_rejection_report = 0.0
        self._pause = Pause.NONE
        self._is_hurried = False
        self._is_leaving = False
        self._deadline: float | None = None
        self._successor: Sender | None = None
        self._baton = threading.Lock()  # Whoever runs the loop holds it.
        self.is_running = False
        """Whether a thread runs the loop, or is about to."""

    # What other threads ask for.

    def add_buffer(self, buffer: Source) -> None:
        """Serve one more buffer, or one again that was let go of; those that came first are emptied first."""
        buffer.wake = self._wake
        if buffer not in (*tuple(self._arriving), *tuple(self._buffers)):
            self._arriving.append(buffer)
        self._wake.set()
        if self._is_leaving:
            self._hand_over()

    def hurry(self) -> None:
        """Send what waits without gathering more, and try at once if only our own backoff forbids it."""
        if self._successor is not None:
            self._successor.hurry()
        self._hurries_queries_until = self._clock.monotonic() + HURRIED_QUERIES_SECONDS
        self._is_hurried = True
        self._may_pass_gate = True
        self._wake.set()

    def leave(self, successor: Sender | None = None) -> None:
        """End the loop after the request under way; the buffers keep what is not settled.

        Args:
            successor: serves the buffers from then on, and not before, so that the order of a stream is kept. The
                first one counts.
        """
        self._successor = self._successor or successor
        self._is_leaving = True
        self._wake.set()
        self._hand_over()

    def finish_by(self, deadline: float) -> None:
        """End the loop at a monotonic time and begin no request that lasts beyond it, until a later time is given."""
        if self._successor is not None:
            self._successor.finish_by(deadline)
        self._deadline = deadline
        self._transport.limit(deadline)
        self._wake.set()

    def _is_late(self) -> bool:
        return self._deadline is not None and self._clock.monotonic() >= self._deadline

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
        if self._pause is Pause.HOLD:
            return "held"
        if self._pause is Pause.BACKOFF:
            return "retrying"
        return "sending" if self._has_work() else "idle"

    # The loop.

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
                        self.step(self._deadline)
                    except BaseException as error:  # noqa: BLE001 - a sender that dies silently is the worst bug of all
                        self._survive(error)
            finally:
                self.is_running = False
                self._transport.close()
                self._baton.release()
                if self._is_leaving:
                    self._hand_over()
            if self._is_done():
                self.is_running = False  # Another one may have been started, and found the baton taken.
                return

    def run_until(self, deadline: float) -> None:
        """Run in the calling thread until all is settled or the monotonic ``deadline`` has passed.

        For the time when no thread can be started any more. Only name resolution may outlast the deadline.
        """
        if self._successor is not None:
            self._successor.run_until(deadline)
        elif self._baton.acquire(blocking=False):
            try:
                self._transport.limit(deadline)
                while self._has_work() and self._clock.monotonic() < deadline:
                    self.step(deadline)
            finally:
                self._baton.release()

    def step(self, deadline: float | None) -> None:
        """Wait until something may be sent, or for the next event, and make at most one request."""
        self._send_lost_again()
        wait, query_wait = self._seconds_to_send(), self._seconds_to_query()
        is_idle = wait is None
        may_send = wait is not None and wait <= 0
        if self._acks is not None and query_wait == 0 and not (may_send and self._has_just_asked):
            self._has_just_asked = True
            self._ask(self._acks)
            return
        self._has_just_asked = False
        if may_send:
            work = self._next_work()
            if work is not None:
                self._work.appendleft(work)
                self._attempt(*work)
            return
        wait = self._seconds_to_wait()
        if deadline is not None:
            left = max(0.0, deadline - self._clock.monotonic())
            wait = left if wait is None else min(wait, left)
        self._clock.wait(self._wake, wait)
        if is_idle:
            self._gather_since = self._clock.monotonic()
        self._check_key()

    def _is_done(self) -> bool:
        if self._is_leaving or self._is_late():
            return True
        return not self._has_work() and all(b.is_closed for b in (*tuple(self._arriving), *self._buffers))

    def _has_work(self) -> bool:
        # Copies, which are single steps in C: other threads ask for the state, and bring buffers.
        return bool(self._work) or any(b.pending for b in (*tuple(self._arriving), *tuple(self._buffers)))

    def _seconds_to_wait(self) -> float | None:
        """Seconds until the next step has something to do: 0 for now, None for when there is something to send."""
        loss_wait = self._book.seconds_to_loss(self._clock.monotonic())
        waits = (self._seconds_to_send(), self._seconds_to_query(), loss_wait)
        return min((wait for wait in waits if wait is not None), default=None)

    def _seconds_to_send(self) -> float | None:
        """Seconds until a batch may be sent; None where there is none."""
        now = self._clock.monotonic()
        while self._arriving:
            arriving = self._arriving.popleft()
            # Those of closed handlers and of dead processes go first: what they hold is older.
            (self._buffers.appendleft if arriving.is_closed else self._buffers.append)(arriving)
        # Before looking, and put back if there is something: a hurry between a look and its end would be lost.
        is_hurried, self._is_hurried = self._is_hurried, False
        is_waiting = any(buffer.waiting_entries for buffer in self._buffers)
        self._is_hurried = self._is_hurried or (is_hurried and bool(self._work or is_waiting))
        if self._work or (is_waiting and self._has_room()):
            gate = self._not_before - now
            if gate > 0 and (self._gate_was_asked_for or not self._may_pass_gate):
                check = self._next_key_check
                return gate if check is None else max(0.001, min(gate, check - now))
            if self._work or self._is_hurried or any(map(self._is_full, self._buffers)):
                return 0.0
            return max(0.0, self._gather_since + self._policy.flush_interval_seconds - now)
        return None

    def _has_room(self) -> bool:
        """Whether more may wait for acknowledgment; buffers on the disk have no bound of their own for it."""
        return self._book.parked_bytes < self._policy.max_unacknowledged_bytes

    def _seconds_to_query(self) -> float | None:
        """Seconds until acknowledgments are asked for; None where none is awaited."""
        now = self._clock.monotonic()
        is_urgent = (
            now < self._hurries_queries_until
            or 4 * self._book.parked_bytes > self._policy.max_unacknowledged_bytes
        )
        wait = self._book.seconds_to_query(now, is_urgent=is_urgent)
        if wait is None or not self._gate_was_asked_for:
            return wait
        return max(wait, self._not_before - now)

    def _is_full(self, buffer: Source) -> bool:
        return buffer.is_closed or (
            buffer.waiting_entries >= self._policy.max_batch_entries
            or buffer.waiting_bytes >= self._policy.max_batch_bytes
        )

    def _next_work(self) -> tuple[Source, Batch] | None:
        if self._work:
            return self._work.popleft()
        self._gather_since = self._clock.monotonic()
        for _ in range(len(self._buffers)):
            # By turns: new entries do not wait for the whole of an adopted backlog, nor the backlog for them.
            buffer = self._buffers.popleft()
            entries = buffer.take(self._policy.max_batch_entries, self._policy.max_batch_bytes - FRAME_BYTES)
            if buffer.pending or not buffer.is_closed:  # An emptied buffer of a closed handler is done with.
                self._buffers.append(buffer)
            if entries:
                return buffer, Batch(entries, is_compressed=self._compress is not None)
        return None

    def _attempt(self, buffer: Source, batch: Batch) -> None:
        """Make one request for the batch at the head of ``_work`` and act on the answer."""
        self._may_pass_gate = False
        buffer.count_request(is_retry=batch.attempts > 0)
        lines = [entry.line for entry in batch.entries]
        request = self._destination.build_request(lines, now_unix_seconds=self._clock.time())
        response: Response | None = None
        verdict: Verdict
        try:
            response = self._send(buffer, request, batch)
            verdict = self._destination.interpret(response, count=len(lines), body_bytes=len(request.body))
        except TransportError as error:
            verdict = verdict_of_failure(error)
        settlement = settle(batch, verdict, self._destination.simplify)
        if settlement.reason:
            settlement = replace(settlement, reason=self._transport.mask(settlement.reason))
        self._apply(buffer, settlement, response)

    def _send(self, buffer: Source, request: Request, batch: Batch) -> Response:
        headers, body = dict(request.headers), request.body
        if self._acks is not None:
            headers.update(self._acks.headers(self._book.channel))
        if self._compress is not None and self._content_encoding is not None and batch.is_compressed:
            body = self._compress(body)
            headers["Content-Encoding"] = self._content_encoding
        wire_request = WireRequest(request.target, headers, body)
        return self._exchange(buffer, wire_request, count=len(batch.entries))

    def _exchange(self, buffer: Source, request: WireRequest, *, count: int) -> Response:
        """Make one request that carries ``count`` entries."""
        try:
            return self._transport.send(request)
        except TransportError as error:
            if not error.is_stale_connection:
                raise
            # The receiver closed the kept connection while it was idle: once more, at once, on a new one.
            buffer.note_failure(error.reason, duplicates_possible=count * error.is_ambiguous)
            buffer.count_request(is_retry=True)
            return self._transport.send(request)

    def _apply(self, buffer: Source, settlement: Settlement, response: Response | None) -> None:
        _, batch = self._work[0]
        delivered = settlement.delivered
        if delivered and settlement.receipt is not None:
            # Before the batch leaves ``_work``, so that it is in one of the two whatever happens.
            self._book.park(
                buffer, replace(batch, entries=delivered), settlement.receipt, self._clock.monotonic()
            )
            delivered = ()
        self._work.popleft()
        self._work.extendleft((buffer, batch) for batch in reversed(settlement.again))
        if settlement.reason:
            buffer.note_failure(settlement.reason, duplicates_possible=settlement.duplicates_possible)
        if delivered or settlement.rejected:
            buffer.settle(delivered, settlement.rejected)
        self._tell_rejected(settlement)
        if settlement.delivered:
            self._backoff.reset()
            self._learn_from_success(batch)
        self._set_gate(settlement, response)

    def _learn_from_success(self, batch: Batch) -> None:
        """Stop compressing for a receiver that refused an entry compressed and took it plain.

        Otherwise it would refuse every batch, and get the entries one by one, each of them after two refusals.
        """
        if self._compress is not None and not batch.is_compressed:
            self._compress = None
            self._reports.add(
                logging.WARNING,
                f"{self._name}: the receiver takes entries only without compression, so none is used from now "
                "on; set compression to 'none'",
            )

    # Acknowledgments.

    def _ask(self, acks: Acks) -> None:
        """Make one query, and settle what it confirms."""
        asked = self._book.next_question()
        if not asked:
            return
        source = asked[0].source
        query = acks.build_query(asked[0].channel, [parked.receipt for parked in asked])
        source.count_request(is_retry=False)
        response: Response | None = None
        try:
            response = self._exchange(source, WireRequest(query.target, query.headers, query.body), count=0)
            reply = acks.read_reply(response)
        except TransportError as error:
            reply = error.reason
        now = self._clock.monotonic()
        if isinstance(reply, str):
            self._book.note_failure(now, self._seconds_asked_for(response))
            self._note_failed_query(source, self._transport.mask(reply), response)
            return
        self._queries_fail_since = None
        confirmed = self._book.note_answer(asked, reply, now)
        for buffer, entries in _by_source(confirmed).items():
            buffer.settle(entries, ())
        if confirmed and self._has_told_of_acks:
            self._has_told_of_acks = False
            self._reports.add(logging.INFO, f"{self._name} gets acknowledgments again")

    def _note_failed_query(self, source: Source, reason: str, response: Response | None) -> None:
        now = self._clock.monotonic()
        source.note_failure(reason, duplicates_possible=0)
        if response is not None and response.status in KEY_REFUSALS:
            self._transport.refresh_key()
        if self._queries_fail_since is None:
            self._queries_fail_since = now
        if now - self._queries_fail_since >= TELL_OUTAGE_AFTER_SECONDS:
            self._tell_of_acks(f"gets no answer about acknowledgments and goes on asking: {reason}")

    def _send_lost_again(self) -> None:
        lost = self._book.take_lost(self._clock.monotonic())
        if not lost:
            return
        self._work.extendleft(
            (parked.source, replace(parked.batch, is_ambiguous=True, attempts=parked.batch.attempts + 1))
            for parked in reversed(lost)
        )
        reason = (
            f"no acknowledgment within {self._policy.ack_timeout_seconds:g} s, or the receiver began to count anew "
            "(a restart, or several indexers behind a balancer without sticky sessions); the entries are sent "
            "again on a new channel"
        )
        for buffer, entries in _by_source(lost).items():
            buffer.note_failure(reason, duplicates_possible=len(entries))
        self._tell_of_acks(f"sends entries again: {reason}")

    def _tell_of_acks(self, sentence: str) -> None:
        if not self._has_told_of_acks:
            self._has_told_of_acks = True
            self._reports.add(logging.WARNING, f"{self._name} {sentence}")

    def _set_gate(self, settlement: Settlement, response: Response | None) -> None:
        """Decide when the next request may be made; it holds for the whole destination."""
        self._pause = settlement.pause
        self._next_key_check = None
        now = self._clock.monotonic()
        asked = self._seconds_asked_for(response) if settlement.reason else 0.0
        if settlement.pause is Pause.NONE:
            # A receiver may also name a time when it refuses a batch for its size or for one entry.
            self._gate_was_asked_for = asked > 0
            self._not_before = now + asked
            if settlement.delivered:
                self._tell_recovery()
            return
        if self._failing_since is None:
            self._failing_since = now
        if settlement.pause is Pause.BACKOFF:
            wait = self._backoff.next_seconds()
            if now - self._failing_since >= TELL_OUTAGE_AFTER_SECONDS:
                self._tell_trouble(f"cannot deliver and goes on trying: {settlement.reason}")
        else:
            wait = self._policy.hold_retry_seconds
            self._tell_trouble(f"holds its entries: {settlement.reason}")
        if settlement.refreshes_key:
            if self._transport.refresh_key():
                wait = 0.0
            self._next_key_check = now + KEY_CHECK_SECONDS
        self._gate_was_asked_for = asked >= wait  # Obeyed even in a hurry; our own guess is not.
        self._not_before = now + max(wait, asked)

    def _seconds_asked_for(self, response: Response | None) -> float:
        if response is None:
            return 0.0
        asked = retry_after_seconds(response, now_unix_seconds=self._clock.time()) or 0.0
        return min(asked, self._policy.retry_after_max_seconds)

    def _check_key(self) -> None:
        """While held because of the key: read its reference again, and try at once if it has changed."""
        now = self._clock.monotonic()
        if self._next_key_check is None or now < self._next_key_check:
            return
        self._next_key_check = now + KEY_CHECK_SECONDS
        if self._transport.refresh_key():
            self._not_before = now

    def _survive(self, error: BaseException) -> None:
        self._tell_trouble(f"met an internal error ({type(error).__name__}: {error}) and starts again")
        for buffer, _ in list(self._work)[:1]:
            buffer.note_failure(f"internal error: {type(error).__name__}: {error}", duplicates_possible=0)
        self._pause = Pause.BACKOFF
        self._clock.wait(Wake(), CRASH_PAUSE_SECONDS)

    def _hand_over(self) -> None:
        """Put back what was taken, and pass the buffers on: done by whoever comes after the loop, never during it."""
        heir = self._successor
        # Looked at again after the baton is free: what somebody else brought meanwhile could not be passed on there.
        while self._has_leftovers(heir) and self._baton.acquire(blocking=False):
            try:
                self._hand_back()
                while heir is not None and self._has_leftovers(heir):
                    heir.add_buffer((self._buffers or self._arriving).popleft())
            finally:
                self._baton.release()
        if heir is not None:
            heir.ensure_running()

    def _hand_back(self) -> None:
        """Give everything back to its buffer in order; what was not acknowledged may have arrived."""
        parked = self._book.take_all()
        left = _by_source(parked)
        for buffer, entries in left.items():
            reason = "no acknowledgment had come when another sender took over; the entries are sent again"
            buffer.note_failure(reason, duplicates_possible=len(entries))
        while self._work:
            buffer, batch = self._work.popleft()
            left.setdefault(buffer, []).extend(batch.entries)
        for buffer, entries in left.items():
            buffer.hand_back(sorted(entries))

    def _has_leftovers(self, heir: Sender | None) -> bool:
        return bool(self._work or self._book or (heir is not None and (self._buffers or self._arriving)))

    # What people are told, once.

    def _tell_trouble(self, sentence: str) -> None:
        # Without the receiver's own words, in which every answer may have another time or request id.
        kind = sentence.partition('("')[0]
        if kind != self._told:
            self._told = kind
            self._reports.add(logging.WARNING, f"{self._name} {sentence}")

    def _tell_recovery(self) -> None:
        if self._told:
            self._told = ""
            seconds = self._clock.monotonic() - (self._failing_since or self._clock.monotonic())
            self._reports.add(logging.INFO, f"{self._name} delivers again, after {seconds:.0f} s")
        self._failing_since = None

    def _tell_rejected(self, settlement: Settlement) -> None:
        now = self._clock.monotonic()
        if settlement.rejected and now >= self._next_rejection_report:
            self._next_rejection_report = now + REJECTION_REPORT_SECONDS
            seqs = ", ".join(str(entry.seq) for entry, _ in settlement.rejected[:5])
            self._reports.add(
                logging.WARNING,
                f"{self._name}: the receiver refuses entries for good (seq {seqs}): {settlement.reason}",
            )


def _by_source(parked: list[Parked]) -> dict[Source, list[Entry]]:
    found: dict[Source, list[Entry]] = {}
    for one in parked:
        found.setdefault(one.source, []).extend(one.batch.entries)
    return found
