"""The entry on the wire: section 4, and every sentence of section 7 about it."""

from __future__ import annotations

import copy
import datetime as dt
import json
import logging
import logging.handlers
import queue
import re
import socket
import sys
import threading

import pytest
from freezegun import freeze_time

from defender_logging import Category, Component, DefenderFormatter, SelectionFilter

ORDER = [
    "time",
    "level",
    "component",
    "category",
    "subject",
    "subject_type",
    "subject_id",
    "object",
    "object_type",
    "object_id",
    "outcome",
    "reason",
    "user",
    "user_id",
    "user_name",
    "user_email",
    "src_ip",
    "tenant",
    "message",
    "logger",
    "levelname",
    "service",
    "environment",
    "host",
    "process",
    "thread",
    "error_type",
    "error_message",
    "error_stack",
    "stack_info",
    "tags",
]
TAIL = [
    "vocabulary_errors",
    "truncated",
    "original_bytes",
    "trail",
    "prev",
    "hash",
    "schema",
    "id",
    "stream",
    "seq",
]
TYPED = {
    "component": "relay", "category": "paused", "subject": "alice", "subject_type": "user", "subject_id": "u-1",
    "object": "relayer-7", "object_type": "relayer", "object_id": "r-7", "outcome": "success", "reason": "asked",
    "user": "alice", "src_ip": "192.0.2.1", "tenant": "t-1",
}  # fmt: skip


def in_order(entry, names):
    """The names of `names` that the entry has, in the entry's order."""
    return [name for name in entry if name in names]


def test_the_order_of_the_names(connect):
    """Written in the order of section 4, extras between the typed fields and the tail."""
    wire = connect(service="pay", environment="prod", host="node-1", tags=["team:core"], static_fields={})
    try:
        raise ValueError("boom")
    except ValueError:
        entry = wire.entry("hello", exc_info=True, stack_info=True, extra={**TYPED, "zebra": 1, "apple": 2})

    known = [name for name in ORDER if name not in {"user_id", "user_name", "user_email"}]
    assert known == [name for name in entry if name in known]
    names = list(entry)
    assert (
        names.index("tags")
        < names.index("zebra")
        < names.index("id")
        < names.index("stream")
        < names.index("seq")
    )
    assert names.index("zebra") < names.index("apple")
    assert "seq" == names[-1]
    assert set(names) == set(known) | {"zebra", "apple", "id", "stream", "seq"} | ({"schema"} & set(names))
    for name, value in TYPED.items():
        assert value == entry[name]


def test_the_values_of_our_own_names(connect):
    """What the record says about itself."""
    wire = connect(service="pay", environment="prod", tags={"team": "core"})
    try:
        raise KeyError("lost")
    except KeyError:
        entry = wire.entry("hello %s", "you", level=logging.CRITICAL, exc_info=True)

    assert "hello you" == entry["message"]
    assert wire.logger.name == entry["logger"]
    assert "CRITICAL" == entry["levelname"]
    assert "error" == entry["level"]
    assert "pay" == entry["service"]
    assert "prod" == entry["environment"]
    assert socket.gethostname() == entry["host"]
    assert "KeyError" in entry["error_type"]
    assert "'lost'" == entry["error_message"]
    assert "Traceback (most recent call last)" in entry["error_stack"]
    assert "lost" in entry["error_stack"]


def test_absent_fields_are_left_out(connect):
    """No nulls for what nobody said."""
    entry = connect().entry("plain")

    allowed = {
        "time",
        "level",
        "message",
        "logger",
        "levelname",
        "host",
        "process",
        "thread",
        "schema",
        "id",
        "stream",
        "seq",
    }
    assert set() == set(entry) - allowed


def test_id_stream_and_seq(connect, server):
    """`seq` counts from 1, `id` is stream-seq, the stream is the handler's."""
    one, two = connect(), connect()
    first, second = one.entry("a"), one.entry("b")
    other = two.entry("c")

    assert [1, 2, 1] == [first["seq"], second["seq"], other["seq"]]
    assert first["stream"] == second["stream"] != other["stream"]
    assert f"{first['stream']}-2" == second["id"]


