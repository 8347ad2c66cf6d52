"""The command send: one marked entry through each handler, and every kind of answer explained."""

import json
import socket
import time

import pytest

from defender_logging import lifecycle
from defender_logging.cli.inside import give_up
from defender_logging.handlers import ApiKeyHandler
from defender_logging.testing import Answer, DatadogSettings, HecSettings, LocalReceiver

KEY = "hunter2-hunter2"


@pytest.fixture
def receiver():
    with LocalReceiver(
        hec=HecSettings(tokens=[KEY], indexes=["main"]), datadog=DatadogSettings(api_keys=[KEY])
    ) as running:
        yield running


def splunk(receiver, **settings):
    return {"class": "defender_logging.SplunkHandler", "url": receiver.hec_url, "api_key": KEY, **settings}


def generic(receiver, **settings):
    return {"class": "defender_logging.ApiKeyHandler", "url": receiver.generic_url, **settings}


def test_delivers_one_marked_entry_through_each_handler(run, configuration, receiver):
    """Each receiver has one entry that says what it is, and the command tells where to find it."""
    handlers = {
        "splunk": splunk(receiver, log_types=["relay", "account"]),
        "datadog": {"class": "defender_logging.DatadogHandler", "url": receiver.datadog_url, "api_key": KEY},
        "own": generic(receiver, log_levels=["error"]),
    }

    result = run("send", configuration(handlers))

    entries = {entry.kind: entry for entry in receiver.entries}
    assert 0 == result.code
    assert {"splunk", "datadog", "generic"} == set(entries)
    assert 3 == len(receiver.entries)
    assert ("relay", "notification", "info") == tuple(
        entries["splunk"][name] for name in ("component", "category", "level")
    )
    assert "defender-logging send" in entries["generic"]["message"]
    assert f'search index=* "{entries["splunk"]["id"]}"' in result.out
    assert f"@id:{entries['datadog']['id']}" in result.out
    assert 3 == result.out.count(": delivered")
    assert "whatever log_types and log_levels select" in result.out
    assert KEY not in result.out + result.err


def test_what_it_sends_through_a_chaining_handler_verifies(run, configuration, receiver, tmp_path):
    """A stream of its own, begun and ended, and the id that is told is that of the test entry."""
    result = run("send", configuration({"own": generic(receiver, integrity="sha256")}))
    entries = [entry.fields for entry in receiver.entries]
    (tmp_path / "trail").write_text("".join(json.dumps(entry) + "\n" for entry in entries), "utf-8")

    assert 0 == result.code
    assert ["started", None, "stopped"] == [entry.get("trail") for entry in entries]
    assert f"Look there for the id {entries[1]['id']}" in result.out
    assert 0 == run("verify", tmp_path / "trail").code


@pytest.mark.parametrize(
    ("settings", "answer", "expected"),
    [
        ({"api_key": "another-key"}, None, ("held", 'HEC code 4 ("Invalid token")')),
        ({"index": "adit"}, None, ("held", "set index to one that exists")),
        ({"url": "/services/collector/nothing"}, None, ("held", "404")),
        ({}, Answer(status=301, headers={"Location": "https://other.example/"}), ("held", "301")),
        ({}, Answer(status=403, body=f"no such key {KEY}"), ("held", "no such key")),
        ({}, Answer(status=503, body="busy"), ("retrying", "503")),
        ({}, Answer(status=200, body="<html>sign in</html>"), ("retrying", "sign in")),
        ({}, Answer(status=400, body={"text": "Invalid data format", "code": 6}), ("rejected", "HEC code 6")),
        ({}, Answer(status=413), ("rejected", "too large")),
        ({}, Answer(cut_at="after_body"), ("retrying", "the connection broke")),
    ],
)
def test_explains_each_refusal(  # noqa: PLR0917 - because fixtures and the table make six
    run, configuration, receiver, settings, answer, expected
):
    """What is wrong is told in words, with its remedy, without a key, and the exit code is 1."""
    if answer is not None:
        receiver.always(answer)
    url = receiver.url + settings["url"] if "url" in settings else receiver.hec_url

    result = run("send", "--json", configuration({"mine": splunk(receiver, **{**settings, "url": url})}))

    found = json.loads(result.out)["results"][0]
    assert 1 == result.code
    assert expected[0] == found["outcome"]
    assert expected[1] in found["reason"]
    assert found["next_step"]
    assert KEY not in result.out + result.err


