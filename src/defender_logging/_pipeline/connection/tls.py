"""What TLS must hold before a request is written: version, certificate, name, or the pinned certificate alone."""

from __future__ import annotations

import hashlib
import ssl

from urllib3.util.ssl_ import create_urllib3_context

from defender_logging._pipeline.connection.peer import Peer

__all__ = ["fingerprint_of", "tls_context", "trusting_context"]


def tls_context(peer: Peer) -> ssl.SSLContext:
    """Make a context anew for each connection, so that renewed files are seen without a restart."""
    context = trusting_context()
    if peer.server_fingerprint is None:  # A pin is compared after the handshake, and replaces the rest.
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True
        if peer.ca_file is not None:
            context.load_verify_locations(cafile=peer.ca_file)
        else:
            context.load_default_certs()
    if peer.client_cert_file is not None:
        context.load_cert_chain(peer.client_cert_file, peer.client_key_file)
    return context


def trusting_context() -> ssl.SSLContext:
    """Make a context that believes any certificate, for a handshake whose certificate is judged afterwards."""
    context = create_urllib3_context(ssl_minimum_version=ssl.TLSVersion.TLSv1_2)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def fingerprint_of(certificate: bytes) -> str:
    """Return the SHA-256 of a certificate in DER, as ``server_fingerprint`` takes it."""
    return hashlib.sha256(certificate).hexdigest()
