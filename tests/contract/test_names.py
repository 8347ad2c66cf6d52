"""The public names: what can be imported, how it is called, what it is."""

from __future__ import annotations

import dataclasses
import inspect
import json
import logging
import logging.handlers
import subprocess
import sys

import pytest
from pythonjsonlogger.core import BaseJsonFormatter

import defender_logging
from defender_logging import (
    TRACE,
    ApiKeyHandler,
    Category,
    Component,
    ConfigurationError,
    DatadogHandler,
    DefenderAdapter,
    DefenderFormatter,
    SelectionFilter,
    Severity,
    SplunkHandler,
    Stats,
    Vocabulary,
    audit_context,
    flush_all,
    get_logger,
)

HANDLERS = [
    pytest.param(SplunkHandler, {"url": "https://splunk.example", "api_key": "k"}, id="splunk"),
    pytest.param(DatadogHandler, {"api_key": "k"}, id="datadog"),
    pytest.param(ApiKeyHandler, {"url": "https://logs.example"}, id="generic"),
]
CATEGORIES = [
    ("added", "info", "success"),
    ("archived", "info", "success"),
    ("created", "info", "success"),
    ("deleted", "warn", "success"),
    ("exceeded", "warn", None),
    ("executed", "info", None),
    ("invited", "info", "success"),
    ("invoked", "info", None),
    ("notification", "info", None),
    ("paused", "info", "success"),
    ("proposed", "info", "success"),
    ("replaced", "info", "success"),
    ("sent", "info", None),
    ("set", "info", "success"),
    ("triggered", "info", None),
    ("updated", "info", "success"),
    ("invalid sign in", "warn", "failure"),
    ("signed in", "info", "success"),
    ("signed out", "info", "success"),
]
NAMES = [
    "Severity",
    "TRACE",
    "register_trace",
    "Component",
    "Category",
    "Vocabulary",
    "DefenderAdapter",
    "get_logger",
    "audit_context",
    "SelectionFilter",
    "DefenderFormatter",
    "SplunkHandler",
    "DatadogHandler",
    "ApiKeyHandler",
    "Stats",
    "flush_all",
    "ConfigurationError",
]


def run(code):
    """Run Python code in a process of its own; its standard output."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_importable_from_the_top(name):
    """Users import from `defender_logging` only."""
    assert hasattr(defender_logging, name)
    assert name in defender_logging.__all__


def test_severities_are_the_five_of_the_page():
    """The string values are as on the page, in order of weight."""
    assert ["trace", "debug", "info", "warn", "error"] == [severity.value for severity in Severity]
    assert [5, 10, 20, 30, 40] == [severity.levelno for severity in Severity]
    assert Severity.WARN is Severity("warn")


@pytest.mark.parametrize(
    ("number", "level"),
    [
        (-1, "trace"), (0, "trace"), (1, "trace"), (5, "trace"), (9, "trace"), (10, "debug"), (15, "debug"),
        (19, "debug"),
        (20, "info"), (25, "info"), (29, "info"), (30, "warn"), (35, "warn"), (39, "warn"), (40, "error"),
        (45, "error"),
        (50, "error"), (60, "error"), (10**20, "error"),
    ],
)  # fmt: skip
def test_a_level_number_goes_down_to_the_nearest_level(number, level):
    """The floor rule of the vocabulary."""
    assert Severity(level) is Severity.from_levelno(number)


def test_trace_is_the_int_5():
    """TRACE is a plain level number."""
    assert 5 == TRACE
    assert isinstance(TRACE, int)


def test_import_changes_nothing_global():
    """Importing adds no level name, handler, logger class, record factory, thread or warning filter."""
    code = """
import logging, sys, threading, warnings, signal
import logging.config, logging.handlers
def shape():
    return (dict(logging._levelToName), dict(logging._nameToLevel), list(logging.root.handlers), logging.root.level,
            logging.getLoggerClass(), logging.getLogRecordFactory(), threading.enumerate(), list(warnings.filters),
            sys.excepthook, threading.excepthook, sys.unraisablehook, signal.getsignal(signal.SIGTERM),
            logging.raiseExceptions, logging.lastResort, logging.getLogger("urllib3").level,
            list(logging.getLogger("urllib3").filters))
logging.getLogger("urllib3")
import urllib3
before = shape()
import defender_logging
assert before == shape(), (before, shape())
assert "Level 5" == logging.getLevelName(5)
defender_logging.register_trace()
assert "TRACE" == logging.getLevelName(5)
assert 5 == logging.getLevelName("TRACE")
"""
    run(code)


def test_importing_the_package_does_not_import_the_fakes():
    """The fakes and the command line cost nothing to those that do not use them."""
    out = run(
        "import sys, defender_logging\n"
        "print([n for n in sys.modules if n.startswith(('defender_logging.testing', 'defender_logging.cli'))])"
    )

    assert "[]" == out.strip()


def test_components_are_the_five_of_the_page():
    """Components are strings, in the page's spelling."""
    assert ["autotask", "sentinel", "relay", "admin", "account"] == [each.value for each in Component]
    assert '"relay"' == json.dumps(Component.RELAY)
    assert "relay" == Component.RELAY


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("actions", "autotask"), ("monitor", "sentinel"), ("relayers", "relay"), ("address book", "admin"),
        ("transaction proposals", "admin"), ("address_book", "admin"), ("RELAY", "relay"), ("Autotask", "autotask"),
        ("Address Book", "admin"),
    ],
)  # fmt: skip
def test_component_aliases_are_accepted(given, written):
    """The names of the second version mean the components of the first."""
    assert Component(written) is Component(given)


