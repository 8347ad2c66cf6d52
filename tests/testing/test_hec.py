"""The Splunk that the local receiver plays, by tables from Splunk's documentation and from measurements."""

from __future__ import annotations

import base64
import gzip
import json

import pytest

from defender_logging.testing import HEC_CODES, HecSettings, hec_answer
from defender_logging.testing.exchange import ReceivedRequest
from defender_logging.testing.hec import AckDesk, judge_hec

EVENT = "/services/collector/event"
RAW = "/services/collector/raw"
ACK = "/services/collector/ack"
CHANNEL = "11111111-2222-3333-4444-555555555555"
OTHER_CHANNEL = "99999999-2222-3333-4444-555555555555"
NOT_FOUND = b'{"text":"The requested URL was not found on this server.","code":404}'
SUCCESS = {"text": "Success", "code": 0}
DISGUISED = {"text": "Invalid data format", "code": 6, "invalid-event-number": 0}
GOOD = '{"event":{"id":"a"}}'


def judge(body=GOOD, *, path=EVENT, settings=None, acks=None, method="POST", token="tok", **headers):
    sent = {"Authorization": f"Splunk {token}", "X-Splunk-Request-Channel": CHANNEL}
    sent.update({name.replace("_", "-"): value for name, value in headers.items()})
    pairs = tuple((name, value) for name, value in sent.items() if value is not None)
    raw = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else body
    request = ReceivedRequest(7, 1, method, path, pairs, raw)
    return judge_hec(request, settings or HecSettings(), acks or AckDesk())


def answer_of(outcome):
    return outcome.response.status, json.loads(outcome.response.body)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *[(0, 200), (1, 403), (2, 401), (3, 401), (4, 403), (5, 400), (6, 400), (7, 400), (8, 500), (9, 503)],
        *[(10, 400), (11, 400), (12, 400), (13, 400), (14, 400), (15, 400), (16, 400), (17, 200), (18, 503)],
        *[(19, 503), (20, 503), (21, 400), (22, 400), (23, 503), (24, 200), (25, 200), (26, 429), (27, 429)],
        (28, 400),
    ],
)
def test_every_code_has_its_status(code, status):
    """The table of codes has Splunk's HTTP status for each of the 29 codes."""
    scripted = hec_answer(code, number=3)

    assert len(HEC_CODES) == 29
    assert (status, code) == (scripted.status, json.loads(scripted.body)["code"])
    assert json.loads(scripted.body)["invalid-event-number"] == 3
    assert (code in (0, 24, 25)) == scripted.takes_entries


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("OPTIONS", EVENT, 200, b""),
        ("OPTIONS", "/services/collector/health", 200, b""),
        ("GET", "/services/collector/health", 200, b'{"text":"HEC is healthy","code":17}'),
        ("GET", "/services/collector/health/1.0", 200, b'{"text":"HEC is healthy","code":17}'),
        ("GET", EVENT, 405, NOT_FOUND),
        ("GET", ACK, 405, NOT_FOUND),
        ("POST", "/services/collector/health", 405, NOT_FOUND),
        ("POST", "/services/collector/evnt", 404, NOT_FOUND),
        ("POST", "/services/collector/", 404, NOT_FOUND),
    ],
)
def test_routes_answer_without_a_token(method, path, status, body):
    """Unknown paths, wrong methods, OPTIONS and health are answered before any token is looked at."""
    response = judge(method=method, path=path, Authorization=None).response

    assert (status, body) == (response.status, response.body)


@pytest.mark.parametrize("path", ["/services/collector", EVENT, f"{EVENT}/1.0", RAW, f"{RAW}/1.0"])
def test_every_spelling_of_the_endpoints_takes_entries(path):
    """All five documented paths take events."""
    assert answer_of(judge(path=path)) == (200, {"text": "Success", "code": 0})
    assert len(judge(path=path).entries) == 1


@pytest.mark.parametrize(
    ("headers", "path", "status", "code"),
    [
        ({"Authorization": None}, EVENT, 401, 2),
        ({"Authorization": ""}, EVENT, 401, 2),
        ({"Authorization": "Bearer tok"}, EVENT, 401, 3),
        ({"Authorization": "Splunk"}, EVENT, 401, 3),
        ({"Authorization": "Splunk  tok"}, EVENT, 401, 3),
        ({"Authorization": "tok"}, EVENT, 401, 3),
        ({"Authorization": "Basic !!"}, EVENT, 401, 3),
        ({"Authorization": "Splunk nope"}, EVENT, 403, 4),
        ({"Authorization": "Splunk off"}, EVENT, 403, 1),
        ({"Authorization": None}, f"{EVENT}?token=tok", 400, 16),
        ({"Authorization": "Splunk tok"}, EVENT, 200, 0),
        ({"Authorization": "Basic " + base64.b64encode(b"x:tok").decode()}, EVENT, 200, 0),
    ],
)
def test_authorization(headers, path, status, code):
    """Each way to give or miss a token has its code, and only the good ones leave entries."""
    settings = HecSettings(tokens=["tok"], disabled_tokens=["off"])
    outcome = judge(path=path, settings=settings, **headers)

    assert (status, code) == (outcome.response.status, json.loads(outcome.response.body)["code"])
    assert (code == 0) == bool(outcome.entries)


