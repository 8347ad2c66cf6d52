"""The housekeeper gives every spool its turn, and is there as long as one of them needs it."""

from __future__ import annotations

import threading
import time

from defender_logging._pipeline.housekeeper import ORPHAN_INTERVAL_SECONDS, Housekeeper
from defender_logging._pipeline.reports import Reports
from defender_logging.testing import FakeClock


class Patient:
    """Stands for a pipeline: remembers its turns."""

    label = "patient"

    def __init__(self, fault=None, segments=0, before_each_segment=lambda: None):
        self.segments, self.before_each_segment = segments, before_each_segment
        self.reports = Reports()
        self.syncs = self.searches = 0
        self.synced = threading.Event()
        self._fault = fault

    def sync(self):
        self.syncs += 1
        self.synced.set()
        if self._fault:
            raise self._fault

    def adopt_orphans(self, between):
        self.searches += 1
        for _ in range(self.segments):
            self.before_each_segment()
            between()


def make_idle(clock, *patients):
    """A housekeeper whose rounds the test makes."""
    housekeeper = Housekeeper(clock)
    housekeeper._pipelines.extend(patients)
    return housekeeper


def test_syncs_at_each_round_and_searches_every_half_minute():
    """A search at the start, then none until its time has come."""
    clock, patient = FakeClock(), Patient()
    housekeeper = make_idle(clock, patient)
    for _ in range(3):
        housekeeper.step()
    assert (3, 1) == (patient.syncs, patient.searches)

    clock.advance(ORPHAN_INTERVAL_SECONDS)
    housekeeper.step()
    assert (4, 2) == (patient.syncs, patient.searches)


def test_a_spool_that_fails_does_not_keep_others_from_their_turn():
    """The failure goes to the reports of its own pipeline."""
    ill, well = Patient(OSError("broken")), Patient()
    make_idle(FakeClock(), ill, well).step()

    assert (1, 1) == (well.syncs, well.searches)
    assert ill.reports
    assert not well.reports


def test_a_long_search_delays_no_sync():
    """Between two segments of an orphan, every spool that is due gets its turn."""
    clock = FakeClock()
    reader = Patient(segments=10, before_each_segment=lambda: clock.advance(0.2))
    other = Patient()
    make_idle(clock, reader, other).step()

    # At the start, and every third segment.
    assert (4, 4) == (reader.syncs, other.syncs)


def test_an_exit_waits_for_the_first_search():
    """So the shortest program sends what an earlier one left; bounded, whatever the disk does."""
    is_reading, may_go_on = threading.Event(), threading.Event()

    def read():
        is_reading.set()
        assert may_go_on.wait(10)

    patient = Patient(segments=1, before_each_segment=read)
    housekeeper = Housekeeper()
    housekeeper.watch(patient)
    assert is_reading.wait(10)
    opener = threading.Timer(0.05, may_go_on.set)
    opener.start()
    housekeeper.end_search(time.monotonic() + 20)

    assert may_go_on.is_set()
    assert (1, 1) == (patient.searches, housekeeper._searches_done)
    housekeeper.forget(patient)
    opener.join()


def test_an_exit_waits_no_longer_than_it_may():
    """Whatever the disk does."""
    is_reading, may_go_on = threading.Event(), threading.Event()

    def read():
        is_reading.set()
        assert may_go_on.wait(10)

    patient = Patient(segments=1, before_each_segment=read)
    housekeeper = Housekeeper()
    housekeeper.watch(patient)
    assert is_reading.wait(10)
    housekeeper.end_search(time.monotonic() + 0.01)

    assert 0 == housekeeper._searches_done
    may_go_on.set()
    housekeeper.forget(patient)


def test_begins_no_search_once_the_exit_has_waited():
    """What is adopted at the last moment would only be given back."""
    clock, patient = FakeClock(), Patient()
    housekeeper = make_idle(clock, patient)
    housekeeper.end_search(clock.monotonic())
    housekeeper.step()

    assert (1, 0) == (patient.syncs, patient.searches)


def own_threads():
    return [each for each in threading.enumerate() if each.name == "defender-logging-housekeeper"]


def test_one_thread_that_ends_with_the_last_spool_and_starts_again():
    """Watching from many threads at once gives one thread, and every pipeline its turn."""
    before = set(own_threads())
    housekeeper = Housekeeper()
    patients = [Patient() for _ in range(20)]
    for _ in range(2):
        starters = [threading.Thread(target=housekeeper.watch, args=[patient]) for patient in patients]
        for starter in starters:
            starter.start()
        for starter in starters:
            starter.join()
        for patient in patients:
            assert patient.synced.wait(5)
            patient.synced.clear()
        assert 1 == len(set(own_threads()) - before)
        for patient in patients:
            housekeeper.forget(patient)
        for thread in set(own_threads()) - before:
            thread.join(5)
            assert not thread.is_alive()


def test_survives_a_pipeline_whose_failure_is_no_exception():
    """Even SystemExit out of a chore does not end the thread."""
    housekeeper = Housekeeper()
    ill, well = Patient(SystemExit()), Patient()
    housekeeper.watch(ill)
    assert ill.synced.wait(5)
    housekeeper.watch(well)

    assert well.synced.wait(5)
    for patient in (ill, well):
        housekeeper.forget(patient)
