"""Splunk's answers, judged from the tables of its documentation and what was measured."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defender_logging.destinations.base import Delivered, Hold, Partly, Rejected, Response, Retry, Split
from defender_logging.destinations.splunk_replies import HEC_CODES, interpret_reply, read_ack_reply

COUNT = 5
KEY = "hold about the key"
HELD = "hold"
BUSY = "retry"
AMBIGUOUS = "retry ambiguous"
OK = "delivered"
SPLIT = "split"

CODES = [
    (0, 200, "Success", OK),
    (1, 403, "Token disabled", KEY),
    (2, 401, "Token is required", KEY),
    (3, 401, "Invalid authorization", KEY),
    (4, 403, "Invalid token", KEY),
    (5, 400, "No data", SPLIT),
    (6, 400, "Invalid data format", SPLIT),
    (7, 400, "Incorrect index", HELD),
    (8, 500, "Internal server error", AMBIGUOUS),
    (9, 503, "Server is busy", AMBIGUOUS),
    (10, 400, "Data channel is missing", HELD),
    (11, 400, "Invalid data channel", HELD),
    (12, 400, "Event field is required", SPLIT),
    (13, 400, "Event field cannot be blank", SPLIT),
    (14, 400, "ACK is disabled", HELD),
    (15, 400, "Error in handling indexed fields", SPLIT),
    (16, 400, "Query string authorization is not enabled", HELD),
    (17, 200, "HEC is healthy", AMBIGUOUS),
    (18, 503, "HEC is unhealthy, queues are full", BUSY),
    (19, 503, "HEC is unhealthy, ack service unavailable", BUSY),
    (20, 503, "HEC is unhealthy, queues are full, ack service unavailable", BUSY),
    (21, 400, "Invalid token", KEY),
    (22, 400, "Token disabled", KEY),
    (23, 503, "Server is shutting down", BUSY),
    (24, 200, "HEC queue is approaching its capacity limit", OK),
    (25, 200, "HEC ACK is approaching its capacity limit", OK),
    (26, 429, "HEC queue is at capacity and cannot process any more requests", BUSY),
    (27, 429, "HEC ACK channel is at capacity and cannot process any more requests", BUSY),
    (28, 400, "Data channel is missing. If you have multiple indexers, sticky session ...", HELD),
]
WITH_NUMBER = [5, 6, 12, 13]


def judge(status, reply, *, count=COUNT, body_bytes=1000, is_raw=False):
    body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
    return interpret_reply(Response(status, (), body), count=count, body_bytes=body_bytes, is_raw=is_raw)


def in_words(verdict):
    match verdict:
        case Delivered():
            return OK
        case Hold(is_about_the_key=is_about_the_key):
            return KEY if is_about_the_key else HELD
        case Retry(is_ambiguous=is_ambiguous):
            return AMBIGUOUS if is_ambiguous else BUSY
        case Split(is_oversize=is_oversize):
            return "split oversize" if is_oversize else SPLIT
    return verdict


@pytest.mark.parametrize(("code", "status", "text", "expected"), CODES)
def test_knows_every_code(code, status, text, expected):
    """Each row of the table, without a number, at the status that goes with it."""
    assert expected == in_words(judge(status, {"text": text, "code": code}))


def test_has_a_row_for_each_code_and_no_other():
    """The table is the documented one, from 0 to 27, and the 28 that was measured."""
    assert [row[0] for row in CODES] == sorted(HEC_CODES)


@pytest.mark.parametrize("status", [200, 202, 301, 400, 401, 404, 413, 500, 503])
@pytest.mark.parametrize(
    ("code", "expected"), [(row[0], row[3]) for row in CODES if row[0] not in {0, 17, 24, 25}]
)
def test_lets_a_known_error_code_rule_on_any_status(code, expected, status):
    """A 200 with code 6 or 9 is no success, and a proxy's status does not hide what Splunk said."""
    assert expected == in_words(judge(status, {"text": "x", "code": code}))


