"""Words: the page's components and categories, their spellings, their defaults, and a user's own."""

from __future__ import annotations

import copy
import json
import pickle
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defender_logging.severity import Severity
from defender_logging.vocabulary import (
    OUTCOMES,
    Category,
    CategoryDefaults,
    Component,
    Vocabulary,
    describe_unknown_outcome,
    find_outcome,
)

COMPONENTS = ["autotask", "sentinel", "relay", "admin", "account"]

COMPONENT_ALIASES = [
    ("actions", "autotask"),
    ("monitor", "sentinel"),
    ("relayers", "relay"),
    ("address book", "admin"),
    ("transaction proposals", "admin"),
    ("settings", "account"),
]

CATEGORIES = [
    ("added", "info", "success"),
    ("archived", "info", "success"),
    ("created", "info", "success"),
    ("deleted", "warn", "success"),
    ("exceeded", "warn", None),
    ("executed", "info", None),
    ("invited", "info", "success"),
    ("invoked", "info", None),
    ("notification", "info", None),
    ("paused", "info", "success"),
    ("proposed", "info", "success"),
    ("replaced", "info", "success"),
    ("sent", "info", None),
    ("set", "info", "success"),
    ("triggered", "info", None),
    ("updated", "info", "success"),
    ("invalid sign in", "warn", "failure"),
    ("signed in", "info", "success"),
    ("signed out", "info", "success"),
]


class EvilText(str):
    """Text whose every method raises."""

    __slots__ = ()

    def _refuse(self, *args):
        raise RuntimeError("no")

    lower = casefold = replace = strip = __len__ = __eq__ = __str__ = __repr__ = _refuse

    def __hash__(self):
        raise RuntimeError("no")


class EvilObject:
    """An object of which even the class cannot be asked."""

    @property
    def __class__(self):
        raise RuntimeError("no")

    def __repr__(self):
        raise RuntimeError("no")


class Own(Enum):
    """A user's own enum, not a str."""

    RELAY = "relay"
    LOGIN = "Signed_In"
    NUMBER = 7


class TestPage:
    def test_has_the_components_in_order(self):
        """The default vocabulary has the page's five components, and so has the enum."""
        assert COMPONENTS == list(Vocabulary.default().components)
        assert COMPONENTS == [str(component) for component in Component]

    def test_has_the_categories_with_level_and_outcome(self):
        """The default vocabulary has the page's 19 categories in order, and so has the enum."""
        found = [(name, *defaults) for name, defaults in Vocabulary.default().categories.items()]
        assert CATEGORIES == found
        assert [name for name, *_ in CATEGORIES] == [str(category) for category in Category]

    def test_has_three_outcomes(self):
        """Outcomes are success, failure and unknown, in any case; nothing else."""
        assert ("success", "failure", "unknown") == OUTCOMES
        assert ["success", "failure", "unknown", None, None] == [
            find_outcome(value) for value in ("success", "FAILURE", "Unknown", "ok", 1)
        ]
        assert "'succes' (did you mean 'success'?)" in describe_unknown_outcome("succes")

    def test_default_is_always_the_same(self):
        """The default vocabulary is one object."""
        assert Vocabulary.default() is Vocabulary.default()


class TestEnums:
    @pytest.mark.parametrize(("alias", "expected"), COMPONENT_ALIASES)
    def test_component_takes_the_v2_names(self, alias, expected):
        """The enum's look-up takes aliases, in any case."""
        assert expected == Component(alias).value
        assert expected == Component(alias.upper().replace(" ", "_")).value

    @pytest.mark.parametrize("text", ["signed out", "signed_out", "Signed Out", "SIGNED_OUT", "signed out'"])
    def test_category_takes_every_spelling(self, text):
        """The enum's look-up takes underscores, any case, and the slip of the page."""
        assert Category.SIGNED_OUT is Category(text)

    def test_refuse_other_words_with_the_near_match(self):
        """An unknown word is a ValueError that names the word that was meant."""
        with pytest.raises(ValueError, match=r"component 'rely' \(did you mean 'relay'\?\)"):
            Component("rely")
        with pytest.raises(ValueError, match=r"category 'deletd' \(did you mean 'deleted'\?\)"):
            Category("deletd")

    def test_print_as_the_word(self):
        """A member is its text for str, format and JSON."""
        assert "signed in" == str(Category.SIGNED_IN) == f"{Category.SIGNED_IN}"
        assert '"relay"' == json.dumps(Component.RELAY)


