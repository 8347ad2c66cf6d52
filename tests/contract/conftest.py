"""A receiver of our own for the contract tests: nothing of the package is used to judge the package.

Each request is answered from a script, or as the vendor of its path would answer at best; each body is read with
a parser that refuses what a strict receiver refuses (duplicate keys, NaN, lone surrogates, numbers beyond 2^53).
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import logging
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

import defender_logging


def _pairs(pairs):
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        raise ValueError(f"duplicate keys in {keys!r}")
    return dict(pairs)


def _constant(word):
    raise ValueError(f"{word} is not JSON")


def _integer(text):
    number = int(text)
    if abs(number) > 2**53 - 1:
        raise ValueError(f"{text} loses digits in most receivers")
    return number


_STRICT = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer)


def strict(text: str | bytes) -> list[Any]:
    """All JSON values in a text, one after the other, white space between them allowed."""
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    values, position = [], 0
    while position < len(text):
        if text[position] in " \r\n\t":
            position += 1
            continue
        value, position = _STRICT.raw_decode(text, position)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # A lone surrogate raises.
        values.append(value)
    return values


@dataclasses.dataclass
class Reply:
    """One scripted answer; ``takes`` None: a 2xx takes the entries."""

    status: int = 200
    body: Any = b""
    headers: Any = ()
    takes: bool | None = None
    gate: threading.Event | None = None
    cut: bool = False


@dataclasses.dataclass
class Request:
    """One request as it came."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    sent: bytes
    body: bytes
    at: float

    @property
    def path(self):
        return urlsplit(self.target).path

    @property
    def query(self):
        return dict(parse_qsl(urlsplit(self.target).query))

    def header(self, name):
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def objects(self):
        """What the body holds: HEC envelopes, entries of an array, or lines."""
        values = strict(self.body)
        return values[0] if len(values) == 1 and isinstance(values[0], list) else values

    @property
    def entries(self):
        is_hec = "/services/collector" in self.path and "/raw" not in self.path
        return [value["event"] for value in self.objects] if is_hec else self.objects


def _vendor(path):
    if "/services/collector" in path:
        return Reply(200, {"text": "Success", "code": 0})
    return Reply(202, {}) if "/api/v2/logs" in path else Reply(200, {})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Head and body are two writes: the second would wait 40 ms for an ACK.

    def log_message(self, *args):
        pass

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(sent) if self.headers.get("Content-Encoding") == "gzip" else sent
        request = Request(self.command, self.path, list(self.headers.items()), sent, body, time.monotonic())
        reply = self.server.owner.next_reply(request)
        if reply.gate is not None:
            reply.gate.wait(20)
        self.server.owner.remember(request, reply)
        if reply.cut:
            self.close_connection = True
            return
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in dict(reply.headers).items() if isinstance(reply.headers, dict) else reply.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST

    def handle(self):
        with contextlib.suppress(OSError):
            super().handle()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass


class Server:
    """A receiver on a port of its own. ``entries`` are those of requests that were answered well."""

    Reply = Reply

    def __init__(self, port=0):
        self._lock = threading.Condition()
        self.requests: list[Request] = []
        self.entries: list[Any] = []
        self._script: list[Reply] = []
        self._always: Any = None
        self._gates: list[threading.Event] = []
        self._http = _Http(("127.0.0.1", port), _Handler)
        self._http.owner = self
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    strict = staticmethod(strict)

    def script(self, *replies):
        with self._lock:
            self._script += [self._gated(reply) for reply in replies]

    def always(self, reply):
        """A reply for every request, or a function of the request that makes one."""
        with self._lock:
            self._always = reply if callable(reply) else self._gated(reply)

    def restore(self):
        with self._lock:
            self._script, self._always = [], None
            for gate in self._gates:
                gate.set()

    def _gated(self, reply):
        if reply.gate is not None:
            self._gates.append(reply.gate)
        return reply

    def next_reply(self, request):
        with self._lock:
            self.requests.append(request)
            self._lock.notify_all()
            if self._script:
                return self._script.pop(0)
            if self._always is None:
                return _vendor(request.path)
            return self._always(request) if callable(self._always) else self._always

    def remember(self, request, reply):
        takes = 200 <= reply.status < 300 and not reply.cut if reply.takes is None else reply.takes
        with self._lock:
            if takes:
                self.entries += request.entries
            self._lock.notify_all()

    def wait(self, *, entries=0, requests=0, seconds=8.0):
        with self._lock:
            return self._lock.wait_for(
                lambda: len(self.entries) >= entries and len(self.requests) >= requests, seconds
            )

    def stop(self):
        self.restore()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)


