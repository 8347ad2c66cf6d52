"""Bytes on the wire become plain bytes, text and JSON, within bounds."""

from __future__ import annotations

import gzip
import importlib.util
import zlib

import pytest

from defender_logging.testing.decoding import (
    BadEncodingError,
    TooLargeError,
    UnsupportedEncodingError,
    as_text,
    decode_content,
    parse_json,
    status_for,
)

ALL = ("gzip", "deflate", "zstd")


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (None, b"plain"),
        ("identity", b"plain"),
        (" GZip ", gzip.compress(b"plain", mtime=0)),
        ("gzip", gzip.compress(b"pl", mtime=0) + gzip.compress(b"ain", mtime=0)),
        ("deflate", zlib.compress(b"plain")),
        ("deflate", zlib.compress(b"plain")[2:-4]),
    ],
)
def test_decodes(encoding, body):
    """Every form of the three encodings gives the plain bytes, up to exactly the bound."""
    assert decode_content(body, encoding, allowed=ALL, max_bytes=5) == b"plain"


@pytest.mark.parametrize(
    "body", [b"", b"plain", gzip.compress(b"plain", mtime=0)[:-1], gzip.compress(b"plain", mtime=0) + b"x"]
)
def test_damage_is_found(body):
    """An empty, foreign, cut or padded gzip stream is an error, not an empty or shorter body."""
    with pytest.raises(BadEncodingError):
        decode_content(body, "gzip", allowed=ALL, max_bytes=100)


@pytest.mark.parametrize(
    "body",
    [gzip.compress(bytes(10_000_000), mtime=0), gzip.compress(bytes(600), mtime=0) * 2],
)
def test_a_bomb_stops_at_the_bound(body):
    """No more is decompressed than the bound, over all members together."""
    with pytest.raises(TooLargeError):
        decode_content(body, "gzip", allowed=ALL, max_bytes=1000)


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "zstd"])
def test_other_encodings_are_refused(encoding):
    """What the vendor does not take is refused by name."""
    with pytest.raises(UnsupportedEncodingError, match=encoding):
        decode_content(b"", encoding, allowed=("gzip",), max_bytes=100)


@pytest.mark.skipif(importlib.util.find_spec("zstandard") is not None, reason="zstandard is installed")
def test_zstd_without_its_package_names_the_remedy():
    """Without a zstd decoder the error says what to install."""
    with pytest.raises(UnsupportedEncodingError, match="pip install zstandard"):
        decode_content(b"", "zstd", allowed=ALL, max_bytes=100)


def test_zstd():
    """A zstd body is decoded within the same bounds, where the package is installed."""
    zstandard = pytest.importorskip("zstandard")
    body = zstandard.compress(b"plain" * 100_000)

    assert decode_content(body, "zstd", allowed=ALL, max_bytes=500_000) == b"plain" * 100_000
    with pytest.raises(TooLargeError):
        decode_content(body, "zstd", allowed=ALL, max_bytes=499_999)
    with pytest.raises(BadEncodingError):
        decode_content(body[:-1], "zstd", allowed=ALL, max_bytes=500_000)
    with pytest.raises(BadEncodingError):
        decode_content(b"plain", "zstd", allowed=ALL, max_bytes=500_000)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnsupportedEncodingError(), 415),
        (TooLargeError(), 413),
        (BadEncodingError(), 400),
        (ValueError(), 400),
    ],
)
def test_statuses(error, status):
    """Each fault has its usual status."""
    assert status == status_for(error)


def test_bad_utf8_ends_the_text():
    """Text is kept up to the bad byte, and what follows cannot pass for JSON."""
    assert as_text("é".encode() + b"a\xffb") == "éa\x00"


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "-Infinity", "", "{", '"\x00"', "[" * 200_000])
def test_strict_json(text):
    """What is not strict JSON, or too deep to read, is a ValueError."""
    with pytest.raises(ValueError):
        parse_json(text)
