"""A logger that takes the trail's fields as keywords.

The caller's keywords, its ``extra`` and the bound fields become one ``extra`` of a plain log record (in this
order of precedence); selection and formatting find them there. The fields of ``audit_context`` come last,
and are merged where the record is formatted.

Guaranteed: nothing raises into the caller that the logging module would not raise by itself, unless
``strict``; a record's file and line are the caller's, on every Python.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from defender_logging.context import RECORD_ATTRIBUTES, current_fields
from defender_logging.errors import VocabularyError
from defender_logging.severity import TRACE, hint
from defender_logging.vocabulary import (
    CategoryDefaults,
    Vocabulary,
    describe_unknown_outcome,
    find_outcome,
)

__all__ = ["DefenderAdapter", "get_logger"]

if TYPE_CHECKING:
    AnyAdapter = logging.LoggerAdapter[Any]
else:
    AnyAdapter = logging.LoggerAdapter  # Cannot be subscribed before 3.11.

NAMED_KEYWORDS = (
    *("component", "category", "subject", "subject_type", "subject_id", "object", "object_type", "object_id"),
    *("outcome", "src_ip", "user", "reason", "tenant"),
)
"""The keywords of ``.info(...)`` and friends: the fields that belong to the caller."""

_TAKEN_KEYWORDS = frozenset({*NAMED_KEYWORDS, "extra"})
_LOGGING_KEYWORDS = frozenset({"exc_info", "stack_info", "stacklevel"})
_NO_DEFAULTS = CategoryDefaults()


class DefenderAdapter(AnyAdapter):
    """A ``logging.LoggerAdapter`` for the trail; immutable, so threads may share it.

    ``.info(...)`` and friends take ``component``, ``category``, ``subject``, ``object``, ``outcome``,
    ``src_ip``, ``user``, ``reason`` and ``tenant`` as keywords, beside the logging module's own. None means
    "not given". A field that a log record cannot hold under its name (``name``, ``args``, ...) is written
    as ``extra_<name>``. An unknown keyword is a ``TypeError``, as it is for every logger; ``extra={...}``,
    ``.bind(...)`` and ``.audit(...)`` take any.

    Args:
        logger: a logger, or another adapter, whose fields come after this one's.
        strict: for tests: raise ``VocabularyError`` for an unknown component, category, outcome or keyword,
            before anything is logged. Calls below the logger's level are not looked at.
        vocabulary: knows the words; None: the page's.
        fields: bound to every record; ``extra={...}`` adds more.
    """

    def __init__(
        self,
        logger: logging.Logger | AnyAdapter,
        *,
        strict: bool = False,
        vocabulary: Vocabulary | None = None,
        **fields: Any,
    ) -> None:
        logger, self._replaced = _unwrap(logger)
        super().__init__(logger, _merge({}, fields))
        self.strict = strict
        self.vocabulary = vocabulary or Vocabulary.default()

    def __repr__(self) -> str:
        """Logger, level and the names of the bound fields; no values, because one may be a secret."""
        fields = ", ".join(map(str, self.extra or ())) or "no fields"
        strict = ", strict" if self.strict else ""
        return f"{super().__repr__()[:-1]} with {fields}{strict}>"

    def bind(self, /, **fields: Any) -> DefenderAdapter:
        """A new adapter with more bound fields: every keyword is one, ``extra`` is merged; new ones win."""
        bound = copy.copy(self)
        bound.extra = _merge(dict(self.extra or {}), fields)
        return bound

    def trace(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Log at level 5, as ``info`` does at 20."""
        if self.isEnabledFor(TRACE):
            kwargs["stacklevel"] = (kwargs.get("stacklevel") or 1) + 1
            self.log(TRACE, msg, *args, **kwargs)

    def audit(self, /, category: object, message: object = "", **fields: Any) -> None:
        """Log that something of ``category`` happened, with the category's default level and outcome.

        Args:
            category: in any accepted spelling; an unknown one is logged as given, at level info.
            message: one sentence, taken as it is.
            fields: every keyword is a field, but for ``extra`` (merged) and the logging module's own
                ``exc_info``, ``stack_info``, ``stacklevel``.
        """
        name = self.vocabulary.find_category(category)
        defaults = _NO_DEFAULTS if name is None else self.vocabulary.categories[name]
        if not self.isEnabledFor(defaults.level.levelno):
            return
        logging_keywords = {key: fields.pop(key) for key in _LOGGING_KEYWORDS & fields.keys()}
        logging_keywords["stacklevel"] = (logging_keywords.get("stacklevel") or 1) + 1
        extra = _merge({}, fields)
        if category is not None:
            extra["category"] = name or category
        is_said = "outcome" in extra or "outcome" in current_fields() or "outcome" in self._bound()
        if defaults.outcome and not is_said:
            extra["outcome"] = defaults.outcome
        self.log(defaults.level.levelno, message, extra=extra, **logging_keywords)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Turn keywords, ``extra`` and bound fields into one ``extra``; called for enabled levels only.

        Raises:
            VocabularyError: ``strict`` is on and something is not in the vocabulary.
        """
        fields = self._bound()
        if self.strict:
            self._refuse_keywords(kwargs)
        # What is neither stays, and the logger refuses it.
        given = {key: kwargs.pop(key) for key in list(kwargs) if key in _TAKEN_KEYWORDS}
        _merge(fields, given)
        if self.strict:
            self._refuse_words(fields)
        kwargs["extra"] = _renamed(fields)
        if sys.version_info < (3, 11) and kwargs.get("stacklevel", 1) > 1:
            kwargs["stacklevel"] = _raw_stacklevel(self.logger, kwargs["stacklevel"])
        return msg, kwargs

    def _bound(self) -> dict[str, Any]:
        below = self.logger
        fields: dict[str, Any] = {}
        if isinstance(below, DefenderAdapter):
            fields = below._bound()  # noqa: SLF001 - our own class.
        for adapter in (*self._replaced, self):
            fields.update(adapter.extra or {})
        return fields

    def _refuse_keywords(self, given: Iterable[str]) -> None:
        wrong = [name for name in given if name not in _TAKEN_KEYWORDS | _LOGGING_KEYWORDS]
        if wrong:
            known = {name.replace("_", " "): name for name in NAMED_KEYWORDS}
            raise VocabularyError(
                f"unknown keyword {', '.join(hint(name, known) for name in wrong)}; use one of"
                f" {', '.join(NAMED_KEYWORDS)}, or put it into extra={{...}}"
            )

    def _refuse_words(self, fields: Mapping[str, Any]) -> None:
        checks: tuple[tuple[str, Callable[[object], str | None], Callable[[object], str]], ...] = (
            ("component", self.vocabulary.find_component, self.vocabulary.describe_unknown_component),
            ("category", self.vocabulary.find_category, self.vocabulary.describe_unknown_category),
            ("outcome", find_outcome, describe_unknown_outcome),
        )
        wrong = [
            describe(fields[name])
            for name, find, describe in checks
            if fields.get(name) is not None and find(fields[name]) is None
        ]
        if wrong:
            raise VocabularyError("; ".join(wrong))


def get_logger(
    name: str | None = None, *, strict: bool = False, vocabulary: Vocabulary | None = None, **fields: Any
) -> DefenderAdapter:
    """A ``DefenderAdapter`` over ``logging.getLogger(name)``, with ``fields`` bound."""
    return DefenderAdapter(logging.getLogger(name), strict=strict, vocabulary=vocabulary, **fields)


def _unwrap(logger: Any) -> tuple[Any, tuple[AnyAdapter, ...]]:
    """The logger below plain adapters, and these, innermost first.

    The logging module's own ``process`` throws the caller's ``extra`` away (before 3.13 always), so plain
    adapters are not called: their fields are read at each call instead. One with a ``process`` of its own is.
    """
    replaced: list[AnyAdapter] = []
    while isinstance(logger, logging.LoggerAdapter) and type(logger).process is logging.LoggerAdapter.process:
        replaced.insert(0, logger)
        logger = logger.logger
    return logger, tuple(replaced)


def _merge(fields: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """``fields``, now with those of ``given``; keywords win over ``extra``, None means "not given"."""
    extra = given.get("extra")
    if extra is not None:
        try:
            fields.update(extra)
        except Exception:  # noqa: BLE001 - no mapping, or a broken one: kept whole, the caller is not disturbed.
            fields["extra"] = extra
    fields.update({name: value for name, value in given.items() if value is not None and name != "extra"})
    return fields


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields under names that ``Logger.makeRecord`` takes; ``extra_<name>``, then ``extra_<name>_2``."""
    refused = _refused_names(logging.getLogRecordFactory())
    if refused.isdisjoint(fields):
        return fields
    taken = {name: value for name, value in fields.items() if name not in refused}
    for name in [name for name in fields if name in refused]:
        free, number = f"extra_{name}", 1
        while free in taken or free in refused:
            number += 1
            free = f"extra_{name}_{number}"
        taken[free] = fields[name]
    return taken


