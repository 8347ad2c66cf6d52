"""Decode a request's body: compressed bytes to plain bytes, bytes to text, text to strict JSON.

Used by every vendor's rules. Never yields more than the given bound, whatever a compressed body claims to
hold.
"""

from __future__ import annotations

import importlib
import json
import zlib
from collections.abc import Collection
from typing import Any, NoReturn

_GZIP_WINDOW_BITS = 31
_ZLIB_WINDOW_BITS = 15
_RAW_DEFLATE_WINDOW_BITS = -15
_ZLIB_METHOD = 0x08  # low four bits of the first byte of a zlib stream


class UnsupportedEncodingError(ValueError):
    """The vendor does not take this ``Content-Encoding``."""


class BadEncodingError(ValueError):
    """The body is not a whole stream of the encoding that it claims."""


class TooLargeError(ValueError):
    """The plain body is over the bound."""


def status_for(error: ValueError) -> int:
    """The HTTP status that usually answers a body with this fault."""
    if isinstance(error, UnsupportedEncodingError):
        return 415
    return 413 if isinstance(error, TooLargeError) else 400


def decode_content(body: bytes, encoding: str | None, *, allowed: Collection[str], max_bytes: int) -> bytes:
    """Undo one ``Content-Encoding``.

    Args:
        body: the bytes as sent.
        encoding: the header's value; None or ``identity`` leaves the body as it is.
        allowed: what the vendor takes, of ``gzip``, ``deflate``, ``zstd``.
        max_bytes: the most plain bytes.

    Raises:
        UnsupportedEncodingError: it is not in ``allowed``, or is ``zstd`` and no decoder is installed.
        BadEncodingError: the stream is damaged, cut off, or followed by something else.
        TooLargeError: there is more than ``max_bytes``; no more than that was decompressed.
    """
    name = (encoding or "identity").strip().lower()
    if name != "identity" and name not in allowed:
        raise UnsupportedEncodingError(
            f"Content-Encoding {name!r} is not taken here; send one of {sorted(allowed)}"
        )
    if name == "gzip":
        return _inflate(body, _GZIP_WINDOW_BITS, max_bytes)
    if name == "deflate":
        is_zlib = body[:1] != b"" and body[0] & 0x0F == _ZLIB_METHOD
        return _inflate(body, _ZLIB_WINDOW_BITS if is_zlib else _RAW_DEFLATE_WINDOW_BITS, max_bytes)
    if name == "zstd":
        return _decompress_zstd(body, max_bytes)
    if len(body) > max_bytes:
        raise TooLargeError(f"the body has {len(body)} bytes, more than {max_bytes}")
    return body


def _inflate(body: bytes, window_bits: int, max_bytes: int) -> bytes:
    """Decompress all members of a gzip or deflate body."""
    parts: list[bytes] = []
    total = 0
    while body or not parts:
        stream = zlib.decompressobj(window_bits)
        try:
            part = stream.decompress(body, max_bytes - total + 1)
        except zlib.error as error:
            raise BadEncodingError(f"the compressed body is damaged: {error}") from error
        total += len(part)
        if total > max_bytes:
            raise TooLargeError(f"the plain body has more than {max_bytes} bytes")
        if not stream.eof:
            raise BadEncodingError(f"the compressed body ends too early, after {total} plain bytes")
        parts.append(part)
        body = stream.unused_data
    return b"".join(parts)


def _decompress_zstd(body: bytes, max_bytes: int) -> bytes:
    """Decompress a zstd body with the optional package ``zstandard``."""
    try:
        zstandard = importlib.import_module("zstandard")  # optional: only who sends zstd needs it
    except ImportError as error:
        raise UnsupportedEncodingError(
            "this receiver cannot read zstd: pip install zstandard, or send gzip"
        ) from error
    stream = zstandard.ZstdDecompressor().decompressobj()
    plain = bytearray()
    try:
        # Small pieces, because this decoder has no bound of its own for what one call yields.
        for start in range(0, len(body), 1024):
            plain += stream.decompress(body[start : start + 1024])
            if len(plain) > max_bytes:
                raise TooLargeError(f"the plain body has more than {max_bytes} bytes")
    except zstandard.ZstdError as error:
        raise BadEncodingError(f"the compressed body is damaged: {error}") from error
    if not getattr(stream, "eof", True):
        raise BadEncodingError(f"the compressed body ends too early, after {len(plain)} plain bytes")
    return bytes(plain)


def as_text(body: bytes) -> str:
    """Decode UTF-8 up to the first bad byte, and put a NUL, which no JSON has bare, in place of the rest.

    So whatever is whole before the bad byte can still be read, as a receiver that parses a stream does.
    """
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        return body[: error.start].decode() + "\x00"


def _refuse_constant(name: str) -> NoReturn:
    """Turn away NaN and the infinities, which are not JSON."""
    raise ValueError(f"{name} is not JSON")


STRICT_JSON = json.JSONDecoder(parse_constant=_refuse_constant)
"""Decodes JSON as strict receivers do."""


def parse_json(text: str) -> Any:
    """Decode one JSON value.

    Raises:
        ValueError: it is not strict JSON, or nested too deeply to be read.
    """
    try:
        return STRICT_JSON.decode(text)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
