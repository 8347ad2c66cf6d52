"""A configuration file becomes the dictConfig mapping, whatever its form; nothing of it is quoted in a message."""

import json
import sys

import pytest

from defender_logging.cli.exits import UsageError
from defender_logging.cli.loading import MAX_FILE_BYTES, load

INI = """
[loggers]
keys=root
[handlers]
keys=console
[formatters]
keys=
[logger_root]
handlers=console
[handler_console]
class=StreamHandler
"""


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


@pytest.mark.parametrize(
    ("name", "text", "is_ini"),
    [
        ("a.yaml", "version: 1", False),
        ("a.YML", "version: 1", False),
        ("a.json", '{"version": 1}', False),
        ("a.ini", INI, True),
        ("a.conf", INI, True),
        ("a", '\n {"version": 1}', False),
        ("a.txt", INI, True),
        ("a.cnf", "version: 1", False),
        ("a.yaml", "\ufeffversion: 1", False),
    ],
)
def test_tells_forms_apart(write, name, text, is_ini):
    """The suffix says what a file is; without a known one, its content does."""
    file = load(write(name, text))

    assert 1 == file.config["version"]
    assert is_ini == file.is_ini


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "version: 1\nhandlers: {a: [}", "line 2, column"),
        ("a.yaml", "a: b: c", "line 1"),
        ("a.yaml", "a: !!python/object:os.system {}", "line 1"),
        ("a.yaml", "a: 2026-99-99", "YAML"),
        ("a.yaml", "- a\n- b", "a list"),
        ("a.yaml", "", "nothing"),
        ("a.json", '{"a": 1,\n "b" 2}', "line 2"),
        ("a.json", "[" * 100_000, "JSON"),
        ("a.json", "[]", "a list"),
        ("a.ini", "[loggers]\nno such line\n", "line 2"),
        ("a.ini", "x = 1\n", "line 1"),
    ],
)
def test_says_where_a_text_is_broken(write, name, text, words):
    """A text that cannot be parsed is one finding, with its line where there is one."""
    file = load(write(name, text))

    assert file.is_broken
    assert 1 == len(file.findings)
    assert words in file.findings[0].sentence


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "handlers:\n  a:\n    api_key: hunter2-hunter2 : x\n"),
        ("a.json", '{"api_key": "hunter2-hunter2" "x"}'),
        ("a.ini", "[a]\napi_key hunter2-hunter2\n"),
        ("a.ini", "api_key = hunter2-hunter2\n"),
    ],
)
def test_quotes_nothing_of_a_broken_text(write, name, text):
    """The line that is wrong may hold a key."""
    file = load(write(name, text))

    assert file.is_broken
    assert "hunter2" not in repr(file.findings)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "version: 1\nhandlers:\n  a: {}\n  a: {}\n"),
        ("a.json", '{"handlers": {"a": 1, "a": 2}}'),
    ],
)
def test_finds_a_key_that_stands_twice(write, name, text):
    """The first of two equal keys is lost in silence, so it is told."""
    findings = load(write(name, text)).findings

    assert 1 == len(findings)
    assert "'a' stands twice" in findings[0].sentence


def test_knows_the_lines_of_yaml_keys(write):
    """A key's line, or that of the nearest key above it."""
    file = load(write("a.yaml", "version: 1\nhandlers:\n  a:\n    class: x\n"))

    assert 4 == file.line_of(("handlers", "a", "class"))
    assert 3 == file.line_of(("handlers", "a", "api_key"))
    assert None is file.line_of(("loggers",))


def test_reads_anchors_and_merges(write):
    """What YAML users do to repeat themselves less is no double key."""
    text = "x-common: &c {service: s}\nhandlers:\n  a: {<<: *c, class: y}\n"
    file = load(write("a.yaml", text))

    assert {"service": "s", "class": "y"} == file.config["handlers"]["a"]
    assert () == file.findings


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.toml", "version = 1", "TOML"),
        ("a.yaml", b"\xff\xfe", "UTF-8"),
        ("a.yaml", b"#" * (MAX_FILE_BYTES + 1), "bytes"),
    ],
)
def test_refuses_files_that_are_no_configuration(write, name, text, words):
    """What cannot be read at all is a usage error with a remedy."""
    with pytest.raises(UsageError, match=words):
        load(write(name, text))


@pytest.mark.parametrize("path", ["nowhere.json", ".", "\0"])
def test_refuses_what_is_no_file(path):
    """A missing file, a folder and a name that cannot be one are told in a sentence."""
    with pytest.raises(UsageError):
        load(path)


def test_names_the_extra_when_pyyaml_is_missing(write, monkeypatch):
    """Without PyYAML the remedy is a command to copy."""
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(UsageError, match=r'pip install "defender-logging\[yaml\]"'):
        load(write("a.yaml", "version: 1"))
    assert {"version": 1} == load(write("a.json", json.dumps({"version": 1}))).config


def test_a_list_that_contains_itself_is_told(write):
    """YAML can write one; it is no configuration."""
    file = load(write("a.yaml", "version: 1\nhandlers: {s: {log_types: &a [*a]}}\n"))

    assert file.is_broken
    assert "nested too deep" in file.findings[0].sentence
