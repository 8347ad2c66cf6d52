"""Sending never causes sending: five handlers on root at DEBUG see the application's records, and only those."""

from __future__ import annotations

import pytest

from defender_logging.testing import Answer, LocalReceiver

FIVE = """
logging.getLogger().setLevel(logging.DEBUG)
logging.getLogger("urllib3").setLevel(logging.DEBUG)
logging.getLogger("urllib3.connectionpool").setLevel(logging.DEBUG)
log.setLevel(logging.DEBUG)
base = URL.rsplit("/", 1)[0]
settings = dict(api_key="22222222-2222-2222-2222-222222222222", log_levels="all", flush_interval_seconds=0)
make("one", URL, log_levels="all", flush_interval_seconds=0)
make("two", base + "/other", log_levels="all", flush_interval_seconds=0)
make("three", base + "/services/collector/event", SplunkHandler, **settings)
make("four", base + "/services/collector/raw", SplunkHandler, **settings)
make("five", base + "/api/v2/logs", DatadogHandler, **settings)
seen = []
class List(logging.Handler):
    def emit(self, record):
        seen.append((record.name, record.getMessage(), threading.current_thread().name))
logging.getLogger().addHandler(List())
"""


@pytest.mark.parametrize("fault", ["none", "503", "reset"])
@pytest.mark.parametrize("queued", [False, True], ids=["direct", "behind a QueueListener"])
def test_entries_are_the_records_of_the_application_and_no_more(programs, check_account, fault, queued):
    """Requests do not grow beyond the records logged, with urllib3 at DEBUG and while sending fails as well."""
    with LocalReceiver() as receiver:
        if fault != "none":
            receiver.script(*[Answer(status=503) if fault == "503" else Answer(cut_at="before_request")] * 10)
        result = programs.run(
            FIVE
            + (
                """
import queue
from logging.handlers import QueueHandler, QueueListener
root, waiting = logging.getLogger(), queue.Queue()
for handler in HANDLERS:
    root.removeHandler(handler)
root.addHandler(QueueHandler(waiting))
listener = QueueListener(waiting, *HANDLERS)
listener.start()
"""
                if queued
                else ""
            )
            + """
for number in range(20):
    log.debug("record %d", number)
    time.sleep(0.005)
"""
            + ("listener.stop()\n" if queued else "")
            + """
tell("FLUSHED", flush_all(10))
time.sleep(0.3)
tell("STILL", [h.stats().accepted for h in HANDLERS])
""",
            url=receiver.generic_url,
        )

        assert (0, "", True) == (result.code, result.stderr, result.value("FLUSHED"))
        assert [20] * 5 == result.value("STILL")
        check_account(result.accounts, receiver, delivered=100)
        assert receiver.request_count <= 100 + 10 + 5


def test_other_handlers_still_see_the_applications_own_urllib3_records(programs, receiver, check_account):
    """An application that uses urllib3 itself gets its records everywhere; our threads make none."""
    result = programs.run(
        FIVE
        + """
import urllib3
with urllib3.PoolManager() as pool:
    pool.request("GET", URL)
tell("FLUSHED", flush_all(10))
tell("SEEN", [name for name, _, thread in seen if name.startswith("urllib3")])
tell("OURS", [line for line in seen if line[2].startswith("defender-logging-")])
""",
        url=receiver.generic_url,
    )

    assert (0, "", True) == (result.code, result.stderr, result.value("FLUSHED"))
    count = len(result.value("SEEN"))
    assert count >= 2
    assert [] == result.value("OURS")
    check_account(result.accounts, receiver, delivered=5 * count)


def test_our_own_reports_reach_other_handlers_and_never_ours(programs, receiver, check_account):
    """What the library has to say goes to the logger defender_logging, in a thread of the application."""
    receiver.script(*[Answer(status=403)] * 2, path="/logs")
    result = programs.run(
        FIVE
        + """
log.info("first")
assert wait_until(lambda: HANDLERS[0].stats().state == "idle" and HANDLERS[0].stats().delivered)
log.info("second")
tell("FLUSHED", flush_all(10))
tell("REPORTS", [line for line in seen if line[0] == "defender_logging"])
""",
        url=receiver.generic_url,
    )

    assert (0, "", True) == (result.code, result.stderr, result.value("FLUSHED"))
    reports = result.value("REPORTS")
    assert any("holds its entries" in text for _, text, _ in reports)
    assert {"MainThread"} == {thread for _, _, thread in reports}
    check_account(result.accounts, receiver, delivered=10)


def test_no_global_logger_is_changed(programs, receiver):
    """Importing, making, using and closing handlers leaves levels, handlers, propagate and level names alone."""
    result = programs.run(
        """
        import urllib3
        def snapshot():
            names = [name for name in logging.root.manager.loggerDict if not name.startswith("defender_logging")]
            loggers = [logging.root, *map(logging.getLogger, sorted(names))]
            return [[l.name, l.level, l.propagate, l.disabled, len(l.handlers), len(l.filters)] for l in loggers]
        handler = ApiKeyHandler(url=URL)
        before = snapshot(), logging.getLevelName(5), logging.raiseExceptions, logging.root.manager.disable
        log.addHandler(handler)
        log.info("record")
        assert handler.flush(10)
        log.removeHandler(handler)
        handler.close()
        after = snapshot(), logging.getLevelName(5), logging.raiseExceptions, logging.root.manager.disable
        tell("SAME", before == after)
        tell("OWN", [logging.getLogger("defender_logging").level, logging.getLogger("defender_logging").propagate])
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    assert result.value("SAME")
    assert [0, True] == result.value("OWN")
    assert 1 == receiver.entry_count


def test_a_handler_that_flushes_ours_while_it_holds_its_lock_does_not_deadlock(
    programs, receiver, check_account
):
    """Workers never call into logging, so they never wait for a lock that waits for them."""
    receiver.script(*[Answer(status=403)] * 3)
    result = programs.run(
        """
        ours = make(flush_interval_seconds=0, log_levels="all")
        class Blocking(logging.Handler):
            depth = 0
            def emit(self, record):  # Called under the lock of this handler.
                if self.depth == 0:
                    self.depth += 1
                    ours.flush(5)
                    self.depth -= 1
        logging.getLogger().addHandler(Blocking())
        threads = [threading.Thread(target=lambda: [log.info("record") for _ in range(10)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    check_account(result.accounts, receiver, delivered=40)


def test_flushing_under_the_logging_modules_lock_does_not_deadlock(programs, receiver, check_account):
    """dictConfig flushes and closes handlers under that lock, while the worker has things to report."""
    receiver.script(*[Answer(status=403)] * 3)
    result = programs.run(
        """
        import logging.config
        handler = make(flush_interval_seconds=0)
        log.info("record")
        assert wait_until(lambda: handler.stats().state == "held" or handler.stats().delivered)
        logging._lock.acquire()
        threading.Thread(target=lambda: log.info("another thread")).start()
        handler.flush(5)
        logging._lock.release()
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    check_account(result.accounts, receiver, delivered=2)
