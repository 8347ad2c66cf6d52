"""Twenty planted secrets, searched for in all that the process prints, logs, raises, spools, sends and holds."""

from __future__ import annotations

import gc
import gzip
import io
import json
import logging
import threading
import time
import traceback
import types

import pytest

from defender_logging import ApiKeyHandler, ConfigurationError, DatadogHandler, SplunkHandler
from defender_logging.testing import Answer, LocalReceiver

WAIT_SECONDS = 20

KEYS = {
    "literal key": "aK3y-literal-0001",
    "key in the environment": "bK3y-environment-0002",
    "key in a file": "cK3y-file-0003",
    "rotated key": "dK3y-rotated-0004",
    "header": "eK3y-header-0005",
    "header in a file": "fK3y-header-file-0006",
    "path of the URL": "gK3yPathOfTheUrl0007",
    "query of the URL": "hK3yQueryOfTheUrl0008",
    "password of the proxy": "iK3y-proxy-0009",
    "key of the digest": "jK3y-digest-of-32-characters-0010",
}
"""Given to handlers: they may be sent to the receiver outside the body, and shown nowhere."""

DATA = {
    "password": "kS3cret-password-0011",
    "at depth 7": "lS3cret-at-depth-0012",
    "bearer token": "mS3cretBearer0013",
    "argument": "nS3cret-argument-0014",
    "exception": "oS3cret-exception-0015",
    "chained exception": "pS3cret-chained-0016",
    "cookie pair": "qS3cret-cookie-0017",
    "GitHub token": "ghp_" + "rS3cretGitHubToken00018" * 2,
    "card": "4111 1111 1111 1111",
    "seed phrase": "abandon ability able about above absent absorb abstract absurd abuse access accident",
}
"""In the records: they leave the caller's thread as marks."""

PLANTED = {**KEYS, **DATA}


def log_everything(logger):
    """Log one record that has each of ``DATA`` in a place of its own."""
    deep = {"token": DATA["at depth 7"]}
    for _ in range(6):
        deep = {"inner": [deep]}
    try:
        try:
            raise KeyError(f"password={DATA['chained exception']}")
        except KeyError as error:
            raise ConnectionError(f"postgres://app:{DATA['exception']}@db.example/x") from error
    except ConnectionError:
        logger.exception(
            "refused Bearer %s for %s",
            DATA["bearer token"],
            {"api_key": DATA["argument"]},
            extra={
                "component": "account",
                "subject": {"id": "7", "name": "alice", "password": DATA["password"]},
                "deep": deep,
                "headers": [("Cookie", DATA["cookie pair"])],
                "note": f"used {DATA['GitHub token']} and paid with {DATA['card']}",
                "import": f"mnemonic: {DATA['seed phrase']}",
            },
        )


def found_in(text):
    """Name the planted secrets that a text shows, whole or in its usual spellings."""
    spellings = {name: {secret, json.dumps(secret)[1:-1]} for name, secret in PLANTED.items()}
    return [name for name, all_of_it in spellings.items() if any(each in text for each in all_of_it)]


def held_by(root):
    """Yield what a debugger shows of each object that can be reached from ``root``, with the way to it."""
    seen, waiting = set(), [("handler", root)]
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen or isinstance(value, (type, types.ModuleType, threading.Thread)):
            continue
        seen.add(id(value))
        try:
            yield path, repr(value)
        except Exception as error:  # Half made, or of a stranger.
            yield path, repr(error)
        if isinstance(value, (str, bytes, int, float, type(None))):
            continue
        if type(value).__module__.partition(".")[0] in {"logging", "weakref"} and value is not root:
            continue
        names = {name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())}
        waiting += [(f"{path}.{name}", getattr(value, name)) for name in names if hasattr(value, name)]
        waiting += [(f"{path}.{name}", item) for name, item in getattr(value, "__dict__", {}).items()]
        if isinstance(value, (dict, types.MappingProxyType)):
            waiting += [(f"{path}[{name!r}]", item) for name, item in value.items()]
        elif isinstance(value, (list, tuple, set, frozenset)):
            waiting += [(f"{path}[]", item) for item in value]
        elif isinstance(value, types.FunctionType):
            waiting += [(f"{path}()", cell.cell_contents) for cell in value.__closure__ or ()]


