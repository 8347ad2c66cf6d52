"""Our threads are daemons with a name, know that they are ours, and may be refused."""

from __future__ import annotations

import threading

import pytest

from defender_logging._pipeline import threads

BEYOND_ALL_MEMORY = 2**47
"""A stack of this size fits into no address space, so the system refuses the thread."""


@pytest.fixture
def no_threads():
    before = threading.stack_size(BEYOND_ALL_MEMORY)
    yield
    threading.stack_size(before)


def run(body, name="test"):
    answers = []
    thread = threads.start(name, lambda: answers.append(body()))
    thread.join(10)
    assert not thread.is_alive()
    return answers


class TestOurs:
    def test_ours_know_it(self):
        """Only what was started here is ours."""
        assert [True] == run(threads.is_ours)
        assert not threads.is_ours()

    def test_a_thread_started_by_ours_is_not_ours(self):
        """A user's code that runs in our thread (a destructor) may start threads of its own."""

        def inner():
            answers = []
            thread = threading.Thread(target=lambda: answers.append(threads.is_ours()))
            thread.start()
            thread.join(10)
            return answers

        assert [[False]] == run(inner)

    def test_they_are_named_daemons(self):
        """They never keep a process from ending, and a stack dump says whose they are."""
        ((name, is_daemon),) = run(
            lambda: (threading.current_thread().name, threading.current_thread().daemon), "SplunkHandler"
        )

        assert ("defender-logging-SplunkHandler", True) == (name, is_daemon)


class TestRefused:
    def test_a_refusal_is_an_answer(self, no_threads):
        """At the limit of threads there is None, no exception, and nothing runs."""
        ran = []

        assert threads.start("test", lambda: ran.append(1)) is None
        assert [] == ran

    def test_a_refused_thread_is_forgotten(self, no_threads):
        """It is not listed as one that has yet to start."""
        before = set(threading.enumerate())
        threads.start("test", lambda: None)

        assert set(threading.enumerate()) <= before
