"""Any endpoint that takes an API key: bodies, headers, answers, redirects, connections."""

from __future__ import annotations

import json
import logging
import logging.config

import pytest


def log(wire, count):
    for number in range(count):
        wire.logger.info("m%d", number)


def test_a_json_array(connect, server):
    """The default body."""
    wire = connect(flush_interval_seconds=30)
    log(wire, 3)
    assert wire.flush()
    request = server.requests[0]

    assert list is type(json.loads(request.body))
    assert ["m0", "m1", "m2"] == [entry["message"] for entry in json.loads(request.body)]
    assert "application/json" == request.header("Content-Type").split(";")[0]
    assert "POST" == request.method


def test_one_entry_is_an_array_too(connect, server):
    """One shape."""
    connect().entry("x")

    assert list is type(json.loads(server.requests[0].body))


def test_ndjson(connect, server):
    """One JSON object a line."""
    wire = connect(body="ndjson", flush_interval_seconds=30)
    log(wire, 3)
    assert wire.flush()
    lines = server.requests[0].body.rstrip(b"\n").split(b"\n")

    assert ["m0", "m1", "m2"] == [json.loads(line)["message"] for line in lines]
    assert "ndjson" in server.requests[0].header("Content-Type")


def test_any_header_carries_the_key_as_it_is(connect, server):
    """No prefix of ours."""
    connect(api_header_name="X-My-Key", api_key="Bearer abc").entry("x")

    assert "Bearer abc" == server.requests[0].header("X-My-Key")
    assert server.requests[0].header("Authorization") is None


def test_headers_are_sent(connect, server, monkeypatch):
    """`headers`, and secrets in them from the environment."""
    monkeypatch.setenv("CONTRACT_HEADER", "from-env")
    connect(headers={"X-Team": "core", "X-Second": "env:CONTRACT_HEADER"}).entry("x")

    assert ("core", "from-env") == (
        server.requests[0].header("X-Team"),
        server.requests[0].header("X-Second"),
    )


def test_the_path_and_query_of_the_url_are_kept(connect, server):
    """All logs are forwarded to this URL."""
    connect(url=server.url + "/a/b%20c?x=1&y=%2F").entry("x")

    assert "/a/b%20c?x=1&y=%2F" == server.requests[0].target


@pytest.mark.parametrize(
    ("status", "body"), [(200, b""), (200, {"ok": 1}), (201, b""), (202, {}), (204, b"")]
)
def test_statuses_that_deliver(connect, server, status, body):
    """The four."""
    wire = connect()
    server.script(server.Reply(status, body))
    wire.entry("x")

    assert 1 == len(server.requests)


@pytest.mark.parametrize("status", [203, 205, 206, 207, 260, 299, 408, 425, 429, 500, 502, 503, 504, 507])
def test_statuses_that_are_tried_again(connect, server, status):
    """Loki's 260 is no success."""
    wire = connect()
    server.script(server.Reply(status, takes=False))
    wire.entry("x")

    assert 2 == len(server.requests)
    assert 0 == wire.handler.stats().rejected


@pytest.mark.parametrize(
    "status", [401, 403, 404, 402, 405, 407, 410, 418, 451, 300, 301, 302, 303, 307, 308]
)
def test_statuses_that_hold(connect, server, other_server, status):
    """Kept; no redirect is followed, and no other host sees the key."""
    wire = connect(api_header_name="X-Key", api_key="k", hold_retry_seconds=0.5)
    server.script(server.Reply(status, b"", {"Location": other_server.url + "/trap"}))
    wire.logger.info("x")
    assert wire.until(lambda stats: stats.state == "held"), wire.handler.stats()
    assert wire.flush(5)

    assert ["x"] == [entry["message"] for entry in server.entries]
    assert [] == other_server.requests
    assert all(request.path == "/logs" for request in server.requests)


@pytest.mark.parametrize("status", [400, 406, 413, 415, 422])
def test_statuses_that_split(connect, server, status):
    """Down to the bad entry."""
    wire = connect(flush_interval_seconds=30)
    server.always(
        lambda request: (
            server.Reply(status)
            if any(entry["message"] == "m0" for entry in request.entries)
            else server.Reply(200)
        )
    )
    log(wire, 5)
    assert wire.flush()

    assert ["m1", "m2", "m3", "m4"] == [entry["message"] for entry in server.entries]
    assert 1 == wire.handler.stats().rejected