def test_categories_are_the_nineteen_of_the_page():
    """Categories are strings, in the page's spelling."""
    assert sorted(name for name, _, _ in CATEGORIES) == sorted(each.value for each in Category)
    assert '"signed in"' == json.dumps(Category("signed in"))


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("signed_in", "signed in"), ("SIGNED IN", "signed in"), ("signed out'", "signed out"),
        ("Invalid_Sign_In", "invalid sign in"),
        ("Paused", "paused"), ("signed_out", "signed out"),
    ],
)  # fmt: skip
def test_category_spellings_are_accepted(given, written):
    """Underscores, any case and the page's own slip are read."""
    assert Category(written) is Category(given)


@pytest.mark.parametrize("word", ["relayy", "", "signed"])
def test_a_word_that_is_no_component_is_refused_by_the_enum(word):
    """The enums are closed; a user's own words belong to a Vocabulary."""
    with pytest.raises(ValueError):
        Component(word)
    with pytest.raises(ValueError):
        Category(word)


def test_a_vocabulary_is_extended_without_changing_the_default():
    """`extend` gives another vocabulary."""
    extended = Vocabulary.default().extend(
        components=["billing"], categories={"refunded": {"level": "warn", "outcome": "success"}}
    )

    record = logging.makeLogRecord({"component": "billing", "levelno": 20, "levelname": "INFO"})
    assert SelectionFilter(["billing"], vocabulary=extended).filter(record)
    with pytest.raises(ConfigurationError):
        SelectionFilter(["billing"], vocabulary=Vocabulary.default())
    with pytest.raises(ConfigurationError):
        SelectionFilter(["billing"])


def test_categories_of_a_vocabulary_may_be_a_list():
    """`categories` is a list, or a mapping to level and outcome."""
    extended = Vocabulary.default().extend(categories=["refunded"])

    assert extended != Vocabulary.default()


@pytest.mark.parametrize(("handler_class", "settings"), HANDLERS)
def test_handlers_are_plain_logging_handlers(handler_class, settings):
    """Each is a logging.Handler, no QueueHandler, with start, flush, close and stats."""
    handler = handler_class(**settings)
    try:
        assert isinstance(handler, logging.Handler)
        assert not isinstance(handler, logging.handlers.QueueHandler)
        parameters = inspect.signature(handler.flush).parameters
        assert ["timeout_seconds"] == list(parameters)
        assert parameters["timeout_seconds"].default is None
        assert [] == list(inspect.signature(handler.start).parameters)
        assert isinstance(handler.stats(), Stats)
        assert handler.flush() is True
        assert handler.flush(timeout_seconds=0) is True
    finally:
        handler.close()


def test_stats_is_a_frozen_snapshot_with_every_count():
    """The names of section 5, and nothing can be written to it."""
    handler = ApiKeyHandler(url="https://logs.example")
    stats = handler.stats()
    handler.close()

    numbers = "accepted delivered rejected dropped pending filtered retries requests"
    numbers += " duplicates_possible queue_bytes spool_bytes"
    assert [0] * 11 == [getattr(stats, name) for name in numbers.split()]
    assert {} == dict(stats.dropped_by_reason)
    assert {} == dict(stats.rejected_by_reason)
    assert stats.last_error is None or "" == stats.last_error
    assert stats.last_success_unix_seconds is None
    assert "idle" == stats.state
    assert str is type(stats.state)
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
        stats.accepted = 1


def test_the_other_names_are_what_they_are_said_to_be():
    """Filter, adapter and formatter are the standard library's and python-json-logger's."""
    assert issubclass(SelectionFilter, logging.Filter)
    assert issubclass(DefenderAdapter, logging.LoggerAdapter)
    assert issubclass(DefenderFormatter, BaseJsonFormatter)
    assert issubclass(ConfigurationError, ValueError)
    assert ["timeout_seconds"] == list(inspect.signature(flush_all).parameters)
    assert ["log_types", "log_levels", "vocabulary"] == list(inspect.signature(SelectionFilter).parameters)[
        :3
    ]


def test_get_logger_gives_an_adapter_over_that_logger():
    """`get_logger(name, **fields)`"""
    adapter = get_logger("contract.names", component="relay")

    assert isinstance(adapter, DefenderAdapter)
    assert adapter.logger is logging.getLogger("contract.names")


def test_adapter_signature():
    """`DefenderAdapter(logger, *, strict=False, **fields)`"""
    parameters = inspect.signature(DefenderAdapter).parameters

    assert "logger" == next(iter(parameters))
    assert inspect.Parameter.KEYWORD_ONLY is parameters["strict"].kind
    assert parameters["strict"].default is False


def test_flush_all_without_handlers_is_true_at_once():
    """Nothing waits, so all is delivered."""
    assert flush_all(timeout_seconds=0) is True
    assert flush_all(1.0) is True


def test_audit_context_is_a_context_manager():
    """`with audit_context(...)` and the name of what it gives is of no matter."""
    with audit_context(subject="alice"):
        pass


def test_the_shipped_fakes_are_where_they_are_promised():
    """`defender_logging.testing` has the receiver, the transport and the clock."""
    import defender_logging.testing as fakes

    assert {"LocalReceiver", "FakeTransport", "FakeClock"} <= set(fakes.__all__)
