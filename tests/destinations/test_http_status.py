"""The verdict by HTTP status alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defender_logging.destinations.base import Hold, Response, Retry, Split
from defender_logging.destinations.http_status import (
    OVERSIZE,
    describe_answer,
    json_object,
    one_line,
    verdict_by_status,
)


def judge(status, *, headers=(), body=b""):
    return verdict_by_status(Response(status, headers, body), receiver="Acme", key_remedy="check api_key")


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_tries_again_what_was_not_taken(status):
    """Too busy, or too slow in sending: the same bytes later, and no duplicates from it."""
    verdict = judge(status)
    assert (Retry, False) == (type(verdict), verdict.is_ambiguous)


@pytest.mark.parametrize("status", [500, 502, 504, 506, 507, 508, 511, 520, 599])
def test_tries_again_what_may_have_arrived(status):
    """Another server error can come after the entries were taken, so a further try may make duplicates."""
    verdict = judge(status)
    assert (Retry, True) == (type(verdict), verdict.is_ambiguous)


@pytest.mark.parametrize("status", [200, 201, 202, 203, 204, 206, 207, 260, 299])
def test_never_calls_a_bare_2xx_a_success(status):
    """Who comes here has not found the answer that the vendor gives to entries."""
    verdict = judge(status)
    assert (Retry, True) == (type(verdict), verdict.is_ambiguous)


@pytest.mark.parametrize("status", [-1, 0, 100, 101, 199, 600, 999])
def test_tries_again_after_a_status_that_nobody_knows(status):
    """Garbage after the request says nothing about the entries."""
    verdict = judge(status)
    assert (Retry, True) == (type(verdict), verdict.is_ambiguous)


@pytest.mark.parametrize("status", [400, 406, 415, 422])
def test_looks_for_the_bad_entry(status):
    """These four speak of the content: halve, and count one that fails alone under the status."""
    verdict = judge(status)
    assert (Split, f"http_{status}", False) == (type(verdict), verdict.code, verdict.is_oversize)


def test_halves_what_is_too_large():
    """413 is about the size."""
    verdict = judge(413)
    assert (Split, OVERSIZE, True) == (type(verdict), verdict.code, verdict.is_oversize)


@pytest.mark.parametrize("status", [401, 403])
def test_holds_for_the_key(status):
    """A refused key is read again; the entries are kept."""
    assert judge(status).is_about_the_key is True
    assert "check api_key" in judge(status).reason


@pytest.mark.parametrize(
    "status",
    [
        *(300, 301, 302, 303, 304, 307, 308, 399, 402, 404, 405, 407, 409, 410, 411, 414, 416, 417, 418, 421),
        *(423, 424, 426, 428, 431, 451, 499, 501, 505),
    ],
)
def test_holds_for_an_address_or_a_setting(status):
    """All that is neither the entries' fault nor soon over is kept, whatever it takes."""
    verdict = judge(status)
    assert (Hold, False) == (type(verdict), verdict.is_about_the_key)


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (404, "path of url"),
        (405, "path of url"),
        (407, "proxy_url"),
        (501, "url"),
        (418, "url"),
        (402, "quota"),
    ],
)
def test_says_what_to_do(status, remedy):
    """A reason names the status and the remedy."""
    assert f"Acme answered {status}" in judge(status).reason
    assert remedy in judge(status).reason


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://login.example/path?session=secret", "points to login.example,"),
        ("https://user:secret@LOGIN.example:8443/", "points to login.example,"),
        ("/login?session=secret", "points to another place,"),
        ("https://[broken", "points to another place,"),
        ("", "points to another place,"),
    ],
)
def test_names_only_the_host_of_a_redirect(location, expected):
    """Path, query and user of the place that a redirect points to may be secret."""
    reason = judge(302, headers=(("location", location),)).reason
    assert expected in reason
    assert "secret" not in reason


def test_quotes_the_receivers_own_words():
    """Status, phrase and words stand on one line."""
    response = Response(403, body=b'{"errors":\n [{"detail": "Forbidden"}]}\n')
    assert describe_answer(response) == '403 Forbidden ("{"errors": [{"detail": "Forbidden"}]}")'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        (" a\r\n\tb  c ", "a b c"),
        ("red \x1b[31m alert \x07", "red \\x1b[31m alert \\x07"),
        ("nul \x00, bidi \u202e, bom \ufeff", "nul \\x00, bidi \\u202e, bom \\ufeff"),
        ("lone \ud800", "lone \\ud800"),
        ("Zürich", "Zürich"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        ("\x00" * 60, ("\\x00" * 50)[:199] + "…"),
    ],
)
def test_makes_a_strangers_text_safe_to_show(text, expected):
    """One line of at most 200 characters, all of them printable."""
    assert expected == one_line(text)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", {}),
        (b' {"a": 1}\n', {"a": 1}),
        (b"", None),
        (b"[1]", None),
        (b'"text"', None),
        (b'{"a": 1', None),
        (b'{"a": 1}{"a": 1}', None),
        (b"<html></html>", None),
        (b'{"a": "\xff"}', None),
        (b"[" * 60_000, None),
        (b'{"a":' * 10_000, None),
    ],
)
def test_reads_a_json_object_or_nothing(body, expected):
    """Whatever else the body is, it is None and never an exception."""
    assert expected == json_object(body)


@settings(deadline=None)
@given(
    status=st.integers(),
    headers=st.lists(st.tuples(st.sampled_from(["location", "date", "x"]), st.text())).map(tuple),
    body=st.binary(),
)
def test_never_raises_and_never_delivers(status, headers, body):
    """Any answer gets one of three verdicts, with a reason of one bounded line."""
    verdict = verdict_by_status(Response(status, headers, body), receiver="Acme", key_remedy="check api_key")

    assert isinstance(verdict, (Hold, Retry, Split))
    assert verdict.reason.isprintable()
    assert len(verdict.reason) < 1000


@pytest.mark.parametrize(
    "words",
    [
        "The SSL certificate error",
        "No required SSL certificate was sent",
        "The plain HTTP request was sent to HTTPS port",
    ],
)
def test_holds_when_nginx_refuses_the_connection(words):
    """It says 400 for a missing client certificate: the entries are not to blame, and none is given up."""
    page = f"<html>\r\n<head><title>400 {words}</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>"
    page += f"\r\n<center>{words}</center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
    verdict = judge(400, body=page.encode())

    assert isinstance(verdict, Hold)
    assert "client_cert_file" in verdict.reason
    assert isinstance(judge(400, body=b'{"error": "No required SSL certificate was sent"}'), Split)
