"""A typed audit trail for the standard logging module, forwarded to Splunk, Datadog or any API-key endpoint.

Start with ``docs/getting-started.md``; the way of a record through the package is in ``docs/architecture.md``.
Importing this package changes nothing global, and takes a millisecond: each name loads its module when it is
first asked for, so that a library that only takes a logger does not pay for handlers that it never makes.
"""

from __future__ import annotations

import importlib
import typing

from defender_logging._version import __version__

__all__ = [
    "TRACE",
    "ApiKeyHandler",
    "Category",
    "Component",
    "ConfigurationError",
    "ContextFilter",
    "DatadogHandler",
    "DefenderAdapter",
    "DefenderFormatter",
    "DefenderLoggingError",
    "SelectionFilter",
    "Severity",
    "SplunkHandler",
    "Stats",
    "Vocabulary",
    "VocabularyError",
    "__version__",
    "audit_context",
    "flush_all",
    "get_logger",
    "register_trace",
]

_HOMES = {
    **dict.fromkeys(("DefenderAdapter", "get_logger"), "adapter"),
    **dict.fromkeys(("ContextFilter", "audit_context"), "context"),
    **dict.fromkeys(("ConfigurationError", "DefenderLoggingError", "VocabularyError"), "errors"),
    **dict.fromkeys(("DefenderFormatter",), "formatting"),
    **dict.fromkeys(("ApiKeyHandler", "DatadogHandler", "SplunkHandler"), "handlers"),
    **dict.fromkeys(("flush_all",), "lifecycle"),
    **dict.fromkeys(("Stats",), "metrics"),
    **dict.fromkeys(("SelectionFilter",), "selection"),
    **dict.fromkeys(("TRACE", "Severity", "register_trace"), "severity"),
    **dict.fromkeys(("Category", "Component", "Vocabulary"), "vocabulary"),
}
"""The module of each name; the same as below, for type checkers."""

if typing.TYPE_CHECKING:
    from defender_logging.adapter import DefenderAdapter, get_logger
    from defender_logging.context import ContextFilter, audit_context
    from defender_logging.errors import ConfigurationError, DefenderLoggingError, VocabularyError
    from defender_logging.formatting import DefenderFormatter
    from defender_logging.handlers import ApiKeyHandler, DatadogHandler, SplunkHandler
    from defender_logging.lifecycle import flush_all
    from defender_logging.metrics import Stats
    from defender_logging.selection import SelectionFilter
    from defender_logging.severity import TRACE, Severity, register_trace
    from defender_logging.vocabulary import Category, Component, Vocabulary
else:

    def __getattr__(name: str) -> object:
        """Load the module that ``name`` comes from; every later use finds it here."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
