"""The short way from a record to its draft: what all records of one kind have in common is encoded once.

A handler asks here first, in the thread of the log call, and goes the long way (``FieldsBuilder``, then
``encode_to_fit``) where the answer is None. A kind is learnt from the long way itself: two made-up records,
with marks in place of the texts that differ from record to record, go through it, and the bytes around the marks
are the template. So a template knows nothing of names, words, redaction or a destination's layout, and says
exactly what the long way says.

Guaranteed: a draft that is returned is byte for byte that of the long way, and the record stays as it is.
Whatever is not plainly common (an exception, nested values, odd types, an entry near a limit) is left to the long
way, and so are the first records of each kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from logging import LogRecord
from operator import itemgetter
from typing import Any, NamedTuple

from defender_logging._pipeline.entry import Draft, Fields, Trace
from defender_logging.context import audit_context, open_context
from defender_logging.destinations.base import Encoder
from defender_logging.field_names import CALLER_NAMES, WORDS
from defender_logging.fields_building import FieldsBuilder
from defender_logging.fitting import TAIL_BYTES, encode_to_fit
from defender_logging.record_reading import STANDARD_ATTRIBUTES
from defender_logging.redaction import Redactor
from defender_logging.template_writing import Segment, Writer, compile_writer, count_user, time_marks
from defender_logging.tracing import current_trace

__all__ = ["LEARN_AFTER", "Templates"]

LEARN_AFTER = 64
"""Records of a kind that go the long way before it is learnt, which costs as much as they did: a millisecond."""

_NOT_COMMON = 0

_MAX_REMEMBERED = 1024
"""Kinds and layouts together; a program has a handful. More are made of data, and all are forgotten."""

_MAX_TEXTS = 64
_MAX_CHARS = 2000
"""Names and words that are more or longer are data, and not remembered at all."""
_COMMON_TEXTS = ("msg", "threadName")
_COMMON_NAMES = ("created", "args", *_COMMON_TEXTS)
_TEXTS = CALLER_NAMES | {*_COMMON_TEXTS}
_SINCE_LATER = (
    STANDARD_ATTRIBUTES - vars(LogRecord("", 0, "", 0, "", (), None)).keys() - {"message", "asctime"}
)
"""What is an extra on this Python, and a record's own on later ones."""