def test_query_token_is_taken_where_allowed():
    """A token in the query works once it is switched on."""
    settings = HecSettings(tokens=["tok"], allows_query_token=True)

    assert judge(path=f"{EVENT}?token=tok", settings=settings, Authorization=None).response.status == 200


@pytest.mark.parametrize(
    ("body", "answer", "ids"),
    [
        ("", {"code": 5}, []),
        (" \r\n", {"code": 5}, []),
        ('{"event":{"id":"a"}}{"event":{"id":"b"}}', {"code": 0}, ["a", "b"]),
        ('{"event":{"id":"a"}}\r\n {"event":{"id":"b"}}\n', {"code": 0}, ["a", "b"]),
        ('{"event":{"id":"a"}}{"event":', {"code": 6, "invalid-event-number": 1}, ["a"]),
        ('{"event":{"id":"a"}},{"event":{"id":"b"}}', {"code": 6, "invalid-event-number": 1}, ["a"]),
        ('[{"event":{"id":"a"}}]', {"code": 6, "invalid-event-number": 0}, []),
        ('{"event":{"id":"a","n":NaN}}', {"code": 6, "invalid-event-number": 0}, []),
        ('{"event":{"id":"a"}}{"event":"\udcff"}', {"code": 6, "invalid-event-number": 1}, ["a"]),
        ('{"event":{"id":"a"}}\udcff', {"code": 6, "invalid-event-number": 1}, ["a"]),
        ('{"event":{"id":"a"}}' + "[" * 200_000, {"code": 6, "invalid-event-number": 1}, ["a"]),
        ('{"event":{"id":"a"},"time":true}', {"code": 6, "invalid-event-number": 0}, []),
        ('{"event":{"id":"a"},"time":"soon"}', {"code": 6, "invalid-event-number": 0}, []),
        ('{"event":{"id":"a"},"host":1}', {"code": 6, "invalid-event-number": 0}, []),
        ('{"event":{"id":"a"},"time":"1.5"}{"event":{"id":"b"},"time":1.5}', {"code": 0}, ["a", "b"]),
        ('{"event":{"id":"a"}}{"time":1}', {"code": 12, "invalid-event-number": 1}, ["a"]),
        ('{"event":{"id":"a"}}{}{"event":{"id":"c"}}', {"code": 12, "invalid-event-number": 1}, ["a"]),
        ('{"event":{"id":"a"}}{"event":""}', {"code": 13, "invalid-event-number": 1}, ["a"]),
        ('{"event":{"id":"a"}}{"event":null}', {"code": 13, "invalid-event-number": 1}, ["a"]),
        ('{"event":{"id":"a"},"fields":{"x":{"y":1}}}', {"code": 15, "invalid-event-number": 0}, []),
        ('{"event":{"id":"a"},"fields":{"x":[{"y":1}]}}', {"code": 15, "invalid-event-number": 0}, []),
        ('{"event":{"id":"a"},"fields":[]}', {"code": 15, "invalid-event-number": 0}, []),
        ('{"event":{"id":"a"},"fields":{"x":["y","z"],"n":1}}', {"code": 0}, ["a"]),
        ('{"event":{"id":"a"}}{"fields":{"x":"y"}}{"event":{"id":"c"}}', {"code": 0}, ["a", "c"]),
        ('{"event":{"id":"a"}}{"event":{"id":"b"},"evil":1}{"event":{"id":"c"}}', {"code": 0}, ["a"]),
        (
            '{"event":{"id":"a"},"index":"good"}{"event":{"id":"b"},"index":"bad"}{"event":{"id":"c"}}',
            {"code": 7, "invalid-event-number": 2},
            ["a"],
        ),
        ('{"event":"text"}{"event":0}{"event":[1]}', {"code": 0}, [None, None, None]),
    ],
)
def test_bodies(body, answer, ids):
    """What stands before a bad object is indexed, the answer names the object, the rest is not indexed."""
    outcome = judge(body, settings=HecSettings(indexes=["good"]))
    status, got = answer_of(outcome)

    assert answer == {name: value for name, value in got.items() if name != "text"}
    assert (200 if answer["code"] == 0 else 400) == status
    assert ids == [entry.id for entry in outcome.entries]


