"""A vocabulary knows which components and categories there are, and what each category means by default.

A record's ``component`` and ``category`` come in any accepted spelling; ``find_component`` and
``find_category`` give the word that goes on the wire, or None. Selection, adapter and formatter all ask here.
A vocabulary never changes (``extend`` returns a new one), so any thread may hold it.

Source: the Defender Logging page names the words. Levels: ``deleted`` was seen as warn in the product,
OWASP's Logging Vocabulary gives warn for ``exceeded`` and ``invalid sign in``; the outcomes are our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from defender_logging.severity import (
    MAX_WORD_CHARACTERS,
    Severity,
    Word,
    find_word,
    hint,
    normalise,
    shown,
)

__all__ = ["OUTCOMES", "Category", "CategoryDefaults", "Component", "Vocabulary"]

OUTCOMES = ("success", "failure", "unknown")
"""The values of ``outcome``."""

_OUTCOME_SPELLINGS = {outcome: outcome for outcome in OUTCOMES}


class Component(Word):
    """The parts of a system that speak in the trail (the form's log types); v2 names are accepted too."""

    AUTOTASK = "autotask"
    SENTINEL = "sentinel"
    RELAY = "relay"
    ADMIN = "admin"
    ACCOUNT = "account"

    @classmethod
    def _missing_(cls, value: object) -> Component:
        if (word := find_word(value, _COMPONENT_SPELLINGS)) is None:
            raise ValueError(Vocabulary.default().describe_unknown_component(value))
        return cls(word)


class Category(Word):
    """What happened; any case and underscores are accepted."""

    ADDED = "added"
    ARCHIVED = "archived"
    CREATED = "created"
    DELETED = "deleted"
    EXCEEDED = "exceeded"
    EXECUTED = "executed"
    INVITED = "invited"
    INVOKED = "invoked"
    NOTIFICATION = "notification"
    PAUSED = "paused"
    PROPOSED = "proposed"
    REPLACED = "replaced"
    SENT = "sent"
    SET = "set"
    TRIGGERED = "triggered"
    UPDATED = "updated"
    INVALID_SIGN_IN = "invalid sign in"
    SIGNED_IN = "signed in"
    SIGNED_OUT = "signed out"

    @classmethod
    def _missing_(cls, value: object) -> Category:
        if (word := find_word(value, _CATEGORY_SPELLINGS)) is None:
            raise ValueError(Vocabulary.default().describe_unknown_category(value))
        return cls(word)


class CategoryDefaults(NamedTuple):
    """What a category means unless the caller says otherwise.

    Attributes:
        level: the severity that ``DefenderAdapter.audit`` logs at.
        outcome: one of ``OUTCOMES``; None leaves it out.
    """

    level: Severity = Severity.INFO
    outcome: str | None = None


_CHANGE = CategoryDefaults(outcome="success")
_ACTIVITY = CategoryDefaults()

_PAGE_CATEGORIES = {
    "added": _CHANGE,
    "archived": _CHANGE,
    "created": _CHANGE,
    "deleted": CategoryDefaults(Severity.WARN, "success"),
    "exceeded": CategoryDefaults(Severity.WARN),
    "executed": _ACTIVITY,
    "invited": _CHANGE,
    "invoked": _ACTIVITY,
    "notification": _ACTIVITY,
    "paused": _CHANGE,
    "proposed": _CHANGE,
    "replaced": _CHANGE,
    "sent": _ACTIVITY,
    "set": _CHANGE,
    "triggered": _ACTIVITY,
    "updated": _CHANGE,
    "invalid sign in": CategoryDefaults(Severity.WARN, "failure"),
    "signed in": CategoryDefaults(outcome="success"),
    "signed out": CategoryDefaults(outcome="success"),
}

_COMPONENT_ALIASES = {
    "actions": "autotask",
    "monitor": "sentinel",
    "relayers": "relay",
    "address book": "admin",
    "transaction proposals": "admin",
    "settings": "account",
}
"""The names of Defender 2.0."""

_CATEGORY_ALIASES = {"signed out'": "signed out"}
"""A slip in the page, which its users copied."""


def _spellings(words: Iterable[str], aliases: Mapping[str, str]) -> dict[str, str]:
    # In this order, so that a word of the user's own wins over an alias.
    return {**aliases, **{normalise(word): word for word in words}, **{word: word for word in words}}


_COMPONENT_SPELLINGS = _spellings([word.value for word in Component], _COMPONENT_ALIASES)
_CATEGORY_SPELLINGS = _spellings([word.value for word in Category], _CATEGORY_ALIASES)


def find_outcome(value: object) -> str | None:
    """The outcome that ``value`` spells (any case), None if it spells none; never raises."""
    return find_word(value, _OUTCOME_SPELLINGS)


def describe_unknown_outcome(value: object) -> str:
    """A sentence with the value and the nearest outcome."""
    return _describe("outcome", value, _OUTCOME_SPELLINGS, OUTCOMES)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words that a trail may use. Made by ``default``, ``extend`` or ``from_config``; never changes.

    Attributes:
        components: in the order of the page, then in the order of extension.
        categories: names to their default level and outcome, in the same order; read-only.
    """

    components: tuple[str, ...]
    categories: Mapping[str, CategoryDefaults] = field(hash=False)
    _component_spellings: dict[str, str] = field(init=False, repr=False, compare=False)
    _category_spellings: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Take a private copy of the words, and prepare the look-ups."""
        set_once = object.__setattr__
        set_once(self, "categories", MappingProxyType(dict(self.categories)))
        set_once(self, "_component_spellings", _spellings(self.components, _COMPONENT_ALIASES))
        set_once(self, "_category_spellings", _spellings(self.categories, _CATEGORY_ALIASES))

    def __reduce__(self) -> tuple[type[Vocabulary], tuple[tuple[str, ...], dict[str, CategoryDefaults]]]:
        """Survive pickle and deepcopy, which refuse the read-only mapping."""
        return type(self), (self.components, dict(self.categories))

    @classmethod
    def default(cls) -> Vocabulary:
        """The page's own 5 components and 19 categories; always the same object."""
        return _DEFAULT

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | Vocabulary | None) -> Vocabulary:
        """The page's words and those of a ``vocabulary`` setting.

        Args:
            config: ``{"components": [...], "categories": [...] or {name: {"level", "outcome"}}}``, both
                optional; a ready vocabulary is returned as it is, None gives the page's.

        Raises:
            ValueError: something in it is wrong; tells all problems at once.
        """
        if config is None or isinstance(config, Vocabulary):
            return config or _DEFAULT
        if not isinstance(config, Mapping):
            raise ValueError(  # noqa: TRY004 - one kind of error for every wrong setting.
                f"vocabulary is {shown(config)}; give a mapping with components, categories or both"
            )
        known = {"components": "components", "categories": "categories"}
        wrong = [f"{hint(key, known)} is no key of vocabulary" for key in config if key not in known]
        return _DEFAULT._extended(config.get("components"), config.get("categories"), wrong)

    def extend(
        self,
        *,
        components: Iterable[str] | None = None,
        categories: Iterable[str] | Mapping[str, Mapping[str, Any] | None] | None = None,
    ) -> Vocabulary:
        """A new vocabulary with more words; this one stays as it is.

        Args:
            components: names as they shall go on the wire; a known one changes nothing.
            categories: names, or names to ``{"level": ..., "outcome": ...}`` (both optional) or None. A new
                name is info without outcome unless told; a known one keeps what is not told.

        Raises:
            ValueError: something is wrong; tells all problems at once.
        """
        return self._extended(components, categories, [])

    def _extended(self, components: object, categories: object, problems: list[str]) -> Vocabulary:
        new_components = dict.fromkeys(self.components)
        for word in _words("component", components, problems):
            new_components.setdefault(_known_as(word, new_components))
        new_categories = dict(self.categories)
        specs = categories if isinstance(categories, Mapping) else {}
        for word in _words("category", categories, problems):
            name = _known_as(word, new_categories)
            old = new_categories.get(name, _ACTIVITY)
            new_categories[name] = _read_defaults(word, specs.get(word), old, problems)
        if problems:
            raise ValueError("; ".join(problems))
        return Vocabulary(tuple(new_components), new_categories)

    def find_component(self, value: object) -> str | None:
        """The component as it goes on the wire, whatever its spelling; None when unknown. Never raises."""
        return find_word(value, self._component_spellings)

    def find_category(self, value: object) -> str | None:
        """The category as it goes on the wire, whatever its spelling; None when unknown. Never raises."""
        return find_word(value, self._category_spellings)

    def hint_component(self, value: object) -> str:
        """The value as an error message shows it, with the nearest component."""
        return hint(value, self._component_spellings)

    def describe_unknown_component(self, value: object) -> str:
        """A sentence with the value and the nearest component, for ``vocabulary_errors`` and exceptions."""
        return _describe("component", value, self._component_spellings, self.components)

    def describe_unknown_category(self, value: object) -> str:
        """A sentence with the value and the nearest category, for ``vocabulary_errors`` and exceptions."""
        return _describe("category", value, self._category_spellings, self.categories)


