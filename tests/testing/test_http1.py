"""Requests are cut out of a stream of bytes, whatever pieces it comes in."""

from __future__ import annotations

import pytest

from defender_logging.testing.exchange import Response
from defender_logging.testing.http1 import BadRequestError, ConnectionEndedError, RequestReader, render


def reader_of(data, piece=7, max_body_bytes=100):
    pieces = [data[start : start + piece] for start in range(0, len(data), piece)]
    return RequestReader(lambda _: pieces.pop(0) if pieces else b"", max_body_bytes=max_body_bytes)


@pytest.mark.parametrize("piece", [1, 2, 3, 1000])
def test_requests_in_any_pieces(piece):
    """Two requests on one stream are read the same in whatever pieces they come."""
    reader = reader_of(
        b"POST /a?b=c HTTP/1.1\r\nContent-Length: 3\r\nX-Y:  z \r\n\r\nabc"
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2;x=y\r\nde\r\n1\r\nf\r\n0\r\nTrailer: t\r\n\r\n"
        b"GET / HTTP/1.0\r\n\r\n",
        piece,
    )
    got = []
    while reader.has_more():
        head = reader.read_head()
        got.append((head.method, head.target, head.keeps_alive, reader.read_body(head)))

    assert got == [("POST", "/a?b=c", True, b"abc"), ("POST", "/", True, b"def"), ("GET", "/", False, b"")]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nbad : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 101\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 413),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n" + bytes(100) + b"\r\n1\r\n", 413),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000, 431),
    ],
)
def test_bad_requests(data, status):
    """What cannot be served has its status, and nothing is read without a bound."""
    reader = reader_of(data, 1000)

    with pytest.raises(BadRequestError) as caught:
        reader.read_body(reader.read_head())

    assert status == caught.value.status


@pytest.mark.parametrize("data", [b"GET / HTT", b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc"])
def test_a_client_that_leaves_early(data):
    """The end of the stream inside a request is told apart from the end between requests."""
    reader = reader_of(data)

    with pytest.raises(ConnectionEndedError):
        reader.read_body(reader.read_head())


@pytest.mark.parametrize(
    ("headers", "version", "keeps"),
    [
        (b"", b"1.1", True),
        (b"Connection: Keep-Alive\r\n", b"1.0", True),
        (b"Connection: x, Close\r\n", b"1.1", False),
        (b"", b"1.0", False),
    ],
)
def test_keep_alive(headers, version, keeps):
    """Versions and the Connection header decide whether more may follow."""
    assert keeps == reader_of(b"GET / HTTP/" + version + b"\r\n" + headers + b"\r\n").read_head().keeps_alive


@pytest.mark.parametrize(
    ("response", "options", "expected"),
    [
        (
            Response(200, (("a", "b"),), b"xy"),
            {"is_last": True},
            (b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 2\r\nconnection: close\r\n\r\n", b"xy"),
        ),
        (Response(204, (), b"xy"), {}, (b"HTTP/1.1 204 No Content\r\n\r\n", b"")),
        (Response(260), {}, (b"HTTP/1.1 260 \r\ncontent-length: 0\r\n\r\n", b"")),
        (
            Response(200, (("content-length", "9"),), b"x"),
            {},
            (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", b"x"),
        ),
        (
            Response(200, (), b"xy"),
            {"method": "HEAD"},
            (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b""),
        ),
    ],
)
def test_render(response, options, expected):
    """A response is written with its length, unless it has one of its own or may have no body."""
    assert expected == render(response, **{"method": "POST", "is_last": False, **options})