def test_a_filtered_record_takes_no_seq(connect):
    """A gap means loss, never filtering."""
    wire = connect(log_levels=["info"])
    first = wire.entry("a")
    wire.logger.debug("filtered")
    second = wire.entry("b")

    assert [1, 2] == [first["seq"], second["seq"]]
    assert 1 == wire.handler.stats().filtered


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-07-01 12:34:56.123456", "2026-07-01T12:34:56.123456Z"),
        ("2026-01-01 00:00:00", "2026-01-01T00:00:00.000000Z"),
        ("2024-02-29 23:59:59.999999", "2024-02-29T23:59:59.999999Z"),
        ("2026-06-15 08:00:00.000001", "2026-06-15T08:00:00.000001Z"),
        ("1999-12-31 23:59:59.5", "1999-12-31T23:59:59.500000Z"),
    ],
)
def test_time_is_rfc_3339_with_microseconds(connect, moment, expected):
    """UTC, six digits, Z."""
    wire = connect()
    with freeze_time(moment):
        wire.logger.info("now")
    assert wire.flush()

    assert expected == wire.server.entries[0]["time"]


def test_a_clock_that_jumps_changes_no_order(connect, server):
    """Entries keep the order of their calls and the time that the clock showed."""
    wire = connect()
    for moment in ["2026-07-01 12:00:00", "2036-07-01 12:00:00", "2026-07-01 11:00:00"]:
        with freeze_time(moment):
            wire.logger.info("now")
    assert wire.flush()

    assert [1, 2, 3] == [entry["seq"] for entry in server.entries]
    assert ["2026", "2036", "2026"] == [entry["time"][:4] for entry in server.entries]


def test_a_frozen_clock_does_not_stop_delivery(connect, server):
    """A test suite under freezegun can flush inside the frozen moment."""
    with freeze_time("2026-07-01 12:00:00"):
        wire = connect()
        wire.logger.info("inside")
        assert wire.flush(5)

    assert "2026-07-01T12:00:00.000000Z" == server.entries[0]["time"]


@pytest.mark.parametrize(
    ("number", "name", "level"),
    [(5, None, "trace"), (10, "DEBUG", "debug"), (15, None, "debug"), (20, "INFO", "info"), (25, None, "info"),
     (30, "WARNING", "warn"), (35, None, "warn"), (40, "ERROR", "error"), (50, "CRITICAL", "error"),
     (1, None, "trace"), (99, None, "error")],
)  # fmt: skip
def test_levels(connect, number, name, level):
    """The level by its number, the record's own name kept."""
    entry = connect().entry("x", level=number)

    assert level == entry["level"]
    assert (name or f"Level {number}") == entry["levelname"]


def test_vocabulary_words_are_written_in_the_pages_spelling(connect):
    """Aliases, case, underscores, enum members."""
    wire = connect()
    for component, category in [
        ("Relayers", "SIGNED_IN"),
        (Component.RELAY, Category("signed in")),
        ("relay", "signed in"),
    ]:
        entry = wire.entry("x", extra={"component": component, "category": category})
        assert ("relay", "signed in") == (entry["component"], entry["category"])
        assert "vocabulary_errors" not in entry


def test_wrong_words_go_out_as_given_and_are_told(connect):
    """Nothing raises into the caller; the entry says what is wrong with it."""
    entry = connect().entry("x", extra={"component": "relayy", "category": "pausd", "outcome": "maybe"})

    assert ("relayy", "pausd", "maybe") == (entry["component"], entry["category"], entry["outcome"])
    assert isinstance(entry["vocabulary_errors"], list)
    text = " ".join(map(str, entry["vocabulary_errors"]))
    assert "relayy" in text
    assert "pausd" in text
    assert "maybe" in text


