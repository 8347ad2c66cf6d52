"""Read HTTP/1.1 requests out of a stream of bytes, and write responses as bytes.

A connection feeds ``RequestReader`` from its socket and sends what ``render`` returns. Knows no vendor and no
socket; every length is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

from defender_logging.testing.exchange import Response

MAX_HEAD_BYTES = 65_536
_RECEIVE_BYTES = 262_144
_NO_BODY_BELOW = 200
_NO_BODY = frozenset({204, 304})


class BadRequestError(ValueError):
    """The bytes are no request that can be served; ``status`` is the answer to that."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class ConnectionEndedError(ConnectionError):
    """The client went away in the middle of a request."""


class Head(NamedTuple):
    """Request line and headers of one request."""

    method: str
    target: str
    is_http_1_1: bool
    headers: tuple[tuple[str, str], ...]

    def tokens(self, name: str) -> list[str]:
        """The comma-separated words of all headers ``name`` (lower case), in lower case."""
        values = (value for key, value in self.headers if key.lower() == name)
        return [token.strip().lower() for value in values for token in value.split(",")]

    @property
    def keeps_alive(self) -> bool:
        """Whether the client means to send more on this connection."""
        if self.is_http_1_1:
            return "close" not in self.tokens("connection")
        return "keep-alive" in self.tokens("connection")


class RequestReader:
    """Cuts a stream into heads and bodies.

    Args:
        receive: takes a number of bytes, returns at most that many, none at the end of the stream.
        max_body_bytes: a longer body is a ``BadRequestError``.
    """

    def __init__(self, receive: Callable[[int], bytes], *, max_body_bytes: int) -> None:
        self._receive = receive
        self._max_body_bytes = max_body_bytes
        self._buffer = bytearray()

    def has_more(self) -> bool:
        """Block until the next request begins; False when the client closes instead."""
        return bool(self._buffer) or self._fill()

    def read_head(self) -> Head:
        """Read up to the blank line."""
        lines = self._take_through(b"\r\n\r\n").decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004 - because a request line has 3 words
            raise BadRequestError(400, "the request line is not METHOD TARGET HTTP/1.1")
        headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or name != name.strip():
                raise BadRequestError(400, "a header line is not NAME: VALUE")
            headers.append((name, value.strip()))
        return Head(words[0], words[1], words[2] == "HTTP/1.1", tuple(headers))

    def read_body(self, head: Head) -> bytes:
        """Read the body that ``head`` announces."""
        if head.tokens("transfer-encoding") == ["chunked"]:
            return self._read_chunks()
        lengths = head.tokens("content-length") or ["0"]
        if len(set(lengths)) != 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
            raise BadRequestError(400, "Content-Length is not one whole number")
        return self._take(self._checked(int(lengths[0])))

    def _read_chunks(self) -> bytes:
        """Read a chunked body and its trailers."""
        body = bytearray()
        while True:
            size_text = self._take_through(b"\r\n").partition(b";")[0].strip()
            try:
                size = int(size_text, 16)
            except ValueError as error:
                raise BadRequestError(400, "a chunk size is not a hexadecimal number") from error
            self._checked(len(body) + size)
            if size == 0:
                break
            body += self._take(size)
            self._take_through(b"\r\n")
        while self._take_through(b"\r\n"):
            pass
        return bytes(body)

    def _checked(self, length: int) -> int:
        """Return a length that is within the bound."""
        if not 0 <= length <= self._max_body_bytes:
            raise BadRequestError(413, f"the body has more than {self._max_body_bytes} bytes")
        return length

    def _take_through(self, mark: bytes) -> bytes:
        """Read up to ``mark``, which is left out."""
        start = 0
        while (end := self._buffer.find(mark, start)) < 0:
            start = max(0, len(self._buffer) - len(mark))
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise BadRequestError(431, f"the head has more than {MAX_HEAD_BYTES} bytes")
            self._fill_or_fail()
        found = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return found

    def _take(self, count: int) -> bytes:
        """Read exactly ``count`` bytes."""
        while len(self._buffer) < count:
            self._fill_or_fail()
        found = bytes(self._buffer[:count])
        del self._buffer[:count]
        return found

    def _fill_or_fail(self) -> None:
        """Receive more of a request that has begun."""
        if not self._fill():
            raise ConnectionEndedError("the client closed the connection in the middle of a request")

    def _fill(self) -> bool:
        """Receive once; False at the end of the stream."""
        data = self._receive(_RECEIVE_BYTES)
        self._buffer += data
        return bool(data)


def render(response: Response, *, method: str, is_last: bool) -> tuple[bytes, bytes]:
    """Return head and body of a response as bytes.

    ``Content-Length`` is written unless the response has one, so a wrong one can be scripted.
    """
    has_body = response.status >= _NO_BODY_BELOW and response.status not in _NO_BODY
    lines = [f"HTTP/1.1 {response.status} {_phrase(response.status)}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    if has_body and not response.header_values("content-length"):
        lines.append(f"content-length: {len(response.body)}")
    if is_last:
        lines.append("connection: close")
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head, response.body if has_body and method != "HEAD" else b""


def _phrase(status: int) -> str:
    """The usual words for a status; none for a status that nobody has named."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
