"""A handler validates, selects, encodes, counts and lets go, and never troubles the code that logs."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import logging.config
import logging.handlers
import os
import queue
import re
import socket
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest

from defender_logging import ApiKeyHandler, ConfigurationError, DatadogHandler, SplunkHandler, lifecycle
from defender_logging._pipeline import threads
from defender_logging.destinations.base import Response
from defender_logging.destinations.generic import GenericDestination
from defender_logging.metrics import Stats
from defender_logging.testing import Answer, FakeTransport, LocalReceiver

KEY = "s3cr3t-k3y-0123456789"
OK = Response(200, (), b"{}")
DESCRIPTORS = Path("/proc/self/fd")
MINIMAL = {
    SplunkHandler: {"url": "https://splunk.example:8088", "api_key": KEY},
    DatadogHandler: {"api_key": KEY},
    ApiKeyHandler: {"url": "https://logs.example/in"},
}
every_class = pytest.mark.parametrize("handler_class", MINIMAL)
ONLY_WITH_REPLACING_FILTERS = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="filters may replace a record from Python 3.12 on"
)


class Gate:
    """An answer that waits until the test opens it."""

    def __init__(self):
        self.is_open = threading.Event()

    def __call__(self, request):
        assert self.is_open.wait(20)
        return OK


class Faked(ApiKeyHandler):
    """Sends through a fake transport, and remembers what handleError was asked to tell."""

    def __init__(self, transport, **given):
        self.transport = transport
        self.errors = []
        super().__init__(**{"url": "https://logs.example/in", "flush_interval_seconds": 0} | given)

    def _make_transport(self):
        return self.transport

    def handleError(self, record):
        self.errors.append((record.getMessage(), sys.exc_info()[0]))


@pytest.fixture
def opened():
    """Gates that open at the end, so that no thread is left waiting."""
    gates = []

    def make():
        gates.append(Gate())
        return gates[-1]

    yield make
    for gate in gates:
        gate.is_open.set()


@pytest.fixture
def keep():
    """Close handlers at the end, and let their threads go."""
    kept = []

    def keep_handler(handler):
        kept.append(handler)
        return handler

    yield keep_handler
    for handler in kept:
        handler.close()
        if handler._pipeline is not None:
            handler._pipeline.sender.leave()
            lifecycle._pipelines.discard(handler._pipeline)


@pytest.fixture
def make(keep):
    """Make handlers over a fake transport that answers 200, unless told otherwise."""

    def make_handler(answers=(), *, then=OK, **given):
        chosen = {"compression": "none", "shutdown_timeout_seconds": 5} | given
        return keep(Faked(FakeTransport(answers, then=then), **chosen))

    return make_handler


@pytest.fixture
def receiver():
    with LocalReceiver() as started:
        yield started


def record(message="paused", level=logging.INFO, name="app", **extra):
    made = logging.LogRecord(name, level, __file__, 1, message, None, None)
    vars(made).update(extra)
    return made


def stats_of(handler):
    stats = handler.stats()
    assert stats.accepted == stats.delivered + stats.rejected + stats.dropped + stats.pending
    return stats


def sent(handler):
    return [entry for request in handler.transport.requests for entry in json.loads(request.body)]


def messages(handler):
    return [entry["message"] for entry in sent(handler)]


def open_sockets():
    """What this process has open; nothing where it cannot be seen."""
    found = set()
    for path in DESCRIPTORS.iterdir() if DESCRIPTORS.is_dir() else ():
        with contextlib.suppress(OSError):
            found.add(str(path.readlink()))
    return {target for target in found if target.startswith("socket:")}


def locals_of(error):
    """What an error tracker records: the locals of every frame."""
    found = []
    frame = error.__traceback__
    while frame is not None:
        for name, value in frame.tb_frame.f_locals.items():
            with contextlib.suppress(Exception):
                found.append(f"{name}={value!r}")
        frame = frame.tb_next
    return "\n".join(found)


class TestConstructing:
    @every_class
    def test_starts_nothing(self, handler_class, keep):
        """Neither a thread nor, where it can be seen, a socket; ``check`` builds every handler of a configuration."""
        threads_before, sockets_before = set(threading.enumerate()), open_sockets()
        handler = keep(handler_class(**MINIMAL[handler_class]))
        handler.stats()
        repr(handler)

        assert set(threading.enumerate()) <= threads_before
        assert open_sockets() <= sockets_before

    @every_class
    def test_stats_before_the_first_record(self, handler_class, keep):
        """All counts are 0, and it is idle."""
        assert Stats() == keep(handler_class(**MINIMAL[handler_class])).stats()

    def test_wrong_settings_raise(self):
        """All problems at once, before anything is registered with the logging module."""
        before = list(logging._handlerList)
        with pytest.raises(ConfigurationError) as caught:
            SplunkHandler(url="https://splunk.example", index=5, colour=1)

        assert 3 == len(caught.value.problems)
        assert [] == [new for new in logging._handlerList if not any(new is known for known in before)]

    @pytest.mark.parametrize(("given", "number"), [("ERROR", 40), (30, 30), ("trace", 5), (None, 0)])
    def test_level_is_a_keyword(self, keep, given, number):
        """As on the handlers of ``logging.handlers``, and by name."""
        assert number == keep(ApiKeyHandler(url="https://logs.example", level=given)).level

    def test_works_from_dict_config(self, keep, receiver):
        """A block with ``class:`` and our keys; a logger then reaches the receiver."""
        logger = logging.getLogger("made.by.dictconfig")
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {
                    "trail": {
                        "class": "defender_logging.ApiKeyHandler",
                        "url": receiver.generic_url,
                        "level": "INFO",
                        "log_levels": ["info"],
                    }
                },
                "loggers": {logger.name: {"level": "DEBUG", "handlers": ["trail"], "propagate": False}},
            }
        )
        (handler,) = logger.handlers
        keep(handler)
        logger.info("paused", extra={"component": "relay"})
        logger.error("not selected")
        logger.debug("below the level")

        assert handler.flush(10)
        assert [("paused", "relay")] == [(e["message"], e["component"]) for e in receiver.entries]
        assert ("trail", logging.INFO, 1) == (handler.name, handler.level, handler.stats().filtered)
        logger.removeHandler(handler)

    def test_wrong_settings_in_dict_config_are_the_cause(self):
        """dictConfig wraps the error; what is wrong stands in its cause."""
        with pytest.raises(ValueError, match="Unable to configure handler 'trail'") as caught:
            logging.config.dictConfig(
                {"version": 1, "handlers": {"trail": {"class": "defender_logging.SplunkHandler"}}}
            )
        assert ConfigurationError is type(caught.value.__cause__)

    @every_class
    def test_is_no_queue_handler(self, handler_class):
        """dictConfig treats those specially from Python 3.12 on, and breaks them."""
        assert not issubclass(handler_class, logging.handlers.QueueHandler)


class TestSecrecy:
    @pytest.mark.parametrize("handler_class", [SplunkHandler, DatadogHandler, ApiKeyHandler])
    def test_nothing_that_prints_a_handler_shows_the_key(self, handler_class, keep):
        """Neither its repr nor any of its attributes, before and after the start."""
        given = {
            "url": f"https://127.0.0.1:1/hook/{KEY}?key={KEY}",
            "api_key": KEY,
            "api_header_name": "X-Key",
            "proxy_url": f"http://user:{KEY}@127.0.0.1:1",
            "shutdown_timeout_seconds": 0,
        }
        if handler_class is ApiKeyHandler:
            given["headers"] = {"X-Token": KEY}
        handler = keep(handler_class(**given))
        before = f"{handler!r}{handler}{vars(handler)}"
        handler._make_pipeline()
        shown = f"{before}{handler!r}{vars(handler)}{handler._label()}{handler._identity()}"

        assert KEY not in shown.replace(repr(handler._identity()[1]), "")
        assert "https://127.0.0.1:1" in repr(handler)

    def test_a_failure_that_quotes_the_key_is_masked(self, keep, receiver):
        """In ``last_error`` and in the report, whatever the receiver says."""
        receiver.always(Answer(status=403, body=f"the key {KEY} is unknown"))
        handler = keep(
            ApiKeyHandler(
                url=receiver.generic_url, api_key=KEY, api_header_name="X-Key", hold_retry_seconds=0.01
            )
        )
        handler.handle(record())
        assert receiver.wait_for(requests=2)
        told = [sentence for _, sentence in handler._reports._waiting]

        assert "the key *** is unknown" in handler.stats().last_error
        assert KEY not in f"{handler!r}{handler.stats()}{told}"

    def test_errors_of_construction_with_local_variables(self, monkeypatch):
        """An error tracker records the locals of every frame: behind ``env:`` there is nothing to see."""
        monkeypatch.setenv("LOG_KEY", KEY + "\n")
        monkeypatch.setenv("LOG_URL", f"https://h.example/{KEY} x")
        with pytest.raises(ConfigurationError) as caught:
            DatadogHandler(url="env:LOG_URL", api_key="env:LOG_KEY")
        shown = locals_of(caught.value)

        assert "kind=Kind(handler='DatadogHandler'" in shown
        assert KEY not in shown


class TestRepr:
    def test_names_address_state_and_counts(self, make):
        """What helps at three in the morning."""
        handler = make(level="INFO")
        assert (
            "<Faked (https://logs.example:443) level=INFO state=idle accepted=0 delivered=0 rejected=0 "
            "dropped=0 pending=0>"
        ) == repr(handler)
        handler.set_name("trail")
        handler.handle(record())
        assert handler.flush(10)

        assert (
            "<Faked 'trail' (https://logs.example:443) level=INFO state=idle accepted=1 delivered=1 rejected=0 "
            "dropped=0 pending=0>"
        ) == repr(handler)


class TestStarting:
    def test_start_begins_the_thread_once(self, make):
        """Before the first record, and twice changes nothing; the thread bears the handler's name."""
        handler = make()
        handler.set_name("started")
        handler.start()
        handler.start()
        names = [thread.name for thread in threading.enumerate() if "'started'" in thread.name]

        assert ["defender-logging-Faked 'started' (https://logs.example:443)"] == names
        assert [] == handler.transport.requests

    def test_a_record_made_while_the_first_one_starts_it(self, keep):
        """By a signal handler or a destructor, in the same thread: no deadlock, both in one account."""

        class Interrupted(Faked):
            def _make_transport(self):
                if self.stats().accepted == 0 and not self.errors:
                    self.errors.append("once")
                    self.handle(record("inner"))
                return super()._make_transport()

        handler = keep(Interrupted(FakeTransport(then=OK), compression="none"))
        worker = threading.Thread(target=lambda: handler.handle(record("outer")), daemon=True)
        worker.start()
        worker.join(10)

        assert not worker.is_alive()
        assert handler.flush(10)
        assert ["inner", "outer"] == messages(handler)
        assert 2 == stats_of(handler).delivered

    def test_the_first_record_starts_it(self, make):
        """Whichever thread logs first, and however many at once: one stream."""
        handler = make()
        barrier = threading.Barrier(16, timeout=10)

        def log():
            barrier.wait()
            handler.handle(record())

        workers = [threading.Thread(target=log) for _ in range(16)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(10)

        assert handler.flush(10)
        assert (16, 16) == (stats_of(handler).accepted, stats_of(handler).delivered)
        assert 1 == len({entry["stream"] for entry in sent(handler)})
        assert set(range(1, 17)) == {entry["seq"] for entry in sent(handler)}


class TestSelecting:
    @pytest.mark.parametrize(
        ("given", "made", "is_selected"),
        [
            ({}, record(), True),
            ({}, record(level=logging.DEBUG), False),
            ({}, record(level=logging.CRITICAL), True),
            ({"log_levels": ["debug", "error"]}, record(), False),
            ({"log_levels": "all"}, record(level=1), True),
            ({"log_types": ["relay"]}, record(component="relay"), True),
            ({"log_types": ["relay"]}, record(component="admin"), False),
            ({"log_types": ["relay"]}, record(), False),
        ],
    )
    def test_keeps_or_counts(self, make, given, made, is_selected):
        """What is selected is accepted; what is not is counted as filtered and takes no ``seq``."""
        handler = make(**given)

        assert is_selected is handler.handle(made)
        assert (int(is_selected), int(not is_selected)) == (
            stats_of(handler).accepted,
            stats_of(handler).filtered,
        )

    def test_counts_exactly_from_many_threads(self, make):
        """16 threads, filtered and accepted mixed: no count is lost."""
        handler = make(log_levels=["error"], max_queue_bytes=100_000_000)
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)

        def log():
            for number in range(1_000):
                handler.handle(record(level=logging.ERROR if number % 10 == 0 else logging.INFO))

        workers = [threading.Thread(target=log) for _ in range(16)]
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(30)
        finally:
            sys.setswitchinterval(before)

        assert handler.flush(30)
        assert (14_400, 1_600, 1_600) == (
            stats_of(handler).filtered,
            stats_of(handler).accepted,
            stats_of(handler).delivered,
        )

    def test_asks_the_user_s_filters_first(self, make):
        """``filters:`` in dictConfig works on our handlers as on any other."""
        handler = make()
        handler.addFilter(lambda made: made.getMessage() != "no")
        kept = [handler.handle(record("no")), handler.handle(record("yes"))]

        assert handler.flush(10)
        assert ([False, True], ["yes"], 1) == (kept, messages(handler), stats_of(handler).filtered)

    @ONLY_WITH_REPLACING_FILTERS
    def test_a_filter_may_replace_the_record(self, make):
        """What it returns goes out, and the record of the other handlers stays as it is."""
        handler = make()
        handler.addFilter(lambda made: record("replaced", component="relay"))
        made = record("given")
        handler.handle(made)

        assert handler.flush(10)
        assert [("replaced", "relay")] == [(e["message"], e["component"]) for e in sent(handler)]
        assert "given" == made.getMessage()

    @ONLY_WITH_REPLACING_FILTERS
    def test_the_selection_sees_the_replaced_record(self, make):
        """A filter that lowers a level decides."""
        handler = make()
        handler.addFilter(lambda made: record("replaced", level=logging.DEBUG))

        assert not handler.handle(record("given"))
        assert (0, 1) == (stats_of(handler).accepted, stats_of(handler).filtered)

    def test_asks_a_subclass_that_filters_itself(self, keep):
        """``filter`` may be overridden, as on every ``logging.Handler``; it is asked about each record."""

        class Filtering(Faked):
            def filter(self, made):
                return made.getMessage() == "yes"

        handler = keep(Filtering(FakeTransport(then=OK), compression="none"))

        kept = [handler.handle(record(message)) for message in ("no", "yes", "no")]

        assert handler.flush(20)
        assert ([False, True, False], ["yes"], 2) == (kept, messages(handler), stats_of(handler).filtered)

    def test_a_filter_that_raises_lets_nothing_out(self, make):
        """Its error is told by handleError, and does not reach the code that logs."""
        handler = make()

        def filter_record(made):
            raise ZeroDivisionError

        handler.addFilter(filter_record)

        assert not handler.handle(record("given"))
        assert [("given", ZeroDivisionError)] == handler.errors
        assert (0, 1) == (stats_of(handler).accepted, stats_of(handler).filtered)

    @pytest.mark.parametrize(
        ("name", "is_taken"),
        [
            ("defender_logging", False),
            ("defender_logging.reports", False),
            ("defender_logging_of_mine", True),
            ("defender", True),
            ("urllib3", True),
            ("urllib3.connectionpool", True),
            ("", True),
            (None, True),
        ],
    )
    def test_records_of_our_own_loggers_never_enter(self, make, name, is_taken):
        """They are neither accepted nor filtered, so that telling of a failure never makes another entry."""
        handler = make()

        assert is_taken is handler.handle(record(name=name))
        assert (int(is_taken), 0) == (stats_of(handler).accepted, stats_of(handler).filtered)

    @pytest.mark.parametrize(("name", "is_taken"), [("urllib3.connection", False), ("app", True)])
    def test_records_of_urllib3_made_while_sending_never_enter(self, make, name, is_taken):
        """Anything else that is logged in one of our threads is accepted like any other."""
        handler = make()
        answers = []
        threads.start("test", lambda: answers.append(handler.handle(record(name=name)))).join(10)

        assert [is_taken] == answers

    def test_an_unknown_component_is_told_once(self, make, caplog):
        """With the nearest match, by the thread that logs, not at every record."""
        handler = make(log_types=["relay"])
        for _ in range(3):
            handler.handle(record(component="rely"))

        assert 3 == stats_of(handler).filtered
        ((name, level, sentence),) = caplog.record_tuples
        assert ("defender_logging", logging.WARNING) == (name, level)
        assert "did you mean 'relay'?" in sentence

    def test_our_own_threads_leave_reports_for_others(self, make, caplog):
        """A worker that logs while dictConfig holds the logging module's locks waits for ever."""
        handler = make(log_types=["relay"])
        threads.start("test", lambda: handler.handle(record(component="rely"))).join(10)
        assert [] == caplog.record_tuples
        handler.handle(record(component="relay"))

        assert 1 == len(caplog.record_tuples)


