"""Answer as Splunk's HTTP Event Collector does.

``judge_hec`` gets a whole request from the receiver and returns the answer with the entries that Splunk would
have indexed. Its only state is the ``AckDesk``, which hands out ack ids.

Source: Splunk, "HTTP Event Collector REST API endpoints", "About HTTP Event Collector Indexer
Acknowledgment"; measured on Enterprise 10.4.3 and Cloud 10.5. Written from these, never from what our own
sender does.
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from defender_logging.testing.decoding import (
    BadEncodingError,
    TooLargeError,
    UnsupportedEncodingError,
    as_text,
    decode_content,
    parse_json,
)
from defender_logging.testing.exchange import Outcome, ReceivedRequest, Response, json_response
from defender_logging.testing.hec_codes import hec_response
from defender_logging.testing.hec_events import INVALID_FORMAT, METADATA_KEYS, Reading, read_events, read_raw

__all__ = ["ENTERPRISE_MAX_CONTENT_BYTES", "AckDesk", "HecSettings", "judge_hec"]

ENTERPRISE_MAX_CONTENT_BYTES = 838_860_800  # limits.conf [http_input] max_content_length, measured on 10.4.3
CLOUD_MAX_CONTENT_BYTES = 5_242_881  # accepted by Cloud 10.5, which refused 6,000,000

_ROOT = "/services/collector"
_EVENT_PATHS = frozenset({_ROOT, f"{_ROOT}/event", f"{_ROOT}/event/1.0"})
_RAW_PATHS = frozenset({f"{_ROOT}/raw", f"{_ROOT}/raw/1.0"})
_ACK_PATHS = frozenset({f"{_ROOT}/ack", f"{_ROOT}/ack/1.0"})
_HEALTH_PATHS = frozenset({f"{_ROOT}/health", f"{_ROOT}/health/1.0"})
_POST_PATHS = _EVENT_PATHS | _RAW_PATHS | _ACK_PATHS
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HTML = (("content-type", "text/html; charset=UTF-8"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class HecSettings:
    """How the Splunk that the receiver plays is set up. The ``repr`` shows no token.

    Attributes:
        tokens: valid tokens; None: every token that is not disabled.
        disabled_tokens: known, but switched off.
        allows_query_token: whether ``?token=`` is taken.
        indexes: the indexes that may be written to; None: any.
        use_ack: whether the tokens have indexer acknowledgment.
        acks_come: False: no id ever answers true (until this is True again).
        is_cloud: Splunk Cloud's answers to a missing channel (28) and to an oversize body (400, code 6,
            number 0).
        max_content_bytes: the most plain bytes of a body; None: as measured, 838,860,800, on Cloud 5,242,881.
    """

    tokens: Collection[str] | None = field(default=None, repr=False)
    disabled_tokens: Collection[str] = field(default=(), repr=False)
    allows_query_token: bool = False
    indexes: Collection[str] | None = None
    use_ack: bool = False
    acks_come: bool = True
    is_cloud: bool = False
    max_content_bytes: int | None = None

    @property
    def content_limit(self) -> int:
        """The limit in force, in plain bytes."""
        if self.max_content_bytes is not None:
            return self.max_content_bytes
        return CLOUD_MAX_CONTENT_BYTES if self.is_cloud else ENTERPRISE_MAX_CONTENT_BYTES


class AckDesk:
    """The ack ids given out, per channel from 0, each true once. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: dict[str, int] = {}
        self._open: set[tuple[str, int]] = set()

    def issue(self, channel: str) -> int:
        """Give out the next id of a channel."""
        with self._lock:
            ack_id = self._next.get(channel, 0)
            self._next[channel] = ack_id + 1
            self._open.add((channel, ack_id))
            return ack_id

    def query(self, channel: str, ack_ids: Collection[int]) -> dict[str, bool]:
        """Answer for each id whether it is indexed; an id that is is forgotten with that."""
        with self._lock:
            answers = {str(ack_id): (channel, ack_id) in self._open for ack_id in ack_ids}
            self._open.difference_update((channel, ack_id) for ack_id in ack_ids)
            return answers

    def clear(self) -> None:
        """Forget every channel, as a restarted indexer does: ids begin at 0 again."""
        with self._lock:
            self._next.clear()
            self._open.clear()


def is_hec(path: str) -> bool:
    """Whether the path belongs to HEC, known or not."""
    return path == _ROOT or path.startswith(f"{_ROOT}/")


def judge_hec(request: ReceivedRequest, settings: HecSettings, acks: AckDesk) -> Outcome:
    """Answer one request to a path of ``is_hec``."""
    response = _answer_by_route(request)
    if response is not None:
        return Outcome(response)
    channel = (request.header("X-Splunk-Request-Channel") or request.query.get("channel", "")).lower()
    code = _token_fault(request, settings) or _channel_fault(request, settings, channel)
    if code:
        return Outcome(hec_response(code))
    return _judge_body(request, settings, acks, channel)


