"""Speaks Datadog's Logs API v2: fields under Datadog's names beside ours, lines to one JSON array.

``fitting`` calls ``encode`` in the caller's thread, ``delivery`` the rest in a sender's. Datadog rejects an
entry older than 18 hours *after* it has answered 202, with no word to the sender; so ``timestamp`` stands
at a fixed place with a fixed width, and ``build_request`` moves it to now where it is too old (or too far
ahead). ``time`` keeps the truth.

Source: docs.datadoghq.com "Send logs", "Log Status Remapper", "Standard attributes" and the preprocessing of
JSON logs; DataDog/datadog-api-client-python, v2/api/logs_api.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from defender_logging._pipeline.entry import Draft, Fields, Trace
from defender_logging._version import __version__
from defender_logging.destinations.base import Delivered, Limits, Request, Response, Verdict
from defender_logging.destinations.http_status import json_object, verdict_by_status
from defender_logging.secret import SecretText
from defender_logging.strict_json import dumps

__all__ = ["INTAKE_PATH", "SITES", "DatadogDestination", "full_target", "site_url"]

INTAKE_PATH = "/api/v2/logs"
SITES: Mapping[str, str] = MappingProxyType(
    {
        "US1": "datadoghq.com",
        "US3": "us3.datadoghq.com",
        "US5": "us5.datadoghq.com",
        "EU1": "datadoghq.eu",
        "AP1": "ap1.datadoghq.com",
        "AP2": "ap2.datadoghq.com",
        "UK1": "uk1.datadoghq.com",
        "US1-FED": "ddog-gov.com",
        "US2-FED": "us2.ddog-gov.com",
    }
)
"""Regions and their sites (docs.datadoghq.com "Send logs")."""

_LIMITS = Limits(
    max_batch_entries=1000,
    # Below the hard limit, as Vector is: what lies between pays for a mistake in counting, theirs or ours.
    default_batch_bytes=4_000_000,
    max_batch_bytes=5_000_000,
    # A log over 1 MB is cut by Datadog without a word; so we cut before, and say so in the entry.
    max_entry_bytes=900_000,
)

_MAX_AGE_MS = 17 * 3_600_000
"""One hour below Datadog's limit: the request has to travel, and clocks differ."""
_MAX_LEAD_MS = 2 * 3_600_000
_OLDEST_STAMP = 1_000_000_000_000
_NEWEST_STAMP = 9_999_999_999_999
_STAMP_START = len(b'{"timestamp":')
_STAMP_END = _STAMP_START + 13

_RENAMED = (
    ("user_id", "usr.id"),
    ("user_name", "usr.name"),
    ("user_email", "usr.email"),
    ("outcome", "evt.outcome"),
    ("reason", "evt.reason"),
    ("src_ip", "network.client.ip"),
    ("error_type", "error.kind"),
    ("error_message", "error.message"),
    ("error_stack", "error.stack"),
)
_SIGN_INS = frozenset({"signed in", "signed out", "invalid sign in"})
_PERSONS = frozenset({"user", "person"})
# Datadog reads ``@timestamp`` for the official date before it reads ``timestamp``: left to a caller, an old
# value there would make it throw the entry away.
_RESERVED = frozenset({"@timestamp", "timestamp", "status", "ddsource", "ddtags", "hostname", "evt.name"}) | {
    "dd.trace_id",
    "dd.span_id",
    *(theirs for _, theirs in _RENAMED),
}


