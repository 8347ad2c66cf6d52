"""What users import, and what importing does to their process."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
import types

import pytest

import defender_logging

CONTRACT = [
    *("Severity", "TRACE", "register_trace", "Component", "Category", "Vocabulary"),
    *("DefenderAdapter", "get_logger", "audit_context", "SelectionFilter", "DefenderFormatter"),
    *("SplunkHandler", "DatadogHandler", "ApiKeyHandler", "Stats", "flush_all"),
    *("ConfigurationError", "VocabularyError", "DefenderLoggingError", "ContextFilter", "__version__"),
]
"""The names that people type."""

SNAPSHOT = """
import json, logging, sys, threading, warnings
def look():
    return {
        "level 5": logging.getLevelName(5),
        "root": [logging.root.level, len(logging.root.handlers), len(logging.root.filters)],
        "handlers": len(logging._handlerList),
        "classes": [logging.getLoggerClass().__name__, logging.getLogRecordFactory().__name__],
        "threads": threading.active_count(),
        "warnings": len(warnings.filters),
        "hooks": [sys.excepthook is sys.__excepthook__, threading.excepthook is threading.__excepthook__],
    }
before = look()
import defender_logging
at_first = sorted(sys.modules)
for name in defender_logging.__all__:
    getattr(defender_logging, name)
logger = logging.getLogger("defender_logging")
print(json.dumps({
    "before": before,
    "after": look(),
    "own logger": [logger.level, logger.handlers, logger.filters, logger.propagate],
    "modules at first": at_first,
    "modules": sorted(sys.modules),
}))
"""


def public_modules():
    """The modules that users may import: none of them, nor a package around it, begins with an underscore."""
    for found in pkgutil.walk_packages(defender_logging.__path__, "defender_logging."):
        parts = found.name.split(".")[1:]
        if not any(part.startswith("_") for part in parts) and parts[0] not in ("cli", "examples"):
            yield found.name


@pytest.fixture(scope="module")
def import_report():
    """What a fresh process looks like before and after the import."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SNAPSHOT],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CONTRACT)
def test_every_name_of_the_contract_is_at_the_top(name):
    """Users import everything from the top."""
    assert hasattr(defender_logging, name)
    assert name in defender_logging.__all__


def test_the_top_exports_all_it_has():
    """``__all__`` of the package has every public name in it that is no module, and nothing else."""
    public = {
        name
        for name in dir(defender_logging)
        if not name.startswith("_")
        and name != "annotations"
        and not isinstance(getattr(defender_logging, name), types.ModuleType)
    }

    assert public | {"__version__"} == set(defender_logging.__all__)


@pytest.mark.parametrize("name", sorted(public_modules()))
def test_all_is_true(name):
    """``__all__`` of every public module that has one names what is there, once; public packages of users have one."""
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])

    assert [] == [export for export in exported if not hasattr(module, export)]
    assert len(set(exported)) == len(exported)


@pytest.mark.parametrize("name", sorted({name for name in public_modules() if name.count(".") == 1}))
def test_public_modules_say_all(name):
    """Every public module right below the top says what it exports."""
    if name != "defender_logging.destinations":  # A package of modules, without names of its own.
        assert importlib.import_module(name).__all__


def test_each_name_is_what_its_module_calls_it():
    """A name that is loaded when it is asked for is the same object as in the module that it is documented in."""
    for name in CONTRACT:
        value = getattr(defender_logging, name)
        home = getattr(value, "__module__", "defender_logging")
        assert getattr(sys.modules[home], name, value) is value
    with pytest.raises(AttributeError, match="SplunkHandlr"):
        defender_logging.SplunkHandlr  # noqa: B018 - asking is the test


def test_importing_loads_no_handler(import_report):
    """A library that only takes a logger does not pay for the pipeline, nor for anything it needs."""
    heavy = {
        "urllib3",
        "orjson",
        "pythonjsonlogger",
        "defender_logging.handlers",
        "defender_logging.settings",
    }

    assert set() == heavy & set(import_report["modules at first"])


def test_importing_changes_nothing_global(import_report):
    """No level name, handler, logger class, record factory, thread, hook or warnings filter is touched."""
    assert import_report["before"] == import_report["after"]


def test_importing_leaves_its_own_logger_as_it_comes(import_report):
    """The logger for our own reports has no level, handler or filter, and propagates."""
    assert [0, [], [], True] == import_report["own logger"]


@pytest.mark.parametrize("heavy", ["urllib3", "http.client", "ssl", "multiprocessing", "asyncio", "yaml"])
def test_importing_is_light(import_report, heavy):
    """What only sending, exiting or the command line need is not loaded with the package."""
    assert heavy not in import_report["modules"]
