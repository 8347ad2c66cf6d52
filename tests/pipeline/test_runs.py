"""The steps over many entries say what a loop over them would say."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from defender_logging._pipeline.entry import Draft, Entry
from defender_logging._pipeline.runs import (
    bytes_of,
    count_fitting,
    count_fitting_drafts,
    discard_left,
    seqs_of,
)

ENTRIES = st.lists(st.binary(max_size=30), max_size=40).map(
    lambda lines: deque(Entry(seq, line) for seq, line in enumerate(lines, 1))
)


def fitting_one_by_one(entries, max_entries, max_bytes):
    count, room = 0, max_bytes
    for entry in list(entries)[:max_entries]:
        room -= len(entry.line) + 1
        if count and room < 0:
            break
        count += 1
    return count


@given(ENTRIES, st.integers(1, 50), st.integers(0, 400))
def test_as_many_fit_as_a_loop_would_take(entries, max_entries, max_bytes):
    """At least one, with a byte for each separator, never more than asked for."""
    assert fitting_one_by_one(entries, max_entries, max_bytes) == count_fitting(
        entries, max_entries, max_bytes
    )


@given(st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=5)), max_size=40), st.integers(0, 900))
def test_as_many_drafts_fit_as_there_is_room_for(parts, max_bytes):
    """None, if there is none for the first; each needs room for its tail."""
    drafts = [Draft(head, foot) for head, foot in parts]
    room, fitting = max_bytes, 0
    for draft in drafts:
        room -= len(draft.head) + 7 + len(draft.foot)
        if room < 0:
            break
        fitting += 1

    assert fitting == count_fitting_drafts(drafts, 7, max_bytes)


@given(ENTRIES, st.integers(0, 40))
def test_the_first_are_let_go_of(entries, count):
    """And the others stay in their order."""
    before = list(entries)
    count = min(count, len(before))
    discard_left(entries, count)

    assert before[count:] == list(entries)


def test_numbers_and_bytes_of_some_entries():
    """The numbers in order; the lines alone count as bytes."""
    entries = [Entry(3, b"abc"), Entry(5, b""), Entry(9, b"de")]

    assert [3, 5, 9] == list(seqs_of(entries))
    assert 5 == bytes_of(entries)
    assert 0 == bytes_of([])