class TestEmitting:
    def test_emit_passes_the_selection(self, make):
        """Who calls it directly has selected already."""
        handler = make(log_levels=["error"])
        handler.emit(record(level=logging.DEBUG))

        assert handler.flush(10)
        assert (["paused"], 1, 0) == (
            messages(handler),
            stats_of(handler).accepted,
            stats_of(handler).filtered,
        )

    def test_takes_no_lock_of_the_logging_module(self, make):
        """A thread that holds the handler's lock (``logging.shutdown``) stops nobody from logging."""
        handler = make()
        with handler.lock:
            worker = threading.Thread(target=lambda: handler.handle(record()))
            worker.start()
            worker.join(10)
            assert not worker.is_alive()

        assert 1 == stats_of(handler).accepted

    def test_values_are_taken_at_the_call(self, make, opened):
        """Later changes to logged objects do not alter the trail."""
        handler = make([gate := opened()])
        held = {"roles": ["reader"]}
        handler.handle(record(detail=held))
        held["roles"].append("owner")
        gate.is_open.set()

        assert handler.flush(10)
        assert [{"roles": ["reader"]}] == [entry["detail"] for entry in sent(handler)]

    def test_a_formatter_writes_the_message(self, make):
        """The stdlib's own ``formatter`` key works."""
        handler = make()
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        handler.handle(record("paused"))

        assert handler.flush(10)
        assert ["INFO: paused"] == messages(handler)

    def test_wrong_words_go_out_and_are_counted(self, make):
        """A typo in a component neither raises nor loses the record."""
        handler = make()
        handler.handle(record(component="rely"))
        handler.handle(record(component="relay"))

        assert handler.flush(10)
        assert (2, 1) == (stats_of(handler).delivered, stats_of(handler).vocabulary_errors)
        assert ["rely", "relay"] == [entry["component"] for entry in sent(handler)]

    def test_an_internal_error_goes_to_handle_error(self, keep):
        """A bug in a destination does not raise into the code that logs; what was not queued is not counted."""

        class Broken(GenericDestination):
            def encode(self, fields):
                raise ZeroDivisionError

        class BrokenHandler(Faked):
            def _make_destination(self):
                return Broken(target="/")

        handler = keep(BrokenHandler(FakeTransport(then=OK)))

        assert handler.handle(record("given"))
        assert [("given", ZeroDivisionError)] == handler.errors
        assert (0, "idle") == (stats_of(handler).accepted, stats_of(handler).state)

    def test_keyboard_interrupt_is_not_ours_to_swallow(self, make):
        """It goes through, and the handler works on."""
        handler = make()

        class Rude:
            def __str__(self):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            handler.handle(record(Rude()))
        handler.handle(record("after"))

        assert handler.flush(10)
        assert ["after"] == messages(handler)

    def test_a_record_made_while_one_is_made(self, make):
        """A ``__str__`` that logs: both go out, the inner one first."""
        handler = make()

        class Chatty:
            def __str__(self):
                handler.handle(record("inner"))
                return "outer"

        handler.handle(record(Chatty()))

        assert handler.flush(10)
        assert ["inner", "outer"] == messages(handler)

    def test_works_behind_a_queue_listener(self, make):
        """The stdlib's own way to log from another thread."""
        handler = make()
        waiting = queue.Queue()
        listener = logging.handlers.QueueListener(waiting, handler)
        listener.start()
        front = logging.handlers.QueueHandler(waiting)
        front.handle(record("paused %s"))
        listener.stop()

        assert handler.flush(10)
        assert ["paused %s"] == messages(handler)


