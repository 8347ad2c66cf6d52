"""The key reaches one host alone: no redirect is followed, and through a proxy it goes inside the tunnel."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from defender_logging import ApiKeyHandler, DatadogHandler, SplunkHandler
from defender_logging.testing import Answer, LocalReceiver, make_certificate

WAIT_SECONDS = 20
KEY = "s3cr3t-k3y-0123456789"
HANDLERS = {
    "splunk": (SplunkHandler, {"api_key": KEY}, "/services/collector/event"),
    "datadog": (DatadogHandler, {"api_key": KEY}, "/api/v2/logs"),
    "generic": (ApiKeyHandler, {"api_key": KEY, "api_header_name": "X-Key"}, "/logs"),
}
QUICK = {"flush_interval_seconds": 0, "hold_retry_seconds": 0.1, "shutdown_timeout_seconds": 0.1}


@pytest.fixture
def log():
    """Log one line to a handler, which ends with the test."""
    handlers = []

    def log_to(handler):
        handlers.append(handler)
        handler.handle(logging.makeLogRecord({"msg": "paused", "levelno": 20, "name": "tests.hosts"}))
        return handler

    yield log_to
    for handler in handlers:
        handler.close()


def until(condition):
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come"
        threading.Event().wait(0.02)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", list(HANDLERS))
def test_a_redirect_leads_to_no_other_host(log, kind, status):
    """The trap under another host name sees not one request; the entry is held, then goes to the right host."""
    handler_class, given, path = HANDLERS[kind]
    with LocalReceiver(host="127.0.0.1") as receiver, LocalReceiver(host="127.0.0.1") as trap:
        receiver.script(
            *[Answer(status=status, headers={"Location": f"http://localhost:{trap.port}{path}"})] * 500
        )
        handler = log(handler_class(url=receiver.url + path, **given, **QUICK))
        until(lambda: handler.stats().state == "held")
        assert str(status) in handler.stats().last_error
        receiver.restore()
        assert handler.flush(WAIT_SECONDS)

        assert 1 == handler.stats().delivered
        assert [] == trap.requests


@pytest.mark.parametrize("source", ["proxy_url", "environment"])
def test_through_a_proxy_the_key_goes_inside_the_tunnel(log, connect_proxy, monkeypatch, tmp_path, source):
    """The proxy reads host and port, and its own password; key and entry are encrypted up to the receiver."""
    proxy_url, heads, _ = connect_proxy
    proxy_url = proxy_url.replace("//", "//me:pass@")
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    if source == "environment":
        monkeypatch.setenv("HTTPS_PROXY", proxy_url)
    given = {"proxy_url": proxy_url} if source == "proxy_url" else {}
    with LocalReceiver(tls=make_certificate(tmp_path, names=("logs.example.test",))) as receiver:
        for handler_class, key, path in HANDLERS.values():
            url = f"https://logs.example.test:{receiver.port}{path}"
            handler = log(handler_class(url=url, ca_file=receiver.ca_file, **key, **given, **QUICK))
            assert handler.flush(WAIT_SECONDS), handler.stats()

        assert 3 == len(receiver.entries)
        assert all(KEY in str(request.headers) for request in receiver.requests)
    assert 3 == len(heads)
    for head in heads:
        assert head.startswith(f"CONNECT logs.example.test:{receiver.port} ")
        assert "Proxy-Authorization: Basic bWU6cGFzcw==" in head
        assert KEY not in head