def test_a_connection_is_used_again(connect, server):
    """And one that the server closed while idle costs nothing but a new connection."""
    wire = connect()
    for _ in range(3):
        wire.entry("x")

    assert [entry["seq"] for entry in server.entries] == [1, 2, 3]
    assert (3, 0) == (wire.handler.stats().requests, wire.handler.stats().retries)


def test_an_ambiguous_answer_is_sent_again_with_the_same_ids(connect, server):
    """Reset after the body was read: a duplicate is possible, and counted so."""
    wire = connect(flush_interval_seconds=30)
    server.script(server.Reply(cut=True))
    log(wire, 3)
    assert wire.flush()
    first, *_, last = server.requests

    assert [entry["id"] for entry in first.entries] == [entry["id"] for entry in last.entries]
    assert ["m0", "m1", "m2"] == [entry["message"] for entry in server.entries]
    assert wire.handler.stats().duplicates_possible >= 3


def test_no_duplicates_after_a_clean_refusal(connect, server):
    """A 503 with its answer read is not counted as a possible duplicate."""
    wire = connect()
    server.script(server.Reply(429), server.Reply(429))
    wire.entry("x")

    assert 0 == wire.handler.stats().duplicates_possible


def test_max_batch_entries_and_order(connect, server):
    """Batches by count, in order."""
    wire = connect(max_batch_entries=7, flush_interval_seconds=30)
    log(wire, 50)
    assert wire.flush()

    assert max(len(request.entries) for request in server.requests) <= 7
    assert [f"m{number}" for number in range(50)] == [entry["message"] for entry in server.entries]


def test_max_batch_bytes_is_before_compression(connect, server):
    """Framing included."""
    wire = connect(max_batch_bytes=5000, flush_interval_seconds=30)
    for _ in range(50):
        wire.logger.info("x" * 500)
    assert wire.flush()

    assert max(len(request.body) for request in server.requests) <= 5000
    assert 50 == len(server.entries)


def test_an_entry_waits_for_company_only_so_long(connect, server):
    """`flush_interval_seconds`, without any flush."""
    wire = connect(flush_interval_seconds=0.05)
    wire.logger.info("x")

    assert server.wait(entries=1, seconds=5)


def test_compression_none(connect, server):
    """Plain bytes."""
    connect(compression="none").entry("x")

    assert server.requests[0].header("Content-Encoding") in {None, "identity"}
    assert server.requests[0].sent == server.requests[0].body


def test_a_total_deadline_for_the_answer(connect, server):
    """`request_timeout_seconds`; a black hole is left and tried again."""
    import threading

    wire = connect(request_timeout_seconds=0.3)
    server.script(server.Reply(gate=threading.Event(), takes=False))
    wire.logger.info("x")
    assert server.wait(requests=2, seconds=5)
    assert wire.flush(5)

    assert 1 == wire.handler.stats().delivered


@pytest.fixture
def tls():
    """The shipped receiver with a certificate of its own: only it can speak TLS here."""
    pytest.importorskip("trustme")
    from defender_logging.testing import LocalReceiver

    with LocalReceiver(tls=True) as receiver:
        yield receiver


def test_tls_with_a_ca_file(connect, tls):
    """A certificate that the file vouches for."""
    wire = connect(url=tls.generic_url, ca_file=tls.ca_file)
    wire.logger.info("x")
    assert wire.flush(5)

    assert ["x"] == [entry["message"] for entry in tls.entries]


@pytest.mark.parametrize(
    "form", [str.lower, str.upper, lambda pin: ":".join(pin[at : at + 2] for at in range(0, 64, 2))]
)
def test_tls_with_a_pin(connect, tls, form):
    """A matching pin replaces CA and name checks."""
    wire = connect(
        url=tls.generic_url.replace("127.0.0.1", "localhost"), server_fingerprint=form(tls.fingerprint)
    )
    wire.logger.info("x")
    assert wire.flush(5)

    assert 1 == len(tls.entries)


