"""What is measured: the floors, and our handlers with their settings; the peers are in ``peers``.

A subject is one way to get rid of a record. It is made inside the measured process, which hands it to ``measures``.
"""

from __future__ import annotations

import gzip
import http.client
import json
import logging
import logging.handlers
import os
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.workload import LOGGER_NAME, Call, calls_to, debug_calls_to, ideal_entry, stamped_calls_to

__all__ = ["DRAIN_SECONDS", "Subject", "Wish", "logging_subject", "make"]

DRAIN_SECONDS = 60.0
"""The longest wait for a handler to get rid of what it has: more than any run needs, less than its process gets."""

_SYNC_SECONDS = 0.5
"""As often as a spool with ``fsync: interval``."""

_IDEAL_BATCH_ENTRIES = 1000
_IDEAL_GZIP_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Wish:
    """What a subject is to be made of.

    Args:
        subject: its name, such as ``ours:splunk`` or ``queue``.
        url: of the sink, without a path.
        style: ``plain`` calls, ``stamped`` ones, or ``debug`` ones that are not to be forwarded.
        settings: for the handler.
    """

    subject: str
    url: str
    style: str = "plain"
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subject:
    """One way to get rid of a record.

    Args:
        call: makes one log call.
        drain: waits until what was logged so far is gone, as well as the subject can.
        finish: delivers the rest and ends, as its documentation asks.
        stats: our handler's own account.
    """

    call: Call
    drain: Callable[[], None]
    finish: Callable[[], None]
    stats: Callable[[], dict[str, Any]] = dict


def _nothing() -> None:
    """Nothing to wait for."""


_CALLS = {"plain": calls_to, "stamped": stamped_calls_to, "debug": debug_calls_to}


def logging_subject(
    wish: Wish,
    *handlers: logging.Handler,
    drain: Callable[[], None] = _nothing,
    finish: Callable[[], None] = _nothing,
    stats: Callable[[], dict[str, Any]] = dict,
) -> Subject:
    """A subject whose calls go to one logger with these handlers."""
    logger = logging.getLogger(LOGGER_NAME)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    for handler in handlers:
        logger.addHandler(handler)
    return Subject(_CALLS[wish.style](logger), drain, finish, stats)


# The floors.


def _null(wish: Wish) -> Subject:
    """Logging alone."""
    return logging_subject(wish, logging.NullHandler())


class _Quiet(logging.Handler):
    """Does nothing with what its filters let through; ``NullHandler`` would not even ask them."""

    def emit(self, record: logging.LogRecord) -> None:
        pass


def _filter(wish: Wish) -> Subject:
    """A handler that does nothing, with a filter of one line."""
    handler = _Quiet()
    handler.addFilter(lambda record: record.levelno >= logging.INFO)
    return logging_subject(wish, handler)


def _queue(wish: Wish) -> Subject:
    """The standard library's ``QueueHandler`` onto a ``SimpleQueue`` that nobody reads meanwhile."""
    simple: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def drain() -> None:
        while not simple.empty():
            simple.get_nowait()

    return logging_subject(wish, logging.handlers.QueueHandler(simple), drain=drain)


