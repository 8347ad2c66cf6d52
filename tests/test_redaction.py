"""Redaction: which names hide their values."""

from __future__ import annotations

import dataclasses
import time

import pytest

from defender_logging.redaction import BUILT_IN_NAMES, Redactor

HIDDEN = [
    *("password", "PASSWORD", "Password", "PassWord", "db_password", "dbPassword", "DBPassword", "password2"),
    *(
        "x-api-key",
        "X-API-Key",
        "api key",
        "apikey",
        "APIKEY",
        "userApiKey",
        "userAPIKey",
        "api.key",
        "api_key_2",
    ),
    *("token", "userAccessToken", "access_token", "csrf_token", "client_secret", "Authorization"),
    *("HTTP_AUTHORIZATION", "Proxy-Authorization", "Set-Cookie", "cookie", "private_key", "privateKey"),
    *(
        "mnemonic",
        "seed_phrase",
        "wallet_seed",
        "connectionString",
        "SENTRY_DSN",
        "database-url",
        "Authorization:",
    ),
]

SHOWN = [
    *(
        "token_count",
        "max_tokens",
        "passwordless",
        "tokenizer",
        "keys",
        "key",
        "subject",
        "user",
        "password_reset_at",
    ),
    *("authorization_status", "cookie_policy", "secretary", "seeded", "", "_", "1"),
]


@pytest.mark.parametrize("name", HIDDEN)
def test_it_hides_telling_names_in_any_spelling(name):
    """A built-in name, alone or as the last words of a longer one, hides its value."""
    assert Redactor.from_setting(None).hides(name)


@pytest.mark.parametrize("name", SHOWN)
def test_it_shows_names_that_only_contain_one(name):
    """A name that has the word in another place, or as part of a word, is no secret."""
    assert not Redactor.from_setting(None).hides(name)


@pytest.mark.parametrize("name", BUILT_IN_NAMES)
def test_every_built_in_name_hides_itself(name):
    """The list that the documentation quotes is the one at work."""
    assert Redactor().hides(name)


def test_a_list_adds_to_the_built_in_names():
    """Both the user's names and ours are hidden."""
    redactor = Redactor.from_setting(["tax-id"])

    assert [True, True, False] == [redactor.hides(name) for name in ("customerTaxId", "password", "id")]


def test_only_replaces_the_built_in_names():
    """With "only" nothing else is hidden."""
    redactor = Redactor.from_setting({"only": ["tax_id"]})

    assert [True, False] == [redactor.hides(name) for name in ("tax_id", "password")]


def test_only_nothing_switches_redaction_off():
    """An empty list is a choice."""
    assert not Redactor.from_setting({"only": []}).hides("password")


def test_allow_shows_these_names_alone():
    """With "allow" a name is shown in any spelling, but not as the end of a longer one."""
    redactor = Redactor.from_setting({"allow": ["id", "token"]})

    names = ("id", "ID", "token", "session_id", "amount", "", "x" * 5000 + "_id")
    assert [False, False, False, True, True, True, True] == [redactor.hides(name) for name in names]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("password", "'password'"),
        (b"password", "b'password'"),
        (5, "5"),
        ([""], "''"),
        (["--"], "'--'"),
        ([5], "5"),
        ({}, "[]"),
        ({"deny": ["a"]}, "'deny'"),
        ({"only": ["a"], "allow": ["b"]}, "'allow'"),
        ({"only": "a"}, "'a'"),
    ],
)
def test_a_wrong_setting_tells_the_value_and_the_remedy(setting, told):
    """The error names the value and shows how to write it."""
    with pytest.raises(ValueError, match=r"redact .*; write ") as caught:
        Redactor.from_setting(setting)
    assert told in str(caught.value)


def test_two_redactors_hide_what_either_hides():
    """What a formatter hides stays hidden in a handler that would show it, and the other way round."""
    both = Redactor.from_setting({"only": ["a"]}).also(Redactor.from_setting({"only": ["b"]}))

    assert [True, True, False] == [both.hides(name) for name in "abc"]


def test_it_cannot_be_changed():
    """A redactor is shared by threads, so it is frozen."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Redactor().names = frozenset()


def test_what_it_remembers_is_bounded():
    """Names made of data do not pile up, nor do long ones."""
    redactor = Redactor()
    for number in range(10_000):
        redactor.hides(f"name{number}")
    redactor.hides("x" * 1000)

    assert len(redactor._answers) <= 4096
    assert "x" * 1000 not in redactor._answers


@pytest.mark.parametrize(
    "name", ["a" * 10_000_000, "aA" * 5_000_000, "_" * 10_000_000, "A" * 9_999_999 + "a"]
)
def test_a_huge_name_costs_no_time(name):
    """Only the end of a name is looked at."""
    begin = time.perf_counter()
    Redactor().hides(name)

    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize("name", HIDDEN)
def test_a_name_that_has_lost_its_case_is_hidden_too(name):
    """Header and form libraries write names in small letters, others in capitals."""
    redactor = Redactor()

    assert [True, True] == [redactor.hides(name.lower()), redactor.hides(name.upper())]


@pytest.mark.parametrize(
    "name", ["authtoken", "csrfmiddlewaretoken", "dbpassword", "clientsecret", "userapikey"]
)
def test_endings_are_found_in_one_word(name):
    """Only those that no other word has, and only while they are on the list."""
    assert Redactor().hides(name)
    assert not Redactor.from_setting({"only": ["pin"]}).hides(name)
    assert not Redactor.from_setting({"only": ["pin"]}).hides("shoppin")
