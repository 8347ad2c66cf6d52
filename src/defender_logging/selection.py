"""A filter chooses records by two sets of check boxes: components and levels.

It stands inside each forwarding handler, or on any handler of the standard library. What passes goes on to
the formatter; what does not costs a look-up. It is a set, not a threshold: ``{"debug", "error"}`` leaves
info out.

Guaranteed: wrong words raise at construction, never at a record; a component that no vocabulary knows does
not pass a given ``log_types``, and is told once on the logger ``defender_logging``, whose own records always
pass.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from defender_logging.context import current_fields
from defender_logging.errors import ConfigurationError
from defender_logging.severity import LEVEL_SPELLINGS, Severity, find_word, hint, shown
from defender_logging.vocabulary import Vocabulary

__all__ = ["SelectionFilter", "parse_log_levels", "parse_log_types"]

DEFAULT_LOG_LEVELS = frozenset({Severity.INFO, Severity.WARN, Severity.ERROR})
"""The form's own choice: debug and trace may hold what shall not leave the house."""

_OWN_LOGGER = "defender_logging"
_MAX_TOLD = 100
"""Unknown components that are told and remembered; more than that are data, not typos."""
_MAX_LEVELNOS = 256
"""Level numbers remembered; a process has a handful."""


def parse_log_types(value: object, vocabulary: Vocabulary) -> frozenset[str] | None:
    """The components that a setting names.

    Args:
        value: one component or several, in any accepted spelling; None or ``"all"``: no selection.
        vocabulary: knows the components.

    Returns:
        The components as they go on the wire; None when everything passes.

    Raises:
        ValueError: unknown words (all of them, each with its nearest match), or none at all.
    """
    words, has_all = _words("log_types", value)
    wrong = [vocabulary.hint_component(word) for word in words if vocabulary.find_component(word) is None]
    if wrong:
        raise ValueError(
            f"log_types has {', '.join(wrong)}, which the vocabulary does not know; choose from"
            f" {', '.join(vocabulary.components)}, or add the word to the vocabulary"
        )
    if value is None or has_all:
        return None
    return frozenset(found for word in words if (found := vocabulary.find_component(word)))


def parse_log_levels(value: object) -> frozenset[Severity]:
    """The severities that a setting names.

    Args:
        value: one level or several, in any accepted spelling; ``"all"``: every level; None: info, warn and
            error.

    Raises:
        ValueError: unknown words (all of them, each with its nearest match), or none at all.
    """
    words, has_all = _words("log_levels", value)
    wrong = [hint(word, LEVEL_SPELLINGS) for word in words if find_word(word, LEVEL_SPELLINGS) is None]
    if wrong:
        raise ValueError(f"log_levels has {', '.join(wrong)}; choose from {', '.join(Severity)}, or all")
    if value is None:
        return DEFAULT_LOG_LEVELS
    return frozenset(Severity) if has_all else frozenset(map(Severity.parse, words))


class SelectionFilter(logging.Filter):
    """A ``logging.Filter`` with the form's two sets of check boxes.

    Threads: any; takes no lock and does not block.

    Args:
        log_types: one component or several; None: everything passes, records without a component too. Given:
            only records with one of these, in their own ``component`` or in that of ``audit_context``.
        log_levels: one level or several; None: info, warn, error; ``"all"``: every level.
        vocabulary: knows the components: a ``Vocabulary``, or the mapping of the ``vocabulary`` setting;
            None: the page's.

    Raises:
        ConfigurationError: wrong words, all problems at once.
    """

    def __init__(
        self,
        log_types: str | Iterable[str] | None = None,
        log_levels: str | Iterable[str] | None = None,
        vocabulary: Vocabulary | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        problems: list[str] = []
        try:
            self._vocabulary = Vocabulary.from_config(vocabulary)
            self._log_types = parse_log_types(log_types, self._vocabulary)
        except ValueError as error:
            problems.append(str(error))
        try:
            self._log_levels = parse_log_levels(log_levels)
        except ValueError as error:
            problems.append(str(error))
        if problems:
            raise ConfigurationError("SelectionFilter", problems)
        self._by_levelno = {level.levelno: level in self._log_levels for level in Severity}
        self._by_component = {
            word: self._log_types is None or word in self._log_types for word in self._vocabulary.components
        }
        self._told: dict[str, object] = {}
        self._default_component: object = None

    def __repr__(self) -> str:
        """What is selected."""
        log_types = None if self._log_types is None else sorted(self._log_types)
        log_levels = [str(level) for level in Severity if level in self._log_levels]
        return f"SelectionFilter(log_types={log_types}, log_levels={log_levels})"

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is selected; never raises, whatever the record carries."""
        try:
            is_selected = self._by_levelno[record.levelno]
        except Exception:  # noqa: BLE001 - a new number, or an odd record's missing or unhashable one.
            is_selected = self._decide_level(getattr(record, "levelno", None))
        if is_selected and self._log_types is not None:
            is_selected = self._has_selected_component(record)
        return is_selected or _is_own(record)

    def decide_by_level(self, levelno: object) -> bool | None:
        """Whether records of a level are selected, our own apart; None: their components decide."""
        is_selected = self._decide_level(levelno)
        return None if is_selected and self._log_types is not None else is_selected

    def report(self, sentence: str) -> None:
        """Tell of a component that no vocabulary knows; override it to tell elsewhere."""
        logging.getLogger(_OWN_LOGGER).warning("%s", sentence)

    def _decide_level(self, levelno: object) -> bool:
        is_selected = Severity.from_levelno(levelno) in self._log_levels
        if type(levelno) is int and len(self._by_levelno) < _MAX_LEVELNOS:
            self._by_levelno[levelno] = is_selected
        return is_selected

    def _has_selected_component(self, record: logging.LogRecord) -> bool:
        component = record.__dict__.get("component")
        if component is None:
            component = current_fields().get("component", self._default_component)
            if component is None:
                return False
        word = self._vocabulary.find_component(component)
        if word is not None:
            return self._by_component[word]
        if not _is_own(record):
            self._tell_once(component)
        return False

    def _tell_once(self, component: object) -> None:
        key, mine = shown(component), object()
        if len(self._told) >= _MAX_TOLD or self._told.setdefault(key, mine) is not mine:
            return
        # Remembered before it is told, so that a record made while telling is not told of again.
        self.report(
            f"{self._vocabulary.describe_unknown_component(component)}. Its records do not pass log_types"
            f" {sorted(self._log_types or ())}; correct the word or add it to the vocabulary."
        )


def _is_own(record: logging.LogRecord) -> bool:
    name = getattr(record, "name", None)
    return type(name) is str and (name == _OWN_LOGGER or name.startswith("defender_logging."))


def _words(setting: str, value: object) -> tuple[list[object], bool]:
    """The words of a setting that takes one or several, and whether ``"all"`` was among them."""
    if value is None:
        return [], False
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Iterable) or isinstance(value, (bytes, Mapping)):
        raise ValueError(  # noqa: TRY004 - one kind of error for every wrong setting.
            f"{setting} is {shown(value)}; give one word or a list of words"
        )
    given = list(value)
    if not given:
        raise ValueError(f"{setting} is empty, which selects nothing; name words, or leave the setting out")
    words = [word for word in given if find_word(word, {"all": "all"}) is None]
    return words, len(words) < len(given)
