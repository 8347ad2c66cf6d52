"""Datadog Logs v2: its names beside ours, its limits, its answers."""

from __future__ import annotations

import logging
import time

import pytest
from freezegun import freeze_time


def log(wire, count):
    for number in range(count):
        wire.logger.info("m%d", number)


def test_the_request(connect, server):
    """Key header without prefix, JSON array, gzip."""
    wire = connect("datadog", flush_interval_seconds=30)
    log(wire, 2)
    assert wire.flush()
    request = server.requests[0]

    assert "/api/v2/logs" == request.path
    assert "dd-key" == request.header("DD-API-KEY")
    assert request.header("Authorization") is None
    assert "application/json" == request.header("Content-Type").split(";")[0]
    assert "gzip" == request.header("Content-Encoding")
    assert request.body.startswith(b"[")
    assert 2 == len(request.objects)


def test_its_own_names_beside_ours(connect):
    """timestamp, status, ddsource, ddtags, hostname, and ours unchanged."""
    wire = connect(
        "datadog", service="pay", environment="prod", host="node-1", tags=["team:core", "region:eu"]
    )
    with freeze_time("2026-07-01 12:00:00.123456"):
        wire.logger.warning("hi")
    before = time.time()
    assert wire.flush()
    entry = wire.server.entries[0]

    assert int is type(entry["timestamp"])
    assert "warning" == entry["status"]
    assert "defender" == entry["ddsource"]
    assert "node-1" == entry["hostname"]
    assert "pay" == entry["service"]
    assert str is type(entry["ddtags"])
    assert {"team:core", "region:eu"} <= set(entry["ddtags"].split(","))
    assert "2026-07-01T12:00:00.123456Z" == entry["time"]
    assert "warn" == entry["level"]
    assert "node-1" == entry["host"]
    assert before > 0


def test_timestamp_is_epoch_milliseconds(connect):
    """Of the moment of the record."""
    wire = connect("datadog")
    now = time.time()
    entry = wire.entry("x")

    assert abs(entry["timestamp"] - now * 1000) < 2000


def test_an_exact_timestamp(connect, server):
    """Flushed in the same frozen moment."""
    with freeze_time("2026-07-01 12:00:00.123999"):
        wire = connect("datadog")
        wire.logger.info("x")
        assert wire.flush(5)

    assert server.entries[0]["timestamp"] in {1782907200123, 1782907200124}


def test_an_entry_older_than_18_hours_gets_a_timestamp_that_is_taken(connect, server):
    """`time` keeps the true time; an entry of yesterday morning is not lost silently."""
    wire = connect("datadog")
    old, young = time.time() - 20 * 3600, time.time() - 10 * 3600
    for created in (old, young):
        record = logging.makeLogRecord({"msg": "x", "levelno": 20, "levelname": "INFO", "created": created})
        wire.handler.handle(record)
    assert wire.flush()
    moved, kept = server.entries

    assert moved["timestamp"] > (time.time() - 18 * 3600) * 1000
    assert moved["timestamp"] <= (time.time() + 1) * 1000
    assert abs(kept["timestamp"] - young * 1000) < 2
    assert moved["time"] < kept["time"]
    assert time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(old)) == moved["time"][:19]


def test_an_outage_of_a_day_with_freezegun(connect, server):
    """What waited over the limit is moved at sending time, not at the call."""
    server.always(server.Reply(503))
    with freeze_time("2026-07-01 12:00:00") as frozen:
        wire = connect("datadog")
        wire.logger.info("x")
        assert server.wait(requests=1)
        frozen.tick(20 * 3600)
        server.restore()
        assert wire.flush(8), wire.handler.stats()

    assert "2026-07-01T12:00:00.000000Z" == server.entries[0]["time"]
    assert (
        1782907200000 + 2 * 3600_000 < server.entries[0]["timestamp"] <= 1782907200000 + 20 * 3600_000 + 1000
    )


