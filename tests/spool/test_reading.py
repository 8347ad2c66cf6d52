"""The backlog goes by the numbers, wherever they stand."""

from __future__ import annotations

import pytest

from defender_logging._pipeline.spool.catalogue import Catalogue
from defender_logging._pipeline.spool.frames import encode_frame
from defender_logging._pipeline.spool.reading import Backlog
from defender_logging._pipeline.spool.segments import create_segment
from defender_logging._pipeline.spool.survey import survey


@pytest.fixture
def backlog_of(spool, line, tmp_path):
    """Makes segments with the given numbers, and the backlog over what a survey finds in them."""

    def make(*segments):
        for at, numbers in enumerate(segments, start=1):
            segment = create_segment(spool.fs, tmp_path, at, "ab")
            for seq in numbers:
                spool.fs.write(segment.fd, encode_frame(seq, line(seq)))
            spool.fs.close(segment.fd)
        found = survey(spool.fs, tmp_path)
        return Backlog(spool.fs, Catalogue(found.segments, found.last_seq))

    return make


@pytest.mark.parametrize("max_bytes", [1, 300, 10_000])
@pytest.mark.parametrize(
    "segments",
    [
        ([1, 2], [3, 4]),
        ([3, 4], [1, 2]),
        ([1, 3, 5], [2, 4, 6]),
        ([1, 2, 5, 6], [3, 4], [7]),
        ([1, 2, 3], [2, 3, 4]),
        ([2, 9], [1], [], [3, 8]),
    ],
)
def test_reads_each_number_once_in_order(backlog_of, read_all, line, segments, max_bytes):
    """Segments that follow, precede, interleave or repeat each other; nothing counts as lost."""
    backlog = backlog_of(*segments)
    numbers = sorted({seq for numbers in segments for seq in numbers})

    assert [(seq, line(seq)) for seq in numbers] == read_all(backlog, max_bytes)
    assert [] == backlog.damage


def test_reads_from_any_number(backlog_of):
    """Backwards too, and again after its memory was let go."""
    backlog = backlog_of([1, 2, 3], [4, 5, 6])
    for after in (3, 0, 5, 2, 2, 6):
        assert list(range(after + 1, 7)) == [entry.seq for entry in backlog.read_after(after, 100_000)]
        backlog.forget()
