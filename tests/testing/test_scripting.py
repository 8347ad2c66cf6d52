"""Answers out of the ordinary, and the order they are used in."""

from __future__ import annotations

import pytest

from defender_logging.testing import Answer
from defender_logging.testing.exchange import Response
from defender_logging.testing.scripting import Script

ONE, TWO, THREE = Answer(status=501), Answer(status=502), Answer(status=503)
ORDINARY = Answer()


def test_answers_are_used_up_in_order():
    """Queued answers come once each, in order, then the ordinary one."""
    script = Script()
    script.add([ONE, TWO], "")

    assert [script.take("/a") for _ in range(3)] == [ONE, TWO, ORDINARY]


def test_a_path_takes_only_its_own_answers():
    """An answer for a path waits in the queue while others pass."""
    script = Script()
    script.add([ONE], "/services")
    script.add([TWO], "")

    assert [script.take(path) for path in ("/api", "/api", "/services/collector")] == [TWO, ORDINARY, ONE]
    assert len(script) == 0


def test_always_holds_after_the_queue_and_the_longest_path_wins():
    """``always`` comes after the queue, the more precise path first, and a second one replaces the first."""
    script = Script()
    script.always(ONE, "/a")
    script.always(TWO, "")
    script.always(THREE, "/a")
    script.add([ONE], "/a")

    assert [script.take(path) for path in ("/a", "/a", "/a", "/b")] == [ONE, THREE, THREE, TWO]
    script.clear()
    assert script.take("/a") == ORDINARY


def test_only_a_cut_before_the_request_is_taken_unasked():
    """At the opening of a connection only an answer that cuts there is used, when it is the next one."""
    script = Script()
    cut = Answer(cut_at="before_request")
    script.add([ONE, cut], "")

    assert script.take_before_request() is None
    script.take("/")
    assert cut is script.take_before_request()
    assert script.take_before_request() is None
    script.always(cut, "/a")
    assert script.take_before_request() is None
    script.always(cut, "")
    script.always(ONE, "/a")
    assert script.take("/b") is cut


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"cut_at": "somewhere"}, "cut_at"),
        ({"cut_with": "scissors"}, "cut_with"),
        ({"cut_at": "after_headers", "takes_entries": True}, "takes_entries"),
        ({"body": b"x"}, "status"),
        ({"delay_seconds": -1}, "delay_seconds"),
        ({"drip_seconds": -1}, "drip_seconds"),
    ],
)
def test_contradictions_are_refused(options, word):
    """An answer that could never happen cannot be made."""
    with pytest.raises(ValueError, match=word):
        Answer(**options)


@pytest.mark.parametrize(
    ("answer", "response"),
    [
        (Answer(), Response(200, (("a", "1"),), b"v")),
        (Answer(headers={"A": "2", "B": "3"}), Response(200, (("a", "2"), ("b", "3")), b"v")),
        (Answer(status=503), Response(503)),
        (Answer(status=503, body="é"), Response(503, (), "é".encode())),
        (Answer(status=200, body={}), Response(200, (("content-type", "application/json"),), b"{}")),
        (
            Answer(status=200, body=[], headers={"Content-Type": "x/y"}),
            Response(200, (("content-type", "x/y"),), b"[]"),
        ),
        (Answer(status=503, headers=[("A", "1"), ("A", "2")]), Response(503, (("a", "1"), ("a", "2")))),
    ],
)
def test_response(answer, response):
    """Without a status the vendor's answer gets the headers; with one it is replaced."""
    assert response == answer.applied_to(Response(200, (("a", "1"),), b"v"))


@pytest.mark.parametrize(
    ("answer", "asks"),
    [
        (Answer(), True),
        (Answer(status=503), False),
        (Answer(status=503, takes_entries=True), True),
        (Answer(cut_at="after_body"), True),
        (Answer(cut_at="after_body", takes_entries=False), False),
        (Answer(cut_at="after_headers"), False),
        (Answer(takes_entries=False), True),
        (Answer(raw=b"x", takes_entries=False), False),
    ],
)
def test_vendor_is_asked_only_when_it_matters(answer, asks):
    """The vendor's rules run when their answer or their entries are used."""
    assert asks == answer.asks_vendor
