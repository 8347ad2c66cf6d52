"""One JSON line for one record, on any handler of the standard library.

``DefenderFormatter`` is what a file or stdout handler is given; what stands in the line is made by
``FieldsBuilder``, as for the forwarding handlers.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from pythonjsonlogger.core import BaseJsonFormatter

from defender_logging._pipeline.entry import SCHEMA
from defender_logging.field_names import CALLER_NAMES, RESERVED_NAMES
from defender_logging.fields_building import FieldsBuilder
from defender_logging.plain import plain
from defender_logging.record_reading import STANDARD_ATTRIBUTES
from defender_logging.redaction import Redactor
from defender_logging.strict_json import dumps
from defender_logging.vocabulary import Vocabulary

__all__ = ["CALLER_NAMES", "RESERVED_NAMES", "DefenderFormatter", "FieldsBuilder"]

_IN_EVERY_ENTRY = frozenset(
    {"message", "levelname", "name", "process", "threadName", "asctime", "stack_info"}
)
_NOT_FOR_READERS = frozenset({"msg", "args", "exc_info", "exc_text"})


class DefenderFormatter(BaseJsonFormatter):
    """Writes one entry as one line of strict JSON, without the newline.

    ``id``, ``stream`` and ``seq`` belong to a handler's delivery and are left out. Given to one of the
    forwarding handlers, its settings complete those of the handler. Safe to share between handlers and
    threads.

    Args:
        fmt: as in the logging module. The entry's layout is fixed; attributes of the record that it does not
            have (``%(pathname)s``, ``%(lineno)d``, ``%(funcName)s``) are added as extras.
        datefmt: unused; ``time`` is RFC 3339.
        style: of ``fmt``.
        validate: check ``fmt`` against ``style``.
        service: who is speaking; None leaves it out.
        environment: where; None leaves it out.
        host: on which machine; None: this one's name.
        tags: ``key:value`` texts, or a mapping.
        static_fields: written into every entry; one of a name that the caller may set is only a default.
        vocabulary: a ``Vocabulary``, or the mapping of the dictConfig form; None: the page's.
        redact: as the handlers' setting; None: the built-in names.

    Raises:
        ValueError: ``fmt``, ``vocabulary`` or ``redact`` is wrong; says how.
    """

    def __init__(
        self,
        fmt: str | Sequence[str] | None = None,
        datefmt: str | None = None,
        style: str = "%",
        validate: bool = True,  # noqa: FBT001, FBT002 - dictConfig passes it by position
        *,
        service: str | None = None,
        environment: str | None = None,
        host: str | None = None,
        tags: Sequence[str] | Mapping[str, Any] = (),
        static_fields: Mapping[str, Any] | None = None,
        vocabulary: Vocabulary | Mapping[str, Any] | None = None,
        redact: Any = None,
    ) -> None:
        super().__init__(fmt, datefmt, style, validate)
        self._builder = FieldsBuilder(
            vocabulary=Vocabulary.from_config(vocabulary),
            redactor=Redactor.from_setting(redact),
            service=service,
            environment=environment,
            host=platform.node() if host is None else host,
            tags=[f"{key}:{value}" for key, value in tags.items()] if isinstance(tags, Mapping) else tags,
            static_fields=static_fields,
            record_attributes=_asked_for(self._required_fields),
        )

    @property
    def fields_builder(self) -> FieldsBuilder | None:
        """What makes the entries; None in a subclass that writes them in another way."""
        return self._builder if type(self).format is DefenderFormatter.format else None

    def format(self, record: logging.LogRecord) -> str:
        """Return the entry of ``record`` as one line of JSON. Never raises an Exception."""
        values = self._builder.build(record).values
        return dumps(values | {"schema": SCHEMA}).decode()

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """Return any data as strict JSON (what python-json-logger asks of its formatters)."""
        return dumps(plain(log_data, Redactor(frozenset()))).decode()


def _asked_for(names: Sequence[str]) -> tuple[str, ...]:
    left_out = _IN_EVERY_ENTRY | _NOT_FOR_READERS
    return tuple(dict.fromkeys(name for name in names if name in STANDARD_ATTRIBUTES - left_out))
