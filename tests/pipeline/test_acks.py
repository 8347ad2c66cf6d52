"""Entries with a receipt are settled only when they are acknowledged, and sent again when they are not."""

from __future__ import annotations

import gzip
import json
import logging
import threading

import pytest

from defender_logging._pipeline.acks import AckBook
from defender_logging._pipeline.buffer import Bounds, Buffer, Overflow
from defender_logging._pipeline.entry import Batch, Draft, Entry
from defender_logging._pipeline.policy import Policy
from defender_logging._pipeline.reports import Reports
from defender_logging._pipeline.telling import TELL_OUTAGE_AFTER_SECONDS
from defender_logging._pipeline.wire import TransportError
from defender_logging._pipeline.worker import Sender
from defender_logging.clock import Wake
from defender_logging.destinations.base import Response
from defender_logging.destinations.splunk import CHANNEL_HEADER, SplunkDestination
from defender_logging.testing import FakeClock, FakeTransport

DRAFT = Draft(b'{"time":1,"event":{"a":1', b"}}")
LINE_BYTES = 100
"""Roughly; a line of DRAFT is shorter."""


def answer(reply, status=200, headers=()):
    return Response(status, headers, json.dumps(reply).encode())


class Splunk:
    """Answers as a Splunk with acknowledgment, as far as a test needs; ``acked`` says for which ids."""

    def __init__(self):
        self.next = {}
        self.acked = set()
        self.ack_answer = None
        self.queries = []
        self.batches = []

    def __call__(self, request):
        channel = request.headers[CHANNEL_HEADER]
        if request.target.endswith("/ack"):
            ids = json.loads(request.body)["acks"]
            self.queries.append((channel, ids))
            if self.ack_answer is not None:
                if isinstance(self.ack_answer, Exception):
                    raise self.ack_answer
                return self.ack_answer
            replies = {str(n): (channel, n) in self.acked for n in ids}
            self.acked -= {(channel, n) for n in ids}
            return answer({"acks": replies})
        number = self.next.get(channel, 0)
        self.next[channel] = number + 1
        seqs = [json.loads(line)["event"]["seq"] for line in request.body.splitlines()]
        self.batches.append((channel, number, seqs))
        return answer({"text": "Success", "code": 0, "ackId": number})

    def acknowledge(self, index=-1):
        channel, number, _ = self.batches[index]
        self.acked.add((channel, number))

    def forget(self):
        """Restart."""
        self.next.clear()
        self.acked.clear()


class Rig:
    """A sender that waits for acknowledgments, with one buffer, on a clock that the test moves."""

    def __init__(self, answers=(), *, max_queue_bytes=1_000_000, ack_timeout_seconds=300.0, max_in_flight=1):
        self.clock = FakeClock()
        self.splunk = Splunk()
        self.transport = FakeTransport(answers, then=self.splunk)
        self.reports = Reports()
        self.wake = Wake()
        self.policy = Policy(
            max_batch_entries=10,
            max_batch_bytes=100_000,
            flush_interval_seconds=1.0,
            compression="none",
            retry_initial_seconds=1.0,
            retry_max_seconds=8.0,
            retry_after_max_seconds=600.0,
            hold_retry_seconds=300.0,
            max_in_flight=max_in_flight,
            ack_timeout_seconds=ack_timeout_seconds,
            max_unacknowledged_bytes=max_queue_bytes,
        )
        self.sender = self.make_sender()
        self.buffer = Buffer(
            "s",
            Bounds(max_queue_bytes, Overflow.DROP_NEWEST, 1.0, 10, 100_000),
            wake=self.wake,
            describe_drops=lambda *_: DRAFT,
            tell=lambda _: None,
            clock=self.clock,
        )
        self.sender.add_buffer(self.buffer)

    def make_sender(self):
        return Sender(
            "TestHandler",
            SplunkDestination(target="", channel="unused", use_ack=True),
            self.transport,
            self.policy,
            reports=self.reports,
            wake=self.wake,
            clock=self.clock,
            draw=lambda: 1.0,
        )

    def log(self, count=10):
        for _ in range(count):
            self.buffer.append(DRAFT)

    def run(self, seconds=0.0):
        """Make every step that is due now and, one after the other, within so many seconds."""
        end = self.clock.monotonic() + seconds
        while True:
            wait = self.sender.loop._seconds_to_wait()
            if wait is None or self.clock.monotonic() + wait > end:
                self.clock.advance(max(0.0, end - self.clock.monotonic()))
                return
            if wait:
                self.clock.advance(wait)
            self.sender.loop.step(None)

    def stats(self):
        stats = self.buffer.stats(filtered=0, state=self.sender.state)
        assert stats.accepted == stats.delivered + stats.rejected + stats.dropped + stats.pending
        return stats

    def counts(self):
        stats = self.stats()
        return stats.delivered, stats.pending, stats.duplicates_possible