def test_silent_skips_are_remembered_with_their_reason():
    """Objects that Splunk answers 200 for and skips are in ``discarded``, those behind an unknown key too."""
    outcome = judge('{"fields":{"x":"y"}}{"event":1,"evil":1}{"event":{"id":"c"}}')

    assert outcome.response.status == 200
    assert outcome.entries == ()
    assert [entry.discarded_because for entry in outcome.discarded] == [
        "fields without event",
        "an unknown key in its envelope",
        "stands behind an unknown key",
    ]


def test_envelope_is_opened():
    """An entry holds the event, and beside it the metadata, without the event."""
    (entry,) = judge('{"time":1.5,"host":"h","event":{"id":"a","n":1},"fields":{"x":"y"}}').entries

    assert entry.fields == {"id": "a", "n": 1}
    assert entry.envelope == {"time": 1.5, "host": "h", "fields": {"x": "y"}}
    assert (entry.kind, entry.request, entry["n"]) == ("splunk", 7, 1)


def test_raw_lines_are_events_with_the_metadata_of_the_query():
    """Each line of /raw is one event, decoded where it is JSON; U+2028 inside one is no break."""
    outcome = judge(
        '{"id":"a","m":"x\u2028y"}\nplain text\n\n{broken\n', path=f"{RAW}?host=h%201&sourcetype=s&channel=x"
    )

    assert [e.fields for e in outcome.entries] == [{"id": "a", "m": "x\u2028y"}, "plain text", "{broken"]
    assert [e.envelope for e in outcome.entries] == [{"host": "h 1", "sourcetype": "s"}] * 3


@pytest.mark.parametrize(
    ("body", "query", "code"), [("", "", 5), ("x", "?index=bad", 7), ("x", "?index=good", 0), ("x", "", 0)]
)
def test_raw_codes_have_no_event_number(body, query, code):
    """On /raw no answer names an event."""
    _, answer = answer_of(judge(body, path=RAW + query, settings=HecSettings(indexes=["good"])))

    assert code == answer["code"]
    assert "invalid-event-number" not in answer


@pytest.mark.parametrize(
    ("encoding", "body", "status", "code"),
    [
        ("gzip", gzip.compress(GOOD.encode(), mtime=0), 200, 0),
        ("identity", GOOD.encode(), 200, 0),
        ("gzip", GOOD.encode(), 400, 6),
        ("gzip", gzip.compress(GOOD.encode(), mtime=0)[:-1], 400, 6),
        ("deflate", GOOD.encode(), 415, None),
        ("zstd", GOOD.encode(), 415, None),
    ],
)
def test_content_encodings(encoding, body, status, code):
    """Only gzip is taken; a broken stream is code 6 without a number, another encoding an HTML 415."""
    outcome = judge(body, Content_Encoding=encoding)

    assert status == outcome.response.status
    if code is None:
        assert outcome.response.body.startswith(b"<html>")
    else:
        answer = json.loads(outcome.response.body)
        assert code == answer["code"]
        assert "invalid-event-number" not in answer


@pytest.mark.parametrize(
    ("settings", "size", "status", "answer"),
    [
        (HecSettings(max_content_bytes=100), 101, 413, None),
        (HecSettings(max_content_bytes=100), 100, 200, SUCCESS),
        (HecSettings(is_cloud=True, max_content_bytes=100), 101, 400, DISGUISED),
        (HecSettings(is_cloud=True), 5_242_881, 200, SUCCESS),
        (HecSettings(is_cloud=True), 6_000_000, 400, DISGUISED),
        (HecSettings(), 6_000_000, 200, SUCCESS),
    ],
)
@pytest.mark.parametrize("is_compressed", [False, True])
def test_oversize(settings, size, status, answer, is_compressed):
    """Enterprise answers 413 above its limit, Cloud disguises it; plain bytes count."""
    body = b'{"event":"' + b"x" * (size - 12) + b'"}'
    sent = gzip.compress(body, 1) if is_compressed else body
    outcome = judge(sent, settings=settings, Content_Encoding="gzip" if is_compressed else None)

    assert status == outcome.response.status
    assert answer == (json.loads(outcome.response.body) if answer else None)
    assert (status == 200) == bool(outcome.entries)


