"""The process knows what it still holds, waits for it within one deadline, and says what it could not deliver."""

from __future__ import annotations

import gc
import json
import logging
import sys
import threading
import time
import weakref

import pytest
from freezegun import freeze_time

from defender_logging import flush_all, lifecycle
from defender_logging._pipeline.buffer import Bounds, Overflow
from defender_logging._pipeline.entry import Draft
from defender_logging._pipeline.pipeline import Pipeline
from defender_logging._pipeline.policy import Policy
from defender_logging._pipeline.reports import Reports
from defender_logging.destinations.base import Response
from defender_logging.destinations.generic import GenericDestination
from defender_logging.testing import FakeTransport

OK = Response(200, (), b"{}")
DRAFT = Draft(b'{"a":1', b"}")
BEYOND_ALL_MEMORY = 2**47
"""A stack of this size fits into no address space, so the system refuses the thread."""


class Gate:
    """An answer that waits until the test opens it."""

    def __init__(self):
        self.is_open = threading.Event()

    def __call__(self, request):
        assert self.is_open.wait(20)
        return OK


@pytest.fixture
def make(monkeypatch):
    """Make pipelines that the process knows, and no others, until the end of the test."""
    monkeypatch.setattr(lifecycle, "_pipelines", set())
    made = []

    def make_pipeline(
        answers=(), *, then=OK, entries=0, label="TestHandler", identity=None, max_queue_bytes=10_000
    ):
        pipeline = Pipeline(
            label,
            identity or object(),
            GenericDestination(target="/"),
            transport := FakeTransport(answers, then=then),
            policy=Policy(
                max_batch_entries=10,
                max_batch_bytes=100_000,
                flush_interval_seconds=3_600.0,
                compression="none",
                retry_initial_seconds=0.01,
                retry_max_seconds=0.01,
                retry_after_max_seconds=1.0,
                hold_retry_seconds=0.01,
            ),
            bounds=Bounds(max_queue_bytes, Overflow.DROP_NEWEST, 1.0, 10, 100_000),
            reports=Reports(),
            describe_drops=lambda reason, ranges, count: Draft(b'{"trail":"dropped"', b"}"),
            shutdown_timeout_seconds=0.0,
        )
        pipeline.transport = transport
        made.append(pipeline)
        lifecycle.add_pipeline(pipeline)
        for _ in range(entries):
            pipeline.append(DRAFT)
        return pipeline

    yield make_pipeline
    for pipeline in made:
        pipeline.close()
        pipeline.sender.leave()
        lifecycle._pipelines.discard(pipeline)
        lifecycle._told_at_exit.pop(pipeline, None)


@pytest.fixture
def no_threads():
    before = threading.stack_size(BEYOND_ALL_MEMORY)
    yield
    threading.stack_size(before)


def stats_of(pipeline):
    stats = pipeline.stats(filtered=0)
    assert stats.accepted == stats.delivered + stats.rejected + stats.dropped + stats.pending
    return stats


