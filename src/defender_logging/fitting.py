"""Fields to a draft that fits: encoded by the destination, and cut where one entry would be too long.

Between ``FieldsBuilder`` and the buffer, in the thread of the log call. Nearly every entry fits and is
encoded once. Of the others the longest texts are cut, all to the same length, so that a short field never pays
for a long one; the entry then says ``truncated`` and ``original_bytes``. The result is never over the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from defender_logging._pipeline.entry import SCHEMA, Draft, Fields
from defender_logging.destinations.base import Encoder
from defender_logging.field_names import RESERVED_NAMES
from defender_logging.plain import free_name
from defender_logging.strict_json import dumps

__all__ = ["TAIL_BYTES", "encode_to_fit"]

TAIL_BYTES = 128
"""Room for ``id``, ``stream`` and ``seq``, which the buffer splices in."""

_MIN_TEXT_BYTES = 32
"""No text is cut shorter than this, nor a name: longer than every name of our own."""

_PRECISION = 1.05
"""The texts may end up this much shorter than they could be; finer costs more encodings (now about eight)."""

_MARK = "…"
"""Ends a text that was cut."""

_MAX_CHAR_BYTES = 6
"""What one character takes at most in JSON: ``\\u0000``."""

_ALWAYS = frozenset({"time", "level", "truncated", "original_bytes", "trail", "schema"})

_Values = dict[str, Any]


def encode_to_fit(destination: Encoder, fields: Fields, *, max_line_bytes: int) -> Draft:
    """Encode ``fields``, with ``schema``, into a line of at most ``max_line_bytes`` bytes, tail included.

    Args:
        destination: encodes; asked again for each try at an entry that is too long.
        fields: what to say; stays as it is.
        max_line_bytes: the limit for one entry; at least 4,096, so that our own fields find room in any case.
    """
    _, unix_microseconds, levelno, trace = fields

    def encode(values: _Values) -> Draft:
        return destination.encode(Fields(values, unix_microseconds, levelno, trace))

    draft = encode({**fields.values, "schema": SCHEMA})
    if _line_bytes(draft) <= max_line_bytes:
        return draft

    def try_to_encode(values: _Values) -> Draft | None:
        smaller = encode(values)
        return smaller if _line_bytes(smaller) <= max_line_bytes else None

    values = _marked(fields.values, _line_bytes(draft))
    highest = _line_bytes(draft)
    texts = _texts_of_structures(values)
    return (
        _longest_fit(lambda cap: _cut(values, cap), try_to_encode, highest)
        or _longest_fit(lambda cap: _cut(_as_texts(values, texts, cap), cap), try_to_encode, highest)
        or _most_fit(_cut(_as_texts(values, texts, _MIN_TEXT_BYTES), _MIN_TEXT_BYTES), try_to_encode)
        or encode({name: values[name] for name in values if name in _ALWAYS})
    )


def _line_bytes(draft: Draft) -> int:
    return len(draft.head) + len(draft.foot) + TAIL_BYTES


def _marked(values: Mapping[str, Any], line_bytes: int) -> _Values:
    """Add ``truncated``, ``original_bytes`` and ``schema`` at their places in the order of the wire."""
    marked = dict(values)
    marked.pop("truncated", None)
    original_bytes = max(line_bytes, marked.pop("original_bytes", 0))
    names = list(marked)
    trail = names[names.index("trail") :] if "trail" in marked else []
    trail_fields = {name: marked.pop(name) for name in trail}
    return {
        **marked,
        "truncated": True,
        "original_bytes": original_bytes,
        **trail_fields,
        "schema": SCHEMA,
    }


def _longest_fit(
    cut_to: Callable[[int], _Values], try_to_encode: Callable[[_Values], Draft | None], highest: int
) -> Draft | None:
    """Return the draft with the longest texts that fit, None if the shortest do not."""
    low, high = _MIN_TEXT_BYTES, highest
    best = try_to_encode(cut_to(low))
    while best is not None and high > low * _PRECISION:
        middle = max(low + 1, math.isqrt(low * high))
        draft = try_to_encode(cut_to(middle))
        if draft is None:
            high = middle
        else:
            best, low = draft, middle
    return best


def _most_fit(values: _Values, try_to_encode: Callable[[_Values], Draft | None]) -> Draft | None:
    """Return the draft with the fewest fields left out: extras, the largest first, then ours from the end."""
    extras = [name for name in values if name not in RESERVED_NAMES]
    extras.sort(key=lambda name: len(name) + len(dumps(values[name])), reverse=True)
    names = extras + [name for name in reversed(values) if name in RESERVED_NAMES - _ALWAYS]

    def without(count: int) -> Draft | None:
        left_out = set(names[:count])
        return try_to_encode({name: value for name, value in values.items() if name not in left_out})

    low, high = 0, len(names)
    best = without(high)
    while best is not None and high - low > 1:
        middle = (low + high) // 2
        draft = without(middle)
        if draft is None:
            low = middle
        else:
            best, high = draft, middle
    return best


def _texts_of_structures(values: _Values) -> dict[str, str]:
    """Return the JSON text of each extra that is a list or an object."""
    return {
        name: dumps(value).decode()
        for name, value in values.items()
        if isinstance(value, (dict, list)) and name not in RESERVED_NAMES
    }


def _as_texts(values: _Values, texts: Mapping[str, str], cap_bytes: int) -> _Values:
    """Return the values with every structure as its text that is longer than ``cap_bytes``."""
    return values | {name: text for name, text in texts.items() if len(text) > cap_bytes}


def _cut(value: Any, cap_bytes: int) -> Any:
    """Return ``value`` with every text in it, names too, cut to ``cap_bytes`` bytes of JSON."""
    if isinstance(value, str):
        return _clip(value, cap_bytes)
    if isinstance(value, list):
        return [_cut(item, cap_bytes) for item in value]
    if not isinstance(value, dict):
        return value
    cut: _Values = {}
    last_numbers: dict[str, int] = {}
    for name, item in value.items():
        short = _clip(name, cap_bytes)
        cut[free_name(short, cut, last_numbers) if short in cut else short] = _cut(item, cap_bytes)
    return cut


def _clip(text: str, cap_bytes: int) -> str:
    if len(text) * _MAX_CHAR_BYTES <= cap_bytes:
        return text
    head = text[:cap_bytes]
    head_bytes = _json_bytes(head)
    if len(head) == len(text) and head_bytes <= cap_bytes:
        return text
    room = cap_bytes - len(_MARK.encode())
    while head_bytes > room:
        head = head[: min(len(head) - 1, len(head) * room // head_bytes)]
        head_bytes = _json_bytes(head)
    return head + _MARK


def _json_bytes(text: str) -> int:
    return len(dumps(text)) - len('""')
