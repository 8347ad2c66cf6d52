"""Datadog's names, framing, time rule and answers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defender_logging._pipeline.entry import Fields, Trace
from defender_logging._version import __version__
from defender_logging.destinations.base import Delivered, Hold, Rejected, Response, Retry, Split
from defender_logging.destinations.datadog import SITES, DatadogDestination, full_target, site_url

NOW = 1_782_907_200.0
NOW_MS = 1_782_907_200_000
HOUR_MS = 3_600_000
TAIL = b',"id":"s-1","stream":"s","seq":1'
NUMBERED = {"id": "s-1", "stream": "s", "seq": 1}
VALUES = {"time": "2026-07-01T12:00:00.000000Z", "level": "info", "message": "hello", "schema": "1"}


def datadog(target="/api/v2/logs", **settings):
    return DatadogDestination(target=target, **settings)


def line_of(values=VALUES, *, unix_milliseconds=NOW_MS, levelno=20, trace=None, destination=None):
    fields = Fields(dict(values), unix_milliseconds * 1000 + 999, levelno, trace)
    draft = (destination or datadog()).encode(fields)
    return draft.head + TAIL + draft.foot


def sent(lines, *, now=NOW):
    return json.loads(datadog().build_request(lines, now_unix_seconds=now).body)


def log_of(values=VALUES, **how):
    return json.loads(line_of(values, **how))


def test_writes_datadogs_names_beside_ours():
    """Every mapped name of the table, then the entry unchanged and numbered."""
    values = VALUES | {
        "component": "account",
        "category": "invalid sign in",
        "user": "Alice",
        "user_id": "u-7",
        "user_name": "Alice",
        "user_email": "a@example.org",
        "outcome": "failure",
        "reason": "bad password",
        "src_ip": "192.0.2.1",
        "service": "desk",
        "host": "web-1",
        "error_type": "ValueError",
        "error_message": "no",
        "error_stack": "Traceback",
        "nested": {"a": [1, None]},
    }
    destination = datadog(tags=["team:ops", "tier:1"], environment="prod")
    log = log_of(values, destination=destination, levelno=30, trace=Trace((1 << 127) + 2**63 + 5, 2**64 - 1))

    assert log == {
        "timestamp": NOW_MS,
        "status": "warning",
        "ddsource": "defender",
        "ddtags": "team:ops,tier:1,env:prod",
        "hostname": "web-1",
        "usr.id": "u-7",
        "usr.name": "Alice",
        "usr.email": "a@example.org",
        "evt.name": "authentication",
        "evt.outcome": "failure",
        "evt.reason": "bad password",
        "network.client.ip": "192.0.2.1",
        "error.kind": "ValueError",
        "error.message": "no",
        "error.stack": "Traceback",
        "dd.trace_id": "9223372036854775813",
        "dd.span_id": "18446744073709551615",
        **values,
        **NUMBERED,
    }
    assert list(log)[:5] == ["timestamp", "status", "ddsource", "ddtags", "hostname"]
    assert [*values, *NUMBERED] == list(log)[-len(values) - 3 :]


def test_leaves_out_what_the_entry_does_not_have():
    """A plain entry gets the three names that Datadog cannot do without."""
    assert ["timestamp", "status", "ddsource", *VALUES, *NUMBERED] == list(log_of())


def test_always_has_a_message():
    """Datadog's log model requires it; an empty one stands in."""
    assert log_of({"level": "info"})["message"] == ""


@pytest.mark.parametrize(
    ("levelno", "expected"),
    [
        (-5, "debug"),
        (0, "debug"),
        (5, "debug"),
        (10, "debug"),
        (15, "debug"),
        (19, "debug"),
        (20, "info"),
        (25, "info"),
        (30, "warning"),
        (35, "warning"),
        (40, "error"),
        (49, "error"),
        (50, "critical"),
        (99, "critical"),
    ],
)
def test_gives_the_level_by_number(levelno, expected):
    """Never by name: a custom level AUDIT would become an alert."""
    assert expected == log_of(VALUES | {"levelname": "AUDIT"}, levelno=levelno)["status"]


