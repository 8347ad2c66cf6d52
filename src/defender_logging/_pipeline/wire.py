"""What passes between delivery and a transport: a request as it goes out, and the error when no response came.

Apart from the transport, so that whoever only handles these values (delivery, the fakes of ``testing``) does
not import urllib3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from defender_logging.destinations.base import Response

__all__ = ["Transport", "TransportError", "WireRequest"]


class TransportError(Exception):
    """No complete response came.

    Attributes:
        reason: what failed, in one line without any secret.
        is_ambiguous: the request had been written, so the entries may have arrived.
        is_hold: it will not heal by itself soon (an untrusted certificate, a proxy that wants a password).
        is_stale_connection: a kept connection was found closed before the first byte of a response; worth one
            more try at once on a new one.
    """

    def __init__(
        self,
        reason: str,
        *,
        is_ambiguous: bool = False,
        is_hold: bool = False,
        is_stale_connection: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_ambiguous = is_ambiguous
        self.is_hold = is_hold
        self.is_stale_connection = is_stale_connection


@dataclass(frozen=True, slots=True)
class WireRequest:
    """One POST as it goes out, without the key: path and query, headers, framed and compressed body.

    Its repr shows none of them: path, query and the user's own headers may hold a key.
    """

    target: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Transport(Protocol):
    """Carries one request at a time; used by one thread."""

    def send(self, request: WireRequest) -> Response:
        """Send and return the complete response.

        Raises:
            TransportError: there is none.
        """
        ...

    def another(self) -> Transport:
        """Return one more to the same peer, with a connection of its own."""
        ...

    def refresh_key(self) -> bool:
        """Read the key's reference again; True if the key has changed."""
        ...

    def mask(self, text: str) -> str:
        """Return ``text`` with the key hidden, where a receiver has quoted it."""
        ...

    def limit(self, deadline: float) -> None:
        """From now on let no exchange last beyond ``deadline``, a moment of the monotonic clock."""
        ...

    def close(self) -> None:
        """Close the kept connection, if any."""
        ...

    def abandon(self) -> None:
        """Let go of the connection in a forked child, without a word to the peer."""
        ...