class TestFind:
    @pytest.mark.parametrize("name", [name for name, *_ in CATEGORIES])
    def test_category_in_every_spelling(self, name):
        """Underscores for spaces and any case lead to the page's spelling, as plain text."""
        vocabulary = Vocabulary.default()
        for spelling in (name, name.upper(), name.title().replace(" ", "_"), Category(name)):
            found = vocabulary.find_category(spelling)
            assert (name, str) == (found, type(found))

    @pytest.mark.parametrize(
        ("alias", "expected"), [*COMPONENT_ALIASES, *((word, word) for word in COMPONENTS)]
    )
    def test_component_in_every_spelling(self, alias, expected):
        """Aliases in any case lead to the page's spelling."""
        vocabulary = Vocabulary.default()
        for spelling in (alias, alias.upper(), alias.replace(" ", "_")):
            assert expected == vocabulary.find_component(spelling)

    def test_member_of_a_users_own_enum(self):
        """An enum whose value is a word counts as that word."""
        vocabulary = Vocabulary.default()
        assert "relay" == vocabulary.find_component(Own.RELAY)
        assert "signed in" == vocabulary.find_category(Own.LOGIN)
        assert vocabulary.find_component(Own.NUMBER) is None

    @pytest.mark.parametrize(
        "make",
        # Made in the test: pytest itself looks at the class of a parameter.
        [
            *(lambda: None, lambda: "", lambda: 5, lambda: b"relay", lambda: ["relay"], dict, lambda: object),
            *(lambda: EvilText("rely"), EvilObject, lambda: "x" * 10**7, lambda: "\ud800"),
        ],
    )
    def test_gives_none_for_anything_else(self, make):
        """No object makes find or describe raise, and what describe says stays short."""
        odd = make()
        vocabulary = Vocabulary.default()
        assert (None, None) == (vocabulary.find_component(odd), vocabulary.find_category(odd))
        for sentence in (
            vocabulary.describe_unknown_component(odd),
            vocabulary.describe_unknown_category(odd),
            describe_unknown_outcome(odd),
        ):
            assert len(sentence) < 500

    def test_reads_text_whose_methods_raise(self):
        """A str subclass counts by its characters, not by its methods."""
        assert "relay" == Vocabulary.default().find_component(EvilText("RELAY"))

    @given(st.text())
    def test_finds_only_words_of_the_vocabulary(self, text):
        """Whatever the text, the answer is a known component or None."""
        assert Vocabulary.default().find_component(text) in {None, *COMPONENTS}

    def test_describes_with_value_near_match_and_known_words(self):
        """The sentence has the value, the word that was meant, and what is known."""
        assert (
            "component 'rely' (did you mean 'relay'?) is not in the vocabulary;"
            " known: autotask, sentinel, relay, admin, account"
        ) == Vocabulary.default().describe_unknown_component("rely")

    def test_suggests_no_word_for_what_is_no_text(self):
        """None is not a typo of anything."""
        assert "did you mean" not in Vocabulary.default().describe_unknown_category(None)


