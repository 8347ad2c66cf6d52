"""Reads what a Splunk HTTP Event Collector answers.

``SplunkDestination.interpret`` hands the answer over; the verdict goes to ``delivery``. An HTTP status says
little here: success is a 200 *and* a ``code`` of 0, 24 or 25; an error code means the same on any status,
and the first part of the batch may be indexed all the same. Texts differ between products, so only codes
count.

With ``use_ack`` a success is only a receipt (``ackId``), and nothing counts as delivered without one.
Source: Splunk, "About HTTP Event Collector Indexer Acknowledgment"; measured: ross/logit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum, auto
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NamedTuple

from defender_logging.destinations.base import Delivered, Hold, Partly, Response, Retry, Split, Verdict
from defender_logging.destinations.http_status import (
    OVERSIZE,
    describe_answer,
    json_object,
    one_line,
    verdict_by_status,
)

__all__ = ["CLOUD_MAX_BODY_BYTES", "HEC_CODES", "HecCode", "Meaning", "interpret_reply", "read_ack_reply"]

CLOUD_MAX_BODY_BYTES = 5_242_880
"""Above this many bytes before compression, "object 0 is invalid" means "too large" (measured on Cloud 10.5:
5,242,881 were taken, 6,000,000 refused so: ross/logit, tools/splunk-interop)."""

_KEY_REMEDY = "set api_key to a valid HEC token of this Splunk"
_ENABLE_REMEDY = "enable the token in Splunk, or set api_key to another one"
_INDEX_REMEDY = "set index to one that exists and that the token may write to"
_CHANNEL_REMEDY = "every request carries X-Splunk-Request-Channel, so a proxy may be removing it; let it pass"
_ACK_REMEDY = "enable indexer acknowledgment for the HEC token that api_key holds, or set use_ack: false"
_SENT_AGAIN = "the entries are sent again"
_MAX_ACK_DIGITS = 19


class Meaning(Enum):
    """What a code says about the entries."""

    ACCEPTED = auto()
    """They are in, but only if the status is 200."""
    BUSY = auto()
    """They were not taken; later they may be."""
    UNKNOWN = auto()
    """They may be in or not."""
    TOKEN = auto()
    """Not their fault: the token."""
    SETTING = auto()
    """Not their fault: another setting, here or there."""
    INDEX = auto()
    """The index is refused; ``invalid-event-number`` names the one *after* the first that has it."""
    BAD_ENTRY = auto()
    """``invalid-event-number`` names the bad one; those before it are in."""
    BAD_FIELDS = auto()
    """The same, but without its ``fields`` it would be good."""
    OTHER = auto()
    """Nothing: no answer to entries; the status decides."""


class HecCode(NamedTuple):
    """One row of the code table: Splunk's words, what they mean, what to do."""

    text: str
    meaning: Meaning
    remedy: str = _SENT_AGAIN