class TestAcknowledged:
    def test_entries_stay_pending_until_true(self):
        """A 200 is a receipt; only the acknowledgment delivers, and only then is there a success."""
        rig = Rig()
        rig.log()
        rig.run(10)
        assert (0, 10, 0) == rig.counts()
        assert rig.stats().last_success_unix_seconds is None
        rig.splunk.acknowledge()
        rig.run(10)

        assert (10, 0, 0) == rig.counts()
        assert rig.stats().last_success_unix_seconds is not None
        assert rig.sender.loop._seconds_to_wait() is None
        assert "idle" == rig.stats().state

    def test_asks_first_after_1_s_then_more_and_more_rarely(self):
        """1 s, 2, 4, 8, then every 10 s, on the channel of the batch."""
        rig = Rig()
        rig.log()
        rig.run()
        waits = []
        for _ in range(6):
            waits.append(rig.sender.loop._seconds_to_wait())
            rig.run(waits[-1])

        assert [1.0, 2.0, 4.0, 8.0, 10.0, 10.0] == waits
        assert [(rig.splunk.batches[0][0], [0])] * 6 == rig.splunk.queries
        assert 7 == rig.stats().requests

    def test_a_flush_asks_every_second(self):
        """Who waits for the acknowledgments does not wait for the long interval."""
        rig = Rig()
        rig.log()
        rig.run(20)
        rig.splunk.queries.clear()
        rig.sender.hurry()
        rig.run(10)

        assert 10 <= len(rig.splunk.queries) <= 11

    def test_asks_every_second_above_a_quarter_of_the_bound(self):
        """Memory that fills up is freed as soon as can be."""
        rig = Rig(max_queue_bytes=20 * LINE_BYTES)
        rig.log()
        rig.run()
        rig.run(10)

        assert 4 * rig.sender.loop._lanes._lanes[0].book.parked_bytes > 20 * LINE_BYTES
        assert 10 == len(rig.splunk.queries)

    def test_only_what_is_true_is_settled(self):
        """Of several batches the acknowledged ones leave, in whatever order."""
        rig = Rig()
        for _ in range(3):
            rig.log()
        rig.run()
        rig.splunk.acknowledge(1)
        rig.run(1)
        assert (10, 20, 0) == rig.counts()
        assert {*range(1, 11), *range(21, 31)} == set(rig.buffer._in_flight)

    def test_queries_never_stop_the_sending(self):
        """Where both are due they take turns."""
        rig = Rig()
        rig.log()
        rig.run()
        rig.clock.advance(1.0)
        for _ in range(4):
            rig.log()
            rig.run()

        assert 5 == len(rig.splunk.batches)
        targets = [request.target.rpartition("/")[2] for request in rig.transport.requests]
        assert ["event", "ack", "event", "event", "event", "event"] == targets

    def test_sending_never_stops_the_queries(self):
        """However much there is to send, every other request may be a query."""
        rig = Rig(max_queue_bytes=1_000_000)
        rig.log()
        rig.run()
        for _ in range(3):
            rig.log()
            rig.clock.advance(10.0)
            rig.sender.loop.step(rig.clock.monotonic())
            rig.log()
            rig.sender.loop.step(rig.clock.monotonic())

        targets = [request.target.rpartition("/")[2] for request in rig.transport.requests]
        assert ["event", *["ack", "event"] * 3] == targets

    def test_gathers_company_while_acknowledgments_are_awaited(self):
        """An entry that comes between two queries waits for the flush interval as ever."""
        rig = Rig()
        rig.log()
        rig.run(20)
        rig.sender.loop._batching.begin_gathering(rig.clock.monotonic())
        rig.log(1)

        assert 1.0 == rig.sender.loop._seconds_to_send()

    def test_nothing_is_taken_beyond_the_bound(self):
        """What waits for acknowledgment is bounded, whatever the buffer behind would give."""
        rig = Rig(max_queue_bytes=1_000_000)
        rig.sender.loop._policy = Policy(
            **{n: getattr(rig.policy, n) for n in Policy.__slots__} | {"max_unacknowledged_bytes": 1500}
        )
        rig.log(100)
        rig.run(5)
        before = len(rig.splunk.batches)
        assert 100 > 10 * before
        for index in range(before):
            rig.splunk.acknowledge(index)
        rig.run(2)

        assert len(rig.splunk.batches) > before


