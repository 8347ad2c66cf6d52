"""What the handler's own formatter makes of a record: a text, a JSON object, or an error.

``fields_building`` asks here. Guaranteed: the record stays as it is (the formatter gets a copy, because
formatters leave ``message``, ``asctime`` and ``exc_text`` behind), and nothing raises but what is no
Exception.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping
from typing import Any

from pythonjsonlogger.core import BaseJsonFormatter

from defender_logging.field_names import CALLER_NAMES, RESERVED_NAMES
from defender_logging.opening import call_user_code, class_name, text_of
from defender_logging.strict_json import clean_text

__all__ = ["FormatterError", "formatted", "json_object", "without_repeats"]


class FormatterError(Exception):
    """The formatter raised, or returned no text; says what in one sentence."""


def formatted(formatter: Any, record: logging.LogRecord) -> str:
    """Return the formatter's text for ``record``; raises ``FormatterError`` for whatever goes wrong in it."""
    try:
        return clean_text(str.__str__(call_user_code(formatter.format, copy.copy(record))))
    except Exception as error:
        raise FormatterError(f"{class_name(type(error))}: {text_of(error)}") from error


def json_object(formatter: Any, text: str) -> dict[str, Any] | None:
    """Return the JSON object that a python-json-logger formatter has written; None for any other text.

    The text of any other formatter may be a message that happens to be JSON, passed on as it is or masked or
    stripped: whoever can get a text logged could forge fields with it.
    """
    if not isinstance(formatter, BaseJsonFormatter):
        return None
    try:
        found = json.loads(text.removeprefix(formatter.prefix))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def without_repeats(found: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object without what the entry says already: our own names with the very same values."""
    ours = RESERVED_NAMES - CALLER_NAMES
    return {
        name: value
        for name, value in found.items()
        if not (name in ours and name in own and own[name] == value)
        and not (name == "exc_info" and value == own.get("error_stack"))
    }
