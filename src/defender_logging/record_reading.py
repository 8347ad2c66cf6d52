"""What a log record says in its own attributes: its message, its exception, and a mended copy of an odd one.

``formatting`` asks here for whatever is not a plain attribute. Guaranteed: the record is not changed, and
nothing raises but what is no Exception.
"""

from __future__ import annotations

import logging
import math
import re
import time
import traceback
from collections.abc import Mapping
from itertools import islice
from typing import Any

from defender_logging.opening import call_user_code, class_name, text_of
from defender_logging.plain import Snapshot
from defender_logging.redaction import Redactor
from defender_logging.strict_json import clean_text, dumps

__all__ = ["STANDARD_ATTRIBUTES", "error_fields", "mended", "message_of"]

STANDARD_ATTRIBUTES = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {
    "message",
    "asctime",
    "taskName",
}
"""What a record has without any extra; formatters add two, Python 3.12 one.

Not asked of ``makeLogRecord``: an application's own record factory may add extras to everything.
"""

_MAX_CHAIN = 32
"""Exceptions of one chain that a stack shows; the standard library formats any number, and takes its time."""

_LAST_LINE = re.compile(r"([A-Za-z_][\w.]*)(?:: (.*))?")

_YEAR_1_SECONDS = -62_135_596_800
_YEAR_9999_SECONDS = 253_402_300_799.999


def message_of(record: logging.LogRecord, redactor: Redactor) -> tuple[str, dict[str, Any]]:
    """Return the record's message, and the extras that tell what went wrong with it (mostly none).

    A mapping becomes its JSON, redacted by name; wrong ``%`` arguments leave the raw text and are told.
    """
    attributes = record.__dict__
    message, arguments = attributes.get("msg"), attributes.get("args")
    try:
        if not arguments and issubclass(type(message), (Mapping, list, tuple, set, frozenset)):
            value = Snapshot(redactor).take(message)
            return (dumps(value).decode() if isinstance(value, dict) else str(value)), {}
        if not arguments and type(record) is logging.LogRecord:
            return text_of(message), {}
        return clean_text(str.__str__(call_user_code(record.getMessage))), {}
    except Exception as error:  # noqa: BLE001 - whatever the arguments' own code raised
        shown = redactor.mark(arguments) if redactor.hides_own("message") else arguments
        return text_of(message), {"message_args": shown, "message_error": _told(error)}


def _told(error: BaseException) -> str:
    return f"{class_name(type(error))}: {text_of(error)}"


def error_fields(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Return ``error_type``, ``error_message``, ``error_stack``, ``stack_info``: those that a record has."""
    fields: dict[str, str] = {}
    error = _error_in(attributes.get("exc_info"))
    if error is not None:
        fields["error_type"] = class_name(type(error))
        fields["error_message"] = text_of(error)
        fields["error_stack"] = clean_text(_stack_of(error))
    elif attributes.get("exc_text"):
        fields.update(_from_text(text_of(attributes["exc_text"])))
    if attributes.get("stack_info"):
        fields["stack_info"] = text_of(attributes["stack_info"])
    return fields


def _error_in(exc_info: Any) -> BaseException | None:
    if type(exc_info) is tuple and len(exc_info) == 3:  # noqa: PLR2004 - type, value, traceback
        exc_info = exc_info[1]
    return exc_info if issubclass(type(exc_info), BaseException) else None


def _from_text(stack: str) -> dict[str, str]:
    """Read a formatted traceback, whose last line mostly names the error."""
    fields = {}
    match = _LAST_LINE.fullmatch(stack.rstrip().rpartition("\n")[2])
    if match is not None:
        fields["error_type"] = match[1].rpartition(".")[2]
        fields["error_message"] = match[2] or ""
    fields["error_stack"] = stack
    return fields


def _stack_of(error: BaseException) -> str:
    try:
        if _is_short(error):
            return "".join(call_user_code(traceback.format_exception, error)).rstrip("\n")
        frames = "".join(traceback.format_tb(error.__traceback__))
        return f"{frames}{_told(error)}\n(one of more than {_MAX_CHAIN} exceptions chained)"
    except Exception as failure:  # noqa: BLE001 - whatever the exception's own code raised
        return f"{class_name(type(error))}: no stack, {class_name(type(failure))}"


def _is_short(error: BaseException) -> bool:
    """Say whether the exception and all it is chained to or made of are few enough to show."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting and len(seen) <= _MAX_CHAIN:
        current = waiting.pop()
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            waiting += [current.__cause__, current.__context__]
            waiting += islice(getattr(current, "exceptions", ()), _MAX_CHAIN)
    return len(seen) <= _MAX_CHAIN


def mended(record: Any, redactor: Redactor) -> logging.LogRecord:
    """Return a copy of any record with every standard attribute there and of the type it should have.

    What cannot be used is kept as an extra ``record_<attribute>``.
    """
    snapshot = Snapshot(redactor)
    old: dict[Any, Any] = getattr(record, "__dict__", {})
    message, notes = message_of(record, redactor)
    new = logging.LogRecord("root", logging.INFO, "", 0, message, (), None)
    odd: dict[str, Any] = {}
    _mend_texts(old, new)
    _mend_numbers(old, new, odd)
    _mend_errors(old, new, odd)
    extras = {snapshot.name_of(name): value for name, value in old.items() if name not in STANDARD_ATTRIBUTES}
    for name in extras.keys() & {"component", "category", "outcome"}:
        if extras[name] is not None:
            extras[name] = text_of(snapshot.take(extras[name]))
    new.__dict__.update(extras | notes | odd)
    return new


def _mend_texts(old: Mapping[Any, Any], new: logging.LogRecord) -> None:
    for name in ("name", "levelname", "threadName"):
        if old.get(name) is not None:
            setattr(new, name, text_of(old[name]))
    if "threadName" in old and old["threadName"] is None:
        new.threadName = None  # logging.logThreads is off


def _mend_numbers(old: Mapping[Any, Any], new: logging.LogRecord, odd: dict[str, Any]) -> None:
    level = old.get("levelno")
    known = logging.getLevelName(new.levelname) if not isinstance(level, int) else level
    new.levelno = int(known) if isinstance(known, int) else logging.INFO
    created = old.get("created")
    new.created = _usable_time(created)
    if isinstance(old.get("process"), int):
        new.process = int(old["process"])
    for name, value in (("levelno", level), ("created", created), ("process", old.get("process"))):
        if value is not None and value is not new.__dict__[name]:
            odd[f"record_{name}"] = value


def _mend_errors(old: Mapping[Any, Any], new: logging.LogRecord, odd: dict[str, Any]) -> None:
    exc_info = old.get("exc_info")
    error = _error_in(exc_info)
    if error is not None:
        new.exc_info = (type(error), error, error.__traceback__)
    elif exc_info is not None and type(exc_info) not in {tuple, bool}:
        odd["record_exc_info"] = exc_info
    for name in ("exc_text", "stack_info"):
        if old.get(name) is not None:
            setattr(new, name, text_of(old[name]))


def _usable_time(created: object) -> float:
    """Return ``created``, the nearest time that RFC 3339 can write, or now."""
    if isinstance(created, (int, float)) and not math.isnan(created):
        return min(max(created, _YEAR_1_SECONDS), _YEAR_9999_SECONDS)
    return time.time()
