"""Speaks Splunk's HTTP Event Collector: fields to an envelope, lines to a request.

``fitting`` calls ``encode`` in the caller's thread, ``delivery`` the rest in a sender's; answers are read
by ``splunk_replies``. On ``/event`` each line is one envelope with the entry inside; on ``/raw`` the line
is the entry, and the metadata go into the query. Guaranteed: only the seven envelope keys that Splunk knows
are written, because at an unknown one it answers 200 and silently skips that object and all after it
(measured).

Source: help.splunk.com "Format events for HTTP Event Collector", "HTTP Event Collector REST API endpoints",
"Automate indexed field extractions with HTTP Event Collector"; measured: ross/logit, tools/splunk-interop
(Enterprise 10.4.3, Cloud 10.5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from defender_logging._pipeline.entry import Draft, Fields
from defender_logging.destinations.base import Acks, Limits, Request, Response, Verdict
from defender_logging.destinations.splunk_replies import CLOUD_MAX_BODY_BYTES, interpret_reply, read_ack_reply
from defender_logging.secret import SecretText
from defender_logging.strict_json import dumps

__all__ = [
    "DEFAULT_INDEXED_FIELDS",
    "DEFAULT_SOURCETYPE",
    "EVENT_PATH",
    "WARN_BATCH_BYTES",
    "SplunkDestination",
    "check_metadata",
    "full_target",
    "is_raw_target",
    "normalise_token",
]

CHANNEL_HEADER = "X-Splunk-Request-Channel"
EVENT_PATH = "/services/collector/event"
DEFAULT_SOURCETYPE = "defender:log"
DEFAULT_INDEXED_FIELDS = ("component", "category", "level")
WARN_BATCH_BYTES = CLOUD_MAX_BODY_BYTES
"""A larger ``max_batch_bytes`` deserves a warning: Splunk Cloud refuses such bodies, in misleading words."""

_LIMITS = Limits(
    # Splunk states no number, and bytes end a batch long before; it bounds what one answer makes us look at.
    default_batch_entries=10_000,
    max_batch_entries=1_000_000,
    # Older releases take about 1 MB, so Vector stays below it for all (src/sinks/splunk_hec/common/util.rs).
    default_batch_bytes=1_000_000,
    # limits.conf [http_input] max_content_length of Enterprise 10.4.3, measured.
    max_batch_bytes=838_860_800,
    # No limit is known for one event; the smallest body limit is one for it too.
    max_entry_bytes=1_000_000,
)
_ENVELOPE_NAMES = frozenset({"time", "host", "source", "sourcetype", "index", "event", "fields"})
_FIELDS_START = b',"fields":{'
_RAW_PATHS = ("/raw", "/raw/1.0")
_ENDPOINT = re.compile(r"(/(event|raw))?(/1\.0)?/*\Z")
_MAX_METADATA_CHARACTERS = 1024
_MAX_INDEXED_CHARACTERS = 1024
"""Guess: an indexed value is for searching; the whole one stands in the event."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_TOKEN_PREFIX = re.compile(r"\Asplunk(?:\s+|$)", re.IGNORECASE)


class SplunkDestination:
    """One HEC endpoint with its metadata. Never changes, so any thread may use it.

    Args:
        target: path and query of the user's URL; a bare base becomes ``/services/collector/event``.
        channel: the GUID of this process and handler; a child process needs its own.
        host: the metadata's host; None: each entry's own ``host``.
        index: None: the token's default; so for ``source`` and ``sourcetype``.
        source: see ``index``.
        sourcetype: see ``index``.
        indexed_fields: names whose values are indexed beside the event as well (not on ``/raw``).
        use_ack: wait for the indexer's acknowledgment; the sender then brings channels of its own.

    """

    __slots__ = (
        "_headers",
        "_indexed_fields",
        "_is_raw",
        "_metadata",
        "_target",
        "_writes_entry_host",
        "acks",
        "inspected_names",
    )

    limits = _LIMITS
    reserved_names = _ENVELOPE_NAMES

    def __init__(
        self,
        *,
        target: str,
        channel: str,
        host: str | None = None,
        index: str | None = None,
        source: str | None = None,
        sourcetype: str | None = None,
        indexed_fields: Sequence[str] = DEFAULT_INDEXED_FIELDS,
        use_ack: bool = False,
    ) -> None:
        given = {"host": host, "source": source, "sourcetype": sourcetype, "index": index}
        metadata = {name: value for name, value in given.items() if value}
        self._is_raw = is_raw_target(target)
        self._target = SecretText(full_target(target))
        self.acks: Acks | None = _SplunkAcks(self._target) if use_ack else None
        if self._is_raw:
            self._target = SecretText(_with_query(self._target, metadata))
        # On every object: Splunk's page can be read as if an object's metadata held for those after it.
        self._metadata = b"".join(b",%b:%b" % (dumps(key), dumps(value)) for key, value in metadata.items())
        self._writes_entry_host = not host
        self._indexed_fields = tuple(indexed_fields)
        self.inspected_names = frozenset(indexed_fields)
        self._headers = MappingProxyType(
            {
                "Content-Type": "application/json",
                "Accept": "application/json",
                # A token without acknowledgment ignores it, one with it demands it: so it is always sent.
                CHANNEL_HEADER: channel,
            }
        )

    def __repr__(self) -> str:
        """Endpoint and metadata, without the URL, which may hold a secret."""
        endpoint = "raw" if self._is_raw else "event"
        return f"<SplunkDestination {endpoint} {{{self._metadata[1:].decode()}}}>"

    @property
    def is_raw(self) -> bool:
        """Whether it speaks to the raw endpoint."""
        return self._is_raw

    def encode(self, fields: Fields) -> Draft:
        """Make one envelope, open inside the event, ``fields`` after it; on ``/raw`` the bare entry."""
        values = fields.values
        if self._is_raw:
            return Draft(dumps(values)[:-1], b"}")
        metadata = self._metadata
        if self._writes_entry_host and values.get("host"):
            metadata = b',"host":%b%b' % (dumps(values["host"]), metadata)
        head = b'{"time":%b%b,"event":%b' % (_time(fields.unix_microseconds), metadata, dumps(values)[:-1])
        indexed = self._indexed(values)
        return Draft(head, b'},"fields":%b}' % dumps(indexed) if indexed else b"}}")

    def build_request(
        self,
        lines: Sequence[bytes],
        *,
        now_unix_seconds: float,  # noqa: ARG002 - Datadog's needs it
    ) -> Request:
        """Frame lines, one a line without a comma or brackets, as HEC reads objects."""
        return Request(self._target, self._headers, b"\n".join(lines))

    def interpret(self, response: Response, *, count: int, body_bytes: int) -> Verdict:
        """Judge an answer by its HEC code, else by its status."""
        return interpret_reply(
            response,
            count=count,
            body_bytes=body_bytes,
            is_raw=self._is_raw,
            use_ack=self.acks is not None,
        )

    def simplify(self, line: bytes) -> bytes:
        """Cut off the indexed ``fields`` (code 15); a line without any is returned as it is.

        Exact: only indexed fields make a line end in a string, as without them ``seq``, a number, is last;
        and the last such start is theirs, as their values are strings, in which quotes are escaped.
        """
        if self._is_raw or not line.endswith(b'"}}'):
            return line
        return line[: line.rindex(_FIELDS_START)] + b"}"

    def _indexed(self, values: dict[str, Any]) -> dict[str, str]:
        """Flat, strings only, no control characters: what never provokes code 15."""
        indexed = {}
        for name in self._indexed_fields:
            text = _indexed_text(values.get(name))
            if text:
                indexed[name] = text
        return indexed


