"""Answer as a plain endpoint that takes JSON and, where it is set up so, an API key.

``judge_generic`` gets a whole request from the receiver and returns the answer with the entries in it:
those of a JSON array, of newline-delimited JSON, or a single object, told apart by content.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from defender_logging.testing.decoding import (
    as_text,
    decode_content,
    parse_json,
    status_for,
)
from defender_logging.testing.exchange import Outcome, ReceivedEntry, ReceivedRequest, json_response

__all__ = ["GenericSettings", "judge_generic"]

_ENCODINGS = ("gzip", "deflate", "zstd")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenericSettings:
    """How the endpoint that the receiver plays is set up. The ``repr`` shows no key.

    Attributes:
        header_name: the header that has to carry a key; None: none is needed.
        header_values: valid values of that header, prefix included; None: any.
        max_content_bytes: the most plain bytes of a body; above: 413.
    """

    header_name: str | None = None
    header_values: Collection[str] | None = field(default=None, repr=False)
    max_content_bytes: int = 64 * 1024 * 1024


def judge_generic(request: ReceivedRequest, settings: GenericSettings) -> Outcome:
    """Answer one request to any path that is no vendor's."""
    fault = _client_fault(request, settings)
    if fault is not None:
        return _refusal(*fault)
    encoding = request.header("Content-Encoding")
    limit = settings.max_content_bytes
    try:
        body = decode_content(request.body, encoding, allowed=_ENCODINGS, max_bytes=limit)
        values = _values_of(as_text(body))
    except ValueError as error:
        return _refusal(status_for(error), str(error))
    entries = tuple(ReceivedEntry("generic", value, request.number) for value in values)
    return Outcome(json_response(200, {"accepted": len(entries)}), entries)


def _client_fault(request: ReceivedRequest, settings: GenericSettings) -> tuple[int, str] | None:
    """Return status and reason for a request whose body does not matter; None when it does."""
    if request.method not in ("POST", "PUT"):
        return 405, "use POST"
    if settings.header_name is None:
        return None
    key = request.header(settings.header_name)
    if not key:
        return 401, f"the header {settings.header_name} is missing"
    if settings.header_values is not None and key not in settings.header_values:
        return 403, f"the value of the header {settings.header_name} is not valid"
    return None


def _refusal(status: int, error: str) -> Outcome:
    """Make an answer that says why."""
    return Outcome(json_response(status, {"error": error}))


def _values_of(text: str) -> list[Any]:
    """Read the entries of a body; ValueError when it is no JSON of any of the three shapes."""
    if not text.strip():
        raise ValueError("the body is empty")
    try:
        value = parse_json(text)
    except ValueError:
        lines = text.split("\n")
        if len(lines) == 1:
            raise
        return [parse_json(line) for line in lines if line.strip()]
    return value if isinstance(value, list) else [value]
