"""Any Python object to plain values: str, int, float, bool, None, list, dict with str keys.

The objects come from a record, in the thread of the log call; the values go into the entry's fields. They are
a snapshot: what the caller changes later does not show. Guaranteed for every object: no exception (only
SystemExit, KeyboardInterrupt and their like pass), nothing consumed or awaited, no memory address, bounded
depth, bounded work, and no secret under a telling name.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from defender_logging.opening import ATOMS, Bag, Pairs, opened
from defender_logging.redaction import Redactor
from defender_logging.strict_json import clean_text, dumps

__all__ = ["CIRCULAR", "MAX_DEPTH", "Snapshot", "free_name", "plain"]

CIRCULAR = "[circular]"
TOO_DEEP = "[too deep]"

MAX_DEPTH = 32
"""Containers inside each other that keep their shape; what is below becomes text."""

_TEXT_DEPTH = 16
"""Further levels that the text of what is below ``MAX_DEPTH`` still shows."""

_MAX_TEXT_CHARS = 1000

_VALUE_BYTES = 64
_MAX_BYTES = 16 * 1024 * 1024
"""What one record's nested values may cost, each ``_VALUE_BYTES`` and its characters: a quarter of a million values.

No entry has room for more, and a small structure that shares its parts can unfold to any size.
"""

_NUMBERS = frozenset({int, float, bool})


class Snapshot:
    """One walk over what one record carries, with one budget. Used by one thread, then thrown away.

    Attributes:
        redactor: names what is not shown.
        is_cut: something was too deep or too much, and is not shown whole.
        cut_bytes: about how much was left out, as far as it was looked at.
    """

    __slots__ = ("_bytes_left", "_hides", "_path", "cut_bytes", "is_cut", "redactor")

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self._hides: Callable[[str], bool] = redactor.hides
        self._bytes_left = _MAX_BYTES
        self._path: set[int] = set()
        self.is_cut = False
        self.cut_bytes = 0

    def take(self, value: Any) -> Any:
        """Return ``value`` as a plain value of its own, redacted by name at every depth."""
        try:
            return self._walk(value, 0)
        except RecursionError:  # The caller's own stack is nearly full.
            self._path.clear()
            self.is_cut = True
            return TOO_DEEP

    def _walk(self, value: Any, depth: int) -> Any:
        atom = ATOMS.get(type(value))
        if atom is not None:
            self._bytes_left -= _VALUE_BYTES + (len(value) if depth and type(value) is str else 0)
            return atom(value)
        if id(value) in self._path:
            return CIRCULAR
        if type(value) is tuple and self._is_secret_pair(value):
            return [self._walk(value[0], depth), self.redactor.mark(value[1])]
        self._path.add(id(value))
        try:
            return self._container(opened(value), depth)
        finally:
            self._path.discard(id(value))

    def _container(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is not Pairs and kind is not list and kind is not Bag:
            return self._walk(value, depth)
        self._bytes_left -= _VALUE_BYTES
        if depth >= MAX_DEPTH:
            return self._below(value, depth)
        return self._shaped(value, depth + 1)

    def _shaped(self, value: Any, depth: int) -> Any:
        if type(value) is Pairs:
            return self._mapping(value, depth)
        items = []
        for item in value:
            if self._bytes_left <= 0:
                self.is_cut = True
                break
            items.append(self._walk(item, depth))
        return _in_stable_order(items) if type(value) is Bag else items

    def _mapping(self, pairs: Pairs, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        last_numbers: dict[str, int] = {}
        for key, item in pairs:
            if self._bytes_left <= 0:
                self.is_cut = True
                break
            name = self.name_of(key, depth)
            self._bytes_left -= len(name)
            value = self.redactor.mark(item) if self._hides(name) else self._walk(item, depth)
            values[free_name(name, values, last_numbers) if name in values else name] = value
        return values

    def name_of(self, key: Any, depth: int = 0) -> str:
        """Return ``key`` as the text of a name; what is no text becomes its JSON."""
        if type(key) is str:
            return clean_text(key)
        name = self._walk(key, depth)
        return name if isinstance(name, str) else dumps(name).decode()

    def _is_secret_pair(self, value: tuple[Any, ...]) -> bool:
        """Headers often travel as tuples of name and value."""
        if len(value) != 2 or type(value[0]) not in {str, bytes}:  # noqa: PLR2004 - a pair
            return False
        return self._hides(self.name_of(value[0]))

    def _below(self, value: Any, depth: int) -> Any:
        """Return what is nested below ``MAX_DEPTH`` as bounded JSON text, its own parts on the way there."""
        self.is_cut = True
        if depth >= MAX_DEPTH + _TEXT_DEPTH:
            return TOO_DEEP
        if depth > MAX_DEPTH:
            return self._shaped(value, depth + 1)
        text = dumps(self._shaped(value, depth + 1)).decode()
        self.cut_bytes += max(0, len(text) - _MAX_TEXT_CHARS)
        return text if len(text) <= _MAX_TEXT_CHARS else text[:_MAX_TEXT_CHARS] + "…"


def _in_stable_order(items: list[Any]) -> list[Any]:
    """Sort what came from a set, whose own order changes from run to run."""
    kinds = {type(item) for item in items}
    if kinds == {str} or kinds <= _NUMBERS:
        return sorted(items)
    return sorted(items, key=dumps)


def free_name(name: str, taken: Container[str], last_numbers: dict[str, int]) -> str:
    """Return ``name_2``, or the first such name not in ``taken``; ``last_numbers`` saves counting again."""
    number = last_numbers.get(name, 1) + 1
    while f"{name}_{number}" in taken:
        number += 1
    last_numbers[name] = number
    return f"{name}_{number}"


def plain(value: Any, redactor: Redactor) -> Any:
    """Return a snapshot of any object as a plain value, redacted by name at every depth.

    Never raises an Exception.

    - Integers beyond 2^53 - 1 become text, as do NaN and the infinities; sets are sorted.
    - Mappings, dataclasses and named tuples become dicts; what has no better form becomes its ``str()``.
    - A container inside itself becomes ``CIRCULAR``; what is nested below ``MAX_DEPTH`` levels becomes text.
    - An object whose own code raises is replaced by a text that names its type and the error's.
    """
    return Snapshot(redactor).take(value)
