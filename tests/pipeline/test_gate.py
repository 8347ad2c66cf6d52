"""A gate shuts for the whole destination, longer each time, and opens by time, a new key, or once for a flush."""

from __future__ import annotations

from itertools import pairwise

import pytest

from defender_logging._pipeline.delivery import Pause, Settlement
from defender_logging._pipeline.entry import Entry
from defender_logging._pipeline.gate import KEY_CHECK_SECONDS, Gate
from defender_logging._pipeline.policy import Policy

POLICY = Policy(
    max_batch_entries=10,
    max_batch_bytes=100_000,
    flush_interval_seconds=1.0,
    compression="none",
    retry_initial_seconds=1.0,
    retry_max_seconds=8.0,
    retry_after_max_seconds=600.0,
    hold_retry_seconds=300.0,
)
DELIVERED = Settlement(delivered=(Entry(1, b"x"),))
BUSY = Settlement(pause=Pause.BACKOFF, reason="busy")
HELD = Settlement(pause=Pause.HOLD, reason="no such index")
BAD_KEY = Settlement(pause=Pause.HOLD, reason="bad key", refreshes_key=True)
SPLIT = Settlement(reason="too large")


class Rig:
    """A gate, and the moment."""

    def __init__(self, draw=1.0):
        self.gate = Gate(POLICY, lambda: draw)
        self.now = 1000.0

    def note(self, settlement, *, asked=0.0, has_new_key=False, round_=None):
        return self.gate.note(
            settlement,
            self.now,
            round_=self.gate.round if round_ is None else round_,
            asked_seconds=asked,
            has_new_key=has_new_key,
        )

    @property
    def left(self):
        return self.gate.seconds_left(self.now)


@pytest.mark.parametrize(
    ("settlement", "asked", "left", "pause"),
    [
        (DELIVERED, 0, 0, Pause.NONE),
        (BUSY, 0, 1, Pause.BACKOFF),
        (BUSY, 30, 30, Pause.BACKOFF),
        (BUSY, 0.5, 1, Pause.BACKOFF),
        (HELD, 0, 300, Pause.HOLD),
        (HELD, 400, 400, Pause.HOLD),
        (BAD_KEY, 0, KEY_CHECK_SECONDS, Pause.HOLD),
        (SPLIT, 0, 0, Pause.NONE),
        (SPLIT, 30, 30, Pause.NONE),
    ],
)
def test_shuts_for_as_long_as_the_answer_says(settlement, asked, left, pause):
    """The larger of our own wait and the receiver's wish."""
    rig = Rig()
    assert 0 == rig.left

    assert rig.note(settlement, asked=asked)
    assert (left, pause) == (rig.left, rig.gate.pause)


def test_waits_longer_each_time_until_something_is_delivered():
    """1, 2, 4, 8, 8 s; a delivery begins anew."""
    rig = Rig()
    waits = []
    for _ in range(5):
        rig.note(BUSY)
        waits.append(rig.left)
        rig.now += rig.left
    rig.note(DELIVERED)
    rig.note(BUSY)

    assert [1, 2, 4, 8, 8, 1] == [*waits, rig.left]


@pytest.mark.parametrize(("asked", "left"), [(0, 0), (0.5, 0), (30, 30)])
def test_a_flush_passes_our_own_wait_once_and_never_the_receivers(asked, left):
    """Somebody waits, and the receiver may have come back; but what it asked for is kept."""
    rig = Rig()
    rig.note(BUSY, asked=asked)
    rig.gate.let_one_pass()
    assert left == rig.left
    rig.gate.note_request()

    assert max(1, asked) == rig.left


def test_a_new_key_opens_at_once():
    """Whether it is new at the answer or later."""
    rig = Rig()
    rig.note(BAD_KEY, has_new_key=True)
    assert 0 == rig.left
    rig.note(BAD_KEY)
    assert KEY_CHECK_SECONDS == rig.left
    assert not rig.gate.is_key_check_due(rig.now)
    rig.now += KEY_CHECK_SECONDS
    assert [True, False] == [rig.gate.is_key_check_due(rig.now) for _ in range(2)]
    assert KEY_CHECK_SECONDS == rig.left
    rig.gate.open(rig.now)

    assert 0 == rig.left


class TestManyUnderWay:
    """Requests of one round come back one after the other."""

    def test_one_trouble_counts_once(self):
        """Eight refusals of one moment are no eight failures in a row."""
        rig = Rig()
        began = rig.gate.round
        news = [rig.note(BUSY, round_=began) for _ in range(8)]

        assert [True] + [False] * 7 == news
        assert 1 == rig.left
        rig.now += 1
        assert rig.note(BUSY)
        assert 2 == rig.left

    def test_a_success_of_before_does_not_open(self):
        """The refusal came later, so it knows better."""
        rig = Rig()
        began = rig.gate.round
        rig.note(BUSY, round_=began)

        assert not rig.note(DELIVERED, round_=began)
        assert (1, Pause.BACKOFF) == (rig.left, rig.gate.pause)

    def test_a_failure_of_before_does_not_shut_again(self):
        """A request that hung until its timeout says nothing about a receiver that has answered since."""
        rig = Rig()
        began = rig.gate.round
        rig.note(BUSY, round_=began)
        rig.now += 1
        rig.note(DELIVERED)

        assert not rig.note(BUSY, round_=began)
        assert (0, Pause.NONE) == (rig.left, rig.gate.pause)

    def test_the_longest_wish_counts(self):
        """Of several Retry-After the latest moment, in whatever order they come."""
        for wishes in ([10, 40, 20], [40, 10, 20]):
            rig = Rig()
            began = rig.gate.round
            lefts = []
            for asked in wishes:
                rig.note(BUSY, asked=asked, round_=began)
                lefts.append(rig.left)
            rig.gate.let_one_pass()

            assert 40 == rig.left
            assert all(first <= second for first, second in pairwise(lefts))

    def test_a_hold_is_worse_than_a_backoff(self):
        """A refused key must not wait behind a busy answer of the same moment; the other way round nothing changes."""
        rig = Rig()
        began = rig.gate.round
        rig.note(BUSY, round_=began)
        assert rig.note(BAD_KEY, round_=began)
        assert (KEY_CHECK_SECONDS, Pause.HOLD) == (rig.left, rig.gate.pause)

        assert not rig.note(BUSY, round_=began)
        assert (KEY_CHECK_SECONDS, Pause.HOLD) == (rig.left, rig.gate.pause)
