"""A limit allows more where more is of use, and less where the receiver refuses or slows down."""

from __future__ import annotations

import pytest

from defender_logging._pipeline.in_flight import (
    HIGHEST_ADAPTIVE,
    PATIENCE_ROUNDS,
    AdaptiveLimit,
    FixedLimit,
    make_limit,
)


def go_round(limit, seconds, *, is_short=True):
    """One round: as many answers as requests may be under way."""
    for _ in range(limit.current):
        if is_short:
            limit.note_shortage()
        limit.note_success(seconds)


def grown_to(number, seconds=0.1):
    limit = AdaptiveLimit()
    while limit.current < number:
        go_round(limit, seconds)
    return limit


def test_a_number_stays_what_it_is():
    """The user's own choice is not second-guessed."""
    limit = make_limit(4)
    go_round(limit, 0.1)
    limit.note_refusal()

    assert isinstance(limit, FixedLimit)
    assert (4, 4) == (limit.current, limit.highest)


def test_auto_begins_with_one_and_grows_by_one_a_round():
    """Additive increase, up to the highest."""
    limit = make_limit("auto")
    seen = []
    for _ in range(HIGHEST_ADAPTIVE + 2):
        seen.append(limit.current)
        go_round(limit, 0.1)

    assert [*range(1, HIGHEST_ADAPTIVE + 1), HIGHEST_ADAPTIVE, HIGHEST_ADAPTIVE] == seen


def test_does_not_grow_without_need():
    """A receiver that keeps up gets no more connections, however well it answers."""
    limit = AdaptiveLimit()
    for _ in range(20):
        go_round(limit, 0.1, is_short=False)

    assert 1 == limit.current


def test_a_shortage_counts_for_its_round_only():
    """What was short once, before the limit grew, is not short for ever."""
    limit = AdaptiveLimit()
    go_round(limit, 0.1)
    for _ in range(5):
        go_round(limit, 0.1, is_short=False)

    assert 2 == limit.current


@pytest.mark.parametrize(("before", "after"), [(16, 8), (8, 4), (3, 1), (2, 1), (1, 1)])
def test_a_refusal_halves_at_once(before, after):
    """Multiplicative decrease, never below one."""
    limit = grown_to(before)
    limit.note_refusal()

    assert after == limit.current


def test_many_refusals_end_at_one():
    """An outage leaves one request to find out."""
    limit = grown_to(16)
    for _ in range(50):
        limit.note_refusal()
    assert 1 == limit.current
    go_round(limit, 0.1)

    assert 2 == limit.current


def test_comes_near_a_refused_number_again_only_after_a_while():
    """A receiver that takes four at a time is not asked to refuse a fifth twice a second."""
    limit = grown_to(5)
    limit.note_refusal()
    seen = []
    for _ in range(PATIENCE_ROUNDS + 2):
        seen.append(limit.current)
        go_round(limit, 0.1)

    assert [2, 3, *[4] * (PATIENCE_ROUNDS - 1), 5] == seen


def test_an_outage_says_nothing_about_how_many_are_too_many():
    """After refusals in a row it grows as from the beginning."""
    limit = grown_to(8)
    for _ in range(5):
        limit.note_refusal()
    for _ in range(9):
        go_round(limit, 0.1)

    assert 10 == limit.current


@pytest.mark.parametrize(
    ("usual", "then", "is_less"),
    [
        (0.1, 0.1, False),
        (0.1, 0.12, False),
        (0.1, 0.2, True),
        (0.1, 2.0, True),
        (2.0, 2.2, False),
        (2.0, 4.0, True),
        (0.001, 0.009, False),
        (0.001, 0.05, True),
    ],
)
def test_latency_beyond_its_usual_spread_takes_some_back(usual, then, is_less):
    """Noise does not; what is usual is learned, so a slow receiver is not punished for being slow."""
    limit = grown_to(10, usual)
    for _ in range(30):
        go_round(limit, usual, is_short=False)
    before = limit.current
    go_round(limit, then, is_short=False)

    assert is_less is (limit.current < before)


def test_a_wide_spread_is_usual_where_it_always_was():
    """A receiver whose answers vary is judged by how much they vary."""
    limit = grown_to(5)
    for number in range(60):
        go_round(limit, 0.1 if number % 2 else 0.3, is_short=False)
    before = limit.current
    go_round(limit, 0.4, is_short=False)

    assert before == limit.current


def test_a_new_latency_becomes_the_usual_one():
    """A receiver that has moved far away gets its requests again."""
    limit = grown_to(10)
    for _ in range(100):
        go_round(limit, 0.5)

    assert HIGHEST_ADAPTIVE == limit.current


def test_stays_where_a_receiver_fills_up():
    """One that answers quickly up to six at a time, and ever more slowly beyond, gets about six, for ever."""
    limit = AdaptiveLimit()
    seen = []
    for _ in range(1000):
        go_round(limit, 0.1 * 2.0 ** max(0, limit.current - 6))
        seen.append(limit.current)

    assert {6, 7} >= set(seen[10:])