def _write(wish: Wish, sync_seconds: float | None = None) -> Subject:
    """A bare ``os.write`` of one line to a file, no logging; the file may be synced by another thread."""
    descriptor = os.open(
        Path(wish.settings["spool_dir"], "bare"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
    )
    line = json.dumps(ideal_entry(0)).encode() + b"\n"

    def call(_number: int) -> None:
        os.write(descriptor, line)

    is_over = threading.Event()

    def sync() -> None:
        while not is_over.wait(sync_seconds):
            os.fdatasync(descriptor)

    syncing = threading.Thread(target=sync)
    if sync_seconds is not None:
        syncing.start()

    def finish() -> None:
        is_over.set()
        if sync_seconds is not None:
            syncing.join()
        os.close(descriptor)

    return Subject(call, _nothing, finish)


def _ideal(wish: Wish) -> Subject:
    """Encode the entry, join, compress, POST; no logging, no thread, no account."""
    encode, squeeze = _ideal_encoder(), _ideal_compressor()
    connection = http.client.HTTPConnection(urlsplit(wish.url).netloc)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    lines: list[bytes] = []

    def post() -> None:
        if lines:
            connection.request("POST", "/", squeeze(b"[" + b"".join(lines)[:-1] + b"]"), headers)
            connection.getresponse().read()
            lines.clear()

    def call(number: int) -> None:
        # With the comma it is a copy: what orjson returns holds several KiB for as long as it is kept, and the page
        # faults of that cost more than the encoding (measured with 3.13).
        lines.append(encode(ideal_entry(number)) + b",")
        if len(lines) == _IDEAL_BATCH_ENTRIES:
            post()

    def finish() -> None:
        post()
        connection.close()

    return Subject(call, post, finish)


def _ideal_encoder() -> Callable[[Any], bytes]:
    try:
        import orjson
    except ImportError:  # Hidden, to measure the standard library.
        encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
        return lambda value: encode(value).encode()
    dumps: Callable[[Any], bytes] = orjson.dumps
    return dumps


def _ideal_compressor() -> Callable[[bytes], bytes]:
    try:
        from isal import igzip
    except ImportError:
        return lambda body: gzip.compress(body, _IDEAL_GZIP_LEVEL)
    return lambda body: igzip.compress(body, _IDEAL_GZIP_LEVEL)


# Ours. Imported where it is used: the peers' environment does not have the package.


def _ours(wish: Wish) -> Subject:
    from defender_logging import ApiKeyHandler, DatadogHandler, SplunkHandler, flush_all

    kinds: dict[str, Callable[[], logging.Handler]] = {
        "generic": lambda: ApiKeyHandler(url=f"{wish.url}/", **wish.settings),
        "splunk": lambda: SplunkHandler(url=wish.url, api_key="a-token", **wish.settings),
        "datadog": lambda: DatadogHandler(url=wish.url, api_key="a-key", **wish.settings),
    }
    name = wish.subject.partition(":")[2]
    handlers: list[Any] = [kinds[kind]() for kind in (kinds if name == "three" else [name])]

    def drain() -> None:
        flush_all(DRAIN_SECONDS)

    def finish() -> None:
        drain()
        for handler in handlers:
            handler.close()

    def stats() -> dict[str, Any]:
        first = handlers[0].stats()
        names = ("accepted", "delivered", "rejected", "dropped", "pending", "filtered", "queue_bytes")
        return {name: getattr(first, name) for name in names}

    return logging_subject(wish, *handlers, drain=drain, finish=finish, stats=stats)


def _part(wish: Wish) -> Subject:
    """Our handler, of which a record goes a part of its way only: to be selected, or to be encoded as well."""
    from defender_logging import ApiKeyHandler

    def go_no_further(_: object) -> None:
        pass

    handler: Any = ApiKeyHandler(url=f"{wish.url}/", **wish.settings)
    if wish.subject == "part:selected":
        handler.emit = go_no_further
    else:
        handler._queue_handler.enqueue = go_no_further  # noqa: SLF001 - there is no public way to cut it in two
    return logging_subject(wish, handler, finish=handler.close)


_FLOORS: dict[str, Callable[[Wish], Subject]] = {
    "null": _null,
    "filter": _filter,
    "queue": _queue,
    "write": _write,
    "write:synced": partial(_write, sync_seconds=_SYNC_SECONDS),
    "ideal": _ideal,
}


def make(wish: Wish) -> Subject:
    """Make the subject that a wish names, in this process."""
    if wish.subject.startswith("ours:"):
        return _ours(wish)
    if wish.subject.startswith("part:"):
        return _part(wish)
    if wish.subject.startswith("peer:"):
        from benchmarks import peers

        return peers.make(wish)
    return _FLOORS[wish.subject](wish)