@pytest.mark.parametrize(
    ("path", "channel", "is_cloud", "code"),
    [
        (EVENT, None, False, 10),
        (EVENT, None, True, 28),
        (RAW, None, False, 10),
        (ACK, None, False, 10),
        (EVENT, "not-a-guid", False, 11),
        (ACK, CHANNEL + "0", False, 11),
        (f"{EVENT}?channel={CHANNEL}", None, False, 0),
        (EVENT, CHANNEL.upper(), False, 0),
    ],
)
def test_channel_is_needed_with_acks(path, channel, is_cloud, code):
    """A token with acknowledgment needs a channel of the shape of a GUID on every request."""
    settings = HecSettings(use_ack=True, is_cloud=is_cloud)
    _, answer = answer_of(judge(path=path, settings=settings, X_Splunk_Request_Channel=channel))

    assert code == answer["code"]


@pytest.mark.parametrize("channel", [None, "not-a-guid"])
def test_channel_is_ignored_without_acks(channel):
    """A token without acknowledgment takes requests with any channel or none, /raw too."""
    assert judge(X_Splunk_Request_Channel=channel).response.status == 200
    assert judge(path=RAW, X_Splunk_Request_Channel=channel).response.status == 200


def test_ack_query_without_acks_is_code_14():
    """A token without acknowledgment answers code 14 to a query."""
    assert answer_of(judge('{"acks":[0]}', path=ACK)) == (400, {"text": "ACK is disabled", "code": 14})


class TestAcks:
    settings = HecSettings(use_ack=True)

    def query(self, acks, *ids, channel=CHANNEL, settings=None):
        body = json.dumps({"acks": ids})
        outcome = judge(
            body, path=ACK, settings=settings or self.settings, acks=acks, X_Splunk_Request_Channel=channel
        )
        return answer_of(outcome)[1]["acks"]

    def test_ids_count_from_0_per_channel(self):
        """Ack ids of two channels do not touch each other."""
        acks = AckDesk()
        channels = [CHANNEL, CHANNEL, OTHER_CHANNEL, CHANNEL]
        got = [judge(settings=self.settings, acks=acks, X_Splunk_Request_Channel=c) for c in channels]

        assert [answer_of(outcome)[1]["ackId"] for outcome in got] == [0, 1, 0, 2]

    def test_an_id_is_true_once(self):
        """An id answers true once, then false for ever; unknown ids and other channels answer false."""
        acks = AckDesk()
        judge(settings=self.settings, acks=acks)

        assert self.query(acks, 0, channel=OTHER_CHANNEL) == {"0": False}
        assert self.query(acks, 0, 1) == {"0": True, "1": False}
        assert self.query(acks, 0) == {"0": False}

    def test_acks_that_never_come_can_come_later(self):
        """While acks do not come every id is false, and nothing is forgotten by asking."""
        acks = AckDesk()
        judge(settings=self.settings, acks=acks)

        assert self.query(acks, 0, settings=HecSettings(use_ack=True, acks_come=False)) == {"0": False}
        assert self.query(acks, 0) == {"0": True}

    def test_a_restart_forgets_everything(self):
        """After a restart old ids are false and new ones begin at 0."""
        acks = AckDesk()
        judge(settings=self.settings, acks=acks)
        acks.clear()

        assert self.query(acks, 0) == {"0": False}
        assert answer_of(judge(settings=self.settings, acks=acks))[1]["ackId"] == 0

    @pytest.mark.parametrize(
        ("body", "answer"),
        [
            (GOOD + "{", {"text": "Invalid data format", "code": 6, "invalid-event-number": 1, "ackId": 0}),
            ("{", {"text": "Invalid data format", "code": 6, "invalid-event-number": 0}),
            (
                '{"event":1,"index":"bad"}',
                {"text": "Incorrect index", "code": 7, "invalid-event-number": 1},
            ),
            (
                GOOD + '{"event":1,"index":"bad"}',
                {"text": "Incorrect index", "code": 7, "invalid-event-number": 2, "ackId": 0},
            ),
        ],
    )
    def test_an_indexed_prefix_gets_an_id(self, body, answer):
        """An error answer carries an ack id exactly when something was indexed."""
        settings = HecSettings(use_ack=True, indexes=["good"])

        assert (400, answer) == answer_of(judge(body, settings=settings))

    @pytest.mark.parametrize("body", ["", "[]", '{"acks":1}', '{"acks":["0"]}', '{"acks":[true]}', "{"])
    def test_a_bad_query_is_code_6(self, body):
        """A query that is not a list of numbers is refused."""
        assert answer_of(judge(body, path=ACK, settings=self.settings))[1]["code"] == 6


def test_settings_show_no_token():
    """The repr of the settings holds no token."""
    assert "secret" not in repr(HecSettings(tokens=["secret"], disabled_tokens=["secret"]))
