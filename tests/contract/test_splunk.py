"""Splunk HEC: the envelope, the raw endpoint, and every answer of the code table."""

from __future__ import annotations

import json
import re
import uuid

import pytest
from freezegun import freeze_time

ENVELOPE = {"time", "host", "source", "sourcetype", "index", "event", "fields"}


def log(wire, count, start=0, **extra):
    for number in range(start, start + count):
        wire.logger.info("m%d", number, extra=extra)


def messages(server):
    return [entry["message"] for entry in server.entries]


def hec(server, code, status=400, **more):
    return server.Reply(status, {"text": "whatever", "code": code, **more})


@pytest.fixture
def held(connect, server):
    """A handler whose first batch has all entries of the test: nothing is sent before flush."""

    def open_held(**settings):
        return connect("splunk", **{"flush_interval_seconds": 30, "compression": "none", **settings})

    return open_held


def test_the_request(connect, server):
    """Path, key, channel, type, gzip; envelopes one after the other, no array."""
    wire = connect("splunk")
    log(wire, 3, component="relay", category="paused")
    assert wire.flush()
    request = server.requests[0]

    assert "/services/collector/event" == request.path
    assert "" == request.target.partition("?")[2]
    assert "Splunk hec-token" == request.header("Authorization")
    assert (
        str(uuid.UUID(request.header("X-Splunk-Request-Channel")))
        == request.header("X-Splunk-Request-Channel").lower()
    )
    assert request.header("Content-Type").startswith("application/json")
    assert "gzip" == request.header("Content-Encoding")
    assert request.header("Expect") is None
    assert request.header("Transfer-Encoding") is None
    assert request.header("User-Agent")
    assert not request.body.lstrip().startswith(b"[")
    for envelope in request.objects:
        assert set() == set(envelope) - ENVELOPE
        assert {"component": "relay", "category": "paused", "level": "info"} == envelope["fields"]
        assert "defender:log" == envelope["sourcetype"]
        assert "relay" == envelope["event"]["component"]


@pytest.mark.parametrize("key", ["abc-123", "Splunk abc-123"])
def test_the_key_with_or_without_its_prefix(connect, server, key):
    """Both are accepted, one header goes out."""
    connect("splunk", api_key=key).entry("x")

    assert "Splunk abc-123" == server.requests[0].header("Authorization")


@pytest.mark.parametrize(
    ("path", "expected"),
    [("", "/services/collector/event"), ("/", "/services/collector/event"),
    ("/services/collector/event", "/services/collector/event"),
     ("/services/collector/raw", "/services/collector/raw")],
)  # fmt: skip
def test_paths(connect, server, path, expected):
    """A bare base URL gets the event endpoint."""
    wire = connect("splunk", url=server.url + path)
    wire.logger.info("x")
    assert wire.flush()

    assert expected == server.requests[0].path


def test_metadata_is_on_every_envelope(connect, server):
    """index, source, sourcetype, host; time a JSON number with six decimals."""
    wire = connect("splunk", index="audit", source="pay", sourcetype="own:type", host="node-1")
    with freeze_time("2026-07-01 12:00:00.000250"):
        log(wire, 2)
    assert wire.flush()

    for envelope in server.requests[0].objects:
        assert ("audit", "pay", "own:type", "node-1") == tuple(
            envelope[name] for name in ("index", "source", "sourcetype", "host")
        )
        assert 1782907200.00025 == envelope["time"]
        assert "2026-07-01T12:00:00.000250Z" == envelope["event"]["time"]
    assert 2 == len(re.findall(rb'"time":\s*1782907200\.000250[,}]', server.requests[0].body))


def test_indexed_fields_are_chosen_and_are_strings(connect, server):
    """`indexed_fields`; values are strings, nested ones are never provoked."""
    wire = connect("splunk", indexed_fields=["tenant", "shard", "deep"])
    wire.logger.info("x", extra={"tenant": "t-1", "shard": 7, "deep": {"a": 1}})
    assert wire.flush()
    fields = server.requests[0].objects[0]["fields"]

    assert "t-1" == fields["tenant"]
    assert all(isinstance(value, str) for value in fields.values())