@pytest.mark.parametrize(
    "settings", ["{}", "{'server_fingerprint': 'ab' * 32}"], ids=["unknown CA", "wrong pin"]
)
def test_tls_that_cannot_be_verified_sends_nothing(tls, run_script, settings):
    """Never unverified; kept, and told. In a process of its own, because what is kept is tried until the end."""
    code = f"""
import logging, threading
from defender_logging import ApiKeyHandler
handler = ApiKeyHandler(url="{tls.generic_url}", shutdown_timeout_seconds=0, retry_initial_seconds=0.05, **{settings})
handler.handle(logging.makeLogRecord({{"msg": "x", "levelno": 30}}))
handler.flush(1)
stats = handler.stats()
is_waiting = stats.state in {{"held", "retrying"}}
print(is_waiting, bool(stats.last_error), stats.pending, stats.delivered, stats.duplicates_possible)
"""
    done = run_script(code)

    assert "True True 1 0 0" == done.stdout.strip(), done.stderr
    assert [] == tls.requests


def test_through_a_proxy(connect, other_server):
    """The proxy gets the request and its own credentials; the name of the other host is its to look up."""
    wire = connect(
        url="http://logs.invalid/x",
        allow_plaintext=True,
        proxy_url=f"http://user:pw@127.0.0.1:{other_server.port}",
        flush_interval_seconds=0.01,
    )
    wire.logger.info("x")
    assert other_server.wait(requests=1, seconds=5)
    request = other_server.requests[0]

    assert request.method in {"CONNECT", "POST"}
    assert "logs.invalid" in request.target
    assert "Basic dXNlcjpwdw==" == request.header("Proxy-Authorization")


def test_through_dict_config_with_a_formatter(server, restored_logging):
    """One handler block, `class:`, `level`, `filters` and `formatter` of the standard library."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"short": {"format": "%(levelname)s %(message)s"}},
            "handlers": {
                "trail": {
                    "class": "defender_logging.ApiKeyHandler", "url": server.url + "/in", "api_header_name": "X-Key",
                    "api_key": "k",
                    "level": "INFO", "formatter": "short", "log_types": ["relay"], "flush_interval_seconds": 0.01,
                    "vocabulary": {"components": ["billing"]},
                },
                "splunk": {"class": "defender_logging.SplunkHandler", "url": server.url, "api_key": "t"},
                "datadog": {"class": "defender_logging.DatadogHandler", "url": server.url + "/api/v2/logs",
                "api_key": "t"},
            },
            "loggers": {"contract.dict": {"handlers": ["trail", "splunk", "datadog"], "level": "DEBUG",
            "propagate": False}},
        }
    )  # fmt: skip
    logger = logging.getLogger("contract.dict")
    logger.info("hello", extra={"component": "relay"})
    logger.info("other", extra={"component": "admin"})
    names = [handler.name for handler in logger.handlers]
    assert all(handler.flush(5) for handler in logger.handlers)
    by_path = {}
    for request in server.requests:
        by_path.setdefault(request.path, []).extend(entry["message"] for entry in request.entries)

    assert ["trail", "splunk", "datadog"] == names
    assert {
        "/in": ["INFO hello"],
        "/services/collector/event": ["hello", "other"],
        "/api/v2/logs": ["hello", "other"],
    } == by_path


def test_file_config(server, tmp_path, restored_logging):
    """INI files can make the handlers as well."""
    path = tmp_path / "logging.ini"
    path.write_text(
        f"""[loggers]
keys=root,app
[handlers]
keys=trail
[formatters]
keys=
[logger_root]
level=WARNING
handlers=
[logger_app]
level=INFO
handlers=trail
propagate=0
qualname=contract.ini
[handler_trail]
class=defender_logging.ApiKeyHandler
level=INFO
args=()
kwargs={{'url': '{server.url}/ini', 'flush_interval_seconds': 0.01}}
"""
    )
    logging.config.fileConfig(path, disable_existing_loggers=False)
    logger = logging.getLogger("contract.ini")
    logger.info("from ini")

    assert logger.handlers[0].flush(5)
    assert ["from ini"] == [entry["message"] for entry in server.entries]
