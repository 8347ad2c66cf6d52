"""A cursor is the exact complement of what is unsettled, or nothing at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defender_logging._pipeline.ranges import Ranges
from defender_logging._pipeline.spool.cursor import NOTHING_SETTLED, Cursor
from defender_logging._pipeline.spool.sealed import seal


@pytest.mark.parametrize(
    ("unsettled", "last", "expected"),
    [
        ([], 0, Cursor(0)),
        ([], 5, Cursor(5)),
        ([(1, 5)], 5, Cursor(0)),
        ([(3, 3)], 5, Cursor(2, ((4, 5),))),
        ([(1, 2), (3, 4)], 6, Cursor(0, ((5, 6),))),
        ([(7, 9), (2, 3)], 9, Cursor(1, ((4, 6),))),
    ],
)
def test_says_what_is_settled(unsettled, last, expected):
    """A low mark, and the ranges above it."""
    assert expected == Cursor.from_unsettled(unsettled, last)


@given(st.sets(st.integers(1, 40)), st.integers(40, 45))
def test_is_the_complement(unsettled, last):
    """Written and read again, it names exactly the numbers that are not unsettled."""
    cursor = Cursor.decode(Cursor.from_unsettled(list(Ranges(unsettled)), last).encode())

    assert cursor is not None
    assert set(range(1, last + 1)) - unsettled == {n for a, b in cursor.pairs() for n in range(a, b + 1)}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"low": -1, "ranges": []},
        {"low": True, "ranges": []},
        {"low": "1", "ranges": []},
        {"low": 1},
        {"low": 1, "ranges": [[3]]},
        {"low": 1, "ranges": [[3, 2]]},
        {"low": 5, "ranges": [[4, 6]]},
        {"low": 1, "ranges": [[3, 6], [5, 7]]},
        {"low": 1, "ranges": [[3, True]]},
        {"low": 1, "ranges": "37"},
    ],
)
def test_nonsense_is_no_cursor(body):
    """A file that is whole but says what no cursor says counts for nothing."""
    assert None is Cursor.decode(seal(body))


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"\0" * 60, b"\xff" * 9, b"[" * 100_000])
def test_damage_is_no_cursor(content):
    """Empty, cut, zeroed and foreign files count for nothing."""
    assert None is Cursor.decode(content)


def test_every_flipped_bit_is_noticed():
    """No single bit makes another cursor out of one (upper case apart, which JSON's escapes do not have here)."""
    content = Cursor(12, ((15, 17),)).encode()
    for offset in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[offset] ^= 1 << bit

            assert Cursor.decode(bytes(changed)) in (None, Cursor(12, ((15, 17),))), (offset, bit)


def test_nothing_settled_settles_nothing():
    """The cursor that stands for a missing one."""
    assert 0 == NOTHING_SETTLED.highest
