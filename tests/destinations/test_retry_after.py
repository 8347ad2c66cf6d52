"""How long a receiver asks to be left alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defender_logging.destinations.base import Response
from defender_logging.destinations.retry_after import retry_after_seconds

# Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
NOW = 784_111_777.0


def wait(*values, dates=(), now=NOW):
    headers = [("date", date) for date in dates] + [("retry-after", value) for value in values]
    return retry_after_seconds(Response(503, tuple(headers)), now_unix_seconds=now)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 120\t", 120.0),
        ("007", 7.0),
        ("31536000", 31_536_000.0),
        ("9" * 5000, float("inf")),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("Sat Nov 12 08:49:37 1994", 518_400.0),
        ("Sun, 06 Nov 1994 08:49:07 GMT", 0.0),
        ("Sunday, 06-Nov-44 08:49:37 GMT", 1_577_923_200.0),
        ("Sunday, 06-Nov-45 08:49:37 GMT", 0.0),
        ("Sat, 31 Dec 1994 23:59:60 GMT", 4_806_622.0),
    ],
)
def test_takes_digits_and_http_dates(value, expected):
    """Both forms of RFC 9110 count, in all three ways to write a date; a past date means no wait."""
    assert expected == wait(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "-1",
        "+5",
        "1.5",
        "1e3",
        "0x10",
        "١٢",
        "5 s",
        "1, 5",
        "soon",
        "NaN",
        "Sun, 06 Nov 1994 08:50:37 +0000",
        "Sun, 06 Nov 1994 08:50:37 EST",
        "Sun, 06 Nov 1994 08:50:37",
        "Sun, 6 Nov 1994 08:50:37 GMT",
        "Sun, 06 Nov 94 08:50:37 GMT",
        "Sun, 06 nov 1994 08:50:37 GMT",
        "Sun, 31 Feb 1994 08:50:37 GMT",
        "Sun, 06 Nov 0000 08:50:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "06 Nov 1994 08:50:37 GMT",
        "1994-11-06T08:50:37Z",
        "Sun Nov   6 08:50:37 1994 GMT",
    ],
)
def test_ignores_everything_else(value):
    """Negative, fractional and unparsable values are as if they were not there."""
    assert wait(value) is None


def test_says_none_without_a_header():
    """No header, no wait."""
    assert wait() is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("5", "30", "10"), 30.0),
        (("soon", "5", "-90"), 5.0),
        (("5", "Sun, 06 Nov 1994 08:50:37 GMT"), 60.0),
        (("soon", "later"), None),
    ],
)
def test_takes_the_largest_valid_one_of_several(values, expected):
    """Invalid ones beside it do not count."""
    assert expected == wait(*values)


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (("Sun, 06 Nov 1994 08:50:07 GMT",), 30.0),
        (("Mon, 07 Nov 1994 08:50:37 GMT",), 0.0),
        (("yesterday",), 60.0),
        (("yesterday", "Sun, 06 Nov 1994 08:50:07 GMT"), 30.0),
        ((), 60.0),
    ],
)
def test_compares_a_date_with_the_receivers_own_clock(dates, expected):
    """The response's Date, if valid, is the receiver's now; else it is ours."""
    assert expected == wait("Sun, 06 Nov 1994 08:50:37 GMT", dates=dates)


def test_leaves_digits_alone_whatever_the_date_says():
    """Seconds count from now on, whoever is right about the time."""
    assert wait("7", dates=["Mon, 07 Nov 2044 08:50:37 GMT"]) == 7.0


@settings(deadline=None)
@given(values=st.lists(st.text()), dates=st.lists(st.text()))
def test_never_raises(values, dates):
    """Any header gives a wait of at least 0, or None."""
    seconds = wait(*values, dates=dates)
    assert seconds is None or seconds >= 0