def _answer_by_route(request: ReceivedRequest) -> Response | None:
    """Answer what needs no token; None for a POST that has to be judged."""
    path, method = request.path, request.method
    if path not in _POST_PATHS | _HEALTH_PATHS:
        return _not_found(404)
    allowed = "GET,HEAD,OPTIONS" if path in _HEALTH_PATHS else "POST,OPTIONS"
    if method == "OPTIONS":
        return Response(200, (("allow", allowed),))
    if method not in allowed.split(","):
        return _not_found(405)
    # Even for a bad token, measured on Cloud 10.5.
    return hec_response(17) if path in _HEALTH_PATHS else None


def _channel_fault(request: ReceivedRequest, settings: HecSettings, channel: str) -> int:
    """Return the code for what is wrong with the channel; 0 when nothing is. It counts only with acks."""
    if not settings.use_ack:
        return 14 if request.path in _ACK_PATHS else 0
    if not channel:
        return 28 if settings.is_cloud else 10
    return 0 if _GUID.fullmatch(channel) else 11


def _not_found(status: int) -> Response:
    """HEC's answer to an unknown path and, word for word the same, to a wrong method."""
    return json_response(status, {"text": "The requested URL was not found on this server.", "code": 404})


def _token_fault(request: ReceivedRequest, settings: HecSettings) -> int:
    """Return the code for what is wrong with the authorization; 0 when nothing is."""
    header = request.header("Authorization")
    query_token = request.query.get("token")
    if header is None and query_token is not None:
        if not settings.allows_query_token:
            return 16
        token: str | None = query_token
    elif not header:
        return 2
    else:
        token = _token_in(header)
    if not token or token != token.strip():
        return 3
    if token in settings.disabled_tokens:
        return 1
    return 0 if settings.tokens is None or token in settings.tokens else 4


def _token_in(header: str) -> str | None:
    """Take the token out of ``Splunk <token>`` or ``Basic base64(<user>:<token>)``."""
    scheme, _, rest = header.partition(" ")
    if scheme == "Splunk":
        return rest
    if scheme != "Basic":
        return None
    try:
        return base64.b64decode(rest, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None


def _judge_body(request: ReceivedRequest, settings: HecSettings, acks: AckDesk, channel: str) -> Outcome:
    """Answer a request whose token and channel are good."""
    encoding = request.header("Content-Encoding")
    limit = settings.content_limit
    try:
        body = decode_content(request.body, encoding, allowed=("gzip",), max_bytes=limit)
    except UnsupportedEncodingError:
        return Outcome(Response(415, _HTML, b"<html><body>415 Unsupported Media Type</body></html>"))
    except BadEncodingError:
        return Outcome(hec_response(INVALID_FORMAT))
    except TooLargeError:
        if settings.is_cloud:
            return Outcome(hec_response(INVALID_FORMAT, number=0))
        return Outcome(Response(413, _HTML, b"<html><body>413 Request Entity Too Large</body></html>"))
    if request.path in _ACK_PATHS:
        return Outcome(_answer_ack_query(body, settings, acks, channel))
    reading = _read(request, body, settings)
    has_indexed = reading.code == 0 or reading.bad_index > 0
    ack_id = acks.issue(channel) if settings.use_ack and has_indexed else None
    response = hec_response(reading.code, number=reading.number, ack_id=ack_id)
    return Outcome(response, tuple(reading.entries), tuple(reading.discarded))


def _read(request: ReceivedRequest, body: bytes, settings: HecSettings) -> Reading:
    """Read the events of either endpoint."""
    if request.path in _EVENT_PATHS:
        return read_events(body, request=request.number, indexes=settings.indexes)
    metadata = {key: value for key, value in request.query.items() if key in METADATA_KEYS}
    return read_raw(body, request=request.number, metadata=metadata, indexes=settings.indexes)


def _answer_ack_query(body: bytes, settings: HecSettings, acks: AckDesk, channel: str) -> Response:
    """Answer ``{"acks":[0,1]}``."""
    try:
        query = parse_json(as_text(body))
    except ValueError:
        return hec_response(INVALID_FORMAT)
    ack_ids = query.get("acks") if isinstance(query, dict) else None
    if not isinstance(ack_ids, list) or not all(_is_id(ack_id) for ack_id in ack_ids):
        return hec_response(INVALID_FORMAT)
    if not settings.acks_come:
        return json_response(200, {"acks": {str(ack_id): False for ack_id in ack_ids}})
    return json_response(200, {"acks": acks.query(channel, ack_ids)})


def _is_id(value: Any) -> bool:
    """Whether a JSON value can be an ack id."""
    return isinstance(value, int) and not isinstance(value, bool)
