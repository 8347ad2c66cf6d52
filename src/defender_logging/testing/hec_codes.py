"""The table of HEC's codes, and answers made from it.

Source: Splunk, "Troubleshoot HTTP Event Collector" (10.4) for 0 to 27; 28 measured on Splunk Cloud 10.5.
Senders have to go by ``code`` and the HTTP status; the texts are there for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from defender_logging.testing.exchange import Response, json_response
from defender_logging.testing.scripting import Answer

__all__ = ["HEC_CODES", "hec_answer", "hec_response"]

HEC_CODES: Mapping[int, tuple[int, str]] = MappingProxyType(
    {
        0: (200, "Success"),
        1: (403, "Token disabled"),
        2: (401, "Token is required"),
        3: (401, "Invalid authorization"),
        4: (403, "Invalid token"),
        5: (400, "No data"),
        6: (400, "Invalid data format"),
        7: (400, "Incorrect index"),
        8: (500, "Internal server error"),
        9: (503, "Server is busy"),
        10: (400, "Data channel is missing"),
        11: (400, "Invalid data channel"),
        12: (400, "Event field is required"),
        13: (400, "Event field cannot be blank"),
        14: (400, "ACK is disabled"),
        15: (400, "Error in handling indexed fields"),
        16: (400, "Query string authorization is not enabled"),
        17: (200, "HEC is healthy"),
        18: (503, "HEC is unhealthy, queues are full"),
        19: (503, "HEC is unhealthy, ack service unavailable"),
        20: (503, "HEC is unhealthy, queues are full, ack service unavailable"),
        21: (400, "Invalid token"),
        22: (400, "Token disabled"),
        23: (503, "Server is shutting down"),
        24: (200, "HEC queue is approaching its capacity limit"),
        25: (200, "HEC ACK is approaching its capacity limit"),
        26: (429, "HEC queue is at capacity and cannot process any more requests"),
        27: (429, "HEC ACK channel is at capacity and cannot process any more requests"),
        28: (
            400,
            (
                "Data channel is missing. If you have multiple indexers, "
                "sticky session load balancers must be provisioned"
            ),
        ),
    }
)
"""Code to HTTP status and text."""

_TAKEN_CODES = frozenset({0, 24, 25})


def hec_response(code: int, *, number: int | None = None, ack_id: int | None = None) -> Response:
    """Make HEC's own answer for ``code``.

    Args:
        code: a key of ``HEC_CODES``.
        number: ``invalid-event-number``; None leaves it out.
        ack_id: ``ackId``; None leaves it out.
    """
    status, text = HEC_CODES[code]
    body: dict[str, Any] = {"text": text, "code": code}
    if number is not None:
        body["invalid-event-number"] = number
    if ack_id is not None:
        body["ackId"] = ack_id
    return json_response(status, body)


def hec_answer(code: int, *, number: int | None = None, ack_id: int | None = None, **options: Any) -> Answer:
    """Make a scripted ``Answer`` for ``code``, for instance ``receiver.script(hec_answer(9))``.

    Codes 0, 24 and 25 take the entries, as in Splunk, unless ``takes_entries=False``. ``options`` are those
    of ``Answer``, such as ``delay_seconds`` or ``headers``.
    """
    response = hec_response(code, number=number, ack_id=ack_id)
    options.setdefault("takes_entries", code in _TAKEN_CODES)
    return Answer(status=response.status, body=response.body, **options)
