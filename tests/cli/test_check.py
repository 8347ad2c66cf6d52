"""The command check: what the handlers will do, everything that is wrong, and an exit code."""

import json
import socket

import pytest

from defender_logging.testing import LocalReceiver

GOOD = {"class": "defender_logging.ApiKeyHandler", "url": "https://x.example", "api_header_name": "X-Api-Key"}
INI = """
[loggers]
keys = root
[handlers]
keys = splunk
[formatters]
keys =
[logger_root]
level = INFO
handlers = splunk
[handler_splunk]
class = defender_logging.SplunkHandler
kwargs = {"url": "https://s.example", "api_key": "hunter2-hunter2"}
"""


@pytest.fixture
def closed_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def test_a_good_file_ends_with_0(run, configuration, monkeypatch):
    """It says what each handler will do, and shows no key."""
    monkeypatch.setenv("KEY", "hunter2-hunter2")

    result = run("check", configuration({"mine": {**GOOD, "api_key": "env:KEY"}}))

    assert 0 == result.code
    assert "1 handler, no problems" in result.out
    assert "mine (ApiKeyHandler)" in result.out
    assert "env:KEY in the header X-Api-Key" in result.out
    assert "hunter2" not in result.out + result.err


def test_reads_an_ini_file(run, tmp_path):
    """fileConfig files are checked as well."""
    path = tmp_path / "logging.ini"
    path.write_text(INI)

    result = run("check", path)

    assert 0 == result.code
    assert "https://s.example:443, Splunk HEC" in result.out
    assert "hunter2" not in result.out


def test_tells_all_problems_with_their_lines(run, tmp_path):
    """One run shows the mistakes of all handlers and those around them; the exit code is 1."""
    path = tmp_path / "logging.yaml"
    path.write_text(
        "version: 1\n"
        "disable_existing_loggers: false\n"
        "handlers:\n"
        "  one:\n"
        "    class: defender_logging.SplunkHandler\n"
        "    url: https://s.example/?token=hunter2-hunter2\n"
        "    overflow: drop_everything\n"
        "  two:\n"
        "    class: defender_logging.ApiKeyHandler\n"
        "    url: env:NOT_SET_HERE\n"
        "root: {level: INFO, handlers: [one, tow]}\n"
    )

    result = run("check", path)

    assert 1 == result.code
    assert "2 handlers, 5 problems" in result.out
    for words in (
        "overflow is 'drop_everything'",
        "(line 7)",
        "api_key is missing",
        "NOT_SET_HERE",
        "(line 10)",
        "attached to no logger",
        "'tow', which is not defined; did you mean 'two'?",
        "(line 11)",
    ):
        assert words in result.out
    assert "hunter2" not in result.out


def test_a_note_is_no_problem(run, configuration):
    """What is only worth knowing does not fail a script."""
    result = run(
        "check", configuration({"mine": {**GOOD, "api_key": "k-123456"}}, disable_existing_loggers=True)
    )

    assert 0 == result.code
    assert "note      disable_existing_loggers" in result.out


def test_a_broken_text_is_a_finding(run, tmp_path):
    """A file that cannot be parsed ends with 1, as any other mistake in it."""
    path = tmp_path / "logging.yaml"
    path.write_text("version: [1")

    result = run("check", path)

    assert 1 == result.code
    assert "YAML: " in result.out
    assert "no handler of defender_logging" not in result.out


def test_writes_json_for_scripts(run, configuration):
    """One JSON object holds handlers, problems and notes."""
    result = run("check", "--json", configuration({"mine": {**GOOD, "url": "nothing"}}))

    content = json.loads(result.out)
    assert 1 == result.code
    assert content["ok"] is False
    assert [{"name": "mine", "class": "ApiKeyHandler"}] == content["handlers"]
    assert ["handlers.mine.url", "handlers.mine.api_header_name"] == [p["where"] for p in content["problems"]]
    assert [] == content["notes"]


def test_escapes_names_from_the_file(run, configuration):
    """A handler's name cannot colour the terminal."""
    assert "\x1b" not in run("check", configuration({"\x1b[31m": {**GOOD, "api_key": "k-123456"}})).out


def test_finds_classes_in_the_current_folder(run, configuration, tmp_path):
    """A handler class of the program itself is found, as when the program runs there."""
    (tmp_path / "my_own_handlers.py").write_text(
        "from defender_logging import ApiKeyHandler\nclass Mine(ApiKeyHandler): pass\n"
    )

    assert (
        0
        == run(
            "check", configuration({"m": {"class": "my_own_handlers.Mine", "url": "https://x.example"}})
        ).code
    )


def test_touches_no_network_unless_told(run, configuration):
    """Without --connect the receiver hears nothing at all."""
    with LocalReceiver() as receiver:
        block = {"class": "defender_logging.ApiKeyHandler", "url": receiver.generic_url}
        assert 0 == run("check", configuration({"mine": block})).code
        assert 0 == run("check", "--connect", configuration({"mine": block})).code

        assert 0 == receiver.request_count


def test_connect_says_what_it_found(run, configuration):
    """A connection over TLS is told with its version, an untrusted certificate with the remedy."""
    with LocalReceiver(tls=True) as receiver:
        block = {"class": "defender_logging.ApiKeyHandler", "url": receiver.generic_url}
        handlers = {"trusting": {**block, "ca_file": receiver.ca_file}, "wary": block}
        result = run("check", "--connect", configuration(handlers))

    assert 1 == result.code
    assert "connects  yes, TLSv1.3, and the certificate is trusted" in result.out
    assert 1 == result.out.count("cannot connect: the certificate of")


def test_connect_tells_a_refused_port(run, configuration, closed_port):
    """A port at which nobody listens is a problem."""
    block = {"class": "defender_logging.ApiKeyHandler", "url": f"http://127.0.0.1:{closed_port}"}

    result = run("check", "--connect", "--json", configuration({"mine": block}))

    assert 1 == result.code
    assert "ECONNREFUSED" in json.loads(result.out)["problems"][0]["sentence"]