class TestLost:
    def test_goes_again_on_a_new_channel_after_the_timeout(self):
        """Never true: the same entries go again, counted as possible duplicates; the first try is void."""
        rig = Rig()
        rig.log()
        rig.run(301)

        (first, _, seqs), (second, number, again) = rig.splunk.batches
        assert first != second
        assert (0, seqs) == (number, again)
        assert (0, 10, 10) == rig.counts()
        rig.splunk.acknowledge(0)
        rig.run(5)
        assert 0 == rig.stats().delivered
        rig.splunk.acknowledge(1)
        rig.run(10)
        assert (10, 0, 10) == rig.counts()
        assert [logging.WARNING, logging.INFO] == [level for level, _ in rig.reports._waiting]

    def test_a_receiver_that_never_acknowledges_gets_a_batch_once_a_timeout(self):
        """No unbounded duplicates, and one report."""
        rig = Rig()
        for _ in range(3):
            rig.log()
        rig.run(3000)

        assert 3 * 11 >= len(rig.splunk.batches) >= 3 * 5
        assert [logging.WARNING] == [level for level, _ in rig.reports._waiting]
        assert "300 s" in rig.stats().last_error

    def test_ids_that_begin_again_void_the_older_batches(self):
        """A Splunk that restarted gives an id twice: the newer batch has it, the older one goes again elsewhere."""
        rig = Rig()
        rig.log()
        rig.run()
        rig.splunk.forget()
        rig.log()
        rig.run()

        (first, _, _), (second, _, _), (third, _, again) = rig.splunk.batches
        assert first == second != third
        assert [*range(1, 11)] == again
        rig.splunk.acknowledge(1)
        rig.run(2)
        assert set(range(1, 11)) == set(rig.buffer._in_flight)
        rig.splunk.acknowledge(2)
        rig.run(10)
        assert (20, 0, 10) == rig.counts()

    def test_a_lower_id_voids_as_well(self):
        """Otherwise an id that was answered unheard could confirm an older batch."""
        rig = Rig()
        for _ in range(3):
            rig.log()
        rig.run()
        rig.splunk.acknowledge(0)
        rig.run(1)
        rig.splunk.forget()
        rig.log()
        rig.run()

        assert [[*range(11, 21)], [*range(21, 31)]] == [seqs for _, _, seqs in rig.splunk.batches[4:]]

    def test_indexers_without_sticky_sessions_make_no_storm(self):
        """Every batch gets id 0: what goes again waits longer each time."""
        rig = Rig()
        real = rig.splunk.__call__

        def forgetful(request):
            rig.splunk.next.clear()
            return real(request)

        rig.transport._then = forgetful
        for _ in range(100):
            rig.log()
            rig.run(1)

        assert 100 < len(rig.splunk.batches) < 250

    def test_an_answer_that_was_lost_costs_one_repetition(self):
        """True once, reply lost, false for ever: sent again after the timeout, not lost."""
        rig = Rig()
        rig.log()
        rig.run()
        rig.splunk.acknowledge()
        channel, number, _ = rig.splunk.batches[0]

        def lose(_):
            rig.splunk.acked.discard((channel, number))
            raise TransportError("reset", is_ambiguous=True)

        rig.transport._answers.append(lose)
        rig.run(310)
        assert 2 == len(rig.splunk.batches)
        rig.splunk.acknowledge()
        rig.run(10)

        assert (10, 0, 10) == rig.counts()

    @pytest.mark.parametrize(
        "reply",
        [
            answer({"text": "ACK is disabled", "code": 14}, 400),
            answer({"text": "Server is busy", "code": 9}, 503),
            Response(404, (), b"<html>"),
            Response(200, (), b"<html>"),
            Response(200, (), b""),
            answer({"acks": [True]}),
            answer({"acks": {"0": "true"}}),
            answer({"acks": {"0": 1, "1": True, "x": True, "-0": True, "0.0": True}}),
            answer({"acks": {"0": True}}, 202),
            answer({"acks": {"0": True}}, 500),
            TransportError("no complete response within 15 s", is_ambiguous=True),
            TransportError("refused"),
        ],
        ids=str,
    )
    def test_a_doubtful_answer_means_not_acknowledged(self, reply):
        """Nothing is settled, nothing is paused, and the sending goes on."""
        rig = Rig()
        rig.log()
        rig.run()
        rig.splunk.ack_answer = reply
        rig.run(10)
        rig.log()
        rig.run()

        assert (0, 20, 0) == rig.counts()
        assert "sending" == rig.stats().state
        rig.splunk.ack_answer = None
        rig.splunk.acknowledge(0)
        rig.splunk.acknowledge(1)
        rig.run(61)
        assert (20, 0, 0) == rig.counts()

    def test_queries_that_fail_for_long_are_told_once(self):
        """With the reason, and each counts as a request and the wait grows up to a minute."""
        rig = Rig()
        rig.log()
        rig.run()
        rig.splunk.ack_answer = answer({"text": "ACK is disabled", "code": 14}, 400)
        rig.run(TELL_OUTAGE_AFTER_SECONDS * 8)

        (report,) = rig.reports._waiting
        assert "use_ack: false" in report[1]
        assert "use_ack: false" in rig.stats().last_error
        assert 9 >= len(rig.splunk.queries) >= 7
        assert 1 + len(rig.splunk.queries) == rig.stats().requests

    def test_a_refused_key_is_read_again(self):
        """A rotated key must not wait for the timeout."""
        rig = Rig()
        rig.log()
        rig.run()
        rig.transport._key_changes = 1
        rig.splunk.ack_answer = answer({"text": "Invalid token", "code": 4}, 403)
        rig.run(1)

        assert 0 == rig.transport._key_changes

    def test_retry_after_holds_for_queries(self):
        """Said to a query, it puts off queries and not batches; said to a batch, it puts off both."""
        rig = Rig()
        rig.log()
        rig.run()
        rig.splunk.ack_answer = Response(503, (("retry-after", "120"),))
        rig.run(1)
        rig.splunk.ack_answer = None
        rig.log()
        rig.run()
        assert 2 == len(rig.splunk.batches)
        assert 120.0 == rig.sender.loop._seconds_to_wait()

        rig = Rig()
        rig.log()
        rig.run()
        rig.transport._answers.append(Response(429, (("retry-after", "30"),)))
        rig.log()
        rig.run()
        assert 30.0 == rig.sender.loop._seconds_to_query(rig.sender.loop._lanes._lanes[0])