def test_words_of_an_extended_vocabulary_are_right(connect):
    """`vocabulary` adds to the page's words."""
    wire = connect(vocabulary={"components": ["billing"], "categories": ["refunded"]})
    entry = wire.entry("x", extra={"component": "billing", "category": "refunded"})
    again = wire.entry("x", extra={"component": "relay", "category": "paused"})

    assert "vocabulary_errors" not in entry
    assert "vocabulary_errors" not in again


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"type": "user", "id": "u-1", "name": "alice"},
            {"subject": "alice", "subject_type": "user", "subject_id": "u-1"},
        ),
        ({"type": "user", "id": "u-1"}, {"subject": "u-1", "subject_type": "user", "subject_id": "u-1"}),
        ({"type": "user"}, {"subject": "user", "subject_type": "user"}),
        ({"name": "alice"}, {"subject": "alice"}),
        (7, {"subject": "7"}),
        (True, {"subject": "True"}),
        (["a"], {"subject": "['a']"}),
        (2.5, {"subject": "2.5"}),
        ({"id": 7, "name": "alice"}, {"subject": "alice", "subject_id": "7"}),
    ],
)
def test_subject_and_object_are_strings(connect, given, expected):
    """A mapping is flattened, any other object becomes str()."""
    wire = connect()
    entry = wire.entry("x", extra={"subject": given})
    assert expected == {name: value for name, value in entry.items() if name.startswith("subject")}
    entry = wire.entry("x", extra={"object": given})
    renamed = {name.replace("subject", "object"): value for name, value in expected.items()}
    assert renamed == {name: value for name, value in entry.items() if name.startswith("object")}


def test_user_mapping_is_flattened(connect):
    """To user_id, user_name, user_email."""
    wire = connect()
    entry = wire.entry("x", extra={"user": {"id": "u-1", "name": "alice", "email": "a@example.org"}})
    assert ("u-1", "alice", "a@example.org") == (entry["user_id"], entry["user_name"], entry["user_email"])
    assert not isinstance(entry.get("user"), dict)
    assert "alice" == wire.entry("x", extra={"user": "alice"})["user"]
    assert "7" == wire.entry("x", extra={"user": 7})["user"]


OURS = [
    "time",
    "level",
    "logger",
    "service",
    "environment",
    "host",
    "error_type",
    "error_message",
    "error_stack",
    "tags",
    "vocabulary_errors",
    "truncated",
    "original_bytes",
    "trail",
    "prev",
    "hash",
    "schema",
    "id",
    "stream",
    "seq",
    "user_id",
    "user_name",
    "user_email",
]


@pytest.mark.parametrize("name", OURS)
def test_a_colliding_extra_is_written_beside(connect, name):
    """Nothing is overwritten and nothing is left out."""
    entry = connect(service="s", environment="e", tags=["a:b"]).entry("x", extra={name: "mine"})

    assert "mine" == entry[f"extra_{name}"]
    assert "mine" != entry.get(name)


def test_a_second_collision_gets_a_number(connect):
    """`extra_<name>_2`"""
    entry = connect().entry(
        "x",
        extra={"extra_seq": "first", "seq": "second", "extra_id_2": "two", "id": "three", "extra_id": "one"},
    )

    assert {"first", "second"} == {entry["extra_seq"], entry["extra_seq_2"]}
    assert {"one", "two", "three"} == {value for name, value in entry.items() if name.startswith("extra_id")}
    assert 1 == entry["seq"]


def test_record_attributes_are_not_extras(connect):
    """Only what the caller gave is written as an extra."""
    entry = connect().entry("x", extra={"mine": 1})

    assert set() == {
        "args",
        "msg",
        "pathname",
        "lineno",
        "funcName",
        "created",
        "exc_text",
        "relativeCreated",
        "taskName",
    } & set(entry)
    assert 1 == entry["mine"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2**53 - 1, 2**53 - 1), (-(2**53 - 1), -(2**53 - 1)), (2**53, str(2**53)), (-(2**53), str(-(2**53))),
        (10**18, "1000000000000000000"),
        (2**256, str(2**256)), (0, 0), (True, True), (False, False), (None, None), (1.5, 1.5), ("é", "é"),
        ([1, "a", None], [1, "a", None]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2]}}), ((1, 2), [1, 2]), ({"wei": 10**30}, {"wei": str(10**30)}),
        ([2**60], [str(2**60)]),
    ],
)  # fmt: skip
def test_values_keep_their_json_types(connect, value, expected):
    """Nested stays nested; integers beyond 2^53 - 1 are strings."""
    entry = connect().entry("x", extra={"value": value})

    assert expected == entry["value"]
    assert type(expected) is type(entry["value"])


