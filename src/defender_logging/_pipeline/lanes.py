"""Carries requests beside each other: each lane is one connection, with the acknowledgments that belong to it.

The sender begins a request on an idle lane and later takes the answer; it judges all answers itself, so its state
needs no lock. A lane only sends. Where one request at a time is allowed it does so in the sender's own thread, which
keeps the order and needs no other thread; else each lane has a thread, started with its first request.

Guaranteed
- A lane has at most one request under way, and its transport is used by one thread at a time: by its own while
  a request is under way, by the sender's else.
- Every request that begins comes back as one ``Answer``, whatever the transport or the start of a thread raises.
- Where no thread can be started (the interpreter ends, the limit of threads) the calling thread sends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from defender_logging._pipeline import threads
from defender_logging._pipeline.acks import AckBook, Parked
from defender_logging._pipeline.entry import Batch
from defender_logging._pipeline.source import Source
from defender_logging._pipeline.wire import Transport, WireRequest
from defender_logging.clock import Clock, Wake
from defender_logging.destinations.base import Response

__all__ = ["Answer", "Flight", "Lane", "Lanes"]


@dataclass(frozen=True, slots=True)
class Flight:
    """A request under way, and what it is about.

    Attributes:
        source: whom it is counted for.
        request: as it goes out.
        batch: its entries; None: it is a query.
        asked: the batches that a query asks about.
        body_bytes: of the body before compression.
        gate_round: which of the gate's rounds it was made in.
        is_second_try: it is the try after a stale connection.
    """

    source: Source
    request: WireRequest
    batch: Batch | None = None
    asked: tuple[Parked, ...] = ()
    body_bytes: int = 0
    gate_round: int = 0
    is_second_try: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a flight came to: a response, or what the transport raised, after so many seconds."""

    lane: Lane
    flight: Flight
    outcome: Response | BaseException
    seconds: float


class Lane:
    """One connection, and the receipts of what was sent over it."""

    def __init__(self, name: str, transport: Transport, book: AckBook, clock: Clock) -> None:
        self._name = name
        self.transport = transport
        self.book = book
        self._clock = clock
        self._go: Wake | None = None
        self.flight: Flight | None = None
        """What is under way, until the sender has taken the answer."""
        self.has_just_asked = False
        """Whether its last request was a query: queries and batches take turns."""

    def __repr__(self) -> str:
        return f"<Lane {self._name} {'busy' if self.flight else 'idle'}>"

    def carry(self) -> Answer:
        """Make the request in the calling thread."""
        assert self.flight is not None
        begun = self._clock.monotonic()
        outcome: Response | BaseException
        try:
            outcome = self.transport.send(self.flight.request)
        except BaseException as error:  # noqa: BLE001 - a lane that died would keep its batch for ever
            outcome = error
        return Answer(self, self.flight, outcome, self._clock.monotonic() - begun)

    def carry_in_thread(self, answer: Callable[[Answer], None]) -> bool:
        """Have the lane's thread make the request and call ``answer``; False if none can be started."""
        if self._go is None:
            go = Wake()
            if threads.start(self._name, lambda: self._run(go, answer)) is None:
                return False
            self._go = go
        self._go.set()
        return True

    def _run(self, go: Wake, answer: Callable[[Answer], None]) -> None:
        # ``_go`` says for which thread the lane's requests are: not for one that was told to end.
        while go.wait() and self._go is go:
            answer(self.carry())

    def end(self) -> None:
        """End the thread, after its request if there is one, else close the connection; both can begin anew."""
        go, self._go = self._go, None
        if go is not None:
            go.set()
        if self.flight is None:  # Nobody else uses it.
            self.transport.close()


class Lanes:
    """The lanes of one sender, at least one. All is for the sender, but ``abandon``, for a forked child.

    Args:
        name: of the destination, for the threads.
        transport: carries the first lane's requests; further lanes get others like it.
        highest: how many lanes there may be.
        make_book: makes the book of a lane.
        wake: set when an answer has come.
        clock: time.
    """

    def __init__(
        self,
        name: str,
        transport: Transport,
        highest: int,
        *,
        make_book: Callable[[], AckBook],
        wake: Wake,
        clock: Clock,
    ) -> None:
        self._name = name
        self._highest = highest
        self._make_book = make_book
        self._wake = wake
        self._clock = clock
        self._answers: deque[Answer] = deque()
        self._lanes: list[Lane] = []
        self._add_lane(transport)

    def __repr__(self) -> str:
        return f"<Lanes {self._lanes}>"

    def __iter__(self) -> Iterator[Lane]:
        return iter(tuple(self._lanes))

    def _add_lane(self, transport: Transport) -> Lane:
        name = f"{self._name} lane {len(self._lanes) + 1}"
        lane = Lane(name, transport, self._make_book(), self._clock)
        self._lanes.append(lane)
        return lane

    @property
    def idle(self) -> list[Lane]:
        """Those with nothing under way."""
        return [lane for lane in self._lanes if lane.flight is None]

    @property
    def flights(self) -> list[Flight]:
        """What is under way."""
        return [lane.flight for lane in self._lanes if lane.flight is not None]

    @property
    def have_free(self) -> bool:
        """Whether one is idle, or one more may be made."""
        return len(self._lanes) < self._highest or bool(self.idle)

    def free_one(self) -> Lane:
        """Return an idle lane, the first made first, or a new one; only where they ``have_free``."""
        if idle := self.idle:
            return idle[0]
        return self._add_lane(self._lanes[0].transport.another())

    def begin(self, lane: Lane, flight: Flight) -> None:
        """Make a request."""
        lane.flight = flight
        try:
            is_begun = self._highest > 1 and lane.carry_in_thread(self._take)
        except BaseException as error:  # noqa: BLE001 - without an answer the batch would stay on the lane for ever
            self._answers.append(Answer(lane, flight, error, 0.0))
            return
        if not is_begun:
            self._answers.append(lane.carry())

    def _take(self, answer: Answer) -> None:
        self._answers.append(answer)
        self._wake.set()

    def next_answer(self) -> Answer | None:
        """Return the answer that came first of those not yet taken; its lane stays busy until its flight is cleared."""
        return self._answers.popleft() if self._answers else None

    def limit(self, deadline: float) -> None:
        """From now on let no request last beyond ``deadline``."""
        for lane in self._lanes:
            lane.transport.limit(deadline)

    def close(self) -> None:
        """Close idle connections and end all threads, those with a request under way after it."""
        for lane in self._lanes:
            lane.end()

    def abandon(self) -> None:
        """Let go of all connections in a forked child."""
        for lane in self._lanes:
            lane.transport.abandon()
