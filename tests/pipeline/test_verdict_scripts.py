"""Whatever a receiver answers, in whatever order, with however many requests under way: no entry is lost or miscounted.

Each run draws a script of verdicts and failures from a seed, and logs from several threads to a pipeline that sends to
a receiver in memory. That one knows what it took, so that an id can be missing, or twice without having been counted.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter

import pytest

from defender_logging._pipeline.buffer import Bounds, Overflow
from defender_logging._pipeline.entry import Draft
from defender_logging._pipeline.pipeline import Pipeline
from defender_logging._pipeline.policy import Policy
from defender_logging._pipeline.reports import Reports
from defender_logging._pipeline.wire import TransportError
from defender_logging.clock import SYSTEM_CLOCK
from defender_logging.destinations.base import Response
from defender_logging.destinations.generic import GenericDestination
from defender_logging.destinations.splunk import CHANNEL_HEADER, SplunkDestination
from defender_logging.testing import FakeTransport

ENTRIES = 1500
WRITERS = 3
BAD = frozenset({17, 400, 401, 1499})
"""Numbers of entries that the receiver refuses for good, wherever they are."""

REFUSALS = [
    Response(503),
    Response(429, (("retry-after", "0"),)),
    Response(401),
    Response(413),
    Response(500),
    TransportError("refused"),
    TransportError("broken before it was sent", is_stale_connection=True),
]


class Receiver:
    """Takes entries, unless the script says otherwise; from some request on it behaves."""

    def __init__(self, seed, troubles):
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._troubles = troubles
        self.taken = Counter()
        self.ambiguous = 0

    def seqs(self, request):
        return [
            json.loads(line)["seq"]
            for line in request.body.strip(b"[]").replace(b"},{", b"}\n{").splitlines()
        ]

    def __call__(self, request):
        with self._lock:
            self._troubles -= 1
            kind = self._random.random() if self._troubles > 0 else 1.0
            refusal = self._random.choice(REFUSALS)
        seqs = self.seqs(request)
        if kind < 0.5:
            # One entry alone would be set aside as too large.
            return self.refuse(refusal if len(seqs) > 1 else REFUSALS[0])
        if BAD.intersection(seqs):
            return Response(400)
        with self._lock:
            self.taken.update(seqs)
            self.ambiguous += len(seqs) if kind < 0.6 else 0
        if kind < 0.6:
            raise TransportError("broken after it was sent", is_ambiguous=True)
        return Response(200, (), b"{}")

    @staticmethod
    def refuse(refusal):
        if isinstance(refusal, Exception):
            raise refusal
        return refusal


class Splunk(Receiver):
    """With acknowledgments, some of which never come."""

    def __init__(self, seed, troubles):
        super().__init__(seed, troubles)
        self._next = Counter()
        self._batches = {}

    def seqs(self, request):
        return [json.loads(line)["event"]["seq"] for line in request.body.splitlines()]

    def __call__(self, request):
        channel = request.headers[CHANNEL_HEADER]
        if request.target.endswith("/ack"):
            with self._lock:
                self._troubles -= 1
                is_deaf = self._troubles > 0 and self._random.random() < 0.3
                safe = {
                    str(n): not is_deaf and (channel, n) in self._batches
                    for n in json.loads(request.body)["acks"]
                }
            return Response(200, (), json.dumps({"acks": safe}).encode())
        response = super().__call__(request)
        if response.status != 200:
            return response
        with self._lock:
            number = self._next[channel]
            self._next[channel] += 1
            if not (self._troubles > 0 and self._random.random() < 0.2):
                self._batches[channel, number] = True
        return Response(200, (), json.dumps({"text": "Success", "code": 0, "ackId": number}).encode())


@pytest.fixture
def run(request):
    """Log, wait until all is settled, and compare the account with what arrived."""

    def go(receiver, destination, draft, max_in_flight, **more):
        pipeline = Pipeline(
            "TestHandler",
            "identity",
            destination,
            FakeTransport(then=receiver),
            policy=Policy(
                max_batch_entries=20,
                max_batch_bytes=100_000,
                flush_interval_seconds=0.005,
                compression="none",
                retry_initial_seconds=0.002,
                retry_max_seconds=0.01,
                retry_after_max_seconds=0.01,
                hold_retry_seconds=0.005,
                max_in_flight=max_in_flight,
                **more,
            ),
            bounds=Bounds(10_000_000, Overflow.DROP_NEWEST, 1.0, 20, 100_000),
            reports=Reports(),
            describe_drops=lambda *_: draft,
            shutdown_timeout_seconds=1.0,
        )

        def stop():
            pipeline.close()
            pipeline.sender.leave()

        request.addfinalizer(stop)

        def write():
            for _ in range(ENTRIES // WRITERS):
                pipeline.append(draft)

        writers = [threading.Thread(target=write) for _ in range(WRITERS)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(30)
        pipeline.sender.hurry()
        assert pipeline.buffer.wait_settled(SYSTEM_CLOCK.monotonic() + 60), pipeline.stats(filtered=0)
        stats = pipeline.stats(filtered=0)
        assert (ENTRIES, 0, 0) == (stats.accepted, stats.pending, stats.dropped)
        assert (ENTRIES - len(BAD), len(BAD)) == (stats.delivered, stats.rejected)
        assert set(range(1, ENTRIES + 1)) - BAD == set(receiver.taken)
        assert receiver.taken.total() - len(receiver.taken) <= stats.duplicates_possible
        return stats

    return go


@pytest.mark.parametrize("max_in_flight", [1, 2, 8, "auto"])
@pytest.mark.parametrize("seed", range(3))
def test_every_entry_ends_where_the_account_says(run, max_in_flight, seed):
    """Delivered or refused for good, once, or twice and counted so."""
    receiver = Receiver(seed, troubles=150)
    stats = run(receiver, GenericDestination(target="/"), Draft(b'{"a":1', b"}"), max_in_flight)

    assert stats.retries > 10
    assert stats.duplicates_possible >= receiver.ambiguous > 0


@pytest.mark.parametrize("max_in_flight", [1, 2, 8])
@pytest.mark.parametrize("seed", range(2))
def test_acknowledgments_confirm_what_they_mean(run, max_in_flight, seed):
    """Each lane with a channel of its own; batches that are never acknowledged go again."""
    receiver = Splunk(seed, troubles=150)
    destination = SplunkDestination(target="", channel="unused", use_ack=True)
    stats = run(
        receiver, destination, Draft(b'{"event":{"a":1', b"}}"), max_in_flight, ack_timeout_seconds=0.2
    )

    assert stats.retries > 10