@pytest.mark.parametrize("code", [0, 24, 25])
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (201, AMBIGUOUS),
        (202, AMBIGUOUS),
        (204, AMBIGUOUS),
        (302, HELD),
        (400, SPLIT),
        (403, KEY),
        (404, HELD),
        (413, "split oversize"),
        (500, AMBIGUOUS),
        (503, BUSY),
    ],
)
def test_takes_a_success_code_only_with_a_200(code, status, expected):
    """On any other status 0, 24 and 25 say nothing, and the status decides."""
    assert expected == in_words(judge(status, {"text": "Success", "code": code}))


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"0",
        b'"Success"',
        b"<html><body>Sign in</body></html>",
        b'{"text":"Success","co',
        b'{"text":"Success","code":0',
        b'{"text":"Success","code":0}}',
        b'[{"text":"Success","code":0}]',
        b'{"code":"0"}',
        b'{"code":0.0}',
        b'{"code":-0.0}',
        b'{"code":false}',
        b'{"code":true}',
        b'{"code":null}',
        b'{"code":[0]}',
        b'{"code":{"code":0}}',
        b'{"Code":0}',
        b'{"text":"Success"}',
        b'{"code":29}',
        b'{"code":200}',
        b'{"code":-1}',
        b'{"code":1e0}',
        b'{"code":' + b"9" * 5000 + b"}",
        b"[" * 60_000,
        b'\xff\xfe{"code":0}',
    ],
)
def test_does_not_take_a_200_for_a_success(reply):
    """A 200 without a code that we know is somebody else's, or cut: the entries may be in or not."""
    assert in_words(judge(200, reply)) == AMBIGUOUS


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, AMBIGUOUS),
        (400, SPLIT),
        (401, KEY),
        (404, HELD),
        (405, HELD),
        (408, BUSY),
        (413, "split oversize"),
        (415, SPLIT),
        (425, BUSY),
        (429, BUSY),
        (500, AMBIGUOUS),
        (501, HELD),
        (503, BUSY),
    ],
)
@pytest.mark.parametrize("reply", [{"text": "not found", "code": 404}, {"text": "x", "code": 99}, b"<html>"])
def test_leaves_an_unknown_code_to_the_status(reply, status, expected):
    """HEC's code can hold an HTTP number, and products that answer like HEC have their own."""
    assert expected == in_words(judge(status, reply))


@pytest.mark.parametrize("code", WITH_NUMBER)
@pytest.mark.parametrize("number", range(COUNT))
def test_sets_the_named_entry_aside(code, number):
    """Number N: those before it are indexed, N is bad, those after it are sent again at once."""
    verdict = judge(400, {"text": "x", "code": code, "invalid-event-number": number})

    assert set(range(number)) == verdict.delivered
    assert {number: f"hec_code_{code}"} == verdict.rejected
    assert (frozenset(), None) == (verdict.simplified, verdict.rest)


@pytest.mark.parametrize("number", range(COUNT))
def test_sends_the_named_entry_again_without_fields(number):
    """Code 15, number N: those before it are indexed, N goes again simplified, the rest at once."""
    verdict = judge(400, {"text": "x", "code": 15, "invalid-event-number": number})

    assert set(range(number)) == verdict.delivered
    assert {number} == verdict.simplified
    assert (dict(verdict.rejected), verdict.rest) == ({}, None)


@pytest.mark.parametrize("number", range(2, COUNT + 1))
def test_holds_from_the_bad_index_on(number):
    """Code 7, number N names the entry after the bad one: 0 to N-2 are indexed, the rest is held."""
    verdict = judge(400, {"text": "Incorrect index", "code": 7, "invalid-event-number": number})

    assert set(range(number - 1)) == verdict.delivered
    assert in_words(verdict.rest) == HELD
    assert ({}, frozenset()) == (dict(verdict.rejected), verdict.simplified)


@pytest.mark.parametrize("number", [0, 1, COUNT + 1, -1, True, "2", 2.0, None, [2], 10**30])
def test_holds_all_when_the_number_of_a_bad_index_frees_none(number):
    """With number 1 the first entry is the bad one; any number out of the batch is nonsense."""
    verdict = judge(400, {"text": "Incorrect index", "code": 7, "invalid-event-number": number})
    assert in_words(verdict) == HELD


@pytest.mark.parametrize("code", [*WITH_NUMBER, 15])
@pytest.mark.parametrize("number", [COUNT, COUNT + 1, -1, 10**30, True, False, "1", 1.0, None, [1], {"n": 1}])
def test_halves_when_the_number_is_nonsense(code, number):
    """Only a JSON integer within the batch counts; true is not 1."""
    verdict = judge(400, {"text": "x", "code": code, "invalid-event-number": number})
    assert (SPLIT, f"hec_code_{code}") == (in_words(verdict), verdict.code)


