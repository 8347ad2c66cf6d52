"""The Datadog that the local receiver plays, by tables from Datadog's documentation."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from defender_logging.testing.datadog import DatadogSettings, judge_datadog
from defender_logging.testing.exchange import ReceivedRequest

NOW = 1_750_000_000.0
HOUR = 3600


def judge(body, *, method="POST", settings=None, **headers):
    sent = {"DD-API-KEY": "key", **{name.replace("_", "-"): value for name, value in headers.items()}}
    pairs = tuple((name, value) for name, value in sent.items() if value is not None)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = ReceivedRequest(3, 1, method, "/api/v2/logs", pairs, raw)
    return judge_datadog(request, settings or DatadogSettings(), now_unix_seconds=NOW)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({"message": "m"}, {}, 202),
        ([{"message": "m"}, {"message": "n"}], {}, 202),
        ([{"message": "m"}], {"DD_API_KEY": None}, 401),
        ([{"message": "m"}], {"DD_API_KEY": ""}, 401),
        ([{"message": "m"}], {"DD_API_KEY": "wrong"}, 403),
        ([{"message": "m"}], {"method": "GET"}, 405),
        (b"", {}, 400),
        (b"{", {}, 400),
        (b'[{"a":NaN}]', {}, 400),
        (b'[{"a":"\xff"}]', {}, 400),
        (b"[" * 200_000, {}, 400),
        ("text", {}, 400),
        ([1], {}, 400),
        ([{"message": "m"}] * 1000, {}, 202),
        ([{"message": "m"}] * 1001, {}, 400),
        (b'{"message":"' + b"x" * 4_999_986 + b'"}', {}, 202),
        (b'{"message":"' + b"x" * 4_999_987 + b'"}', {}, 413),
        (
            gzip.compress(b'{"message":"' + b"x" * 4_999_987 + b'"}', mtime=0),
            {"Content_Encoding": "gzip"},
            413,
        ),
        (gzip.compress(b"{}", mtime=0) + b"junk", {"Content_Encoding": "gzip"}, 400),
        (gzip.compress(b"{}", mtime=0), {"Content_Encoding": "GZIP"}, 202),
        (zlib.compress(b"{}"), {"Content_Encoding": "deflate"}, 202),
        (zlib.compress(b"{}")[2:-4], {"Content_Encoding": "deflate"}, 202),
        (b"{}", {"Content_Encoding": "identity"}, 202),
        (b"{}", {"Content_Encoding": "br"}, 415),
    ],
)
def test_statuses(body, headers, status):
    """Each kind of request has its status; only 202 takes entries, and every refusal has the errors body."""
    outcome = judge(body, settings=DatadogSettings(api_keys=["key"]), **headers)

    answer = json.loads(outcome.response.body)

    assert status == outcome.response.status
    assert (status == 202) == bool(outcome.entries)
    if status == 202:
        assert answer == {}
    else:
        assert str(status) == answer["errors"][0]["status"]
        assert {"status", "title", "detail"} == answer["errors"][0].keys()


@pytest.mark.parametrize(
    ("name", "value", "is_kept"),
    [
        ("timestamp", (NOW - 18 * HOUR) * 1000, True),
        ("timestamp", (NOW - 18 * HOUR) * 1000 - 1, False),
        ("timestamp", (NOW + 2 * HOUR) * 1000, True),
        ("timestamp", (NOW + 2 * HOUR) * 1000 + 1, False),
        ("timestamp", 10**400, False),
        ("timestamp", "1749000000000", False),
        ("timestamp", "2025-06-15T15:06:40Z", True),
        ("timestamp", "2025-06-14T15:06:40.000001Z", False),
        ("timestamp", "2025-06-14T21:06:39", False),
        ("timestamp", "no date", True),
        ("timestamp", None, True),
        ("timestamp", True, True),
        ("date", 0, False),
        ("@timestamp", 0, False),
        ("time", 0, True),
    ],
)
def test_old_and_future_entries_vanish_after_202(name, value, is_kept):
    """An entry whose official date is over 18 h old or 2 h ahead is acknowledged and thrown away, alone."""
    outcome = judge([{"id": "a", name: value}, {"id": "b"}])

    assert outcome.response.status == 202
    assert (["a", "b"] if is_kept else ["b"]) == [entry.id for entry in outcome.entries]
    assert ([] if is_kept else ["a"]) == [entry.id for entry in outcome.discarded]
    assert all("timestamp" in entry.discarded_because for entry in outcome.discarded)


def test_an_entry_over_1_mb_is_flagged_alone():
    """Above 1,000,000 bytes an entry counts as cut; its neighbours do not."""
    logs = [{"m": "x" * 1_000_000}, {"m": "x" * 999_992}, {"m": "é" * 500_001}]
    outcome = judge(json.dumps(logs, ensure_ascii=False).encode())

    assert [entry.is_truncated for entry in outcome.entries] == [True, False, True]


def test_plain_text_is_one_entry_a_line():
    """A body of text/plain becomes one entry a line."""
    outcome = judge(b"one\ntwo\n", Content_Type="text/plain; charset=utf-8")

    assert [entry.fields for entry in outcome.entries] == [{"message": "one"}, {"message": "two"}]


def test_settings_show_no_key():
    """The repr of the settings holds no key."""
    assert "secret" not in repr(DatadogSettings(api_keys=["secret"]))
