"""A transport whose answers are given beforehand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from defender_logging._pipeline.wire import TransportError, WireRequest
from defender_logging.destinations.base import Response
from defender_logging.testing import FakeTransport

REQUEST = WireRequest("/a", {}, b"body")


def test_answers_are_used_up_in_order():
    """Responses are returned, exceptions raised, functions called; then ``then`` holds."""
    transport = FakeTransport(
        [Response(202), TransportError("gone"), lambda request: Response(200, (), request.body)],
        then=Response(503),
    )

    assert transport.send(REQUEST) == Response(202)
    with pytest.raises(TransportError, match="gone"):
        transport.send(REQUEST)
    assert transport.unused_answers == 1
    assert [Response(200, (), b"body"), Response(503), Response(503)] == [
        transport.send(REQUEST) for _ in range(3)
    ]
    assert transport.requests == [REQUEST] * 5


def test_a_request_too_many_is_an_assertion_error():
    """Without ``then`` the request after the last answer fails the test."""
    with pytest.raises(AssertionError, match="request 1"):
        FakeTransport().send(REQUEST)


def test_key_changes_are_counted():
    """The key changes as often as was said."""
    transport = FakeTransport(key_changes=2)

    assert [transport.refresh_key() for _ in range(4)] == [True, True, False, False]


def test_the_key_is_hidden():
    """A text that quotes the key is masked; without a key it stays as it is."""
    assert FakeTransport(key="secret").mask("no secret here") == "no *** here"
    assert FakeTransport().mask("text") == "text"


def test_requests_can_be_waited_for():
    """A test waits for a request of another thread, and the wait is bounded."""
    transport = FakeTransport(then=Response(200))
    with ThreadPoolExecutor() as pool:
        sent = pool.submit(transport.wait_for, requests=1, timeout_seconds=10)
        transport.send(REQUEST)

        assert sent.result(timeout=10) is True
    assert transport.wait_for(requests=2, timeout_seconds=0) is False


def test_close_and_abandon_are_remembered():
    """A test sees whether the connection was closed, or let go of in a child."""
    transport = FakeTransport()
    assert (transport.is_closed, transport.is_abandoned) == (False, False)
    transport.close()
    assert (transport.is_closed, transport.is_abandoned) == (True, False)
    transport.abandon()
    assert (transport.is_closed, transport.is_abandoned) == (True, True)