@pytest.mark.parametrize("is_raw", [False, True])
@pytest.mark.parametrize(
    ("body_bytes", "expected"), [(5_242_881, "split oversize"), (6_000_000, "split oversize")]
)
def test_sees_through_splunk_clouds_oversize_answer(body_bytes, expected, is_raw):
    """Code 6 naming entry 0 on a body over 5,242,880 bytes is about the size."""
    reply = {"text": "Invalid data format", "code": 6, "invalid-event-number": 0}
    assert expected == in_words(judge(400, reply, body_bytes=body_bytes, is_raw=is_raw))


@pytest.mark.parametrize(("number", "body_bytes"), [(0, 5_242_880), (1, 6_000_000)])
def test_believes_the_number_of_a_body_that_is_not_too_large_or_was_read(number, body_bytes):
    """At the limit, or when another entry is named, the named one is bad."""
    reply = {"text": "Invalid data format", "code": 6, "invalid-event-number": number}
    assert {number: "hec_code_6"} == judge(400, reply, body_bytes=body_bytes).rejected


def test_does_not_take_false_for_entry_0_of_a_large_body():
    """False is no number, so nothing is said about the size."""
    reply = {"text": "Invalid data format", "code": 6, "invalid-event-number": False}
    assert in_words(judge(400, reply, body_bytes=6_000_000)) == SPLIT


@pytest.mark.parametrize(("code", "expected"), [(6, SPLIT), (7, HELD), (12, SPLIT), (15, SPLIT)])
def test_believes_no_number_on_the_raw_endpoint(code, expected):
    """There Splunk breaks the text itself, so a number names no entry of ours."""
    reply = {"text": "x", "code": code, "invalid-event-number": 2}
    assert expected == in_words(judge(400, reply, is_raw=True))


def test_does_not_believe_the_number_of_a_busy_server():
    """Sources disagree whether a prefix was taken with code 9, so all of it may be in."""
    reply = {"text": "Server is busy", "code": 9, "invalid-event-number": 2}
    assert in_words(judge(503, reply)) == AMBIGUOUS


def test_reads_the_measured_answer_with_an_ack_id():
    """The body that 10.4.3 gave for a bad second object on a channel with acknowledgment."""
    body = b'{"text":"Invalid data format","code":6,"invalid-event-number":1,"ackId":0}'
    verdict = judge(400, body)
    assert ({0}, {1: "hec_code_6"}) == (verdict.delivered, verdict.rejected)


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (1, "token"),
        (2, "api_key"),
        (3, "api_key"),
        (4, "api_key"),
        (7, "index"),
        (10, "X-Splunk-Request-Channel"),
        (11, "channel"),
        (14, "use_ack"),
        (16, "url"),
        (21, "api_key"),
        (22, "token"),
        (28, "X-Splunk-Request-Channel"),
    ],
)
def test_says_what_to_do_when_it_holds(code, word):
    """A held batch waits for a person, so the reason has to help one."""
    reason = judge(400, {"text": "x", "code": code}).reason
    assert word in reason.partition(":")[2]


def test_quotes_splunks_own_text_on_one_line():
    """The text is a stranger's: bounded and escaped; without one the documented text stands in."""
    assert '("a \\x1b b")' in judge(403, {"text": "a\n\x1b b", "code": 4}).reason
    assert '("Invalid token")' in judge(403, {"text": 4, "code": 4}).reason
    assert len(judge(403, {"text": "x" * 60_000, "code": 4}).reason) < 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
REPLIES = st.binary() | st.fixed_dictionaries(
    {},
    optional={
        "text": JSON,
        "code": st.integers(-1, 30) | JSON,
        "invalid-event-number": st.integers(-2, 9) | JSON,
        "ackId": JSON,
    },
)