@pytest.fixture
def heard():
    """All that any logger says, as a console at DEBUG with arguments and tracebacks would show it."""
    root, stream = logging.getLogger(), io.StringIO()
    console = logging.StreamHandler(stream)
    console.setFormatter(logging.Formatter("%(name)s %(message)s %(args)s %(pathname)s"))
    loggers = {logger: logger.level for logger in (root, logging.getLogger("urllib3"))}
    for logger in loggers:
        logger.setLevel(1)
    root.addHandler(console)
    yield stream
    root.removeHandler(console)
    for logger, level in loggers.items():
        logger.setLevel(level)


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """Make the three handlers with all of ``KEYS``, on a logger that nobody else hears."""
    monkeypatch.setenv("TRAIL_KEY", KEYS["key in the environment"])
    files = {name: tmp_path / name.replace(" ", "-") for name in ("key in a file", "header in a file")}
    for name, path in files.items():
        path.write_text(KEYS[name] + "\n")
        path.chmod(0o600)
    logger = logging.getLogger("tests.planted")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    target = f"/hook/{KEYS['path of the URL']}?token={KEYS['query of the URL']}"

    def make(*urls, **given):
        quick = {
            "flush_interval_seconds": 0,
            "hold_retry_seconds": 0.05,
            "retry_initial_seconds": 0.02,
            "retry_max_seconds": 0.05,
            "connect_timeout_seconds": 0.5,
            "request_timeout_seconds": 0.5,
            "shutdown_timeout_seconds": 0.1,
            "redact": {"digest_key": KEYS["key of the digest"]},
        } | given
        headers = {"X-One": KEYS["header"], "X-Two": f"file:{files['header in a file']}"}
        handlers = [
            SplunkHandler(url=urls[0], api_key=KEYS["literal key"], spool_dir=str(tmp_path / "a"), **quick),
            DatadogHandler(url=urls[1], api_key="env:TRAIL_KEY", spool_dir=str(tmp_path / "b"), **quick),
            ApiKeyHandler(
                url=urls[2] + target,
                api_header_name="X-Key",
                api_key=f"file:{files['key in a file']}",
                headers=headers,
                spool_dir=str(tmp_path / "c"),
                **quick,
            ),
        ]
        for handler in handlers:
            logger.addHandler(handler)
        return logger, handlers

    yield make
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def body_text(request):
    body = request.body
    return (gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).decode("utf-8", "replace")


def spooled_text(folder):
    return "".join(
        path.read_bytes().decode("latin-1")
        for each in ("a", "b", "c")
        for path in sorted((folder / each).rglob("*"))
        if path.is_file()
    )


SEEN_BY = (
    ["literal key"],
    ["key in the environment"],
    ["key in a file", "header", "header in a file", "path of the URL", "query of the URL"],
)
"""Which keys the receiver of each handler gets, and so may quote."""


def echo(status, keys, **given):
    """An answer that quotes the keys, as a helpful receiver does."""
    return Answer(status=status, body=json.dumps({"seen": keys, "text": " ".join(keys)}), **given)


