"""The command line as a whole: help, version and exit codes."""

import subprocess
import sys

import pytest

from defender_logging import __version__
from defender_logging.cli import main
from defender_logging.cli.exits import UsageError

COMMANDS = ("check", "send", "spool", "receive", "demo")


@pytest.mark.parametrize("command", [(), *((command,) for command in COMMANDS)])
def test_help_teaches_and_succeeds(run, command):
    """Each help says what the command is for, and ends with code 0."""
    result = run(*command, "--help")

    assert 0 == result.code
    assert "usage: defender-logging" in result.out


def test_help_names_every_command_with_an_example(run):
    """The first help shows how to call each command."""
    out = run("--help").out

    assert [] == [command for command in COMMANDS if f"defender-logging {command}" not in out]


def test_tells_its_version(run):
    """--version prints the package's version."""
    assert f"defender-logging {__version__}\n" == run("--version").out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("check",),
        ("check", "a", "b"),
        ("send", "--timeout", "0", "x"),
        ("send", "--timeout", "nan", "x"),
        ("send", "--timeout", "soon", "x"),
        ("receive", "--port", "65536"),
        ("demo", "--nonsense"),
    ],
)
def test_wrong_arguments_end_with_2(run, arguments):
    """A usage error is told on stderr, and the code is 2."""
    result = run(*arguments)

    assert 2 == result.code
    assert "usage: " in result.err
    assert "" == result.out


@pytest.mark.parametrize("command", ["check", "send"])
def test_a_missing_file_ends_with_2_and_a_sentence(run, command):
    """A file that is not there is no finding: the command could not begin."""
    result = run(command, "nowhere.yaml")

    assert 2 == result.code
    assert "there is no file 'nowhere.yaml'" in result.err


def test_escapes_the_name_of_a_missing_file(run):
    """A file name cannot colour the terminal."""
    assert "\x1b" not in run("check", "\x1b[31m.yaml").err


def test_runs_as_a_module():
    """python -m defender_logging is the same program, and its exit code reaches the shell."""
    done = subprocess.run(
        [sys.executable, "-m", "defender_logging", "check", "nowhere.yaml"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert 2 == done.returncode
    assert "nowhere.yaml" in done.stderr


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (UsageError("no"), 2), (SystemExit(143), 143)]
)
def test_an_interrupted_command_has_its_own_code(monkeypatch, error, code):
    """Ctrl-C, a command that cannot begin, and SIGTERM end with codes that scripts can tell apart."""

    def fail(arguments):
        raise error

    monkeypatch.setattr("defender_logging.cli.check.run", fail)

    assert code == main(["check", "x"])
