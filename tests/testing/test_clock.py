"""A clock that a test moves by hand."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from defender_logging.clock import Clock, Wake
from defender_logging.testing import FakeClock


def test_stands_still_until_advanced():
    """Both times move by ``advance`` only, and ``jump`` moves the wall clock alone."""
    clock: Clock = FakeClock(100.0, 5.0)

    assert (clock.time(), clock.monotonic()) == (100.0, 5.0)
    clock.advance(2.5)
    assert (clock.time(), clock.monotonic()) == (102.5, 7.5)
    clock.jump(-3600)
    assert (clock.time(), clock.monotonic()) == (-3497.5, 7.5)


def test_time_does_not_go_back():
    """A negative advance is refused and names the way to do it."""
    with pytest.raises(ValueError, match="jump"):
        FakeClock().advance(-1)


@pytest.mark.parametrize("kind", [threading.Event, Wake])
@pytest.mark.parametrize(
    ("timeout_seconds", "is_set"), [(0, False), (-1, False), (0, True), (10, True), (None, True)]
)
def test_returns_at_once_when_there_is_nothing_to_wait_for(kind, timeout_seconds, is_set):
    """No time to wait, or an event that is set, ends a wait at once."""
    wake = kind()
    if is_set:
        wake.set()

    assert is_set == FakeClock().wait(wake, timeout_seconds)


def test_a_wait_ends_when_the_clock_reaches_its_deadline():
    """Advancing to the deadline ends the wait, advancing to right before it does not."""
    clock = FakeClock()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(clock.wait, threading.Event(), 3600)
        clock.wait_until_waiting()
        clock.advance(3599)
        clock.wait_until_waiting()
        assert not waiting.done()
        clock.advance(1)

        assert waiting.result(timeout=10) is False


@pytest.mark.parametrize("kind", [threading.Event, Wake])
def test_a_wait_ends_when_it_is_woken(kind):
    """Setting what a thread waits for ends a wait without a deadline."""
    clock, wake = FakeClock(), kind()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(clock.wait, wake, None)
        clock.wait_until_waiting()
        wake.set()

        assert waiting.result(timeout=10) is True


def test_a_thread_that_sleeps_again_is_told_from_one_that_still_sleeps():
    """With ``since`` a test waits for the wait after the one that it ended by hand."""
    clock, wake, laps = FakeClock(), Wake(), []

    def work():
        for lap in range(50):
            clock.wait(wake, None)
            laps.append(lap)

    with ThreadPoolExecutor() as pool:
        done = pool.submit(work)
        for lap in range(50):
            clock.wait_until_waiting(since=lap)
            assert list(range(lap)) == laps
            assert lap + 1 == clock.waits
            wake.set()
        done.result(timeout=10)


def test_a_thread_that_is_about_to_wake_does_not_count_as_waiting():
    """After ``advance`` a test waits for the next wait of a worker, not for the one that is over."""
    clock, laps = FakeClock(), []

    def work():
        for _ in range(50):
            clock.wait(threading.Event(), 1)
            laps.append(clock.monotonic())

    with ThreadPoolExecutor() as pool:
        done = pool.submit(work)
        for lap in range(50):
            clock.wait_until_waiting()
            assert lap == len(laps)
            clock.advance(1)
        done.result(timeout=10)

    assert [1001.0 + lap for lap in range(50)] == laps


def test_hanging_waits_become_assertion_errors():
    """A wait that nobody ends, and a wait for waiters that never come, end in real time."""
    clock = FakeClock(real_limit_seconds=0.02)

    with pytest.raises(AssertionError, match="nobody advanced"):
        clock.wait(threading.Event(), 5)
    with pytest.raises(AssertionError, match="0 threads wait"):
        clock.wait_until_waiting()