class TestFlushing:
    def test_without_a_record_there_is_nothing_to_wait_for(self, make):
        """True, and nothing is started."""
        handler = make()

        assert handler.flush()
        assert handler._pipeline is None

    def test_waits_until_all_is_delivered(self, make):
        """An interval of an hour does not hold it up."""
        handler = make(flush_interval_seconds=3_600)
        for _ in range(3):
            handler.handle(record())

        assert handler.flush()
        assert 3 == stats_of(handler).delivered

    def test_none_means_the_shutdown_timeout(self, make, opened):
        """``flush()`` costs at most ``shutdown_timeout_seconds``."""
        handler = make(then=opened(), shutdown_timeout_seconds=0.1)
        handler.handle(record())
        begin = time.monotonic()

        assert not handler.flush()
        assert 0.1 <= time.monotonic() - begin < 2

    def test_does_not_wait_under_the_handler_s_own_lock(self, make, opened):
        """``logging.shutdown`` and dictConfig hold it; it only hurries the sender then."""
        handler = make(then=opened(), shutdown_timeout_seconds=60, flush_interval_seconds=3_600)
        handler.handle(record())
        begin = time.monotonic()
        with handler.lock:
            is_done = handler.flush()
        seconds = time.monotonic() - begin

        assert (False, True) == (is_done, seconds < 5)
        assert handler.transport.wait_for(requests=1)

    def test_logs_nothing_under_the_handler_s_own_lock(self, make, caplog):
        """A logging call there may need a lock that another thread will not give; the next flush tells."""
        handler = make()
        handler.handle(record())
        handler._reports.add(logging.WARNING, "the receiver refuses entries")
        with handler.lock:
            handler.flush()
        told_under_lock = len(caplog.record_tuples)
        handler.flush(10)

        assert (0, 1) == (told_under_lock, len(caplog.record_tuples))

    def test_under_the_lock_it_says_when_nothing_is_left(self, make):
        """Then there is nothing to hurry."""
        handler = make()
        handler.handle(record())
        assert handler.flush(10)
        with handler.lock:
            assert handler.flush()

    def test_the_lock_of_another_thread_does_not_matter(self, make):
        """Only the thread that holds it must not wait."""
        handler = make()
        handler.handle(record())
        is_held, may_go = threading.Event(), threading.Event()

        def hold():
            with handler.lock:
                is_held.set()
                may_go.wait(20)

        holder = threading.Thread(target=hold)
        holder.start()
        assert is_held.wait(10)
        is_done = handler.flush()
        may_go.set()
        holder.join(10)

        assert is_done

    def test_never_waits_in_one_of_our_threads(self, make, opened):
        """A sender that waited for itself would wait for ever."""
        handler = make(then=opened())
        handler.handle(record())
        answers = []
        threads.start("test", lambda: answers.append(handler.flush(60))).join(10)

        assert [True] == answers


