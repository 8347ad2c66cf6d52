"""Shows how far a long work is, as a bar that is drawn over itself; on a terminal only."""

from __future__ import annotations

from typing import TextIO

from defender_logging.cli.display import escaped

_BAR_WIDTH = 30


class Progress:
    """A bar on one stream; writes nothing where that is no terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_on = stream.isatty()
        self._shown = ""

    def show(self, name: str, done: int, total: int) -> None:
        """Draw the bar anew, if it has changed."""
        filled = _BAR_WIDTH * done // max(1, total)
        text = f"{escaped(name)} [{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {done:,} of {total:,}"
        if self._is_on and text != self._shown:
            self._write("\r" + text.ljust(len(self._shown)))
            self._shown = text

    def clear(self) -> None:
        """Take the bar away."""
        if self._shown:
            self._write("\r" + " " * len(self._shown) + "\r")
            self._shown = ""

    def _write(self, text: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        self._stream.flush()