_ORIGIN = ("name", "levelno", "levelname", "process")
_PROBES = ((2_222_222_222.5, "<%04d:qvz>"), (3_333_333_333.25, "fade" * 15 + "%04x"))
"""Times (exact in binary) and forms of marks. What is no mark must come out alike for both. The second form is that
of a private key: where such a one would be hidden, the two differ, and the kind keeps to the long way."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """Records of the same names and types that say the same, but for texts, numbers and time.

    Attributes:
        names: of all attributes, in their order.
        write: makes the draft; None where the types or the fixed values are others.
        heeds_traces: in a span it says more.
    """

    names: list[Any]
    write: Writer
    heeds_traces: bool


class _Layout(NamedTuple):
    """Records of the same names: which values are their own, which are fixed, and the kinds seen so far.

    Attributes:
        own_names: of texts and numbers that may differ.
        fixed_names: of what makes a kind: origin, words, and what the destination looks into.
        pick: gets the values of ``_COMMON_NAMES``, the own and the fixed ones.
        kinds: by types and fixed values: how often seen, then the kind, or ``_NOT_COMMON``.
    """

    own_names: tuple[Any, ...]
    fixed_names: tuple[str, ...]
    pick: Callable[[Mapping[Any, Any]], tuple[Any, ...]]
    kinds: dict[Any, _Kind | int]


class Templates:
    """The templates of one handler. Safe to use from several threads.

    Args:
        builder: the long way to fields.
        encoder: what encodes them.
        inspected_names: as in ``Destination``.
        max_line_bytes: the limit for one entry.
        redactor: asked whether a text may have to be redacted.
    """

    def __init__(
        self,
        builder: FieldsBuilder,
        encoder: Encoder,
        *,
        inspected_names: frozenset[str],
        max_line_bytes: int,
        redactor: Redactor,
    ) -> None:
        self._builder = builder
        self._encoder = encoder
        self._max_line_bytes = max_line_bytes
        self._redactor = redactor
        self._fixed = frozenset((*_ORIGIN, *WORDS)) | inspected_names
        self._recent: dict[Any, _Kind] = {}
        self._layouts: dict[tuple[Any, ...], _Layout] = {}
        self._remembered = 0
        count_user()

    def draft(self, record: LogRecord) -> Draft | None:
        """Return the record's draft; None: it takes the long way. May raise an Exception, which means the same."""
        if type(record) is not LogRecord or record.exc_info or record.exc_text or record.stack_info:
            return None
        attributes = record.__dict__
        context = open_context()[1]
        if context:
            if not (context.keys().isdisjoint(attributes) and context.keys().isdisjoint(STANDARD_ATTRIBUTES)):
                return None  # Which of the two is written, and how, depends on their values.
            attributes = {**context, **attributes}
        names = [*attributes]
        spot = (record.lineno, attributes.get("category"))
        kind = self._recent.get(spot)
        if kind is None or names != kind.names or (draft := kind.write(attributes)) is None:
            kind = self._find(record, attributes, names)
            if kind is None or (draft := kind.write(attributes)) is None:
                return None
            if len(self._recent) >= _MAX_REMEMBERED:
                self._recent.clear()
            self._recent[spot] = kind
        if kind.heeds_traces and current_trace() is not None:
            return None
        return draft

    def _find(self, record: LogRecord, attributes: Mapping[Any, Any], names: list[Any]) -> _Kind | None:
        """Return the record's kind; one that was seen often enough is learnt now."""
        layout = self._layouts.get(tuple(names)) or self._lay_out(names)
        if layout is None:
            return None
        values = layout.pick(attributes)
        what = (tuple(map(type, values)), values[len(values) - len(layout.fixed_names) :])
        known = layout.kinds.get(what)
        if known is None:
            if _is_code(what[1]):
                self._make_room()
                layout.kinds[what] = 1
            return None
        if isinstance(known, _Kind):
            return known
        if known == _NOT_COMMON:
            return None
        if known < LEARN_AFTER:
            layout.kinds[what] = known + 1
            return None
        kind = self._learn(record, attributes, names, layout)
        layout.kinds[what] = kind or _NOT_COMMON
        return kind

    def _lay_out(self, names: list[Any]) -> _Layout | None:
        if not _is_code(names) or not _SINCE_LATER.isdisjoint(names):
            return None
        own = tuple(name for name in names if name not in STANDARD_ATTRIBUTES and name not in self._fixed)
        fixed = tuple(name for name in names if name in self._fixed)
        pick: Any = itemgetter  # Whose stub knows one name only where they are unpacked.
        layout = _Layout(own, fixed, pick(*_COMMON_NAMES, *own, *fixed), {})
        self._make_room()
        self._layouts[tuple(names)] = layout
        return layout

    def _make_room(self) -> None:
        self._remembered += 1
        if self._remembered > _MAX_REMEMBERED:
            self._remembered = 0
            self._layouts.clear()
            self._recent.clear()

    def _learn(
        self, record: LogRecord, attributes: Mapping[Any, Any], names: list[Any], layout: _Layout
    ) -> _Kind | None:
        """Make the kind of ``record`` from what the long way makes of two like it; None: it is not common."""
        if not _is_common(attributes, names, layout):
            return None
        first, second = (self._probe(record, layout.own_names, *probe) for probe in _PROBES)
        if first is None or first != second:
            return None
        # What is hidden has left no mark, and is not even read.
        shown = {segment.name for segment in first.segments}
        if not shown.issuperset(_TEXTS.intersection((*_COMMON_TEXTS, *layout.own_names))):
            return None  # Unread it would not be seen that it is None, or that its arguments do not fit.
        types = {
            name: type(attributes[name]) for name in (*_COMMON_TEXTS, *layout.own_names) if name in shown
        }
        fixed = {name: attributes[name] for name in layout.fixed_names}
        max_head_bytes = self._max_line_bytes - TAIL_BYTES - len(first.foot)
        write = compile_writer(
            first.segments,
            types,
            fixed,
            _TEXTS,
            self._redactor,
            foot=first.foot,
            max_head_bytes=max_head_bytes,
        )
        if write is None:
            return None
        # Compared with the long way for the very record that made us learn.
        fields = self._builder.build(record)._replace(trace=None)
        draft = self._encode(fields)
        if write(attributes) not in {None, draft}:
            return None
        return _Kind(names, write, heeds_traces=draft != self._encode(fields._replace(trace=Trace(1, 1))))

    def _probe(
        self, record: LogRecord, own_names: tuple[str, ...], created: float, form: str
    ) -> _Template | None:
        """Have a made-up record like ``record`` go the long way, and cut its line at the marks."""
        marks = {name: form % place for place, name in enumerate((*_COMMON_TEXTS, *own_names))}
        own = record.__dict__
        made = LogRecord("", 0, "", 0, "", (), None)
        made.__dict__.clear()
        made.__dict__.update(own | {name: mark for name, mark in marks.items() if name in own})
        made.__dict__.update(created=created, args=())
        with audit_context(**{name: mark for name, mark in marks.items() if name not in own}):
            fields = self._builder.build(made)
        if not fields.values.keys().isdisjoint(("vocabulary_errors", "truncated")):
            return None
        return _cut(self._encode(fields._replace(trace=None)), marks, time_marks(created))

    def _encode(self, fields: Fields) -> Draft:
        return encode_to_fit(self._encoder, fields, max_line_bytes=self._max_line_bytes)


class _Template(NamedTuple):
    """A line cut at its marks, and what follows the number."""

    segments: tuple[Segment, ...]
    foot: bytes


def _cut(draft: Draft, marks: Mapping[str, str], times: Mapping[str, str]) -> _Template | None:
    """Cut a draft at the marks of texts and times; None if it has any after the number, or more than a line."""
    found = {f'"{mark}"': Segment(name=name) for name, mark in marks.items()}
    found |= {mark: Segment(time_form=form) for mark, form in times.items()}
    finder = re.compile(f"({'|'.join(map(re.escape, sorted(found, key=len, reverse=True)))})")
    if finder.search(draft.foot.decode()) or draft != Draft(draft.head, draft.foot):
        return None
    pieces = finder.split(draft.head.decode())
    return _Template(tuple(found.get(piece, Segment(piece)) for piece in pieces if piece), draft.foot)


def _is_code(texts: Sequence[Any]) -> bool:
    """Say whether names or words are few and short, as those written in code are."""
    return (
        len(texts) <= _MAX_TEXTS and sum(len(text) for text in texts if isinstance(text, str)) <= _MAX_CHARS
    )


def _is_common(attributes: Mapping[Any, Any], names: list[Any], layout: _Layout) -> bool:
    if any(type(name) is not str for name in names):
        return False
    if type(attributes["created"]) is not float or type(attributes["args"]) not in {tuple, type(None)}:
        return False
    fixed = [attributes[name] for name in layout.fixed_names]
    return all(type(value) in {str, int, type(None)} or isinstance(value, Enum) for value in fixed)
