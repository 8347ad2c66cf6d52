"""Opens a connection to the peer, through a proxy where there is one, and verifies the peer before it is used.

Every failure here is a clean one: not a byte of a request has been written.

Of a certificate that is not trusted the error names the fingerprint, so that it can be compared and pinned. The failed
handshake does not give it away, so there is a second one that believes any certificate, and hangs up when it has seen
it. It is safe because nothing else goes over that connection: no request, no key, and no client certificate.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - because resolving imports it, and an import half done at a fork never ends
import ssl

from defender_logging._pipeline.connection.exchange import Connection, PlainConnection, TlsConnection
from defender_logging._pipeline.connection.failures import connect_error, is_about_trust, refusal
from defender_logging._pipeline.connection.peer import Peer
from defender_logging._pipeline.connection.tls import fingerprint_of, tls_context, trusting_context
from defender_logging._pipeline.wire import TransportError
from defender_logging.secret import Url

__all__ = ["late_refusal", "open_connection"]

_LISTEN_SECONDS = 1.0
"""An alert comes a round trip after the handshake."""


def open_connection(peer: Peer) -> Connection:
    """Connect, through the proxy where there is one, and verify the peer. Every failure here is a clean one."""
    connection: Connection | None = None
    try:
        is_tls = peer.url.scheme == "https"
        connection = _https(peer, tls_context(peer), peer.server_fingerprint) if is_tls else _http(peer)
        connection.connect()
    except Exception as error:
        if connection is not None:
            connection.close()
        status = connection.proxy_status if connection is not None else None
        fingerprint = _shown_fingerprint(peer) if is_about_trust(error) else None
        raise connect_error(error, peer, status, fingerprint) from error
    return connection


def late_refusal(peer: Peer) -> TransportError | None:
    """Return why the peer refuses us although the handshake looked whole; None if it does not.

    In TLS 1.3 a server judges the client's certificate when the client has already begun to write, and the reset that
    follows can swallow the reason. So connect once more, write nothing, and listen for a moment.
    """
    try:
        connection = open_connection(peer)
    except TransportError as error:
        return error if error.is_hold else None
    try:
        connection.listen(min(_LISTEN_SECONDS, peer.connect_timeout_seconds))
    except OSError as error:  # No word in time is one, and so is a TLS alert.
        return refusal(error, peer)
    finally:
        connection.close()
    return None


def _http(peer: Peer) -> PlainConnection:
    via = peer.proxy_url or peer.url
    connection = PlainConnection(via.host, via.port, timeout=peer.connect_timeout_seconds)
    connection.request_timeout_seconds = peer.request_timeout_seconds
    if peer.proxy_url is not None:
        connection.target_prefix = peer.url.origin
        connection.proxy_headers = _proxy_headers(peer.proxy_url)
    connection.host_header = _host_header(peer.url)
    return connection


def _https(peer: Peer, context: ssl.SSLContext, pin: str | None) -> TlsConnection:
    via = peer.proxy_url or peer.url
    connection = TlsConnection(
        via.host,
        via.port,
        timeout=peer.connect_timeout_seconds,
        ssl_context=context,
        cert_reqs=context.verify_mode,
        assert_fingerprint=pin,
    )
    connection.request_timeout_seconds = peer.request_timeout_seconds
    connection.host_header = _host_header(peer.url)
    if peer.proxy_url is not None:
        connection.set_tunnel(
            peer.url.host, peer.url.port, headers=_proxy_headers(peer.proxy_url), scheme="http"
        )
    return connection


def _shown_fingerprint(peer: Peer) -> str | None:
    """Return the fingerprint of the certificate that the peer shows; None if it shows none this time."""
    connection = _https(peer, trusting_context(), None)
    try:
        connection.connect()
        certificate = connection.certificate()
    except Exception:  # noqa: BLE001 - the first error is told; this one would only hide it
        return None
    finally:
        connection.close()
    return fingerprint_of(certificate) if certificate else None


def _proxy_headers(proxy_url: Url) -> dict[str, str]:
    authorization = proxy_url.basic_authorization()
    return {"Proxy-Authorization": authorization} if authorization else {}


def _host_header(url: Url) -> str:
    host = f"[{url.host}]" if ":" in url.host else url.host
    return host if url.port == {"http": 80, "https": 443}[url.scheme] else f"{host}:{url.port}"
