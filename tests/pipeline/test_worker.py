"""The thread of a sender survives what breaks a step, and leaves its buffers in order."""

from __future__ import annotations

import json
import threading

from defender_logging._pipeline import threads
from defender_logging.destinations.base import Response

OK = Response(200, (), b"{}")
BUSY = Response(503)


class TestSurviving:
    def test_an_internal_error_keeps_the_batch(self, make_rig):
        """A bug in a step neither ends the thread nor loses an entry, and shows in the account."""
        rig = make_rig([MemoryError("no room")])
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

    def test_leaving_hands_the_rest_back(self, make_rig):
        """Another sender finds all entries in the buffer, in order."""
        rig = make_rig([BUSY])
        rig.log(10)
        rig.step()
        rig.sender.leave()
        rig.sender.run()

        assert list(range(1, 11)) == [entry.seq for entry in rig.buffer.take(100, 100_000)]

    def test_leaving_waits_for_all_that_is_under_way(self, make_rig):
        """With four requests under way the buffer gets back what they leave, in order, when the last one ends."""
        may_answer = threading.Event()

        def answer(request):
            assert may_answer.wait(20)
            return OK if json.loads(request.body)[0]["seq"] == 11 else BUSY

        rig = make_rig(then=answer, max_in_flight=4)
        rig.log(60)
        thread = threading.Thread(target=rig.sender.run)
        thread.start()
        assert rig.transport.wait_for(requests=4)
        rig.sender.leave()
        assert thread.is_alive()
        assert 60 == rig.stats().pending
        may_answer.set()
        thread.join(20)

        assert not thread.is_alive()
        assert [*range(1, 11), *range(21, 61)] == [entry.seq for entry in rig.buffer.take(100, 100_000)]
        assert (10, 4) == (rig.stats().delivered, len(rig.transport.requests))

    def test_shows_its_state(self, make_rig):
        """What a debugger prints tells where the entries hang."""
        rig = make_rig([BUSY], max_in_flight=4)
        rig.log(10)
        rig.run()

        assert "<Sender TestHandler at rest <Loop retrying, 0 of 4 requests under way>>" == repr(rig.sender)

    def test_ends_when_closed_and_empty(self, make_rig):
        """The thread of a closed handler does not outlive its entries."""
        rig = make_rig()
        rig.log(1)
        rig.buffer.close()
        rig.sender.run()

        assert (1, True) == (rig.stats().delivered, rig.transport.is_closed)

    def test_ends_when_closed_and_empty_with_many_under_way(self, make_rig):
        """The last answer is the end, though nobody wakes the thread after it."""
        rig = make_rig(max_in_flight=4)
        rig.log(60)
        rig.buffer.close()
        thread = threading.Thread(target=rig.sender.run)
        thread.start()
        thread.join(20)

        assert not thread.is_alive()
        assert 60 == rig.stats().delivered

    def test_a_thread_that_ends_before_its_start_returns_leaves_no_trace(self, make_rig, monkeypatch):
        """A closed handler's thread has little to do; what comes afterwards gets a thread of its own."""

        def start_and_see_it_end(_, run):
            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            thread.join(10)
            assert not thread.is_alive()
            return thread

        monkeypatch.setattr(threads, "start", start_and_see_it_end)
        rig = make_rig(flush_interval_seconds=0.0)
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
