"""A lane carries one request at a time and always comes back with an answer."""

from __future__ import annotations

import threading

import pytest

from defender_logging._pipeline import threads
from defender_logging._pipeline.acks import AckBook
from defender_logging._pipeline.lanes import Flight, Lanes
from defender_logging._pipeline.wire import WireRequest
from defender_logging.clock import Wake
from defender_logging.destinations.base import Response
from defender_logging.testing import FakeClock, FakeTransport

OK = Response(200)
FLIGHT = Flight(None, WireRequest("/", {}, b"x"))


class Rig:
    def __init__(self, answers=(), *, then=OK, highest=4):
        self.wake = Wake()
        self.clock = FakeClock()
        self.transport = FakeTransport(answers, then=then)
        self.lanes = Lanes(
            "TestHandler",
            self.transport,
            highest,
            make_book=lambda: AckBook(300.0),
            wake=self.wake,
            clock=self.clock,
        )

    def begin(self):
        lane = self.lanes.free_one()
        self.lanes.begin(lane, FLIGHT)
        return lane

    def answer(self):
        """Take an answer, as the sender does."""
        answer = self.lanes.next_answer()
        if answer is None:
            assert self.wake.wait(20)
            answer = self.lanes.next_answer()
        answer.lane.flight = None
        return answer


@pytest.fixture
def make():
    made = []

    def make_rig(*args, **kwargs):
        made.append(Rig(*args, **kwargs))
        return made[-1]

    yield make_rig
    for rig in made:
        rig.lanes.close()


def lane_threads(before):
    return [thread for thread in set(threading.enumerate()) - before if "lane" in thread.name]


@pytest.mark.parametrize("highest", [1, 4])
@pytest.mark.parametrize(
    "outcome", [OK, ValueError("bug"), MemoryError(), KeyboardInterrupt(), SystemExit(3)], ids=repr
)
def test_every_request_comes_back(make, highest, outcome):
    """Whatever the transport raises; the lane is of use afterwards."""

    def answer(_):
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    rig = make([answer], highest=highest)
    rig.begin()
    assert outcome is rig.answer().outcome
    rig.begin()

    assert OK is rig.answer().outcome


def test_a_thread_that_cannot_be_started_for_want_of_memory_is_an_answer_too(make, monkeypatch):
    """The batch goes again, instead of staying on a lane that nobody works on."""
    rig = make()

    def start(*_):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(threads, "start", start)
        rig.begin()
    assert isinstance(rig.answer().outcome, MemoryError)
    rig.begin()

    assert OK is rig.answer().outcome


def test_tells_how_long_it_took(make):
    """What the limit goes by; on the lane, so without the time that the sender needs to come by."""

    def slow(_):
        rig.clock.advance(0.25)
        return OK

    rig = make([slow])
    rig.begin()

    assert 0.25 == rig.answer().seconds


def test_an_idle_lane_is_used_before_a_new_one_is_made(make):
    """The first first, so that few connections are kept warm."""
    may_answer = threading.Event()
    rig = make(then=lambda _: may_answer.wait(20) and OK)
    first, second = rig.begin(), rig.begin()
    assert first is not second
    may_answer.set()
    rig.answer()
    rig.answer()

    assert first is rig.begin()
    rig.answer()
    assert 2 == len(list(rig.lanes))


def test_there_are_never_more_than_allowed(make):
    """The sender asks before it begins."""
    may_answer = threading.Event()
    rig = make(then=lambda _: may_answer.wait(20) and OK, highest=2)
    assert rig.lanes.have_free
    rig.begin()
    assert rig.lanes.have_free
    rig.begin()
    assert not rig.lanes.have_free
    assert 2 == len(rig.lanes.flights)
    may_answer.set()
    rig.answer()

    assert rig.lanes.have_free
    rig.answer()


def test_closing_ends_the_threads_and_a_later_request_starts_another(make):
    """An ended sender leaves no thread behind; a handler that is used again sends again."""
    before = set(threading.enumerate())
    rig = make()
    rig.begin()
    rig.answer()
    (thread,) = lane_threads(before)
    rig.lanes.close()
    thread.join(20)
    assert not thread.is_alive()
    assert rig.transport.is_closed
    rig.begin()

    assert OK is rig.answer().outcome
    assert 1 == len(lane_threads(before))


def test_one_at_a_time_has_no_thread(make):
    """The answer is there when ``begin`` returns."""
    before = set(threading.enumerate())
    rig = make(highest=1)
    rig.begin()

    assert OK is rig.lanes.next_answer().outcome
    assert [] == lane_threads(before)
    assert not rig.wake.is_set()


def test_a_forked_child_lets_go_of_all(make):
    """Each lane's connection is the parent's."""
    rig = make()
    rig.begin()
    rig.answer()
    rig.lanes.abandon()

    assert rig.transport.is_abandoned