class TestReceipts:
    def test_without_one_the_entries_are_held(self):
        """A token without acknowledgment: nothing is delivered, the error names the remedy, duplicates are counted."""
        rig = Rig([answer({"text": "Success", "code": 0})])
        rig.log()
        rig.run()

        assert ("held", (0, 10, 10)) == (rig.stats().state, rig.counts())
        assert "token" in rig.stats().last_error
        assert "use_ack: false" in rig.stats().last_error
        assert 300.0 == rig.sender.loop._gate._not_before - rig.clock.monotonic()

    def test_a_prefix_has_a_receipt_of_its_own(self):
        """Of a batch with a bad entry those before it are parked, the bad one is rejected, the rest goes on."""
        rig = Rig([answer({"text": "x", "code": 6, "invalid-event-number": 3, "ackId": 0}, 400)])
        rig.splunk.next[rig.sender.loop._lanes._lanes[0].book.channel] = 1
        rig.log()
        rig.run()

        assert [[*range(5, 11)]] == [seqs for _, _, seqs in rig.splunk.batches]
        assert (1, 9) == (rig.stats().rejected, rig.stats().pending)
        rig.splunk.acked.add((rig.sender.loop._lanes._lanes[0].book.channel, 0))
        rig.run(1)
        assert (3, 6, 0) == rig.counts()

    def test_a_prefix_without_receipt_goes_again(self):
        """Nobody could confirm it."""
        rig = Rig([answer({"text": "x", "code": 6, "invalid-event-number": 3}, 400)])
        rig.log()
        rig.run(1)

        assert [[1, 2, 3, *range(5, 11)]] == [seqs for _, _, seqs in rig.splunk.batches]
        assert (1, 9, 9) == (rig.stats().rejected, rig.stats().pending, rig.stats().duplicates_possible)


