"""The loop batches, retries, holds and hurries as told, on a clock that a test moves, one request at a time or many."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from defender_logging._pipeline import threads
from defender_logging._pipeline.buffer import Buffer
from defender_logging._pipeline.gate import KEY_CHECK_SECONDS
from defender_logging._pipeline.wire import TransportError
from defender_logging.destinations.base import Response

OK = Response(200, (), b"{}")
BUSY = Response(503)


class TestBatching:
    def test_gathers_for_the_flush_interval(self, make_rig):
        """Entries wait for company, at most that long."""
        rig = make_rig()
        assert rig.wait() is None
        rig.log(3)
        rig.loop._batching.begin_gathering(rig.clock.monotonic())
        assert 1.0 == rig.wait()
        rig.clock.advance(1.0)

        assert rig.step()
        assert [[1, 2, 3]] == rig.sent()
        assert (3, "idle") == (rig.stats().delivered, rig.stats().state)

    def test_sends_a_full_batch_at_once(self, make_rig):
        """A batch that is full has nothing to wait for; the rest waits for company."""
        rig = make_rig()
        rig.log(13)

        assert rig.step()
        assert [list(range(1, 11))] == rig.sent()
        assert 1.0 == rig.wait()

    def test_a_hurry_skips_the_gathering(self, make_rig):
        """flush() sends what is there."""
        rig = make_rig()
        rig.log(1)
        rig.sender.hurry()

        assert rig.step()
        assert rig.wait() is None

    def test_sends_older_buffers_first_and_drops_emptied_ones(self, make_rig):
        """The rest of a closed handler goes out, then the sender forgets it."""
        rig = make_rig()
        older = rig.add_buffer("t")
        rig.log(1, older)
        older.close()

        assert rig.step()
        assert 0 == older.pending
        assert rig.wait() is None
        assert 2 >= len(rig.loop._batching._sources)

    def test_a_busy_handler_does_not_starve_the_rest_of_a_closed_one(self, make_rig):
        """What a closed handler left is older than anything that the new one gets."""
        rig = make_rig()
        older = rig.add_buffer("t")
        for _ in range(15):
            rig.log(1, older)
        older.close()
        for _ in range(3):
            rig.log(10)
            assert rig.step()

        assert 0 == older.pending
        assert 20 == rig.stats().pending

    def test_a_hurry_while_the_sender_finds_nothing_is_kept(self, monkeypatch, make_rig):
        """flush() in the moment between the look at the buffers and its conclusion."""
        rig = make_rig()

        def look_just_before(buffer):
            monkeypatch.undo()
            rig.log(1)
            rig.sender.hurry()
            return 0

        monkeypatch.setattr(Buffer, "waiting_entries", property(look_just_before))
        assert rig.wait() is None
        assert 0 == rig.wait()

    def test_stops_compressing_for_a_receiver_that_takes_none(self, make_rig):
        """Each entry would cost three requests, and each batch its halvings, for ever."""

        def answer(request):
            return Response(415) if "Content-Encoding" in request.headers else OK

        rig = make_rig(then=answer, compression="gzip")
        rig.log(100)
        rig.sender.hurry()
        while rig.step():
            pass

        assert 100 == rig.stats().delivered
        assert 30 > len(rig.transport.requests)
        assert 1 == len(rig.reports._waiting)


class TestRetrying:
    def test_waits_longer_each_time_and_gives_up_never(self, make_rig):
        """503: 1, 2, 4, 8, 8 seconds; then everything arrives, in order."""
        rig = make_rig([BUSY] * 5)
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

    def test_counts_possible_duplicates_of_ambiguous_answers(self, make_rig):
        """Only where the entries may have arrived."""
        rig = make_rig([TransportError("cut", is_ambiguous=True), TransportError("refused")])
        rig.log(10)
        for _ in range(3):
            rig.step()
            rig.clock.advance(60)

        assert (10, 10) == (rig.stats().duplicates_possible, rig.stats().delivered)
        assert "refused" == rig.stats().last_error

    @pytest.mark.parametrize(("asked", "wait"), [("30", 30.0), ("100000", 600.0), ("-1", 1.0), ("0", 1.0)])
    def test_obeys_retry_after_up_to_its_bound(self, asked, wait, make_rig):
        """The larger of the receiver's wish and our backoff, capped."""
        rig = make_rig([Response(429, (("retry-after", asked),))])
        rig.log(10)
        rig.step()

        assert wait == rig.wait()

    def test_obeys_retry_after_with_a_refused_size(self, make_rig):
        """It holds for the whole destination, whatever the refusal is about."""
        rig = make_rig([Response(413, (("retry-after", "30"),))])
        rig.log(10)
        rig.step()

        assert 30.0 == rig.wait()

    def test_a_flush_passes_our_backoff_once(self, make_rig):
        """A hurried sender tries at once, and then waits as always: no tight loop."""
        rig = make_rig(then=BUSY)
        rig.log(10)
        rig.step()
        assert 1.0 == rig.wait()
        rig.sender.hurry()
        assert rig.step()

        assert 2.0 == rig.wait()

    def test_a_flush_does_not_pass_retry_after(self, make_rig):
        """The receiver has named a time."""
        rig = make_rig([Response(429, (("retry-after", "30"),))])
        rig.log(10)
        rig.step()
        rig.sender.hurry()

        assert 30.0 == rig.wait()

    def test_the_whole_destination_waits(self, make_rig):
        """New entries do not overtake the batch that failed."""
        rig = make_rig([BUSY])
        rig.log(10)
        rig.step()
        rig.log(10)
        assert 1.0 == rig.wait()
        rig.clock.advance(1.0)
        rig.step()
        rig.step()

        assert [*range(1, 11)] == rig.sent()[1]
        assert [*range(11, 21)] == rig.sent()[2]

    def test_a_stale_connection_gets_one_more_try_at_once(self, make_rig):
        """No backoff for a connection that the receiver closed while it was idle; the doubt is counted."""
        rig = make_rig([TransportError("gone", is_ambiguous=True, is_stale_connection=True)])
        rig.log(10)
        rig.step()

        stats = rig.stats()
        assert (10, 2, 1, 10) == (stats.delivered, stats.requests, stats.retries, stats.duplicates_possible)

    def test_a_second_stale_connection_waits(self, make_rig):
        """The second failure in a row is a failure."""
        stale = TransportError("gone", is_stale_connection=True)
        rig = make_rig([stale, stale])
        rig.log(10)
        rig.step()

        assert (0, 1.0) == (rig.stats().delivered, rig.wait())


