"""The account of the demo: numbers taken against ids that arrived."""

from collections import Counter

import pytest

from defender_logging.cli.demo_account import account

STATS = {"accepted": 3, "delivered": 1, "rejected": 0, "dropped": 0}


def test_all_arrived_once():
    """Every number from 1 on has arrived, and those that came after the snapshot are told apart."""
    row = account("splunk", STATS, Counter({"s-1": 1, "s-2": 1, "s-3": 1}))

    assert row.is_complete
    assert (3, 3, 2) == (row.accepted, row.delivered, row.at_the_end)


@pytest.mark.parametrize(
    ("stats", "ids", "missing", "repeated"),
    [
        (STATS, {"s-1": 1, "s-3": 1}, (2,), ()),
        (STATS, {"s-1": 1, "s-2": 2, "s-3": 1}, (), ("s-2",)),
        (STATS, {}, (1, 2, 3), ()),
        ({**STATS, "accepted": 0}, {}, (), ()),
        ({**STATS, "dropped": 1}, {"s-1": 1, "s-2": 1, "s-3": 1}, (), ()),
        (STATS, {"s-1": 1, "s-2": 1, "t-3": 1, "t-4": 1}, (), ()),
        (STATS, {"None": 1}, (1, 2, 3), ()),
    ],
)
def test_tells_what_is_not_right(stats, ids, missing, repeated):
    """A number missing, an id twice, a drop, a stranger, or nothing at all: not complete."""
    row = account("splunk", stats, Counter(ids))

    assert not row.is_complete
    assert (missing, repeated) == (row.missing, row.repeated)
