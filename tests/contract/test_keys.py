"""A key never shows: not in a repr, vars(), an error, a traceback, a log line or the output, after failures too."""

from __future__ import annotations

import copy
import gc
import io
import json
import logging
import os
import pickle
import threading
import traceback

import pytest

from defender_logging import ConfigurationError

SECRET = "s3cr3tKEY-4711-0815"
QUERY_SECRET = "queryS3cr3t-1234"
HEADER_SECRET = "headerS3cr3t-5678"
SECRETS = (SECRET, QUERY_SECRET, HEADER_SECRET)
KINDS = {
    "generic": {"api_header_name": "X-Key", "api_key": SECRET, "headers": {"X-Second": HEADER_SECRET}},
    "splunk": {"api_key": f"Splunk {SECRET}"},
    "datadog": {"api_key": SECRET},
}


def clean(text):
    """Fail with the place, but do not print the whole text."""
    for secret in SECRETS:
        assert secret not in text, text[max(0, text.index(secret) - 200) : text.index(secret) + 40]


def everything(value, depth=6, seen=None):
    """The repr and the str of an object and of all that it holds, as a debugger would show them."""
    seen = set() if seen is None else seen
    if (
        depth == 0
        or id(value) in seen
        or isinstance(value, (str, bytes, int, float, type(None), type, type(os)))
    ):
        return
    seen.add(id(value))
    if not type(value).__module__.startswith("defender_logging") and not isinstance(
        value, (dict, list, tuple, set)
    ):
        return
    yield repr(value)
    yield str(value)
    held = (
        value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple, set)) else []
    )
    names = (
        [name for each in type(value).__mro__ for name in getattr(each, "__slots__", ())]
        if not isinstance(value, (dict, list))
        else []
    )
    for child in [
        *held,
        *getattr(value, "__dict__", {}).values(),
        *(getattr(value, name, None) for name in names if isinstance(name, str)),
    ]:
        yield from everything(child, depth - 1, seen)


@pytest.mark.parametrize("kind", list(KINDS))
def test_repr_vars_and_stats(connect, server, kind):
    """Before, during and after failures."""
    given = dict(KINDS[kind])
    if kind == "generic":
        given["url"] = f"{server.url}/logs?token={QUERY_SECRET}"
    wire = connect(kind, hold_retry_seconds=0.3, **given)
    for replies in (
        [],
        [server.Reply(401, SECRET.encode())],
        [server.Reply(503, SECRET.encode())],
        [server.Reply(400, SECRET.encode())],
    ):
        server.script(*replies)
        wire.logger.info("x")
        wire.until(lambda stats: stats.pending == 0, 5)
        for value in [
            wire.handler,
            vars(wire.handler),
            wire.handler.stats(),
            wire.handler.stats().last_error,
        ]:
            clean(repr(value))
            clean(str(value))
        for text in everything(wire.handler):
            for secret in (SECRET, HEADER_SECRET):  # The URL's own is promised for what is printed, above.
                assert secret not in text
    assert len(server.requests) >= 4


def test_the_key_is_really_sent(connect, server):
    """Otherwise nothing here would mean anything."""
    for kind, given in KINDS.items():
        connect(kind, **given).entry("x")
    texts = [str(request.headers) for request in server.requests]

    assert all(SECRET in text for text in texts)
    assert HEADER_SECRET in texts[0]


def test_configuration_errors_and_their_tracebacks(server):
    """No value of a secret in the error, its cause, its context, or the printed traceback."""
    from defender_logging import ApiKeyHandler, DatadogHandler, SplunkHandler

    attempts = [
        (SplunkHandler, {"url": f"http://far.example/x?key={SECRET}", "api_key": SECRET}),
        (SplunkHandler, {"url": server.url, "api_key": f"{SECRET}\r\n"}),
        (DatadogHandler, {"api_key": f"{SECRET}\x00", "sight": SECRET}),
        (DatadogHandler, {"api_key": {"value": SECRET}}),
        (DatadogHandler, {"api_key": [SECRET]}),
        (DatadogHandler, {"api_key": SECRET.encode()}),
        (ApiKeyHandler, {"url": f"https://user:{SECRET}@far.example/"}),
        (ApiKeyHandler, {"url": f"far.example/{SECRET}"}),
        (ApiKeyHandler, {"url": server.url, "headers": {"X-Key": f"{SECRET}\n"}}),
        (ApiKeyHandler, {"url": server.url, "headers": {f"X {SECRET}": "x"}})
        if False
        else (ApiKeyHandler, {"url": server.url, "headers": [SECRET]}),
        (ApiKeyHandler, {"url": server.url, "proxy_url": f"ftp://user:{SECRET}@proxy.example:1"}),
        (ApiKeyHandler, {"url": server.url, "proxy_url": f"user:{SECRET}@proxy"}),
        (ApiKeyHandler, {"url": server.url, "integrity_key": SECRET}),
        (ApiKeyHandler, {"url": server.url, "api_kye": SECRET}),
        (ApiKeyHandler, {"url": server.url, "headers": f"X-Key: {SECRET}"}),
    ]
    for handler_class, given in attempts:
        with pytest.raises(ConfigurationError) as raised:
            handler_class(**given)
        chain, error = [], raised.value
        while error is not None:
            chain.append(error)
            error = error.__cause__ or error.__context__
        for each in chain:
            clean(f"{each} {each!r} {each.args!r} {vars(each)!r}")
        clean("".join(traceback.format_exception(raised.value)))