class DatadogDestination:
    """One Datadog account's intake. Never changes, so any thread may use it.

    Args:
        target: path and query of the URL; a bare base becomes ``/api/v2/logs``.
        ddsource: the name of the technology, by which Datadog picks a pipeline.
        tags: ``key:value`` each, for ``ddtags``.
        environment: added to ``ddtags`` as ``env:…`` unless the tags have one.

    """

    __slots__ = ("_headers", "_origin", "_target")

    limits = _LIMITS
    reserved_names = _RESERVED
    inspected_names = frozenset({"category", "subject_type"})
    acks = None

    def __init__(
        self,
        *,
        target: str,
        ddsource: str = "defender",
        tags: Sequence[str] = (),
        environment: str | None = None,
    ) -> None:
        self._target = SecretText(full_target(target))
        self._origin = {"ddsource": ddsource}
        ddtags = _ddtags(tags, environment)
        if ddtags:
            self._origin["ddtags"] = ddtags
        self._headers = MappingProxyType(
            {
                "Content-Type": "application/json",
                "Accept": "application/json",
                "DD-EVP-ORIGIN": "defender_logging",
                "DD-EVP-ORIGIN-VERSION": __version__,
            }
        )

    def __repr__(self) -> str:
        """What it says of itself, without the URL, which may hold a secret."""
        return f"<DatadogDestination {self._origin}>"

    def encode(self, fields: Fields) -> Draft:
        """Make one log: Datadog's names first, then the entry unchanged.

        There is no clock here, so a time that 13 digits of milliseconds cannot hold (before 2001, after 2286)
        becomes the nearest that they can; ``build_request`` finds that too old or too new and moves it.
        """
        values = fields.values
        named: dict[str, Any] = {"status": _status(fields.levelno), **self._origin}
        if values.get("host"):
            named["hostname"] = values["host"]
        _name_event(named, values)
        _name_user(named, values)
        if fields.trace is not None:
            _name_trace(named, fields.trace)
        if "message" not in values:
            named["message"] = ""
        named.update(values)
        stamp = _stamp(fields.unix_microseconds // 1000)
        return Draft(b'{"timestamp":%d,%b' % (stamp, dumps(named)[1:-1]), b"}")

    def build_request(self, lines: Sequence[bytes], *, now_unix_seconds: float) -> Request:
        """Frame lines into an array, each with a ``timestamp`` that Datadog keeps."""
        now_ms = int(now_unix_seconds * 1000)
        # Of one width, so comparing the bytes compares the numbers.
        now = b"%d" % _stamp(now_ms)
        oldest = b"%d" % _stamp(now_ms - _MAX_AGE_MS)
        newest = b"%d" % _stamp(now_ms + _MAX_LEAD_MS)
        kept = [
            line if oldest <= line[_STAMP_START:_STAMP_END] <= newest else _with_stamp(line, now)
            for line in lines
        ]
        return Request(self._target, self._headers, b"[%b]" % b",".join(kept))

    def interpret(self, response: Response, *, count: int, body_bytes: int) -> Verdict:  # noqa: ARG002 - Destination
        """Judge an answer: 202 is success, and a 200 with a JSON object; all else by status."""
        if response.status == HTTPStatus.ACCEPTED:
            return Delivered()
        if response.status == HTTPStatus.OK and json_object(response.body) is not None:
            return Delivered()
        return verdict_by_status(
            response,
            receiver="Datadog",
            key_remedy="check api_key and site: a key is valid at its own site only, and must be an API key, "
            "not an application key",
        )

    def simplify(self, line: bytes) -> bytes:
        """Return the line: Datadog complains of no part."""
        return line


def site_url(site: object) -> str:
    """The intake's URL for a site such as ``datadoghq.eu``.

    Raises:
        ValueError: no such site; the message names the nearest.

    """
    if not isinstance(site, str):
        raise ValueError(f"site is {site!r}; give a name such as 'datadoghq.eu'")  # noqa: TRY004 - settings collect these
    name = site.strip().lower()
    if name in SITES.values():
        return f"https://http-intake.logs.{name}{INTAKE_PATH}"
    nearest = get_close_matches(name, SITES.values(), n=1, cutoff=0.5)
    meant = SITES.get(site.strip().upper()) or (nearest[0] if nearest else None)
    hint = f"did you mean {meant!r}? " if meant else ""
    choice = ", ".join(SITES.values())
    raise ValueError(f"site is {site[:80]!r}, which Datadog does not have; {hint}choose one of {choice}")


def full_target(target: str) -> str:
    """Complete path and query: a bare base URL means the intake of API v2, anything else stays as it is."""
    path, mark, query = target.partition("?")
    return f"{path if path.strip('/') else INTAKE_PATH}{mark}{query}"


def _ddtags(tags: Sequence[str], environment: str | None) -> str:
    """One string: an array is not accepted."""
    has_environment = any(tag.startswith("env:") for tag in tags)
    return ",".join([*tags, f"env:{environment}"] if environment and not has_environment else tags)


def _status(levelno: int) -> str:
    """A level word, by number and never by name: Datadog goes by first letters, AUDIT would be an alert."""
    if levelno >= 50:  # noqa: PLR2004 - these four are logging.CRITICAL, ERROR, WARNING, INFO; the floor rule
        return "critical"
    if levelno >= 40:  # noqa: PLR2004
        return "error"
    if levelno >= 30:  # noqa: PLR2004
        return "warning"
    return "info" if levelno >= 20 else "debug"  # noqa: PLR2004


def _name_event(named: dict[str, Any], values: dict[str, Any]) -> None:
    for ours, theirs in _RENAMED:
        value = values.get(ours)
        if value is not None:
            named[theirs] = value
    category = values.get("category")
    if category is not None:
        named["evt.name"] = "authentication" if category in _SIGN_INS else category


def _name_user(named: dict[str, Any], values: dict[str, Any]) -> None:
    """Fill ``usr`` from a user given as text, else from a subject that is a person.

    Datadog finds people by ``usr.id``. Who signs in or out is one unless ``subject_type`` says otherwise.
    """
    if "usr.id" in named or "usr.name" in named or "usr.email" in named:
        return
    user = values.get("user")
    if user is not None:
        named["usr.id"] = named["usr.name"] = user
        return
    subject = values.get("subject")
    if subject is not None and _is_person(values):
        named["usr.id"] = values.get("subject_id", subject)
        named["usr.name"] = subject


def _is_person(values: dict[str, Any]) -> bool:
    subject_type = values.get("subject_type")
    if subject_type is None:
        return values.get("category") in _SIGN_INS
    return isinstance(subject_type, str) and subject_type.lower() in _PERSONS


def _name_trace(named: dict[str, Any], trace: Trace) -> None:
    """Decimal text, and of the trace id the low 64 bits: so Datadog joins logs to traces."""
    named["dd.trace_id"] = str(trace.trace_id & 0xFFFF_FFFF_FFFF_FFFF)
    named["dd.span_id"] = str(trace.span_id)


def _stamp(unix_milliseconds: int) -> int:
    return min(max(unix_milliseconds, _OLDEST_STAMP), _NEWEST_STAMP)


def _with_stamp(line: bytes, stamp: bytes) -> bytes:
    return line[:_STAMP_START] + stamp + line[_STAMP_END:]
