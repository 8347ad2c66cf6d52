"""Reads how long a receiver asks to be left alone.

``delivery`` asks after each answer that is not a success; what comes out is capped there and holds for the
whole destination. Only what RFC 9110 section 10.2.3 allows counts (digits, or an HTTP-date of section
5.6.7); anything else is as if it were not there, so that a broken header can never park a queue.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timezone

from defender_logging.destinations.base import Response

__all__ = ["retry_after_seconds"]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WEEKDAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME = "(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"

# time.strptime reads the names of days and months in the user's language, and email.utils takes far more than
# an HTTP-date (offsets, names of American zones, no time at all). So the three forms are spelled out.
_HTTP_DATES = (
    re.compile(f"{_WEEKDAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    re.compile(
        "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, "
        f"(?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"
    ),
    re.compile(f"{_WEEKDAY} {_MONTH} (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)
_DIGITS = re.compile("[0-9]+")


def retry_after_seconds(response: Response, *, now_unix_seconds: float) -> float | None:
    """The longest wait that a valid ``Retry-After`` of the response asks for, at least 0; not capped.

    A date is compared with the response's own ``Date`` where that is valid: either clock may be wrong, but
    the receiver's agrees with itself.

    Returns:
        Seconds from now (infinite for an absurd number of digits), or None when no header is valid.

    """
    now = _first_date(response.header_values("date"), now_unix_seconds)
    waits = [
        _wait_seconds(value.strip(" \t"), now_unix_seconds if now is None else now)
        for value in response.header_values("retry-after")
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def _wait_seconds(text: str, now_unix_seconds: float) -> float | None:
    # float, not int: from 3.11 on int() refuses more than 4300 digits.
    if _DIGITS.fullmatch(text):
        return float(text)
    moment = _unix_seconds(text, now_unix_seconds)
    return None if moment is None else max(0.0, moment - now_unix_seconds)


def _first_date(texts: Iterable[str], now_unix_seconds: float) -> float | None:
    moments = (_unix_seconds(text.strip(" \t"), now_unix_seconds) for text in texts)
    return next((moment for moment in moments if moment is not None), None)


def _unix_seconds(text: str, now_unix_seconds: float) -> float | None:
    match = next(filter(None, (form.fullmatch(text) for form in _HTTP_DATES)), None)
    if match is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:  # noqa: PLR2004 - the two digits of RFC 850
        year = _full_year(year, datetime.fromtimestamp(now_unix_seconds, timezone.utc).year)
    try:
        moment = datetime(
            year,
            _MONTHS.index(match["month"]) + 1,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            min(int(match["second"]), 59),  # a leap second is valid, but datetime knows none
            tzinfo=timezone.utc,
        )
    except ValueError:  # 31 Feb
        return None
    return moment.timestamp()


def _full_year(two_digits: int, current_year: int) -> int:
    """RFC 9110 section 5.6.7: the latest year with these two digits that is at most 50 years ahead."""
    latest = current_year + 50
    return latest - (latest - two_digits) % 100