class TestFlushing:
    def test_hurries_what_waits_for_company(self, make):
        """A flush interval of an hour does not hold up a flush."""
        pipeline = make(entries=3)

        assert lifecycle.flush([pipeline], 10)
        assert 3 == stats_of(pipeline).delivered

    def test_says_so_when_something_is_left(self, make):
        """False at the deadline, and what is left stays pending."""
        pipeline = make(then=Response(404), entries=3)

        assert not lifecycle.flush([pipeline], 0.05)
        assert 3 == stats_of(pipeline).pending

    def test_keeps_its_deadline_while_time_is_frozen(self, make):
        """freezegun moves time.monotonic to another epoch: a deadline of that one would never pass."""
        pipeline = make(then=Response(404), entries=1)
        done = []

        def flush(frames=5):
            """Call from far below ``threading``, within five frames of which freezegun leaves time alone."""
            if frames:
                flush(frames - 1)
            else:
                done.append(lifecycle.flush([pipeline], 0.1))

        with freeze_time("2030-01-01"):
            thread = threading.Thread(target=flush, daemon=True)
            thread.start()
            thread.join(5)

        assert [False] == done

    def test_waits_for_all_within_one_deadline(self, make):
        """Six receivers that do not answer cost the deadline once."""
        gate = Gate()
        pipelines = [make(then=gate, entries=1) for _ in range(6)]
        begin = time.monotonic()
        is_done = lifecycle.flush(pipelines, 0.3)
        seconds = time.monotonic() - begin
        gate.is_open.set()

        assert not is_done
        assert 0.3 <= seconds < 1.2

    def test_one_that_hangs_does_not_keep_another_from_sending(self, make):
        """Both are hurried before either is waited for."""
        gate = Gate()
        hanging, other = make(then=gate, entries=1), make(entries=2)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(lifecycle.flush([hanging, other], 20)))
        thread.start()
        is_sent = other.buffer.wait_settled(time.monotonic() + 10)
        gate.is_open.set()
        thread.join(10)

        assert (True, [True]) == (is_sent, answers)

    def test_what_is_rejected_is_settled(self, make):
        """True means that nothing is pending, not that all was taken."""
        pipeline = make(then=Response(413), entries=3)

        assert lifecycle.flush([pipeline], 10)
        assert 3 == stats_of(pipeline).rejected

    def test_of_nothing_is_done(self, make):
        """No pipeline, or an empty one, costs no wait; not even a thread is started."""
        pipeline = make()

        assert lifecycle.flush([], 0)
        assert lifecycle.flush([pipeline], 0)
        assert not pipeline.sender.is_running

    def test_sends_in_this_thread_when_no_other_can_start(self, make, no_threads):
        """At the end of the interpreter, or at the limit of threads."""
        pipeline = make(entries=25)
        assert not pipeline.sender.is_running

        assert lifecycle.flush([pipeline], 10)
        assert list(range(1, 26)) == [
            entry["seq"] for request in pipeline.transport.requests for entry in json.loads(request.body)
        ]

    def test_keeps_its_deadline_in_this_thread(self, make, no_threads):
        """A receiver that refuses does not turn it into an endless loop."""
        pipeline = make(then=Response(503), entries=1)
        begin = time.monotonic()

        assert not lifecycle.flush([pipeline], 0.2)
        assert time.monotonic() - begin < 2

    def test_logs_what_the_workers_had_to_tell(self, make, caplog):
        """The thread that flushes may log; theirs may not."""
        pipeline = make()
        pipeline.reports.add(logging.WARNING, "the receiver refuses entries")
        lifecycle.flush([pipeline], 0)

        assert [("defender_logging", logging.WARNING, "the receiver refuses entries")] == caplog.record_tuples


class TestFlushingAll:
    def test_reaches_every_pipeline_of_the_process(self, make):
        """Closed ones that still hold something, too."""
        first, second = make(entries=1), make(entries=2)
        second.close()

        assert flush_all(10)
        assert (1, 2) == (stats_of(first).delivered, stats_of(second).delivered)

    def test_says_so_when_something_is_left(self, make):
        """One receiver that holds out is enough."""
        make(entries=1)
        held = make(then=Response(401), entries=1)

        assert not flush_all(0.1)
        assert held.transport.wait_for(requests=2)
        assert "held" == stats_of(held).state


class TestRemembering:
    def test_forgets_what_is_closed_and_empty(self, make):
        """At the next one that comes: a process that reloads its configuration does not grow."""
        done, waiting, empty = make(entries=1, label="Done"), make(then=Response(404), entries=1), make()
        assert lifecycle.flush([done], 10)
        for pipeline in (done, waiting):
            pipeline.close()
        for thread in threading.enumerate():
            if thread.name == "defender-logging-Done":
                thread.join(10)
        newest = make()

        assert {waiting, empty, newest} == lifecycle._pipelines & {done, waiting, empty, newest}

    def test_holds_handlers_weakly(self):
        """A handler that nobody uses any more can be collected."""

        class Handler:
            def start_anew_after_fork(self):
                raise AssertionError

        handler = Handler()
        lifecycle.add_handler(handler)
        reference = weakref.ref(handler)
        del handler
        gc.collect()

        assert reference() is None

    def test_is_not_exiting(self):
        """Before the exit there is no budget to spend."""
        assert (False, 0.0) == (lifecycle.is_exiting(), lifecycle.exit_seconds_left())