# Source: Splunk's page "Troubleshoot HTTP Event Collector" (10.4) and the lookup of reply codes of
# gjanders/SplunkAdmins; what the numbers name, and 28 (Cloud only): measured, ross/logit,
# tools/splunk-interop.
HEC_CODES: Mapping[int, HecCode] = MappingProxyType(
    {
        0: HecCode("Success", Meaning.ACCEPTED, ""),
        1: HecCode("Token disabled", Meaning.TOKEN, _ENABLE_REMEDY),
        2: HecCode("Token is required", Meaning.TOKEN, "set api_key, and let the proxy pass Authorization"),
        3: HecCode("Invalid authorization", Meaning.TOKEN, "check api_key; it is sent as 'Splunk <token>'"),
        4: HecCode("Invalid token", Meaning.TOKEN, _KEY_REMEDY),
        5: HecCode("No data", Meaning.BAD_ENTRY),
        6: HecCode("Invalid data format", Meaning.BAD_ENTRY),
        7: HecCode("Incorrect index", Meaning.INDEX, _INDEX_REMEDY),
        8: HecCode("Internal server error", Meaning.UNKNOWN),
        # Not busy: a prefix was reported as indexed with this code (opentelemetry-collector-contrib #36113).
        9: HecCode("Server is busy", Meaning.UNKNOWN),
        10: HecCode("Data channel is missing", Meaning.SETTING, _CHANNEL_REMEDY),
        11: HecCode("Invalid data channel", Meaning.SETTING, "a proxy may be changing the channel header"),
        12: HecCode("Event field is required", Meaning.BAD_ENTRY),
        13: HecCode("Event field cannot be blank", Meaning.BAD_ENTRY),
        14: HecCode("ACK is disabled", Meaning.SETTING, _ACK_REMEDY),
        15: HecCode("Error in handling indexed fields", Meaning.BAD_FIELDS),
        16: HecCode(
            "Query string authorization is not enabled",
            Meaning.SETTING,
            "take the token out of url; api_key sends it as a header",
        ),
        17: HecCode("HEC is healthy", Meaning.OTHER),
        18: HecCode("HEC is unhealthy, queues are full", Meaning.BUSY),
        19: HecCode("HEC is unhealthy, ack service unavailable", Meaning.BUSY),
        20: HecCode("HEC is unhealthy, queues are full, ack service unavailable", Meaning.BUSY),
        21: HecCode("Invalid token", Meaning.TOKEN, _KEY_REMEDY),
        22: HecCode("Token disabled", Meaning.TOKEN, _ENABLE_REMEDY),
        23: HecCode("Server is shutting down", Meaning.BUSY),
        24: HecCode("HEC queue is approaching its capacity limit", Meaning.ACCEPTED, "the entries are in"),
        25: HecCode("HEC ACK is approaching its capacity limit", Meaning.ACCEPTED, "the entries are in"),
        26: HecCode("HEC queue is at capacity and cannot process any more requests", Meaning.BUSY),
        27: HecCode("HEC ACK channel is at capacity and cannot process any more requests", Meaning.BUSY),
        28: HecCode("Data channel is missing", Meaning.SETTING, _CHANNEL_REMEDY),
    }
)


def interpret_reply(
    response: Response, *, count: int, body_bytes: int, is_raw: bool, use_ack: bool = False
) -> Verdict:
    """Judge the answer to ``count`` entries in ``body_bytes`` bytes before compression.

    Args:
        response: the answer.
        count: entries in the request, at least 1.
        body_bytes: size of the request's body before compression.
        is_raw: it went to the raw endpoint, where no number names an entry (Splunk breaks the text itself).
        use_ack: entries are delivered only with a receipt.

    """
    reply = json_object(response.body) or {}
    verdict = _judge(reply, response, count=count, body_bytes=body_bytes, is_raw=is_raw)
    return _with_receipt(verdict, reply.get("ackId")) if use_ack else verdict


def read_ack_reply(response: Response) -> frozenset[int] | str:
    """Read the answer to a query of ack ids.

    Returns:
        The ids answered true, literally so: false says nothing, as an id once answered true is forgotten, and
        one of another channel or another indexer is not known. Where the answer is none to the query, that in
        words: it says nothing about any id.

    """
    reply = json_object(response.body) or {}
    acks = reply.get("acks")
    if response.status == HTTPStatus.OK and isinstance(acks, dict):
        return frozenset(int(key) for key, value in acks.items() if value is True and _is_ack_id(key))
    code = reply.get("code")
    row = HEC_CODES.get(code) if type(code) is int else None
    remedy = f": {row.remedy}" if row and row.meaning in (Meaning.TOKEN, Meaning.SETTING) else ""
    return f"Splunk answered the query for acknowledgments with {describe_answer(response)}{remedy}"


def _is_ack_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_ACK_DIGITS


def _with_receipt(verdict: Verdict, ack_id: object) -> Verdict:
    """Add the receipt to what is delivered; without one nothing is."""
    if not isinstance(verdict, (Delivered, Partly)) or (
        isinstance(verdict, Partly) and not verdict.delivered
    ):
        return verdict
    if type(ack_id) is int and ack_id >= 0:
        return replace(verdict, receipt=ack_id)
    if isinstance(verdict, Delivered):
        # Taken, but nobody can say what becomes of them; a token that is changed at run time heals it.
        return Hold(
            f"Splunk took the entries without an ackId, so nothing would confirm them: {_ACK_REMEDY}.",
            is_about_the_key=True,
            is_ambiguous=True,
        )
    rest = verdict.rest or Retry(verdict.reason, is_ambiguous=True)
    return replace(verdict, delivered=frozenset(), rest=rest)


