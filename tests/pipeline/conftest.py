"""What several files here build on: a sender on a clock that a test moves."""

from __future__ import annotations

import json

import pytest

from defender_logging._pipeline.buffer import Bounds, Buffer, Overflow
from defender_logging._pipeline.entry import Draft
from defender_logging._pipeline.policy import Policy
from defender_logging._pipeline.reports import Reports
from defender_logging._pipeline.worker import Sender
from defender_logging.clock import Wake
from defender_logging.destinations.base import Response
from defender_logging.destinations.generic import GenericDestination
from defender_logging.testing import FakeClock, FakeTransport

OK = Response(200, (), b"{}")
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
        self.loop = self.sender.loop
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

    def log(self, count, buffer=None):
        for _ in range(count):
            (buffer or self.buffer).append(DRAFT)

    def step(self):
        """Make one step that must not wait; True if it made a request."""
        before = len(self.transport.requests)
        if self.wait() == 0:
            self.loop.step(None)
        return len(self.transport.requests) > before

    def run(self):
        """Make steps until nothing is due and nothing under way."""
        while True:
            if self.wait() == 0 or self.loop._lanes._answers:
                self.loop.step(self.clock.monotonic())
            elif self.under_way:
                assert self.wake.wait(20)  # For an answer.
            else:
                return

    def begin_all(self):
        """Begin as many requests as may be, and wait until all are at the transport."""
        while self.wait() == 0:
            self.loop.step(self.clock.monotonic())
        assert self.transport.wait_for(requests=self.under_way)

    @property
    def under_way(self):
        return len(self.loop._lanes.flights)

    def wait(self):
        return self.loop._seconds_to_wait()

    def stats(self):
        stats = self.buffer.stats(filtered=0, state=self.sender.state)
        assert stats.accepted == stats.delivered + stats.rejected + stats.dropped + stats.pending
        return stats

    def sent(self):
        """The seqs of each request."""
        return [[entry["seq"] for entry in json.loads(request.body)] for request in self.transport.requests]


@pytest.fixture
def make_rig():
    """Make rigs; the threads of their lanes end with the test."""
    made = []

    def make(*args, **kwargs):
        made.append(Rig(*args, **kwargs))
        return made[-1]

    yield make
    for rig in made:
        rig.loop.close()