def test_all_log_lines_at_debug_after_failures(connect, server, caplog, capfd):
    """Root at DEBUG, urllib3 at DEBUG, http.client's own prints; the key is in header and URL."""
    root, urllib3_logger = logging.getLogger(), logging.getLogger("urllib3")
    stream = io.StringIO()
    lines = logging.StreamHandler(stream)
    lines.setFormatter(logging.Formatter("%(name)s %(message)s %(args)s"))
    before = root.level, urllib3_logger.level
    root.addHandler(lines)
    root.setLevel(1)
    urllib3_logger.setLevel(1)
    try:
        wire = connect(
            **{
                **KINDS["generic"],
                "url": f"{server.url}/logs/{QUERY_SECRET}?token={QUERY_SECRET}",
                "request_timeout_seconds": 0.3,
            }
        )
        server.script(
            server.Reply(cut=True),
            server.Reply(302, b"", {"Location": f"{server.url}/?k={SECRET}"}),
            server.Reply(401, SECRET.encode()),
            server.Reply(503, SECRET.encode(), {"X-Echo": SECRET}),
            server.Reply(400, json.dumps({"errors": [SECRET]}).encode()),
            server.Reply(gate=threading.Event(), takes=False),
            server.Reply(200),
        )
        for number in range(3):
            wire.logger.info("x%d", number)
            wire.flush(5)
        wire.logger.info("y")
        root.info("done %r", wire.handler)
    finally:
        root.removeHandler(lines)
        root.setLevel(before[0])
        urllib3_logger.setLevel(before[1])
    out = capfd.readouterr()

    assert len(server.requests) >= 6
    clean(stream.getvalue())
    clean(caplog.text)
    clean(out.out + out.err)
    clean(str(wire.handler.stats()))


def test_connection_errors_do_not_show_the_url(late_server, connect, capfd, caplog):
    """A key that is part of the URL, and nobody listening."""
    port, open_late = late_server
    wire = connect(
        url=f"http://127.0.0.1:{port}/{QUERY_SECRET}?t={QUERY_SECRET}",
        retry_initial_seconds=0.01,
        retry_max_seconds=0.02,
    )
    wire.logger.info("x")
    assert wire.until(lambda stats: stats.last_error)
    clean(str(wire.handler.stats()) + repr(wire.handler))
    wire.handler.close()
    out = capfd.readouterr()
    clean(out.out + out.err + caplog.text)
    open_late()
    assert wire.until(lambda stats: stats.pending == 0)


def test_a_secret_that_is_a_field_name_like_ours_stays_out_of_the_entries(connect, server):
    """The entries themselves never carry the handler's key."""
    for kind, given in KINDS.items():
        connect(kind, **given).entry("x")
    for request in server.requests:
        clean(request.body.decode())


def test_copies_and_pickles_do_not_leak(connect):
    """Neither works, or it works without the key."""
    wire = connect(**KINDS["generic"])
    for attempt in (lambda: repr(copy.copy(wire.handler)), lambda: str(pickle.dumps(wire.handler))):
        try:
            text = attempt()
        except Exception as error:
            text = "".join(traceback.format_exception(error))
        clean(text)


def test_the_whole_output_of_a_process_that_fails(server, tmp_path, run_script):
    """stdout and stderr of a service with a refused key, a redirect and an exit with entries left over."""
    key_file = tmp_path / "key"
    key_file.write_text(SECRET + "\n")
    server.always(
        lambda request: server.Reply(
            [401, 302, 503][len(server.requests) % 3], SECRET.encode(), {"Location": f"https://h/?{SECRET}"}
        )
    )
    code = """
    import logging, os, sys, traceback, faulthandler
    import logging.config
    logging.basicConfig(level=1, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    logging.captureWarnings(True)
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False,
        "handlers": {"a": {"class": "defender_logging.SplunkHandler", "url": os.environ["U"],
        "api_key": "file:" + os.environ["F"],
                           "hold_retry_seconds": 0.05, "retry_initial_seconds": 0.05, "shutdown_timeout_seconds": 0.6},
                     "b": {"class": "defender_logging.DatadogHandler", "url": os.environ["U"] + "/api/v2/logs",
                     "api_key": os.environ["K"],
                           "hold_retry_seconds": 0.05, "retry_initial_seconds": 0.05, "shutdown_timeout_seconds": 0.6},
                     "e": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}},
        "root": {"level": 1, "handlers": ["a", "b", "e"]}})
    for number in range(5):
        logging.getLogger("app").info("m%d", number)
    for handler in logging.getLogger().handlers:
        print(repr(handler), vars(handler) if hasattr(handler, "stats") else "")
        if hasattr(handler, "stats"):
            handler.flush(0.3)
            print(handler.stats())
    raise RuntimeError("boom")
    """
    done = run_script(code, U=server.url, F=str(key_file), K=SECRET)

    assert 1 == done.returncode
    assert "boom" in done.stderr
    assert server.requests
    clean(done.stdout)
    clean(done.stderr)


def test_objects_that_the_collector_knows_do_not_print_it(connect):
    """A memory dump is another matter; a repr of any object of ours is not."""
    wire = connect(**KINDS["generic"])
    wire.entry("x")
    gc.collect()  # Or there were also what other tests have left.
    for each in gc.get_objects():
        try:
            is_ours = type(each).__module__.startswith("defender_logging")
        except Exception:
            continue
        if is_ours:
            try:
                text = repr(each)
            except Exception:  # Half made, or with another test's odd object in it.
                continue
            assert SECRET not in text
            assert HEADER_SECRET not in text