def _judge(
    reply: Mapping[str, Any], response: Response, *, count: int, body_bytes: int, is_raw: bool
) -> Verdict:
    code = reply.get("code")
    # type(), because True == 1 and 0.0 == 0 would find a row as well.
    row = HEC_CODES.get(code) if type(code) is int else None
    if row is None or row.meaning is Meaning.OTHER or _is_misplaced(row, response):
        return verdict_by_status(response, receiver="Splunk", key_remedy=_KEY_REMEDY)
    number = reply.get("invalid-event-number")
    said = _Said(
        code=f"hec_code_{code}",
        sentence=_sentence(response, code, reply.get("text"), row),
        remedy=row.remedy,
        number=number if type(number) is int else None,
    )
    if row.meaning in _WITHOUT_NUMBER:
        return _judge_whole(row.meaning, said)
    if row.meaning is Meaning.INDEX:
        return _judge_index(said, count=0 if is_raw else count)
    if said.number == 0 and body_bytes > CLOUD_MAX_BODY_BYTES:
        return Split(f"{said.sentence}: the request is too large; it is halved.", OVERSIZE, is_oversize=True)
    return _judge_entry(row.meaning, said, count=0 if is_raw else count)


_WITHOUT_NUMBER = frozenset(
    {Meaning.ACCEPTED, Meaning.BUSY, Meaning.UNKNOWN, Meaning.TOKEN, Meaning.SETTING},
)


class _Said(NamedTuple):
    code: str
    sentence: str
    remedy: str
    number: int | None


def _is_misplaced(row: HecCode, response: Response) -> bool:
    return row.meaning is Meaning.ACCEPTED and response.status != HTTPStatus.OK


def _sentence(response: Response, code: object, text: object, row: HecCode) -> str:
    words = one_line(text) if isinstance(text, str) and text else row.text
    return f'Splunk answered {response.status} with HEC code {code} ("{words}")'


def _judge_whole(meaning: Meaning, said: _Said) -> Verdict:
    """Codes that mean the same for each entry of the request."""
    if meaning is Meaning.ACCEPTED:
        return Delivered()
    if meaning in (Meaning.BUSY, Meaning.UNKNOWN):
        return Retry(f"{said.sentence}: {said.remedy}.", is_ambiguous=meaning is Meaning.UNKNOWN)
    return Hold(f"{said.sentence}: {said.remedy}.", is_about_the_key=meaning is Meaning.TOKEN)


def _judge_index(said: _Said, *, count: int) -> Verdict:
    """Code 7: number N names the one after the bad one, so N may be ``count``; 0 to N-2 are in (measured)."""
    hold = Hold(f"{said.sentence}: {said.remedy}.")
    if said.number is None or not 1 < said.number <= count:
        return hold
    return Partly(delivered=frozenset(range(said.number - 1)), rest=hold, reason=hold.reason)


def _judge_entry(meaning: Meaning, said: _Said, *, count: int) -> Verdict:
    """Codes 5, 6, 12, 13, 15: number N names the bad one, 0 to N-1 are in, later ones are not (measured)."""
    if said.number is None or not 0 <= said.number < count:
        return Split(f"{said.sentence}: it does not say which entry; halving finds it.", said.code)
    before = frozenset(range(said.number))
    if meaning is Meaning.BAD_FIELDS:
        reason = f"{said.sentence}: entry {said.number} is sent again without indexed fields."
        return Partly(delivered=before, simplified=frozenset({said.number}), reason=reason)
    reason = f"{said.sentence}: entry {said.number} is set aside, those after it are sent again."
    return Partly(delivered=before, rejected=MappingProxyType({said.number: said.code}), reason=reason)