class TestHolding:
    def test_holds_and_tells_once(self, make_rig):
        """404 three times: one report, slow tries, nothing lost."""
        rig = make_rig([Response(404)] * 3)
        rig.log(10)
        for _ in range(3):
            rig.step()
            assert ("held", 300.0) == (rig.stats().state, rig.wait())
            rig.clock.advance(300.0)
        rig.step()

        assert 10 == rig.stats().delivered
        assert [logging.WARNING, logging.INFO] == [level for level, _ in rig.reports._waiting]

    def test_tells_once_although_each_answer_is_another(self, make_rig):
        """A request id in the receiver's own words does not make it a new trouble."""
        rig = make_rig([Response(404, (), b"no such page, request %d" % number) for number in range(3)])
        rig.log(10)
        for _ in range(3):
            rig.step()
            rig.clock.advance(300.0)

        assert [logging.WARNING] == [level for level, _ in rig.reports._waiting]

    def test_a_rotated_key_heals_at_once(self, make_rig):
        """A key that has changed by the time of the answer is tried without a wait."""
        rig = make_rig([Response(403)], key_changes=1)
        rig.log(10)
        rig.step()

        assert rig.step()
        assert 10 == rig.stats().delivered

    def test_looks_for_a_new_key_while_held(self, make_rig):
        """The key is read again every few seconds, not only every hold_retry_seconds."""
        rig = make_rig([Response(401)])
        rig.log(10)
        rig.step()
        assert KEY_CHECK_SECONDS == pytest.approx(rig.wait())
        rig.transport._key_changes = 1
        rig.clock.advance(KEY_CHECK_SECONDS)
        rig.loop._check_key()

        assert rig.step()
        assert 10 == rig.stats().delivered

    def test_a_hold_without_a_key_is_not_woken_by_it(self, make_rig):
        """404 has nothing to do with the key."""
        rig = make_rig([Response(404)], key_changes=5)
        rig.log(10)
        rig.step()

        assert 300.0 == rig.wait()


