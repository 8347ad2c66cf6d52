"""A pipeline sends what it takes, hands its rest to a successor, and lets go of everything after a fork."""

from __future__ import annotations

import gc
import json
import logging
import threading
import weakref

import pytest
from deep import returns_at

from defender_logging._pipeline.buffer import CLOSED, QUEUE_FULL, Bounds, Overflow
from defender_logging._pipeline.entry import Draft
from defender_logging._pipeline.pipeline import STREAM_BYTES, Pipeline
from defender_logging._pipeline.policy import Policy
from defender_logging._pipeline.reports import Reports
from defender_logging.clock import SYSTEM_CLOCK
from defender_logging.destinations.base import Response
from defender_logging.destinations.generic import GenericDestination
from defender_logging.testing import FakeTransport

OK = Response(200, (), b"{}")
DRAFT = Draft(b'{"a":1', b"}")
BEYOND_ALL_MEMORY = 2**47


class Gate:
    """An answer that waits until the test opens it."""

    def __init__(self):
        self.is_open = threading.Event()

    def __call__(self, request):
        assert self.is_open.wait(20)
        return OK


@pytest.fixture
def make():
    made = []

    def make_pipeline(answers=(), *, then=OK, max_queue_bytes=1_000_000, **policy):
        chosen = {
            "max_batch_entries": 10,
            "max_batch_bytes": 100_000,
            "flush_interval_seconds": 0.0,
            "compression": "none",
            "retry_initial_seconds": 0.01,
            "retry_max_seconds": 0.01,
            "retry_after_max_seconds": 1.0,
            "hold_retry_seconds": 300.0,
        } | policy
        transport = FakeTransport(answers, then=then)
        pipeline = Pipeline(
            "TestHandler (https://h.example)",
            ("TestHandler", "h.example"),
            GenericDestination(target="/"),
            transport,
            policy=Policy(**chosen),
            bounds=Bounds(max_queue_bytes, Overflow.DROP_NEWEST, 1.0, 10, 100_000),
            reports=Reports(),
            describe_drops=lambda reason, ranges, count: Draft(b'{"trail":"dropped"', b"}"),
            shutdown_timeout_seconds=1.0,
        )
        pipeline.transport = transport
        made.append(pipeline)
        return pipeline

    yield make_pipeline
    for pipeline in made:
        pipeline.close()
        pipeline.sender.leave()


def settled(pipeline, seconds=10):
    return pipeline.buffer.wait_settled(SYSTEM_CLOCK.monotonic() + seconds)


def sent(pipeline):
    return [entry for request in pipeline.transport.requests for entry in json.loads(request.body)]


def stats_of(pipeline):
    stats = pipeline.stats(filtered=3)
    assert stats.accepted == stats.delivered + stats.rejected + stats.dropped + stats.pending
    return stats


class TestSending:
    def test_starts_at_the_first_draft(self, make):
        """Making one starts no thread; appending to it does, and what was appended arrives."""
        before = set(threading.enumerate())
        pipeline = make()
        assert set(threading.enumerate()) <= before  # One of an earlier test may end meanwhile.
        assert not pipeline.sender.is_running
        pipeline.append(DRAFT)
        pipeline.append(DRAFT)

        assert settled(pipeline)
        assert [1, 2] == [entry["seq"] for entry in sent(pipeline)]
        assert (2, 2, 0, 3) == (
            stats_of(pipeline).accepted,
            stats_of(pipeline).delivered,
            stats_of(pipeline).pending,
            stats_of(pipeline).filtered,
        )

    def test_each_has_its_own_stream(self, make):
        """Random, so that no two streams of a trail ever meet."""
        streams = {make().buffer.stream for _ in range(20)}

        assert 20 == len(streams)
        assert {2 * STREAM_BYTES} == {len(stream) for stream in streams}

    def test_goes_on_without_a_thread(self, make):
        """At the limit of threads nothing raises; the next draft that finds one possible starts it."""
        pipeline = make()
        before = threading.stack_size(BEYOND_ALL_MEMORY)
        try:
            pipeline.append(DRAFT)
            assert (1, False) == (stats_of(pipeline).pending, pipeline.sender.is_running)
        finally:
            threading.stack_size(before)
        pipeline.append(DRAFT)

        assert settled(pipeline)
        assert 2 == stats_of(pipeline).delivered

    def test_tells_of_drops_under_its_label(self, make):
        """The report for people names the handler."""
        gate = Gate()
        pipeline = make(then=gate, max_queue_bytes=120)
        for _ in range(4):
            pipeline.append(DRAFT)
        gate.is_open.set()
        ((level, sentence),) = pipeline.reports._waiting

        assert logging.WARNING == level
        assert sentence.startswith(
            "TestHandler (https://h.example): the queue is full (max_queue_bytes is 120)"
        )
        assert QUEUE_FULL in stats_of(pipeline).dropped_by_reason

    def test_repr_names_label_state_and_pending(self, make):
        """What helps at three in the morning, without any secret."""
        pipeline = make(then=Response(404))
        assert "<Pipeline TestHandler (https://h.example) idle pending=0>" == repr(pipeline)
        pipeline.append(DRAFT)
        assert pipeline.transport.wait_for(requests=1)

        assert repr(pipeline).endswith("pending=1>")


