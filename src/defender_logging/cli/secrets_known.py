"""Collects the keys that a configuration holds or refers to, so that nothing printed can show one.

Our own texts never have a key; but a receiver may echo it in its answer, and somebody's factory in an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from defender_logging.secret import resolve_reference

_KEYS = ("api_key", "integrity_key")
_ADDRESSES = ("url", "proxy_url")
_MIN_PATH_CHARACTERS = 16
_MIN_HEADER_CHARACTERS = 12
"""Other headers hold tenants and content types more often than keys; those are short."""


def secrets_in(handlers: Mapping[str, Any]) -> Iterator[str]:
    """Yield each key in the handler blocks of a configuration, references followed."""
    for block in handlers.values():
        if isinstance(block, Mapping):
            for name in _KEYS:
                yield from _resolved(block.get(name))
            yield from (v for v in _resolved(block.get("headers")) if len(v) >= _MIN_HEADER_CHARACTERS)
            for name in _ADDRESSES:
                for value in _resolved(block.get(name)):
                    yield from _in_address(value)


def _resolved(value: object) -> Iterator[str]:
    """Yield a text, or those of a mapping, as sent and without a prefix such as «Splunk » or «Bearer »."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _resolved(item)
    elif isinstance(value, str):
        with contextlib.suppress(ValueError):  # A reference to nowhere is told where the handler is made.
            text = resolve_reference(value).strip()
            yield text
            yield text.rpartition(" ")[2]


def _in_address(address: str) -> Iterator[str]:
    """Yield the password, the query, and what in the path is long enough for a key, as those of web hooks are."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(address)
        yield parts.query
        yield from (part for part in parts.path.split("/") if len(part) >= _MIN_PATH_CHARACTERS)
        if parts.password:
            yield parts.password
            yield unquote(parts.password)