class TestTakingOver:
    def test_serves_closed_ones_of_the_same_identity(self, make):
        """A configuration that is loaded again sends what the one before left."""
        old, older = (make(then=Response(503), entries=2, identity="a") for _ in range(2))
        for pipeline in (old, older):
            assert not lifecycle.flush([pipeline], 0.02)
            pipeline.close()
        new = make(identity="a")
        lifecycle.take_over_closed(new)

        assert lifecycle.flush([old, older, new], 10)
        assert (2, 2, 0) == tuple(stats_of(pipeline).delivered for pipeline in (old, older, new))
        assert 4 == sum(len(json.loads(request.body)) for request in new.transport.requests)

    @pytest.mark.parametrize(("identity", "is_closed"), [("a", False), ("b", True)])
    def test_leaves_all_others_alone(self, make, identity, is_closed):
        """Open ones serve themselves, and nobody's trail reaches another's account."""
        other = make(then=Response(404), entries=2, identity=identity)
        if is_closed:
            other.close()
        new = make(identity="a")
        lifecycle.take_over_closed(new)

        assert not lifecycle.flush([other, new], 0.1)
        assert [] == new.transport.requests
        assert 2 == stats_of(other).pending


class TestTellingWhatIsLeft:
    def test_names_handler_count_and_reason(self, make, capsys):
        """One line on stderr, in words that an operator can act on."""
        pipeline = make(
            [OK], then=Response(404), entries=10, label="SplunkHandler 'audit' (https://splunk.example:8088)"
        )
        assert lifecycle.flush([pipeline], 10)
        for _ in range(3):
            pipeline.append(DRAFT)
        pipeline.sender.hurry()
        assert pipeline.transport.wait_for(requests=3)
        lifecycle.finish(pipeline)
        line = capsys.readouterr().err

        assert line.startswith(
            "defender_logging: SplunkHandler 'audit' (https://splunk.example:8088): 3 of 13 entries not delivered "
            "at exit: "
        )
        assert "404" in line
        assert 1 == line.count("\n")

    def test_names_what_was_dropped_before(self, make, capsys):
        """Entries lost by the overflow policy are not hidden behind those that wait."""
        gate = Gate()
        pipeline = make(then=gate, entries=5, max_queue_bytes=150)
        dropped = stats_of(pipeline).dropped
        lifecycle.finish(pipeline)
        gate.is_open.set()

        assert dropped > 0
        assert f"entries not delivered at exit, {dropped} were dropped before: " in capsys.readouterr().err

    def test_without_an_answer_the_time_is_the_reason(self, make, capsys):
        """No failure has been seen, so there is none to quote."""
        gate = Gate()
        pipeline = make(then=gate, entries=1)
        lifecycle.finish(pipeline)
        gate.is_open.set()

        assert (
            "defender_logging: TestHandler: 1 of 1 entries not delivered at exit: "
            "the receiver did not answer in time\n"
        ) == capsys.readouterr().err

    def test_says_nothing_when_all_is_delivered(self, make, capsys):
        """Silence is good news."""
        pipeline = make(entries=3)
        assert lifecycle.flush([pipeline], 10)
        lifecycle.finish(pipeline)

        assert "" == capsys.readouterr().err

    def test_tells_once(self, make, capsys):
        """``logging.shutdown`` and the exit hook both come by; only more than before is told again."""
        gate = Gate()
        pipeline = make(then=gate, entries=1)
        lifecycle.finish(pipeline)
        lifecycle.finish(pipeline)
        pipeline.append(DRAFT)
        lifecycle.finish(pipeline)
        gate.is_open.set()
        lines = capsys.readouterr().err.splitlines()

        assert ["defender_logging: TestHandler: 1 of 1", "defender_logging: TestHandler: 2 of 2"] == [
            line.partition(" entries")[0] for line in lines
        ]

    def test_a_process_without_stderr_ends_quietly(self, make, monkeypatch):
        """A daemon may have closed it, ``pythonw`` has none."""
        gate = Gate()
        pipeline = make(then=gate, entries=1)
        monkeypatch.setattr(sys, "stderr", None)
        try:
            lifecycle.finish(pipeline)
        finally:
            gate.is_open.set()
