"""With ``use_ack`` a Splunk that takes entries and then forgets, restarts or keeps silent loses none of them."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from defender_logging import SplunkHandler
from defender_logging.testing import Answer, LocalReceiver

ACK_PATH = "/services/collector/ack"
DATA_PATH = "/services/collector/event"


@pytest.fixture
def splunk():
    with LocalReceiver(use_ack=True) as running:
        yield running


def make(receiver, **settings):
    return SplunkHandler(
        **{
            "url": receiver.hec_url,
            "api_key": receiver.token,
            "use_ack": True,
            "ack_timeout_seconds": 0.3,
            "flush_interval_seconds": 0.01,
            "max_batch_entries": 100,
            "retry_initial_seconds": 0.02,
            "retry_max_seconds": 0.05,
            "hold_retry_seconds": 0.05,
        }
        | settings
    )


def counts(handler):
    stats = handler.stats()
    assert stats.accepted == stats.delivered + stats.rejected + stats.dropped + stats.pending
    return stats.delivered, stats.pending


def paths(receiver):
    return [request.path for request in receiver.requests]


def test_flush_waits_for_the_acknowledgment(splunk, attached):
    """All is delivered once, and only because a query said so."""
    handler = make(splunk, ack_timeout_seconds=300)
    log = attached(handler)
    for number in range(250):
        log.info("record %d", number)
    assert handler.flush(20)

    assert (250, 0) == counts(handler)
    assert [*range(1, 251)] == [entry["seq"] for entry in splunk.entries]
    assert {} == splunk.duplicates()
    assert ACK_PATH in paths(splunk)
    assert 1 == len({request.header("X-Splunk-Request-Channel") for request in splunk.requests})


@pytest.mark.parametrize(
    "target", ["/services/collector/raw", "/services/collector/event/1.0", "/services/collector"]
)
def test_every_endpoint_finds_the_query(splunk, attached, target):
    """The query goes to the path beside the one for entries."""
    handler = make(splunk, url=splunk.url + target, ack_timeout_seconds=300)
    attached(handler).info("record")

    assert handler.flush(20)
    assert [ACK_PATH] == paths(splunk)[1:]


def test_an_acknowledgment_that_does_not_come_delivers_nothing(splunk, attached):
    """Sent again on other channels with the same ids, pending all the while; delivered when it comes at last."""
    splunk.hec = replace(splunk.hec, acks_come=False)
    handler = make(splunk)
    log = attached(handler)
    log.info("record")
    assert not handler.flush(2)
    assert (0, 1) == counts(handler)
    splunk.hec = replace(splunk.hec, acks_come=True)

    assert handler.flush(20)
    assert (1, 0) == counts(handler)
    assert 1 == len(splunk.ids) < splunk.ids.total()
    assert len({request.header("X-Splunk-Request-Channel") for request in splunk.requests}) > 1
    assert handler.stats().duplicates_possible > 0


def test_a_splunk_that_forgets_its_channels_gets_the_entries_again(splunk, attached):
    """Taken, not acknowledged, restarted: nothing may be missing."""
    is_forgotten = threading.Event()
    splunk.script(Answer(wait_for=is_forgotten, wait_at_most_seconds=10), path=ACK_PATH)
    splunk.hec = replace(splunk.hec, acks_come=False)
    handler = make(splunk, ack_timeout_seconds=1.5)
    log = attached(handler)
    log.info("before")
    assert not handler.flush(0.5)
    splunk.forget_channels()
    splunk.hec = replace(splunk.hec, acks_come=True)
    is_forgotten.set()
    log.info("after")

    assert handler.flush(20)
    assert (2, 0) == counts(handler)
    assert {1, 2} == {entry["seq"] for entry in splunk.entries}


@pytest.mark.parametrize(
    "fault",
    [
        Answer(status=404),
        Answer(status=503),
        Answer(status=200, body="<html>"),
        Answer(cut_at="after_headers", cut_with="reset"),
    ],
    ids=["404", "503", "HTML", "reset"],
)
def test_queries_that_fail_only_cost_time(splunk, attached, fault):
    """Nothing is delivered by a bad answer, and nothing is sent twice for it."""
    splunk.script(fault, path=ACK_PATH)
    handler = make(splunk, ack_timeout_seconds=2)
    attached(handler).info("record")

    assert handler.flush(20)
    assert (1, 0) == counts(handler)
    assert 1 == len(splunk.ids)
    assert 0 == splunk.unused_answers


def test_a_token_without_acknowledgment_is_told(receiver, attached):
    """No silent downgrade: held, with the remedy in the error; delivered once the token acknowledges."""
    handler = make(receiver)
    attached(handler).info("record")
    assert not handler.flush(0.5)
    stats = handler.stats()
    assert ("held", 0, 1) == (stats.state, stats.delivered, stats.pending)
    assert "acknowledgment for the HEC token" in stats.last_error
    receiver.hec = replace(receiver.hec, use_ack=True)

    assert handler.flush(20)
    assert (1, 0) == counts(handler)


def test_cookies_of_a_balancer_come_back(splunk, attached):
    """On the entries and on the queries that follow, so that both reach the same indexer."""
    splunk.script(Answer(headers={"Set-Cookie": "AWSALB=abc/+=; Path=/; HttpOnly"}), path=DATA_PATH)
    handler = make(splunk, ack_timeout_seconds=300)
    log = attached(handler)
    log.info("one")
    assert handler.flush(20)
    log.info("two")
    assert handler.flush(20)

    cookies = [request.header("Cookie") for request in splunk.requests]
    assert [None, *["AWSALB=abc/+="] * (len(cookies) - 1)] == cookies
    assert {ACK_PATH, DATA_PATH} == set(paths(splunk)[1:])


def test_a_spool_keeps_what_was_not_acknowledged(splunk, attached, tmp_path):
    """The next start sends it again, with the same id."""
    splunk.hec = replace(splunk.hec, acks_come=False)
    handler = make(splunk, ack_timeout_seconds=300, spool_dir=str(tmp_path / "spool"))
    log = attached(handler)
    log.info("record")
    assert not handler.flush(1.5)
    assert handler.stats().spool_bytes > 0
    splunk.hec = replace(splunk.hec, acks_come=True)

    assert handler.flush(20)
    assert 0 == handler.stats().spool_bytes
