"""A typed audit trail for the standard logging module, forwarded to Splunk, Datadog or any API-key endpoint.

Start with ``docs/getting-started.md``; the way of a record through the package is in ``docs/architecture.md``.
Importing this package changes nothing global.
"""

from __future__ import annotations

from defender_logging._version import __version__
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
