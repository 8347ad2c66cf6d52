"""The only module that opens outgoing sockets: one request over one kept connection, one complete response.

A ``WireRequest`` comes from delivery, framed and compressed; the response goes back to it, or a
``TransportError`` that says in words what failed and whether the entries may have arrived.

Guaranteed: the whole exchange ends within ``request_timeout_seconds`` of its first byte, whatever the peer
does, because every single read and write waits at most for what is left of that time; no redirect is
followed, since none is looked at; a response counts only when it is complete; at most 64 KiB of it are read
and nothing is decompressed.

Cookies are kept and sent back, as name and value only, for the life of the transport: behind a balancer with
sticky sessions only they lead to the indexer that knows our acknowledgments, also over the next connection. A
transport has one peer, so no other host gets them; a CONNECT to a proxy carries none.

The key is put on the wire here and nowhere else. urllib3's *connections* are used directly: its pools log
the request path at DEBUG, and a path can be a key. For the same reason the response is read by
``http.client`` (urllib3 logs the URL of a response whose headers it cannot parse).

Not guaranteed: name resolution and connecting have their own bound (``connect_timeout_seconds`` an address),
and the resolver can take longer; neither delays the process's exit, since the caller is a daemon thread.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - because resolving imports it, and an import half done at a fork never ends
import errno
import http.client
import math
import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import urllib3.connection
import urllib3.exceptions
from urllib3.util.ssl_ import create_urllib3_context

from defender_logging._pipeline.wire import TransportError, WireRequest
from defender_logging._version import __version__
from defender_logging.clock import SYSTEM_CLOCK
from defender_logging.destinations.base import Response
from defender_logging.secret import Secret, Url

__all__ = ["HttpTransport", "Peer"]

MAX_RESPONSE_BYTES = 65_536
"""No receiver of protocols.md answers with more that matters; a peer must not fill our memory."""

_USER_AGENT = f"defender-logging/{__version__}"

MAX_CONNECTION_AGE_SECONDS = 300.0
"""A connection kept for ever pins all traffic to one node behind a balancer and never sees a DNS change."""

MAX_COOKIE_BYTES = 4096
"""Of all cookies together; the oldest go first. A balancer needs one or two; most servers refuse 8 KiB of headers."""

_COOKIE = re.compile(r"[!#-'*+\-.0-9A-Z^_`a-z|~]+=[ !-:<-~]+")
_ENDS_COOKIE = re.compile(r";\s*max-age\s*=\s*(0|-\d+)\s*(;|\Z)", re.IGNORECASE)

_SEND_CHUNK_BYTES = 65_536
_READ_BYTES = 16_384

_TLS_CUT_SHORT = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""The peer broke off, as a server does that restarts: in a handshake not a matter of configuration."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom to talk to, and how to be sure that it is the one.

    Attributes:
        url: the address.
        key_header: name of the header that carries ``key``.
        key: sent with every request to this peer, and to nobody else.
        header_secrets: values of the user's own headers, which may be keys too; for masking only.
        connect_timeout_seconds: for one address to connect, and for the TLS handshake.
        request_timeout_seconds: from the first byte sent to the last byte read.
        ca_file: certificates to trust instead of the system's.
        client_cert_file: our own certificate, with ``client_key_file`` (None: the key is in the same file).
        server_fingerprint: 64 hex digits; SHA-256 of the one certificate to trust, whatever its name and issuer.
        proxy_url: an ``http://`` proxy to go through.
    """

    url: Url
    key_header: str | None = None
    key: Secret | None = None
    header_secrets: tuple[Secret, ...] = ()
    connect_timeout_seconds: float = 5.0
    request_timeout_seconds: float = 15.0
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    server_fingerprint: str | None = None
    proxy_url: Url | None = None


