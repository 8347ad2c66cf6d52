"""The command demo: everything arrives, the account says so, and no process is left."""

import importlib.util
import json
import os
import signal
import subprocess
import sys

import pytest

from defender_logging.cli.demo_processes import DemoError, Receiver, Service


def test_ends_by_itself_with_the_account_of_every_entry():
    """The demo shows the trail at three destinations and ends with 0, without a key in its output."""
    done = subprocess.run(
        [sys.executable, "-m", "defender_logging", "demo"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=40,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert "Every entry arrived, each once" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()]
    account = {row[0]: row[1:] for row in rows if len(row) == 7 and row[1].isdecimal()}
    assert {"splunk", "datadog", "accounts"} == set(account)
    for accepted, delivered, late, *nothing in account.values():
        assert accepted == delivered
        assert int(late) > 0
        assert ["0", "0", "0"] == nothing
    for words in ("invalid sign in", "alice -> relayer-7", "signed out", "debug"):
        assert words in done.stdout


def test_writes_json_and_nothing_else(run):
    """A script gets one JSON object."""
    result = run("demo", "--json")

    content = json.loads(result.out)
    assert (0, True, []) == (result.code, content["ok"], content["problems"])
    assert [True, True, True] == [row["complete"] for row in content["handlers"]]


@pytest.mark.parametrize(("missing", "name"), [("uvicorn", "uvicorn"), ("yaml", "PyYAML")])
def test_names_the_extra_when_a_package_is_missing(run, monkeypatch, missing, name):
    """Without uvicorn or PyYAML the remedy is a command to copy."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda package: None if package == missing else real(package)
    )

    result = run("demo")

    assert 2 == result.code
    assert f"the demo needs {name}" in result.err
    assert 'pip install "defender-logging[demo]"' in result.err


def test_a_service_that_does_not_start_is_told_with_its_last_words(run, monkeypatch, tmp_path):
    """A broken service ends the demo with 1 and the reason, and in good time."""
    (tmp_path / "service.py").write_text("raise RuntimeError('no service today \\x1b[31m')")
    monkeypatch.setattr("defender_logging.cli.demo_processes.EXAMPLES", tmp_path)

    result = run("demo")

    assert 1 == result.code
    assert "the service did not start" in result.out
    assert "\x1b" not in result.out


def test_tells_what_is_missing(run, monkeypatch):
    """An entry that the receiver does not have makes the demo fail."""
    monkeypatch.setattr(
        Receiver, "ids", lambda self, kind: type(self._ids[kind])(dict(list(self._ids[kind].items())[1:]))
    )

    result = run("demo", "--json")

    content = json.loads(result.out)
    assert 1 == result.code
    assert [[1], [1], [1]] == [row["missing"] for row in content["handlers"]]
    assert "splunk: not every entry arrived exactly once" in content["problems"]


def test_a_process_that_is_never_ready_is_ended():
    """When waiting for it fails, no child stays behind."""

    class Broken(Receiver):
        def _wait_until_ready(self):
            raise DemoError("not today")

    broken = Broken(lambda kind, fields: None)
    with pytest.raises(DemoError), broken:
        pass

    assert broken.has_ended()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_ends_its_processes_when_it_is_told_to_end():
    """SIGTERM in the middle leaves neither receiver nor service behind."""
    demo = subprocess.Popen(
        [sys.executable, "-m", "defender_logging", "demo"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        for line in demo.stdout:
            if "POST /sessions" in line:
                break
        demo.send_signal(signal.SIGTERM)
        assert 143 == demo.wait(20)
        with pytest.raises(ProcessLookupError):  # Its process group is empty.
            os.killpg(demo.pid, 0)
    finally:
        demo.kill()
        demo.wait(10)
        demo.stdout.close()


def test_options_of_another_uvicorn_do_not_reach_the_service(monkeypatch):
    """WEB_CONCURRENCY of the machine would make two services with two accounts."""
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    monkeypatch.setenv("UVICORN_ROOT_PATH", "/x")
    with Receiver(lambda kind, fields: None) as receiver:
        addresses = ("SPLUNK_HEC_URL", "DATADOG_LOGS_URL", "ACCOUNTS_URL")
        environment = dict.fromkeys(addresses, receiver.urls["generic"])
        keys = dict.fromkeys(("SPLUNK_HEC_TOKEN", "DATADOG_API_KEY", "ACCOUNTS_API_KEY"), "k-123456")
        with Service({**environment, **keys}) as service:
            assert (
                201 == service.request("POST", "/sessions", {"user": "bob", "password": "battery staple"})[0]
            )
            assert service.stop()
