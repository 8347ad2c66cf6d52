"""Make certificates that are thrown away after a test, and load those that a test brings.

The receiver asks for a ``Certificate`` when it speaks TLS; clients trust it through ``ca_file`` or pin it by
``fingerprint``.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

__all__ = ["Certificate", "make_certificate"]

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_PEM_END = "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server's certificate, as PEM files.

    Attributes:
        certificate_file: the leaf, then what stands between it and the CA.
        key_file: the leaf's private key, without a password.
        ca_file: what clients have to trust; None: the certificate itself (self-signed).
        client_ca_file: the CA of the client certificates that are required; None: none are.
    """

    certificate_file: str
    key_file: str
    ca_file: str | None = None
    client_ca_file: str | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf in DER, as 64 hexadecimal digits."""
        leaf = Path(self.certificate_file).read_text(encoding="ascii").partition(_PEM_END)[0] + _PEM_END
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(leaf[leaf.index("-----BEGIN") :])).hexdigest()

    def server_context(self) -> ssl.SSLContext:
        """The TLS settings of a server that shows this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate_file, self.key_file)
        if self.client_ca_file is not None:
            context.load_verify_locations(self.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def make_certificate(
    folder: str | Path, *, names: Sequence[str] = _LOCAL_NAMES, not_after: datetime | None = None
) -> Certificate:
    """Make a throw-away CA and a certificate signed by it, in ``folder``.

    Args:
        folder: an existing folder, the caller's to remove.
        names: host names and addresses that the certificate is for.
        not_after: when it expires; in the past, to see how an expired one is refused. None: far from now.

    Raises:
        ModuleNotFoundError: the optional package trustme is missing.
    """
    try:
        import trustme  # optional: only tests over TLS need it
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "certificates for tests are made by the package trustme, which is not installed; "
            'pip install "defender-logging[tls]", or give a Certificate of your own files'
        ) from error
    authority = trustme.CA()
    leaf = authority.issue_cert(*names, not_after=not_after)
    files = {name: Path(folder) / f"{name}.pem" for name in ("certificate", "key", "ca")}
    files["certificate"].write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    leaf.private_key_pem.write_to_path(str(files["key"]))
    authority.cert_pem.write_to_path(str(files["ca"]))
    return Certificate(str(files["certificate"]), str(files["key"]), str(files["ca"]))