class TestManyLanes:
    """With several requests under way each lane has a channel of its own."""

    @pytest.fixture
    def make(self):
        made = []

        def make_rig(**settings):
            made.append(Rig(max_in_flight=2, **settings))
            return made[-1]

        yield make_rig
        for rig in made:
            rig.sender.loop.close()

    def pump(self, rig):
        """Make steps until nothing is due now and nothing is under way but what the test holds back."""
        while True:
            rig.sender.loop.step(rig.clock.monotonic())
            loop = rig.sender.loop
            if loop._lanes.flights:
                assert rig.wake.wait(20)
            elif loop._seconds_to_wait() != 0:
                return

    def test_each_asks_for_its_own(self, make):
        """On the channel that took the batch, for the number that it got there; so nothing is taken for lost."""
        rig = make()
        barrier = threading.Barrier(2)

        def both_at_once(request):
            if not request.target.endswith("/ack"):
                barrier.wait(20)
            with lock:
                return rig.splunk(request)

        lock = threading.Lock()
        rig.transport._then = both_at_once
        for _ in range(3):
            rig.log(20)
            self.pump(rig)
        first, second = {channel for channel, _, _ in rig.splunk.batches}
        assert first != second
        assert [0, 1, 2] == [n for channel, n, _ in rig.splunk.batches if channel == first]
        for index in range(6):
            rig.splunk.acknowledge(index)
        rig.clock.advance(1.0)
        self.pump(rig)

        assert {(first, (0, 1, 2)), (second, (0, 1, 2))} == {(c, tuple(ids)) for c, ids in rig.splunk.queries}
        assert (60, 0, 0) == rig.counts()

    def test_retry_after_holds_for_the_queries_of_all(self, make):
        """Said to the query of one lane, it puts off those of the others."""
        rig = make()
        barrier = threading.Barrier(2)
        lock = threading.Lock()

        def both_at_once(request):
            barrier.wait(20)
            with lock:
                return rig.splunk(request)

        rig.transport._then = both_at_once
        rig.log(20)
        self.pump(rig)
        rig.transport._then = Response(503, (("retry-after", "120"),))
        rig.clock.advance(1.0)
        rig.wake.wait(0)
        rig.sender.loop._ask(rig.sender.loop._lanes._lanes[0])
        assert rig.wake.wait(20)  # The answer to the first comes before the second is asked.
        self.pump(rig)

        assert 3 == len(rig.transport.requests)
        assert 120.0 == rig.sender.loop._seconds_to_wait()

    def test_a_lane_with_a_request_under_way_loses_nothing_meanwhile(self, make):
        """Its channel must not change before the answer comes, whose number is one of the old channel."""
        rig = make(ack_timeout_seconds=300.0)
        rig.log()
        self.pump(rig)
        may_answer = threading.Event()

        def held(request):
            assert may_answer.wait(20)
            return rig.splunk(request)

        rig.transport._answers.append(held)
        rig.clock.advance(299.0)
        rig.sender.loop._lanes._lanes[0].book.note_failure(rig.clock.monotonic())  # No query is due.
        rig.log()
        rig.sender.loop.step(rig.clock.monotonic())
        assert rig.transport.wait_for(requests=2)
        rig.clock.advance(2.0)
        rig.sender.loop.step(rig.clock.monotonic())
        assert 0 == rig.stats().duplicates_possible
        may_answer.set()
        self.pump(rig)

        (old, _, _), (same, number, _), (new, _, again) = rig.splunk.batches
        assert (old, 1, [*range(1, 11)]) == (same, number, again)
        assert new != old
        rig.splunk.acknowledge(1)
        rig.splunk.acknowledge(2)
        rig.clock.advance(60.0)
        self.pump(rig)
        assert (20, 0, 10) == rig.counts()