@pytest.mark.parametrize("category", ["signed in", "signed out", "invalid sign in"])
def test_names_sign_ins_authentication(category):
    """So Datadog's own sign-in rules find them."""
    assert log_of(VALUES | {"category": category})["evt.name"] == "authentication"


@pytest.mark.parametrize("category", ["paused", "invited", "rotated"])
def test_names_other_events_by_category(category):
    """The category, as it is."""
    assert category == log_of(VALUES | {"category": category})["evt.name"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {}),
        ({"user": "alice"}, {"usr.id": "alice", "usr.name": "alice"}),
        ({"user": "alice", "user_id": "7"}, {"usr.id": "7"}),
        ({"user_email": "a@b"}, {"usr.email": "a@b"}),
        ({"subject": "relayer-7"}, {}),
        ({"subject": "cron", "subject_type": "service", "category": "signed in"}, {}),
        ({"subject": "alice", "category": "signed in"}, {"usr.id": "alice", "usr.name": "alice"}),
        ({"subject": "Al", "subject_type": "User", "subject_id": "7"}, {"usr.id": "7", "usr.name": "Al"}),
        ({"subject": "Al", "subject_type": "user", "user": "bob"}, {"usr.id": "bob", "usr.name": "bob"}),
        ({"subject_type": "user"}, {}),
    ],
)
def test_names_the_person(values, expected):
    """The user, else a subject that is a person; what an entry says outright is never guessed over."""
    assert expected == {name: value for name, value in log_of(VALUES | values).items() if name[:4] == "usr."}


@pytest.mark.parametrize(
    ("tags", "environment", "expected"),
    [
        ((), None, None),
        (["a:1"], None, "a:1"),
        (["a:1", "b:2"], "prod", "a:1,b:2,env:prod"),
        ((), "prod", "env:prod"),
        (["env:test", "a:1"], "prod", "env:test,a:1"),
        (["environment:x"], "prod", "environment:x,env:prod"),
    ],
)
def test_joins_tags_into_one_string(tags, environment, expected):
    """The environment is a tag too, unless the tags have one."""
    assert expected == log_of(destination=datadog(tags=tags, environment=environment)).get("ddtags")


@pytest.mark.parametrize(
    ("unix_milliseconds", "expected"),
    [
        (NOW_MS, NOW_MS),
        (10**12, 10**12),
        (10**12 - 1, 10**12),
        (0, 10**12),
        (-5, 10**12),
        (10**13 - 1, 10**13 - 1),
        (10**13, 10**13 - 1),
        (884_541_513_600_123, 10**13 - 1),
    ],
)
def test_writes_the_time_in_13_digits_at_a_fixed_place(unix_milliseconds, expected):
    """A time that 13 digits cannot hold becomes the nearest that they can."""
    assert line_of(unix_milliseconds=unix_milliseconds).startswith(b'{"timestamp":%d,' % expected)


@pytest.mark.parametrize(
    ("age_ms", "is_moved"),
    [
        (0, False),
        (17 * HOUR_MS, False),
        (17 * HOUR_MS + 1, True),
        (18 * HOUR_MS, True),
        (24 * 365 * HOUR_MS, True),
        (-2 * HOUR_MS, False),
        (-2 * HOUR_MS - 1, True),
        (NOW_MS, True),
        (-(10**15), True),
    ],
)
def test_moves_a_time_that_datadog_would_throw_away(age_ms, is_moved):
    """Older than 17 hours or more than 2 ahead becomes now; the true time stays in ``time``."""
    line = line_of(unix_milliseconds=NOW_MS - age_ms)
    (log,) = sent([line])

    assert (NOW_MS if is_moved else NOW_MS - age_ms) == log["timestamp"]
    assert json.loads(line) | {"timestamp": None} == log | {"timestamp": None}