@pytest.mark.parametrize("name", ["source", "sourcetype", "index"])
def test_the_destinations_own_names_are_not_the_callers(connect, name):
    """A caller's value goes to extra_<name>."""
    entry = connect("splunk").entry("x", extra={name: "mine"})

    assert "mine" == entry[f"extra_{name}"]
    assert name not in entry


def test_raw_sends_one_entry_a_line_with_metadata_in_the_query(connect, server):
    """No envelope."""
    wire = connect(
        "splunk", url=server.url + "/services/collector/raw", index="audit", source="pay & co", host="node-1",
        sourcetype="own:type",
        flush_interval_seconds=30,
    )  # fmt: skip
    wire.logger.info("a\r\nb")
    wire.logger.info("c")
    assert wire.flush()
    request = server.requests[0]
    lines = request.body.strip(b"\n").split(b"\n")

    assert ["a\r\nb", "c"] == [json.loads(line)["message"] for line in lines]
    assert {"index": "audit", "source": "pay & co", "host": "node-1", "sourcetype": "own:type"} == {
        name: value for name, value in request.query.items() if name != "channel"
    }
    assert [1, 2] == [json.loads(line)["seq"] for line in lines]


def test_the_sourcetype_has_a_default_on_raw_too(connect, server):
    """The default of the table."""
    wire = connect("splunk", url=server.url + "/services/collector/raw")
    wire.logger.info("a")
    assert wire.flush()

    assert "defender:log" == server.requests[0].query["sourcetype"]


@pytest.mark.parametrize("code", [0, 24, 25])
def test_success_codes_release_the_batch(connect, server, code):
    """0, 24 and 25 on a 200."""
    wire = connect("splunk")
    server.script(hec(server, code, 200))
    wire.entry("x")

    assert 1 == len(server.requests)
    assert 1 == wire.handler.stats().delivered


