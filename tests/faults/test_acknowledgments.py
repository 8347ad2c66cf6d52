"""Cases 52 to 58: an indexer that takes entries and never confirms them, forgets them, or answers nonsense."""

# ruff: noqa: PLR0917 - because fixtures are named, not placed

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from defender_logging.testing import Answer, LocalReceiver

ACK_PATH = "/services/collector/ack"
DATA_PATH = "/services/collector/event"


@pytest.fixture
def splunk():
    with LocalReceiver(use_ack=True) as running:
        yield running


@pytest.fixture
def send(splunk, connect, monkeypatch):
    """A handler that waits for acknowledgments, 0.3 s unless told otherwise, and its logger; it asks without delay."""
    monkeypatch.setattr("defender_logging._pipeline.acks.FIRST_WAIT_SECONDS", 0.05)

    def make(receiver=splunk, **settings):
        return connect("splunk", receiver, use_ack=True, **{"ack_timeout_seconds": 0.3, **settings})

    return make


def channels(receiver, path=DATA_PATH):
    return {r.header("X-Splunk-Request-Channel") for r in receiver.requests if r.path == path}


def count(receiver, path):
    return sum(request.path == path for request in receiver.requests)


def test_case_52_acknowledgments_never_come(oracle, splunk, send, until):
    """Sent again on new channels with longer and longer pauses, pending all the while; a bounded number of times."""
    splunk.hec = replace(splunk.hec, acks_come=False)
    handler, log = send(flush_interval_seconds=30)
    oracle.log(log, 100)
    assert until(lambda: handler.stats().duplicates_possible >= 200 or handler.stats().delivered)
    stats = handler.stats()
    assert (0, 100) == (stats.delivered, stats.pending)
    assert "no acknowledgment" in stats.last_error
    assert len(channels(splunk)) >= 2
    splunk.hec = replace(splunk.hec, acks_come=True)
    oracle.assert_conserved(
        splunk, handler, fired=lambda: handler.stats().duplicates_possible, duplicates="seen"
    )


def test_case_52_what_waits_for_acknowledgment_is_bounded(oracle, splunk, send, until):
    """Beyond its bound the handler takes no more into flight: it waits in the queue, which has a bound of its own."""
    splunk.hec = replace(splunk.hec, acks_come=False)
    handler, log = send(ack_timeout_seconds=300, max_queue_bytes=100_000, max_batch_entries=10)
    tickets = oracle.log(log, 1000)
    assert until(lambda: splunk.request_count >= 3)
    stats = handler.stats()
    assert stats.queue_bytes <= 100_000
    assert stats.dropped > 500
    splunk.hec = replace(splunk.hec, acks_come=True)
    dropped = stats.dropped
    snapshots = oracle.assert_conserved(splunk, handler, fired=lambda: dropped, missing=dropped)
    assert dropped == snapshots[0]["dropped"] < len(tickets)


def test_case_53_the_only_true_is_lost(oracle, splunk, send):
    """The query's answer never comes, and every later one says false: sent again, not lost."""
    splunk.script(Answer(cut_at="after_body"), path=ACK_PATH)
    handler, log = send(ack_timeout_seconds=1, max_batch_entries=1000)
    oracle.log(log, 100)
    oracle.assert_conserved(
        splunk, handler, fired=lambda: handler.stats().duplicates_possible, duplicates="seen"
    )
    assert 2 == len(channels(splunk))


DOUBTFUL = {
    "404": Answer(status=404),
    "503": Answer(status=503),
    "500 with HTML": Answer(status=500, body="<html>"),
    "200 with HTML": Answer(status=200, body="<html>"),
    "200 with {}": Answer(status=200, body={}),
    "200 with acks of another kind": Answer(status=200, body={"acks": [True]}),
    "200 with true as text": Answer(status=200, body={"acks": {"0": "true"}}),
    "200 with a success": Answer(status=200, body={"text": "Success", "code": 0}),
    "reset": Answer(cut_at="after_headers"),
    "no answer in time": Answer(delay_seconds=1, status=200, body={"acks": {"0": True}}),
}


@pytest.mark.parametrize("answer", DOUBTFUL)
def test_case_55_a_query_that_comes_to_nothing(oracle, splunk, send, answer):
    """Asked again; nothing is delivered by it, and nothing is sent again for it."""
    splunk.script(DOUBTFUL[answer], path=ACK_PATH)
    handler, log = send(ack_timeout_seconds=60, request_timeout_seconds=0.5)
    oracle.log(log, 100)
    oracle.assert_conserved(splunk, handler, fired=lambda: count(splunk, ACK_PATH) >= 2)


def test_case_56_a_token_without_acknowledgment(oracle, receiver, send, until):
    """No silent downgrade: held, the remedy told; the entries are the same ones when they come again."""
    handler, log = send(receiver)
    oracle.log(log, 100)
    assert until(lambda: handler.stats().state == "held")
    stats = handler.stats()
    assert (0, 100) == (stats.delivered, stats.pending)
    assert "acknowledgment for the HEC token" in stats.last_error
    receiver.hec = replace(receiver.hec, use_ack=True)
    oracle.assert_conserved(
        receiver, handler, fired=lambda: handler.stats().duplicates_possible, duplicates="seen"
    )


@pytest.mark.parametrize(("status", "code"), [(400, 10), (400, 28), (400, 11), (400, 14)])
@pytest.mark.parametrize("path", [DATA_PATH, ACK_PATH])
def test_case_56_channel_and_ack_codes(oracle, splunk, send, status, code, path):
    """Missing and invalid channels, acknowledgment switched off: kept, and good again when the receiver is."""
    splunk.script(Answer(status=status, body={"text": "text", "code": code}), path=path)
    handler, log = send(ack_timeout_seconds=60)
    oracle.log(log, 100)
    oracle.assert_conserved(splunk, handler, fired=lambda: handler.stats().last_error)


def test_case_58_the_receiver_forgets_its_channels(oracle, splunk, send):
    """A restart with batches under way: ids begin at 0 again, and everything that was in doubt is sent again."""
    may_answer = threading.Event()
    splunk.script(Answer(wait_for=may_answer), path=ACK_PATH)
    splunk.hec = replace(splunk.hec, acks_come=False)
    handler, log = send(ack_timeout_seconds=1.5, max_batch_entries=1000)
    oracle.log(log, 100)
    assert splunk.wait_for(predicate=lambda: count(splunk, DATA_PATH) >= 1)
    splunk.forget_channels()
    splunk.hec = replace(splunk.hec, acks_come=True)
    may_answer.set()
    oracle.log(log, 100)
    oracle.assert_conserved(
        splunk, handler, fired=lambda: handler.stats().duplicates_possible, duplicates="seen"
    )
    assert len(channels(splunk)) >= 2


@pytest.mark.parametrize("in_flight", [1, 4])
def test_case_58_a_restart_in_the_midst_of_the_traffic(oracle, splunk, send, in_flight):
    """Again and again, while two threads log."""
    handler, log = send(ack_timeout_seconds=0.5, max_batch_entries=20, max_in_flight=in_flight)
    threads = [threading.Thread(target=oracle.log, args=(log, 500)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 6):
        splunk.wait_for(count=number * 100)
        splunk.forget_channels()
    for thread in threads:
        thread.join(20)
    oracle.assert_conserved(
        splunk,
        handler,
        fired=lambda: handler.stats().duplicates_possible,
        duplicates="seen",
        in_order=in_flight == 1,
    )
