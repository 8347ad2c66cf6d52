"""Splunk's framing: envelopes, metadata, indexed fields, and the raw endpoint."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defender_logging._pipeline.entry import Fields
from defender_logging.destinations.base import Delivered, Response
from defender_logging.destinations.splunk import (
    EVENT_PATH,
    SplunkDestination,
    check_metadata,
    full_target,
    is_raw_target,
    normalise_token,
)

CHANNEL = "5b7e4c0a-8d1f-4f0e-9a55-0d6f8f1f2a3b"
TAIL = b',"id":"s-1","stream":"s","seq":1'
VALUES = {
    "time": "2026-07-01T12:00:00.000001Z",
    "level": "info",
    "component": "relay",
    "category": "paused",
    "message": "paused",
    "host": "web-1",
    "schema": "1",
}
NUMBERED = {"id": "s-1", "stream": "s", "seq": 1}


def splunk(target="", **settings):
    return SplunkDestination(target=target, channel=CHANNEL, **settings)


def line_of(destination, values=VALUES, unix_microseconds=1_782_907_200_000_001):
    draft = destination.encode(Fields(dict(values), unix_microseconds, 20))
    return draft.head + TAIL + draft.foot


def request_of(destination, lines):
    return destination.build_request(lines, now_unix_seconds=0.0)


def test_wraps_the_entry_in_an_envelope():
    """The entry is the event, unchanged and numbered; beside it stand only keys that Splunk knows."""
    line = line_of(splunk(index="main", source="app", sourcetype="defender:log"))

    assert json.loads(line) == {
        "time": 1782907200.000001,
        "host": "web-1",
        "source": "app",
        "sourcetype": "defender:log",
        "index": "main",
        "event": VALUES | NUMBERED,
        "fields": {"component": "relay", "category": "paused", "level": "info"},
    }


def test_leaves_metadata_out_that_is_not_set():
    """Then the token's own defaults hold."""
    values = {name: value for name, value in VALUES.items() if name != "host"}
    assert list(json.loads(line_of(splunk(), values))) == ["time", "event", "fields"]


@pytest.mark.parametrize(("host", "expected"), [(None, "web-1"), ("cluster", "cluster")])
def test_takes_the_entrys_host_unless_one_is_set(host, expected):
    """The setting wins; the event keeps its own in any case."""
    envelope = json.loads(line_of(splunk(host=host)))
    assert (expected, "web-1") == (envelope["host"], envelope["event"]["host"])


@pytest.mark.parametrize(
    ("unix_microseconds", "expected"),
    [
        (0, b"0.000000"),
        (1, b"0.000001"),
        (1_000_000, b"1.000000"),
        (1_433_188_255_500_000, b"1433188255.500000"),
        (1_782_907_200_999_999, b"1782907200.999999"),
        (884_541_513_600_123_456, b"884541513600.123456"),
        (-1, b"-0.000001"),
        (-1_500_000, b"-1.500000"),
    ],
)
def test_writes_time_as_a_number_with_six_decimals(unix_microseconds, expected):
    """Seconds from whole microseconds, so nothing is rounded, on either side of 1970."""
    assert line_of(splunk(), unix_microseconds=unix_microseconds).startswith(b'{"time":' + expected + b",")


def test_keeps_fields_last():
    """So the number goes into the event, and code 15 can cut the fields off."""
    assert list(json.loads(line_of(splunk(index="main"))))[-2:] == ["event", "fields"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("relay", "relay"),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        ("a\r\n\tb\x00c\x7fd\x85e\u2028f", "a b c d e f"),
        ("Zürich\xa0", "Zürich"),
        ("é" * 2000, "é" * 1024),
    ],
)
def test_indexes_flat_text_only(value, expected):
    """Any scalar becomes text without control characters, of at most 1024 characters."""
    envelope = json.loads(line_of(splunk(indexed_fields=["x"]), VALUES | {"x": value}))
    assert ({"x": expected}, value) == (envelope["fields"], envelope["event"]["x"])


@pytest.mark.parametrize("value", [None, {}, {"a": "b"}, [], ["a"], "", " ", "\x00"])
def test_does_not_index_what_splunk_refuses(value):
    """Nested, missing and blank values stay in the event only, so code 15 is not provoked."""
    line = line_of(splunk(indexed_fields=["x", "y"]), VALUES | {"x": value})
    assert "fields" not in json.loads(line)


def test_indexes_what_the_setting_names():
    """In its order, as far as the entry has it."""
    envelope = json.loads(line_of(splunk(indexed_fields=["subject", "level"]), VALUES | {"subject": "alice"}))
    assert list(envelope["fields"].items()) == [("subject", "alice"), ("level", "info")]


