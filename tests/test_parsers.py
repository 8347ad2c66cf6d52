"""Each parser takes what a person writes, or says what is wrong with it and what to do."""

from __future__ import annotations

import logging

import pytest

from defender_logging import parsers
from defender_logging.secret import Secret


def complaint(read, value):
    with pytest.raises(ValueError) as caught:
        read(value)
    assert ValueError is type(caught.value)
    return str(caught.value)


class TestNearest:
    @pytest.mark.parametrize(
        ("word", "hint"),
        [
            ("gzpi", "; did you mean 'gzip'?"),
            ("GZIP", "; did you mean 'gzip'?"),
            ("brotli", ""),
            ("", ""),
        ],
    )
    def test_hints_only_at_what_is_near(self, word, hint):
        """A far-fetched hint would mislead."""
        assert hint == parsers.nearest(word, ["gzip", "none", "zstd"])


class TestNumbers:
    @pytest.mark.parametrize("value", [0.001, 1, 2.5, parsers.MAX_SECONDS])
    def test_seconds_become_float(self, value):
        """Whole numbers and fractions are both usual."""
        read = parsers.seconds()(value)

        assert (float, value) == (type(read), read)

    @pytest.mark.parametrize(
        "value",
        [
            -0.1,
            float("nan"),
            float("inf"),
            -float("inf"),
            parsers.MAX_SECONDS + 1,
            10**400,
            True,
            "5",
            None,
            b"5",
            [1],
        ],
    )
    @pytest.mark.parametrize("may_be_zero", [True, False])
    def test_no_seconds(self, value, may_be_zero):
        """What no clock can wait for, or no number is."""
        assert "give a number of seconds" in complaint(parsers.seconds(may_be_zero=may_be_zero), value)

    def test_zero_seconds_only_where_they_make_sense(self):
        """A timeout of 0 would fail every request, a wait of 0 is no wait."""
        assert 0.0 == parsers.seconds(may_be_zero=True)(0)
        assert "is 0; give a number of seconds, more than 0" in complaint(parsers.seconds(), 0)

    @pytest.mark.parametrize("value", [0, -1, 1.0, True, False, "1", None, float("nan")])
    def test_no_count(self, value):
        """A count is a whole number from 1; true is not 1."""
        assert f"is {value!r}; give a whole number of bytes, 1 or more" == complaint(
            parsers.byte_count(), value
        )

    def test_a_count_keeps_to_its_bound(self):
        """The bound itself is allowed."""
        read = parsers.count("entries", 10)

        assert 10 == read(10)
        assert "is 11, above this destination's limit of 10; choose 10 or less" == complaint(read, 11)