STATUS = [
    (5, "debug"),
    (10, "debug"),
    (15, "debug"),
    (20, "info"),
    (25, "info"),
    (30, "warning"),
    (35, "warning"),
    (40, "error"),
    (50, "critical"),
    (1, "debug"),
    (45, "error"),
    (60, "critical"),
]


@pytest.mark.parametrize(("number", "status"), STATUS)
def test_status_by_number(connect, number, status):
    """A level word, which Datadog reads by its first letters."""
    assert status == connect("datadog").entry("x", level=number)["status"]


@pytest.mark.parametrize(
    ("number", "name", "status"),
    [
        (25, "AUDIT", "info"),
        (35, "SECURITY", "warning"),
        (15, "SUCCESS", "debug"),
        (22, "NOTICE", "info"),
        (45, "FAILURE", "error"),
    ],
)
def test_custom_level_names_are_mapped_by_number(connect, number, name, status):
    """AUDIT would be alert, SECURITY would be OK."""
    wire = connect("datadog")
    record = logging.makeLogRecord({"msg": "x", "levelno": number, "levelname": name})
    wire.handler.handle(record)
    assert wire.flush()
    entry = wire.server.entries[0]

    assert status == entry["status"]
    assert name == entry["levelname"]


def test_flat_dotted_names(connect):
    """usr.*, evt.*, error.* as flat keys, ours beside them."""
    wire = connect("datadog")
    try:
        raise ValueError("boom")
    except ValueError:
        entry = wire.entry(
            "x",
            exc_info=True,
            extra={
                "component": "account", "category": "deleted", "outcome": "failure", "reason": "because",
                "src_ip": "192.0.2.1",
                "user": {"id": "u-1", "name": "alice", "email": "a@example.org"},
            },
        )  # fmt: skip

    assert ("u-1", "alice", "a@example.org") == (entry["usr.id"], entry["usr.name"], entry["usr.email"])
    assert ("deleted", "failure") == (entry["evt.name"], entry["evt.outcome"])
    assert "ValueError" in entry["error.kind"]
    assert ("account", "deleted", "failure", "because") == tuple(
        entry[name] for name in ("component", "category", "outcome", "reason")
    )
    assert ("because", "192.0.2.1") == (entry["evt.reason"], entry["network.client.ip"])


@pytest.mark.parametrize("category", ["signed in", "signed out", "invalid sign in"])
def test_sign_ins_are_authentication(connect, category):
    """`evt.name` of the three sign-in categories."""
    entry = connect("datadog").entry("x", extra={"category": category, "outcome": "success"})

    assert ("authentication", category) == (entry["evt.name"], entry["category"])


@pytest.mark.parametrize(
    "name",
    [
        "timestamp",
        "status",
        "ddsource",
        "ddtags",
        "hostname",
        "evt.name",
        "usr.id",
        "error.kind",
        "dd.trace_id",
    ],
)
def test_its_names_are_not_the_callers(connect, name):
    """A caller's value goes to extra_<name>."""
    entry = connect("datadog").entry("x", extra={name: "failure"})

    assert "failure" == entry[f"extra_{name}"]
    assert "failure" != entry.get(name)


def test_at_most_a_thousand_entries_a_request(connect, server):
    """And all of them arrive in order."""
    wire = connect("datadog", flush_interval_seconds=30)
    log(wire, 2300)
    assert wire.flush()

    assert max(len(request.entries) for request in server.requests) <= 1000
    assert list(range(1, 2301)) == [entry["seq"] for entry in server.entries]


def test_at_most_five_million_bytes_a_request(connect, server):
    """Before compression: a bomb of one letter is not sent in one piece."""
    wire = connect("datadog", flush_interval_seconds=30)
    for _ in range(14):
        wire.logger.info("x" * 900_000)
    assert wire.flush()

    assert max(len(request.body) for request in server.requests) <= 5_000_000
    assert 14 == len(server.entries)


def test_an_entry_over_a_million_bytes_is_cut_by_us(connect, server):
    """Explicitly, since Datadog would do it silently."""
    wire = connect("datadog")
    entry = wire.entry("é" * 2_000_000)

    assert entry["truncated"] is True
    assert entry["original_bytes"] > 4_000_000
    assert len(server.requests[0].body) <= 1_000_002