class TestClosing:
    def test_does_not_wait_and_loses_nothing(self, make, opened):
        """What waits is sent in the background."""
        gate = opened()
        handler = make(then=gate, shutdown_timeout_seconds=60)
        for _ in range(3):
            handler.handle(record())
        begin = time.monotonic()
        handler.close()
        seconds = time.monotonic() - begin
        assert ("closed", 3) == (stats_of(handler).state, stats_of(handler).pending)
        gate.is_open.set()

        assert handler.flush(10)
        assert seconds < 5
        assert (3, 3) == (stats_of(handler).delivered, len(sent(handler)))

    def test_records_afterwards_are_accepted_and_dropped(self, make):
        """Counted with their reason, and nothing raises."""
        handler = make()
        handler.handle(record("before"))
        handler.close()
        assert handler.handle(record("after"))

        assert handler.flush(10)
        assert (2, 1, {"closed": 1}) == (
            stats_of(handler).accepted,
            stats_of(handler).delivered,
            stats_of(handler).dropped_by_reason,
        )
        assert ["before"] == messages(handler)
        assert [] == handler.errors

    def test_before_the_first_record_it_starts_nothing(self, make):
        """The account is kept all the same."""
        handler = make()
        handler.close()
        before = threading.enumerate()
        assert "closed" == handler.stats().state
        handler.handle(record())

        assert (1, {"closed": 1}, "closed") == (
            stats_of(handler).accepted,
            stats_of(handler).dropped_by_reason,
            stats_of(handler).state,
        )
        assert handler.flush()
        assert [] == [
            thread for thread in threading.enumerate() if thread not in before and thread.is_alive()
        ]

    def test_twice_is_as_once(self, make):
        """``logging.shutdown`` closes what the user has closed."""
        handler = make()
        handler.handle(record())
        for _ in range(3):
            handler.close()

        assert handler.flush(10)
        assert (1, 1, "closed") == (
            stats_of(handler).accepted,
            stats_of(handler).delivered,
            handler.stats().state,
        )

    def test_filtered_is_counted_on(self, make):
        """The account is complete after the end, too."""
        handler = make()
        handler.close()
        handler.handle(record(level=logging.DEBUG))

        assert (0, 1) == (stats_of(handler).accepted, stats_of(handler).filtered)

    def test_while_many_threads_log(self, make):
        """No deadlock, and every record is delivered or dropped."""
        handler = make(max_queue_bytes=100_000_000)
        start = threading.Barrier(17, timeout=10)

        def log():
            start.wait()
            for _ in range(200):
                handler.handle(record())

        workers = [threading.Thread(target=log) for _ in range(16)]
        for worker in workers:
            worker.start()
        start.wait()
        handler.flush(0)
        handler.close()
        for worker in workers:
            worker.join(30)

        assert handler.flush(30)
        stats = stats_of(handler)
        assert (3_200, 0, stats.delivered) == (stats.accepted, stats.pending, len(sent(handler)))
        assert stats.dropped == stats.dropped_by_reason.get("closed", 0)