@pytest.mark.parametrize("kind", ["generic", "datadog", "splunk"])
def test_nested_values_stay_nested_everywhere(connect, kind):
    """Flat means our own fields, on Datadog as well."""
    entry = connect(kind).entry("x", extra={"value": {"a": [1, {"b": None}]}})

    assert {"a": [1, {"b": None}]} == entry["value"]


def test_values_are_taken_at_the_call(connect, server):
    """What is changed afterwards stays as it was in the entry."""
    wire = connect(flush_interval_seconds=30)
    state, shown = {"balance": [1]}, ["a"]
    wire.logger.info("state %s", shown, extra={"state": state})
    state["balance"].append(2)
    state["new"] = True
    shown.append("b")
    assert wire.flush()

    assert {"balance": [1]} == server.entries[0]["state"]
    assert "state ['a']" == server.entries[0]["message"]


def nested(depth):
    value = "leaf"
    for _ in range(depth):
        value = [value]
    return value


def depth_of(value):
    deepest = 0
    while isinstance(value, list):
        deepest, value = deepest + 1, value[0]
    return deepest


def test_deep_nesting_is_cut_and_told(connect):
    """Below 32 levels the rest is text."""
    wire = connect()
    shallow = wire.entry("x", extra={"value": nested(20)})
    assert 20 == depth_of(shallow["value"])
    assert "truncated" not in shallow
    deep = wire.entry("x", extra={"value": nested(100)})
    assert 28 <= depth_of(deep["value"]) <= 32
    assert deep["truncated"] is True
    assert isinstance(deep["original_bytes"], int)
    assert deep["original_bytes"] > 0


def test_extras_beyond_a_thousand_keys_are_cut_and_told(connect):
    """At most 1,000 of them."""
    wire = connect()
    whole = wire.entry("x", extra={f"k{number}": number for number in range(1000)})
    assert "truncated" not in whole
    assert 1000 == sum(name.startswith("k") for name in whole)
    cut = wire.entry("x", extra={f"k{number}": number for number in range(1500)})
    assert cut["truncated"] is True
    assert 1000 == sum(name.startswith("k") for name in cut)
    assert isinstance(cut["original_bytes"], int)


@pytest.mark.parametrize("kind", ["generic", "datadog", "splunk"])
def test_an_entry_over_the_limit_loses_its_longest_strings_first(connect, kind):
    """The short ones stay whole, the entry says its original size."""
    entry = connect(kind).entry(
        "m" * 50, extra={"long": "x" * 12_000_000, "middle": "y" * 1000, "subject": "alice"}
    )

    assert entry["truncated"] is True
    assert 12_000_000 < entry["original_bytes"] < 12_100_000
    assert "y" * 1000 == entry["middle"]
    assert "m" * 50 == entry["message"]
    assert "alice" == entry["subject"]
    assert 0 < len(entry["long"]) < 12_000_000
    limit = {"generic": 1_000_000, "datadog": 1_000_000, "splunk": 5_242_880}[kind]
    assert len(json.dumps(entry)) <= limit


def test_an_entry_below_the_limit_is_whole(connect):
    """Nothing is cut without need."""
    entry = connect().entry("x" * 900_000)

    assert 900_000 == len(entry["message"])
    assert "truncated" not in entry


def test_a_record_with_nothing_in_it(connect, server):
    """`makeLogRecord({})` becomes an entry."""
    wire = connect()
    wire.handler.handle(logging.makeLogRecord({}))
    assert wire.flush()

    assert 1 == len(server.entries)
    assert 1 == server.entries[0]["seq"]
    assert server.entries[0]["time"].endswith("Z")


