"""With several requests under way nothing is lost, doubled or miscounted: not at exit, fork, reload or in an outage."""

from __future__ import annotations

import os

import pytest

from defender_logging import ApiKeyHandler, DatadogHandler, SplunkHandler
from defender_logging.testing import Answer, LocalReceiver

FAST = {
    "flush_interval_seconds": 0.02,
    "retry_initial_seconds": 0.02,
    "retry_max_seconds": 0.1,
    "hold_retry_seconds": 0.1,
    "max_batch_entries": 50,
}


def account_of(handler):
    stats = handler.stats()
    assert stats.accepted == stats.delivered + stats.rejected + stats.dropped + stats.pending
    return stats


@pytest.mark.parametrize("max_in_flight", [4, "auto"])
def test_three_destinations(attached, max_in_flight):
    """Each gets everything once, over several connections, one of them by acknowledgment."""
    with LocalReceiver() as one, LocalReceiver(use_ack=True) as two:
        for receiver in (one, two):
            receiver.always(Answer(delay_seconds=0.02))
        handlers = [
            SplunkHandler(
                url=two.hec_url, api_key=two.token, use_ack=True, max_in_flight=max_in_flight, **FAST
            ),
            DatadogHandler(url=one.datadog_url, api_key=one.api_key, max_in_flight=max_in_flight, **FAST),
            ApiKeyHandler(url=one.generic_url, max_in_flight=max_in_flight, **FAST),
        ]
        log = attached(*handlers)
        for number in range(2000):
            log.info("record %d", number)
        assert all(handler.flush(30) for handler in handlers)

        for handler, kind, receiver in zip(
            handlers, ("splunk", "datadog", "generic"), (two, one, one), strict=True
        ):
            stats = account_of(handler)
            assert (2000, 0, 0) == (stats.delivered, stats.retries, stats.duplicates_possible)
            arrived = [entry["seq"] for entry in receiver.entries if entry.kind == kind]
            assert [*range(1, 2001)] == sorted(arrived)
        for receiver in (one, two):
            assert {} == receiver.duplicates()
            assert 2 < len({request.connection for request in receiver.requests})


def test_one_channel_a_connection(attached):
    """Acknowledgments are asked for where the batches went."""
    with LocalReceiver(use_ack=True) as splunk:
        splunk.always(Answer(delay_seconds=0.02))
        handler = SplunkHandler(
            url=splunk.hec_url, api_key=splunk.token, use_ack=True, max_in_flight=4, **FAST
        )
        log = attached(handler)
        for number in range(1000):
            log.info("record %d", number)
        assert handler.flush(30)

        pairs = {(r.connection, r.header("X-Splunk-Request-Channel")) for r in splunk.requests}
        assert (
            1 < len(pairs) == len({connection for connection, _ in pairs}) == len({name for _, name in pairs})
        )


@pytest.mark.parametrize("max_in_flight", [4, "auto"])
def test_an_outage_in_the_middle(receiver, attached, tmp_path, max_in_flight):
    """Refused, cut and answered with errors while many requests are under way; with a spool, so read back from disk."""
    receiver.always(Answer(delay_seconds=0.01))
    handler = ApiKeyHandler(
        url=receiver.generic_url,
        max_in_flight=max_in_flight,
        spool_dir=str(tmp_path / "spool"),
        max_queue_bytes=200_000,
        **FAST,
    )
    log = attached(handler)
    for number in range(500):
        log.info("record %d", number)
    assert receiver.wait_for(requests=3)
    receiver.script(
        *[Answer(status=503)] * 8,
        *[Answer(cut_at="after_body")] * 4,
        Answer(status=429, headers={"Retry-After": "0"}),
        *[Answer(cut_at="in_answer_body")] * 3,
    )
    for number in range(1500):
        log.info("record %d", number)
    assert handler.flush(30)

    stats = account_of(handler)
    assert (2000, 0) == (stats.delivered, stats.spool_bytes)
    assert {*range(1, 2001)} == {entry["seq"] for entry in receiver.entries}
    assert receiver.ids.total() - len(receiver.ids) <= stats.duplicates_possible
    assert 0 == receiver.unused_answers


