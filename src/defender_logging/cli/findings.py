"""One thing that the user should know about a configuration: a place, a sentence, and how grave it is."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """A problem, or a note.

    Attributes:
        where: keys from the top of the configuration down; empty: the file as a whole.
        sentence: what is wrong, with what value, what to do; without any secret.
        is_note: worth knowing, but not wrong.
    """

    where: tuple[str, ...]
    sentence: str
    is_note: bool = False

    def is_about(self, handler: str) -> bool:
        """Whether it concerns the handler of that name, in a mapping or in an INI file."""
        return self.where[:2] == ("handlers", handler) or self.where[:1] == (f"handler_{handler}",)