RETRIED = [
    (200, {}), (200, b""), (200, b"<html>portal</html>"), (200, {"text": "x", "code": 99}),
    (200, {"text": "x", "code": "0"}), (200, []),
    (201, {"code": 0}), (202, {"code": 0}), (204, b""), (200, {"code": 6.5}), (200, b'{"code": 0'), (503, b""),
    (500, {"code": 0}),
    (500, {"code": 8}), (503, {"code": 9}), (503, {"code": 18}), (503, {"code": 19}), (503, {"code": 20}),
    (503, {"code": 23}),
    (429, {"code": 26}), (429, {"code": 27}), (200, {"code": 9}), (200, {"code": 26}), (408, b""), (425, b""),
    (429, b""), (502, b"x"),
    (504, b""), (400, {"code": 9}), (200, {"code": False}), (200, {"code": None}), (200, {"code": 17}),
    (503, {"code": 24}), (403, {"code": 9}), (404, {"code": 23}), (200, b"\xff\xfe"), (200, b"[" * 100_000),
    (299, {"code": 0}), (507, b""),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body"), RETRIED)
def test_answers_that_are_tried_again(connect, server, status, body):
    """200 is not success by itself; nothing is lost and nothing is rejected."""
    wire = connect("splunk")
    server.script(server.Reply(status, body, takes=False))
    wire.entry("x")
    stats = wire.handler.stats()

    assert 2 == len(server.requests)
    assert server.requests[0].body == server.requests[1].body
    assert (1, 0, 0, 1) == (stats.delivered, stats.rejected, stats.dropped, stats.retries)


HELD = [
    (403, {"code": 1}), (401, {"code": 2}), (401, {"code": 3}), (403, {"code": 4}), (400, {"code": 7}),
    (400, {"code": 10}), (400, {"code": 11}),
    (400, {"code": 14}), (400, {"code": 16}), (400, {"code": 21}), (400, {"code": 22}), (400, {"code": 28}),
    (200, {"code": 4}),
    (401, b""), (403, b""), (404, {"text": "not found", "code": 404}), (301, b""), (302, b""), (307, b""), (308, b""),
    (407, b""), (405, b""),
    (409, b""), (418, b""), (503, {"code": 4}), (304, b""), (402, b""),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body"), HELD)
def test_answers_that_hold(connect, server, status, body):
    """The data is kept, state says held, and it heals without a restart."""
    wire = connect("splunk", hold_retry_seconds=0.5)
    headers = {"Location": "http://127.0.0.1:9/elsewhere"} if 300 <= status < 400 else {}
    server.script(server.Reply(status, body, headers, takes=False))
    wire.logger.info("x")
    assert wire.until(lambda stats: stats.state == "held"), wire.handler.stats()
    stats = wire.handler.stats()
    assert (0, 0, 0, 1) == (stats.delivered, stats.rejected, stats.dropped, stats.pending)
    assert stats.last_error
    assert wire.flush(5)

    assert ["x"] == messages(server)


@pytest.mark.parametrize("code", [6, 12, 13])
def test_the_number_of_the_bad_object_is_believed(held, server, code):
    """Before it: indexed; it: set aside; behind it: sent again."""
    wire = held()
    server.script(hec(server, code, **{"invalid-event-number": 2}))
    log(wire, 5)
    assert wire.flush()
    stats = wire.handler.stats()

    assert ["m3", "m4"] == messages(server)
    assert [["m0", "m1", "m2", "m3", "m4"], ["m3", "m4"]] == [
        [each["message"] for each in request.entries] for request in server.requests
    ]
    assert (4, 1) == (stats.delivered, stats.rejected)
    assert 1 == sum(stats.rejected_by_reason.values())


@pytest.mark.parametrize("number", [-1, 5, 99, "2", 2.5, True, None, [2]])
def test_a_number_that_is_nonsense_counts_as_none(held, server, number):
    """Halve down to the bad entry."""
    wire = held()

    def answer(request):
        if any(entry["message"] == "m2" for entry in request.entries):
            return hec(server, 6, **{"invalid-event-number": number})
        return server.Reply(200, {"code": 0})

    server.always(answer)
    log(wire, 5)
    assert wire.flush()
    stats = wire.handler.stats()

    assert ["m0", "m1", "m3", "m4"] == messages(server)
    assert (4, 1) == (stats.delivered, stats.rejected)


@pytest.mark.parametrize(
    "reply",
    [
        (400, {"code": 5}),
        (400, {"code": 6}),
        (400, {"code": 12}),
        (400, {"code": 13}),
        (400, {"code": 15}),
        (400, b""),
        (415, b"<html>"),
        (422, b""),
        (406, b""),
    ],
)
def test_a_refusal_without_a_number_is_halved_down_to_the_bad_entry(held, server, reply):
    """Its neighbours arrive."""
    wire = held()
    status, body = reply
    server.always(
        lambda request: (
            server.Reply(status, body)
            if any(entry["message"] == "m6" for entry in request.entries)
            else server.Reply(200, {"code": 0})
        )
    )
    log(wire, 9)
    assert wire.flush()
    stats = wire.handler.stats()

    assert [f"m{number}" for number in range(9) if number != 6] == messages(server)
    assert (8, 1, 0, 0) == (stats.delivered, stats.rejected, stats.dropped, stats.pending)


def test_a_single_bad_entry_is_tried_once_without_compression(connect, server):
    """Its gzip stream may have been the fault."""
    wire = connect("splunk")
    server.always(
        lambda request: (
            hec(server, 6) if request.header("Content-Encoding") == "gzip" else server.Reply(200, {"code": 0})
        )
    )
    wire.entry("x")

    assert ["gzip", None] == [request.header("Content-Encoding") for request in server.requests]


def test_code_7_names_the_object_behind_the_bad_one(held, server):
    """0 to N-2 are released, N-1 and later are held."""
    wire = held(hold_retry_seconds=0.5)
    server.script(hec(server, 7, **{"invalid-event-number": 3}))
    log(wire, 5)
    assert not wire.handler.flush(0.3)
    assert wire.until(lambda stats: stats.state == "held")
    stats = wire.handler.stats()
    assert (2, 0, 3) == (stats.delivered, stats.rejected, stats.pending)
    assert wire.flush(5)

    assert ["m2", "m3", "m4"] == messages(server)


def test_code_15_sends_the_object_again_without_fields(held, server):
    """The entry itself is whole; before it: indexed, behind it: sent."""
    wire = held()
    server.script(hec(server, 15, **{"invalid-event-number": 1}))
    log(wire, 3, component="relay")
    assert wire.flush()
    again = [envelope for request in server.requests[1:] for envelope in request.objects]
    by_message = {envelope["event"]["message"]: envelope for envelope in again}

    assert {"m1", "m2"} == set(by_message)
    assert not by_message["m1"].get("fields")
    assert by_message["m2"]["fields"]
    assert "relay" == by_message["m1"]["event"]["component"]
    assert (3, 0) == (wire.handler.stats().delivered, wire.handler.stats().rejected)


@pytest.mark.parametrize("status", [200, 400, 403, 500, 503])
def test_a_known_error_code_rules_on_any_status(held, server, status):
    """Code 6 with a number, whatever stands in the status line."""
    wire = held()
    server.script(server.Reply(status, {"text": "x", "code": 6, "invalid-event-number": 1}, takes=False))
    log(wire, 3)
    assert wire.flush()

    assert ["m2"] == messages(server)
    assert (2, 1) == (wire.handler.stats().delivered, wire.handler.stats().rejected)


def test_every_bad_object_is_found_one_after_the_other(held, server):
    """As HEC stops at each of them; everything else arrives once."""
    wire = held()

    def answer(request):
        bad = [number for number, entry in enumerate(request.entries) if int(entry["message"][1:]) % 7 == 3]
        if not bad:
            return server.Reply(200, {"code": 0})
        server.entries += request.entries[: bad[0]]
        return hec(server, 6, **{"invalid-event-number": bad[0]})

    server.always(answer)
    log(wire, 50)
    assert wire.flush()

    assert [f"m{number}" for number in range(50) if number % 7 != 3] == messages(server)
    assert 7 == wire.handler.stats().rejected


def test_413_is_split(held, server):
    """Halves; a single one that still does not fit is set aside."""
    wire = held()
    server.always(
        lambda request: server.Reply(413, b"") if len(request.entries) > 2 else server.Reply(200, {"code": 0})
    )
    log(wire, 8)
    assert wire.flush()
    assert [f"m{number}" for number in range(8)] == messages(server)

    server.always(
        lambda request: (
            server.Reply(413, b"") if "big" in str(request.entries) else server.Reply(200, {"code": 0})
        )
    )
    wire.logger.info("big")
    wire.logger.info("small")
    assert wire.flush()
    assert "small" == messages(server)[-1]
    assert 1 == wire.handler.stats().rejected


def test_splunk_clouds_disguised_oversize_is_split(connect, server):
    """400, code 6, number 0, on a body over 5,242,880 bytes."""
    wire = connect("splunk", flush_interval_seconds=30, max_batch_bytes=20_000_000)
    server.always(
        lambda request: (
            hec(server, 6, **{"invalid-event-number": 0})
            if len(request.body) > 5_242_880
            else server.Reply(200, {"code": 0})
        )
    )
    for number in range(12):
        wire.logger.info("m%d %s", number, "x" * 600_000)
    assert wire.flush()

    assert [f"m{number}" for number in range(12)] == [message.split()[0] for message in messages(server)]
    assert max(len(request.body) for request in server.requests) > 5_242_880
    assert 0 == wire.handler.stats().rejected


def test_number_0_on_a_small_body_is_a_bad_entry(held, server):
    """Not oversize."""
    wire = held()
    server.script(hec(server, 6, **{"invalid-event-number": 0}))
    log(wire, 3)
    assert wire.flush()

    assert ["m1", "m2"] == messages(server)
    assert 1 == wire.handler.stats().rejected


def test_batches_stay_below_a_million_bytes(connect, server):
    """The default, before compression."""
    wire = connect("splunk", flush_interval_seconds=30)
    for number in range(40):
        wire.logger.info("m%d %s", number, "x" * 100_000)
    assert wire.flush()

    assert max(len(request.body) for request in server.requests) <= 1_000_000
    assert list(range(1, 41)) == [entry["seq"] for entry in server.entries]


def test_the_channel_stays_the_same_for_one_connection(connect, server):
    """Random, not shared by two handlers."""
    one, two = connect("splunk"), connect("splunk")
    for wire in (one, one, two):
        wire.entry("x")
    channels = [request.header("X-Splunk-Request-Channel") for request in server.requests]

    assert channels[0] == channels[1] != channels[2]
