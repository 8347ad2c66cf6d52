"""Batching takes from its sources by turns, older ones first, and knows when to wait for company."""

from __future__ import annotations

import pytest
from tests.pipeline.conftest import POLICY

from defender_logging._pipeline.batching import Batching
from defender_logging._pipeline.entry import Batch, Entry


class Source:
    """So many entries of one byte, taken as from a buffer."""

    def __init__(self, name, waiting, *, is_closed=False):
        self.name, self.waiting_entries, self.is_closed = name, waiting, is_closed

    @property
    def waiting_bytes(self):
        return self.waiting_entries

    pending = waiting_bytes

    def take(self, max_entries, max_bytes):
        count = min(self.waiting_entries, max_entries)
        self.waiting_entries -= count
        return tuple(Entry(number, b"x") for number in range(count))


@pytest.fixture
def batching():
    return Batching(POLICY, 1000.0)


def taken(batching):
    """Whose batches come, in order."""
    names = []
    while batching.bring_next(1000.0, is_compressed=True):
        source, _ = batching.again.popleft()
        names.append(source.name)
    return names


def test_sources_take_turns(batching):
    """Neither waits for the whole of the other."""
    batching.add_source(Source("a", 25))
    batching.add_source(Source("b", 15))
    batching.admit_sources()

    assert ["a", "b", "a", "b", "a"] == taken(batching)


def test_what_is_closed_goes_first_and_is_forgotten_when_empty(batching):
    """It is older than anything that comes."""
    batching.add_source(Source("new", 10))
    batching.add_source(Source("old", 20, is_closed=True))
    batching.admit_sources()

    assert ["old", "new", "old"] == taken(batching)
    assert ["new"] == [source.name for source in batching]


def test_a_source_has_one_place(batching):
    """One that is brought twice is not served twice as often; one that was forgotten may come again."""
    source, other = Source("a", 30), Source("b", 10)
    for each in (source, source, other):
        batching.add_source(each)
    batching.admit_sources()
    batching.add_source(source)
    batching.admit_sources()

    assert ["a", "b", "a", "a"] == taken(batching)


def test_what_goes_again_goes_before_all_else(batching):
    """And has waited long enough."""
    source = Source("a", 10)
    batching.add_source(source)
    batching.admit_sources()
    assert 1.0 == Batching(POLICY, 1000.0).seconds_to_gather(1000.0)
    first = (Source("lost", 0), Batch((Entry(1, b"x"),)))
    batching.again.append(first)

    assert 0.0 == batching.seconds_to_gather(1000.0)
    assert batching.bring_next(1000.0, is_compressed=True)
    assert first is batching.again[0]


@pytest.mark.parametrize(
    ("waiting", "is_closed", "is_hurried", "seconds"),
    [(9, False, False, 1.0), (10, False, False, 0.0), (1, True, False, 0.0), (1, False, True, 0.0)],
)
def test_waits_for_company_unless(batching, waiting, is_closed, is_hurried, seconds):
    """A full batch, a closed source or a hurry ends the waiting; time does as well."""
    batching.add_source(Source("a", waiting, is_closed=is_closed))
    batching.admit_sources()
    if is_hurried:
        batching.hurry()
    assert batching.have_waiting()

    assert seconds == batching.seconds_to_gather(1000.0)
    assert 0.0 == batching.seconds_to_gather(1001.0)


def test_all_sources_are_asked_what_waits_also_while_nothing_may_be_sent(batching):
    """Being asked makes a buffer number what is parked; else its callers would have to, each time for a thousand."""
    asked = []

    class Asked(Source):
        @property
        def waiting_bytes(self):
            return 0

        def __getattribute__(self, name):
            if name == "waiting_entries":
                asked.append(object.__getattribute__(self, "name"))
            return object.__getattribute__(self, name)

    for name in ("a", "b"):
        batching.add_source(Asked(name, 1))
    batching.admit_sources()
    batching.again.append((Source("held", 0), Batch((Entry(1, b"x"),))))

    assert batching.have_waiting()
    assert ["a", "b"] == asked
