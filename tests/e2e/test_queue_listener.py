"""The handlers in the places of the standard library that hold other handlers."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys
import threading
import time

import pytest

from defender_logging import ApiKeyHandler
from defender_logging.testing import LocalReceiver

FAST = {"flush_interval_seconds": 0.01, "retry_initial_seconds": 0.02, "retry_max_seconds": 0.1}


def assert_account(handler, receiver, accepted):
    stats = handler.stats()

    assert accepted == stats.accepted == stats.delivered
    assert (0, 0, 0) == (stats.pending, stats.dropped, stats.rejected)
    assert list(range(1, accepted + 1)) == [entry["seq"] for entry in receiver.entries]
    assert {} == receiver.duplicates()


@pytest.mark.parametrize(("respects_level", "expected"), [(True, 10), (False, 20)])
def test_delivers_behind_the_queue_listener(receiver, attached, respects_level, expected):
    """Typed fields cross the queue; the listener looks at our level only when it is told to."""
    handler = ApiKeyHandler(url=receiver.generic_url, level="WARNING", **FAST)
    waiting = queue.Queue()
    log = attached(logging.handlers.QueueHandler(waiting))
    listener = logging.handlers.QueueListener(waiting, handler, respect_handler_level=respects_level)
    listener.start()
    for number in range(10):
        fields = {"component": "relay", "category": "paused", "subject": f"user {number}"}
        log.info("quiet %d", number, extra=fields)
        log.warning("loud %d", number, extra=fields)
    listener.stop()
    assert handler.flush(10)
    handler.close()

    assert_account(handler, receiver, expected)
    assert {("relay", "paused")} == {(entry["component"], entry["category"]) for entry in receiver.entries}
    assert [f"user {n}" for n in range(10)] == list(
        dict.fromkeys(entry["subject"] for entry in receiver.entries)
    )


def test_delivers_as_target_of_a_memory_handler(receiver, attached):
    """A buffering handler of the standard library hands its records over in order."""
    handler = ApiKeyHandler(url=receiver.generic_url, **FAST)
    memory = logging.handlers.MemoryHandler(7, flushLevel=logging.ERROR, target=handler)
    log = attached(memory)
    for number in range(20):
        log.info("record %d", number)
    memory.close()
    assert handler.flush(10)
    handler.close()

    assert_account(handler, receiver, 20)
    assert [f"record {n}" for n in range(20)] == [entry["message"] for entry in receiver.entries]


def test_delivers_from_an_ini_file(programs, receiver, check_account):
    """fileConfig makes a handler with its keyword arguments, sets its formatter and level, and closes it again."""
    ini = programs.folder / "logging.ini"
    ini.write_text(
        f"""
[loggers]
keys=root
[handlers]
keys=trail
[formatters]
keys=plain
[logger_root]
level=INFO
handlers=trail
[handler_trail]
class=defender_logging.ApiKeyHandler
level=INFO
formatter=plain
args=()
kwargs={{"url": "{receiver.generic_url}", "service": "vault"}}
[formatter_plain]
format=%(levelname)s says %(message)s
"""
    )
    result = programs.run(
        """
        import logging.config
        for _ in range(2):
            logging.config.fileConfig("logging.ini", disable_existing_loggers=False)
            HANDLERS.extend(logging.getLogger().handlers)
            log.info("hello")
        """
    )

    assert (0, "") == (result.code, result.stderr)
    check_account(result.accounts, receiver, delivered=2)
    assert [("INFO says hello", "vault")] * 2 == [(e["message"], e["service"]) for e in receiver.entries]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="dictConfig knows QueueHandler from Python 3.12 on")
def test_delivers_behind_a_queue_handler_of_dict_config(programs, receiver, check_account):
    """The standard library's own way to put handlers behind a queue takes ours by name."""
    result = programs.run(
        """
        import logging.config
        logging.config.dictConfig({
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {
                "trail": {"class": "defender_logging.ApiKeyHandler", "url": URL},
                "queue": {"class": "logging.handlers.QueueHandler", "handlers": ["trail"],
                          "respect_handler_level": True},
            },
            "root": {"level": "INFO", "handlers": ["queue"]},
        })
        HANDLERS.append(logging.getHandlerByName("trail"))
        listener = logging.getHandlerByName("queue").listener
        listener.start()
        for number in range(10):
            log.info("record %d", number)
        listener.stop()
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    check_account(result.accounts, receiver, delivered=10)


def test_a_full_queue_blocks_for_the_stated_time_at_most(attached):
    """overflow block: callers wait for block_timeout_seconds, all at the same time, then the record is dropped."""
    with LocalReceiver() as receiver:
        receiver.black_hole()
        handler = ApiKeyHandler(
            url=receiver.generic_url,
            max_queue_bytes=5000,
            overflow="block",
            block_timeout_seconds=0.2,
            **FAST,
        )
        log = attached(handler)
        while handler.stats().queue_bytes < 4500:
            log.info("record")
        began = time.monotonic()
        threads = [threading.Thread(target=log.info, args=("x" * 1000,)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        seconds = time.monotonic() - began
        stats = handler.stats()

        assert 5 == stats.dropped
        assert 0.2 <= seconds < 0.9
        assert stats.accepted == stats.dropped + stats.pending
        receiver.restore()
        assert handler.flush(20)
        assert handler.flush(20)