class TestWords:
    @pytest.mark.parametrize("value", [0, 1, "true", "yes", None])
    def test_only_true_and_false_are_flags(self, value):
        """«no» is a text that counts as true in Python."""
        assert f"is {value!r}; give true or false" == complaint(parsers.flag, value)

    def test_flags(self):
        """They are what they are."""
        assert (True, False) == (parsers.flag(True), parsers.flag(False))

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("blok", "is 'blok'; did you mean 'block'? choose from drop_newest, block"),
            ("x", "is 'x'; choose from drop_newest, block"),
            (["block"], "is ['block']; choose from drop_newest, block"),
            (None, "is None; choose from drop_newest, block"),
        ],
    )
    def test_no_choice(self, value, message):
        """The words to choose from are all there."""
        assert message == complaint(parsers.choice("drop_newest", "block"), value)

    @pytest.mark.parametrize(
        "value", ["", "  ", "a\nb", "a\x00", "a\x1b[0m", "a\u2028b", "a\x85b", "\ud800", 5, None, b"a"]
    )
    def test_no_line_of_text(self, value):
        """One line: no control characters, no separators of lines, nothing that UTF-8 cannot write."""
        assert f"is {value!r}; give one line of text, or leave it out" == complaint(parsers.text, value)

    @pytest.mark.parametrize("value", ["a", "Zürich 2", "日本"])
    def test_text(self, value):
        """Any script will do."""
        assert value == parsers.text(value)

    @pytest.mark.parametrize(
        ("value", "read"),
        [
            (["a:b", " c "], ("a:b", "c")),
            (("a:b",), ("a:b",)),
            ({"a": "b", "c": 1}, ("a:b", "c:1")),
            ([], ()),
            ({}, ()),
        ],
    )
    def test_tags(self, value, read):
        """A list of ``key:value``, or a mapping."""
        assert read == parsers.tags(value)

    @pytest.mark.parametrize(
        "value", [["a,b"], [""], [" "], ["a\nb"], [1], b"ab", {"a": "b,c"}, {"a": "b\n"}]
    )
    def test_no_tags(self, value):
        """A comma would make two tags of one."""
        assert "each tag is 'key:value', one line without commas" in complaint(parsers.tags, value)

    @pytest.mark.parametrize("value", ["a:b", 5, None])
    def test_no_list_of_tags(self, value):
        """One tag alone is a list of one, in brackets."""
        assert f"is {value!r}; give a list of 'key:value' or a mapping" == complaint(parsers.tags, value)

    @pytest.mark.parametrize(
        ("value", "number"),
        [
            ("INFO", 20),
            ("info", 20),
            ("Warning", 30),
            ("WARN", 30),
            ("fatal", 50),
            ("NOTSET", 0),
            ("trace", 5),
            (25, 25),
        ],
    )
    def test_levels(self, value, number):
        """Numbers, and the names of the logging module and our own, in any case; nothing is registered."""
        assert number == parsers.level(value)
        assert "Level 5" == logging.getLevelName(5)

    @pytest.mark.parametrize("value", ["LOUD", "", "Level 5", "20", 1.5, True, None, []])
    def test_no_level(self, value):
        """«Level 5» is only how the logging module prints what it does not know."""
        assert f"is {value!r}; give a level such as 'INFO' or its number" == complaint(parsers.level, value)


class TestHeaders:
    @pytest.mark.parametrize("value", ["X-Api-Key", "authorization", "!#$%&'*+.^_`|~09"])
    def test_names(self, value):
        """What RFC 9110 calls a token."""
        assert value == parsers.token(value)

    @pytest.mark.parametrize("value", ["", "Schlüssel", "X\n", "X\0", "(X)", 5, None, b"X"])
    def test_no_names(self, value):
        """Told with the value, which is no secret."""
        assert complaint(parsers.token, value).startswith(f"is {value!r}; a header name has letters")

    @pytest.mark.parametrize("value", ["X-Api-Key: s3cret", "X-Api-Key:s3cret", "Bearer s3cret"])
    def test_a_whole_header_in_place_of_a_name_is_not_shown(self, value):
        """It has the key in it."""
        assert "s3cret" not in complaint(parsers.token, value)

    @pytest.mark.parametrize("value", ["k", "Splunk k", "a" * parsers.MAX_KEY_CHARACTERS, "!~"])
    def test_values(self, value):
        """Visible ASCII with inner blanks."""
        assert value == parsers.header_value(value)

    @pytest.mark.parametrize(
        ("value", "why"),
        [
            ("", "is empty"),
            ("s3cret\n", "has characters that a header cannot carry"),
            ("s3cret\r\nX: 1", "has characters that a header cannot carry"),
            ("s3cret\0", "has characters that a header cannot carry"),
            ("s3cret\tx", "has characters that a header cannot carry"),
            (" s3cret", "has characters that a header cannot carry"),
            ("s3cret ", "has characters that a header cannot carry"),
            ("s3cret€", "has characters that a header cannot carry"),
            ("s3cret\x7f", "has characters that a header cannot carry"),
            ("s3cret" * 10_000, "has 60000 characters, more than any key (4096)"),
        ],
    )
    def test_no_values(self, value, why):
        """Refused at once and unseen, rather than at every request."""
        message = complaint(parsers.header_value, value)

        assert message.startswith(why + ("; " if why.endswith(("empty", ")")) else " ("))
        assert "s3cret" not in message
        assert "; give the key" in message

    def test_a_secret_is_checked_by_the_vendor_s_rule(self):
        """The reader of a key makes the header's value of it."""
        read = parsers.secret(lambda key: f"Splunk {key}")

        assert "Splunk k" == read("k").reveal()

    def test_a_secret_is_taken_as_it_is(self):
        """A key that has been read already is not read again."""
        ready = Secret("k")

        assert ready is parsers.secret()(ready)

    @pytest.mark.parametrize("value", [5, b"s3cret", ["s3cret"], None])
    def test_a_key_is_text(self, value):
        """What is no text is named by its type alone."""
        assert (
            f"is of type {type(value).__name__}; give 'env:NAME', 'file:PATH' or the key as text"
            == complaint(parsers.secret(), value)
        )


