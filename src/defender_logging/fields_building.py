"""A log record to the fields of one entry.

A handler (or ``DefenderFormatter``) hands over a record in the thread of the log call; ``FieldsBuilder``
returns its ``Fields``: plain values in the order of the wire, redacted, nothing overwritten, which a
destination then encodes. The record is not changed. Guaranteed: ``build`` never raises an Exception. What
the usual way cannot read goes through a mended copy of the record, and at last a minimal entry says that
there was one.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from defender_logging._pipeline.entry import Fields
from defender_logging.assembling import Assembler
from defender_logging.context import current_fields
from defender_logging.field_names import CALLER_NAMES, RESERVED_NAMES
from defender_logging.formatter_output import FormatterError, formatted, json_object, without_repeats
from defender_logging.opening import class_name, text_of
from defender_logging.plain import free_name, plain
from defender_logging.record_reading import STANDARD_ATTRIBUTES, mended, message_of
from defender_logging.redaction import Redactor
from defender_logging.severity import Severity
from defender_logging.strict_json import clean_text
from defender_logging.vocabulary import Vocabulary

__all__ = ["FieldsBuilder"]

_STANDARD_ORDER = tuple(vars(logging.LogRecord("", 0, "", 0, "", (), None)))
_STANDARD_COUNT = len(_STANDARD_ORDER)
_LAST_STANDARD = _STANDARD_ORDER[-1]
"""A ``LogRecord`` sets its own attributes first, in this order, so its extras are cut off as the tail."""

_OWN_LOGGER = "defender_logging"


class FieldsBuilder:
    """Turns records into fields. Immutable but for what it remembers; safe to use from several threads.

    Args:
        vocabulary: the words that ``component`` and ``category`` may be; None: the page's.
        redactor: the names to hide; None: the built-in ones.
        reserved_names: the destination's own; a caller's field of such a name becomes ``extra_<name>``.
        service: who is speaking; None leaves it out, as for the next two.
        environment: where.
        host: on which machine.
        tags: ``key:value`` texts.
        static_fields: written into every entry; one of a name that the caller may set is only a default.
        record_attributes: standard attributes of the record to write as extras.
    """

    def __init__(
        self,
        *,
        vocabulary: Vocabulary | None = None,
        redactor: Redactor | None = None,
        reserved_names: frozenset[str] = frozenset(),
        service: str | None = None,
        environment: str | None = None,
        host: str | None = None,
        tags: Sequence[str] = (),
        static_fields: Mapping[str, Any] | None = None,
        record_attributes: Sequence[str] = (),
    ) -> None:
        self._arguments: dict[str, Any] = {
            "vocabulary": vocabulary,
            "redactor": redactor,
            "reserved_names": reserved_names,
            "service": service,
            "environment": environment,
            "host": host,
            "tags": tags,
            "static_fields": static_fields,
            "record_attributes": record_attributes,
        }
        self._redactor = redactor or Redactor()
        speaker = {"service": service, "environment": environment, "host": host}
        self._speaker = {name: text_of(value) for name, value in speaker.items() if value is not None}
        self._constants: dict[str, Any] = {"tags": [text_of(tag) for tag in tags]} if tags else {}
        self._defaults: dict[str, Any] = {}
        reserved = RESERVED_NAMES | reserved_names
        for name, value in plain(static_fields or {}, Redactor(frozenset())).items():
            target = self._defaults if name in CALLER_NAMES else self._constants
            target[name if name not in reserved or name in CALLER_NAMES else f"extra_{name}"] = value
        self._assembler = Assembler(
            vocabulary=vocabulary or Vocabulary.default(),
            redactor=self._redactor,
            taken=reserved | self._constants.keys(),
            speaker=self._speaker,
            constants=self._constants,
        )
        self._record_attributes = tuple(record_attributes)
        self._is_bare = not (self._defaults or self._record_attributes)
        self._joined: tuple[Any, FieldsBuilder] | None = None

    def build(self, record: logging.LogRecord, formatter: logging.Formatter | None = None) -> Fields:
        """Return what ``record`` says. Never raises an Exception; the record stays as it is.

        Args:
            record: any record, also one with odd or missing attributes.
            formatter: the handler's own, if it has one. A JSON object that it writes stands for the extras;
                any other text of it becomes ``message``.
        """
        try:
            return self._searched(self._build_any(record, formatter))
        except Exception as error:  # noqa: BLE001 - a log call does not raise
            return self._build_odd(record, formatter, error)

    def _build_odd(self, record: Any, formatter: logging.Formatter | None, error: Exception) -> Fields:
        try:
            good = mended(record, self._redactor)
            return self._searched(self._build_any(good, formatter))
        except Exception:  # noqa: BLE001 - a second try does not either
            text, microseconds = self._assembler.time_text(time.time())
            values = {
                "time": text,
                "level": Severity.ERROR.value,
                "message": f"a record could not be read: {class_name(type(error))}",
                "logger": _OWN_LOGGER,
            }
            return Fields(values | self._speaker, microseconds, logging.ERROR)

    def _searched(self, fields: Fields) -> Fields:
        values = self._redactor.searched(fields.values)
        return fields if values is fields.values else fields._replace(values=values)

    def _build_any(self, record: Any, formatter: logging.Formatter | None) -> Fields:
        return self._build(record) if formatter is None else self._build_with(formatter, record)

    def build_own(
        self, trail: str, severity: Severity, message: str, values: Mapping[str, Any], *, unix_seconds: float
    ) -> Fields:
        """Return an entry of our own, about the trail itself.

        Args:
            trail: what it tells (``dropped``, ``started``, ``checkpoint``, ``stopped``).
            severity: its level.
            message: one sentence.
            values: plain values, written after ``trail``; a ``reason`` is written in its own place.
            unix_seconds: when it happened.
        """
        text, microseconds = self._assembler.time_text(unix_seconds)
        fields: dict[str, Any] = {"time": text, "level": severity.value}
        if "reason" in values:
            fields["reason"] = values["reason"]
        fields |= {"message": message, "logger": _OWN_LOGGER, **self._speaker, "process": os.getpid()}
        fields |= self._constants | {"trail": trail}
        fields |= {name: value for name, value in values.items() if name != "reason"}
        return Fields(fields, microseconds, severity.levelno)

    def _build_with(self, formatter: Any, record: logging.LogRecord) -> Fields:
        own_builder = getattr(formatter, "fields_builder", None)
        if isinstance(own_builder, FieldsBuilder):
            return self._joined_with(own_builder).build(record)
        try:
            text = formatted(formatter, record)
        except FormatterError as error:
            return self._build(record, notes={"formatter_error": str(error)})
        found = json_object(formatter, text)
        if found is None:
            return self._build(record, message=text)
        found = without_repeats(found, self._build(record).values)
        message = found.pop("message") if isinstance(found.get("message"), str) else None
        typed = {name: value for name, value in record.__dict__.items() if name in CALLER_NAMES}
        return self._build(record, message=message, extras=typed | found)

    def _joined_with(self, other: FieldsBuilder) -> FieldsBuilder:
        """Return a builder that says what ``other``, a ``DefenderFormatter``'s, does where this is silent."""
        joined = self._joined
        if joined is None or joined[0] is not other:
            ours, theirs = self._arguments, other._arguments
            chosen = {name: ours[name] or theirs[name] for name in ours}
            chosen["redactor"] = self._redactor.also(other._redactor)
            chosen["static_fields"] = {**(theirs["static_fields"] or {}), **(ours["static_fields"] or {})}
            if ours["vocabulary"] in {None, Vocabulary.default()}:
                chosen["vocabulary"] = theirs["vocabulary"]
            joined = self._joined = (other, FieldsBuilder(**chosen))
        return joined[1]

    def _build(
        self,
        record: logging.LogRecord,
        *,
        message: str | None = None,
        extras: Mapping[Any, Any] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> Fields:
        """Build the fields; raises if an attribute of the record is not as it should be.

        Args:
            record: what it is about.
            message: in place of the record's own.
            extras: in place of the record's own, by their names.
            notes: remarks of ours, written as further extras.
        """
        attributes = record.__dict__
        if message is None:
            message = attributes["msg"]
            if type(message) is not str or attributes["args"] or type(record) is not logging.LogRecord:
                message, complaints = message_of(record, self._redactor)
                notes = {**complaints, **(notes or {})}
            elif not message.isascii():
                message = clean_text(message)
        names = _extra_names(record) if extras is None else tuple(extras)
        given: Mapping[Any, Any] = attributes if extras is None else extras
        context = current_fields()
        if context or notes or not self._is_bare:
            given = self._merged(attributes, context, {name: given[name] for name in names}, notes or {})
            names = tuple(given)
        return self._assembler.assemble(attributes, message, names, given)

    def _merged(
        self,
        attributes: Mapping[str, Any],
        context: Mapping[str, Any],
        given: Mapping[Any, Any],
        notes: Mapping[str, Any],
    ) -> dict[Any, Any]:
        """Return the extras with what stands behind them: of typed fields None means "not given"."""
        merged = self._defaults | dict(context)
        for name, value in given.items():
            if value is not None or name not in CALLER_NAMES:
                merged[name] = value
        for name in self._record_attributes:
            if name in attributes:
                merged.setdefault(name, attributes[name])
        for name, value in notes.items():
            merged[free_name(name, merged, {}) if name in merged else name] = value
        return merged


def _extra_names(record: logging.LogRecord) -> tuple[Any, ...]:
    attributes = record.__dict__
    names = list(attributes)
    if type(record) is not logging.LogRecord or names[_STANDARD_COUNT - 1] != _LAST_STANDARD:
        return tuple(name for name in names if name not in STANDARD_ATTRIBUTES)
    if "message" in attributes or "asctime" in attributes:  # Left behind by another handler's formatter.
        return tuple(name for name in names[_STANDARD_COUNT:] if name not in STANDARD_ATTRIBUTES)
    return tuple(names[_STANDARD_COUNT:])
