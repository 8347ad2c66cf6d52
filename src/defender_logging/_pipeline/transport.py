"""Carries requests to one peer over one kept connection: the key goes in, a complete response comes out.

A ``WireRequest`` comes from delivery, framed and compressed; the response goes back to it, or a
``TransportError`` that says in words what failed and whether the entries may have arrived. How a connection is
opened, and how an exchange keeps to its deadline, is in ``connection``.

Guaranteed: the key is put on the wire here and nowhere else, to this peer alone; no redirect is followed, since none
is looked at; a connection is renewed by age.

Cookies are kept and sent back, as name and value only, for the life of the transport: behind a balancer with
sticky sessions only they lead to the indexer that knows our acknowledgments, also over the next connection. A
transport has one peer, so no other host gets them; a CONNECT to a proxy carries none.

Not guaranteed: name resolution and connecting have their own bound (``connect_timeout_seconds`` an address),
and the resolver can take longer; neither delays the process's exit, since the caller is a daemon thread.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from defender_logging._pipeline.connection import (
    Connection,
    ExchangeError,
    Peer,
    late_refusal,
    open_connection,
    refusal,
)
from defender_logging._pipeline.wire import TransportError, WireRequest
from defender_logging._version import __version__
from defender_logging.clock import SYSTEM_CLOCK
from defender_logging.destinations.base import Response

__all__ = ["HttpTransport", "Peer"]

_USER_AGENT = f"defender-logging/{__version__}"

MAX_CONNECTION_AGE_SECONDS = 300.0
"""A connection kept for ever pins all traffic to one node behind a balancer and never sees a DNS change."""

MAX_COOKIE_BYTES = 4096
"""Of all cookies together; the oldest go first. A balancer needs one or two; most servers refuse 8 KiB of headers."""

_COOKIE = re.compile(r"[!#-'*+\-.0-9A-Z^_`a-z|~]+=[ !-:<-~]+")
_ENDS_COOKIE = re.compile(r";\s*max-age\s*=\s*(0|-\d+)\s*(;|\Z)", re.IGNORECASE)


class HttpTransport:
    """A ``wire.Transport`` over HTTP/1.1 with one kept connection. Not thread-safe: each sender has its own."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._connection: Connection | None = None
        self._connected_at = 0.0
        self._latest = math.inf
        self._cookies: dict[str, str] = {}
        self._was_heard = False

    def send(self, request: WireRequest) -> Response:
        """Send over the kept connection, or a new one when there is none, or it is too old or was closed."""
        connection, is_reused = self._connect()
        connection.request_timeout_seconds = self._limited(self._peer.request_timeout_seconds)
        try:
            response, keeps_alive = connection.exchange(request, self._headers(request))
        except ExchangeError as error:
            refused = self._refusal(error)
            self.close()
            if refused is not None:
                raise refused from error.__cause__
            is_stale = is_reused and error.is_before_response and not error.is_timeout
            raise TransportError(
                error.reason, is_ambiguous=error.is_after_request, is_stale_connection=is_stale
            ) from error.__cause__
        except BaseException:
            self.close()
            raise
        self._was_heard = True
        if not keeps_alive:
            self.close()
        self._keep_cookies(response)
        # Before anybody shortens it for people: half a key would not be found any more.
        return replace(response, body=self.mask(response.body.decode("latin-1")).encode("latin-1"))

    def another(self) -> HttpTransport:
        """Return one more to the same peer, with a connection and cookies of its own."""
        other = HttpTransport(self._peer)
        other.limit(self._latest)
        other._was_heard = self._was_heard  # The peer has answered somebody, so it does not refuse our TLS.
        return other

    def probe(self) -> str | None:
        """Connect and hang up without a request.

        Returns:
            The TLS version, None for a plain connection.

        Raises:
            TransportError: connecting failed, or the peer is not the one.
        """
        connection, _ = self._connect()
        try:
            return connection.tls_version()
        finally:
            self.close()

    def refresh_key(self) -> bool:
        """Read the key's reference again; True if the key has changed."""
        return self._peer.key is not None and self._peer.key.refresh()

    def mask(self, text: str) -> str:
        """Return ``text`` with the key hidden, where a receiver has quoted it."""
        peer = self._peer
        text = peer.key.mask(text) if peer.key is not None else text
        text = peer.url.mask(text)
        for secret in peer.header_secrets:
            text = secret.mask(text)
        return text

    def close(self) -> None:
        """Close the kept connection, if any."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abandon(self) -> None:
        """Let go of the connection in a forked child: it is the parent's, and must not hear of this."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()

    def limit(self, deadline: float) -> None:
        """From now on let no exchange last beyond ``deadline``; only name resolution keeps its own time."""
        self._latest = deadline

    def _limited(self, seconds: float) -> float:
        return max(0.001, min(seconds, self._latest - SYSTEM_CLOCK.monotonic()))

    def _refusal(self, error: ExchangeError) -> TransportError | None:
        """Return what to tell if the exchange failed because the peer refuses our TLS, which no retry mends."""
        if not error.is_before_response or self._peer.url.scheme != "https":
            return None
        found = refusal(error, self._peer)
        if found is None and not (self._was_heard or error.is_timeout):
            found = late_refusal(self._limited_peer())
        return found

    def _limited_peer(self) -> Peer:
        seconds = self._limited(self._peer.connect_timeout_seconds)
        return replace(self._peer, connect_timeout_seconds=seconds)

    def _headers(self, request: WireRequest) -> dict[str, str]:
        headers = dict(request.headers)
        if "user-agent" not in map(str.lower, headers):
            headers["User-Agent"] = _USER_AGENT
        if self._peer.key_header is not None and self._peer.key is not None:
            headers[self._peer.key_header] = self._peer.key.reveal()
        if self._cookies and "cookie" not in map(str.lower, headers):
            headers["Cookie"] = "; ".join(self._cookies.values())
        return headers

    def _keep_cookies(self, response: Response) -> None:
        for text in response.header_values("set-cookie"):
            pair = text.partition(";")[0].strip()
            name = pair.partition("=")[0]
            self._cookies.pop(name, None)
            if _COOKIE.fullmatch(pair) and not _ENDS_COOKIE.search(text):
                self._cookies[name] = pair
        while sum(map(len, self._cookies.values())) > MAX_COOKIE_BYTES:
            del self._cookies[next(iter(self._cookies))]

    def _connect(self) -> tuple[Connection, bool]:
        if self._connection is not None:
            is_young = SYSTEM_CLOCK.monotonic() - self._connected_at < MAX_CONNECTION_AGE_SECONDS
            # The end of the stream may wait in it, or an answer to no request, which the next one must not get.
            if is_young and self._connection.is_connected:
                return self._connection, True
            self.close()
        connection = open_connection(self._limited_peer())
        self._connection, self._connected_at = connection, SYSTEM_CLOCK.monotonic()
        return connection, False
