"""What a handler must not do at its edges: race its own start, break a traceback, show what a receiver quotes."""

from __future__ import annotations

import io
import logging
import sys
import traceback

import pytest

from defender_logging import ApiKeyHandler, ConfigurationError, SplunkHandler
from defender_logging.destinations.base import Response
from defender_logging.testing import Answer, FakeTransport, LocalReceiver

KEY = "s3cr3t-k3y-0123456789"
OK = Response(200, (), b"{}")


def record(message="paused"):
    return logging.LogRecord("app", logging.INFO, __file__, 1, message, None, None)


def test_a_key_at_the_cut_of_a_long_answer_is_masked_too():
    """The receiver's words are masked before they are shortened."""
    with LocalReceiver() as receiver:
        receiver.always(Answer(status=404, body="x" * 190 + KEY))
        handler = ApiKeyHandler(
            url=receiver.url, api_header_name="X-Key", api_key=KEY, flush_interval_seconds=0
        )
        handler.handle(record())
        handler.flush(0.2)
        shown = handler.stats().last_error

    assert "xxx***" in shown
    assert KEY[:6] not in shown


def test_a_batch_that_splunk_cloud_would_refuse_is_told_of(caplog):
    """Above 5,242,880 bytes there is one warning, at the first record."""
    handler = SplunkHandler(url="https://splunk.example", api_key=KEY, max_batch_bytes=6_000_000)
    handler._make_transport = lambda: FakeTransport(then=Response(200, (), b'{"code":0}'))
    handler.handle(record())
    handler.handle(record())

    assert ["6000000" in line for line in caplog.messages] == [True]


class ClosedWhileStarting(ApiKeyHandler):
    """Is closed by somebody else between its first record and the end of its start."""

    def _make_transport(self):
        self.close()
        return FakeTransport(then=OK)


def test_a_close_during_the_start_is_not_forgotten():
    """No open pipeline is left on a closed handler."""
    handler = ClosedWhileStarting(url="https://logs.example/in")
    handler.handle(record())
    stats = handler.stats()

    assert ("closed", 1, {"closed": 1}) == (stats.state, stats.accepted, dict(stats.dropped_by_reason))


def test_a_handler_without_settings_can_be_printed():
    """Error trackers print the locals of every frame, a half-made handler among them."""
    with pytest.raises(ConfigurationError) as caught:
        SplunkHandler(url="nonsense")
    printed = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())

    assert "SplunkHandler" in printed


def test_no_frame_of_ours_shows_a_literal_key():
    """The locals of the frames that a configuration error went through do not have it."""
    with pytest.raises(ConfigurationError) as caught:
        SplunkHandler(url="nonsense", api_key=KEY)
    frames = list(traceback.walk_tb(caught.value.__traceback__))[1:]

    assert len(frames) >= 3
    assert [] == [name for frame, _ in frames for name, value in frame.f_locals.items() if KEY in repr(value)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"target": "/hook/S3CRETPATH?token=S3CRETQUERY"}, "The URL /hook/S3CRETPATH was not found"),
        ({"headers": {"X-Token": KEY}}, f"token {KEY} is unknown"),
        ({"api_header_name": "X-Key", "api_key": KEY}, f"key {KEY} is unknown"),
    ],
)
def test_what_a_receiver_quotes_is_masked(given, words):
    """Path, headers and key never come back into last_error through a receiver's own words."""
    with LocalReceiver() as receiver:
        receiver.always(Answer(status=404, body=words))
        url = receiver.url + given.pop("target", "/in")
        handler = ApiKeyHandler(url=url, flush_interval_seconds=0, shutdown_timeout_seconds=0, **given)
        handler.handle(record())
        assert receiver.wait_for(requests=1)
        assert not handler.flush(0.2)
        shown = handler.stats().last_error + repr(handler)
        receiver.restore()
        handler.flush(10)
        handler.close()

    assert "***" in shown
    assert KEY not in shown
    assert "S3CRETPATH" not in shown


def test_a_closed_stderr_lets_no_error_out(monkeypatch):
    """A daemon has none; what cannot be told is not raised into the caller either."""
    handler = SplunkHandler(url="https://splunk.example", api_key=KEY)
    handler.addFilter(lambda _: 1 / 0)
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)

    assert handler.handle(record()) is False


def test_a_default_component_is_selected_by():
    """An entry that goes out with a component passes the selection with it."""
    settings = {"url": "https://splunk.example", "api_key": KEY, "log_types": ["relay"]}
    handlers = [
        SplunkHandler(**settings, static_fields={"component": word})
        for word in ("relay", "relayers", "admin")
    ]
    for handler in handlers:
        handler._make_transport = lambda: FakeTransport(then=Response(200, (), b'{"code":0}'))

    assert [True, True, False] == [handler.handle(record()) for handler in handlers]


def test_orphans_of_another_tenant_s_headers_are_not_adopted(tmp_path):
    """The headers of a generic endpoint belong to the identity on the disk too."""

    def digest(**given):
        handler = ApiKeyHandler(url="https://logs.example/in", spool_dir=str(tmp_path / "spool"), **given)
        return handler._spool_identity().seal(b"salt" * 8).digest

    one = digest(headers={"X-Tenant": "a"})
    assert one == digest(headers={"x-tenant": "a"})
    assert 3 == len({one, digest(headers={"X-Tenant": "b"}), digest()})