TEXT = st.text(max_size=6)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT
EXTRAS = st.dictionaries(
    TEXT,
    st.recursive(
        SCALARS,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.just("fields"), inner, max_size=3)
        ),
        max_leaves=4,
    ),
    max_size=4,
)


def without_surrogates(value):
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


@settings(deadline=None)
@given(extras=EXTRAS, indexed=st.lists(st.sampled_from(["a", "b", "fields", "level"]), unique=True))
def test_always_parses_back_with_and_without_fields(extras, indexed):
    """Whatever the entry says, it is one envelope; simplifying removes the fields and nothing else."""
    destination = splunk(indexed_fields=indexed)
    values = without_surrogates(extras) | VALUES
    line = line_of(destination, values)
    simple = destination.simplify(line)

    whole = json.loads(line)
    assert values | NUMBERED == whole["event"]
    assert all(isinstance(text, str) for text in whole.pop("fields", {}).values())
    assert whole == json.loads(simple)
    assert simple == destination.simplify(simple)
    assert b"\n" not in line


@pytest.mark.parametrize(
    "extras",
    [
        {},
        {"x": {"a": {}, "fields": {"b": "c"}}},
        {"x": ',"fields":{"b":"c"}}'},
        {"component": '},"fields":{"b":"c"}}'},
    ],
)
@pytest.mark.parametrize("indexed", [(), ("component", "x")])
def test_cuts_off_exactly_the_indexed_fields(extras, indexed):
    """A caller's value that looks like them is left alone."""
    destination = splunk(indexed_fields=indexed)
    simple = destination.simplify(line_of(destination, VALUES | extras))
    assert line_of(splunk(indexed_fields=()), VALUES | extras) == simple


def test_frames_one_object_a_line():
    """No array and no commas: that is how HEC reads a batch."""
    destination = splunk()
    lines = [line_of(destination), line_of(destination, {"level": "warn"})]
    body = request_of(destination, lines).body
    assert [json.loads(line) for line in lines] == [json.loads(line) for line in body.split(b"\n")]


@pytest.mark.parametrize("target", ["", "/services/collector/raw"])
def test_always_sends_a_channel(target):
    """A token with acknowledgment demands it, one without ignores it."""
    headers = request_of(splunk(target), [b"{}"]).headers
    assert headers == {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "X-Splunk-Request-Channel": CHANNEL,
    }


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("", EVENT_PATH),
        ("/", EVENT_PATH),
        ("//", EVENT_PATH),
        ("?auto_extract_timestamp=true", f"{EVENT_PATH}?auto_extract_timestamp=true"),
        ("/?a=/raw", f"{EVENT_PATH}?a=/raw"),
        ("/services/collector", "/services/collector"),
        ("/services/collector/event", EVENT_PATH),
        ("/services/collector/event/1.0", "/services/collector/event/1.0"),
        ("/proxy/splunk?x=1", "/proxy/splunk?x=1"),
        ("/services/collector/raw", "/services/collector/raw"),
    ],
)
def test_completes_a_bare_base_url(target, expected):
    """A base URL and its full form are one destination; any other path is the user's."""
    assert expected == full_target(target)
    assert expected == request_of(splunk(target), [b"{}"]).target


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/services/collector/raw", True),
        ("/services/collector/raw/1.0", True),
        ("/services/collector/raw?index=main", True),
        ("/proxy/raw", True),
        ("/services/collector/event", False),
        ("/services/collector/event?x=/raw", False),
        ("/services/collector/draw", False),
        ("/raw/2.0", False),
        ("", False),
    ],
)
def test_knows_the_raw_endpoint_by_its_path(target, expected):
    """What the query says does not matter."""
    assert (expected, expected) == (is_raw_target(target), splunk(target).is_raw)


def test_sends_the_bare_entry_to_the_raw_endpoint():
    """One JSON entry a line, without envelope; nothing in it can be simplified."""
    destination = splunk("/services/collector/raw", indexed_fields=["level"])
    line = line_of(destination)

    assert json.loads(line) == VALUES | NUMBERED
    assert line == destination.simplify(line)
    assert b"\n".join([line, line]) == request_of(destination, [line, line]).body


def test_adds_metadata_to_the_query_of_the_raw_endpoint():
    """Percent-encoded, a blank as %20."""
    destination = splunk(
        "/services/collector/raw", host="web 1", index="main", source="a&b=c/ü", sourcetype="defender:log"
    )
    target = request_of(destination, [b"{}"]).target

    assert target == (
        "/services/collector/raw?host=web%201&source=a%26b%3Dc%2F%C3%BC&sourcetype=defender%3Alog&index=main"
    )


