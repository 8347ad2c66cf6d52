"""The command receive: says where to send, prints what arrives, ends cleanly."""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

KEY = "hunter2-hunter2"


@pytest.fixture
def start():
    """Starts the command in a process of its own; its URLs are read from what it says first."""
    running = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "defender_logging", "receive", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        running.append(process)
        intro = process.stderr if "--json" in arguments else process.stdout
        urls = {}
        for line in intro:
            name, _, rest = line.strip().partition(" ")
            urls[name] = rest.split()[0] if rest.split() else ""
            if "Ctrl-C" in line:
                return process, urls
        raise AssertionError(process.stderr.read())

    yield start
    for process in running:
        process.kill()
        process.communicate(timeout=10)


def post(url, body, headers=()):
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    connection.request("POST", address.path, json.dumps(body), dict(headers))
    status = connection.getresponse().status
    connection.close()
    return status


def test_prints_an_entry_in_one_line_and_ends_with_0(start):
    """An entry is a readable, printable line, and Ctrl-C is the usual end."""
    process, urls = start()
    entry = {
        "level": "info",
        "component": "relay",
        "subject": "alice",
        "object": "r-7",
        "message": "a\x1b[31m\nb",
    }

    assert 200 == post(urls["ApiKeyHandler"], [entry])
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)

    assert "alice -> r-7" in line
    assert line.endswith("a\\x1b[31m\\nb\n")
    assert 0 == process.wait(10)


def test_writes_raw_entries_as_json(start):
    """With --json stdout has the entries and nothing else."""
    process, urls = start("--json")

    assert 200 == post(urls["SplunkHandler"], {"event": {"message": "hi"}}, {"Authorization": "Splunk any"})
    assert {"message": "hi"} == json.loads(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    assert 143 == process.wait(10)


def test_takes_only_its_token(start):
    """With --token all three endpoints refuse another key, and a refusal is shown without it."""
    process, urls = start("--token", KEY)

    assert 403 == post(urls["SplunkHandler"], {"event": "x"}, {"Authorization": "Splunk wrong-key"})
    assert 200 == post(urls["SplunkHandler"], {"event": "x"}, {"Authorization": f"Splunk {KEY}"})
    assert 403 == post(urls["DatadogHandler"], [{"message": "x"}], {"DD-API-KEY": "wrong-key"})
    assert 202 == post(urls["DatadogHandler"], [{"message": "x"}], {"DD-API-KEY": KEY})
    assert 401 == post(urls["ApiKeyHandler"], {"message": "x"})
    assert 200 == post(urls["ApiKeyHandler"], {"message": "x"}, {"X-Api-Key": KEY})
    lines = [process.stdout.readline() for _ in range(6)]
    assert ["refused with 403", "refused with 403", "refused with 401"] == [
        line.partition(":")[0] for line in lines if line.startswith("refused")
    ]
    assert [] == [line for line in lines if "hunter2" in line or "wrong-key" in line]


def test_a_taken_port_ends_with_2(run):
    """A port in use is told with the remedy."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        result = run("receive", "--port", sock.getsockname()[1])

    assert 2 == result.code
    assert "choose another --port" in result.err


def test_ends_when_nobody_reads_any_more(start):
    """A closed pipe ends the command instead of filling a terminal with tracebacks."""
    process, urls = start()
    process.stdout.close()

    with contextlib.suppress(OSError):  # Its end may come before its answer.
        post(urls["ApiKeyHandler"], {"message": "x"})
    assert 0 == process.wait(10)
    assert "Traceback" not in process.stderr.read()
    process.stdout = None
