"""Judges an answer by its HTTP status, where the vendor's own rules leave it open.

A destination's ``interpret`` comes here with every answer that it does not know for a success or by a code of
its own; the verdict goes on to ``delivery``. Guaranteed: no status, header or body raises, nothing is called
delivered here, and every reason is one line of bounded length. A receiver may echo the key in its words: who
shows a reason has to mask the key, which is not known here.

Source: RFC 9110 section 15, and what Vector (src/sinks/util/http.rs), the OpenTelemetry Collector and
Fluent Bit (plugins/out_splunk/splunk.c) retry; where they give an entry up, we keep it.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from defender_logging.destinations.base import Hold, Response, Retry, Split, Verdict

__all__ = ["OVERSIZE", "describe_answer", "json_object", "one_line", "verdict_by_status"]

OVERSIZE = "oversize"
"""The word that an entry is counted under when the receiver finds it too large even alone."""

_MAX_WORDS = 200
_TOO_LARGE = 413
_ABOUT_THE_ENTRIES = frozenset({400, 406, 415, 422})
_ABOUT_THE_KEY = frozenset({401, 403})
_BUSY = frozenset({408, 425, 429, 503})
"""Said before the request was taken, so trying again makes no duplicates."""
_NEVER_TAKEN = frozenset({501, 505})
"""The only server errors that the same request will meet for ever."""

_NGINX_TLS_PAGES = (
    b"<center>The SSL certificate error</center>",
    b"<center>No required SSL certificate was sent</center>",
    b"<center>The plain HTTP request was sent to HTTPS port</center>",
)
"""It shows its own statuses 495 to 497 as 400 and says them in the page alone: no entry is to blame.

Source: nginx, src/http/ngx_http_special_response.c.
"""

_NGINX_TLS_REMEDY = (
    "an nginx before the receiver refuses the connection; check client_cert_file, and https in url"
)

_HOLD_REMEDIES = {
    402: "the plan's quota is used up, or unpaid; see to it at the receiver",
    404: "nobody listens at this path; check the path of url",
    405: "this path takes no POST; check the path of url",
    407: "the proxy wants a user and a password; put them into proxy_url",
    410: "the address was given up; check url",
    501: "this server takes no POST; check url and proxy_url",
    505: "this server speaks no HTTP/1.1; check url and proxy_url",
}


def verdict_by_status(response: Response, *, receiver: str, key_remedy: str) -> Verdict:
    """Judge by status: never delivered, because that takes more than a status.

    Args:
        response: the answer.
        receiver: who speaks, as the reasons name it (``Splunk``).
        key_remedy: what to do about a refused key.

    """
    status = response.status
    said = f"{receiver} answered {describe_answer(response)}"
    if status == _TOO_LARGE:
        return Split(f"{said}: the request is too large; it is halved.", OVERSIZE, is_oversize=True)
    if status == 400 and any(page in response.body for page in _NGINX_TLS_PAGES):  # noqa: PLR2004 - Bad Request
        return Hold(f"{said}: {_NGINX_TLS_REMEDY}.")
    if status in _ABOUT_THE_ENTRIES:
        return Split(f"{said}: an entry is not to its liking; halving finds it.", f"http_{status}")
    if status in _ABOUT_THE_KEY:
        return Hold(f"{said}: {key_remedy}.", is_about_the_key=True)
    if (300 <= status < 500 and status not in _BUSY) or status in _NEVER_TAKEN:  # noqa: PLR2004 - 3xx and 4xx
        return Hold(f"{said}: {_hold_remedy(response)}.")
    return Retry(f"{said}: {_retry_prospect(status)}.", is_ambiguous=status not in _BUSY)


def describe_answer(response: Response) -> str:
    """Status, its usual phrase and the receiver's own words on one line: ``403 Forbidden ("bad key")``."""
    try:
        phrase = f" {HTTPStatus(response.status).phrase}"
    except ValueError:
        phrase = ""
    words = one_line(response.body[: 4 * _MAX_WORDS].decode("utf-8", "replace"))
    return f"{response.status}{phrase}" + (f' ("{words}")' if words else "")


def one_line(text: str) -> str:
    """Make a stranger's text safe to show: one line, nothing unprintable, at most 200 characters."""
    text = " ".join(text[: 4 * _MAX_WORDS].split())
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text if len(text) <= _MAX_WORDS else f"{text[: _MAX_WORDS - 1]}…"


def json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object that the body is; None when it is anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, an integer of 5000 digits; nested too deep
        return None
    return value if isinstance(value, dict) else None


def _hold_remedy(response: Response) -> str:
    if response.status < 400:  # noqa: PLR2004 - 3xx
        return (
            f"it points to {_redirect_host(response)}, and no redirect is followed, so that the key reaches "
            "no other host; check url"
        )
    return _HOLD_REMEDIES.get(response.status, "check url and the receiver's own settings")


def _redirect_host(response: Response) -> str:
    """Only the host: path and query of a redirect may carry a session or a key."""
    for location in response.header_values("location"):
        try:
            host = urlsplit(location).hostname
        except ValueError:
            continue
        if host:
            return one_line(host)
    return "another place"


def _retry_prospect(status: int) -> str:
    if status in _BUSY:
        return "it cannot take entries now; they are sent again"
    if 200 <= status < 300:  # noqa: PLR2004 - 2xx
        return (
            "that is not how it accepts entries, so something else may have answered in its place; they are "
            "sent again; check url and proxy_url if this stays"
        )
    return "the entries may have arrived all the same; they are sent again, with the same ids"
