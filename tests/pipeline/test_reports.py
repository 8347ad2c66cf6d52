"""Reports wait until a thread that may log comes by, in order, and not for ever."""

from __future__ import annotations

import logging
import threading

import pytest

from defender_logging._pipeline.reports import LOGGER, MAX_WAITING_REPORTS, Reports


class Kept(logging.Handler):
    """Keeps the records; like our own, it takes no lock of the logging module."""

    def __init__(self):
        super().__init__()
        self.records = []

    def handle(self, record):
        self.records.append(record)
        return True


@pytest.fixture
def kept():
    handler = Kept()
    level, LOGGER.propagate = LOGGER.level, False
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    yield handler
    LOGGER.removeHandler(handler)
    LOGGER.setLevel(level)
    LOGGER.propagate = True


class TestEmitting:
    def test_logs_what_waits_in_order_once(self, kept):
        """On the logger that never enters our own handlers."""
        reports = Reports()
        reports.add(logging.WARNING, "one")
        reports.add(logging.INFO, "two")
        reports.emit()
        reports.emit()

        assert [(logging.WARNING, "one"), (logging.INFO, "two")] == [
            (record.levelno, record.getMessage()) for record in kept.records
        ]
        assert {"defender_logging"} == {record.name for record in kept.records}

    def test_a_sentence_is_no_format(self, kept):
        """A receiver's answer may have percent signs in it."""
        reports = Reports()
        reports.add(logging.WARNING, "100 %s of %d")
        reports.emit()

        assert ["100 %s of %d"] == [record.getMessage() for record in kept.records]

    def test_adding_logs_nothing(self, kept):
        """A worker's thread never calls into logging."""
        reports = Reports()
        reports.add(logging.ERROR, "one")

        assert [] == kept.records
        assert reports

    def test_is_false_when_nothing_waits(self, kept):
        """One look for each log call is all it costs."""
        reports = Reports()
        before = bool(reports)
        reports.add(logging.INFO, "one")
        during = bool(reports)
        reports.emit()

        assert [False, True, False] == [before, during, bool(reports)]

    def test_a_report_that_causes_another_ends(self, kept):
        """What is added while reports are logged goes out in the same round."""
        reports = Reports()

        class Adding(logging.Handler):
            def emit(self, record):
                if record.getMessage() == "one":
                    reports.add(logging.INFO, "two")

        adding = Adding()
        LOGGER.addHandler(adding)
        try:
            reports.add(logging.INFO, "one")
            reports.emit()
        finally:
            LOGGER.removeHandler(adding)

        assert ["one", "two"] == [record.getMessage() for record in kept.records]
        assert not reports

    def test_a_child_does_not_tell_what_its_parent_tells(self):
        """What waits is forgotten after a fork."""
        reports = Reports()
        reports.add(logging.WARNING, "one")
        reports.forget()

        assert not reports

    def test_a_filter_that_raises_is_not_the_caller_s_trouble(self, kept):
        """Many a filter wants an attribute that only the user's own records have; the rest is still told."""

        def wants_more(record):
            return record.request_id

        reports = Reports()
        reports.add(logging.WARNING, "one")
        reports.add(logging.WARNING, "two")
        LOGGER.addFilter(wants_more)
        try:
            reports.emit()
        finally:
            LOGGER.removeFilter(wants_more)

        assert not reports


class TestWaiting:
    def test_keeps_the_newest(self, kept):
        """A process that never logs again collects no more than this."""
        reports = Reports()
        for number in range(MAX_WAITING_REPORTS + 20):
            reports.add(logging.INFO, str(number))
        reports.emit()

        assert [str(number) for number in range(20, MAX_WAITING_REPORTS + 20)] == [
            record.getMessage() for record in kept.records
        ]

    def test_each_report_is_logged_once_by_many_threads(self, kept):
        """Threads that emit at the same time share the work."""
        reports = Reports()
        start = threading.Barrier(8, timeout=10)
        for number in range(MAX_WAITING_REPORTS):
            reports.add(logging.INFO, str(number))

        def emit():
            start.wait()
            reports.emit()

        threads = [threading.Thread(target=emit) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)

        assert {str(number) for number in range(MAX_WAITING_REPORTS)} == {
            record.getMessage() for record in kept.records
        }
        assert MAX_WAITING_REPORTS == len(kept.records)