def test_keeps_metadata_that_the_raw_url_has():
    """What stands in the user's URL wins, and is not doubled."""
    destination = splunk(
        "/services/collector/raw?index=audit&source=&x=1", index="main", source="app", host="h"
    )
    path, _, query = request_of(destination, [b"{}"]).target.partition("?")

    assert path == "/services/collector/raw"
    assert parse_qs(query, keep_blank_values=True) == {
        "index": ["audit"],
        "source": [""],
        "x": ["1"],
        "host": ["h"],
    }


def test_adds_no_question_mark_without_metadata():
    """The URL stays as the user gave it."""
    assert request_of(splunk("/services/collector/raw"), [b"{}"]).target == "/services/collector/raw"


def test_judges_by_splunks_codes():
    """The answer goes to the table of codes, with what the request was."""
    reply = Response(400, (), b'{"text":"x","code":6,"invalid-event-number":1}')
    success = Response(200, (), b'{"text":"Success","code":0}')

    assert {0} == splunk().interpret(reply, count=2, body_bytes=10).delivered
    assert splunk("/raw").interpret(reply, count=2, body_bytes=10).code == "hec_code_6"
    assert Delivered() == splunk().interpret(success, count=2, body_bytes=10)


def test_keeps_splunks_own_names_for_splunk():
    """A caller's field of such a name would clash with the metadata in searches."""
    expected = {"time", "host", "source", "sourcetype", "index", "event", "fields"}
    assert expected == splunk().reserved_names


def test_shows_no_url_in_its_repr():
    """A query may hold a secret."""
    destination = splunk("/services/collector/raw?token=hush", index="main")
    assert ("hush" not in repr(destination), "main" in repr(destination)) == (True, True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("main", "main"), (" main ", "main"), ("Zürich", "Zürich"), ("x" * 1024, "x" * 1024)],
)
def test_accepts_metadata(value, expected):
    """Any printable text, without the blanks around it."""
    assert expected == check_metadata("index", value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "  ",
        "a\nb",
        "main\n",
        "nul\x00",
        "c1\x85",
        "line\u2028",
        "lone\ud800",
        "x" * 1025,
        None,
        7,
        b"main",
    ],
)
def test_refuses_metadata_that_splunk_cannot_hold(value):
    """The message names the setting."""
    with pytest.raises(ValueError, match=r"^source "):
        check_metadata("source", value)


@pytest.mark.parametrize(
    "text",
    ["t0-ken", "Splunk t0-ken", "splunk t0-ken", "SPLUNK   t0-ken", " Splunk t0-ken ", "Splunk\tt0-ken"],
)
def test_normalises_a_token(text):
    """With or without the prefix, in any case of it, the header value is the same."""
    assert normalise_token(text) == "Splunk t0-ken"


def test_keeps_a_token_that_begins_like_the_prefix():
    """Only a whole word is the prefix."""
    assert normalise_token("splunkabc") == "Splunk splunkabc"


@pytest.mark.parametrize(
    "text", ["", " ", "Splunk", "splunk ", "Splunk hush hush", "Basic hush", "Splunk Splunk hush"]
)
def test_refuses_a_token_that_is_not_one_word(text):
    """The message does not show it."""
    with pytest.raises(ValueError, match="HEC token") as caught:
        normalise_token(text)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("", "/services/collector/ack"),
        ("/", "/services/collector/ack"),
        ("/services/collector", "/services/collector/ack"),
        ("/services/collector/event", "/services/collector/ack"),
        ("/services/collector/event/", "/services/collector/ack"),
        ("/services/collector/event/1.0", "/services/collector/ack"),
        ("/services/collector/raw", "/services/collector/ack"),
        ("/services/collector/raw/1.0?a=b", "/services/collector/ack?a=b"),
        ("/proxy/services/collector/event", "/proxy/services/collector/ack"),
        ("/hec", "/hec/ack"),
    ],
)
def test_asks_for_acknowledgments_beside_the_entries(target, expected):
    """The query's path, without the metadata of the raw endpoint, on the channel that it is about."""
    query = splunk(target, index="audit", use_ack=True).acks.build_query("c-1", [0, 12])

    assert (expected, b'{"acks":[0,12]}', "c-1") == (
        query.target,
        query.body,
        query.headers["X-Splunk-Request-Channel"],
    )
    assert splunk(target).acks is None
