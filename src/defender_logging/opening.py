"""One object, opened one level: an atom, a list, pairs, a bag, or a simpler object.

``plain`` walks what comes out. Here is all that calls the user's own code (``__str__``, ``items``,
properties), and so all that guards against it: its exceptions become a placeholder, and an object that logs
itself while it is being logged is asked three times, then no more.
"""

from __future__ import annotations

import datetime as dt
import math
import numbers
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping, ValuesView
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import fields
from enum import Enum
from itertools import islice
from typing import Any

from defender_logging.strict_json import clean_text, comparable_float

__all__ = [
    "ATOMS",
    "MAX_INTEGER",
    "Bag",
    "Pairs",
    "call_user_code",
    "class_name",
    "has_own_text",
    "opened",
    "text_of",
]

MAX_INTEGER = 2**53 - 1
"""The largest integer that every receiver can hold; beyond it digits travel as text."""

_MAX_DECIMAL_BITS = 14_000
"""Beyond it Python refuses (4300 digits) or takes quadratic time, and the text is hexadecimal."""

_MAX_ITEMS = 2**19
"""What is read of a user's own collection, which may have no end; more than ``plain`` shows."""

_MAX_NESTED_CALLS = 3
"""Calls of user code inside each other, by logging in ``__str__``, before no more are made."""

_MAX_KINDS = 1024

_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]{1,16}(?![0-9A-Fa-f])")
"""At most 64 bits: a longer number after "at" is data, such as a contract's address."""

_calls = threading.local()


class Pairs(list[tuple[Any, Any]]):
    """Keys and values of a mapping, in order."""


class Bag(list[Any]):
    """Items without an order of their own."""


class _NestedTooOftenError(Exception):
    """The user's code logs the object that it is asked about."""


def class_name(kind: type) -> str:
    """Return the name of a class, also of one whose metaclass would lie or raise."""
    name: str = type.__dict__["__name__"].__get__(kind)
    return clean_text(name[:200])


def call_user_code(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that may log in turn; raises when that has gone too deep already."""
    depth = getattr(_calls, "depth", 0)
    if depth >= _MAX_NESTED_CALLS:
        raise _NestedTooOftenError
    _calls.depth = depth + 1
    try:
        return function(*arguments)
    finally:
        _calls.depth = depth


def text_of(value: object) -> str:
    """Return ``str(value)`` as clean text without memory addresses, or a placeholder.

    Never raises an Exception.
    """
    atom = ATOMS.get(type(value))
    if atom is not None:
        return str(atom(value))
    if issubclass(type(value), str):
        return clean_text(str.__str__(value))
    try:
        return _stripped(call_user_code(str, value))
    except Exception as error:  # noqa: BLE001 - whatever the user's code raised
        return _placeholder(value, error)


def has_own_text(value: object) -> bool:
    """Say whether a dataclass tells in a ``__str__`` of its own how it wants to be written."""
    own = [vars(kind) for kind in type(value).__mro__[:-1]]
    return any("__dataclass_fields__" in kind for kind in own) and any("__str__" in kind for kind in own)


def opened(value: Any) -> Any:
    """Return an exact str, int, float, bool, None or list, ``Pairs``, a ``Bag``, or a simpler object.

    Never raises an Exception: a text that names the object's type and the error's stands for what cannot be
    opened.
    """
    try:
        opener = _BUILT_IN.get(type(value))
        if opener is not None:
            return opener(value)
        return call_user_code(_open_by_kind, value)
    except Exception as error:  # noqa: BLE001 - whatever the user's code raised
        return _placeholder(value, error)


def _placeholder(value: object, error: Exception) -> str:
    name = class_name(type(value))
    if isinstance(error, _NestedTooOftenError):
        return f"<{name}: logs itself>"
    return f"<{name}: unprintable, {class_name(type(error))}>"


def _stripped(text: str) -> str:
    exact = str.__str__(text)  # A subclass may do anything in its methods.
    return clean_text(_ADDRESS.sub("", exact) if " at 0x" in exact else exact)


def _integer(value: int) -> int | str:
    if -MAX_INTEGER <= value <= MAX_INTEGER:
        return value
    return str(value) if value.bit_length() <= _MAX_DECIMAL_BITS else hex(value)


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return comparable_float(value)
    if value != value:  # noqa: PLR0124 - the definition of NaN
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _same(value: Any) -> Any:
    return value


ATOMS: Mapping[type, Callable[[Any], Any]] = {
    str: clean_text,
    int: _integer,
    float: _float,
    bool: _same,
    type(None): _same,
}
"""What needs no opening, by exact type, and how it becomes plain; none of these runs user code or raises."""


def _decoded(value: bytes | bytearray | memoryview) -> str:
    return bytes(value).decode("utf-8", "backslashreplace")


def _pairs(value: Mapping[Any, Any]) -> Pairs:
    with suppress(RuntimeError):  # Another thread changed it meanwhile: once more.
        return Pairs((key, item) for key, item in islice(value.items(), _MAX_ITEMS))
    return Pairs((key, item) for key, item in islice(value.items(), _MAX_ITEMS))


_BUILT_IN: Mapping[type, Callable[[Any], Any]] = {
    dict: lambda value: Pairs(value.copy().items()),
    list: list.copy,
    tuple: list,
    set: Bag,
    frozenset: Bag,
    bytes: _decoded,
    bytearray: _decoded,
}
"""Exact types whose opening runs no user code."""


def _of_dataclass(value: Any) -> Pairs:
    """What its author keeps out of ``repr`` stays out here."""
    return Pairs((item.name, _attribute(value, item.name)) for item in fields(value) if item.repr)


def _attribute(value: object, name: str) -> Any:
    try:
        return getattr(value, name)
    except Exception as error:  # noqa: BLE001 - a property of the user's, or a slot never set
        return _placeholder(value, error)


def _of_exception(value: BaseException) -> str:
    text = _stripped(str(value))
    name = class_name(type(value))
    return f"{name}: {text}" if text else name


_OPENERS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (Enum, lambda value: value.value),
    (str, str.__str__),
    (int, int.__index__),
    (float, float.__float__),
    ((bytes, bytearray, memoryview), _decoded),
    ((dt.date, dt.time), lambda value: value.isoformat()),
    (Mapping, _pairs),
    ((list, tuple, deque, ValuesView), lambda value: list(islice(value, _MAX_ITEMS))),
    (AbstractSet, lambda value: Bag(islice(value, _MAX_ITEMS))),
    (BaseException, _of_exception),
    (numbers.Integral, int),
)
"""From the most telling to the least; a date and time is a date. Everything else becomes its ``str()``."""

_opener_of: dict[type, Callable[[Any], Any]] = {}


def _open_by_kind(value: Any) -> Any:
    kind = type(value)
    opener = _opener_of.get(kind)
    if opener is None:
        opener = _choose_opener(kind)
        if len(_opener_of) >= _MAX_KINDS:  # Classes made at run time would be kept alive.
            _opener_of.clear()
        _opener_of[kind] = opener
    return opener(value)


def _choose_opener(kind: type) -> Callable[[Any], Any]:
    if issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple):
        return lambda value: Pairs(zip(kind._fields, value, strict=False))  # type: ignore[attr-defined] # just seen
    if isinstance(getattr(kind, "__dataclass_fields__", None), dict) and not issubclass(kind, BaseException):
        return _of_dataclass
    for base, opener in _OPENERS:
        if issubclass(kind, base):
            return opener
    return lambda value: _stripped(str(value))