class TestCollecting:
    def test_a_handler_that_nobody_uses_goes_and_its_entries_arrive(self, opened):
        """Its rest is sent on in the background; the thread ends when that is done."""
        gate = opened()
        transport = FakeTransport(then=gate)
        handler = Faked(transport, compression="none")
        for _ in range(5):
            handler.handle(record())
        assert transport.wait_for(requests=1)
        pipeline = handler._pipeline
        reference = weakref.ref(handler)
        del handler
        gc.collect()

        assert reference() is None
        assert (True, 5) == (pipeline.buffer.is_closed, pipeline.buffer.pending)
        gate.is_open.set()
        assert pipeline.buffer.wait_settled(time.monotonic() + 10)
        assert [1, 2, 3, 4, 5] == [
            entry["seq"] for request in transport.requests for entry in json.loads(request.body)
        ]
        for thread in threading.enumerate():
            if thread.name.startswith("defender-logging-Faked"):
                thread.join(10)
        assert transport.is_closed

    @every_class
    def test_one_that_never_started_goes_too(self, handler_class):
        """No registry of ours holds it."""
        reference = weakref.ref(handler_class(**MINIMAL[handler_class]))
        gc.collect()

        assert reference() is None


class TestSmallQueues:
    def test_a_queue_smaller_than_a_batch_is_sent_before_it_is_full(self, make):
        """The sender does not wait for company while entries are lost for want of room."""
        handler = make(max_queue_bytes=20_000, flush_interval_seconds=60)
        for _ in range(200):
            handler.handle(record("x" * 300))
            time.sleep(0.001)

        assert handler.flush(10)
        assert 0 == stats_of(handler).dropped


