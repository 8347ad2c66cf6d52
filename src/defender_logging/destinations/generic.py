"""Speaks to any endpoint that takes JSON with an API key: the entry as it is, lines to an array or to NDJSON.

``fitting`` calls ``encode`` in the caller's thread, ``delivery`` the rest in a sender's. Nothing is known
about the receiver but HTTP: the four statuses that mean "taken" everywhere are success, and all else goes
by status. Source: RFC 9110 sections 5 and 15.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from defender_logging._pipeline.entry import Draft, Fields
from defender_logging.destinations.base import Delivered, Limits, Request, Response, Retry, Verdict
from defender_logging.destinations.http_status import describe_answer, verdict_by_status
from defender_logging.secret import SecretText
from defender_logging.strict_json import dumps

__all__ = ["BODIES", "GenericDestination", "check_header"]

BODIES: Mapping[str, str] = MappingProxyType(
    {"json_array": "application/json", "ndjson": "application/x-ndjson"}
)
"""What ``body`` may be, and its content type."""

_LIMITS = Limits(
    # Nothing is known, so the defaults are what the strictest of the known services take (New Relic's Log
    # API and Azure's Logs Ingestion API: 1 MB a request), and a setting may go as far as makes sense in
    # memory.
    default_batch_entries=1000,
    max_batch_entries=1_000_000,
    default_batch_bytes=1_000_000,
    max_batch_bytes=1_000_000_000,
    max_entry_bytes=1_000_000,
)
_DELIVERED = frozenset({200, 201, 202, 204})
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)

# RFC 9110 section 5.6.2.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# http.client takes NUL, and fails on anything beyond latin-1 only when sending (CPython 3.11, tried).
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_FRAMING = "it frames the request, and the sender sets it; leave it out"
_ONE_HOP = "it is for one connection, which the sender keeps; leave it out"
_REFUSED_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "host": "it comes from url; leave it out",
        "content-length": _FRAMING,
        "transfer-encoding": _FRAMING,
        "content-encoding": "it comes from compression; set that",
        "accept-encoding": "answers are read uncompressed; leave it out",
        "expect": "no answer between header and body is waited for; leave it out",
        "connection": _ONE_HOP,
        "keep-alive": _ONE_HOP,
        "proxy-connection": _ONE_HOP,
        "te": _ONE_HOP,
        "trailer": _ONE_HOP,
        "upgrade": _ONE_HOP,
        "proxy-authorization": "it would reach the receiver; put user and password into proxy_url",
    }
)


class GenericDestination:
    """One endpoint of which only the URL is known. Never changes, so any thread may use it.

    Args:
        target: path and query of the user's URL.
        body: ``json_array`` or ``ndjson``.
        headers: the user's own, without the key; they win over ours (``Content-Type``, ``Accept``).

    """

    __slots__ = ("_body", "_headers", "_target")

    limits = _LIMITS
    reserved_names: frozenset[str] = frozenset()
    inspected_names: frozenset[str] = frozenset()
    acks = None

    def __init__(
        self, *, target: str, body: str = "json_array", headers: Mapping[str, str] | None = None
    ) -> None:
        if body not in BODIES:
            raise ValueError(f"body is {body!r}; choose one of {', '.join(BODIES)}")
        self._target = SecretText(target if target.startswith("/") else f"/{target}")
        self._body = body
        theirs = dict(headers or {})
        taken = {name.lower() for name in theirs}
        ours = {"Content-Type": BODIES[body], "Accept": "application/json"}
        self._headers = MappingProxyType({n: v for n, v in ours.items() if n.lower() not in taken} | theirs)

    def __repr__(self) -> str:
        """How it frames, without the URL and the headers, which may hold secrets."""
        return f"<GenericDestination {self._body}>"

    def encode(self, fields: Fields) -> Draft:
        """Make one JSON object of the entry as it is."""
        return Draft(dumps(fields.values)[:-1], b"}")

    def build_request(self, lines: Sequence[bytes], *, now_unix_seconds: float) -> Request:  # noqa: ARG002 - Destination
        """Frame lines as ``body`` says; NDJSON ends in a newline, which some receivers demand."""
        framed = b"[%b]" % b",".join(lines) if self._body == "json_array" else b"%b\n" % b"\n".join(lines)
        return Request(self._target, self._headers, framed)

    def interpret(self, response: Response, *, count: int, body_bytes: int) -> Verdict:  # noqa: ARG002 - Destination
        """Judge an answer: 200, 201, 202 and 204 are success, all else goes by status.

        A web page is no answer to a log entry: it is the sign-in page of a network or of a proxy in between.
        The body tells, as many an endpoint calls its plain "ok" ``text/html``.
        """
        if response.status not in _DELIVERED:
            return verdict_by_status(
                response,
                receiver="The receiver",
                key_remedy="check api_key and api_header_name, or ask the receiver what the key may do",
            )
        if _HTML.match(response.body):
            return Retry(
                f"A web page came instead of an answer, {describe_answer(response)}: it looks like the "
                "sign-in page of a proxy; the entries are sent again; check url and proxy_url.",
                is_ambiguous=True,
            )
        return Delivered()

    def simplify(self, line: bytes) -> bytes:
        """Return the line: nothing in it can be left out."""
        return line


def check_header(name: object, value: object) -> tuple[str, str]:
    """Return a header that may be sent with each request.

    Raises:
        ValueError: a name that is no RFC 9110 token or belongs to the sender, or a value that is not visible
            ASCII with inner blanks; the message does not show the value, which may be a secret.

    """
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        # Not shown when it may be a whole header, «X-Api-Key: the-key».
        shown = "(not shown)" if re.search("[:=].", str(name)) else repr(str(name)[:40])
        raise ValueError(f"the header name {shown} is not one; use letters, digits and hyphens (X-Tenant)")
    refusal = _REFUSED_HEADERS.get(name.lower())
    if refusal:
        raise ValueError(f"the header {name!r} cannot be set: {refusal}")
    if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        raise ValueError(
            f"the value of the header {name!r} (not shown) is not visible ASCII text; remove control "
            "characters, blanks at its ends and letters beyond ASCII"
        )
    return name, value
