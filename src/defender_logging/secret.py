"""Keys and addresses, wrapped so that nothing that prints an object can show them.

``Secret`` holds a key or the reference to one (``env:NAME``, ``file:PATH``), ``Url`` an address whose path or
query may itself be a key. Their ``repr`` and ``str`` are masked, they cannot be pickled, and they have no
``__dict__``; only the transport calls ``reveal()``, at the moment of sending.
"""

from __future__ import annotations

import base64
import hashlib
import html
import ipaddress
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote, unquote, urlsplit

__all__ = ["Secret", "SecretText", "Url", "is_open_to_all", "resolve_reference"]

MIN_MASKED_CHARACTERS = 6
"""Shorter «keys» are words, and masking them would make answers unreadable."""

MIN_SECRET_SEGMENT_CHARACTERS = 16
"""A shorter part of a path is a word, such as ``collector``."""

_DIGEST_KEY = secrets.token_bytes(32)


def resolve_reference(text: str) -> str:
    """Return the value that ``env:NAME`` or ``file:PATH`` stands for, or ``text`` itself.

    One newline at the end of a file is left out.

    Raises:
        ValueError: the variable or the file is not there; the message has the reference, never the value.
    """
    if text.startswith("env:"):
        name = text[len("env:") :]
        try:
            return os.environ[name]
        except (KeyError, ValueError):  # The second: text that cannot be a name.
            raise ValueError(
                f"refers to the environment variable {name!r}, which is not set; set it, or name another"
            ) from None
    if text.startswith("file:"):
        path = Path(text[len("file:") :])
        try:
            content = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:  # The second: no UTF-8 in it, or no path at all.
            raise ValueError(
                f"refers to the file {str(path)!r}, which cannot be read ({type(error).__name__}); "
                "check the path and its permissions"
            ) from None
        return content.removesuffix("\n")
    return text


def is_open_to_all(path: str) -> bool:
    """Say whether every user of this machine may read the file; False where that cannot be told."""
    try:
        return os.name == "posix" and bool(Path(path).stat().st_mode & stat.S_IROTH)
    except (OSError, ValueError):
        return False


def _hide(text: str, values: Iterable[str]) -> str:
    """Return ``text`` without ``values``, also as JSON, HTML and URLs spell them."""
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= MIN_MASKED_CHARACTERS:
            escaped = json.dumps(value)[1:-1]
            for shown in (
                value,
                escaped,
                escaped.replace("/", "\\/"),
                html.escape(value),
                quote(value, safe=""),
            ):
                text = text.replace(shown, "***")
    return text


class _Masked:
    """What secret things share: no way to copy the value out by accident."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be pickled: it would carry the key with it")

    def __copy__(self) -> _Masked:
        return self

    def __deepcopy__(self, memo: object) -> _Masked:
        return self


class SecretText(str):
    """A text that code reads as any other, and whose ``repr``, alone or inside a printed object, does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a SecretText cannot be pickled: it would carry a key with it")

    def __copy__(self) -> SecretText:
        return self

    def __deepcopy__(self, memo: object) -> SecretText:
        return self


class Secret(_Masked):
    """A key, given as ``env:NAME``, ``file:PATH`` or itself.

    Threads: any; ``refresh`` replaces the value in one step.

    Raises:
        ValueError: the reference leads nowhere, or ``check`` refuses the value; the message never has the value.
    """

    __slots__ = ("_check", "_reference", "_value")

    def __init__(self, reference: str, check: Callable[[str], str] | None = None) -> None:
        self._reference = SecretText(reference)
        self._check = check
        self._value = self._read()

    def _read(self) -> SecretText:
        value = resolve_reference(self._reference)
        return SecretText(self._check(value) if self._check else value)

    @property
    def is_reference(self) -> bool:
        """True if the key lives in the environment or in a file, so that it can change while we run."""
        return self._reference.startswith(("env:", "file:"))

    @property
    def reference(self) -> str | None:
        """``env:NAME`` or ``file:PATH``; None for a literal key."""
        return self._reference if self.is_reference else None

    @property
    def identity(self) -> str:
        """What tells two keys apart without showing them: the reference, or a digest keyed per process."""
        if self.is_reference:
            return self._reference
        return hashlib.blake2b(self._value.encode(), key=_DIGEST_KEY).hexdigest()

    def reveal(self) -> str:
        """Return the key itself, for the moment of sending."""
        return self._value

    def mask(self, text: str) -> str:
        """Return ``text`` without the key, which a receiver may quote in its answer."""
        return _hide(text, {self._value, self._value.rpartition(" ")[2]})

    def refresh(self) -> bool:
        """Read the reference again; True if the key is another one now. A reference that fails changes nothing."""
        try:
            value = self._read()
        except ValueError:
            return False
        changed = value != self._value
        self._value = value
        return changed

    def __repr__(self) -> str:
        return f"Secret({self._reference if self.is_reference else '***'})"

    __str__ = __repr__


class Url(_Masked):
    """An ``http`` or ``https`` address, parsed; printed without user, path and query, which may hold a key.

    Raises:
        ValueError: it is not such an address; the message says what is wrong without showing it.
    """

    __slots__ = ("_userinfo", "host", "port", "scheme", "target")

    scheme: str
    host: str
    port: int
    target: str

    def __init__(self, text: str, *, may_have_user: bool = False) -> None:
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("has characters that a URL cannot have; percent-encode them")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise ValueError("is not a URL; write https://host:port/path") from None
        if parts.scheme.lower() not in {"http", "https"} or not parts.hostname or port == 0:
            raise ValueError("is not a URL with https:// and a host; write https://host:port/path")
        self._userinfo = SecretText(parts.netloc.rpartition("@")[0])
        if self._userinfo and not may_have_user:
            raise ValueError("carries a user or password; use api_header_name and api_key instead")
        self.scheme = parts.scheme.lower()
        self.host = parts.hostname
        self.port = port if port is not None else {"http": 80, "https": 443}[self.scheme]
        self.target = SecretText((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))

    @property
    def is_loopback(self) -> bool:
        """True for this machine's own addresses."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # A name, and «127.0.0.1.example.com» is one too.
            return self.host == "localhost"

    def basic_authorization(self) -> str | None:
        """Return the value of a ``Basic`` authorization header for the URL's user, None if it has none."""
        if not self._userinfo:
            return None
        return SecretText("Basic " + base64.b64encode(unquote(self._userinfo).encode()).decode())

    @property
    def origin(self) -> str:
        """Scheme, host and port: what may be printed."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def mask(self, text: str) -> str:
        """Return ``text`` without path and query, which a receiver may quote in its answer, whole or in part."""
        path, _, query = self.target.partition("?")
        values = {pair.partition("=")[2] for pair in query.split("&")}
        segments = {segment for segment in path.split("/") if len(segment) >= MIN_SECRET_SEGMENT_CHARACTERS}
        parts = {self.target, path, query} | values | segments
        return _hide(text, parts | set(map(unquote, values | segments)))

    def __repr__(self) -> str:
        return f"Url({self.origin})"

    def __str__(self) -> str:
        return self.origin
