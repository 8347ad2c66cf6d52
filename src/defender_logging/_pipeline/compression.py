"""Compresses request bodies: gzip by the fastest library at hand, zstd where a vendor takes it.

A handler asks for its ``compressor`` when it is made, and its sender again when it starts; the library is imported at
the first question only, because an import that is half done in another thread at a fork never ends in the child.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import cast

__all__ = ["COMPRESSIONS", "Compress", "compressor", "has_zstd"]

Compress = Callable[[bytes], bytes]

COMPRESSIONS = ("gzip", "none", "zstd")

GZIP_LEVEL = 1
"""Log lines repeat themselves: level 1 brings them to a tenth; level 6 saves little and takes three times as long."""

_GZIP_WBITS = 31
"""zlib's number for a full window with a gzip header."""

_ZSTD_MODULES = ("compression.zstd", "backports.zstd", "zstandard")


def _gzip_stdlib(body: bytes) -> bytes:
    squeeze = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WBITS)
    return squeeze.compress(body) + squeeze.flush()


def _gzip() -> Compress:
    try:
        isal_zlib = import_module("isal.isal_zlib")
    except ImportError:
        return _gzip_stdlib

    def gzip_isal(body: bytes) -> bytes:
        squeeze = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WBITS)
        return cast("bytes", squeeze.compress(body) + squeeze.flush())

    return gzip_isal


def _zstd() -> Compress | None:
    for name in _ZSTD_MODULES:
        try:
            return cast("Compress", import_module(name).compress)
        except ImportError:
            continue
    return None


def has_zstd() -> bool:
    """Tell whether a zstd library is installed."""
    return _zstd() is not None


@cache
def compressor(name: str) -> tuple[str | None, Compress | None]:
    """Return the ``Content-Encoding`` and the function for one of ``COMPRESSIONS``; two None for ``none``."""
    if name == "gzip":
        return "gzip", _gzip()
    if name == "zstd":
        return "zstd", _zstd()
    return None, None
