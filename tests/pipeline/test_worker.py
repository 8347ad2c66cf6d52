"""The sender batches, retries, holds and hurries as told, on a clock that a test moves."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from defender_logging._pipeline import threads
from defender_logging._pipeline.buffer import Bounds, Buffer, Overflow
from defender_logging._pipeline.entry import Draft
from defender_logging._pipeline.reports import Reports
from defender_logging._pipeline.wire import TransportError
from defender_logging._pipeline.worker import KEY_CHECK_SECONDS, Policy, Sender
from defender_logging.clock import Wake
from defender_logging.destinations.base import Response
from defender_logging.destinations.generic import GenericDestination
from defender_logging.testing import FakeClock, FakeTransport

OK = Response(200, (), b"{}")
BUSY = Response(503)
DRAFT = Draft(b'{"a":1', b"}")
POLICY = Policy(
    max_batch_entries=10,
    max_batch_bytes=100_000,
    flush_interval_seconds=1.0,
    compression="none",
    retry_initial_seconds=1.0,
    retry_max_seconds=8.0,
    retry_after_max_seconds=600.0,
    hold_retry_seconds=300.0,
)


class Rig:
    """A sender with one buffer, a fake clock and a fake transport; steps run in the test's own thread."""

    def __init__(self, answers=(), *, then=OK, key_changes=0, draw=1.0, **policy):
        fields = {name: getattr(POLICY, name) for name in Policy.__slots__} | policy
        self.clock = FakeClock()
        self.transport = FakeTransport(answers, then=then, key_changes=key_changes)
        self.reports = Reports()
        self.wake = Wake()
        self.sender = Sender(
            "TestHandler",
            GenericDestination(target="/"),
            self.transport,
            Policy(**fields),
            reports=self.reports,
            wake=self.wake,
            clock=self.clock,
            draw=lambda: draw,
        )
        self.buffer = self.add_buffer("s")

    def add_buffer(self, stream):
        bounds = Bounds(1_000_000, Overflow.DROP_NEWEST, 1.0, 10, 100_000)
        buffer = Buffer(
            stream,
            bounds,
            wake=self.wake,
            describe_drops=lambda *_: DRAFT,
            tell=lambda _: None,
            clock=self.clock,
        )
        self.sender.add_buffer(buffer)
        return buffer

    def log(self, count):
        for _ in range(count):
            self.buffer.append(DRAFT)

    def step(self):
        """Make one step that must not wait; True if it made a request."""
        before = len(self.transport.requests)
        if self.wait() == 0:
            self.sender.step(None)
        return len(self.transport.requests) > before

    def wait(self):
        return self.sender._seconds_to_wait()

    def stats(self):
        stats = self.buffer.stats(filtered=0, state=self.sender.state)
        assert stats.accepted == stats.delivered + stats.rejected + stats.dropped + stats.pending
        return stats

    def sent(self):
        """The seqs of each request."""
        return [[entry["seq"] for entry in json.loads(request.body)] for request in self.transport.requests]


class TestBatching:
    def test_gathers_for_the_flush_interval(self):
        """Entries wait for company, at most that long."""
        rig = Rig()
        assert rig.wait() is None
        rig.log(3)
        rig.sender._gather_since = rig.clock.monotonic()
        assert 1.0 == rig.wait()
        rig.clock.advance(1.0)

        assert rig.step()
        assert [[1, 2, 3]] == rig.sent()
        assert (3, "idle") == (rig.stats().delivered, rig.stats().state)

    def test_sends_a_full_batch_at_once(self):
        """A batch that is full has nothing to wait for; the rest waits for company."""
        rig = Rig()
        rig.log(13)

        assert rig.step()
        assert [list(range(1, 11))] == rig.sent()
        assert 1.0 == rig.wait()

    def test_a_hurry_skips_the_gathering(self):
        """flush() sends what is there."""
        rig = Rig()
        rig.log(1)
        rig.sender.hurry()

        assert rig.step()
        assert rig.wait() is None

    def test_sends_older_buffers_first_and_drops_emptied_ones(self):
        """The rest of a closed handler goes out, then the sender forgets it."""
        rig = Rig()
        older = rig.add_buffer("t")
        older.append(DRAFT)
        older.close()

        assert rig.step()
        assert 0 == older.pending
        assert rig.wait() is None
        assert 2 >= len(rig.sender._buffers)

    def test_a_busy_handler_does_not_starve_the_rest_of_a_closed_one(self):
        """What a closed handler left is older than anything that the new one gets."""
        rig = Rig()
        older = rig.add_buffer("t")
        for _ in range(15):
            older.append(DRAFT)
        older.close()
        for _ in range(3):
            rig.log(10)
            assert rig.step()

        assert 0 == older.pending
        assert 20 == rig.stats().pending

    def test_a_hurry_while_the_sender_finds_nothing_is_kept(self, monkeypatch):
        """flush() in the moment between the look at the buffers and its conclusion."""
        rig = Rig()

        def look_just_before(buffer):
            monkeypatch.undo()
            rig.log(1)
            rig.sender.hurry()
            return 0

        monkeypatch.setattr(Buffer, "waiting_entries", property(look_just_before))
        assert rig.wait() is None
        assert 0 == rig.wait()

    def test_stops_compressing_for_a_receiver_that_takes_none(self):
        """Each entry would cost three requests, and each batch its halvings, for ever."""

        def answer(request):
            return Response(415) if "Content-Encoding" in request.headers else OK

        rig = Rig(then=answer, compression="gzip")
        rig.log(100)
        rig.sender.hurry()
        while rig.step():
            pass

        assert 100 == rig.stats().delivered
        assert 30 > len(rig.transport.requests)
        assert 1 == len(rig.reports._waiting)


