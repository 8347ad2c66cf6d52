"""What ``prev`` and ``hash`` of an entry are made of. Pure: values in, texts and digests out.

``chain`` seals entries on their way out with it, ``defender-logging verify`` checks what came back; docs/integrity.md
has the same rules in words, with examples, for whoever writes another verifier.

- The *core text* of an entry is one line a value, ``path=text``, sorted. It holds all fields of ours and those extras
  that ``hashed`` names, so it stays the same when a receiver reorders, adds, nests or unnests fields, writes a number
  in another way, or leaves out what is empty.
- ``hash`` is SHA-256, or with a key HMAC-SHA256, of three lines: ``prev``, the core text's SHA-256, ``id``.

The number is known only under the buffer's lock; so the core is digested before, and the rest takes a microsecond.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

from defender_logging.field_names import RESERVED_NAMES

__all__ = ["GENESIS", "HASHED", "Integrity", "Seal", "core_digest", "core_text", "extras_in"]

GENESIS = b"0" * 64
"""``prev`` of the first entry of a stream."""

HASHED = "hashed"
"""The field that names the extras in the core: others may be the receiver's."""

_COVERED = (RESERVED_NAMES - {"prev", "hash", "id", "stream", "seq"}) | {HASHED}

_KEY_ID_BYTES = 8
_MAX_POINT = 21
_MIN_POINT = -6


class Integrity(str, Enum):
    """How the entries of a handler are chained."""

    OFF = "off"
    SHA256 = "sha256"
    HMAC_SHA256 = "hmac-sha256"


class Seal:
    """Makes the ``hash`` of an entry. Immutable; holds no key that could be printed.

    Args:
        key: for HMAC-SHA256; None: plain SHA-256.
    """

    __slots__ = ("_mac", "algorithm", "key_id")

    def __init__(self, key: str | None = None) -> None:
        self._mac = None if key is None else hmac.new(key.encode(), digestmod=hashlib.sha256)
        self.algorithm = Integrity.SHA256 if key is None else Integrity.HMAC_SHA256
        self.key_id: str | None = None
        if key is not None:
            self.key_id = self._digest(b"defender-logging key id").hex()[: 2 * _KEY_ID_BYTES]

    def __repr__(self) -> str:
        return f"<Seal {self.algorithm.value}>"

    def link(self, prev: bytes, core: bytes, entry_id: bytes) -> bytes:
        """Return the ``hash`` of an entry, 64 hexadecimal digits, from ``prev``, the core's digest and ``id``."""
        return self._digest(b"%b\n%b\n%b" % (prev, core, entry_id)).hex().encode()

    def _digest(self, content: bytes) -> bytes:
        if self._mac is None:
            return hashlib.sha256(content).digest()
        mac = self._mac.copy()
        mac.update(content)
        return mac.digest()


def extras_in(values: Mapping[str, Any]) -> list[str]:
    """Return the names among an entry's fields that are not ours: what ``hashed`` has to list."""
    return [name for name in values if name not in RESERVED_NAMES]


def core_digest(entry: Mapping[str, Any]) -> bytes:
    """Return the SHA-256 of the core text, 64 hexadecimal digits."""
    return hashlib.sha256(core_text(entry).encode()).hexdigest().encode()


def core_text(entry: Mapping[str, Any]) -> str:
    """Return the canonical text of what the chain protects in an entry; plain values in, one line a value out."""
    listed = entry.get(HASHED)
    extras = frozenset(filter(_is_text, listed)) if isinstance(listed, list) else frozenset[str]()
    lines: set[str] = set()
    for name, value in entry.items():
        if name in _COVERED:
            if type(value) is str and value and "\\" not in value and "\n" not in value:
                lines.add(f"{name}={value}")  # The same in one step, for nearly all.
            else:
                _add_lines(lines, name, value)
        elif name in extras:
            _add_lines(lines, name, value)
    for name in extras - entry.keys():
        _add_lines(lines, name, _nested(entry, name.split(".")))
    return "\n".join(sorted(lines))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _nested(entry: Any, parts: Iterable[str]) -> Any:
    """Return the value of a dotted name that a receiver has turned into objects; None if it is not there."""
    for part in parts:
        entry = entry.get(part) if isinstance(entry, Mapping) else None
    return entry


def _add_lines(lines: set[str], path: str, value: Any) -> None:
    """Add the lines of one value. What is empty or null says nothing, and receivers leave it out."""
    if isinstance(value, str):
        if value:
            lines.add(f"{_escaped(path).replace('=', _EQUALS)}={_escaped(value)}")
    elif isinstance(value, (int, float)):
        _add_lines(lines, path, _scalar_text(value))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            _add_lines(lines, f"{path}.{name}", item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _add_lines(lines, f"{path}.{index}", item)


_EQUALS = "\\="


def _escaped(text: str) -> str:
    """Return ``text`` on one line, so that no value can pass for another line."""
    if "\\" in text or "\n" in text:
        return text.replace("\\", "\\\\").replace("\n", "\\n")
    return text


def _scalar_text(value: float | bool) -> str:  # noqa: FBT001 - a JSON value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else _float_text(value)


def _float_text(value: float) -> str:
    """Spell a number as RFC 8785 and ECMAScript do, so that 1, 1.0 and 1e0 are one."""
    sign, digits, exponent = Decimal(float.__repr__(value)).normalize().as_tuple()
    if not isinstance(exponent, int) or digits == (0,):
        return "0" if value == 0 else float.__repr__(value)
    text = "".join(map(str, digits))
    point = len(text) + exponent
    if len(text) <= point <= _MAX_POINT:
        spelled = text.ljust(point, "0")
    elif 0 < point <= _MAX_POINT:
        spelled = f"{text[:point]}.{text[point:]}"
    elif _MIN_POINT < point <= 0:
        spelled = f"0.{'0' * -point}{text}"
    else:
        mantissa = text if len(text) == 1 else f"{text[0]}.{text[1:]}"
        spelled = f"{mantissa}e{point - 1:+d}"
    return f"-{spelled}" if sign else spelled
