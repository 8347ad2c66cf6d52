"""The examples are the same in the package and beside it, and work unchanged in every way that they promise."""

import asyncio
import importlib.util
import json
import logging
import logging.config
from pathlib import Path

import pytest
import yaml

import defender_logging
from defender_logging.cli import main
from defender_logging.testing import GenericSettings, LocalReceiver

SHIPPED = Path(defender_logging.__file__).parent / "examples"
BESIDE = Path(__file__).parent.parent / "examples"
KEYS = {
    "SPLUNK_HEC_TOKEN": "hunter2-splunk",
    "DATADOG_API_KEY": "hunter2-dd",
    "ACCOUNTS_API_KEY": "hunter2-own",
}


@pytest.fixture
def receiver(monkeypatch):
    """A receiver that takes the keys of the environment, in which the examples find its addresses."""
    with LocalReceiver(
        tokens=[KEYS["SPLUNK_HEC_TOKEN"]],
        api_keys=[KEYS["DATADOG_API_KEY"]],
        generic=GenericSettings(header_name="X-Api-Key", header_values=[KEYS["ACCOUNTS_API_KEY"]]),
    ) as running:
        urls = {
            "SPLUNK_HEC_URL": running.url,
            "DATADOG_LOGS_URL": running.datadog_url,
            "ACCOUNTS_URL": running.generic_url,
        }
        for name, value in {**urls, **KEYS}.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def service(receiver):
    """The service's module, with its logging configured; afterwards the root logger is as before."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    logging.config.dictConfig(yaml.safe_load((SHIPPED / "logging.yaml").read_text()))
    spec = importlib.util.spec_from_file_location("service", SHIPPED / "service.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for handler in root.handlers:
        handler.flush()
        handler.close()
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    logging.getLogger("relayer_console").setLevel(logging.NOTSET)


def call(service, method, path, body=None, session=""):
    """Sends one request to the ASGI application, in two pieces."""
    content = json.dumps(body).encode() if body is not None else b""
    events = [
        {"type": "http.request", "body": content[:3], "more_body": True},
        {"type": "http.request", "body": content[3:], "more_body": False},
    ]
    sent = []

    async def receive():
        return events.pop(0)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(b"x-session", session.encode())],
        "client": ("192.0.2.7", 40000),
    }
    asyncio.run(service.app(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.parametrize("name", ["logging.yaml", "service.py"])
def test_both_copies_are_the_same(name):
    """Who installs the package and who reads the repository see the same example."""
    assert (BESIDE / name).read_bytes() == (SHIPPED / name).read_bytes()


def test_check_finds_nothing_wrong(receiver, capsys):
    """The configuration that users copy is one that check is content with, and no key is shown."""
    code = main(["check", str(SHIPPED / "logging.yaml")])

    out = capsys.readouterr().out
    assert (0, "3 handlers, no problems") == (code, out.splitlines()[0].partition(": ")[2])
    assert "note" not in out
    assert "hunter2" not in out


def test_a_session_leaves_its_trail_at_each_destination(service, receiver):
    """What people do arrives with its typed fields: at Splunk all, at Datadog relay, at the own endpoint accounts."""
    assert 401 == call(service, "POST", "/sessions", {"user": "alice", "password": "wrong"})[0]
    session = call(service, "POST", "/sessions", {"user": "alice", "password": "correct horse"})[1]["session"]
    assert 200 == call(service, "PATCH", "/relayers/relayer-7", {"is_paused": True}, session)[0]
    assert 409 == call(service, "POST", "/relayers/relayer-7/transactions", {}, session)[0]
    wei = 2**256 - 1
    assert 202 == call(service, "POST", "/relayers/relayer-1/transactions", {"value_wei": wei}, session)[0]
    assert 200 == call(service, "DELETE", "/sessions", session=session)[0]

    assert [] == [handler for handler in logging.getLogger().handlers if handler.flush() is False]
    trail = {
        kind: [entry.fields for entry in receiver.entries if entry.kind == kind]
        for kind in ("splunk", "datadog", "generic")
    }
    assert ["invalid sign in", "signed in", "paused", "sent", "sent", "signed out"] == [
        entry["category"] for entry in trail["splunk"]
    ]
    assert {"relay"} == {entry["component"] for entry in trail["datadog"]}
    assert {"debug", "info", "error"} == {entry["level"] for entry in trail["datadog"]}
    assert {"account"} == {entry["component"] for entry in trail["generic"]}
    paused = trail["splunk"][2]
    assert ("alice", "relayer-7", "relayer", "success", "alice", "192.0.2.7") == tuple(
        paused[name] for name in ("subject", "object", "object_type", "outcome", "user", "src_ip")
    )
    assert str(wei) == trail["splunk"][4]["value_wei"]
    assert {"splunk": 6, "datadog": 5, "accounts": 3} == {
        name: account["delivered"] for name, account in call(service, "GET", "/stats")[1].items()
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/relayers/relayer-7", 405),
        ("PATCH", "/relayers/relayer-99", 404),
        ("POST", "/relayers/relayer-7/nonsense", 405),
        ("PATCH", "/relayers", 404),
    ],
)
def test_the_service_knows_its_paths(service, method, path, status):
    """A wrong path is answered, and never with a traceback."""
    session = call(service, "POST", "/sessions", {"user": "bob", "password": "battery staple"})[1]["session"]

    assert status == call(service, method, path, session=session)[0]
    assert 401 == call(service, method, path)[0]
    assert 401 == call(service, "POST", "/sessions", ["no mapping"])[0]


def test_the_service_delivers_the_rest_before_it_stops(service, receiver):
    """At the end of its life the application waits for what its handlers still hold."""
    call(service, "POST", "/sessions", {"user": "alice", "password": "correct horse"})
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive():
        return events.pop(0)

    async def send(message):
        sent.append((message["type"], len(receiver.entries)))

    asyncio.run(service.app({"type": "lifespan"}, receive, send))

    assert ["lifespan.startup.complete", "lifespan.shutdown.complete"] == [kind for kind, _ in sent]
    assert 2 == sent[1][1]
