"""A template as a function: from a record's attributes to its draft, without a loop.

``templates`` learns what a kind of record has in common; here a function is made of it, as ``dataclasses`` makes
its ``__init__``: one expression that has every constant and every value at its place takes half the time of a loop
over them. The source is made of our own words and of numbers only; what comes from a record (names, texts, types)
is handed in as an object, never as source.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from defender_logging._pipeline.entry import Draft, new_draft
from defender_logging.opening import MAX_INTEGER
from defender_logging.redaction import Redactor
from defender_logging.strict_json import comparable_float, finished

__all__ = ["Segment", "Writer", "compile_writer", "count_user", "time_marks"]

Writer = Callable[[Mapping[Any, Any]], "Draft | None"]
"""From attributes to the draft; None: not of the template's kind, or not for the short way."""

_FIRST_SECOND, _LAST_SECOND = 1_000_000_000, 9_999_999_999
"""From 2001 to 2286: ten digits."""

_ATOMS = frozenset({str, int, float, bool, type(None)})
_JSON_WORDS = {None: "null", True: "true", False: "false"}

_seconds: list[tuple[float, float, str]] = [(0.0, 0.0, "")]
"""One entry: the second of the last record (its start, its end) as RFC 3339 has it; replaced in one step."""

_NEARLY_A_SECOND = 0.999_999
"""What is later may be rounded up to the next."""


def second_of(created: float) -> str:
    """Return the second that a record's time is in, rounded to microseconds; raises outside of the years above."""
    second = round(created * 1_000_000) // 1_000_000
    if not _FIRST_SECOND <= second <= _LAST_SECOND:
        raise ValueError
    # Not by datetime, as in assembling: it may crash at interpreter shutdown.
    text = "{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}".format(*time.gmtime(second)[:6])
    _seconds[0] = (float(second), second + _NEARLY_A_SECOND, text)
    return text


def time_marks(unix_seconds: float) -> dict[str, str]:
    """Return the forms in which a line may hold a time, each as an f-string has it."""
    second, digits = second_of(unix_seconds), str(round(unix_seconds * 1_000_000))
    return {
        f"{second}.{digits[10:]}Z": "{second}.{digits[10:]}Z",
        f"{digits[:10]}.{digits[10:]}": "{digits[:10]}.{digits[10:]}",
        digits[:13]: "{digits[:13]}",
    }


def fraction_of(value: float) -> str:
    """Return a number as JSON; raises where encoders differ or have no word for it."""
    if type(comparable_float(value)) is not float:
        raise ValueError
    return repr(value)


class Segment(NamedTuple):
    """A part of a template: a constant text, a form of the time (of ``time_marks``), or the value of a name."""

    constant: str = ""
    time_form: str = ""
    name: str | None = None


_TEXTS_WRITTEN: dict[type, str] = {str: "quote({})", int: "f'\"{{{}}}\"'"}
_WRITTEN: dict[type, str] = {
    str: "quote({})",
    int: "{}",
    float: "fraction_of({})",
    bool: "json_words[{}]",
    type(None): "'null'",
}
"""How values are written, by exact type, as expressions over a value."""

_SAY_MESSAGE = (
    "if arguments:",
    "    if type(arguments) is not tuple: return None",
    "    for argument in arguments:",
    "        if type(argument) not in atoms: return None",
    "    message = message % arguments",
)
_TELL_TIME = (
    "first, end, second = seconds[0]",
    "if not first <= created < end: second = second_of(created)",
    "digits = f'{round(created * 1_000_000)}'",
)
_FINISH = (
    "head = text.encode() if text.isascii() and '\\x7f' not in text else finished(text.encode())",
    "if len(head) <= max_head_bytes: return new_draft((head, foot, b''))",
)

_notes: list[tuple[Any, ...]] = [(None,)]
"""One entry: the values of the last record, and how they are written; replaced in one step.

The handlers of one logger get the same record one after another, and the second finds the work of the first. The
values must be the very same objects, of types that never change, so a record that somebody alters between two
handlers is read anew.
"""
_users = [0]
"""How many handlers there are or were; a single one takes no notes."""
_forms: dict[Any, Any] = {}
"""What must be equal for a note to hold (names, types, redaction), each once, so that it is compared by identity."""

_MAX_FORMS = 1024


def count_user() -> None:
    """Say that there is one more handler."""
    _users[0] += 1


_TOOLS: dict[str, Any] = {
    "quote": encode_basestring,
    "atoms": _ATOMS,
    "seconds": _seconds,
    "second_of": second_of,
    "fraction_of": fraction_of,
    "json_words": _JSON_WORDS,
    "notes": _notes,
    "users": _users,
    "finished": finished,
    "new_draft": new_draft,
}
"""What every function is made with."""


def _the_one_form(types: Mapping[str, type], redactor: Redactor) -> object:
    try:
        form = (redactor, tuple(types.items()))
        if len(_forms) >= _MAX_FORMS:
            _forms.clear()
        return _forms.setdefault(form, form)
    except TypeError:  # A redactor that cannot be hashed shares with nobody.
        return object()