def test_200_with_an_object_is_delivered(connect, server):
    """202, and 200 with a JSON object."""
    wire = connect("datadog")
    server.script(server.Reply(200, {"ok": True}))
    wire.entry("x")
    server.script(server.Reply(202, b""))
    wire.entry("y")

    assert 2 == len(server.requests)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"<html></html>"),
        (200, b"[]"),
        (201, {}),
        (204, b""),
        (206, {}),
        (408, b""),
        (429, b""),
        (500, b""),
        (503, b""),
        (502, b""),
        (425, b""),
    ],
)
def test_answers_that_are_tried_again(connect, server, status, body):
    """Any other 2xx, and the usual ones."""
    wire = connect("datadog")
    server.script(server.Reply(status, body, takes=False))
    wire.entry("x")
    stats = wire.handler.stats()

    assert 2 == len(server.requests)
    assert (1, 0, 1) == (stats.delivered, stats.rejected, stats.retries)


@pytest.mark.parametrize("status", [401, 403, 404, 301, 302, 307, 405, 407, 418])
def test_answers_that_hold(connect, server, status):
    """The data is kept."""
    wire = connect("datadog", hold_retry_seconds=0.5)
    server.script(server.Reply(status, {"errors": []}))
    wire.logger.info("x")
    assert wire.until(lambda stats: stats.state == "held"), wire.handler.stats()
    assert 1 == wire.handler.stats().pending
    assert wire.flush(5)

    assert ["x"] == [entry["message"] for entry in server.entries]


@pytest.mark.parametrize("status", [400, 406, 415, 422])
def test_bad_data_is_halved_down(connect, server, status):
    """Its neighbours arrive."""
    wire = connect("datadog", flush_interval_seconds=30)
    server.always(
        lambda request: (
            server.Reply(status, {})
            if any(entry["message"] == "m3" for entry in request.entries)
            else server.Reply(202, {})
        )
    )
    log(wire, 6)
    assert wire.flush()

    assert ["m0", "m1", "m2", "m4", "m5"] == [entry["message"] for entry in server.entries]
    assert (5, 1) == (wire.handler.stats().delivered, wire.handler.stats().rejected)


def test_trace_ids_come_from_a_process_that_traces(connect, monkeypatch):
    """OpenTelemetry, as far as it has to be played."""
    import sys
    import types

    context = types.SimpleNamespace(
        trace_id=0x1234567890ABCDEF1234567890ABCDEF, span_id=0x1234567890ABCDEF, is_valid=True, trace_flags=1
    )
    span = types.SimpleNamespace(get_span_context=lambda: context, is_recording=lambda: True)
    trace = types.ModuleType("opentelemetry.trace")
    trace.get_current_span = lambda *args: span
    package = types.ModuleType("opentelemetry")
    package.trace = trace
    monkeypatch.setitem(sys.modules, "opentelemetry", package)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", trace)
    entry = connect("datadog").entry("x")

    assert entry["dd.trace_id"]
    assert entry["dd.span_id"]
    assert str is type(entry["dd.trace_id"])


@pytest.mark.parametrize("count", [1000, 2, 1])
def test_413_terminates(connect, server, count):
    """Halves; a single one is rejected."""
    wire = connect("datadog", flush_interval_seconds=30)
    server.always(server.Reply(413, {}))
    log(wire, count)
    assert wire.flush(10)
    stats = wire.handler.stats()

    assert (0, count) == (stats.delivered, stats.rejected)
    assert [] == server.entries


def test_trace_ids_of_opentelemetry(connect, monkeypatch):
    """When the process uses it; in Datadog's own key."""
    trace = pytest.importorskip("opentelemetry.trace")
    context = trace.SpanContext(0x1234, 0x56, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        entry = connect("datadog").entry("x")

    assert "dd.trace_id" in entry
    assert "dd.span_id" in entry
