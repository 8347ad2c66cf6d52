"""Frames give back every whole entry, whatever happened around it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defender_logging._pipeline.entry import Entry
from defender_logging._pipeline.spool.frames import (
    HEADER_BYTES,
    bounds_of_gapless,
    encode_frame,
    gapless,
    pieces,
)

ENTRIES = [Entry(seq, b'{"seq":%d,"text":"J*%b"}' % (seq, b"y" * seq)) for seq in (1, 2, 3, 10, 11)]
DATA = b"".join(encode_frame(*entry) for entry in ENTRIES)
ENDS = [DATA.index(entry.line) + len(entry.line) for entry in ENTRIES]
"""Where each entry's line ends, without its newline."""


def entries_in(data):
    return [piece.entry for piece in pieces(data) if piece.entry]


def test_an_entry_is_one_line_behind_a_header_of_fixed_width():
    """The frame is the header, the very bytes, and a newline."""
    frame = encode_frame(7, b'{"a":1}')

    assert frame[HEADER_BYTES:] == b'{"a":1}\n'
    assert 1 == frame.count(b"\n")


@pytest.mark.parametrize("cut", range(len(DATA)))
def test_a_file_cut_at_any_offset_keeps_all_entries_before(cut):
    """Every entry whose last byte is there is given back; the rest is one piece, or none."""
    found = list(pieces(DATA[:cut]))

    assert [entry for entry, end in zip(ENTRIES, ENDS, strict=True) if end <= cut] == entries_in(DATA[:cut])
    assert 1 >= sum(piece.entry is None for piece in found)


@pytest.mark.parametrize("start", range(len(DATA)))
def test_a_file_zeroed_from_any_offset_keeps_all_entries_before(start):
    """As power cuts leave it: the length is right, the content is not."""
    data = DATA[:start] + bytes(len(DATA) - start)

    assert [entry for entry, end in zip(ENTRIES, ENDS, strict=True) if end <= start] == entries_in(data)


@pytest.mark.parametrize("bit", range(8))
def test_one_flipped_bit_anywhere_costs_at_most_the_entry_it_hit(bit):
    """At every offset: only the entry there is set aside, with its bytes; a newline may flip for nothing."""
    for offset in range(len(DATA)):
        data = bytearray(DATA)
        data[offset] ^= 1 << bit
        hit = next((at for at, end in enumerate(ENDS) if offset < end + 1))
        expected = [e for at, e in enumerate(ENTRIES) if at != hit or offset == ENDS[hit]]

        assert expected == entries_in(bytes(data)), offset


@pytest.mark.parametrize("length", [1, 7, 40, 90])
def test_a_hole_of_zeros_costs_only_what_it_touches(length):
    """A lost page in the middle: entries before and after it are found, one that begins right behind it too."""
    for offset in range(len(DATA) - length):
        data = DATA[:offset] + bytes(length) + DATA[offset + length :]
        starts = [end - len(entry.line) - HEADER_BYTES for entry, end in zip(ENTRIES, ENDS, strict=True)]
        expected = [
            entry
            for entry, start, end in zip(ENTRIES, starts, ENDS, strict=True)
            if end <= offset or start >= offset + length
        ]

        assert expected == entries_in(data), offset


def test_pieces_cover_everything_without_gaps():
    """Damaged bytes are given back as they are, so that they can be set aside."""
    data = DATA[:20] + b"?" + DATA[21:] + b"tail"
    found = list(pieces(data))

    assert data == b"".join(data[piece.start : piece.end] for piece in found)


def test_a_frame_inside_an_entry_is_never_taken_for_one():
    """What somebody logs cannot become an entry of the trail, even if the entry around it is damaged."""
    forged = encode_frame(99, b"paid").rstrip()  # Nothing in it that JSON escapes.
    around = bytearray(encode_frame(1, json.dumps({"message": forged.decode()}).encode()))
    assert forged in around
    around[HEADER_BYTES + 3] ^= 1

    assert [ENTRIES[0]] == entries_in(bytes(around) + encode_frame(*ENTRIES[0]))


def test_an_entry_of_ten_megabytes_is_an_entry():
    """Length is no obstacle, nor for what follows."""
    large = Entry(1, b"z" * 10_000_000)

    assert [large, ENTRIES[0]] == entries_in(encode_frame(*large) + encode_frame(*ENTRIES[0]))


@given(st.binary(max_size=300), st.integers(0, 300))
def test_no_bytes_break_the_search(noise, at):
    """Noise before, in or after entries never raises, never loops, and hides only what it overwrote."""
    data = DATA[:at] + noise + DATA[at:]
    found = list(pieces(data))

    assert len(data) == sum(piece.end - piece.start for piece in found)
    assert set(entries_in(data)) <= set(ENTRIES)


GAPLESS = [Entry(seq, b'{"seq":%d,"text":"J*%b"}' % (seq, b"y" * seq)) for seq in range(5, 9)]
GAPLESS_DATA = b"".join(encode_frame(*entry) for entry in GAPLESS)


@pytest.mark.parametrize("offset", range(len(GAPLESS_DATA)))
def test_the_quick_way_gives_what_the_careful_one_gives_up_to_the_first_damage(offset):
    """With any byte changed in any bit, its entries are whole, in order, and end where they say."""
    for bit in range(8):
        data = bytearray(GAPLESS_DATA)
        data[offset] ^= 1 << bit
        data = bytes(data)
        found = list(gapless(data, 0, 5, 8))
        careful = [(piece.entry, piece.end) for piece in pieces(data)]
        hit = next((at for at, (entry, _) in enumerate(careful) if entry is None), len(careful))

        assert careful[:hit] == found


def test_the_quick_way_ends_at_a_gap_and_at_the_last_number():
    """What does not follow is left for the careful way."""
    assert [1, 2, 3] == [entry.seq for entry, _ in gapless(DATA, 0, 1, 100)]
    assert [1, 2] == [entry.seq for entry, _ in gapless(DATA, 0, 1, 2)]
    assert [] == list(gapless(DATA, 0, 2, 100))


def test_the_numbers_of_a_gapless_stretch_are_known_from_its_ends():
    """Not so where there is a gap, where it is cut, or where a newline is damaged."""
    broken = GAPLESS_DATA.replace(b"\n", b"\x0b", 1)

    assert (5, 8) == bounds_of_gapless(GAPLESS_DATA, 0)
    assert (6, 8) == bounds_of_gapless(GAPLESS_DATA, GAPLESS_DATA.index(b"\n") + 1)
    assert (5, 5) == bounds_of_gapless(encode_frame(*GAPLESS[0]), 0)
    assert [None] * 5 == [
        bounds_of_gapless(data, 0) for data in (DATA, GAPLESS_DATA[:-1], broken, b"", b"\n")
    ]
