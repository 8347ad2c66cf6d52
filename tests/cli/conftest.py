"""What the tests of the command line share."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from defender_logging.cli import main

NAMES = (
    "SPLUNK_HEC_URL",
    "SPLUNK_HEC_TOKEN",
    "DATADOG_LOGS_URL",
    "DATADOG_API_KEY",
    "ACCOUNTS_URL",
    "ACCOUNTS_API_KEY",
)


PATHS = [str(Path(path).resolve()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path):
    """The variables of the examples are not set, and the current folder is empty."""
    for name in (*NAMES, "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(PATHS))  # Relative paths would lead nowhere now.


@pytest.fixture
def run(capsys):
    """Runs the command line in this process."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def configuration(tmp_path):
    """Writes a dictConfig mapping as JSON, and returns its path; what is not told is right."""

    def write(handlers, *, level="INFO", **rest):
        config = {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": handlers,
            "root": {"level": level, "handlers": list(handlers)},
            **rest,
        }
        path = tmp_path / "logging.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    return write
