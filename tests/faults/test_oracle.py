"""The oracle notices what it is there for: each kind of wrong trail fails its assertion, a right one passes."""

from __future__ import annotations

import json
import urllib.request

import pytest

from defender_logging import Stats


def entry(seq, *, ticket=None, stream="s", message=None, **others):
    """One entry as a handler would send it."""
    ticket = seq if ticket is None else ticket
    text = f"record {ticket}" if message is None else message
    return {
        "message": text,
        "ticket": ticket,
        "id": f"{stream}-{seq}",
        "stream": stream,
        "seq": seq,
        **others,
    }


def told(seq, ranges):
    return {"trail": "dropped", "ranges": ranges, "id": f"s-{seq}", "stream": "s", "seq": seq}


@pytest.fixture
def arrive(oracle, receiver):
    """Note three tickets as logged, and let given entries arrive."""

    def post(*entries):
        for ticket in (1, 2, 3):
            oracle.note(ticket, "thread", message=f"record {ticket}")
        request = urllib.request.Request(receiver.generic_url, json.dumps(entries).encode(), method="POST")
        urllib.request.urlopen(request, timeout=10).close()

    return post


ALL = Stats(accepted=3, delivered=3)


def test_a_whole_trail_passes(arrive, oracle, receiver):
    """Three logged, three arrived, three counted."""
    arrive(entry(1), entry(2), entry(3))

    assert 3 == oracle.assert_conserved(receiver, ALL, fired=1)[0]["delivered"]


def dropped(count):
    return {"dropped": count, "dropped_by_reason": {"full": count}}


WRONG = {
    "no fault": ("did not happen", [entry(1), entry(2), entry(3)], ALL, {"fired": 0}),
    "a missing one": ("1 missing, not 0", [entry(1), entry(3)], Stats(accepted=3, delivered=2, **dropped(1)), {}),
    "another missing one": (
        "are others", [entry(1), entry(2)], Stats(accepted=3, delivered=2, **dropped(1)), {"missing": {2}},
    ),
    "a delivered one missing": ("2,", [entry(1), entry(3)], ALL, {"missing": 1}),
    "a sum that is wrong": ("accepted", [entry(1), entry(2), entry(3)], Stats(accepted=4, delivered=3), {}),
    "a rejected one arrived": (
        "3,",
        [entry(1), entry(2), entry(3)],
        Stats(accepted=3, delivered=2, rejected=1, rejected_by_reason={"6": 1}),
        {},
    ),
    "a duplicate": ("more than once", [entry(1), entry(2), entry(3), entry(3)], ALL, {}),
    "no duplicate": ("no duplicate was seen", [entry(1), entry(2), entry(3)], ALL, {"duplicates": "seen"}),
    "a duplicate not counted": ("not counted", [entry(1), entry(2), entry(3), entry(3)], ALL, {"duplicates": True}),
    "a second id": (
        "several ids", [entry(1), entry(2), entry(3), entry(4, ticket=3)], Stats(accepted=4, delivered=4), {},
    ),
    "a stranger": (
        "nobody logged", [entry(1), entry(2), entry(3), entry(4)], Stats(accepted=4, delivered=4), {},
    ),
    "changed content": ("changed on the way", [entry(1), entry(2), entry(3, message="other")], ALL, {}),
    "one id for two": (
        "two tickets",
        [entry(1), entry(2), entry(2, ticket=3)],
        Stats(accepted=2, delivered=2, duplicates_possible=1),
        {"duplicates": True},
    ),
    "out of order": ("out of order", [entry(1), entry(3), entry(2)], ALL, {}),
    "numbered out of order": ("another order", [entry(1, ticket=2), entry(2, ticket=1), entry(3)], ALL, {}),
    "told as dropped": (
        "told as dropped",
        [entry(1), entry(2), entry(3), told(4, [[2, 3]])],
        Stats(accepted=4, delivered=4),
        {},
    ),
}  # fmt: skip
"""What the assertion says, what arrived, the account, and what the case says of itself."""


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_trail_fails(arrive, oracle, receiver, case):
    """Each of these is a defect that some fault case has to find."""
    said, entries, account, given = WRONG[case]
    arrive(*entries)

    with pytest.raises(AssertionError, match=said):
        oracle.assert_conserved(receiver, account, **{"fired": 1, **given})
