"""Reads one value of a setting: each function takes what the user wrote and returns what the code uses.

They raise ``ValueError`` with the rest of a sentence that begins with the setting's name: what is wrong with
the value (never a secret) and what to do.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from defender_logging.secret import Secret, Url, resolve_reference
from defender_logging.severity import Severity

__all__ = [
    "byte_count",
    "choice",
    "count",
    "existing_file",
    "fingerprint",
    "flag",
    "header_value",
    "level",
    "nearest",
    "proxy_url",
    "seconds",
    "secret",
    "tags",
    "text",
    "token",
    "url",
]

MAX_KEY_CHARACTERS = 4_096
"""Longer than any vendor's key; what is longer is a file named by mistake."""

MAX_SHOWN_PATH_CHARACTERS = 120
"""What is longer may be a key instead of the path of its file; the shortest private key in base64 has 164."""

MAX_SECONDS = 1_000_000_000
"""Some thirty years: means never, and still fits into the clocks of all systems (a socket's takes 9.2e9)."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VISIBLE = re.compile(r"[\x21-\x7e]+(?: +[\x21-\x7e]+)*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def nearest(word: str, words: Iterable[str]) -> str:
    """Return «; did you mean …?» for a word that is nearly one of ``words``, else nothing."""
    close = get_close_matches(word.lower(), list(words), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def seconds(*, may_be_zero: bool = False) -> Callable[[object], float]:
    """Make a reader of a length of time."""
    least = "0 or more" if may_be_zero else "more than 0"

    def read(value: object) -> float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= MAX_SECONDS or (value == 0 and not may_be_zero):  # type: ignore[operator]
            raise ValueError(f"is {value!r}; give a number of seconds, {least}, at most {MAX_SECONDS}")
        return float(value)  # type: ignore[arg-type]

    return read


def count(what: str, most: int | None = None) -> Callable[[object], int]:
    """Make a reader of a whole number from 1 to ``most`` (None: no bound)."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"is {value!r}; give a whole number of {what}, 1 or more")
        if most is not None and value > most:
            raise ValueError(f"is {value}, above this destination's limit of {most}; choose {most} or less")
        return value

    return read


def byte_count(most: int | None = None) -> Callable[[object], int]:
    """Make a reader of a size."""
    return count("bytes", most)


def flag(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"is {value!r}; give true or false")
    return value


def choice(*words: str) -> Callable[[object], str]:
    """Make a reader of one of ``words``."""

    def read(value: object) -> str:
        if value not in words:
            hint = nearest(value, words) if isinstance(value, str) else ""
            raise ValueError(f"is {value!r}{hint or ';'} choose from {', '.join(words)}")
        return str(value)

    return read


def text(value: object) -> str:
    """Read one line of text."""
    if not isinstance(value, str) or not value.strip() or _CONTROL.search(value):
        raise ValueError(f"is {value!r}; give one line of text, or leave it out")
    return value


def tags(value: object) -> tuple[str, ...]:
    """Read tags: a list of ``key:value``, or a mapping."""
    if isinstance(value, Mapping):
        value = [f"{key}:{item}" for key, item in value.items()]
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"is {value!r}; give a list of 'key:value' or a mapping")
    read = []
    for tag in value:
        if not isinstance(tag, str) or not tag.strip() or "," in tag or _CONTROL.search(tag):
            raise ValueError(f"has {tag!r}; each tag is 'key:value', one line without commas")
        read.append(tag.strip())
    return tuple(read)


def level(value: object) -> int:
    """Read a level of the logging module: its number, its name, or one of ours such as ``trace``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        number: Any = logging.getLevelName(value.upper())
        if isinstance(number, int):
            return number
        try:
            return Severity.parse(value).levelno
        except ValueError:
            pass
    raise ValueError(f"is {value!r}; give a level such as 'INFO' or its number")


def token(value: object) -> str:
    """Read the name of a header."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        # Not shown when it may be a whole header, «X-Api-Key: the-key», or a key that stands in the wrong place.
        what = "is not a name" if isinstance(value, str) and re.search("[: ]", value) else f"is {value!r}"
        raise ValueError(f"{what}; a header name has letters, digits and hyphens only, such as 'X-Api-Key'")
    return value


def header_value(value: str) -> str:
    """Check a key (never shown) for what a header can carry; returns it unchanged."""
    if not value:
        raise ValueError("is empty; give the key, or leave it out")
    if len(value) > MAX_KEY_CHARACTERS:
        raise ValueError(
            f"has {len(value)} characters, more than any key ({MAX_KEY_CHARACTERS}); give the key alone"
        )
    if not _VISIBLE.fullmatch(value):
        raise ValueError(
            "has characters that a header cannot carry (line breaks, control characters, letters beyond ASCII, "
            "or blanks at an end); give the key alone, on one line"
        )
    return value


def secret(check: Callable[[str], str] = header_value) -> Callable[[object], Secret]:
    """Make a reader of a key: ``env:NAME``, ``file:PATH`` or the key itself."""

    def read(value: object) -> Secret:
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str):
            raise ValueError(
                f"is of type {type(value).__name__}; give 'env:NAME', 'file:PATH' or the key as text"
            )
        return Secret(value, check)

    return read


def url(value: object) -> Url:
    """Read the address; ``env:NAME`` and ``file:PATH`` are followed."""
    if not isinstance(value, str):
        raise ValueError(f"is of type {type(value).__name__}; give 'https://host:port/path' as text")
    return Url(resolve_reference(value))


def proxy_url(value: object) -> Url:
    """Read the address of a proxy, which may carry ``user:password@``."""
    if not isinstance(value, str):
        raise ValueError(f"is of type {type(value).__name__}; give 'http://host:port' as text")
    proxy = Url(resolve_reference(value), may_have_user=True)
    if proxy.scheme != "http":
        raise ValueError(
            "is an https:// proxy; only http:// proxies are spoken to (the tunnel inside is encrypted)"
        )
    return proxy


def fingerprint(value: object) -> str:
    """Read the SHA-256 of a certificate: 64 hexadecimal digits, any case, colons allowed."""
    digits = value.replace(":", "").lower() if isinstance(value, str) else ""
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise ValueError(
            f"is {value!r}; give the 64 hexadecimal digits of the certificate's SHA-256 "
            "(openssl x509 -noout -fingerprint -sha256)"
        )
    return digits


def existing_file(value: object) -> str:
    """Read the path of a file that is there."""
    problem = "is not a file; check the path"
    try:
        if isinstance(value, str) and Path(value).is_file():
            return value
    # A folder that may not be entered, a part that is too long, a NUL.
    except (OSError, ValueError) as error:
        problem = f"cannot be looked at ({type(error).__name__}); check the path and its permissions"
    if isinstance(value, str) and (
        "\n" in value or "-----BEGIN" in value or len(value) > MAX_SHOWN_PATH_CHARACTERS
    ):
        raise ValueError(
            f"(not shown, as it may be a key) {problem}; give the path of the file, not what is in it"
        )
    raise ValueError(f"is {value!r}, which {problem}")
