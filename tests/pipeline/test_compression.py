"""What is compressed can be read by anybody, whichever library did it."""

from __future__ import annotations

import gzip
import random
import sys
import types

import pytest

from defender_logging._pipeline import compression
from defender_logging._pipeline.compression import COMPRESSIONS, compressor, has_zstd

LINES = b'[{"message":"paused","component":"relay"},' + b'{"message":"signed in"},' * 10_000 + b"{}]"
NOISE = random.Random(7).randbytes(300_000)
BODIES = pytest.mark.parametrize("body", [b"", b"{}", LINES, NOISE], ids=["empty", "short", "lines", "noise"])


@pytest.fixture(autouse=True)
def _each_finds_its_libraries_anew():
    compressor.cache_clear()
    yield
    compressor.cache_clear()


@pytest.fixture
def no_zstd(monkeypatch):
    for name in ("compression", "compression.zstd", "backports", "backports.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def no_isal(monkeypatch):
    for name in ("isal", "isal.isal_zlib"):
        monkeypatch.setitem(sys.modules, name, None)


class TestGzip:
    @BODIES
    def test_can_be_read_by_the_standard_library(self, body):
        """With the fast library, where it is installed."""
        encoding, compress = compressor("gzip")

        assert "gzip" == encoding
        assert body == gzip.decompress(compress(body))

    @BODIES
    def test_needs_no_extra_library(self, no_isal, body):
        """The standard library takes over."""
        encoding, compress = compressor("gzip")

        assert ("gzip", compression._gzip_stdlib) == (encoding, compress)
        assert body == gzip.decompress(compress(body))

    @pytest.mark.parametrize("make", [lambda: compressor("gzip")[1], lambda: compression._gzip_stdlib])
    def test_pays_for_log_lines(self, make):
        """Lines that repeat themselves shrink to less than a tenth, noise hardly grows."""
        compress = make()

        assert len(compress(LINES)) < len(LINES) / 10
        assert len(compress(NOISE)) < len(NOISE) + 1_000

    def test_the_same_body_gives_the_same_bytes(self):
        """No time stamp in the header: a batch that is sent again is sent as it was."""
        _, compress = compressor("gzip")

        assert compress(LINES) == compress(LINES)


class TestOthers:
    def test_none_is_nothing_at_all(self):
        """Neither a header nor a function."""
        assert (None, None) == compressor("none")

    def test_zstd_is_not_there_without_a_library(self, no_zstd):
        """Settings ask before they choose it."""
        assert not has_zstd()
        assert ("zstd", None) == compressor("zstd")

    @pytest.mark.parametrize("name", ["backports.zstd", "zstandard"])
    def test_zstd_is_done_by_the_first_library_found(self, no_zstd, monkeypatch, name):
        """Each of them has a ``compress``."""
        library = types.ModuleType(name)
        library.compress = lambda body: b"zstd:" + body
        monkeypatch.setitem(sys.modules, name, library)
        encoding, compress = compressor("zstd")

        assert has_zstd()
        assert ("zstd", b"zstd:{}") == (encoding, compress(b"{}"))

    def test_the_setting_knows_all_three(self):
        """The words that a user may choose."""
        assert ("gzip", "none", "zstd") == COMPRESSIONS