@pytest.mark.parametrize("now", [0.0, 1e9, 1e11])
def test_survives_a_clock_that_13_digits_cannot_hold(now):
    """A machine without a battery starts in 1970: the stamp is the nearest one possible."""
    (log,) = sent([line_of()], now=now)
    assert 10**12 <= log["timestamp"] < 10**13


def test_sends_an_array_in_order():
    """One JSON array, moved times or not."""
    lines = [line_of({"message": str(n)}, unix_milliseconds=NOW_MS * (n % 2)) for n in range(4)]
    assert [log["message"] for log in sent(lines)] == ["0", "1", "2", "3"]
    assert [log["timestamp"] for log in sent(lines)] == [NOW_MS] * 4


def test_says_who_sends():
    """The headers of the API and of an agent, without the key."""
    request = datadog().build_request([line_of()], now_unix_seconds=NOW)
    assert request.headers == {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "DD-EVP-ORIGIN": "defender_logging",
        "DD-EVP-ORIGIN-VERSION": __version__,
    }


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("", "/api/v2/logs"),
        ("/", "/api/v2/logs"),
        ("?ddtags=a:b", "/api/v2/logs?ddtags=a:b"),
        ("/api/v2/logs", "/api/v2/logs"),
        ("/v1/input", "/v1/input"),
    ],
)
def test_completes_a_bare_base_url(target, expected):
    """Any other path is the user's."""
    assert expected == full_target(target)
    assert expected == datadog(target).build_request([line_of()], now_unix_seconds=NOW).target


DELIVERED = "delivered"
BUSY = "retry"
AMBIGUOUS = "retry ambiguous"
KEY = "hold about the key"
HELD = "hold"
SPLIT = "split"
OVERSIZE = "split oversize"


def judged(status, body=b""):
    match datadog().interpret(Response(status, (), body), count=3, body_bytes=100):
        case Delivered():
            return DELIVERED
        case Retry(is_ambiguous=is_ambiguous):
            return AMBIGUOUS if is_ambiguous else BUSY
        case Hold(is_about_the_key=is_about_the_key):
            return KEY if is_about_the_key else HELD
        case Split(is_oversize=is_oversize):
            return OVERSIZE if is_oversize else SPLIT
        case other:
            return other


ERROR = b'{"errors":[{"status":"403","title":"Forbidden","detail":"no"}]}'


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (202, b"{}", DELIVERED),
        (202, b"", DELIVERED),
        (200, b"{}", DELIVERED),
        (200, b'{"status":"ok"}', DELIVERED),
        (200, b"", AMBIGUOUS),
        (200, b"[]", AMBIGUOUS),
        (200, b"<html>Sign in</html>", AMBIGUOUS),
        (200, b'{"sta', AMBIGUOUS),
        (201, b"{}", AMBIGUOUS),
        (203, b"{}", AMBIGUOUS),
        (204, b"", AMBIGUOUS),
        (207, b"{}", AMBIGUOUS),
        (301, b"", HELD),
        (307, b"", HELD),
        (400, ERROR, SPLIT),
        (401, ERROR, KEY),
        (402, ERROR, HELD),
        (403, ERROR, KEY),
        (404, ERROR, HELD),
        (407, b"", HELD),
        (408, ERROR, BUSY),
        (413, ERROR, OVERSIZE),
        (418, b"", HELD),
        (429, ERROR, BUSY),
        (500, ERROR, AMBIGUOUS),
        (502, b"<html>", AMBIGUOUS),
        (503, ERROR, BUSY),
        (504, b"", AMBIGUOUS),
    ],
)
def test_judges_every_status(status, body, expected):
    """The table of the API: 202 is success, a 200 only with a JSON object, all else by status."""
    assert expected == judged(status, body)


def test_says_what_to_do_about_a_refused_key():
    """Most often the key is good, but of another site."""
    reason = datadog().interpret(Response(403, (), ERROR), count=1, body_bytes=1).reason
    assert ("Datadog answered 403" in reason, "api_key and site" in reason, "Forbidden" in reason) == (
        True,
    ) * 3