def compile_writer(
    segments: Sequence[Segment],
    types: Mapping[str, type],
    fixed: Mapping[str, Any],
    texts: Container[str],
    redactor: Redactor,
    *,
    foot: bytes,
    max_head_bytes: int,
) -> Writer | None:
    """Return the function of a template; None if there is a type that templates are not made for.

    Args:
        segments: what is written, in order.
        types: of the values that differ, by name; ``msg`` is the message before its arguments are in it.
        fixed: the values that a record of this kind has, by name.
        texts: names that always are written as texts.
        redactor: asked about the texts of each record; where something might have to be redacted, the function
            returns None.
        foot: of the draft.
        max_head_bytes: of the draft; None is returned for a longer one.
    """
    if any(kind not in _forms_of(name, texts) for name, kind in types.items()):
        return None
    given = _TOOLS | {
        "form": _the_one_form(types, redactor),
        "may_hold_secret": redactor.question,
        "foot": foot,
        "max_head_bytes": max_head_bytes,
    }
    for place, (name, value) in enumerate(fixed.items()):
        given |= {f"fixed_name_{place}": name, f"fixed_type_{place}": type(value), f"fixed_{place}": value}
    for place, (name, kind) in enumerate(types.items()):
        given |= {f"name_{place}": name, f"type_{place}": kind}
    for place, segment in enumerate(segments):
        given[f"constant_{place}"] = segment.constant
    return _made(
        given,
        [
            *_checks(len(fixed), tuple(types.values())),
            *_noted(len(types), _writing(types, texts, may_ask=redactor.question is not None)),
            f"text = f'{_joined(segments, tuple(types))}'",
            *_FINISH,
        ],
    )


def _forms_of(name: str, texts: Container[str]) -> Mapping[type, str]:
    return _TEXTS_WRITTEN if name in texts else _WRITTEN


def _checks(fixed_count: int, kinds: Sequence[type]) -> Iterator[str]:
    """Give the lines that read all values, and return None where one is not of the template's kind."""
    yield "created, arguments = attributes['created'], attributes['args']"
    yield "if type(created) is not float: return None"
    for place in range(fixed_count):
        fixed = f"fixed_{place}"
        yield f"value = attributes[fixed_name_{place}]"
        yield f"if value is not {fixed} and (type(value) is not fixed_type_{place} or value != {fixed}): return None"
    for place, kind in enumerate(kinds):
        yield f"value_{place} = attributes[name_{place}]"
        yield f"if type(value_{place}) is not type_{place}: return None"
        if kind is int:
            yield f"if not {-MAX_INTEGER} <= value_{place} <= {MAX_INTEGER}: return None"


def _writing(types: Mapping[str, type], texts: Container[str], *, may_ask: bool) -> Iterator[str]:
    """Give the lines that write every value, ask whether a text may hold a secret, and tell the time."""
    asked = []
    for place, (name, kind) in enumerate(types.items()):
        value = f"value_{place}"
        if name == "msg":
            value = "message"
            yield f"message = value_{place}"
            yield from _SAY_MESSAGE
        yield f"written_{place} = {_forms_of(name, texts)[kind].format(value)}"
        if kind in {str, int}:
            asked.append(f"{{written_{place}}}")
    # Only the texts that differ are asked about; all others have gone the long way.
    if asked and may_ask:
        yield f"if may_hold_secret(f'{','.join(asked)}'.encode()): return None"
    yield from _TELL_TIME


def _joined(segments: Sequence[Segment], names: Sequence[str]) -> str:
    """Return the inside of the f-string that is the line."""
    return "".join(
        f"{{constant_{place}}}"
        if segment.constant
        else segment.time_form or f"{{written_{names.index(segment.name or '')}}}"
        for place, segment in enumerate(segments)
    )


def _noted(count: int, writing: Iterable[str]) -> list[str]:
    """Return the lines that take what is written from the note, or write it and note it."""
    keys = ["created", "form", "arguments", *(f"value_{place}" for place in range(count))]
    written = ["second", "digits", *(f"written_{place}" for place in range(count))]
    same = " and ".join(f"note[{place}] is {key}" for place, key in enumerate(keys))
    return [
        "note = notes[0]",
        f"if {same}:",
        f"    {', '.join(written)} = note[{len(keys)}]",
        "else:",
        *(f"    {line}" for line in writing),
        f"    if users[0] > 1: notes[0] = ({', '.join(keys)}, ({', '.join(written)}))",
    ]


def _made(given: Mapping[str, Any], lines: Sequence[str]) -> Writer:
    body = "\n".join(f"        {line}" for line in lines)
    source = f"def make({', '.join(given)}):\n    def write(attributes):\n{body}\n    return write\n"
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - of our own words and numbers only, see above
    writer: Writer = names["make"](**given)
    return writer
