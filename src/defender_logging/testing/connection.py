"""Serve one accepted connection: request after request, each answered as scripted or as the vendor would.

The server starts one thread a connection, which stays in ``run`` until the client or ``end`` closes it. Every
pause listens to ``end``, so that stopping never waits for a scripted delay.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import NamedTuple

from defender_logging.testing.exchange import ReceivedRequest, Response
from defender_logging.testing.http1 import BadRequestError, Head, RequestReader, render
from defender_logging.testing.scripting import Answer, Script

_WAIT_SLICE_SECONDS = 0.02  # how soon a thread that waits for a test's own event notices that it has to end
_LINGER_SECONDS = 1.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, for 0 seconds


class Service(NamedTuple):
    """What all connections of one server share.

    Attributes:
        script: where each request's answer is taken from.
        respond: remembers a request and returns the response to it.
        next_request_number: counts the requests.
        tls: None for plain HTTP.
        max_body_bytes: a longer body is answered with 413, unread.
    """

    script: Script
    respond: Callable[[ReceivedRequest, Answer], Response]
    next_request_number: Callable[[], int]
    tls: ssl.SSLContext | None
    max_body_bytes: int


class Connection:
    """One client's connection. ``run`` belongs to its thread; others may call ``end`` and ``forget``."""

    def __init__(self, accepted: socket.socket, number: int, service: Service) -> None:
        self.number = number
        self._socket = accepted
        self._service = service
        self._lock = threading.Lock()  # so that end() never touches a closed socket's number
        self._ended = threading.Event()

    def run(self) -> None:
        """Serve until one side closes."""
        try:
            self._serve()
        except OSError:  # the client went away, spoke no TLS, or end() was called
            pass
        finally:
            self._close()

    def end(self) -> None:
        """Close the connection from another thread; ``run`` returns soon."""
        self._ended.set()
        with self._lock, contextlib.suppress(OSError):
            # The plain socket's method: that of SSLSocket would take the TLS object away from the thread.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def forget(self) -> None:
        """Close a forked child's copy without a word to the client."""
        socket.socket.close(self._socket)

    def _serve(self) -> None:
        """Greet the client and serve its requests."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        early = self._service.script.take_before_request()
        if early is not None:
            self._pause(early)
            self._cut(early)
            return
        self._shake_hands()
        reader = RequestReader(self._socket.recv, max_body_bytes=self._service.max_body_bytes)
        try:
            while reader.has_more() and self._exchange(reader):
                pass
        except BadRequestError as error:
            self._refuse(error)

    def _shake_hands(self) -> None:
        """Begin TLS where the server speaks it."""
        if self._service.tls is None:
            return
        # Fails here for a client that is gone by now: wrap_socket would leave its half-made socket open.
        self._socket.getpeername()
        with self._lock:
            self._socket = self._service.tls.wrap_socket(
                self._socket, server_side=True, do_handshake_on_connect=False
            )
        self._socket.do_handshake()

    def _exchange(self, reader: RequestReader) -> bool:
        """Serve one request; True if the connection stays open."""
        head = reader.read_head()
        answer = self._service.script.take(head.target.partition("?")[0])
        if answer.is_cut_before_body:
            self._respond(head, b"", answer)
            self._pause(answer)
            return self._cut(answer)
        if head.tokens("expect") == ["100-continue"]:
            self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        response = self._respond(head, reader.read_body(head), answer)
        self._pause(answer)
        if answer.cut_at == "after_body":
            return self._cut(answer)
        return self._send(answer, response, head)

    def _respond(self, head: Head, body: bytes, answer: Answer) -> Response:
        """Have the request remembered, and get the response to it."""
        number = self._service.next_request_number()
        request = ReceivedRequest(number, self.number, head.method, head.target, head.headers, body)
        return self._service.respond(request, answer)

    def _send(self, answer: Answer, response: Response, head: Head) -> bool:
        """Write the answer, or the part of it that comes before the cut."""
        if answer.raw is not None:
            self._write(answer.raw, answer.drip_seconds)
            return False
        first, body = render(response, method=head.method, is_last=not head.keeps_alive)
        if answer.cut_at == "in_answer_headers":
            end_of_status = first.index(b"\r\n") + 2
            first, body = first[: (end_of_status + len(first)) // 2], b""
        elif answer.cut_at == "in_answer_body":
            body = body[: len(body) // 2]
        self._write(first + body, answer.drip_seconds)
        return head.keeps_alive if answer.cut_at is None else self._cut(answer)

    def _write(self, data: bytes, drip_seconds: float) -> None:
        """Send at once, or byte by byte."""
        if not drip_seconds:
            self._socket.sendall(data)
            return
        for start in range(len(data)):
            self._socket.sendall(data[start : start + 1])
            if self._ended.wait(drip_seconds):
                return

    def _pause(self, answer: Answer) -> None:
        """Wait as the answer says, or until the end."""
        if answer.delay_seconds:
            self._ended.wait(answer.delay_seconds)
        if answer.wait_for is None:
            return
        # Slices are counted rather than a clock read, so that a frozen clock cannot make this endless.
        limit = answer.wait_at_most_seconds
        slices = None if limit is None else int(limit / _WAIT_SLICE_SECONDS)
        while not (self._ended.is_set() or answer.wait_for.wait(_WAIT_SLICE_SECONDS)):
            if slices is not None:
                slices -= 1
                if slices <= 0:
                    return

    def _cut(self, answer: Answer) -> bool:
        """Have the connection closed in the scripted way; always False, for the loop of requests to end."""
        if answer.cut_with == "reset":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        return False

    def _refuse(self, error: BadRequestError) -> None:
        """Answer what is no good request and let the client read that before the connection goes."""
        response = Response(error.status, (("content-type", "text/plain"),), f"{error}\n".encode())
        self._socket.sendall(b"".join(render(response, method="POST", is_last=True)))
        socket.socket.shutdown(self._socket, socket.SHUT_WR)
        # Closing with unread bytes would reset the connection, and the client might never see the answer.
        self._socket.settimeout(_LINGER_SECONDS)
        while socket.socket.recv(self._socket, 65_536):
            pass

    def _close(self) -> None:
        """Give the socket back."""
        with self._lock:
            self._socket.close()