def test_masks_a_key_in_the_url_that_the_receiver_echoes(run, configuration, receiver):
    """A receiver that repeats the request in its answer cannot make the command show a key."""
    receiver.always(Answer(status=404, body=f"nothing at /services?token={KEY}"))
    url = f"{receiver.generic_url}?token={KEY}"

    result = run("send", configuration({"mine": generic(receiver, url=url)}))

    assert 1 == result.code
    assert "nothing at" in result.out
    assert KEY not in result.out + result.err


def test_a_wrong_datadog_key_names_the_site(run, configuration, receiver):
    """A key is valid at its own site only, and that is said."""
    block = {
        "class": "defender_logging.DatadogHandler",
        "url": receiver.datadog_url,
        "api_key": "another-key",
    }

    result = run("send", configuration({"mine": block}))

    assert 1 == result.code
    assert "check api_key and site" in result.out


@pytest.mark.parametrize(
    ("url", "words"),
    [("http://127.0.0.1:{port}", "ECONNREFUSED"), ("https://name.invalid", "cannot be resolved")],
)
def test_explains_that_nobody_is_there(run, configuration, url, words):
    """A refused port and an unknown name are told with what to check."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        block = {"class": "defender_logging.ApiKeyHandler", "url": url.format(port=sock.getsockname()[1])}
        began = time.monotonic()
        result = run("send", "--timeout", "60", configuration({"mine": block}))

    assert time.monotonic() - began < 30
    assert 1 == result.code
    assert "not delivered, retrying" in result.out
    assert words in result.out
    assert "check" in result.out


def test_explains_a_certificate_that_is_not_trusted(run, configuration):
    """A self-signed receiver is told with both remedies."""
    with LocalReceiver(tls=True) as receiver:
        result = run("send", configuration({"mine": generic(receiver)}))

    assert 1 == result.code
    assert "not delivered, held" in result.out
    assert "ca_file" in result.out
    assert "server_fingerprint" in result.out


def test_ends_within_its_timeout(run, configuration, receiver):
    """A receiver that never answers costs --timeout and no more, over all handlers together."""
    receiver.black_hole()
    began = time.monotonic()

    result = run("send", "--timeout", "0.4", configuration({name: generic(receiver) for name in "abc"}))

    assert 1 == result.code
    assert 3 == result.out.count("not delivered, no answer")
    assert time.monotonic() - began < 3
    receiver.restore()


def test_a_receiver_that_was_only_busy_is_delivered_to(run, configuration, receiver):
    """One failure is no trouble yet."""
    receiver.script(Answer(status=503))

    assert 0 == run("send", configuration({"mine": generic(receiver)})).code
    assert 1 == len(receiver.entries)


def test_sends_through_the_named_handler_only(run, configuration, receiver):
    """--handler leaves the others alone."""
    result = run("send", "--handler", "b", configuration({"a": generic(receiver), "b": generic(receiver)}))

    assert 0 == result.code
    assert "b to" in result.out
    assert 1 == len(receiver.entries)


def test_an_unknown_handler_ends_with_2(run, configuration, receiver):
    """A name that is not in the file is a usage error with the nearest one."""
    result = run("send", "--handler", "splnk", configuration({"splunk": splunk(receiver)}))

    assert 2 == result.code
    assert "did you mean 'splunk'?" in result.err


def test_a_broken_handler_keeps_no_other_from_sending(run, configuration, receiver):
    """What can be sent is sent; what cannot be made is told, and the code is 1."""
    result = run("send", configuration({"bad": generic(receiver, overflow="x"), "good": generic(receiver)}))

    assert 1 == result.code
    assert "bad: not delivered, not made" in result.out
    assert "overflow is 'x'" in result.out
    assert 1 == len(receiver.entries)


@pytest.mark.parametrize("text", ['{"version": 1, "handlers": {}}', '{"version'])
def test_nothing_to_send_through_ends_with_1(run, tmp_path, text):
    """A file without a handler of ours delivers nothing."""
    path = tmp_path / "logging.json"
    path.write_text(text)

    result = run("send", path)

    assert 1 == result.code
    assert result.out


def test_leaves_nothing_behind(run, configuration, receiver):
    """What was not delivered is given up, so that leaving costs nothing and says nothing more."""
    receiver.always(Answer(status=503))
    before = set(lifecycle._pipelines)
    run("send", "--timeout", "0.3", configuration({"mine": generic(receiver)}))

    assert set() == lifecycle._pipelines - before


def test_gives_up_a_handler_that_never_sent():
    """A handler without an entry is just closed."""
    handler = ApiKeyHandler(url="https://x.example")
    give_up(handler)

    assert "closed" == handler.stats().state
