"""Redaction: which names hide their values."""

from __future__ import annotations

import dataclasses
import hmac
import re
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


class TestTexts:
    """Secrets that a text shows, whatever its field is called."""

    TOKEN = "ghp_" + "a1" * 18
    CARD = "4111 1111 1111 1111"
    HEX = "0123456789abcdef" * 4

    def test_are_searched_by_default_and_with_an_allow_list(self):
        """Only "only" takes what is built in away."""
        values = {"note": f"used {self.TOKEN}"}
        found = {
            str(setting): Redactor.from_setting(setting).searched(values)["note"]
            for setting in (None, ["pin"], {"add": ["pin"]}, {"allow": ["note"]}, {"only": ["pin"]})
        }

        assert ["used [redacted]"] * 4 + [f"used {self.TOKEN}"] == list(found.values())

    def test_are_searched_at_any_depth_and_as_names(self):
        """Lists, mappings and the names in them; two names that become one mark both stay."""
        deep = {"a": [{"b": [[{"c": {"d": f"at {self.CARD}"}}]]}]}
        names = {f"Bearer {self.TOKEN}": 1, f"Bearer {self.TOKEN[:-1]}b": 2}
        found = Redactor().searched({"deep": deep, "names": names, "n": 5, "f": 0.5, "none": None})

        assert {"a": [{"b": [[{"c": {"d": "at [redacted]"}}]]}]} == found["deep"]
        assert {"Bearer [redacted]": 1, "Bearer [redacted]_2": 2} == found["names"]
        assert [5, 0.5, None] == [found["n"], found["f"], found["none"]]

    @pytest.mark.parametrize("name", ["key", "hexKey", "pk", "deployer_pk", "signer", "wallet", "priv"])
    def test_64_digits_are_a_key_under_a_suspicious_name(self, name):
        """The same digits under another name are a hash, and a public key is public."""
        values = {
            name: self.HEX,
            "nested": {name: [f"0x{self.HEX}"]},
            "hash": self.HEX,
            "public_key": self.HEX,
        }
        found = Redactor().searched(values)

        assert {
            name: "[redacted]",
            "nested": {name: ["[redacted]"]},
            "hash": self.HEX,
            "public_key": self.HEX,
        } == found

    def test_values_without_secrets_are_not_copied(self):
        """The common case costs a look."""
        values = {"message": "paused", "subject": "alice@example.com", "object": "0x" + "ab" * 20}

        assert values is Redactor().searched(values)

    def test_both_of_two_search(self):
        """What a formatter's redactor would find is found in a handler that searches nothing."""
        both = Redactor.from_setting({"only": []}).also(Redactor())

        assert {"a": "[redacted]"} == both.searched({"a": self.TOKEN})

    @pytest.mark.parametrize("names", [12_500, pytest.param(100_000, marks=pytest.mark.slow)])
    def test_many_names_take_linear_time(self, names):
        """Eight times as many cost about eight times."""

        def seconds(count):
            values = {f"name{number}": f"token={number}" for number in range(count)}
            return seconds_to_search(values)

        assert seconds(names) < 30 * max(seconds(names // 8), 0.01)

    @pytest.mark.parametrize("size", [400_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
    def test_long_texts_take_linear_time(self, size):
        """Full of secrets and of what nearly is one."""
        dense = "password=x, card 4111 1111 1111 1112, {'token': 'y'} bearer " * (size // 64)

        assert seconds_to_search({"m": dense}) < 30 * max(seconds_to_search({"m": dense[: size // 8]}), 0.01)


def seconds_to_search(values):
    began = time.thread_time()
    Redactor().searched(values)
    return time.thread_time() - began


class TestDigest:
    """A keyed digest in the mark: equal values are recognised, none is known."""

    KEY = "a-key-of-32-characters-for-tests"

    def test_equal_values_have_equal_marks(self, monkeypatch):
        """Under a name, in a text, of any type; another key gives other marks."""
        monkeypatch.setenv("REDACT_KEY", self.KEY)
        redactor = Redactor.from_setting({"add": ["pin"], "digest_key": "env:REDACT_KEY"})
        other = Redactor.from_setting({"digest_key": self.KEY[::-1]})

        mark = redactor.mark("hunter2")
        assert re.fullmatch(r"\[redacted:[0-9a-f]{16}\]", mark)
        assert {"m": f"password={mark}"} == redactor.searched({"m": "password=hunter2"})
        assert [mark, redactor.mark(4711)] == [redactor.mark(b"hunter2"), redactor.mark("4711")]
        assert len({mark, redactor.mark("hunter3"), other.mark("hunter2")}) == 3
        assert redactor.hides("pin")

    def test_is_an_hmac_that_others_can_compute(self):
        """``printf %s VALUE | openssl dgst -sha256 -hmac KEY`` gives the same first digits."""
        redactor = Redactor.from_setting({"digest_key": self.KEY})
        expected = hmac.new(self.KEY.encode(), b"hunter2", "sha256").hexdigest()[:16]

        assert f"[redacted:{expected}]" == redactor.mark("hunter2")

    def test_structures_have_none(self):
        """What has no one text is only marked."""
        assert "[redacted]" == Redactor.from_setting({"digest_key": self.KEY}).mark({"a": 1})

    def test_both_of_two_use_the_one_key(self):
        """A handler's key serves for what its formatter's redactor hides."""
        keyed = Redactor.from_setting({"only": ["a"], "digest_key": self.KEY})

        assert keyed.mark("x") == keyed.also(Redactor()).mark("x") == Redactor().also(keyed).mark("x")

    @pytest.mark.parametrize(
        ("setting", "told"),
        [
            ({"digest_key": "short"}, "5 characters"),
            ({"digest_key": 5}, "of type int"),
            ({"digest_key": "env:NOT_SET_ANYWHERE"}, "'NOT_SET_ANYWHERE', which is not set"),
        ],
    )
    def test_a_wrong_key_is_told_without_showing_it(self, setting, told):
        """One sentence that begins with the setting's name."""
        with pytest.raises(ValueError, match=r"^redact") as caught:
            Redactor.from_setting(setting)

        assert told in str(caught.value)
        assert "short" not in str(caught.value)

    def test_the_key_never_shows(self):
        """A redactor stands in the settings, and those are printed."""
        assert self.KEY not in repr(Redactor.from_setting({"digest_key": self.KEY}))