class TestReplacing:
    def test_a_new_handler_of_the_same_identity_sends_the_rest(self, make):
        """A configuration that is loaded again: what the old one held goes out through the new one."""
        old = make(then=Response(503), retry_initial_seconds=60)
        for _ in range(3):
            old.handle(record("old"))
        assert old.transport.wait_for(requests=1)
        old.close()
        new = make()
        new.handle(record("new"))

        assert old.flush(10)
        assert new.flush(10)
        assert ["new", "old", "old", "old"] == sorted(messages(new))
        assert (3, 1) == (stats_of(old).delivered, stats_of(new).delivered)

    @pytest.mark.parametrize(
        ("handler_class", "one", "other", "is_same"),
        [
            (SplunkHandler, {}, {}, True),
            (SplunkHandler, {}, {"url": "https://splunk.example:8088/services/collector/event"}, True),
            (SplunkHandler, {}, {"url": "https://splunk.example:8088/services/collector/raw"}, False),
            (SplunkHandler, {}, {"url": "https://splunk.example:8089"}, False),
            (SplunkHandler, {}, {"api_key": f"Splunk {KEY}"}, True),
            (SplunkHandler, {}, {"api_key": "another"}, False),
            (SplunkHandler, {"index": "a"}, {"index": "b"}, False),
            (SplunkHandler, {"index": "a"}, {"index": "a", "source": "s", "service": "x"}, True),
            (DatadogHandler, {}, {}, True),
            (DatadogHandler, {}, {"api_key": "another"}, False),
            (DatadogHandler, {}, {"site": "datadoghq.eu"}, False),
            (DatadogHandler, {}, {"url": "https://http-intake.logs.datadoghq.com/api/v2/logs"}, True),
            (ApiKeyHandler, {}, {}, True),
            (ApiKeyHandler, {}, {"url": "https://logs.example/other"}, False),
            (ApiKeyHandler, {}, {"url": "https://logs.example/in?tenant=b"}, False),
            (ApiKeyHandler, {}, {"api_key": KEY, "api_header_name": "X-Key"}, False),
            (ApiKeyHandler, {}, {"headers": {"X-Tenant": "b"}}, False),
            (ApiKeyHandler, {"headers": {"X-Key": "a"}}, {"headers": {"X-Key": KEY}}, False),
            (ApiKeyHandler, {"headers": {"X-Key": KEY}}, {"headers": {"x-key": KEY}}, True),
            (ApiKeyHandler, {}, {"name": "b"}, False),
            (ApiKeyHandler, {"name": "b"}, {"name": "b"}, True),
        ],
    )
    def test_nobody_s_trail_reaches_another_s_account(self, keep, handler_class, one, other, is_same):
        """The identity: kind, address (base and full form are one), name, key, headers and Splunk index."""
        identities = []
        for given in (one, other):
            chosen = MINIMAL[handler_class] | given
            name = chosen.pop("name", None)
            handler = keep(handler_class(**chosen))
            handler.set_name(name)
            identities.append(handler._identity())

        assert is_same is (identities[0] == identities[1])
        assert KEY not in repr(identities)

    def test_kinds_differ(self, keep):
        """The same address spoken to in two ways is two destinations."""
        given = {
            "url": "https://h.example/services/collector/event",
            "api_key": "Splunk-0123",
            "api_header_name": "X",
        }
        identities = {
            keep(kind(**given))._identity() for kind in (SplunkHandler, DatadogHandler, ApiKeyHandler)
        }

        assert 3 == len(identities)


