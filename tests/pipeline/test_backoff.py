"""The wait between tries grows to its bound, with full jitter, and never ends."""

from __future__ import annotations

from defender_logging._pipeline.backoff import Backoff


def test_doubles_up_to_the_bound():
    """With the highest draw the waits are the bounds themselves."""
    backoff = Backoff(1.0, 8.0, lambda: 1.0)

    assert [1.0, 2.0, 4.0, 8.0, 8.0] == [backoff.next_seconds() for _ in range(5)]


def test_draws_from_the_whole_span():
    """Full jitter: the wait is the draw's share of the bound, down to nothing."""
    draws = iter([0.0, 0.25, 0.5])
    backoff = Backoff(1.0, 60.0, lambda: next(draws))

    assert [0.0, 0.5, 2.0] == [backoff.next_seconds() for _ in range(3)]


def test_starts_over_after_a_success():
    """A reset brings back the first bound."""
    backoff = Backoff(1.0, 60.0, lambda: 1.0)
    backoff.next_seconds()
    backoff.next_seconds()
    backoff.reset()

    assert 1.0 == backoff.next_seconds()


def test_lasts_for_a_night_of_tries():
    """No overflow after thousands of failures."""
    backoff = Backoff(1.0, 60.0, lambda: 1.0)

    assert {60.0} == {backoff.next_seconds() for _ in range(5_000)} - {1.0, 2.0, 4.0, 8.0, 16.0, 32.0}