_known_factory: tuple[object, frozenset[str]] = (logging.LogRecord, RECORD_ATTRIBUTES)


def _refused_names(factory: Callable[..., logging.LogRecord]) -> frozenset[str]:
    """What ``Logger.makeRecord`` refuses in ``extra``: whatever the process's record factory sets itself."""
    global _known_factory  # noqa: PLW0603 - one look at a factory that the whole process shares.
    known, names = _known_factory
    if factory is known:
        return names
    try:
        record = factory("", logging.NOTSET, "", 0, "", (), None)
        names = RECORD_ATTRIBUTES | record.__dict__.keys()
    except Exception:  # noqa: BLE001 - a factory of the user's own; it shall fail where it would without us.
        names = RECORD_ATTRIBUTES
    _known_factory = (factory, names)
    return names


def _raw_stacklevel(logger: object, stacklevel: int) -> int:
    """What Python 3.10 needs as ``stacklevel`` to find the frame that later versions find.

    Before 3.11 it counts the frames of the logging module as well, from the caller of ``Logger.log`` on.
    Called below ``process``, which ``LoggerAdapter.log`` calls.
    """
    raw = 1
    while isinstance(logger, logging.LoggerAdapter):
        if isinstance(logger, DefenderAdapter):
            return stacklevel  # It is called after this one, and does it then.
        raw, logger = raw + 1, logger.logger
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - as the logging module itself does.
    while frame and frame.f_code is not logging.LoggerAdapter.log.__code__:
        frame = frame.f_back  # A subclass may have a process of its own around ours.
    while frame and frame.f_back:
        if os.path.normcase(frame.f_code.co_filename) != logging._srcfile:  # noqa: SLF001 - as findCaller does.
            stacklevel -= 1
            if stacklevel == 0:
                break
        frame, raw = frame.f_back, raw + 1
    return raw
