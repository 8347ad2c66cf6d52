"""Answer as Datadog's logs intake, API version 2, does.

``judge_datadog`` gets a whole request from the receiver and returns the answer with the entries that Datadog
would have, and with those that it accepts and then throws away.

Source: Datadog, "Send logs" API reference and "Log preprocessing" page. A guess where they are silent: more
than 1,000 entries give 400, and more than 2 hours in the future is discarded like more than 18 hours in the
past.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from defender_logging.testing.decoding import (
    as_text,
    decode_content,
    parse_json,
    status_for,
)
from defender_logging.testing.exchange import Outcome, ReceivedEntry, ReceivedRequest, json_response

__all__ = ["DATADOG_PATH", "DatadogSettings", "judge_datadog"]

DATADOG_PATH = "/api/v2/logs"
MAX_CONTENT_BYTES = 5_000_000  # plain bytes; above: 413
MAX_ENTRY_BYTES = 1_000_000  # above: accepted and cut
MAX_ENTRIES = 1_000
MAX_AGE_SECONDS = 18 * 3600
MAX_AHEAD_SECONDS = 2 * 3600

_ENCODINGS = ("gzip", "deflate")
_DATE_NAMES = (
    "@timestamp",
    "timestamp",
    "_timestamp",
    "Timestamp",
    "eventTime",
    "date",
    "published_date",
    "syslog.timestamp",
)
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    405: "Method Not Allowed",
    413: "Payload Too Large",
    415: "Unsupported Media Type",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatadogSettings:
    """How the Datadog that the receiver plays is set up. The ``repr`` shows no key.

    Attributes:
        api_keys: valid keys; None: every key.
    """

    api_keys: Collection[str] | None = field(default=None, repr=False)


def judge_datadog(request: ReceivedRequest, settings: DatadogSettings, *, now_unix_seconds: float) -> Outcome:
    """Answer one request to ``DATADOG_PATH``."""
    fault = _client_fault(request, settings)
    if fault is not None:
        return _refusal(*fault)
    encoding = request.header("Content-Encoding")
    try:
        body = decode_content(request.body, encoding, allowed=_ENCODINGS, max_bytes=MAX_CONTENT_BYTES)
        values = _values_of(body, request.header("Content-Type") or "application/json")
    except ValueError as error:
        return _refusal(status_for(error), str(error))
    entries = [_entry(value, request.number, len(body), now_unix_seconds) for value in values]
    return Outcome(
        json_response(202, {}),
        tuple(entry for entry in entries if not entry.discarded_because),
        tuple(entry for entry in entries if entry.discarded_because),
    )


def _client_fault(request: ReceivedRequest, settings: DatadogSettings) -> tuple[int, str] | None:
    """Return status and reason for a request whose body does not matter; None when it does."""
    key = request.header("DD-API-KEY")
    if request.method != "POST":
        return 405, "use POST"
    if not key:
        return 401, "the header DD-API-KEY is missing"
    if settings.api_keys is not None and key not in settings.api_keys:
        return 403, "the API key is not valid"
    return None


def _refusal(status: int, detail: str) -> Outcome:
    """Make an answer with Datadog's error body."""
    error = {"status": str(status), "title": _TITLES[status], "detail": detail}
    return Outcome(json_response(status, {"errors": [error]}))


def _values_of(body: bytes, content_type: str) -> list[dict[str, Any]]:
    """Read the logs of a body; ValueError when it is not what the API takes."""
    if content_type.partition(";")[0].strip().lower() == "text/plain":
        return [{"message": line} for line in body.decode("utf-8", "replace").split("\n") if line]
    value = parse_json(as_text(body))
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, dict) for each in values):
        raise ValueError("the body must be a JSON object or an array of objects")
    if len(values) > MAX_ENTRIES:
        raise ValueError(f"the array has {len(values)} entries, more than {MAX_ENTRIES}")
    return values


def _entry(value: dict[str, Any], request: int, body_bytes: int, now_unix_seconds: float) -> ReceivedEntry:
    """Judge one log that the intake has accepted."""
    unix_seconds = _official_date(value)
    reason = ""
    if unix_seconds is not None and unix_seconds < now_unix_seconds - MAX_AGE_SECONDS:
        reason = "its timestamp is more than 18 hours old"
    elif unix_seconds is not None and unix_seconds > now_unix_seconds + MAX_AHEAD_SECONDS:
        reason = "its timestamp is more than 2 hours in the future"
    # Only a body over the limit can hold an entry over it: measuring each one again would cost much.
    is_truncated = body_bytes > MAX_ENTRY_BYTES and _size_of(value) > MAX_ENTRY_BYTES
    return ReceivedEntry("datadog", value, request, is_truncated=is_truncated, discarded_because=reason)


def _size_of(value: dict[str, Any]) -> int:
    """Bytes of one log as compact JSON."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace"))


def _official_date(value: dict[str, Any]) -> float | None:
    """Unix seconds of a log's official date; None when it has none that can be read, so receipt counts."""
    found = next((value[name] for name in _DATE_NAMES if name in value), None)
    if isinstance(found, str):
        return _date_in(found)
    if isinstance(found, int | float) and not isinstance(found, bool):
        return _date_in(str(found))
    return None


def _date_in(text: str) -> float | None:
    """Unix seconds of epoch milliseconds or an ISO 8601 date written as text."""
    try:
        return float(text) / 1000
    except ValueError:
        pass
    try:
        date = datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 does not know the Z
        return (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None