@settings(deadline=None)
@given(
    status=st.sampled_from([200, 201, 301, 400, 403, 413, 500, 503]) | st.integers(),
    reply=REPLIES,
    count=st.integers(1, 8),
    body_bytes=st.sampled_from([1, 6_000_000]),
    is_raw=st.booleans(),
)
def test_judges_any_answer_without_raising(status, reply, count, body_bytes, is_raw):
    """Success takes a 200 with a code; a partial verdict names entries of the batch, each once."""
    verdict = judge(status, reply, count=count, body_bytes=body_bytes, is_raw=is_raw)

    if isinstance(verdict, Delivered):
        assert (status, reply["code"] in (0, 24, 25)) == (200, True)
    elif isinstance(verdict, Partly):
        named = [*verdict.delivered, *verdict.rejected, *verdict.simplified]
        assert len(named) == len(set(named))
        assert set(named) <= set(range(count))
        assert named
    else:
        assert not isinstance(verdict, Rejected)
        assert verdict.reason.isprintable()


def judge_with_acks(reply, status=200, count=COUNT):
    response = Response(status, (), json.dumps(reply).encode())
    return interpret_reply(response, count=count, body_bytes=1000, is_raw=False, use_ack=True)


@pytest.mark.parametrize("code", [0, 24, 25])
def test_a_success_with_acknowledgment_is_a_receipt(code):
    """The ackId tells under which number to ask."""
    assert 7 == judge_with_acks({"text": "Success", "code": code, "ackId": 7}).receipt
    assert judge(200, {"text": "Success", "code": code, "ackId": 7}).receipt is None


@pytest.mark.parametrize("code", [0, 24, 25])
@pytest.mark.parametrize(
    "ack", [{}, *({"ackId": value} for value in (None, True, "1", 1.0, -1)), {"ackID": 1}]
)
def test_a_success_without_ack_id_is_held(code, ack):
    """Nothing would ever confirm the entries; the reason names token and remedy."""
    verdict = judge_with_acks({"text": "Success", "code": code, **ack})

    assert isinstance(verdict, Hold)
    assert (True, True) == (verdict.is_ambiguous, verdict.is_about_the_key)
    assert "HEC token" in verdict.reason
    assert "use_ack: false" in verdict.reason


@pytest.mark.parametrize("code", [6, 7, 12, 13, 15])
def test_a_prefix_counts_only_with_its_ack_id(code):
    """With it those entries wait for their acknowledgment, without it they go again."""
    reply = {"text": "x", "code": code, "invalid-event-number": 3}
    before = judge(400, reply).delivered
    verdict = judge_with_acks({**reply, "ackId": 4}, 400)
    doubtful = judge_with_acks(reply, 400)

    assert (before, 4) == (verdict.delivered, verdict.receipt)
    assert (frozenset(), None) == (doubtful.delivered, doubtful.receipt)
    assert doubtful.rest is not None


def test_a_bad_first_entry_needs_no_ack_id():
    """There is nothing before it that could be acknowledged."""
    reply = {"text": "x", "code": 6, "invalid-event-number": 0}
    assert judge(400, reply) == judge_with_acks(reply, 400)


ACK_REPLIES = [
    ({"acks": {"0": True, "1": False, "2": True}}, 200, {0, 2}),
    ({"acks": {}}, 200, set()),
    ({"acks": {"0": 1, "1": "true", "2": None, "-3": True, "x": True, "٤": True, "": True}}, 200, set()),
    ({"acks": {"9" * 5000: True, "5": True}}, 200, {5}),
    ({"acks": [0]}, 200, "200 OK"),
    ({"acks": {"0": True}}, 201, "201 Created"),
    ({"acks": {"0": True}}, 503, "503"),
    ([], 200, "200 OK"),
    ({"text": "ACK is disabled", "code": 14}, 400, "use_ack: false"),
    ({"text": "Invalid token", "code": 4}, 403, "api_key"),
    ({"text": "Server is busy", "code": 9}, 503, "Server is busy"),
    ({"text": "Data channel is missing", "code": 10}, 400, "X-Splunk-Request-Channel"),
]


@pytest.mark.parametrize(("reply", "status", "expected"), ACK_REPLIES)
def test_reads_the_answer_to_a_query(reply, status, expected):
    """Only what is literally true counts; an answer that is none says why."""
    found = read_ack_reply(Response(status, (), json.dumps(reply).encode()))

    if isinstance(expected, str):
        assert isinstance(found, str)
        assert expected in found
    else:
        assert expected == found


@settings(max_examples=200)
@given(status=st.integers(100, 599), body=st.binary(max_size=60))
def test_no_answer_to_a_query_raises(status, body):
    """Whatever stands there is a set or a sentence."""
    assert isinstance(read_ack_reply(Response(status, (), body)), (frozenset, str))