class _SplunkAcks:
    """Asks for acknowledgments at the path beside the one that takes the entries."""

    def __init__(self, target: str) -> None:
        path, mark, query = target.partition("?")
        self._target = SecretText(f"{_ENDPOINT.sub('', path)}/ack{mark}{query}")

    def headers(self, channel: str) -> Mapping[str, str]:
        return {CHANNEL_HEADER: channel}

    def build_query(self, channel: str, receipts: Sequence[int]) -> Request:
        headers = {"Content-Type": "application/json", "Accept": "application/json", CHANNEL_HEADER: channel}
        return Request(self._target, headers, dumps({"acks": list(receipts)}))

    def read_reply(self, response: Response) -> AbstractSet[int] | str:
        return read_ack_reply(response)


def full_target(target: str) -> str:
    """Complete path and query: a bare base URL means the event endpoint, anything else stays as it is."""
    path, mark, query = target.partition("?")
    return f"{path if path.strip('/') else EVENT_PATH}{mark}{query}"


def is_raw_target(target: str) -> bool:
    """Whether path and query lead to the raw endpoint."""
    return target.partition("?")[0].endswith(_RAW_PATHS)


def check_metadata(name: str, value: object) -> str:
    """Return a value for ``host``, ``index``, ``source`` or ``sourcetype``, without blanks around it.

    Raises:
        ValueError: it is no text, blank, too long or has control characters; the message is for the user.

    """
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}, not text; give a string")  # noqa: TRY004 - settings collect these
    if _CONTROL.search(value) or _has_surrogates(value):
        raise ValueError(f"{name} is {value[:80]!r}, with control characters in it; remove them")
    if not value.strip():
        raise ValueError(f"{name} is {value[:80]!r}, blank; give a name or leave {name} out")
    if len(value) > _MAX_METADATA_CHARACTERS:
        raise ValueError(
            f"{name} has {len(value)} characters ({value[:80]!r}…); give {_MAX_METADATA_CHARACTERS} or fewer"
        )
    return value.strip()


def normalise_token(text: str) -> str:
    """Return the header value ``Splunk <token>`` for a token with or without that prefix.

    Raises:
        ValueError: no single word is left; the message does not show the token.

    """
    token = _TOKEN_PREFIX.sub("", text.strip(), count=1)
    if len(token.split()) != 1:
        problem = "has blanks inside" if token else "is empty"
        raise ValueError(f"the HEC token {problem}; give the token alone or as 'Splunk <token>'")
    return f"Splunk {token}"


def _time(unix_microseconds: int) -> bytes:
    """Epoch seconds with six decimals, from integers: a float would round the microseconds."""
    seconds, microseconds = divmod(abs(unix_microseconds), 1_000_000)
    return b"%b%d.%06d" % (b"-" if unix_microseconds < 0 else b"", seconds, microseconds)


def _indexed_text(value: object) -> str:
    if value is None or isinstance(value, (dict, list)):
        return ""
    text = value if isinstance(value, str) else dumps(value).decode()
    if not text.isprintable():
        text = _CONTROL.sub(" ", text)
    return text[:_MAX_INDEXED_CHARACTERS].strip()


def _with_query(target: str, metadata: dict[str, str]) -> str:
    """Add metadata to the query of a raw target; names that the user's URL has keep the URL's value."""
    path, _, query = target.partition("?")
    there = {name for name, _ in parse_qsl(query, keep_blank_values=True)}
    added = urlencode({n: v for n, v in metadata.items() if n not in there}, quote_via=quote, safe="")
    whole = "&".join(filter(None, (query, added)))
    return f"{path}?{whole}" if whole else path


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
