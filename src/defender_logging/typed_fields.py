"""The typed fields that a caller sets: words of the vocabulary, subject and object, and the circumstances.

The values come from a record's extras (or the context, or the configuration's defaults) and are written as
text, one shape per name. A word that the vocabulary does not know goes out as it was given, and is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from defender_logging.opening import Pairs, has_own_text, opened, text_of
from defender_logging.plain import Snapshot, free_name
from defender_logging.redaction import Redactor
from defender_logging.vocabulary import Vocabulary, describe_unknown_outcome, find_outcome

__all__ = ["WordReader", "Words", "write_text"]

_MAX_REMEMBERED = 1024
_MAX_WORD_CHARS = 200

_PARTS: Mapping[str, tuple[str, ...]] = {
    "subject": ("name", "id", "type"),
    "object": ("name", "id", "type"),
    "user": ("name", "id", "email"),
}
"""What a mapping given for the field is flattened into; the first that it has stands for it."""


class Words(NamedTuple):
    """Component, category and outcome as they are written; None is left out. ``errors`` are sentences."""

    component: str | None
    category: str | None
    outcome: str | None
    errors: tuple[str, ...]


class WordReader:
    """Reads words in any accepted spelling and remembers the answer. Safe to use from several threads."""

    __slots__ = ("_read", "_redactor", "_vocabulary")

    def __init__(self, vocabulary: Vocabulary, redactor: Redactor) -> None:
        self._vocabulary = vocabulary
        self._redactor = redactor
        self._read: dict[tuple[Any, Any, Any], Words] = {}

    def read(self, component: Any, category: Any, outcome: Any) -> Words:
        """Return the words to write; an unknown one as given, with a sentence in ``errors``."""
        try:
            words = self._read.get((component, category, outcome))
        except Exception:  # noqa: BLE001 - an object whose hash or comparison raises
            words = None
        return self._learn(component, category, outcome) if words is None else words

    def _learn(self, *given: Any) -> Words:
        words = self._look_up(*given)
        if all(word is None or (type(word) is str and len(word) <= _MAX_WORD_CHARS) for word in given):
            if len(self._read) >= _MAX_REMEMBERED:
                self._read.clear()
            self._read[given] = words
        return words

    def _look_up(self, component: Any, category: Any, outcome: Any) -> Words:
        known = self._vocabulary
        errors = []
        component_word = known.find_component(component)
        if component is not None and component_word is None:
            errors.append(known.describe_unknown_component(component))
        category_word = known.find_category(category)
        if category is not None and category_word is None:
            errors.append(known.describe_unknown_category(category))
        outcome_word = find_outcome(outcome)
        if outcome is not None and outcome_word is None:
            errors.append(describe_unknown_outcome(outcome))
        if outcome is None and category_word is not None:
            outcome_word = known.categories[category_word].outcome
        return Words(
            component_word or self._as_text(component),
            category_word or self._as_text(category),
            outcome_word or self._as_text(outcome),
            tuple(errors),
        )

    def _as_text(self, value: Any) -> str | None:
        return None if value is None else text_of(Snapshot(self._redactor).take(value))


def write_text(values: dict[str, Any], name: str, value: Any, snapshot: Snapshot) -> dict[str, Any]:
    """Write one typed field as text, a mapping flattened into its parts; None is left out.

    Returns:
        What found no place in the parts, as an extra: ``{}`` or ``{"extra_<name>": {...}}``.
    """
    if value is None:
        return {}
    if name in _PARTS and issubclass(type(value), Mapping):
        return _flatten(values, name, value, snapshot)
    text = text_of(value if has_own_text(value) else snapshot.take(value))
    flattened = values.get(name, text)
    values[name] = text
    return {} if flattened == text else {f"extra_{name}": flattened}


def _flatten(values: dict[str, Any], name: str, value: Any, snapshot: Snapshot) -> dict[str, Any]:
    pairs = opened(value)
    if type(pairs) is not Pairs:  # Its own code raised.
        values[name] = text_of(pairs)
        return {}
    given: dict[str, Any] = {}
    last_numbers: dict[str, int] = {}
    for key, item in pairs:
        part = snapshot.name_of(key)
        given[free_name(part, given, last_numbers) if part in given else part] = item
    parts = {
        part: snapshot.redactor.mark(given[part])
        if snapshot.redactor.hides_own(f"{name}_{part}")
        else text_of(snapshot.take(given[part]))
        for part in _PARTS[name]
        if given.get(part) is not None
    }
    rest = snapshot.take({part: item for part, item in given.items() if part not in _PARTS[name]})
    if not parts:
        values[name] = str(rest)
        return {}
    values[name] = next(iter(parts.values()))
    for part in ("type", "id", "name", "email"):
        if part in parts and (name == "user" or part != "name"):
            values[f"{name}_{part}"] = parts[part]
    return {f"extra_{name}": rest} if rest else {}
