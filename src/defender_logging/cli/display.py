"""Makes text fit for a terminal: strangers' characters escaped, colours where they are wanted, one line an entry.

Entries and error texts come from the network and from files; ``escaped`` keeps them from moving the cursor,
colouring the screen or turning the reading direction round.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from defender_logging.severity import Severity

_CODES = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "dim": "2",
    "bold": "1",
}
_OF_LEVEL = {"trace": "dim", "debug": "dim", "info": "green", "warn": "yellow", "error": "red"}
_OF_KIND = {"splunk": "magenta", "datadog": "blue", "generic": "cyan"}
_TIME = slice(len("2026-07-01T"), len("2026-07-01T00:00:00.000"))
_LEVEL_WIDTH = max(map(len, Severity))
_KIND_WIDTH = max(map(len, _OF_KIND))
_COMPONENT_WIDTH = 8
_CATEGORY_WIDTH = 15
_WHO_TO_WHAT_WIDTH = 18
_MAX_NAME_CHARACTERS = 24
"""Longer subjects and objects, transaction hashes mostly, are shown by their two ends."""
_MIN_MASKED_CHARACTERS = 4
"""A shorter «secret» would black out half of every text; a key of that length is none."""


def escaped(text: object) -> str:
    """Return the text with everything but printable characters and blanks as backslash escapes.

    Not printable, as Unicode has it, are control characters, the bidirectional and other format characters,
    line and paragraph separators, and lone surrogates.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return the text with each secret in it replaced: a receiver may echo a key in its answer."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _MIN_MASKED_CHARACTERS:
            text = text.replace(secret, "[key]")
    return text


class Screen:
    """Writes lines to one stream, each at once, and colours words where the stream is a terminal.

    Args:
        stream: where to write. A character that it cannot encode is written as an escape.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._has_colours = (
            stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        )

    def line(self, text: str = "") -> None:
        """Write one line and flush it, so that whoever reads a pipe sees it now."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=self._stream, flush=True)

    def paint(self, text: str, colour: str) -> str:
        """Return the text in a colour, or as it is where there are none."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self._has_colours else text

    def entry(self, kind: str, entry: Any) -> str:
        """Return one line for an entry: time, endpoint, level, component, category, who to what, outcome, message."""
        endpoint = self.paint(f"{kind:<{_KIND_WIDTH}}", _OF_KIND.get(kind, "dim"))
        if not isinstance(entry, Mapping):
            return f"{'':12}  {endpoint}  {escaped(entry)}"
        level = _word(entry, "level")
        parts = [
            self.paint(f"{escaped(str(entry.get('time', ''))[_TIME]):<12}", "dim"),
            endpoint,
            self.paint(f"{level:<{_LEVEL_WIDTH}}", _OF_LEVEL.get(level, "dim")),
            f"{_word(entry, 'component') or _word(entry, 'trail'):<{_COMPONENT_WIDTH}}",
            f"{_word(entry, 'category'):<{_CATEGORY_WIDTH}}",
            f"{_who_to_what(entry):<{_WHO_TO_WHAT_WIDTH}}",
            self._outcome(_word(entry, "outcome")),
            _word(entry, "message"),
        ]
        return "  ".join(parts).rstrip()

    def _outcome(self, outcome: str) -> str:
        return self.paint(f"{outcome:<7}", {"success": "green", "failure": "red"}.get(outcome, "dim"))


def _word(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return "" if value is None else escaped(value)


def _who_to_what(entry: Mapping[str, Any]) -> str:
    subject, target = _short(_word(entry, "subject")), _short(_word(entry, "object"))
    return f"{subject} -> {target}" if target else subject


def _short(name: str) -> str:
    half = _MAX_NAME_CHARACTERS // 2 - 1
    return name if len(name) <= _MAX_NAME_CHARACTERS else f"{name[:half]}..{name[-half:]}"
