"""A level word is one of five, recognised however it is spelled and whatever number a record carries.

A record brings a Python level number; ``Severity.from_levelno`` gives the word that goes on the wire, and a
configuration brings text, which ``Severity.parse`` reads. Importing this changes nothing global.

``Word``, ``find_word`` and ``hint`` are shared with the vocabulary: they recognise any closed set of words.
Source: the Defender Logging page names the five levels; the floor rule and the spellings are our own.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import logging
from collections.abc import Mapping
from enum import Enum

__all__ = ["TRACE", "Severity", "register_trace"]

TRACE = 5
"""The Python level number of ``trace``, below ``logging.DEBUG``."""

MAX_WORD_CHARACTERS = 64
"""Longer text is no word: bounds the work that one record can cause. Guess; the longest word here has 21."""


class Word(str, Enum):
    """An enum whose members are their own text, wherever text is wanted."""

    # Written out, because mixed enums print "Class.MEMBER" from 3.11 (format) or always (str).
    def __str__(self) -> str:
        """The word as it goes on the wire."""
        return str.__str__(self)

    def __format__(self, spec: str) -> str:
        """The word as it goes on the wire, formatted as text."""
        return str.__format__(self, spec)


def normalise(text: str) -> str:
    """Lower case, with spaces for underscores; ignores what a subclass of str overrides."""
    return str.replace(str.lower(text), "_", " ")


def text_of(value: object) -> str | None:
    """The text that ``value`` is, or has as an enum's value; None if it is none. Never raises."""
    with contextlib.suppress(Exception):  # Any object can be logged, one with a broken __class__ too.
        text = value.value if isinstance(value, Enum) else value
        if isinstance(text, str):
            return str.__str__(text)
    return None


def find_word(value: object, spellings: Mapping[str, str]) -> str | None:
    """The word that ``value`` spells, None if it spells none; never raises, whatever the object.

    Args:
        value: text, or an enum member whose value is text.
        spellings: normalised spellings (and, for speed, the words themselves) to words.
    """
    if type(value) is str and (found := spellings.get(value)) is not None:
        return found
    text = text_of(value)
    return None if text is None or len(text) > MAX_WORD_CHARACTERS else spellings.get(normalise(text))


def shown(value: object) -> str:
    """The value as an error message shows it: short, on one line, without running the value's own code."""
    text = text_of(value)
    if text is not None:
        rest = "..." if len(text) > MAX_WORD_CHARACTERS else ""
        return f"{text[:MAX_WORD_CHARACTERS]!r}{rest}"
    # Not every int: Python 3.11 refuses to write one of more than 4300 digits.
    if value is None or type(value) in {bool, float} or (type(value) is int and abs(value) < 1 << 64):
        return repr(value)
    return f"an object of type {type(value).__name__}"


def hint(value: object, spellings: Mapping[str, str]) -> str:
    """The value as an error message shows it, with the nearest word: ``'rely' (did you mean 'relay'?)``."""
    text = text_of(value)
    nearest = None if text is None else _nearest(text[:MAX_WORD_CHARACTERS], tuple(spellings))
    return shown(value) if nearest is None else f"{shown(value)} (did you mean {spellings[nearest]!r}?)"


@functools.lru_cache(maxsize=256)
def _nearest(word: str, known: tuple[str, ...]) -> str | None:
    # Cached, because a service with a typo asks for the same word at every record.
    return next(iter(difflib.get_close_matches(normalise(word), known, n=1)), None)


class Severity(Word):
    """A level of the trail, from least to most severe; its value is the word on the wire."""

    TRACE = "trace"
    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"

    @property
    def levelno(self) -> int:
        """The Python level number, as ``logging`` counts."""
        return _LEVELNOS[self]

    @classmethod
    def from_levelno(cls, levelno: object) -> Severity:
        """The highest severity not above a Python level number: 15 is debug, 25 info, 50 error, 3 trace.

        Args:
            levelno: a record's own. Whatever is no number (None, text, NaN) counts as info, so that an odd
                record is not lost to the selection.
        """
        try:
            return _EXACT[levelno]  # type: ignore[index] # any object may be asked for
        except Exception:  # noqa: BLE001 - an odd levelno may be unhashable, or raise anything.
            return _floor(levelno)

    @classmethod
    def parse(cls, text: object) -> Severity:
        """The severity that a configuration spells: any case, ``warning``, ``critical`` and ``fatal`` too.

        Raises:
            ValueError: it spells none; tells what is allowed, and the near match.
        """
        word = find_word(text, LEVEL_SPELLINGS)
        if word is None:
            raise ValueError(
                f"level {hint(text, LEVEL_SPELLINGS)} is unknown; choose one of {', '.join(cls)}"
            )
        return cls(word)

    @classmethod
    def _missing_(cls, value: object) -> Severity:
        return cls.parse(value)


def _floor(levelno: object) -> Severity:
    with contextlib.suppress(Exception):  # Whatever cannot be compared with a number is no number.
        for severity, floor in _FLOORS:
            if levelno >= floor:  # type: ignore[operator] # any object may be asked for
                return severity
        if levelno < TRACE:  # type: ignore[operator] # NaN is neither above nor below
            return Severity.TRACE
    return Severity.INFO


_LEVELNOS = {
    Severity.TRACE: TRACE,
    Severity.DEBUG: logging.DEBUG,
    Severity.INFO: logging.INFO,
    Severity.WARN: logging.WARNING,
    Severity.ERROR: logging.ERROR,
}
_FLOORS = tuple(reversed(_LEVELNOS.items()))
_EXACT = {number: severity for severity, number in _LEVELNOS.items()} | {logging.CRITICAL: Severity.ERROR}

LEVEL_SPELLINGS: Mapping[str, str] = {
    **{word.value: word.value for word in Severity},
    "warning": "warn",
    "critical": "error",
    "fatal": "error",
}
"""Every accepted spelling of a level, in lower case."""


def register_trace() -> None:
    """Name level 5 ``TRACE`` for the whole process: for ``setLevel("TRACE")`` and ``%(levelname)s``."""
    logging.addLevelName(TRACE, "TRACE")