def test_a_slow_receiver_sees_no_storm(receiver, attached):
    """Answers that take long bring few requests more and no repetition."""
    receiver.always(Answer(delay_seconds=0.3))
    handler = ApiKeyHandler(url=receiver.generic_url, max_in_flight="auto", **FAST)
    log = attached(handler)
    for number in range(2000):
        log.info("record %d", number)
    assert handler.flush(30)

    stats = account_of(handler)
    assert (2000, 0, 0) == (stats.delivered, stats.retries, stats.duplicates_possible)
    assert 16 >= len({request.connection for request in receiver.requests})


@pytest.mark.parametrize("max_in_flight", ["4", "'auto'"])
def test_exit_delivers_all(programs, receiver, check_account, max_in_flight):
    """Lanes go on sending within the budget."""
    receiver.always(Answer(delay_seconds=0.05))
    result = programs.run(
        f"""
        make(flush_interval_seconds=30, max_batch_entries=20, max_in_flight={max_in_flight})
        for number in range(500):
            log.info("record %d", number)
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    check_account(result.accounts, receiver, delivered=500)


def test_exit_from_a_black_hole_costs_its_budget(programs, receiver, check_account, within):
    """However many requests hang; what is lost is counted."""
    receiver.black_hole()

    def attempt():
        receiver.clear()
        result = programs.run(
            """
            make(max_batch_entries=20, max_in_flight=4, shutdown_timeout_seconds=1)
            for number in range(500):
                log.info("record %d", number)
            tell("LAST_LINE", time.monotonic())
            """,
            url=receiver.generic_url,
        )
        assert 0 == result.code
        assert "500 of 500 entries not delivered" in result.stderr
        check_account(result.accounts, receiver, delivered=0)
        return result.ended - result.value("LAST_LINE")

    within(2.0, attempt)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forking_with_requests_under_way(programs, check_account):
    """The child lets go of all connections, sends its own over others, and the parent's requests go on."""
    with LocalReceiver() as receiver:
        receiver.black_hole()
        program = programs.start(
            """
            import gc
            make(flush_interval_seconds=0, max_batch_entries=20, max_in_flight=4)
            for number in range(200):
                log.info("parent")
            wait_for_test()
            pid = os.fork()
            if pid == 0:
                gc.collect()
                tell("FORKED", len(own_threads()))
                for number in range(100):
                    log.info("child")
                sys.exit(0)
            tell("CHILD_CODE", os.waitpid(pid, 0)[1])
            """,
            url=receiver.generic_url,
            options=("-X", "dev", "-W", "error"),
        )
        assert receiver.wait_for(requests=4)
        program.go_on()
        assert 0 == program.wait_for("FORKED")
        assert receiver.wait_for(requests=5)  # From 3.12 on no more: a process that ends starts no threads.
        receiver.restore()
        result = program.finish()

        assert (0, "", 0) == (result.code, result.stderr, result.value("CHILD_CODE"))
        check_account(result.accounts, receiver, delivered=300, duplicates=True)


def test_a_reload_passes_everything_on(programs, receiver, check_account):
    """The old handler's requests end, then the new one serves the rest; no thread is left behind."""
    receiver.always(Answer(delay_seconds=0.05))
    result = programs.run(
        """
        import logging.config

        def configure():
            logging.config.dictConfig({
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {"trail": {"class": "defender_logging.ApiKeyHandler", "url": URL, **FAST,
                                       "max_in_flight": 4, "max_batch_entries": 20}},
                "root": {"level": "INFO", "handlers": ["trail"]},
            })
            HANDLERS.extend(logging.getLogger().handlers)

        for generation in range(5):
            configure()
            for number in range(200):
                log.info("record %d", number)
        tell("FLUSHED", flush_all(15))
        logging.getLogger().handlers[0].close()
        tell("NO_THREAD", wait_until(lambda: not own_threads()))
        """,
        url=receiver.generic_url,
    )

    assert (0, "", True, True) == (
        result.code, result.stderr, result.value("FLUSHED"), result.value("NO_THREAD"),
    )  # fmt: skip
    check_account(result.accounts, receiver, delivered=1000)
