"""A wake is never lost, and both clocks tell the time that their users expect."""

from __future__ import annotations

import threading
import time

import pytest
from freezegun import freeze_time
from interrupting import struck_by_signals

from defender_logging.clock import SYSTEM_CLOCK, Wake


class TestWake:
    def test_begins_down(self):
        """Nobody has set it yet."""
        wake = Wake()

        assert not wake.is_set()
        assert not wake.wait(0)

    def test_a_set_before_the_wait_counts(self):
        """The next one that waits does not wait, once."""
        wake = Wake()
        wake.set()

        assert wake.is_set()
        assert wake.wait(0)
        assert not wake.is_set()
        assert not wake.wait(0)

    def test_is_a_flag_and_no_counter(self):
        """However often it is set, one wait takes it down."""
        wake = Wake()
        for _ in range(3):
            wake.set()

        assert [True, False] == [wake.wait(0), wake.wait(0)]

    def test_asking_leaves_it_up(self):
        """``is_set`` only looks."""
        wake = Wake()
        wake.set()

        assert [True, True, True] == [wake.is_set(), wake.is_set(), wake.wait(0)]

    @pytest.mark.parametrize("timeout_seconds", [None, 30, 1e300, float("inf")])
    def test_wakes_a_thread_that_waits(self, timeout_seconds):
        """Whatever the longest wait, also one that no system clock can count."""
        wake, answers, is_there = Wake(), [], threading.Event()

        def wait():
            is_there.set()
            answers.append(wake.wait(timeout_seconds))

        thread = threading.Thread(target=wait)
        thread.start()
        assert is_there.wait(10)
        wake.set()
        thread.join(10)

        assert [True] == answers

    @pytest.mark.parametrize("timeout_seconds", [0, 0.0, -1, -1e300, 0.001])
    def test_gives_up_when_the_time_is_over(self, timeout_seconds):
        """A time that has passed already is no time."""
        assert not Wake().wait(timeout_seconds)

    @pytest.mark.no_cover  # A handler inside the coverage tool's own lock would wait for it for ever.
    def test_a_set_from_a_signal_handler_in_the_midst_of_set(self):
        """Neither side raises or hangs, and the flag is up at the end."""
        wake, from_handler = Wake(), []

        deadline = time.monotonic() + 20
        with struck_by_signals(lambda: from_handler.append(wake.set()), 0.0002):
            while len(from_handler) < 200 and time.monotonic() < deadline:
                wake.set()
                wake.wait(0)
        wake.set()

        assert 200 <= len(from_handler)
        assert wake.is_set()

    def test_no_wake_is_lost_between_many_threads(self):
        """After each set by any of 8 threads the waiting one comes round."""
        wake, seen, counts = Wake(), [], [0] * 8

        def work(index):
            for _ in range(500):
                counts[index] += 1
                wake.set()

        def watch():
            while sum(counts) < 4_000 or wake.is_set():
                if not wake.wait(10):
                    return
                seen.append(sum(counts))

        threads = [threading.Thread(target=watch)]
        threads += [threading.Thread(target=work, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

        assert 4_000 == seen[-1]


class TestSystemClock:
    def test_time_can_be_frozen(self):
        """It is looked up at each call, so that tests of users work."""
        with freeze_time("2026-07-01 00:00:00"):
            assert 1_782_864_000.0 == SYSTEM_CLOCK.time()

    def test_monotonic_is_the_machine_s(self):
        """For deadlines, which must not jump."""
        before = time.monotonic()

        assert before <= SYSTEM_CLOCK.monotonic() <= time.monotonic()

    def test_waits_for_a_wake(self):
        """True if it was set, False if the time was over."""
        wake = Wake()
        wake.set()

        assert [True, False] == [SYSTEM_CLOCK.wait(wake, None), SYSTEM_CLOCK.wait(wake, 0.0)]