class TestSplitting:
    def test_finds_the_one_bad_entry(self, make_rig):
        """400 as long as entry 7 is in the batch: it alone is set aside, after a try without compression."""

        def judge(request):
            entries = json.loads(request.body)
            return Response(400) if any(entry["seq"] == 7 for entry in entries) else OK

        rig = make_rig(then=judge)
        rig.log(10)
        while rig.wait() == 0:
            rig.step()

        stats = rig.stats()
        assert (9, 1, {"http_400": 1}) == (stats.delivered, stats.rejected, dict(stats.rejected_by_reason))
        assert rig.wait() is None

    def test_413_for_everything_ends(self, make_rig):
        """Halving terminates; every entry is counted."""
        rig = make_rig(then=Response(413))
        rig.log(10)
        while rig.wait() == 0:
            rig.step()

        assert 10 == rig.stats().rejected


class TestTelling:
    def test_tells_of_a_long_outage_once_and_of_its_end(self, make_rig):
        """Short failures are nobody's business."""
        rig = make_rig([BUSY] * 12)
        rig.log(10)
        for _ in range(12):
            rig.step()
            rig.clock.advance(rig.wait())
        rig.step()

        levels = [level for level, _ in rig.reports._waiting]
        assert [logging.WARNING, logging.INFO] == levels


def test_compresses_unless_told_not_to(make_rig):
    """gzip by default, with its header; the last try of a single entry goes plain."""
    bad = Response(400)
    rig = make_rig([bad], compression="gzip")
    rig.log(1)
    rig.sender.hurry()
    rig.step()
    rig.step()
    first, second = rig.transport.requests

    assert ("gzip", b"\x1f\x8b") == (first.headers["Content-Encoding"], first.body[:2])
    assert "Content-Encoding" not in second.headers
    assert b"[" == second.body[:1]


class Held:
    """An answer that waits until the test lets it go, and counts how many wait at once."""

    def __init__(self, then=OK):
        self._then = then
        self._changed = threading.Condition()
        self._is_open = False
        self.most = 0
        self._waiting = 0

    def __call__(self, request):
        with self._changed:
            self._waiting += 1
            self.most = max(self.most, self._waiting)
            assert self._changed.wait_for(lambda: self._is_open, 20)
            self._waiting -= 1
        return self._then(request) if callable(self._then) else self._then

    def let_go(self):
        with self._changed:
            self._is_open = True
            self._changed.notify_all()


