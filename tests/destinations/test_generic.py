"""Any endpoint that takes JSON: framing, headers, answers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defender_logging._pipeline.entry import Fields
from defender_logging.destinations.base import Delivered, Hold, Rejected, Response, Retry, Split
from defender_logging.destinations.generic import GenericDestination, check_header

TAIL = b',"id":"s-1","stream":"s","seq":1'
VALUES = {"time": "2026-07-01T12:00:00.000000Z", "level": "info", "message": "a\nb", "schema": "1"}


def request_of(lines=(b"{}",), **settings):
    destination = GenericDestination(target="/in", **settings)
    return destination.build_request(lines, now_unix_seconds=0.0)


def judge(status, body=b""):
    return GenericDestination(target="/in").interpret(Response(status, (), body), count=3, body_bytes=100)


def test_sends_the_entry_as_it_is():
    """The number goes in at the end; nothing is renamed."""
    draft = GenericDestination(target="/in").encode(Fields(dict(VALUES), 0, 20))
    line = draft.head + TAIL + draft.foot

    assert json.loads(line) == VALUES | {"id": "s-1", "stream": "s", "seq": 1}
    assert b"\n" not in line


@pytest.mark.parametrize("count", [1, 2, 3])
def test_frames_an_array(count):
    """One JSON array, in order."""
    lines = [b'{"n":%d}' % n for n in range(count)]
    request = request_of(lines)
    assert [{"n": n} for n in range(count)] == json.loads(request.body)
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_frames_ndjson(count):
    """One object a line, each line ended."""
    lines = [b'{"n":%d}' % n for n in range(count)]
    request = request_of(lines, body="ndjson")
    assert b"".join(line + b"\n" for line in lines) == request.body
    assert request.headers["Content-Type"] == "application/x-ndjson"


def test_refuses_another_framing():
    """The message names the choice."""
    with pytest.raises(ValueError, match="'xml'; choose one of json_array, ndjson"):
        GenericDestination(target="/in", body="xml")


def test_lets_the_users_headers_win():
    """Whatever the case of the name; none is sent twice."""
    headers = {"content-type": "application/stream+json", "X-Scope-OrgID": "tenant-1"}
    assert {"Accept": "application/json", **headers} == request_of(headers=headers).headers


@pytest.mark.parametrize(("target", "expected"), [("", "/"), ("?k=1", "/?k=1"), ("/a?b=c", "/a?b=c")])
def test_takes_the_path_as_it_is(target, expected):
    """Only an empty one becomes the root."""
    assert expected == GenericDestination(target=target).build_request([b"{}"], now_unix_seconds=0).target


@pytest.mark.parametrize("status", [200, 201, 202, 204])
@pytest.mark.parametrize("body", [b"", b"ok", b"{}", b'{"html":"<html>"}', b"<response/>", b"<htmlish/>"])
def test_takes_four_statuses_for_success(status, body):
    """What the receiver says beside it does not matter."""
    assert Delivered() == judge(status, body)


@pytest.mark.parametrize(
    "body", [b"<html>", b"<!DOCTYPE html><p>", b"\xef\xbb\xbf\r\n <HTML lang=en>", b"<!doctype\nhtml >"]
)
def test_does_not_take_a_web_page_for_success(body):
    """A captive portal answers 200 to everything."""
    verdict = judge(200, body)
    assert (Retry, True) == (type(verdict), verdict.is_ambiguous)
    assert "url" in verdict.reason


@pytest.mark.parametrize("status", [203, 205, 206, 207, 226, 260, 299])
def test_tries_again_after_any_other_2xx(status):
    """Loki answers 260 for a blocked tenant."""
    verdict = judge(status)
    assert (Retry, True) == (type(verdict), verdict.is_ambiguous)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, Hold),
        (400, Split),
        (401, Hold),
        (403, Hold),
        (404, Hold),
        (413, Split),
        (429, Retry),
        (500, Retry),
    ],
)
def test_leaves_the_rest_to_the_status(status, expected):
    """Nothing else is known about the receiver."""
    assert expected is type(judge(status))


@settings(deadline=None)
@given(status=st.sampled_from([200, 204, 400]) | st.integers(), body=st.binary())
def test_judges_any_answer_without_raising(status, body):
    """Only the four are success, and nothing is rejected whole."""
    verdict = judge(status, body)
    assert not isinstance(verdict, Rejected)
    assert not isinstance(verdict, Delivered) or status in (200, 201, 202, 204)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Scope-OrgID", "tenant-1"),
        ("content-type", "application/json; charset=utf-8"),
        ("x!#$%&'*+-.^_`|~9", "!"),
        ("A", "~ ~"),
    ],
)
def test_accepts_a_header(name, value):
    """A token, and visible ASCII with inner blanks."""
    assert (name, value) == check_header(name, value)


@pytest.mark.parametrize("name", ["", " ", "a b", "a:", "naïve", "a\n", "a\x00", "(a)", "a,b", None, 7, b"a"])
def test_refuses_a_name_that_is_no_token(name):
    """http.client would take some of them."""
    with pytest.raises(ValueError, match="header name"):
        check_header(name, "value")


@pytest.mark.parametrize("name", ["X-Key: hush", "X-Key:hush", "Authorization=Bearer hush"])
def test_does_not_show_a_key_that_stands_in_a_name(name):
    """A whole header in one text."""
    with pytest.raises(ValueError, match=r"\(not shown\) is not one") as caught:
        check_header(name, "")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    ["", " ", " hush", "hush ", "hush\n", "hu\r\nsh", "hush\x00", "hush\t1", "hush\x7f", "hushé", None, 7],
)
def test_refuses_a_value_that_cannot_travel(value):
    """The message names the header and does not show the value."""
    with pytest.raises(ValueError, match="'X-Key'") as caught:
        check_header("X-Key", value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Host",
            "content-length",
            "Transfer-Encoding",
            "CONTENT-ENCODING",
            "Accept-Encoding",
            "Expect",
            "TE",
        ),
        *("Connection", "Keep-Alive", "Proxy-Connection", "Trailer", "Upgrade", "Proxy-Authorization"),
    ],
)
def test_refuses_headers_that_are_the_senders(name):
    """In any case of the name, with the reason."""
    with pytest.raises(ValueError, match=f"'{name}' cannot be set: .+"):
        check_header(name, "x")


def test_starts_below_the_strictest_known_service():
    """1000 entries and 1 MB unless set, and much more when set."""
    limits = GenericDestination(target="/").limits
    assert (
        limits.default_batch_entries,
        limits.default_batch_bytes,
        limits.max_entry_bytes,
    ) == (1000, 1_000_000, 1_000_000)
    assert limits.max_batch_entries > 1000


def test_leaves_the_callers_names_and_lines_alone():
    """No name is reserved, and nothing can be simplified."""
    destination = GenericDestination(target="/")
    assert (frozenset(), b"{}") == (destination.reserved_names, destination.simplify(b"{}"))


def test_shows_neither_url_nor_headers_in_its_repr():
    """Both may hold secrets."""
    assert "hush" not in repr(GenericDestination(target="/hush", headers={"X": "hush"}))
