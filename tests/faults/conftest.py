"""Fixtures of the fault cases: the oracle, handlers of every kind and framing, and processes that log tickets."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from defender_logging import ApiKeyHandler, DatadogHandler, SplunkHandler
from defender_logging.testing import LocalReceiver, TcpProxy

pytest.register_assert_rewrite("oracle")
from oracle import LIVE_SECONDS, Oracle  # noqa: E402 - because what it asserts is to be explained like a test's own

KINDS = {"splunk": SplunkHandler, "datadog": DatadogHandler, "generic": ApiKeyHandler}
FAST = {
    "flush_interval_seconds": 0.01,
    "max_batch_entries": 100,
    "retry_initial_seconds": 0.02,
    "retry_max_seconds": 0.05,
    "hold_retry_seconds": 0.05,
}


def _load_programs():
    """The fixtures of tests/e2e, which start programs of their own: a plugin would have to stand at the root."""
    path = Path(__file__).parents[1] / "e2e" / "conftest.py"
    spec = importlib.util.spec_from_file_location("faults_programs", path)
    module = importlib.util.module_from_spec(spec)
    # A dataclass with postponed annotations looks its module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_e2e = _load_programs()
programs, attached, refused_url, within = _e2e.programs, _e2e.attached, _e2e.refused_url, _e2e.within


@pytest.fixture
def oracle():
    """Knows what is logged through it."""
    return Oracle()


@pytest.fixture
def receiver():
    """A receiver that behaves."""
    with LocalReceiver() as running:
        yield running


@pytest.fixture
def proxy(receiver):
    """A line to ``receiver`` that can be spoilt."""
    with TcpProxy(port=receiver.port) as running:
        yield running


@pytest.fixture
def until():
    """Wait until something about a handler is true that gives no sign of itself; bounded."""
    pause = threading.Event()

    def wait(holds, seconds=LIVE_SECONDS):
        deadline = time.monotonic() + seconds
        while not (found := holds()) and time.monotonic() < deadline:
            pause.wait(0.005)
        return found

    return wait


@pytest.fixture
def connect(attached):
    """Make a handler of a kind for a receiver, with short pauses, and a logger of its own.

    ``connect("splunk", receiver, through=proxy, spool_dir=...)`` returns the handler and the logger; ``through`` is
    the proxy between.
    """

    def make(kind, receiver, *, through=None, **settings):
        url = {"splunk": receiver.hec_url, "datadog": receiver.datadog_url}.get(kind, receiver.generic_url)
        if through is not None:
            url = through.through(url)
        keys = {"splunk": {"api_key": receiver.token}, "datadog": {"api_key": receiver.api_key}}.get(kind, {})
        handler = KINDS[kind](**{"url": url, **keys, **FAST, **settings})
        return handler, attached(handler)

    return make


TICKETS = '''
from defender_logging import lifecycle

REPORT = os.open("report", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def log_ticket(writer, number):
    """Log one record, and report its ticket once the call has returned."""
    ticket = f"{os.getpid()}.{writer}-{number}"
    log.info("record " + ticket, extra={"ticket": ticket, "padding": ticket * 10})
    os.write(REPORT, (ticket + "\\n").encode())

def log_tickets(writer, count):
    for number in range(count):
        log_ticket(writer, number)

def streams():
    return [name for name in os.listdir("spool") if not name.startswith((".", "salt"))]

def in_child(task):
    """Fork; the child does its task and leaves by os._exit."""
    pid = os.fork()
    if pid:
        return pid
    try:
        task()
        tell_accounts()
    finally:
        os._exit(0)
'''


class TicketPrograms:
    """Programs that log tickets in processes of their own: ``log_ticket(writer, number)``, ``log_tickets``."""

    def __init__(self, programs, oracle, receiver):
        self.folder = programs.folder
        self._programs, self._oracle, self._receiver = programs, oracle, receiver

    def start(self, source, **options):
        """Start one that logs to the receiver of the test."""
        return self._programs.start(
            TICKETS + textwrap.dedent(source), **{"url": self._receiver.generic_url, **options}
        )

    def run(self, source, **options):
        """Start one and wait for its end."""
        return self.start(source, **options).finish()

    def note(self):
        """Tell the oracle all that was reported since the last time, and return those tickets in order."""
        lines = (self.folder / "report").read_text().splitlines(keepends=True)
        tickets = [line.strip() for line in lines if line.endswith("\n")]
        new = [ticket for ticket in tickets if ticket not in self._oracle.issued]
        for ticket in new:
            self._oracle.note(
                ticket, ticket.rpartition("-")[0], message=f"record {ticket}", padding=ticket * 10
            )
        return new

    def start_anew(self, settings=""):
        """Have the next process of the same handler deliver what the last ones left; returns its account."""
        result = self.run(
            f"""
            handler = make(spool_dir="spool", {settings})
            handler.start()
            tell("DRAINED", wait_until(lambda: not streams() and not handler.stats().pending) and handler.flush(5))
            """
        )
        assert (0, "", True) == (result.code, result.stderr, result.value("DRAINED"))
        return result.accounts


@pytest.fixture
def tickets(programs, oracle, receiver):
    """Programs whose records the oracle can know."""
    return TicketPrograms(programs, oracle, receiver)


MADE = {
    "splunk": ("splunk", {}),
    "raw": ("splunk", {}),
    "datadog": ("datadog", {}),
    "array": ("generic", {}),
    "ndjson": ("generic", {"body": "ndjson"}),
}
"""Every framing that an entry can go out in."""


@pytest.fixture
def open_wire(receiver, connect):
    """Make a handler of a framing that forwards every level, and its logger."""

    def make(framing, **settings):
        kind, own = MADE[framing]
        url = {"url": receiver.hec_raw_url} if framing == "raw" else {}
        return connect(kind, receiver, **{"log_levels": "all", **own, **url, **settings})

    return make


@pytest.fixture
def bodies():
    """What a receiver was sent, as text; each of the bytes has to be UTF-8."""
    return _bodies


def _bodies(receiver):
    """What was sent, as text; each of the bytes has to be UTF-8."""
    plain = [
        gzip.decompress(request.body) if request.header("Content-Encoding") == "gzip" else request.body
        for request in receiver.requests
    ]
    return [body.decode("utf-8", "strict") for body in plain]


def _no_double(pairs):
    assert len(pairs) == len(dict(pairs)), f"a key stands twice among {[key for key, _ in pairs]}"
    return dict(pairs)


def _assert_strict(receiver):
    """No raw control character but the line feed, no lone surrogate, no key twice, no number that is none."""
    decoder = json.JSONDecoder(object_pairs_hook=_no_double, parse_constant=pytest.fail)
    for body in _bodies(receiver):
        assert not {chr(code) for code in (*range(32), 127)} & set(body) - {"\n"}
        position = 0
        while position < len(body):
            value, position = decoder.raw_decode(body, position)
            json.dumps(value, ensure_ascii=False).encode("utf-8")
            while body[position : position + 1] == "\n":
                position += 1


@pytest.fixture
def assert_strict():
    """Assert that all that was sent is what the strictest receiver takes."""
    return _assert_strict
