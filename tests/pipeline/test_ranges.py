"""Ranges merge numbers in whatever order they come."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from defender_logging._pipeline.ranges import Ranges


def ranges_of(numbers):
    ranges = Ranges()
    for number in numbers:
        ranges.add(number)
    return ranges.take_first(1000)


def test_merges_neighbours_on_both_sides():
    """A number that fills a gap joins the ranges left and right of it."""
    assert [[1, 3], [7, 7]] == ranges_of([1, 3, 7, 2])


@given(st.lists(st.integers(1, 40)))
def test_holds_exactly_the_numbers_added(numbers):
    """Whatever the order and however often, the ranges are the set, sorted and merged."""
    pairs = ranges_of(numbers)

    assert sorted(set(numbers)) == [n for first, last in pairs for n in range(first, last + 1)]
    assert all(left[1] + 1 < right[0] for left, right in pairwise(pairs))


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9))))
def test_adds_whole_ranges_as_it_adds_their_numbers(given_ranges):
    """However they overlap or touch."""
    whole, single = Ranges(), Ranges()
    for first, count in given_ranges:
        whole.add_range(first, first + count)
        for number in range(first, first + count + 1):
            single.add(number)

    assert list(single) == list(whole)


def test_takes_the_lowest_and_keeps_the_rest():
    """What one entry cannot tell stays for the next."""
    ranges = Ranges()
    for number in (1, 3, 5):
        ranges.add(number)

    assert [[1, 1], [3, 3]] == ranges.take_first(2)
    assert [[5, 5]] == ranges.take_first(2)
    assert not ranges


@given(st.sets(st.integers(1, 30)), st.integers(1, 30), st.integers(1, 30))
def test_removes_exactly_the_numbers_asked_for(numbers, first, last):
    """What goes and what stays are a division of the set, whatever ranges are cut."""
    ranges = Ranges(numbers)
    removed = {n for a, b in ranges.remove(first, last) for n in range(a, b + 1)}

    assert {n for n in numbers if first <= n <= last} == removed
    assert numbers - removed == {n for a, b in ranges for n in range(a, b + 1)}
    assert len(numbers - removed) == len(ranges)


@given(st.sets(st.integers(1, 30)), st.integers(0, 31))
def test_finds_the_next_number(numbers, start):
    """The lowest number that is not below, or none."""
    ranges = Ranges(numbers)

    assert min((n for n in numbers if n >= start), default=None) == ranges.next_from(start)
    assert (start in numbers) == (start in ranges)


def test_a_copy_changes_on_its_own():
    """Neither shares its ranges with the other."""
    ranges = Ranges([1, 2])
    copy = ranges.copy()
    copy.add(3)

    assert [(1, 2)] == list(ranges)
    assert [(1, 3)] == list(copy)