class TestRetrying:
    def test_waits_longer_each_time_and_gives_up_never(self):
        """503: 1, 2, 4, 8, 8 seconds; then everything arrives, in order."""
        rig = Rig([BUSY] * 5)
        rig.log(10)
        waits = []
        for _ in range(5):
            assert rig.step()
            waits.append(rig.wait())
            assert "retrying" == rig.stats().state
            rig.clock.advance(waits[-1])
        assert rig.step()

        assert [1.0, 2.0, 4.0, 8.0, 8.0] == waits
        stats = rig.stats()
        assert (10, 5, 6, 0) == (stats.delivered, stats.retries, stats.requests, stats.duplicates_possible)

    def test_counts_possible_duplicates_of_ambiguous_answers(self):
        """Only where the entries may have arrived."""
        rig = Rig([TransportError("cut", is_ambiguous=True), TransportError("refused")])
        rig.log(10)
        for _ in range(3):
            rig.step()
            rig.clock.advance(60)

        assert (10, 10) == (rig.stats().duplicates_possible, rig.stats().delivered)
        assert "refused" == rig.stats().last_error

    @pytest.mark.parametrize(("asked", "wait"), [("30", 30.0), ("100000", 600.0), ("-1", 1.0), ("0", 1.0)])
    def test_obeys_retry_after_up_to_its_bound(self, asked, wait):
        """The larger of the receiver's wish and our backoff, capped."""
        rig = Rig([Response(429, (("retry-after", asked),))])
        rig.log(10)
        rig.step()

        assert wait == rig.wait()

    def test_obeys_retry_after_with_a_refused_size(self):
        """It holds for the whole destination, whatever the refusal is about."""
        rig = Rig([Response(413, (("retry-after", "30"),))])
        rig.log(10)
        rig.step()

        assert 30.0 == rig.wait()

    def test_a_flush_passes_our_backoff_once(self):
        """A hurried sender tries at once, and then waits as always: no tight loop."""
        rig = Rig(then=BUSY)
        rig.log(10)
        rig.step()
        assert 1.0 == rig.wait()
        rig.sender.hurry()
        assert rig.step()

        assert 2.0 == rig.wait()

    def test_a_flush_does_not_pass_retry_after(self):
        """The receiver has named a time."""
        rig = Rig([Response(429, (("retry-after", "30"),))])
        rig.log(10)
        rig.step()
        rig.sender.hurry()

        assert 30.0 == rig.wait()

    def test_the_whole_destination_waits(self):
        """New entries do not overtake the batch that failed."""
        rig = Rig([BUSY])
        rig.log(10)
        rig.step()
        rig.log(10)
        assert 1.0 == rig.wait()
        rig.clock.advance(1.0)
        rig.step()
        rig.step()

        assert [*range(1, 11)] == rig.sent()[1]
        assert [*range(11, 21)] == rig.sent()[2]

    def test_a_stale_connection_gets_one_more_try_at_once(self):
        """No backoff for a connection that the receiver closed while it was idle; the doubt is counted."""
        rig = Rig([TransportError("gone", is_ambiguous=True, is_stale_connection=True)])
        rig.log(10)
        rig.step()

        stats = rig.stats()
        assert (10, 2, 1, 10) == (stats.delivered, stats.requests, stats.retries, stats.duplicates_possible)

    def test_a_second_stale_connection_waits(self):
        """The second failure in a row is a failure."""
        stale = TransportError("gone", is_stale_connection=True)
        rig = Rig([stale, stale])
        rig.log(10)
        rig.step()

        assert (0, 1.0) == (rig.stats().delivered, rig.wait())


