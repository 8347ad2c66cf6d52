"""Plain values to strict JSON bytes.

The values come from ``plain`` (or are a destination's own); the bytes go to the wire and to the spool.
Guaranteed whatever the text says: UTF-8 without a lone surrogate, no raw line break and nothing that repaints
a terminal, so one entry stays one line in every reader. orjson and the standard library write the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any

try:
    import orjson
except ImportError:  # The extra ``fast`` is optional.
    orjson = None  # type: ignore[assignment]

__all__ = ["RareFloat", "clean_text", "comparable_float", "dumps", "dumps_stdlib", "encode_atom", "finished"]

_REPAINTING = re.compile(
    rb"\x7f"  # DEL
    rb"|\xc2[\x80-\x9f]"  # C1 controls, U+0085 NEXT LINE among them
    rb"|\xd8\x9c"  # U+061C ARABIC LETTER MARK
    rb"|\xe2\x80[\x8e\x8f\xa8-\xae]"  # marks, U+2028 to U+202E line breaks and bidi overrides
    rb"|\xe2\x81[\xa6-\xa9]"  # U+2066 to U+2069 bidi isolates
    rb"|\xef\xbb\xbf"  # U+FEFF byte order mark
)
_DEL = 0x7F
_ESCAPES = {
    chr(code).encode(): b"\\u%04x" % code
    for code in (*range(0x7F, 0xA0), 0x61C, *range(0x200E, 0x206A), 0xFEFF)
}
"""How each of them is written; a table, because a text may consist of nothing else."""

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LONE = re.compile("[\ud800-\udfff]")
_FLOAT_MIN, _FLOAT_MAX = 1e-4, 1e16


class RareFloat(float):
    """A finite number that encoders spell in different ways; ``dumps`` writes Python's ``repr`` of it."""

    __slots__ = ()


def comparable_float(value: float) -> float:
    """Return ``value`` (finite) in the form that every encoder writes alike.

    Within the bounds all of them write the shortest digits without an exponent. Outside, orjson 3.9 to 3.11
    write ``1e16``, orjson 3.13 and Python ``1e+16``, and every orjson ``0.00001`` for ``1e-05`` (measured).
    """
    return value if value == 0 or _FLOAT_MIN <= abs(value) < _FLOAT_MAX else RareFloat(value)


def clean_text(text: str) -> str:
    """Return ``text`` as UTF-8 can hold it: split surrogate pairs joined, lone ones replaced by U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        joined = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
        return _LONE.sub("\ufffd", joined)
    return text


def finished(line: bytes) -> bytes:
    """Return a line of JSON with every character escaped that some reader takes for more than a character."""
    if line.isascii() and _DEL not in line:
        return line
    return _REPAINTING.sub(lambda match: _ESCAPES[match[0]], line)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(name): _cleaned(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return value


_encode_with_stdlib = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
).encode


def dumps_stdlib(value: Any) -> bytes:
    """Encode with the standard library alone; the same bytes as ``dumps``."""
    try:
        return finished(_encode_with_stdlib(value).encode())
    except UnicodeEncodeError:
        return finished(_encode_with_stdlib(_cleaned(value)).encode())


def _dumps_with_orjson() -> Callable[[Any], bytes]:
    encode, fragment = orjson.dumps, orjson.Fragment

    def spell(value: object) -> Any:
        if isinstance(value, RareFloat):
            return fragment(float.__repr__(value).encode())
        raise TypeError(f"{type(value).__name__} is not a plain value; pass it through plain() first.")

    def dumps(value: Any) -> bytes:
        try:
            line: bytes = encode(value, spell)
        except orjson.JSONEncodeError:
            line = encode(_cleaned(value), spell)
        return finished(line)

    return dumps


dumps: Callable[[Any], bytes] = dumps_stdlib if orjson is None else _dumps_with_orjson()
"""Encode plain values (str, int up to 64 bits, finite float, bool, None, list, dict with str keys) to JSON.

One UTF-8 text without blanks and without a newline at the end, names in the order given. Characters that some
reader takes for a line break or that repaint a terminal are written as ``\\uXXXX``. Raises TypeError for
anything that is not plain. Thread-safe.
"""


_WORDS_OF_JSON = {None: "null", True: "true", False: "false"}


def _encode_atom_with_stdlib(value: Any) -> bytes:
    if type(value) is str:
        return encode_basestring(value).encode()
    kind = type(value)
    return (repr(value) if kind is int or kind is float else _WORDS_OF_JSON[value]).encode()


encode_atom: Callable[[Any], bytes] = _encode_atom_with_stdlib if orjson is None else orjson.dumps
"""Encode one str, int, bool, None or float within the bounds of ``comparable_float``; the quickest way there is.

The text is not yet ``finished``. Raises an Exception for a lone surrogate.
"""