def test_behind_a_queue_listener(connect, server):
    """The stdlib's own pair works; what the record carries arrives."""
    wire = connect()
    records = queue.Queue()
    logger = logging.getLogger("contract.behind")
    logger.propagate, logger.level = False, 1
    front = logging.handlers.QueueHandler(records)
    front.addFilter(SelectionFilter(["relay"]))
    logger.addHandler(front)
    listener = logging.handlers.QueueListener(records, wire.handler)
    listener.start()
    logger.info("paused %s", "now", extra={**TYPED, "nested": {"a": 1}})
    logger.info("not selected", extra={"component": "admin"})
    listener.stop()
    logger.removeHandler(front)
    assert wire.flush()

    assert ["paused now"] == [entry["message"] for entry in server.entries]
    assert "relay" == server.entries[0]["component"]
    assert {"a": 1} == server.entries[0]["nested"]
    assert "contract.behind" == server.entries[0]["logger"]


def test_a_plain_formatter_gives_the_message(connect, server):
    """Its text becomes `message`; the typed fields stay."""
    wire = connect()
    wire.handler.setFormatter(logging.Formatter("%(levelname)s|%(message)s"))
    entry = wire.entry("hello", extra={"component": "relay", "mine": 1})

    assert "INFO|hello" == entry["message"]
    assert "relay" == entry["component"]
    assert 1 == entry["mine"]


def test_a_json_formatters_object_is_the_entry(connect):
    """Its keys take the place of the extras; typed fields, time, level and ids are ours."""
    from pythonjsonlogger.json import JsonFormatter

    wire = connect()
    wire.handler.setFormatter(
        JsonFormatter(
            "%(message)s %(name)s", static_fields={"release": "1.2", "seq": "mine", "password": "hunter2"}
        )
    )
    entry = wire.entry(
        "hello",
        extra={"component": "Relayers", "subject": {"type": "user", "id": "u", "name": "alice"}, "mine": 1},
    )

    assert "hello" == entry["message"]
    assert "1.2" == entry["release"]
    assert 1 == entry["mine"]
    assert "relay" == entry["component"]
    assert ("alice", "user", "u") == (entry["subject"], entry["subject_type"], entry["subject_id"])
    assert "mine" == entry["extra_seq"]
    assert 1 == entry["seq"]
    assert "[redacted]" == entry["password"]
    assert entry["time"].endswith("Z")
    assert "info" == entry["level"]
    assert f"{entry['stream']}-1" == entry["id"]


def test_a_formatter_that_fails_loses_no_entry(connect):
    """The record is said without it."""

    class Broken(logging.Formatter):
        def format(self, record):
            raise RuntimeError("formatter")

    wire = connect()
    wire.handler.setFormatter(Broken())
    assert "hello" in wire.entry("hello")["message"]


def test_redaction_at_any_depth_in_any_case(connect):
    """The built-in list, before the entry is queued."""
    secrets = {"password": "p1", "Token": "p2", "API_KEY": "p3", "Authorization": "p4", "secret": "p5"}
    entry = connect().entry("x", extra={**secrets, "deep": {"list": [{"Password": "p6", "ok": "fine"}]}})

    for name in secrets:
        assert "[redacted]" == entry[name]
    assert {"list": [{"Password": "[redacted]", "ok": "fine"}]} == entry["deep"]


def test_redaction_list_adds(connect):
    """To the built-in one."""
    entry = connect(redact=["shoe_size"]).entry(
        "x", extra={"Shoe_Size": 44, "password": "p", "a": {"SHOE_SIZE": [1]}}
    )

    assert ("[redacted]", "[redacted]") == (entry["Shoe_Size"], entry["password"])
    assert {"SHOE_SIZE": "[redacted]"} == entry["a"]


def test_redaction_only_replaces(connect):
    """The built-in list is gone."""
    entry = connect(redact={"only": ["shoe_size"]}).entry("x", extra={"shoe_size": 44, "password": "p"})

    assert ("[redacted]", "p") == (entry["shoe_size"], entry["password"])


