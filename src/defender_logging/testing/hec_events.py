"""Read the body of a HEC request as Splunk does: object by object, up to the first that it cannot take.

Called by ``hec`` once token, channel, encoding and size are found good. What stands before a bad object is
indexed; what stands behind it is not.

Source: Splunk, "Format events for HTTP Event Collector"; measured on Enterprise 10.4.3 and Cloud 10.5.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from defender_logging.testing.decoding import STRICT_JSON, as_text, parse_json
from defender_logging.testing.exchange import ReceivedEntry

METADATA_KEYS = ("host", "source", "sourcetype", "index")
_ENVELOPE_KEYS = frozenset({"event", "time", "fields", *METADATA_KEYS})
_BLANKS = re.compile(r"[ \t\r\n]*")

NO_DATA = 5
INVALID_FORMAT = 6
INCORRECT_INDEX = 7
EVENT_REQUIRED = 12
EVENT_BLANK = 13
BAD_FIELDS = 15


class Reading(NamedTuple):
    """What became of a body.

    Attributes:
        entries: what is indexed.
        discarded: what is skipped in silence.
        code: HEC's code for the whole request.
        number: the ``invalid-event-number``; None when the answer has none.
        bad_index: index of the object that the reading ended at; 0 when there is none.
    """

    entries: list[ReceivedEntry]
    discarded: list[ReceivedEntry]
    code: int
    number: int | None = None
    bad_index: int = 0


def read_events(body: bytes, *, request: int, indexes: Collection[str] | None) -> Reading:
    """Read concatenated event objects, with or without blanks between them.

    Args:
        body: the plain bytes.
        request: the request's number, for the entries.
        indexes: the indexes that the token may write to; None: any.
    """
    text = as_text(body)
    entries: list[ReceivedEntry] = []
    discarded: list[ReceivedEntry] = []
    position = _skip_blanks(text, 0)
    if position == len(text):
        return Reading(entries, discarded, NO_DATA)
    index = 0
    while position < len(text):
        try:
            value, position = STRICT_JSON.raw_decode(text, position)
        except (ValueError, RecursionError):
            return Reading(entries, discarded, INVALID_FORMAT, index, index)
        position = _skip_blanks(text, position)
        if isinstance(value, dict) and not value.keys() <= _ENVELOPE_KEYS:
            discarded.append(_skipped(value, request, "an unknown key in its envelope"))
            discarded += _read_skipped(text, position, request)
            break
        code = _fault(value, indexes)
        if code:
            return Reading(entries, discarded, code, index + (code == INCORRECT_INDEX), index)
        if "event" in value:
            entries.append(ReceivedEntry("splunk", value.pop("event"), request, value))
        else:
            discarded.append(_skipped(value, request, "fields without event"))
        index += 1
    return Reading(entries, discarded, 0)


def read_raw(
    body: bytes, *, request: int, metadata: Mapping[str, str], indexes: Collection[str] | None
) -> Reading:
    """Read the lines of a ``/raw`` body, each one event, decoded where it is a JSON object.

    Splunk breaks lines by the sourcetype's own rule; one line an event is the usual one.
    """
    lines = [line for line in body.decode("utf-8", "replace").split("\n") if line.strip()]
    if not lines:
        return Reading([], [], NO_DATA)
    if indexes is not None and "index" in metadata and metadata["index"] not in indexes:
        return Reading([], [], INCORRECT_INDEX)
    return Reading([ReceivedEntry("splunk", _raw_value(line), request, metadata) for line in lines], [], 0)


def _skip_blanks(text: str, position: int) -> int:
    """Return where the next object begins."""
    found = _BLANKS.match(text, position)
    assert found is not None  # the pattern matches nothing too
    return found.end()


def _skipped(value: Any, request: int, reason: str) -> ReceivedEntry:
    """Make the memory of an object that Splunk skips."""
    if not isinstance(value, dict):
        return ReceivedEntry("splunk", value, request, discarded_because=reason)
    return ReceivedEntry("splunk", value.pop("event", None), request, value, discarded_because=reason)


def _read_skipped(text: str, position: int, request: int) -> list[ReceivedEntry]:
    """Read what stands behind an unknown key, only to remember that it was lost."""
    lost = []
    while position < len(text):
        try:
            value, position = STRICT_JSON.raw_decode(text, position)
        except (ValueError, RecursionError):
            break
        position = _skip_blanks(text, position)
        lost.append(_skipped(value, request, "stands behind an unknown key"))
    return lost


def _fault(value: Any, indexes: Collection[str] | None) -> int:
    """Return the code for what is wrong with one object; 0 when nothing is."""
    if not isinstance(value, dict):
        return INVALID_FORMAT
    if "event" not in value:
        return 0 if "fields" in value else EVENT_REQUIRED
    event = value["event"]
    if event is None or (isinstance(event, str) and not event.strip()):
        return EVENT_BLANK
    if not _is_time(value.get("time", 0)) or not all(
        isinstance(value.get(key, ""), str) for key in METADATA_KEYS
    ):
        return INVALID_FORMAT
    if indexes is not None and "index" in value and value["index"] not in indexes:
        return INCORRECT_INDEX
    return 0 if _is_flat(value.get("fields", {})) else BAD_FIELDS


def _is_time(value: Any) -> bool:
    """Whether ``time`` is epoch seconds, as a number or as text."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_flat(fields: Any) -> bool:
    """Whether indexed fields hold nothing but scalars and lists of scalars."""
    if not isinstance(fields, dict):
        return False
    return all(
        not isinstance(part, dict | list)
        for value in fields.values()
        for part in (value if isinstance(value, list) else [value])
    )


def _raw_value(line: str) -> Any:
    """Decode a line that is a JSON object; anything else is text."""
    if not line.startswith("{"):
        return line
    try:
        return parse_json(line)
    except ValueError:
        return line