_KINDS = {
    "generic": ("ApiKeyHandler", "/logs", {}),
    "splunk": ("SplunkHandler", "", {"api_key": "hec-token"}),
    "datadog": ("DatadogHandler", "/api/v2/logs", {"api_key": "dd-key"}),
}
QUICK = {
    "flush_interval_seconds": 0.01,
    "retry_initial_seconds": 0.02,
    "retry_max_seconds": 0.05,
    "hold_retry_seconds": 0.05,
    "shutdown_timeout_seconds": 2,
    "log_levels": "all",
}


class Wire:
    """A handler, a logger with only that handler, and the receiver at its other end."""

    def __init__(self, server, kind, settings):
        name, path, given = _KINDS[kind]
        self.server = server
        self.handler = getattr(defender_logging, name)(
            **{"url": server.url + path, **given, **QUICK, **settings}
        )
        self.logger = logging.getLogger(f"contract.{uuid.uuid4().hex}")
        self.logger.propagate = False
        self.logger.setLevel(1)
        self.logger.addHandler(self.handler)

    def flush(self, seconds=8.0):
        return self.handler.flush(seconds)

    def entry(self, message="hello", *args, level=logging.INFO, **kwargs):
        """Log one record and give its entry, as the receiver has it."""
        before = len(self.server.entries)
        self.logger.log(level, message, *args, **kwargs)
        assert self.flush(), self.handler.stats()
        assert before + 1 == len(self.server.entries), self.server.entries[before:]
        return self.server.entries[-1]

    def until(self, truth, seconds=8.0):
        """Wait until ``truth(stats)`` holds; its last value."""
        end = time.monotonic() + seconds
        pause = threading.Event()
        while not (is_so := truth(self.handler.stats())) and time.monotonic() < end:
            pause.wait(0.005)
        return is_so

    def close(self):
        self.logger.removeHandler(self.handler)
        self.handler.flush(2)
        self.handler.close()


def identity(stats):
    return stats.delivered + stats.rejected + stats.dropped + stats.pending


@pytest.fixture
def server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def connect(server):
    wires = []

    def open_wire(kind="generic", **settings):
        wires.append(Wire(server, kind, settings))
        return wires[-1]

    yield open_wire
    server.restore()
    for wire in wires:
        wire.close()
    for wire in wires:
        stats = wire.handler.stats()
        assert stats.accepted == identity(stats)


@pytest.fixture
def other_server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def late_server():
    """A port that refuses connections, and a function that opens it; open at the end in any case."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    opened = []

    def open_late():
        opened.append(Server(port))
        return opened[-1]

    yield port, open_late
    for server in opened:
        server.stop()


SOURCE = str(Path(defender_logging.__file__).parents[1])


@pytest.fixture
def run_script():
    """Run Python code, the package importable, in a process of its own; what came of it."""

    def run(code, **environ):
        return subprocess.run(
            [sys.executable, "-X", "dev", "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, "PYTHONPATH": SOURCE, **environ},
            check=False,
        )

    return run


@pytest.fixture
def restored_logging():
    """Undo what dictConfig does to the process: handlers that it made, and those that it closed."""
    root, before = logging.getLogger(), list(logging.getLogger().handlers)
    level = root.level
    yield
    for logger in [
        root,
        *(each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)),
    ]:
        for handler in list(logger.handlers):
            if type(handler).__module__.startswith("defender_logging"):
                logger.removeHandler(handler)
                handler.close()
    root.handlers[:] = before
    root.setLevel(level)
