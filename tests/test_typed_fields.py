"""Typed fields: words of the vocabulary, and one shape for each name."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum

import pytest

from defender_logging.plain import Snapshot
from defender_logging.redaction import Redactor
from defender_logging.typed_fields import WordReader, Words, write_text
from defender_logging.vocabulary import Category, Component, Vocabulary

ALLOW_AMOUNT = Redactor.from_setting({"allow": ["amount"]})


def read(*given):
    """Read words with the page's vocabulary."""
    return WordReader(Vocabulary.default(), Redactor()).read(*given)


def written(name, value, redactor=None):
    """Return the fields that ``value`` is written as, and what becomes an extra."""
    values = {}
    rest = write_text(values, name, value, Snapshot(redactor or Redactor()))
    return values, rest


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((None, None, None), (None, None, None)),
        (("relay", "paused", None), ("relay", "paused", "success")),
        (("Relayers", "SIGNED_IN", None), ("relay", "signed in", "success")),
        ((Component.RELAY, Category.INVALID_SIGN_IN, None), ("relay", "invalid sign in", "failure")),
        (("relay", "sent", None), ("relay", "sent", None)),
        (("relay", "paused", "failure"), ("relay", "paused", "failure")),
        ((None, None, "Success"), (None, None, "success")),
        ((None, "paused", "UNKNOWN"), (None, "paused", "unknown")),
    ],
)
def test_known_words_are_written_in_the_pages_spelling(given, expected):
    """Any accepted spelling; the category brings its outcome unless the caller tells one."""
    assert Words(*expected, ()) == read(*given)


class Odd:
    """An object that is no word, and cannot be looked up."""

    __hash__ = None

    def __str__(self):
        raise ValueError


@pytest.mark.parametrize(
    ("given", "as_given", "told"),
    [
        (("rely", None, None), ("rely", None, None), ["relay"]),
        ((5, None, None), ("5", None, None), ["component"]),
        ((["relay"], None, None), ("['relay']", None, None), ["component"]),
        ((None, "pasued", None), (None, "pasued", None), ["paused"]),
        ((None, None, "ok"), (None, None, "ok"), ["outcome", "success"]),
        ((Odd(), None, None), ("<Odd: unprintable, ValueError>", None, None), ["component"]),
        (("", "", ""), ("", "", ""), ["component"]),
        (("x\ud800", None, None), ("x\ufffd", None, None), ["component"]),
    ],
)
def test_an_unknown_word_is_written_as_given_and_told(given, as_given, told):
    """The record goes out, with a sentence for each wrong word."""
    words = read(*given)

    assert as_given == words[:3]
    assert all(word in words.errors[0] or word in " ".join(words.errors) for word in told)
    assert sum(word is not None for word in given) == len(words.errors)


def test_what_it_remembers_is_bounded_and_small():
    """Words made of data do not pile up."""
    reader = WordReader(Vocabulary.default(), Redactor())
    for number in range(3000):
        reader.read(f"component{number}", None, None)
    reader.read("x" * 1000, None, None)

    assert len(reader._read) <= 1024
    assert ("x" * 1000, None, None) not in reader._read


class Role(Enum):
    """An enum used as a subject."""

    ADMIN = "admin"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("alice", "alice"),
        ("", ""),
        (42, "42"),
        (True, "True"),
        (1.5, "1.5"),
        (2**60, str(2**60)),
        (["a", 1], "['a', 1]"),
        (("a",), "['a']"),
        (b"abc", "abc"),
        (Role.ADMIN, "admin"),
        (ipaddress.ip_address("::1"), "::1"),
        ([{"password": "x"}], "[{'password': '[redacted]'}]"),
    ],
)
@pytest.mark.parametrize("name", ["subject", "object_id", "user", "src_ip", "tenant", "reason"])
def test_every_typed_field_is_text(name, value, text):
    """One shape per name, whatever is given."""
    assert ({name: text}, {}) == written(name, value)