class TestAddressesAndFiles:
    def test_proxies_are_plain(self):
        """A proxy may carry a user, and is spoken to without TLS; what goes through it is encrypted."""
        assert "http://p:3128" == parsers.proxy_url("http://u:w@p:3128").origin
        assert complaint(parsers.proxy_url, "https://p").startswith("is an https:// proxy; only http://")

    @pytest.mark.parametrize("read", [parsers.url, parsers.proxy_url])
    @pytest.mark.parametrize("value", [5, None, b"http://h"])
    def test_addresses_are_text(self, read, value):
        """What is no text is named by its type alone."""
        assert complaint(read, value).startswith(f"is of type {type(value).__name__}; give 'http")

    @pytest.mark.parametrize("value", ["AB" * 32, "ab" * 32, ":".join(["aB"] * 32)])
    def test_fingerprints(self, value):
        """Any case, colons allowed, as openssl prints them."""
        assert "ab" * 32 == parsers.fingerprint(value)

    @pytest.mark.parametrize(
        "value", ["", "ab" * 31, "ab" * 33, "zz" * 32, "ab" * 20, "ab" * 32 + "\n", 5, None, b"ab" * 32]
    )
    def test_no_fingerprints(self, value):
        """SHA-1 is too short, and the remedy shows how to get the right one."""
        assert "openssl x509 -noout -fingerprint -sha256" in complaint(parsers.fingerprint, value)

    def test_files_that_are_there(self, tmp_path):
        """The path is kept as given."""
        (tmp_path / "ca.pem").touch()

        assert str(tmp_path / "ca.pem") == parsers.existing_file(str(tmp_path / "ca.pem"))

    def test_files_that_cannot_be_looked_at(self):
        """What the system refuses to look for is a wrong setting like any other."""
        assert "cannot be looked at (OSError); check" in complaint(parsers.existing_file, "x" * 5_000)

    def test_what_is_in_a_file_is_not_shown(self):
        """A private key that stands where its path should be."""
        pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----\n"

        for value in (pem, pem.replace("\n", "\\n"), pem + "MIIE" * 500):
            assert "MIIE" not in complaint(parsers.existing_file, value)

    @pytest.mark.parametrize("value", ["", "/no/such", "/", "a\0b", 5, None])
    def test_files_that_are_not(self, value):
        """A folder is not a file."""
        assert f"is {value!r}, which is not a file; check the path" == complaint(parsers.existing_file, value)


@pytest.mark.parametrize(
    "value", ["-----BEGIN PRIVATE KEY-----\nx-secret", "x-secret" * 20, "x-secret" * 1000]
)
def test_a_key_in_the_place_of_its_file_is_not_shown(value):
    """Nor is it an OSError, as too long a path is elsewhere."""
    assert "x-secret" not in complaint(parsers.existing_file, value)