class TestLeaving:
    def test_a_successor_gets_what_was_not_acknowledged_in_order(self):
        """Handed back before what waits, and counted as possible duplicates."""
        rig = Rig()
        for _ in range(3):
            rig.log()
        rig.run()
        rig.splunk.acknowledge(1)
        rig.run(1)
        rig.log(1)
        rig.sender.loop.is_leaving = True
        rig.sender._hand_over()
        assert [*range(1, 11), *range(21, 32)] == [entry.seq for entry in rig.buffer._entries]
        assert (10, 21, 20) == rig.counts()
        assert 0 == rig.sender.loop._lanes._lanes[0].book.parked_bytes

    def test_what_waits_to_go_again_is_handed_back_in_order_too(self):
        """An older batch that was lost and a newer one that is parked: the stream keeps its order."""
        rig = Rig()
        rig.log()
        rig.run()
        rig.splunk.forget()
        rig.transport._answers.extend([rig.splunk, Response(503)])
        rig.log()
        rig.run()
        assert 1 == len(rig.sender.loop._batching.again)
        rig.sender.loop.is_leaving = True
        rig.sender._hand_over()

        assert [*range(1, 21)] == [entry.seq for entry in rig.buffer._entries]

    def test_exit_leaves_it_pending(self):
        """Within the budget acknowledgments are asked for; then the entries are as good as not delivered."""
        rig = Rig()
        rig.log()
        rig.run()
        deadline = rig.clock.monotonic() + 0.0
        rig.sender.run_until(deadline)

        assert (0, 10, 0) == rig.counts()


class TestBook:
    def test_asks_several_times_before_a_short_timeout(self):
        """A batch is never given up without having been asked about."""
        book = AckBook(0.4)
        book.park(None, Batch((Entry(1, b"x"),)), 0, 0.0)

        assert pytest.approx(0.1) == book.seconds_to_query(0.0, is_urgent=False)
        assert pytest.approx(0.1) == book.seconds_to_query(0.0, is_urgent=True)

    def test_asks_for_everything_in_turn(self):
        """More receipts than fit into one query: the next query has the next ones, then it waits."""
        book = AckBook(300.0)
        for number in range(2500):
            book.park(None, Batch((Entry(number, b"x"),)), number, 0.0)
        asked = []
        for _ in range(3):
            assert 0.0 == book.seconds_to_query(1.0, is_urgent=False)
            question = book.next_question()
            asked += [parked.receipt for parked in question]
            assert [] == book.note_answer(question, frozenset(), 1.0)

        assert [*range(2500)] == asked
        assert 2.0 == book.seconds_to_query(1.0, is_urgent=False)

    def test_waits_longer_after_each_loss_until_something_is_confirmed(self):
        """1, 2, 4 s between losses; a confirmation begins anew."""
        book = AckBook(300.0)
        now, waits = 0.0, []
        for number in range(5):
            book.park(None, Batch((Entry(1, b"x"),)), 1, now)
            book.park(None, Batch((Entry(2, b"x"),)), 0, now)
            waits.append(book.seconds_to_loss(now))
            now += waits[-1]
            assert 1 == len(book.take_lost(now))
            if number == 3:
                question = book.next_question()
                book.note_answer(question, {0}, now)

        assert [0.0, 1.0, 2.0, 4.0, 8.0] == waits
        book.park(None, Batch((Entry(1, b"x"),)), 1, now)
        book.park(None, Batch((Entry(2, b"x"),)), 0, now)
        assert 1 == len(book.take_lost(now + 1.0))
        assert 3.0 == book._calm_until - now

    def test_counts_bytes(self):
        """What is parked is counted, and nothing once it is gone, on whichever way."""
        book = AckBook(300.0)
        for number in (0, 1, 2, 0, 3):
            book.park(None, Batch((Entry(number, b"x" * 10),)), number, 0.0)
        assert 50 == book.parked_bytes
        assert 3 == len(book.take_lost(0.0))
        assert 20 == book.parked_bytes
        question = book.next_question()
        assert 1 == len(book.note_answer(question, {parked.receipt for parked in question}, 1.0))
        assert 10 == book.parked_bytes
        assert 1 == len(book.take_all())
        assert (0, False) == (book.parked_bytes, bool(book))


def test_no_compression_leaks_into_the_query():
    """The query is plain JSON even where batches are compressed."""
    rig = Rig()
    packing = rig.sender.loop._packing
    packing._compress, packing._content_encoding = gzip.compress, "gzip"
    rig.transport._then = answer({"text": "Success", "code": 0, "ackId": 0})
    rig.log()
    rig.run(1)
    data, query = rig.transport.requests[:2]

    assert ("gzip", None) == (data.headers.get("Content-Encoding"), query.headers.get("Content-Encoding"))
    assert {"acks": [0]} == json.loads(query.body)
    assert data.headers[CHANNEL_HEADER] == query.headers[CHANNEL_HEADER]
    assert "/services/collector/ack" == query.target