class TestHolding:
    def test_holds_and_tells_once(self):
        """404 three times: one report, slow tries, nothing lost."""
        rig = Rig([Response(404)] * 3)
        rig.log(10)
        for _ in range(3):
            rig.step()
            assert ("held", 300.0) == (rig.stats().state, rig.wait())
            rig.clock.advance(300.0)
        rig.step()

        assert 10 == rig.stats().delivered
        assert [logging.WARNING, logging.INFO] == [level for level, _ in rig.reports._waiting]

    def test_tells_once_although_each_answer_is_another(self):
        """A request id in the receiver's own words does not make it a new trouble."""
        rig = Rig([Response(404, (), b"no such page, request %d" % number) for number in range(3)])
        rig.log(10)
        for _ in range(3):
            rig.step()
            rig.clock.advance(300.0)

        assert [logging.WARNING] == [level for level, _ in rig.reports._waiting]

    def test_a_rotated_key_heals_at_once(self):
        """A key that has changed by the time of the answer is tried without a wait."""
        rig = Rig([Response(403)], key_changes=1)
        rig.log(10)
        rig.step()

        assert rig.step()
        assert 10 == rig.stats().delivered

    def test_looks_for_a_new_key_while_held(self):
        """The key is read again every few seconds, not only every hold_retry_seconds."""
        rig = Rig([Response(401)])
        rig.log(10)
        rig.step()
        assert KEY_CHECK_SECONDS == pytest.approx(rig.wait())
        rig.transport._key_changes = 1
        rig.clock.advance(KEY_CHECK_SECONDS)
        rig.sender._check_key()

        assert rig.step()
        assert 10 == rig.stats().delivered

    def test_a_hold_without_a_key_is_not_woken_by_it(self):
        """404 has nothing to do with the key."""
        rig = Rig([Response(404)], key_changes=5)
        rig.log(10)
        rig.step()

        assert 300.0 == rig.wait()


class TestSplitting:
    def test_finds_the_one_bad_entry(self):
        """400 as long as entry 7 is in the batch: it alone is set aside, after a try without compression."""

        def judge(request):
            entries = json.loads(request.body)
            return Response(400) if any(entry["seq"] == 7 for entry in entries) else OK

        rig = Rig(then=judge)
        rig.log(10)
        while rig.wait() == 0:
            rig.step()

        stats = rig.stats()
        assert (9, 1, {"http_400": 1}) == (stats.delivered, stats.rejected, dict(stats.rejected_by_reason))
        assert rig.wait() is None

    def test_413_for_everything_ends(self):
        """Halving terminates; every entry is counted."""
        rig = Rig(then=Response(413))
        rig.log(10)
        while rig.wait() == 0:
            rig.step()

        assert 10 == rig.stats().rejected


class TestSurviving:
    def test_an_internal_error_keeps_the_batch(self):
        """A bug in a step neither ends the thread nor loses an entry, and shows in the account."""
        rig = Rig([MemoryError("no room")])
        rig.log(10)
        rig.buffer.close()
        thread = threading.Thread(target=rig.sender.run)
        thread.start()
        rig.clock.wait_until_waiting()
        assert "MemoryError" in rig.stats().last_error
        assert "retrying" == rig.stats().state
        rig.clock.advance(10)
        thread.join(10)

        assert not thread.is_alive()
        assert 10 == rig.stats().delivered

    def test_leaving_hands_the_rest_back(self):
        """Another sender finds all entries in the buffer, in order."""
        rig = Rig([BUSY])
        rig.log(10)
        rig.step()
        rig.sender.leave()
        rig.sender.run()

        assert list(range(1, 11)) == [entry.seq for entry in rig.buffer.take(100, 100_000)]

    def test_ends_when_closed_and_empty(self):
        """The thread of a closed handler does not outlive its entries."""
        rig = Rig()
        rig.log(1)
        rig.buffer.close()
        rig.sender.run()

        assert (1, True) == (rig.stats().delivered, rig.transport.is_closed)

    def test_tells_of_a_long_outage_once_and_of_its_end(self):
        """Short failures are nobody's business."""
        rig = Rig([BUSY] * 12)
        rig.log(10)
        for _ in range(12):
            rig.step()
            rig.clock.advance(rig.wait())
        rig.step()

        levels = [level for level, _ in rig.reports._waiting]
        assert [logging.WARNING, logging.INFO] == levels


def test_compresses_unless_told_not_to():
    """gzip by default, with its header; the last try of a single entry goes plain."""
    bad = Response(400)
    rig = Rig([bad], compression="gzip")
    rig.log(1)
    rig.sender.hurry()
    rig.step()
    rig.step()
    first, second = rig.transport.requests

    assert ("gzip", b"\x1f\x8b") == (first.headers["Content-Encoding"], first.body[:2])
    assert "Content-Encoding" not in second.headers
    assert b"[" == second.body[:1]


def test_a_thread_that_ends_before_its_start_returns_leaves_no_trace(monkeypatch):
    """A closed handler's thread has little to do; what comes afterwards gets a thread of its own."""

    def start_and_see_it_end(_, run):
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
        return thread

    monkeypatch.setattr(threads, "start", start_and_see_it_end)
    rig = Rig(flush_interval_seconds=0.0)
    rig.log(1)
    rig.buffer._is_closed = True

    assert rig.sender.ensure_running()
    assert not rig.sender.is_running
    assert [[1]] == rig.sent()
    rig.buffer._is_closed = False
    rig.log(1)
    rig.buffer._is_closed = True
    assert rig.sender.ensure_running()
    assert [[1], [2]] == rig.sent()
