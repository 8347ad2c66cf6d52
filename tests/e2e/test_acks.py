"""With ``use_ack`` only an acknowledgment delivers; what goes wrong with them is in tests/faults."""

from __future__ import annotations

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