def test_redaction_allow_keeps_only_these(connect):
    """Every other field of the caller's is hidden."""
    entry = connect(redact={"allow": ["shoe_size"]}).entry(
        "x", extra={"shoe_size": 44, "hat": "h", "component": "relay"}
    )

    assert (44, "[redacted]") == (entry["shoe_size"], entry["hat"])
    assert entry["time"].endswith("Z")
    assert 1 == entry["seq"]
    assert "info" == entry["level"]


@pytest.mark.parametrize("kind", ["generic", "splunk", "datadog"])
def test_typed_fields_can_be_redacted(connect, server, kind):
    """A field is a field; the destination's own names do not give away what ours hide."""
    wire = connect(kind, redact=["src_ip", "user", "reason", "subject_id", "email", "tenant"])
    wire.logger.info(
        "x", extra={"src_ip": "192.0.2.77", "user": {"id": "uu-1", "name": "nn-2", "email": "ee-3"}, "reason": "rr-4",
                    "subject": {"type": "user", "id": "ss-5", "name": "alice"}, "tenant": "tt-6"},
    )  # fmt: skip
    assert wire.flush()
    text = server.requests[0].body.decode()

    assert "[redacted]" == server.entries[0]["src_ip"]
    for value in ["192.0.2.77", "ee-3", "rr-4", "tt-6"]:
        assert value not in text


@pytest.mark.parametrize("name", ["user_email", "email"])
def test_a_flattened_field_is_redacted_by_either_name(connect, server, name):
    """By the name that the caller wrote, and by the one that the entry has."""
    wire = connect("datadog", redact=[name])
    wire.entry("x", extra={"user": {"id": "uu-1", "name": "nn-2", "email": "ee-3"}})

    assert "ee-3" not in server.requests[0].body.decode()
    assert "nn-2" in server.requests[0].body.decode()


def test_redaction_does_not_touch_the_callers_objects(connect):
    """Copies, not changes."""
    extra = {"deep": {"password": "p", "list": [{"token": "t"}]}}
    connect().entry("x", extra=extra)

    assert {"deep": {"password": "p", "list": [{"token": "t"}]}} == extra


def test_a_field_and_its_flattened_part_are_both_kept(connect):
    """Nothing is silently left out."""
    entry = connect().entry(
        "x",
        extra={
            "subject": {"type": "user", "id": "one", "name": "alice"},
            "subject_id": "two",
            "user_id": "three",
        },
    )

    assert {"one", "two", "three"} <= {str(value) for value in entry.values()}


def test_none_in_a_typed_field_is_no_value(connect):
    """Not the text None."""
    entry = connect().entry("x", extra={"subject": None, "component": None, "user": None, "reason": None})

    assert set() == {"subject", "component", "user", "reason", "vocabulary_errors"} & {
        name for name, value in entry.items() if value is not None
    }


def test_more_keys_in_a_mapping_are_not_lost(connect):
    """Flattened or as text: what was given is in the entry."""
    entry = connect().entry(
        "x",
        extra={
            "subject": {"type": "user", "id": "u-1", "name": "alice", "role": "rr-9"},
            "user": {"id": "u-1", "role": "qq-8"},
        },
    )
    text = json.dumps(entry)

    assert "rr-9" in text
    assert "qq-8" in text


def test_exception_fields_of_a_chain_and_a_custom_class(connect):
    """The type's name, its text, the whole stack."""

    class PaymentError(Exception):
        """A user's own."""

    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise PaymentError("outer") from error
    except PaymentError:
        entry = connect().entry("x", exc_info=True)

    assert entry["error_type"].endswith("PaymentError")
    assert "outer" == entry["error_message"]
    assert "KeyError" in entry["error_stack"]
    assert "direct cause" in entry["error_stack"]