class TestExtend:
    def test_adds_words_in_order_and_leaves_the_old_one(self):
        """A new vocabulary has more words, after the page's; the old one stays as it is."""
        old = Vocabulary.default()
        new = old.extend(components=["Billing Desk", "ledger"], categories=["refunded"])
        assert [*COMPONENTS, "Billing Desk", "ledger"] == list(new.components)
        assert "refunded" == list(new.categories)[-1]
        assert (Severity.INFO, None) == new.categories["refunded"]
        assert COMPONENTS == list(old.components)
        assert old.find_component("ledger") is None

    @pytest.mark.parametrize("spelling", ["Billing Desk", "billing desk", "BILLING_DESK", "billing_Desk"])
    def test_finds_a_new_word_in_any_spelling(self, spelling):
        """A new word is written as it was given, however a record spells it."""
        assert "Billing Desk" == Vocabulary.default().extend(components=["Billing Desk"]).find_component(
            spelling
        )

    def test_takes_level_and_outcome_in_any_spelling(self):
        """Level and outcome of a category are both optional."""
        new = Vocabulary.default().extend(
            categories={
                "refunded": {"level": "WARNING", "outcome": "Failure"},
                "sold": {"level": Severity.DEBUG},
                "bought": {"outcome": "success"},
                "seen": None,
                "left": {"outcome": None},
            }
        )
        assert CategoryDefaults(Severity.WARN, "failure") == new.categories["refunded"]
        assert CategoryDefaults(Severity.DEBUG, None) == new.categories["sold"]
        assert CategoryDefaults(Severity.INFO, "success") == new.categories["bought"]
        assert CategoryDefaults(Severity.INFO, None) == new.categories["seen"] == new.categories["left"]

    def test_changes_what_is_told_of_a_known_category(self):
        """A known category keeps its spelling and what is not told."""
        new = Vocabulary.default().extend(categories={"DELETED": {"level": "error"}})
        assert (Severity.ERROR, "success") == new.categories["deleted"]
        assert "DELETED" not in new.categories

    def test_keeps_known_words_once(self):
        """A known word in another spelling, or a word twice, adds nothing."""
        new = Vocabulary.default().extend(components=["RELAY", "x", "X"], categories=["Signed_In"])
        assert [*COMPONENTS, "x"] == list(new.components)
        assert Vocabulary.default().categories == new.categories

    def test_prefers_a_users_own_word_to_an_alias(self):
        """A service with a component named like a v2 name keeps that name."""
        new = Vocabulary.default().extend(components=["Settings"])
        assert "Settings" == new.find_component("settings")
        assert "autotask" == new.find_component("actions")

    def test_takes_the_text_of_an_enum(self):
        """Members of a user's str enum are words, whatever they print."""

        class Part(str, Enum):
            LEDGER = "ledger"

        new = Vocabulary.default().extend(components=list(Part), categories={Part.LEDGER: {"level": "warn"}})
        assert ("ledger", str) == (new.components[-1], type(new.components[-1]))
        assert Severity.WARN is new.categories["ledger"].level

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            ({"components": "billing"}, "component names are 'billing'; give a list"),
            ({"components": b"billing"}, "component names are an object of type bytes"),
            ({"components": {"billing": None}}, "component names are an object of type dict"),
            ({"components": 5}, "component names are 5; give a list"),
            ({"components": [5]}, "component name 5 cannot be written"),
            ({"components": [""]}, "component name '' cannot be written"),
            ({"components": [" x"]}, "component name ' x' cannot be written"),
            ({"components": ["a\nb"]}, r"component name 'a\nb' cannot be written"),
            ({"components": ["x" * 65]}, "1 to 64 characters"),
            ({"categories": "refunded"}, "category names are 'refunded'; give a list"),
            ({"categories": [None]}, "category name None cannot be written"),
            ({"categories": {"x": "warn"}}, "category 'x' has 'warn'; give a mapping"),
            ({"categories": {"x": {"level": "loud"}}}, "category 'x': level 'loud' is unknown"),
            ({"categories": {"x": {"level": None}}}, "category 'x': level None is unknown"),
            ({"categories": {"x": {"outcome": "succes"}}}, "did you mean 'success'?"),
            ({"categories": {"x": {"leve": "warn"}}}, "the key 'leve' (did you mean 'level'?)"),
        ],
    )
    def test_refuses_wrong_things(self, arguments, complaint):
        """Whatever is wrong is a ValueError with the value and the remedy."""
        with pytest.raises(ValueError) as caught:
            Vocabulary.default().extend(**arguments)
        assert complaint in str(caught.value)

    def test_tells_all_problems_at_once(self):
        """Three mistakes give one error that names all three."""
        with pytest.raises(ValueError) as caught:
            Vocabulary.default().extend(components=[5, ""], categories={"x": {"level": "loud"}})
        assert ["5", "''", "'loud'"] == [word for word in ("5", "''", "'loud'") if word in str(caught.value)]


class TestFromConfig:
    def test_gives_what_extend_gives(self):
        """The dictConfig form adds to the page's words."""
        words = {"components": ["ledger"], "categories": {"refunded": {"level": "warn"}}}
        assert Vocabulary.default().extend(**words) == Vocabulary.from_config(words)

    @pytest.mark.parametrize("empty", [None, {}, {"components": None, "categories": None}])
    def test_is_the_page_when_nothing_is_given(self, empty):
        """No setting means the page's words."""
        assert Vocabulary.default() == Vocabulary.from_config(empty)

    def test_takes_a_ready_vocabulary(self):
        """A vocabulary made in code passes through."""
        ready = Vocabulary.default().extend(components=["ledger"])
        assert ready is Vocabulary.from_config(ready)

    def test_refuses_unknown_keys_with_the_near_match_and_tells_the_rest(self):
        """A misspelled key does not hide the other mistakes."""
        with pytest.raises(ValueError) as caught:
            Vocabulary.from_config({"component": ["ledger"], "categories": [5]})
        assert "'component' (did you mean 'components'?)" in str(caught.value)
        assert "category name 5" in str(caught.value)

    @pytest.mark.parametrize("wrong", [5, "relay", ["relay"]])
    def test_refuses_what_is_no_mapping(self, wrong):
        """The setting is a mapping."""
        with pytest.raises(ValueError, match="give a mapping with components, categories"):
            Vocabulary.from_config(wrong)


class TestImmutable:
    def test_cannot_be_changed(self):
        """Neither an attribute nor the mapping can be set, nor does the caller's own dict reach in."""
        mine = {"x": CategoryDefaults()}
        vocabulary = Vocabulary(("a",), mine)
        mine["y"] = CategoryDefaults()
        assert ["x"] == list(vocabulary.categories)
        with pytest.raises(AttributeError):
            vocabulary.components = ()
        with pytest.raises(TypeError):
            vocabulary.categories["z"] = CategoryDefaults()

    def test_survives_pickle_and_deepcopy(self):
        """A copy is equal, hashes alike and finds the same words."""
        vocabulary = Vocabulary.default().extend(components=["Ledger"])
        for twin in (pickle.loads(pickle.dumps(vocabulary)), copy.deepcopy(vocabulary)):
            assert vocabulary == twin
            assert hash(vocabulary) == hash(twin)
            assert "Ledger" == twin.find_component("LEDGER")
