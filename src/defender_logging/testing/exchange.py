"""What passed between a sender and the local receiver, as values.

A connection reads a ``ReceivedRequest``; a vendor's rules turn it into an ``Outcome``: the response, the
entries that the vendor has from now on, and those that it threw away in silence. All are immutable, so that
a test may hold them while the receiver goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from defender_logging.destinations.base import Response

__all__ = ["Outcome", "ReceivedEntry", "ReceivedRequest", "Response", "json_response"]


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One request as it came. Its ``repr`` leaves out headers, query and body: keys may be in them.

    Attributes:
        number: counts the requests of one receiver from 1.
        connection: counts the connections of one receiver from 1; equal numbers shared a connection.
        method: as sent, for instance ``POST``.
        target: path and query, as sent.
        headers: names as sent and their values, in order.
        body: as sent, still compressed; empty when the answer was scripted to come before it.
        status: the status of the answer; None when none was begun.
    """

    number: int
    connection: int
    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    status: int | None = None

    def __repr__(self) -> str:
        """Name what helps to find the request again, and nothing secret."""
        return (
            f"<ReceivedRequest {self.number} on connection {self.connection}: {self.method} {self.path}, "
            f"{len(self.body)} bytes, status {self.status}>"
        )

    @property
    def path(self) -> str:
        """The target without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query, decoded; of repeated ones the last."""
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}

    def header(self, name: str) -> str | None:
        """The first value of the header ``name`` (any case); None when it was not sent."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)


@dataclass(frozen=True, slots=True)
class ReceivedEntry:
    """One entry as the vendor has it. ``entry["message"]`` reads a field.

    Attributes:
        kind: ``splunk``, ``datadog`` or ``generic``.
        fields: the decoded JSON value, for HEC that of ``event``; a plain line of ``/raw`` or text is a str.
        request: ``ReceivedRequest.number`` of the request that brought it.
        envelope: HEC's metadata (time, host, source, sourcetype, index, fields); None for the others.
        is_truncated: the vendor would have cut it (Datadog, above 1 MB). ``fields`` is as it was sent.
        discarded_because: why the vendor said yes and threw it away all the same; empty for kept entries.
    """

    kind: str
    fields: Any
    request: int
    envelope: Mapping[str, Any] | None = None
    is_truncated: bool = False
    discarded_because: str = ""

    def __getitem__(self, name: str) -> Any:
        """The value of one field; KeyError when the entry has no such field."""
        return self.fields[name]

    @property
    def id(self) -> str | None:
        """The entry's ``id``; None when it has none or is not an object."""
        found = self.fields.get("id") if isinstance(self.fields, dict) else None
        return found if isinstance(found, str) else None


class Outcome(NamedTuple):
    """What a vendor makes of one request.

    Attributes:
        response: the answer.
        entries: what the vendor has now, in order.
        discarded: what it acknowledged and threw away in silence.
    """

    response: Response
    entries: tuple[ReceivedEntry, ...] = ()
    discarded: tuple[ReceivedEntry, ...] = ()


def json_response(status: int, body: Any) -> Response:
    """Make an answer whose body is ``body`` as compact JSON."""
    encoded = json.dumps(body, separators=(",", ":")).encode()
    return Response(status, (("content-type", "application/json; charset=UTF-8"),), encoded)
