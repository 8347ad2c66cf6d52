"""The exit codes of all commands, and the way to say that a command cannot begin."""

from __future__ import annotations

GOOD = 0
NOT_GOOD = 1
"""Something was found, or something was not delivered."""
USAGE = 2
INTERRUPTED = 130
"""What shells expect after Ctrl-C: 128 and the number of SIGINT."""


class UsageError(Exception):
    """The command cannot begin (a missing file or package); its text says why and what to do."""