def _describe(kind: str, value: object, spellings: Mapping[str, str], words: Iterable[str]) -> str:
    return f"{kind} {hint(value, spellings)} is not in the vocabulary; known: {', '.join(words)}"


def _known_as(word: str, words: Iterable[str]) -> str:
    """The known word that differs in spelling only, else the word itself."""
    return next((known for known in words if normalise(known) == normalise(word)), word)


def _words(kind: str, given: object, problems: list[str]) -> list[str]:
    """The good words in a setting; what is wrong with the others goes to ``problems``."""
    if given is None:
        return []
    scalars = (str, bytes) if kind == "category" else (str, bytes, Mapping)
    if isinstance(given, scalars) or not isinstance(given, Iterable):
        problems.append(f"{kind} names are {shown(given)}; give a list of words")
        return []
    good = []
    for word in given:
        if isinstance(word, str) and _is_writable(word):
            good.append(str.__str__(word))  # Not str(): an enum may print otherwise.
        else:
            problems.append(
                f"{kind} name {shown(word)} cannot be written; give printable text of 1 to"
                f" {MAX_WORD_CHARACTERS} characters without blanks at the ends"
            )
    return good


def _is_writable(word: str) -> bool:
    return word.strip() == word and word.isprintable() and 0 < len(word) <= MAX_WORD_CHARACTERS


def _read_defaults(name: str, spec: object, old: CategoryDefaults, problems: list[str]) -> CategoryDefaults:
    if spec is None:
        return old
    if not isinstance(spec, Mapping):
        problems.append(f"category {name!r} has {shown(spec)}; give a mapping with level, outcome or both")
        return old
    level, outcome = old
    for key, value in spec.items():
        if key == "level":
            try:
                level = Severity.parse(value)
            except ValueError as error:
                problems.append(f"category {name!r}: {error}")
        elif key == "outcome":
            outcome = find_outcome(value)
            if outcome is None and value is not None:
                problems.append(f"category {name!r}: {describe_unknown_outcome(value)}")
        else:
            keys = {"level": "level", "outcome": "outcome"}
            problems.append(f"category {name!r} has the key {hint(key, keys)}; level and outcome are allowed")
    return CategoryDefaults(level, outcome)


_DEFAULT = Vocabulary(tuple(_COMPONENT_SPELLINGS[word.value] for word in Component), _PAGE_CATEGORIES)