def test_a_json_formatter_that_renames(connect):
    """Its keys, whatever they are called; ours stay ours."""
    from pythonjsonlogger.json import JsonFormatter

    wire = connect("datadog")
    wire.handler.setFormatter(
        JsonFormatter("%(message)s %(levelname)s", rename_fields={"levelname": "status"}, timestamp=True)
    )
    entry = wire.entry("hello", level=logging.WARNING)

    assert "warning" == entry["status"]
    assert int is type(entry["timestamp"])
    assert "WARNING" == entry["extra_status"]
    assert "extra_timestamp" in entry
    assert "hello" == entry["message"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="dictConfig makes the pair from 3.12 on")
def test_the_queue_handler_that_dict_config_makes(server, restored_logging):
    """The stdlib's QueueHandler with our handler behind its listener."""
    import logging.config

    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {
                "trail": {
                    "class": "defender_logging.ApiKeyHandler",
                    "url": server.url,
                    "flush_interval_seconds": 0.01,
                },
                "front": {
                    "class": "logging.handlers.QueueHandler",
                    "handlers": ["trail"],
                    "respect_handler_level": True,
                },
            },
            "loggers": {"contract.queued": {"handlers": ["front"], "level": "INFO", "propagate": False}},
        }
    )
    logger = logging.getLogger("contract.queued")
    (front,) = logger.handlers
    front.listener.start()
    logger.info("hello %s", "you", extra=TYPED)
    front.listener.stop()
    assert server.wait(entries=1)
    logger.removeHandler(front)
    for handler in front.listener.handlers:
        handler.close()

    assert "hello you" == server.entries[0]["message"]
    assert "relay" == server.entries[0]["component"]


def test_static_fields_are_in_every_entry(connect):
    """Beside the caller's extras; the call wins."""
    wire = connect(static_fields={"release": "1.2", "shard": 4})
    entry = wire.entry("x", extra={"shard": 5})

    assert "1.2" == entry["release"]
    assert 5 in {entry["shard"], entry.get("extra_shard")}


def test_one_line_whatever_is_in_it(connect, server):
    """CR, LF, NUL, U+2028 and escapes never break a line."""
    wire = connect(body="ndjson")
    nasty = "a\r\nb\x00c\u2028d\x1b[31me\u202ef\ufeff"
    wire.logger.info("%s", nasty, extra={"subject": nasty, "key\n\x00": nasty})
    wire.logger.info("second")
    assert wire.flush()

    lines = [line for request in server.requests for line in request.body.split(b"\n") if line]
    assert 2 == len(lines)
    assert nasty == server.entries[0]["message"]
    assert nasty == server.entries[0]["subject"]
    assert nasty == server.entries[0]["key\n\x00"]


def test_bad_arguments_keep_the_message_and_the_arguments(connect):
    """Fault 68: raw message, arguments and the error."""
    entry = connect().entry("count %d of %d", "x")
    text = json.dumps(entry)

    assert "count %d of %d" in entry["message"]
    assert "'x'" in text or '"x"' in text or '\\"x\\"' in text


def test_process_and_thread_are_said(connect):
    """Whichever form they have, they tell two threads apart."""
    wire = connect()
    here = wire.entry("here")
    thread = threading.Thread(target=lambda: wire.logger.info("there"), name="worker-7")
    thread.start()
    thread.join(5)
    assert wire.flush()
    there = wire.server.entries[-1]

    assert here["process"] == there["process"]
    assert here["thread"] != there["thread"]


def test_a_logger_named_with_a_lone_surrogate_and_an_exception_chain(connect, server):
    """Strict receivers take it."""
    wire = connect()
    error = ValueError("one")
    error.__context__ = TypeError("two")
    error.__context__.__context__ = error
    wire.handler.handle(
        logging.LogRecord("na\ud800me", 20, "pa\udfffth", 1, "m\ud83d", (), (ValueError, error, None))
    )
    assert wire.flush()

    assert 1 == len(server.entries)
    assert "one" == server.entries[0]["error_message"]