class HttpTransport:
    """A ``wire.Transport`` over HTTP/1.1 with one kept connection. Not thread-safe: each sender has its own."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._connection: _Connection | None = None
        self._connected_at = 0.0
        self._latest = math.inf
        self._cookies: dict[str, str] = {}

    def send(self, request: WireRequest) -> Response:
        """Send over the kept connection, or a new one when there is none or it is too old."""
        connection, is_reused = self._connect()
        connection.request_timeout_seconds = self._limited(self._peer.request_timeout_seconds)
        try:
            response, keeps_alive = connection.exchange(request, self._headers(request))
        except _ExchangeError as error:
            self.close()
            is_stale = is_reused and error.is_before_response and not error.is_timeout
            raise TransportError(
                error.reason, is_ambiguous=error.is_after_request, is_stale_connection=is_stale
            ) from error.__cause__
        except BaseException:
            self.close()
            raise
        if not keeps_alive:
            self.close()
        self._keep_cookies(response)
        # Before anybody shortens it for people: half a key would not be found any more.
        return replace(response, body=self.mask(response.body.decode("latin-1")).encode("latin-1"))

    def probe(self) -> str | None:
        """Connect and hang up without a request.

        Returns:
            The TLS version, None for a plain connection.

        Raises:
            TransportError: connecting failed, or the peer is not the one.
        """
        sock = self._connect()[0].sock
        try:
            return sock.version() if isinstance(sock, ssl.SSLSocket) else None
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
        if connection is not None and connection.sock is not None:
            # Not close(): that leaves the descriptor to files which may never be closed here.
            os.close(connection.sock.detach())

    def limit(self, deadline: float) -> None:
        """From now on let no exchange last beyond ``deadline``; only name resolution keeps its own time."""
        self._latest = deadline

    def _limited(self, seconds: float) -> float:
        return max(0.001, min(seconds, self._latest - SYSTEM_CLOCK.monotonic()))

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

    def _connect(self) -> tuple[_Connection, bool]:
        if self._connection is not None:
            if SYSTEM_CLOCK.monotonic() - self._connected_at < MAX_CONNECTION_AGE_SECONDS:
                return self._connection, True
            self.close()
        connection = _open(
            replace(self._peer, connect_timeout_seconds=self._limited(self._peer.connect_timeout_seconds))
        )
        self._connection, self._connected_at = connection, SYSTEM_CLOCK.monotonic()
        return connection, False


def _open(peer: Peer) -> _Connection:
    """Connect, through the proxy where there is one, and verify the peer. Every failure here is a clean one."""
    connection: _Connection | None = None
    try:
        connection = _https(peer) if peer.url.scheme == "https" else _http(peer)
        connection.connect()
    except Exception as error:
        if connection is not None:
            connection.close()
        status = connection.proxy_status if connection is not None else None
        raise _connect_error(error, peer, status) from error
    return connection


def _http(peer: Peer) -> _PlainConnection:
    via = peer.proxy_url or peer.url
    connection = _PlainConnection(via.host, via.port, timeout=peer.connect_timeout_seconds)
    connection.request_timeout_seconds = peer.request_timeout_seconds
    if peer.proxy_url is not None:
        connection.target_prefix = peer.url.origin
        connection.proxy_headers = _proxy_headers(peer.proxy_url)
    connection.host_header = _host_header(peer.url)
    return connection


def _https(peer: Peer) -> _TlsConnection:
    via = peer.proxy_url or peer.url
    pin = peer.server_fingerprint
    connection = _TlsConnection(
        via.host,
        via.port,
        timeout=peer.connect_timeout_seconds,
        ssl_context=_tls_context(peer),
        cert_reqs=ssl.CERT_NONE if pin else ssl.CERT_REQUIRED,
        assert_fingerprint=pin,
    )
    connection.request_timeout_seconds = peer.request_timeout_seconds
    connection.host_header = _host_header(peer.url)
    if peer.proxy_url is not None:
        connection.set_tunnel(
            peer.url.host, peer.url.port, headers=_proxy_headers(peer.proxy_url), scheme="http"
        )
    return connection


def _tls_context(peer: Peer) -> ssl.SSLContext:
    """Make a context anew for each connection, so that renewed files are seen without a restart."""
    context = create_urllib3_context(ssl_minimum_version=ssl.TLSVersion.TLSv1_2)
    if peer.server_fingerprint is not None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.check_hostname = True
        context.verify_mode = ssl.CERT_REQUIRED
        if peer.ca_file is not None:
            context.load_verify_locations(cafile=peer.ca_file)
        else:
            context.load_default_certs()
    if peer.client_cert_file is not None:
        context.load_cert_chain(peer.client_cert_file, peer.client_key_file)
    return context


def _proxy_headers(proxy_url: Url) -> dict[str, str]:
    authorization = proxy_url.basic_authorization()
    return {"Proxy-Authorization": authorization} if authorization else {}


def _host_header(url: Url) -> str:
    host = f"[{url.host}]" if ":" in url.host else url.host
    return host if url.port == {"http": 80, "https": 443}[url.scheme] else f"{host}:{url.port}"


def _connect_error(  # noqa: PLR0911 - because each kind of failure has its own words
    error: Exception, peer: Peer, proxy_status: int | None
) -> TransportError:
    """Translate what connecting raises, at the one border, by type and code and never by its English text."""
    where = peer.url.origin
    cause = _find(error, (ssl.SSLCertVerificationError, ssl.SSLError))
    if isinstance(cause, ssl.SSLCertVerificationError):
        return TransportError(
            f"the certificate of {where} is not trusted ({cause.verify_message}); set ca_file to its issuer or "
            "server_fingerprint to its SHA-256, and check the host name",
            is_hold=True,
        )
    if isinstance(error, urllib3.exceptions.SSLError) and cause is None:
        return TransportError(
            f"the certificate of {where} is not the one that server_fingerprint pins; pin the new one if the "
            "change was meant",
            is_hold=True,
        )
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, _TLS_CUT_SHORT):
        return TransportError(
            f"no TLS connection to {where} ({_words(cause)}); TLS 1.2 or newer is needed", is_hold=True
        )
    if proxy_status is not None:
        needs_care = proxy_status < 500  # noqa: PLR2004 - the border of HTTP's server errors
        return TransportError(
            f"the proxy {peer.proxy_url} answered {proxy_status} to CONNECT; check proxy_url and its credentials",
            is_hold=needs_care,
        )
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return TransportError(f"the name of {where} cannot be resolved; check the host in url, and DNS")
    # A NewConnectionError is a ConnectTimeoutError to urllib3, though no time was out.
    is_new = isinstance(error, urllib3.exceptions.NewConnectionError)
    if not is_new and (_find(error, (TimeoutError,)) or isinstance(error, urllib3.exceptions.TimeoutError)):
        return TransportError(
            f"no connection to {where} within {peer.connect_timeout_seconds:g} s; check host and port in url, and "
            "whether a firewall or a proxy stands between"
        )
    if isinstance(error, (FileNotFoundError, PermissionError)):
        return TransportError(f"a certificate file cannot be read ({_words(error)})", is_hold=True)
    words = _words(_find(error, (OSError,)) or error)
    return TransportError(
        f"no connection to {where} ({words}); check host and port in url, and whether the receiver is up"
    )


def _find(error: BaseException, kinds: tuple[type[BaseException], ...]) -> BaseException | None:
    """Return the first of ``error``, its arguments and its causes that is one of ``kinds``."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return None
        for candidate in (seen, *(a for a in seen.args if isinstance(a, BaseException))):
            if isinstance(candidate, kinds):
                return candidate
        seen = seen.__cause__ or seen.__context__
    return None