FAULTS = {
    "none": lambda _: [],
    "refused key": lambda keys: [echo(401, keys), echo(403, keys)],
    "redirect": lambda keys: [Answer(status=302, headers={"Location": f"http://localhost/?k={keys[0]}"})],
    "bad entry": lambda keys: [echo(400, keys)],
    "overload": lambda keys: [echo(503, keys, headers={"X-Echo": keys[-1]}), echo(500, keys)],
    "too large": lambda keys: [echo(413, keys)],
    "reset in the answer": lambda _: [Answer(cut_at="in_answer_headers")],
    "reset before the answer": lambda _: [Answer(cut_at="after_body")],
    "no HTTP": lambda keys: [Answer(raw=f"{keys[0]}\r\n\r\n".encode())],
    "bad header": lambda keys: [Answer(raw=f"HTTP/1.1 200 OK\r\n{keys[0]}\r\n\r\n".encode())],
    "strange success": lambda keys: [echo(203, keys)],
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_none_is_found_where_it_must_not_be(plant, heard, capfd, tmp_path, fault):
    """In each fault of the network: output, logs, stats, spool, bodies, and every object that a handler holds."""
    with LocalReceiver() as one, LocalReceiver() as two, LocalReceiver() as three:
        receivers = (one, two, three)
        for receiver, seen in zip(receivers, SEEN_BY, strict=True):
            receiver.script(*FAULTS[fault]([KEYS[name] for name in seen]) * 3)
        logger, handlers = plant(*(receiver.url for receiver in receivers))
        for _ in range(3):
            log_everything(logger)
        spooled = spooled_text(tmp_path)
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end and any(handler.stats().pending for handler in handlers):
            threading.Event().wait(0.02)
        logger.info("reports of the senders are told by now")
        shown = "\n".join(f"{handler!r} {vars(handler)!r} {handler.stats()}" for handler in handlers)
        holdings = [(path, text) for handler in handlers for path, text in held_by(handler)]
        requests = [request for receiver in receivers for request in receiver.requests]
        sent = "\n".join(map(body_text, requests))
        heads = "\n".join(f"{request.target} {request.headers}" for request in requests)

        assert len(requests) >= 3
        assert len(holdings) > 300
    spooled += spooled_text(tmp_path)
    printed = capfd.readouterr()

    assert set(KEYS) - {"rotated key", "password of the proxy", "key of the digest"} <= set(found_in(heads))
    assert sent.count("[redacted:") >= 3 * len(DATA)
    assert [] == found_in(sent)
    assert [] == found_in(spooled)
    assert [] == found_in(heard.getvalue())
    assert [] == found_in(printed.out + printed.err)
    assert [] == found_in(shown)
    assert [] == [(path, found_in(text)) for path, text in holdings if found_in(text)]


@pytest.mark.parametrize("where", ["nobody listens", "no such host", "proxy refuses", "no TLS"])
def test_none_is_found_when_there_is_no_connection(connect_proxy, plant, heard, capfd, where):
    """What goes wrong before a request exists."""
    proxy_url, _, statuses = connect_proxy
    statuses += [407] * 50
    with LocalReceiver() as receiver:
        given = {
            "nobody listens": {},
            "no such host": {},
            "proxy refuses": {"proxy_url": proxy_url.replace("//", f"//me:{KEYS['password of the proxy']}@")},
            "no TLS": {},
        }[where]
        address = {
            "nobody listens": receiver.url,
            "no such host": "http://no-such-host.invalid",
            "proxy refuses": "https://127.0.0.1:1",
            "no TLS": receiver.url.replace("http:", "https:"),
        }[where]
        if where == "nobody listens":
            receiver.refuse()
        plain = {"allow_plaintext": True} if where == "no such host" else {}
        logger, handlers = plant(*[address] * 3, **given, **plain)
        log_everything(logger)
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end and not all(handler.stats().last_error for handler in handlers):
            threading.Event().wait(0.02)
        logger.info("reports of the senders are told by now")
        shown = "\n".join(f"{handler!r} {vars(handler)!r} {handler.stats()}" for handler in handlers)
        holdings = [(path, text) for handler in handlers for path, text in held_by(handler)]
        assert all(handler.stats().last_error for handler in handlers)
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
    printed = capfd.readouterr()

    assert [] == found_in(shown + heard.getvalue() + printed.out + printed.err)
    assert [] == [(path, found_in(text)) for path, text in holdings if found_in(text)]


def test_a_rotated_key_is_as_secret_as_the_first(plant, heard, tmp_path):
    """After a refusal the file is read again, and neither key is told."""
    with LocalReceiver() as receiver:
        logger, handlers = plant(*[receiver.url] * 3)
        receiver.script(*[Answer(status=401)] * 30)
        logger.info("first")
        (tmp_path / "key-in-a-file").write_text(KEYS["rotated key"])
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end and any(handler.stats().pending for handler in handlers):
            threading.Event().wait(0.02)
        logger.info("second")
        handlers[2].flush(WAIT_SECONDS)
        heads = "\n".join(str(request.headers) for request in receiver.requests)
        shown = "".join(text for handler in handlers for _, text in held_by(handler))

    assert {"key in a file", "rotated key"} <= set(found_in(heads))
    assert [] == found_in(shown + heard.getvalue())


@pytest.mark.parametrize("secret", list(KEYS.values()))
@pytest.mark.parametrize("name", ["api_key", "url", "proxy_url", "headers", "redact"])
def test_what_is_raised_does_not_show_what_was_given(secret, name):
    """A wrong setting, its causes and its traceback, and the locals that an error tracker records."""
    wrong = {
        "api_key": f"{secret}\r\nX: y",
        "url": f"ftp://user:{secret}@host/{secret}?{secret}",
        "proxy_url": f"socks5://me:{secret}@host",
        "headers": {"X-Key": f"{secret}\n"},
        "redact": {"digest_key": secret[:10]},
    }[name]
    given = {"url": "https://host.example", "api_header_name": "X-K", "api_key": secret, name: wrong}
    try:
        ApiKeyHandler(**given)
    except ConfigurationError as error:
        raised = error
    told = "".join(traceback.TracebackException.from_exception(raised, capture_locals=True).format())
    told = (
        told.replace(repr(given), "").replace(repr(wrong), "").replace(repr(secret), "")
    )  # Those of this test.

    assert secret not in str(raised) + repr(raised)
    assert secret not in told.partition("in __init__")[2]
    gc.collect()
