"""Text for a terminal: strangers' characters are escaped, keys are masked, one entry is one line."""

import io

import pytest

from defender_logging.cli.display import Screen, escaped, masked


class Terminal(io.StringIO):
    def isatty(self):
        return True


ENTRY = {
    "time": "2026-07-01T12:34:56.789012Z",
    "level": "warn",
    "component": "relay",
    "category": "paused",
    "subject": "alice",
    "object": "relayer-7",
    "outcome": "success",
    "message": "relayer-7 is paused",
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ümläut, 漢字", "plain text, ümläut, 漢字"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("two\r\nlines", r"two\r\nlines"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\x9bc\u2028\ud800", r"a\x9bc\u2028\ud800"),
        (None, "None"),
    ],
)
def test_escapes_what_could_move_the_cursor_or_turn_the_text(text, shown):
    """Only printable characters and blanks reach the terminal as they are."""
    assert shown == escaped(text)


def test_masks_the_longest_secret_first():
    """A secret inside another one leaves nothing of either."""
    assert "the [key] was wrong" == masked("the abcdef-123 was wrong", ["abcdef", "abcdef-123"])


def test_masks_no_text_of_a_few_letters():
    """A key of three letters is none, and masking it would make texts unreadable."""
    assert "the answer" == masked("the answer", ["", "the"])


def test_shows_an_entry_in_one_line():
    """Time, endpoint, level, component, category, who to what, outcome and message stand in this order."""
    line = Screen(io.StringIO()).entry("splunk", ENTRY)

    assert ["12:34:56.789", "splunk", "warn", "relay", "paused"] == line.split()[:5]
    assert ["alice", "->", "relayer-7", "success", "relayer-7", "is", "paused"] == line.split()[5:]


@pytest.mark.parametrize(
    "entry", ["a line\x1b[2J of /raw", ["a", "\x1b[2J"], {}, {"time": 1, "message": "\x1b]0;x\x07"}]
)
def test_shows_any_entry_without_control_characters(entry):
    """Whatever JSON arrives is shown in one printable line."""
    assert Screen(io.StringIO()).entry("generic", entry).isprintable()


def test_shows_a_transaction_hash_by_its_ends():
    """A long name does not push the rest off the line."""
    line = Screen(io.StringIO()).entry("splunk", {**ENTRY, "object": "0x" + "a" * 60 + "beef"})

    assert "a" * 30 not in line
    assert "beef" in line


def test_colours_only_where_the_stream_is_a_terminal(monkeypatch):
    """A pipe gets plain text, a terminal colours, and NO_COLOR turns them off."""
    monkeypatch.setenv("TERM", "xterm")

    assert "\x1b[31mx\x1b[0m" == Screen(Terminal()).paint("x", "red")
    assert "x" == Screen(io.StringIO()).paint("x", "red")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "x" == Screen(Terminal()).paint("x", "red")


def test_writes_what_the_stream_cannot_encode_as_escapes():
    """A terminal in an old encoding gets escapes instead of an exception."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Screen(stream).line("漢")

    assert b"\\u6f22" == raw.getvalue().rstrip()
