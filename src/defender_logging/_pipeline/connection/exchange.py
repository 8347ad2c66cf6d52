"""One request and its response over one open connection, within one deadline.

The transport hands a ``WireRequest`` and its headers in, and gets the whole response, or an ``ExchangeError`` that
says whether the entries may have arrived. Guaranteed: every single read and write waits at most for what is left of the
deadline, so the whole exchange ends by then whatever the peer does; a response counts only when it is complete; at
most 64 KiB of it are read, and nothing is decompressed.

urllib3's connections are used without its pools, which log the request path at DEBUG, and a path can be a key. For
the same reason the response is read by ``http.client``: urllib3 logs the URL of one whose headers it cannot parse.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import urllib3.connection

from defender_logging._pipeline.connection.failures import TLS_CUT_SHORT, words_for
from defender_logging._pipeline.wire import WireRequest
from defender_logging.clock import SYSTEM_CLOCK
from defender_logging.destinations.base import Response

__all__ = ["Connection", "ExchangeError", "PlainConnection", "TlsConnection"]

MAX_RESPONSE_BYTES = 65_536
"""No receiver of protocols.md answers with more that matters; a peer must not fill our memory."""

_SEND_CHUNK_BYTES = 65_536
_READ_BYTES = 16_384


class ExchangeError(Exception):
    def __init__(
        self, reason: str, *, is_after_request: bool, is_before_response: bool, is_timeout: bool
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_after_request = is_after_request
        self.is_before_response = is_before_response
        self.is_timeout = is_timeout


class _DeadlineFile:
    """What ``http.client`` reads a response from; each system call waits at most until the deadline.

    Not an ``io.BufferedReader``: that one has a lock, and a process that forks while this thread holds it has
    a child that waits for ever when the object goes away.
    """

    closed = False

    def __init__(self, connection: Connection, sock: socket.socket) -> None:
        self._connection = connection
        self._sock = sock
        # A file of the socket rather than the socket: http.client closes the socket of a response that ends
        # the connection before it reads the body, and only a file keeps it open until then.
        self._file = sock.makefile("rb", buffering=0)
        self._buffered = b""

    def _fill(self) -> bool:
        self._sock.settimeout(self._connection.seconds_left())
        data = self._file.read(_READ_BYTES) or b""
        self._connection.has_read = self._connection.has_read or bool(data)
        self._buffered += data
        return bool(data)

    def _take(self, count: int) -> bytes:
        taken, self._buffered = self._buffered[:count], self._buffered[count:]
        return taken

    def readline(self, limit: int = -1) -> bytes:
        while b"\n" not in self._buffered and (limit < 0 or len(self._buffered) < limit):
            if not self._fill():
                if self._connection.has_read:
                    # http.client takes the end of the stream for the end of the headers.
                    raise http.client.IncompleteRead(self._buffered)
                break
        end = self._buffered.find(b"\n") + 1 or len(self._buffered)
        return self._take(end if limit < 0 else min(end, limit))

    def read(self, count: int = -1) -> bytes:
        while (count < 0 or len(self._buffered) < count) and self._fill():
            pass
        return self._take(len(self._buffered) if count < 0 else count)

    def flush(self) -> None:
        """Nothing is written here; ``http.client`` asks all the same."""

    def close(self) -> None:
        self.closed = True
        self._file.close()


class _Response(http.client.HTTPResponse):
    """A response whose reads keep to the deadline, the answer of a proxy to CONNECT included."""

    def __init__(self, sock: socket.socket, *args: Any, connection: Connection, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.connection = connection
        self.fp.close()
        self.fp = _DeadlineFile(connection, sock)  # type: ignore[assignment]  # has all that it is asked for

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        if self.connection.is_tunnelling:
            self.connection.proxy_status = status
        if HTTPStatus.CONTINUE <= status < HTTPStatus.OK and status != HTTPStatus.SWITCHING_PROTOCOLS:
            # http.client passes over 100 only; the answer to the request comes behind 102 and 103 as well, and left
            # unread it would be taken for that to the next request.
            status = http.client.CONTINUE
        return version, status, reason


class Connection(urllib3.connection.HTTPConnection):
    """What a plain and a TLS connection share: an exchange with a deadline."""

    request_timeout_seconds = 15.0
    deadline = 0.0
    has_read = False
    target_prefix = ""
    proxy_headers: Mapping[str, str] = MappingProxyType({})
    host_header = ""
    proxy_status: int | None = None
    is_tunnelling = False

    def seconds_left(self) -> float:
        """Seconds until the deadline, never 0, which would mean «do not block» to a socket."""
        left = self.deadline - SYSTEM_CLOCK.monotonic()
        if left <= 0:
            raise TimeoutError("deadline")
        return left

    def tls_version(self) -> str | None:
        """Return what TLS the open connection speaks; None if it speaks none."""
        return self.sock.version() if isinstance(self.sock, ssl.SSLSocket) else None

    def certificate(self) -> bytes | None:
        """Return the certificate that the peer has shown, in DER."""
        return self.sock.getpeercert(binary_form=True) if isinstance(self.sock, ssl.SSLSocket) else None

    def listen(self, seconds: float) -> None:
        """Wait for the peer to say something unasked; raises OSError if it has not by then, or it is an alert."""
        self.sock.settimeout(seconds)
        self.sock.recv(1)

    def abandon(self) -> None:
        """Let go of the socket without a word to the peer."""
        if self.sock is not None:
            # Not close(): that leaves the descriptor to files which may never be closed here.
            os.close(self.sock.detach())

    def response_class(  # type: ignore[override]  # a factory serves as well as the class
        self, sock: socket.socket, *args: Any, **kwargs: Any
    ) -> _Response:
        """Make the response object that ``http.client`` reads with."""
        return _Response(sock, *args, connection=self, **kwargs)

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        self.deadline = SYSTEM_CLOCK.monotonic() + float(self.timeout or 0)
        return sock

    def _tunnel(self) -> None:
        self.is_tunnelling = True
        super()._tunnel()
        self.is_tunnelling = False
        self.proxy_status = None

    def exchange(self, request: WireRequest, headers: Mapping[str, str]) -> tuple[Response, bool]:
        """Write the request and read the response; True if the connection can be used again."""
        self.deadline = SYSTEM_CLOCK.monotonic() + self.request_timeout_seconds
        self.has_read = False
        is_written = False
        try:
            is_written = is_whole = self._write(request, headers)
            response, keeps_alive = self._read()
            if not is_whole and response.status < HTTPStatus.MULTIPLE_CHOICES:
                is_written = (
                    True  # Half of it, which the peer may have taken; what it says is not true of the rest.
                )
                raise http.client.ResponseNotReady
            return response, keeps_alive
        except (OSError, http.client.HTTPException, ValueError) as error:
            is_timeout = isinstance(error, TimeoutError)
            waited = f"no complete response within {self.request_timeout_seconds:.3g} s"
            reason = waited if is_timeout else f"the connection broke ({words_for(error)})"
            raise ExchangeError(
                f"{reason}, {'after' if is_written else 'before'} the request was sent",
                is_after_request=is_written,
                is_before_response=not self.has_read,
                is_timeout=is_timeout,
            ) from error

    def _write(self, request: WireRequest, headers: Mapping[str, str]) -> bool:
        """Write all; False if the peer stopped reading, in which case it may have answered early (413)."""
        self.putrequest(
            "POST", self.target_prefix + request.target, skip_host=True, skip_accept_encoding=True
        )
        self.putheader("Host", self.host_header)
        for name, value in (*self.proxy_headers.items(), *headers.items()):
            self.putheader(name, value)
        self.putheader("Content-Length", str(len(request.body)))
        try:
            self.endheaders()
            body = memoryview(request.body)
            for start in range(0, len(body), _SEND_CHUNK_BYTES):
                self.send(body[start : start + _SEND_CHUNK_BYTES])
        except (BrokenPipeError, ConnectionResetError, *TLS_CUT_SHORT):
            return False
        return True

    def send(self, data: Any) -> None:
        """Write ``data``, each system call waiting for at most what is left of the deadline."""
        left = memoryview(data)
        while left:
            self.sock.settimeout(self.seconds_left())
            left = left[self.sock.send(left) :]

    def _read(self) -> tuple[Response, bool]:
        response = http.client.HTTPConnection.getresponse(self)
        try:
            body = response.read(MAX_RESPONSE_BYTES)
            is_whole = len(body) < MAX_RESPONSE_BYTES
            if is_whole and response.length:
                raise http.client.IncompleteRead(body, response.length)
            headers = tuple((name.lower(), value) for name, value in response.getheaders())
            return Response(response.status, headers, body), is_whole and not response.will_close
        finally:
            response.close()


class PlainConnection(Connection):
    pass


class TlsConnection(urllib3.connection.HTTPSConnection, Connection):
    pass