class TestClosing:
    def test_what_waits_still_goes_out(self, make):
        """Closing takes no more, loses nothing, does not wait, and ends the thread when all is done."""
        gate = Gate()
        pipeline = make(then=gate)
        for _ in range(25):
            pipeline.append(DRAFT)
        pipeline.close()
        pipeline.append(DRAFT)
        assert ("closed", {CLOSED: 1}) == (stats_of(pipeline).state, stats_of(pipeline).dropped_by_reason)
        assert 25 == stats_of(pipeline).pending
        gate.is_open.set()

        assert settled(pipeline)
        assert list(range(1, 26)) == [entry["seq"] for entry in sent(pipeline)]
        assert 25 == stats_of(pipeline).delivered

    def test_an_idle_one_ends_its_thread(self, make):
        """A closed handler leaves nothing behind."""
        pipeline = make()
        pipeline.append(DRAFT)
        assert settled(pipeline)
        threads = [thread for thread in threading.enumerate() if thread.name.endswith(pipeline.label)]
        pipeline.close()
        for thread in threads:
            thread.join(10)

        assert not any(thread.is_alive() for thread in threads)
        assert (False, True) == (pipeline.sender.is_running, pipeline.transport.is_closed)


class TestTakingOver:
    def test_a_successor_sends_the_rest(self, make):
        """The entries of a closed pipeline go out through the new one, under their own ids and account."""
        old, new = make(then=Response(503), retry_initial_seconds=60.0, retry_max_seconds=60.0), make()
        for _ in range(15):
            old.append(DRAFT)
        assert old.transport.wait_for(requests=1)
        old.close()
        new.take_over(old)

        assert settled(old)
        assert (15, 15, 0) == (stats_of(old).accepted, stats_of(old).delivered, stats_of(old).pending)
        assert {f"{old.buffer.stream}-{seq}" for seq in range(1, 16)} == {entry["id"] for entry in sent(new)}
        assert 0 == stats_of(new).accepted

    def test_a_request_under_way_ends_first(self, make):
        """What the old thread is sending is not sent by the new one as well."""
        gate = Gate()
        old, new = make(then=gate), make()
        for _ in range(3):
            old.append(DRAFT)
        assert old.transport.wait_for(requests=1)
        old.close()
        new.take_over(old)
        gate.is_open.set()

        assert settled(old)
        assert [1, 2, 3] == sorted(entry["seq"] for entry in sent(old) + sent(new))
        assert 3 == stats_of(old).delivered


class TestLettingGo:
    def test_a_forked_child_abandons_the_connection(self, make):
        """It is the parent's, and must not hear of the child's end."""
        pipeline = make()
        pipeline.abandon()

        assert (True, False) == (pipeline.transport.is_abandoned, pipeline.transport.is_closed)

    def test_is_collected_when_closed_and_empty(self, make):
        """No thread or registry keeps it."""
        gate = Gate()
        transport = FakeTransport(then=gate)
        pipeline = Pipeline(
            "TestHandler",
            None,
            GenericDestination(target="/"),
            transport,
            policy=Policy(10, 100_000, 0.0, "none", 1.0, 1.0, 1.0, 1.0),
            bounds=Bounds(100_000, Overflow.DROP_NEWEST, 1.0, 10, 100_000),
            reports=Reports(),
            describe_drops=lambda *_: DRAFT,
            shutdown_timeout_seconds=1.0,
        )
        pipeline.append(DRAFT)
        pipeline.close()
        gate.is_open.set()
        assert settled(pipeline)
        for thread in threading.enumerate():
            if thread.name == "defender-logging-TestHandler":
                thread.join(10)
        reference = weakref.ref(pipeline)
        del pipeline
        gc.collect()

        assert reference() is None


@pytest.mark.no_cover  # Coverage tools of some Pythons take frames of their own.
def test_the_sender_hears_of_a_draft_whose_append_ran_out_of_stack(make):
    """At whatever depth a log call breaks: where its draft is held all the same, the sender is woken for it."""
    broken_but_held = 0
    for depth in range(80):
        pipeline = make()
        pipeline.sender.is_running = True  # So that no thread takes the flag down.
        pipeline.buffer.wake.wait(0)
        has_returned = returns_at(depth, lambda: pipeline.append(DRAFT))  # noqa: B023 - called at once
        if not has_returned and pipeline.buffer.waiting_entries:
            broken_but_held += 1
            assert pipeline.buffer.wake.is_set(), depth

    assert broken_but_held > 0