def _words(error: BaseException) -> str:
    """Name an error shortly; the text of foreign errors can quote URLs, so only types and codes are used."""
    if isinstance(error, ssl.SSLError):  # Its number is OpenSSL's, not the system's.
        return error.reason.lower().replace("_", " ") if error.reason else type(error).__name__
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return f"{errno.errorcode[error.errno]}, {type(error).__name__}"
    return type(error).__name__


class _ExchangeError(Exception):
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

    def __init__(self, connection: _Connection, sock: socket.socket) -> None:
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

    def __init__(self, sock: socket.socket, *args: Any, connection: _Connection, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.connection = connection
        self.fp.close()
        self.fp = _DeadlineFile(connection, sock)  # type: ignore[assignment]  # has all that it is asked for

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        if self.connection.is_tunnelling:
            self.connection.proxy_status = status
        return version, status, reason


class _Connection(urllib3.connection.HTTPConnection):
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
            is_written = self._write(request, headers)
            return self._read()
        except (OSError, http.client.HTTPException, ValueError) as error:
            is_timeout = isinstance(error, TimeoutError)
            waited = f"no complete response within {self.request_timeout_seconds:.3g} s"
            reason = waited if is_timeout else f"the connection broke ({_words(error)})"
            raise _ExchangeError(
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
        except (BrokenPipeError, ConnectionResetError, *_TLS_CUT_SHORT):
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


class _PlainConnection(_Connection):
    pass


class _TlsConnection(urllib3.connection.HTTPSConnection, _Connection):
    pass