def test_the_formatter_writes_the_same_entry_without_delivery(connect):
    """`DefenderFormatter`: one JSON line, id, stream and seq left out."""
    record = logging.makeLogRecord(
        {
            "name": "n",
            "levelno": 30,
            "levelname": "WARNING",
            "msg": "hi %s",
            "args": ("you",),
            "created": 1782907696.5,
            **TYPED,
        }
    )
    line = DefenderFormatter().format(record)
    entry = json.loads(line)
    wire = connect()
    wire.handler.handle(record)
    assert wire.flush()
    delivered = wire.server.entries[0]

    assert "\n" not in line
    assert set() == {"id", "stream", "seq"} & set(entry)
    assert "hi you" == entry["message"]
    assert "2026-07-01T12:08:16.500000Z" == entry["time"] == delivered["time"]
    without = {
        name: value for name, value in delivered.items() if name not in {"id", "stream", "seq", "host"}
    }
    assert without == {name: value for name, value in entry.items() if name != "host"}


def test_the_formatter_through_dict_config(tmp_path, restored_logging):
    """On a StreamHandler and a FileHandler."""
    import io
    import logging.config

    stream = io.StringIO()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "trail": {"()": "defender_logging.DefenderFormatter"},
                "named": {"class": "defender_logging.DefenderFormatter"},
            },
            "handlers": {
                "out": {"class": "logging.StreamHandler", "stream": stream, "formatter": "trail"},
                "file": {
                    "class": "logging.FileHandler",
                    "filename": str(tmp_path / "trail.log"),
                    "formatter": "named",
                },
            },
            "loggers": {
                "contract.formatter": {"handlers": ["out", "file"], "level": "INFO", "propagate": False}
            },
        }
    )
    logger = logging.getLogger("contract.formatter")
    try:
        logger.info(
            "a\nb",
            extra={
                "component": "relay",
                "category": "paused",
                "amount": 10**30,
                "password": "p",
                "odd": float("nan"),
            },
        )
    finally:
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
    text = stream.getvalue()

    assert 1 == text.count("\n")
    assert text == (tmp_path / "trail.log").read_text(encoding="utf-8")
    entry = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    assert "a\nb" == entry["message"]
    assert str(10**30) == entry["amount"]
    assert "[redacted]" == entry["password"]
    assert ("relay", "paused", "info") == (entry["component"], entry["category"], entry["level"])


def test_dates_and_other_common_objects_have_a_readable_text(connect):
    """Fault 66: a stable text form."""
    import decimal
    import pathlib
    import uuid

    identity = uuid.UUID(int=5)
    moment = dt.datetime(2026, 7, 1, tzinfo=dt.timezone.utc)
    entry = connect().entry(
        "x",
        extra={
            "when": moment,
            "who": identity,
            "where": pathlib.PurePosixPath("/a"),
            "much": decimal.Decimal("1.10"),
            "raw": b"ab",
        },
    )

    assert entry["when"].startswith("2026-07-01")
    assert str(identity) == entry["who"]
    assert "/a" == entry["where"]
    assert entry["much"] in {"1.10", 1.10}
    assert "ab" in entry["raw"]


def test_the_entry_is_compact_utf_8(connect, server):
    """UTF-8, no escapes where none are needed."""
    connect(compression="none").entry("Grüße 漢字 😀")

    assert "Grüße 漢字 😀".encode() in server.requests[0].sent
    assert re.search(rb'"seq":\s*1}', server.requests[0].sent)


def test_the_record_itself_is_left_alone(connect):
    """Other handlers see the record as it was made."""
    wire = connect()
    extra = {
        **TYPED,
        "subject": {"type": "user", "id": "u", "name": "alice"},
        "password": "p",
        "many": list(range(3)),
    }
    seen = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(
        (record.msg, record.args, copy.deepcopy(record.subject), record.password)
    )
    wire.logger.addHandler(handler)
    wire.entry("hi %s", "you", extra=extra)

    assert [("hi %s", ("you",), {"type": "user", "id": "u", "name": "alice"}, "p")] == seen


def test_fields_on_the_python_side_do_not_depend_on_the_locale(connect):
    """sys.flags and friends are of no matter: the bytes are UTF-8 everywhere."""
    assert "utf-8" == sys.getdefaultencoding()
    assert "ß" == connect().entry("ß")["message"]
