"""A record's attributes, message and extras to fields in the order of the wire.

``FieldsBuilder`` says what the extras are; here they are written. The first record of a kind (same logger,
level, words and names of extras) is written field by field, and its fields are kept as a template; those that
follow copy it and fill in what differs, which is the way of nearly every record and takes half the time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from defender_logging._pipeline.entry import Fields
from defender_logging.field_names import TEXTS
from defender_logging.field_plan import Plan, Planner
from defender_logging.opening import ATOMS
from defender_logging.plain import Snapshot, free_name
from defender_logging.record_reading import error_fields
from defender_logging.redaction import Redactor
from defender_logging.severity import Severity
from defender_logging.strict_json import clean_text, dumps
from defender_logging.tracing import current_trace
from defender_logging.typed_fields import WordReader, Words, write_text
from defender_logging.vocabulary import Vocabulary

__all__ = ["Assembler"]

_MAX_REMEMBERED = 4096
_MAX_TEMPLATES = 1024
_MAX_WORDS_CHARS = 500


class _Template(NamedTuple):
    """The fields of one kind of record; what differs from one to the next is None, and filled in in a copy."""

    plan: Plan
    levelno: int
    values: dict[str, Any]


class Assembler:
    """Writes fields. Immutable but for what it remembers; safe to use from several threads.

    Args:
        vocabulary: the words that ``component`` and ``category`` may be.
        redactor: the names to hide.
        taken: names that no extra may have.
        speaker: service, environment and host, as far as they are told.
        constants: tags and static fields.
    """

    __slots__ = (
        "_constants",
        "_hidden_texts",
        "_planner",
        "_redactor",
        "_second",
        "_speaker",
        "_templates",
        "_texts",
        "_words",
    )

    def __init__(
        self,
        *,
        vocabulary: Vocabulary,
        redactor: Redactor,
        taken: frozenset[str],
        speaker: Mapping[str, str],
        constants: Mapping[str, Any],
    ) -> None:
        self._redactor = redactor
        self._hidden_texts = tuple(filter(redactor.hides_own, TEXTS))
        self._words = WordReader(vocabulary, redactor)
        self._planner = Planner(redactor, taken)
        self._speaker = speaker
        self._constants = constants
        self._templates: dict[tuple[Any, ...], _Template] = {}
        self._texts: dict[str, str] = {}
        self._second: tuple[int, str] = (-1, "")

    def assemble(
        self, attributes: Mapping[str, Any], message: str, names: tuple[Any, ...], given: Mapping[Any, Any]
    ) -> Fields:
        """Return the fields of any record. Raises if an attribute is not as it should be.

        Args:
            attributes: the record's own.
            message: its message, clean.
            names: the names of typed fields and extras, in their order.
            given: their values, by name.
        """
        kind = (
            names,
            attributes["levelno"],
            attributes["name"],
            attributes["levelname"],
            attributes["process"],
            given.get("component"),
            given.get("category"),
            given.get("outcome"),
        )
        template = self._templates.get(kind)
        fields = None
        if template is not None and not _tells_of_an_error(attributes):
            fields = self._fill_in(template, attributes, message, given)
        fields = fields or self._write(kind, attributes, message, given)
        for name in self._hidden_texts:
            if name in fields.values:
                fields.values[name] = self._redactor.mark(fields.values[name])
        return fields

    def _fill_in(
        self, template: _Template, attributes: Mapping[str, Any], message: str, given: Mapping[Any, Any]
    ) -> Fields | None:
        """Return the fields of a record like one before; None if it has what templates are not made for."""
        plan, levelno, kept = template
        thread = attributes["threadName"]
        if thread is None:
            return None
        values = kept.copy()
        values["time"], microseconds = self.time_text(attributes["created"])
        values["message"] = message
        values["thread"] = self._texts.get(thread) or self._clean(thread)
        for name in plan.texts:
            value = given[name]
            if type(value) is not str:
                return None
            values[name] = value if value.isascii() else clean_text(value)
        for name, source in plan.extras:
            value = given[source]
            if type(value) is str and value.isascii():
                values[name] = value
            elif (atom := ATOMS.get(type(value))) is not None:
                values[name] = atom(value)
            else:
                return None
        return Fields(values, microseconds, levelno, current_trace())

    def _write(
        self, kind: tuple[Any, ...], attributes: Mapping[str, Any], message: str, given: Mapping[Any, Any]
    ) -> Fields:
        plan = self._planner.plan(kind[0])
        levelno = _number(attributes["levelno"])
        time_text, microseconds = self.time_text(attributes["created"])
        values: dict[str, Any] = {"time": time_text, "level": Severity.from_levelno(levelno).value}
        snapshot = Snapshot(self._redactor)
        words = self._words.read(*kind[-3:])
        rest = _write_typed(values, plan, given, words, snapshot)
        values["message"] = message
        self._write_origin(values, attributes)
        for name, source in plan.extras:
            values[name] = snapshot.take(given[source])
        values.update({name: self._redactor.mark(given[source]) for name, source in plan.hidden.items()})
        if not (words.errors or _tells_of_an_error(attributes)):
            self._keep(kind, _Template(plan, levelno, values), given)
        _write_end(values, rest, words.errors)
        if plan.left_out or snapshot.is_cut:
            _tell_cut(values, plan, given, snapshot.cut_bytes)
        return Fields(values, microseconds, levelno, current_trace())

    def _keep(self, kind: tuple[Any, ...], template: _Template, given: Mapping[Any, Any]) -> None:
        """Remember how records of this kind are written, if all texts are texts and the kind is small."""
        plan, levelno, values = template
        names = (*plan.texts, "component", "category", "outcome")
        are_texts = all(type(given.get(name, "")) is str for name in names)
        if not (plan.is_code and are_texts and "thread" in values and len(str(kind[-3:])) < _MAX_WORDS_CHARS):
            return
        if plan.hidden_texts or (plan.hidden and self._redactor.digest_key):
            # A template would show the values of the next record, or the digest of this one's.
            return
        differing = ("time", "message", "thread", *plan.texts, *(name for name, _ in plan.extras))
        if len(self._templates) >= _MAX_TEMPLATES:
            self._templates.clear()
        self._templates[kind] = _Template(plan, levelno, values | dict.fromkeys(differing))

    def time_text(self, unix_seconds: float) -> tuple[str, int]:
        """Return a time as RFC 3339 in UTC, and as microseconds; raises beyond the years 1 to 9999."""
        microseconds = round(unix_seconds * 1_000_000)
        second = microseconds // 1_000_000
        known, text = self._second
        if second != known:
            # Not by datetime: from Python 3.13 on it crashes the process in a destructor at interpreter shutdown.
            # Source: github.com/python/cpython/issues/132413 (2026-11-26), and measured on 3.13.0.
            year, *rest = time.gmtime(second)[:6]
            if not 1 <= year <= 9999:  # noqa: PLR2004 - the years that RFC 3339 knows
                raise OverflowError(
                    f"the year {year} has no RFC 3339 form; look at the clock of this machine"
                )
            text = "{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}".format(year, *rest)
            self._second = (second, text)  # In one assignment, so that other threads see a pair that fits.
        return f"{text}.{microseconds % 1_000_000:06d}Z", microseconds

    def _write_origin(self, values: dict[str, Any], attributes: Mapping[str, Any]) -> None:
        """Write which logger, service, process and thread it comes from, and the error it tells of."""
        values["logger"] = self._clean(attributes["name"])
        values["levelname"] = self._clean(attributes["levelname"])
        values.update(self._speaker)
        process, thread = attributes["process"], attributes["threadName"]
        if process is not None:
            values["process"] = ATOMS[int](_number(process))
        if thread is not None:
            values["thread"] = self._clean(thread)
        if _tells_of_an_error(attributes):
            values.update(error_fields(attributes))
        values.update(self._constants)

    def _clean(self, text: Any) -> str:
        if type(text) is not str:
            raise TypeError(f"a name is a {type(text).__name__}; it should be text")
        clean = clean_text(text)
        if len(self._texts) >= _MAX_REMEMBERED:  # Threads may be numbered without end.
            self._texts.clear()
        self._texts[text] = clean
        return clean


def _tells_of_an_error(attributes: Mapping[str, Any]) -> bool:
    return bool(attributes["exc_info"] or attributes["exc_text"] or attributes["stack_info"])


def _number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"a number is a {type(value).__name__}; it should be an int")
    return value


def _write_typed(
    values: dict[str, Any], plan: Plan, given: Mapping[Any, Any], words: Words, snapshot: Snapshot
) -> dict[str, Any]:
    """Write the fields that the caller may set; returns what becomes an extra."""
    rest: dict[str, Any] = {}
    if words.component is not None:
        values["component"] = words.component
    if words.category is not None:
        values["category"] = words.category
    for name in plan.parties:
        rest |= write_text(values, name, _shown(plan, name, given, snapshot), snapshot)
    if words.outcome is not None:
        values["outcome"] = words.outcome
    for name in plan.circumstances:
        rest |= write_text(values, name, _shown(plan, name, given, snapshot), snapshot)
    return rest


def _shown(plan: Plan, name: str, given: Mapping[Any, Any], snapshot: Snapshot) -> Any:
    """Return the value to write for a typed field; None stays "not given"."""
    value = given[name]
    return snapshot.redactor.mark(value) if name in plan.hidden_texts and value is not None else value


def _write_end(values: dict[str, Any], rest: Mapping[str, Any], errors: Sequence[str]) -> None:
    for name, value in rest.items():
        values[free_name(name, values, {}) if name in values else name] = value
    if errors:
        values["vocabulary_errors"] = list(errors)


def _tell_cut(values: dict[str, Any], plan: Plan, given: Mapping[Any, Any], cut_bytes: int) -> None:
    """Say that something was cut, and about how large the entry was: names and texts of what is left out."""
    for name in plan.left_out:
        parts = (name, given[name])
        cut_bytes += sum(len(part) if type(part) is str else 4 for part in parts) + len('"":"",')
    values["truncated"] = True
    values["original_bytes"] = len(dumps(values)) + cut_bytes
