"""What connecting raises, in words: the one border where foreign errors are translated.

By type and code, never by their English text, which can quote URLs.
"""

from __future__ import annotations

import errno
import ssl

import urllib3.exceptions

from defender_logging._pipeline.connection.peer import Peer
from defender_logging._pipeline.wire import TransportError

__all__ = ["TLS_CUT_SHORT", "connect_error", "is_about_trust", "refusal", "words_for"]

TLS_CUT_SHORT = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""The peer broke off, as a server does that restarts: in a handshake not a matter of configuration."""


REFUSALS = frozenset(
    {
        *("TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLSV1_ALERT_UNKNOWN_CA", "TLSV1_ALERT_ACCESS_DENIED"),
        *("SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", "SSLV3_ALERT_NO_CERTIFICATE"),
        *("SSLV3_ALERT_CERTIFICATE_REVOKED", "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
        *("SSLV3_ALERT_CERTIFICATE_UNKNOWN", "SSLV3_ALERT_HANDSHAKE_FAILURE"),
    }
)
"""OpenSSL's codes for a server's refusal of the client, mostly for its certificate or the lack of one."""


def refusal(error: BaseException, peer: Peer) -> TransportError | None:
    """Return what to tell if the server has refused us in TLS, before it read any request; else None."""
    cause = _find(error, (ssl.SSLError,))
    if not isinstance(cause, ssl.SSLError) or cause.reason not in REFUSALS:
        return None
    mine = "the one in client_cert_file is none" if peer.client_cert_file else "set client_cert_file"
    return TransportError(
        f"{peer.url.origin} refuses us in the TLS handshake ({words_for(cause)}); it may want a client certificate "
        f"of an issuer that it trusts, and {mine}",
        is_hold=True,
    )


def connect_error(  # noqa: PLR0911 - because each kind of failure has its own words
    error: Exception, peer: Peer, proxy_status: int | None, fingerprint: str | None
) -> TransportError:
    """Translate what connecting raises, at the one border, by type and code and never by its English text."""
    where = peer.url.origin
    cause = _find(error, (ssl.SSLCertVerificationError, ssl.SSLError))
    if isinstance(cause, ssl.SSLCertVerificationError):
        return TransportError(
            f"the certificate of {where} is not trusted ({cause.verify_message}); have it mended, or set ca_file to "
            f"its issuer{_how_to_pin(fingerprint)}",
            is_hold=True,
        )
    if isinstance(error, urllib3.exceptions.SSLError) and cause is None:
        return TransportError(
            f"the certificate of {where} is not the one that server_fingerprint pins{_how_to_pin(fingerprint)}",
            is_hold=True,
        )
    refused = refusal(error, peer)
    if refused is not None:
        return refused
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, TLS_CUT_SHORT):
        return TransportError(
            f"no TLS connection to {where} ({words_for(cause)}); TLS 1.2 or newer is needed", is_hold=True
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
        return TransportError(f"a certificate file cannot be read ({words_for(error)})", is_hold=True)
    words = words_for(_find(error, (OSError,)) or error)
    return TransportError(
        f"no connection to {where} ({words}); check host and port in url, and whether the receiver is up"
    )


def _how_to_pin(fingerprint: str | None) -> str:
    if fingerprint is None:
        return ", or server_fingerprint to the SHA-256 of the server's own certificate"
    return (
        f". It has the SHA-256 {fingerprint}: if whoever runs the server confirms that this is its own "
        "(openssl x509 -noout -fingerprint -sha256 -in its file), server_fingerprint with these digits trusts it alone"
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


def words_for(error: BaseException) -> str:
    """Name an error shortly; the text of foreign errors can quote URLs, so only types and codes are used."""
    if isinstance(error, ssl.SSLError):  # Its number is OpenSSL's, not the system's.
        return error.reason.lower().replace("_", " ") if error.reason else type(error).__name__
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return f"{errno.errorcode[error.errno]}, {type(error).__name__}"
    return type(error).__name__


def is_about_trust(error: BaseException) -> bool:
    """Say whether the handshake worked but for the certificate, so that it can be seen."""
    is_wrong_pin = isinstance(error, urllib3.exceptions.SSLError) and _find(error, (ssl.SSLError,)) is None
    return is_wrong_pin or _find(error, (ssl.SSLCertVerificationError,)) is not None