def test_none_is_not_given():
    """A field of None is left out."""
    assert ({}, {}) == written("subject", None)


@pytest.mark.parametrize(
    ("name", "value", "fields", "rest"),
    [
        (
            "subject",
            {"type": "user", "id": 7, "name": "alice"},
            {"subject": "alice", "subject_type": "user", "subject_id": "7"},
            {},
        ),
        (
            "object",
            {"type": "relayer", "id": "r-7"},
            {"object": "r-7", "object_type": "relayer", "object_id": "r-7"},
            {},
        ),
        ("object", {"type": "relayer"}, {"object": "relayer", "object_type": "relayer"}, {}),
        ("subject", {"name": None, "id": 0}, {"subject": "0", "subject_id": "0"}, {}),
        (
            "user",
            {"id": 7, "name": "Al", "email": "al@example.com"},
            {"user": "Al", "user_id": "7", "user_name": "Al", "user_email": "al@example.com"},
            {},
        ),
        ("user", {"email": "al@example.com"}, {"user": "al@example.com", "user_email": "al@example.com"}, {}),
        (
            "subject",
            {"name": "al", "token": "x", "n": 1},
            {"subject": "al"},
            {"extra_subject": {"token": "[redacted]", "n": 1}},
        ),
        ("subject", {"n": 1}, {"subject": "{'n': 1}"}, {}),
        ("subject", {}, {"subject": "{}"}, {}),
        ("tenant", {"id": 1}, {"tenant": "{'id': 1}"}, {}),
    ],
)
def test_a_mapping_is_flattened(name, value, fields, rest):
    """Into type, id and name; what it has besides is kept as an extra."""
    assert (fields, rest) == written(name, value)


def test_an_allow_list_does_not_rule_our_own_fields():
    """The parts of a subject are ours; what it has besides is the caller's."""
    fields, rest = written("subject", {"name": "al", "id": 1, "amount": 5, "other": 6}, ALLOW_AMOUNT)

    assert {"subject": "al", "subject_id": "1"} == fields
    assert {"extra_subject": {"amount": 5, "other": "[redacted]"}} == rest


def test_a_mapping_that_raises_becomes_a_placeholder():
    """The field is there all the same."""

    class Evil(dict):
        def items(self):
            raise KeyError

    assert ({"subject": "<Evil: unprintable, KeyError>"}, {}) == written("subject", Evil(name="x"))


def test_an_explicit_part_wins_and_the_mappings_is_kept():
    """Nothing is overwritten silently."""
    values = {}
    snapshot = Snapshot(Redactor())
    write_text(values, "subject", {"name": "al", "type": "user"}, snapshot)
    rest = write_text(values, "subject_type", "robot", snapshot)

    assert {"subject": "al", "subject_type": "robot"} == values
    assert {"extra_subject_type": "user"} == rest


@pytest.mark.parametrize(
    "value",
    [
        {"name": {"first": "al", "password": "x-secret"}},
        {"id": {"api_key": "x-secret"}},
        {"name": "al", "headers": [("Authorization", "x-secret")]},
        {"name": [("token", "x-secret")]},
    ],
)
@pytest.mark.parametrize("name", ["subject", "object", "user"])
def test_a_secret_inside_a_part_is_hidden(name, value):
    """At any depth, in the parts and in what is kept besides."""
    found = str(written(name, value))

    assert "x-secret" not in found
    assert "[redacted]" in found


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_secret_inside_a_word_is_hidden(position):
    """A structure that is no word is written as given, but for its secrets."""
    given = [None, None, None]
    given[position] = {"password": "x-secret"}

    assert "x-secret" not in str(read(*given))


def test_a_dataclass_with_a_text_of_its_own_is_written_as_that():
    """Any other object becomes str()."""

    @dataclass
    class User:
        name: str
        number: int

        def __str__(self):
            return self.name

    assert ({"subject": "alice"}, {}) == written("subject", User("alice", 7))
