"""Listing disturbs nobody, and shows what it can."""

from __future__ import annotations

import errno
import shutil

import pytest

from defender_logging._pipeline.spool import SpoolError, describe_streams, entries_of


@pytest.fixture
def stream(spool, line):
    """The directory of a living stream with three entries."""
    store = spool.store()
    for seq in (1, 2, 3):
        store.append(seq, line(seq))
    return spool.path / "s1"


def test_nothing_is_changed(stream, spool):
    """No file is made, opened for writing, renamed or removed."""
    spool.fs.calls.clear()
    describe_streams([stream], spool.fs)
    list(entries_of(stream, spool.fs))

    assert {"open", "read"} == {call[0] for call in spool.fs.calls}


def test_a_stream_that_is_gone_is_left_out(stream, spool):
    """Its owner finished it between looking and reading."""
    shutil.rmtree(stream)

    assert [] == describe_streams([stream], spool.fs)


def test_a_stream_that_cannot_be_read_is_told(stream, spool):
    """With the reason; the others are listed."""
    spool.fs.fail("read", errno.EIO)
    (info,) = describe_streams([stream], spool.fs)

    assert ("s1", True) == (info.stream, info.is_owned)
    assert "cannot be read" in info.problem
    with pytest.raises(SpoolError, match="EIO"):
        list(entries_of(stream, spool.fs))


def test_damage_is_counted(stream, spool):
    """And the rest is shown."""
    (segment,) = spool.segments()
    data = segment.read_bytes()
    segment.write_bytes(data.replace(b'"seq":2', b'"seq":7'))
    (info,) = describe_streams([stream], spool.fs)

    assert (2, 1) == (info.entries, info.damaged)
    assert [1, 3] == [entry.seq for entry in entries_of(stream, spool.fs)]
