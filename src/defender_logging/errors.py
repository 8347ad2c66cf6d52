"""The exceptions that callers may catch.

    DefenderLoggingError
    ├── ConfigurationError (also ValueError)   a handler's settings are wrong; raised at construction only
    └── VocabularyError (also ValueError)      a word is not in the vocabulary; raised by strict adapters only

After construction nothing raises into the caller's logging call.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["ConfigurationError", "DefenderLoggingError", "VocabularyError"]


class DefenderLoggingError(Exception):
    """Base of all exceptions of this package."""


class ConfigurationError(DefenderLoggingError, ValueError):
    """A handler's settings are wrong: all problems at once, each with its value (never a secret) and the remedy.

    Attributes:
        problems: one sentence a problem, in the order of the settings table.
    """

    def __init__(self, subject: str, problems: Sequence[str]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(
            f"{subject}: {count} in the settings:" + "".join(f"\n  - {p}" for p in self.problems)
        )

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[str, tuple[str, ...]]]:
        """Survive a trip between processes."""
        return type(self), (self.subject, self.problems)


class VocabularyError(DefenderLoggingError, ValueError):
    """A component, category, outcome or field is not in the vocabulary (raised by ``DefenderAdapter(strict=True)``)."""
