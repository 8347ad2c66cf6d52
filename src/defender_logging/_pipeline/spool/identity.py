"""Says whose entries a stream holds: nobody's trail may reach another's account.

A handler's settings become an ``Identity``; its digest stands in every segment, its printable form in the stream's
description. Two handlers have the same digest only if kind, address, name, key and details (Splunk's index) are
all the same. A key that is a reference (``env:``, ``file:``) counts by its reference, so that it can be rotated; a
literal key, and the path of the address (which may be a key), only as digests keyed with the directory's salt, so
that the files do not help to guess them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field

__all__ = ["Identity", "SealedIdentity"]


@dataclass(frozen=True, slots=True)
class SealedIdentity:
    """An identity as it is written: ``digest`` (32 hexadecimal digits) and ``printable``, both without secrets."""

    digest: str
    printable: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Identity:
    """What two handlers must share to send each other's entries.

    Attributes:
        kind: name of the handler's kind.
        origin: scheme, host and port of the address.
        target: path and query of the address in full form; may be secret.
        name: the handler's name.
        key_reference: ``env:NAME`` or ``file:PATH``; None if the key is a literal or missing.
        key: the literal key; None if there is a reference or no key.
        index: Splunk's index.
    """

    kind: str
    origin: str
    target: str = field(repr=False)
    name: str | None = None
    key_reference: str | None = None
    key: str | None = field(default=None, repr=False)
    index: str | None = None

    def seal(self, salt: bytes) -> SealedIdentity:
        """Return what may be written to disk."""
        printable = {
            "kind": self.kind,
            "origin": self.origin,
            "target_digest": _keyed_digest(salt, "target", self.target),
            "name": self.name,
            "key_reference": self.key_reference,
            "key_digest": None if self.key is None else _keyed_digest(salt, "key", self.key),
            "index": self.index,
        }
        text = json.dumps(printable, sort_keys=True).encode()
        return SealedIdentity(hashlib.blake2b(text, digest_size=16).hexdigest(), printable)


def _keyed_digest(salt: bytes, purpose: str, secret: str) -> str:
    return hmac.new(salt, f"{purpose}\n{secret}".encode(), hashlib.sha256).hexdigest()[:32]