@settings(deadline=None)
@given(status=st.sampled_from([200, 202, 400, 403]) | st.integers(), body=st.binary())
def test_judges_any_answer_without_raising(status, body):
    """Only 202 and 200 can be success, and nothing is rejected whole."""
    verdict = datadog().interpret(Response(status, (), body), count=1, body_bytes=1)
    assert not isinstance(verdict, Rejected)
    assert not isinstance(verdict, Delivered) or status in (200, 202)


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("datadoghq.com", "https://http-intake.logs.datadoghq.com/api/v2/logs"),
        ("us3.datadoghq.com", "https://http-intake.logs.us3.datadoghq.com/api/v2/logs"),
        ("us5.datadoghq.com", "https://http-intake.logs.us5.datadoghq.com/api/v2/logs"),
        ("datadoghq.eu", "https://http-intake.logs.datadoghq.eu/api/v2/logs"),
        ("ap1.datadoghq.com", "https://http-intake.logs.ap1.datadoghq.com/api/v2/logs"),
        ("ap2.datadoghq.com", "https://http-intake.logs.ap2.datadoghq.com/api/v2/logs"),
        ("uk1.datadoghq.com", "https://http-intake.logs.uk1.datadoghq.com/api/v2/logs"),
        ("ddog-gov.com", "https://http-intake.logs.ddog-gov.com/api/v2/logs"),
        ("us2.ddog-gov.com", "https://http-intake.logs.us2.ddog-gov.com/api/v2/logs"),
        (" Datadoghq.EU ", "https://http-intake.logs.datadoghq.eu/api/v2/logs"),
    ],
)
def test_knows_every_site(site, expected):
    """Each site has an intake of its own."""
    assert expected == site_url(site)


def test_lists_nine_sites():
    """As many as the table of regions has."""
    assert len(set(SITES.values())) == 9


@pytest.mark.parametrize(
    ("site", "meant"),
    [
        ("datadoghq.de", "datadoghq.eu"),
        ("us3.datadog.com", "us3.datadoghq.com"),
        ("EU1", "datadoghq.eu"),
        ("us5", "us5.datadoghq.com"),
        ("app.datadoghq.eu", "datadoghq.eu"),
    ],
)
def test_names_the_nearest_of_an_unknown_site(site, meant):
    """A typo would send the trail nowhere."""
    with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
        site_url(site)


@pytest.mark.parametrize("site", ["", "x"])
def test_lists_all_sites_when_none_is_near(site):
    """Then no guess is made."""
    with pytest.raises(ValueError, match=r"does not have; choose one of datadoghq\.com, "):
        site_url(site)


@pytest.mark.parametrize("site", [5, None, True, b"datadoghq.eu", ["datadoghq.eu"]])
def test_a_site_is_text(site):
    """A wrong type is a wrong setting, told with all others."""
    with pytest.raises(ValueError, match=r"site is .*; give a name"):
        site_url(site)


def test_keeps_datadogs_own_names_for_datadog():
    """Every name that an entry can get from here is reserved, and the one that would overrule the date."""
    expected = {
        *("@timestamp", "timestamp", "status", "ddsource", "ddtags", "hostname"),
        *("usr.id", "usr.name", "usr.email", "evt.name", "evt.outcome", "evt.reason", "network.client.ip"),
        *("error.kind", "error.message", "error.stack", "dd.trace_id", "dd.span_id"),
    }
    assert expected == datadog().reserved_names


def test_has_the_documented_limits():
    """5 MB and 1000 entries a request; below them by default, and below 1 MB for an entry."""
    limits = datadog().limits
    assert (
        limits.max_batch_entries,
        limits.default_batch_bytes,
        limits.max_batch_bytes,
        limits.max_entry_bytes,
    ) == (1000, 4_000_000, 5_000_000, 900_000)


def test_has_nothing_to_simplify():
    """Datadog never complains of a part."""
    assert line_of() == datadog().simplify(line_of())


def test_shows_no_url_in_its_repr():
    """A query may hold a secret."""
    assert "hush" not in repr(datadog("/api/v2/logs?dd-api-key=hush"))