class TestReceivers:
    @every_class
    def test_each_kind_reaches_its_receiver(self, handler_class, keep, receiver):
        """Over a real socket, with the key where the vendor wants it."""
        given = {
            SplunkHandler: {"url": receiver.url, "api_key": receiver.token, "index": "audit"},
            DatadogHandler: {"url": receiver.url, "api_key": receiver.api_key},
            ApiKeyHandler: {"url": receiver.generic_url, "api_key": KEY, "api_header_name": "X-Key"},
        }[handler_class]
        handler = keep(handler_class(**given))
        handler.handle(record("paused", component="relay"))

        assert handler.flush(10)
        ((entry, request),) = zip(receiver.entries, receiver.requests, strict=True)
        assert ("paused", "relay") == (entry["message"], entry["component"])
        header = {
            SplunkHandler: ("authorization", f"Splunk {receiver.token}"),
            DatadogHandler: ("dd-api-key", receiver.api_key),
            ApiKeyHandler: ("x-key", KEY),
        }[handler_class]
        assert header in [(name.lower(), value) for name, value in request.headers]

    def test_nobody_listening_costs_the_caller_nothing(self, keep):
        """The record is kept, and the failure is in the stats."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            handler = keep(ApiKeyHandler(url=url, retry_initial_seconds=0.01, flush_interval_seconds=0))
            handler.handle(record())
            for _ in range(200):
                if handler.stats().requests >= 2:
                    break
                assert not handler.flush(0.05)

        assert ("retrying", 1) == (stats_of(handler).state, stats_of(handler).pending)
        assert "ECONNREFUSED" in handler.stats().last_error


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_tells_once_of_key_files_that_all_may_read(tmp_path, caplog):
    """Each file by its name, at the first record; what is in it stays where it is."""
    files = {name: tmp_path / name for name in ("key", "header", "digest", "safe")}
    for path in files.values():
        path.write_text("0123456789abcdef-secret\n")
        path.chmod(0o644)
    files["safe"].chmod(0o600)
    handler = ApiKeyHandler(
        url="http://127.0.0.1:1",
        api_header_name="X-Key",
        api_key=f"file:{files['key']}",
        headers={"X-Other": f"file:{files['header']}", "X-Safe": f"file:{files['safe']}"},
        redact={"digest_key": f"file:{files['digest']}"},
        shutdown_timeout_seconds=0,
    )
    for _ in range(3):
        handler.handle(logging.makeLogRecord({"msg": "m", "levelno": 30}))
    handler.close()
    told = [record.getMessage() for record in caplog.records if "can read" in record.getMessage()]

    assert sorted(str(files[name]) for name in ("digest", "header", "key")) == sorted(
        re.search(r"can read '(.*)'", sentence)[1] for sentence in told
    )
    assert "secret" not in caplog.text
