"""Whom to talk to: the address, the key, and how to be sure that it is the one.

A handler makes it from its settings; the transport and what opens its connections read it.
"""

from __future__ import annotations

from dataclasses import dataclass

from defender_logging.secret import Secret, Url

__all__ = ["Peer"]


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