class TestManyUnderWay:
    """More than one request at a time, each on a lane with a thread of its own."""

    def test_as_many_as_allowed(self, make_rig):
        """Four at a time and no more; all arrive, each once."""
        held = Held()
        rig = make_rig(then=held, max_in_flight=4)
        rig.log(60)
        rig.begin_all()
        assert (4, None, "sending") == (rig.under_way, rig.wait(), rig.stats().state)
        held.let_go()
        rig.run()

        assert 4 >= held.most
        assert [*range(1, 61)] == sorted(seq for seqs in rig.sent() for seq in seqs)
        assert (60, 6) == (rig.stats().delivered, rig.stats().requests)

    def test_one_at_a_time_needs_no_thread_and_keeps_the_order(self, make_rig):
        """With the default the sender's own thread sends."""
        seen = []
        rig = make_rig(then=lambda _: seen.append(threading.get_ident()) or OK)
        rig.log(60)
        rig.run()

        assert {threading.get_ident()} == set(seen)
        assert [*range(1, 61)] == [seq for seqs in rig.sent() for seq in seqs]

    def test_threads_come_when_they_are_of_use(self, make_rig):
        """Little to send goes over one lane, however many are allowed; the threads are known as ours."""
        seen = set()
        rig = make_rig(
            then=lambda _: seen.add((threading.get_ident(), threads.is_ours())) or OK, max_in_flight=8
        )
        for _ in range(5):
            rig.log(10)
            rig.run()

        assert [True] == [is_ours for _, is_ours in seen]
        assert 1 == len(list(rig.loop._lanes))

    def test_without_threads_the_sender_sends_itself(self, make_rig):
        """At the system's limit of threads, and while the interpreter ends."""
        before = threading.stack_size(2**47)  # Fits into no address space, so the system refuses the thread.
        try:
            rig = make_rig(max_in_flight=4)
            rig.log(60)
            rig.run()
        finally:
            threading.stack_size(before)

        assert 60 == rig.stats().delivered

    def test_settles_in_whatever_order(self, make_rig):
        """What is answered is delivered; what hangs is pending, and nothing waits for it."""
        held = Held()
        rig = make_rig([held], max_in_flight=2)
        rig.log(50)
        while rig.stats().pending > 10:
            rig.loop.step(rig.clock.monotonic())
        assert (40, 1) == (rig.stats().delivered, rig.under_way)
        held.let_go()
        rig.run()

        assert 50 == rig.stats().delivered

    def test_after_a_failure_one_alone_finds_out(self, make_rig):
        """Four refusals of one moment are one failure; then one request tries, and all follow when it is taken."""
        refused, probe = Held(BUSY), Held()
        rig = make_rig([refused] * 4 + [probe], max_in_flight=4)
        rig.log(60)
        rig.begin_all()
        refused.let_go()
        rig.run()
        assert ("retrying", 1.0, 4) == (rig.stats().state, rig.wait(), len(rig.transport.requests))
        rig.clock.advance(1.0)
        rig.begin_all()
        assert (1, None) == (rig.under_way, rig.wait())
        probe.let_go()
        rig.run()

        assert ("idle", 60, 4) == (rig.stats().state, rig.stats().delivered, rig.stats().retries)

    def test_retry_after_holds_for_all(self, make_rig):
        """The receiver's wish, said to one request, keeps the others back as well."""
        held = Held()
        rig = make_rig([Response(429, (("retry-after", "30"),)), held], max_in_flight=2)
        rig.log(60)
        rig.begin_all()
        held.let_go()
        rig.run()

        assert 30.0 == rig.wait()
        assert 10 == rig.stats().delivered
        rig.sender.hurry()
        assert 30.0 == rig.wait()

    def test_a_bug_on_one_lane_keeps_every_batch(self, make_rig):
        """It breaks a step, as any bug does; what was on that lane goes again."""
        rig = make_rig([OK, MemoryError("no room")], max_in_flight=4)
        rig.log(60)
        with pytest.raises(MemoryError):
            rig.run()
        rig.run()

        assert 60 == rig.stats().delivered

    def test_a_stale_connection_is_tried_again_on_its_lane(self, make_rig):
        """At once, and once; the doubt is counted."""
        stale = TransportError("gone", is_ambiguous=True, is_stale_connection=True)
        rig = make_rig([stale], max_in_flight=2)
        rig.log(20)
        rig.run()

        stats = rig.stats()
        assert (20, 3, 1, 10) == (stats.delivered, stats.requests, stats.retries, stats.duplicates_possible)

    def test_what_is_under_way_is_bounded_in_bytes(self, make_rig):
        """A buffer on the disk would give its whole backlog; no more is taken than memory may hold."""
        held = Held()
        rig = make_rig(then=held, max_in_flight=8, max_unacknowledged_bytes=1500)
        rig.log(100)
        rig.begin_all()
        assert 1 < rig.under_way < 8
        assert 1500 <= sum(flight.body_bytes for flight in rig.loop._lanes.flights) < 1500 + 1000
        held.let_go()
        rig.run()

        assert 100 == rig.stats().delivered

    def test_finds_the_one_bad_entry(self, make_rig):
        """Halving works beside other batches."""

        def judge(request):
            entries = json.loads(request.body)
            return Response(400) if any(entry["seq"] == 7 for entry in entries) else OK

        rig = make_rig(then=judge, max_in_flight=4)
        rig.log(60)
        rig.run()

        assert (59, 1) == (rig.stats().delivered, rig.stats().rejected)

    def test_auto_takes_as_many_as_are_of_use(self, make_rig):
        """It begins with one, and adds one as long as something waits."""
        rig = make_rig(max_in_flight="auto")
        rig.log(300)
        rig.run()

        assert 300 == rig.stats().delivered
        assert 1 < rig.loop._limit.current <= len(list(rig.loop._lanes)) + 1

    def test_auto_goes_back_when_refused(self, make_rig):
        """Half of it, once for the refusals of one moment."""
        rig = make_rig(max_in_flight="auto")
        rig.loop._limit._limit = 8.0
        refused = Held(BUSY)
        rig.transport._then = refused
        rig.log(100)
        rig.begin_all()
        assert 8 == rig.under_way
        refused.let_go()
        rig.run()

        assert 4 == rig.loop._limit.current
