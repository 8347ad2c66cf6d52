"""Signals that strike at any step of a call, hundreds of times, with an end even where one gets lost."""

from __future__ import annotations

import gc
import itertools
import signal
from contextlib import contextmanager

CALLS_A_ROUND = 20_000
"""Far more than fit before the timer strikes; an exception that lands in a destructor goes nowhere, and ends
no loop."""


def interrupt_at_random(call, rounds, seconds=0.0005):
    """Call ``call`` with rising numbers while KeyboardInterrupt strikes; returns how often it did."""
    interrupts = 0
    numbers = itertools.count(1)

    def handler(signum, frame):
        raise KeyboardInterrupt

    def call_often():  # A loop inside the try would not be covered by it where it jumps back.
        for _ in range(CALLS_A_ROUND):
            call(next(numbers))

    before = signal.signal(signal.SIGALRM, handler)
    gc.disable()  # An exception inside the collector's own callbacks would go nowhere.
    try:
        for _ in range(rounds):
            try:
                signal.setitimer(signal.ITIMER_REAL, seconds)
                call_often()
            except KeyboardInterrupt:
                interrupts += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    return interrupts


@contextmanager
def struck_by_signals(handler, seconds):
    """Have ``handler`` called again and again, each time some ``seconds`` after the last one is done.

    One shot at a time: handlers inside each other without end are another story.
    """
    is_on = True

    def strike(signum, frame):
        handler()
        if is_on:
            signal.setitimer(signal.ITIMER_REAL, seconds)

    before = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        is_on = False  # First: a strike that is still to come must not start another.
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
