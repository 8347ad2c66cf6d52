"""The plain endpoint that the local receiver plays."""

from __future__ import annotations

import gzip

import pytest

from defender_logging.testing.exchange import ReceivedRequest
from defender_logging.testing.generic import GenericSettings, judge_generic


def judge(body, *, method="POST", settings=None, **headers):
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return judge_generic(ReceivedRequest(1, 1, method, "/in", pairs, body), settings or GenericSettings())


@pytest.mark.parametrize(
    ("body", "status", "values"),
    [
        (b'[{"id":"a"},{"id":"b"}]', 200, [{"id": "a"}, {"id": "b"}]),
        (b'{"id":"a"}\n{"id":"b"}\n', 200, [{"id": "a"}, {"id": "b"}]),
        (b'{"id":"a"}\r\n\r\n{"id":"b"}', 200, [{"id": "a"}, {"id": "b"}]),
        (b'{"id":"a"}\n', 200, [{"id": "a"}]),
        (b'{"id":\n"a"}', 200, [{"id": "a"}]),
        ('{"id":"a\u2028b"}\n{"id":"c"}'.encode(), 200, [{"id": "a\u2028b"}, {"id": "c"}]),
        (b"[]", 200, []),
        (b"", 400, []),
        (b" \n", 400, []),
        (b'{"id":"a"}{"id":"b"}', 400, []),
        (b'{"id":"a"}\n{"id":', 400, []),
        (b'{"id":"\xff"}', 400, []),
        (b"[Infinity]", 400, []),
    ],
)
def test_shapes(body, status, values):
    """An array, lines and a single object are told apart by content; what is none of them takes nothing."""
    outcome = judge(body)

    assert status == outcome.response.status
    assert values == [entry.fields for entry in outcome.entries]


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"X_Api_Key": ""}, 401), ({"X_Api_Key": "wrong"}, 403), ({"x_api_key": "Key one"}, 200)],
)
def test_key(headers, status):
    """With a key asked for, a missing one is 401, a wrong one 403."""
    settings = GenericSettings(header_name="X-Api-Key", header_values=["Key one"])

    assert status == judge(b"{}", settings=settings, **headers).response.status


@pytest.mark.parametrize(
    ("kind", "status"),
    [({"method": "PUT"}, 200), ({"method": "GET"}, 405), ({"Content_Encoding": "br"}, 415)],
)
def test_methods_and_encodings(kind, status):
    """POST and PUT are taken, unknown encodings are not."""
    assert status == judge(b"{}", **kind).response.status


@pytest.mark.parametrize(("size", "status"), [(100, 200), (101, 413)])
def test_size_counts_plain_bytes(size, status):
    """The limit holds for the plain body, however small it was made."""
    body = gzip.compress(b'"' + b"x" * (size - 2) + b'"')
    settings = GenericSettings(max_content_bytes=100)

    assert status == judge(body, settings=settings, Content_Encoding="gzip").response.status


def test_settings_show_no_key():
    """The repr of the settings holds no key."""
    assert "secret" not in repr(GenericSettings(header_values=["secret"]))
