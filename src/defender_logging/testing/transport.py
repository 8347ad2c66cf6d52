"""A transport without a socket, for tests of what sends: every answer is given beforehand.

Stands in for ``defender_logging._pipeline.transport.HttpTransport``; remembers the requests instead of
sending them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from defender_logging._pipeline.wire import Transport, TransportError, WireRequest
from defender_logging.destinations.base import Response

__all__ = ["FakeAnswer", "FakeTransport", "TransportError", "WireRequest"]

FakeAnswer = Response | Exception | Callable[[WireRequest], Response]
"""What one ``send`` comes to: a response, an exception to raise, or a function that returns or raises one."""


class FakeTransport:
    """Answers from a list. Safe to use from any thread.

    Args:
        answers: used up in order, one a request.
        then: the answer to every request after those; None: such a request is an AssertionError.
        key: what ``mask`` hides.
        key_changes: how many calls of ``refresh_key`` find a new key.
    """

    def __init__(
        self,
        answers: Iterable[FakeAnswer] = (),
        *,
        then: FakeAnswer | None = None,
        key: str = "",
        key_changes: int = 0,
    ) -> None:
        self._changed = threading.Condition()
        self._answers = deque(answers)
        self._then = then
        self._key = key
        self._key_changes = key_changes
        self._requests: list[WireRequest] = []
        self.is_closed = False
        self.is_abandoned = False

    def __repr__(self) -> str:
        """Name the counts; no request is shown."""
        return f"<FakeTransport {len(self._requests)} requests, {len(self._answers)} answers left>"

    @property
    def requests(self) -> list[WireRequest]:
        """A copy of what was sent, in order."""
        with self._changed:
            return list(self._requests)

    @property
    def unused_answers(self) -> int:
        """How many of ``answers`` have not been used."""
        with self._changed:
            return len(self._answers)

    def send(self, request: WireRequest) -> Response:
        """Remember the request and give the next answer.

        Raises:
            TransportError: or whatever exception the answer is.
            AssertionError: no answer was left.
        """
        with self._changed:
            self._requests.append(request)
            answer = self._answers.popleft() if self._answers else self._then
            self._changed.notify_all()
        if answer is None:
            raise AssertionError(
                f"no answer is left for request {len(self._requests)}; give one more, or then="
            )
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Response) else answer(request)

    def another(self) -> FakeTransport:
        """Return this one: all lanes take their answers from one list, and leave their requests in another."""
        return self

    def refresh_key(self) -> bool:
        """Whether the key has changed, which it does ``key_changes`` times."""
        with self._changed:
            self._key_changes -= 1
            return self._key_changes >= 0

    def mask(self, text: str) -> str:
        """Return ``text`` with the key hidden."""
        return text.replace(self._key, "***") if self._key else text

    def limit(self, deadline: float) -> None:
        """Do nothing: an answer takes no time here."""

    def close(self) -> None:
        """Remember that the connection was closed; a later ``send`` opens a new one, as the real one does."""
        self.is_closed = True

    def abandon(self) -> None:
        """Remember that the connection was let go of in a forked child."""
        self.is_abandoned = True

    def wait_for(self, *, requests: int, timeout_seconds: float = 10.0) -> bool:
        """Block until at least this many requests were sent; False when the time is over first."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._requests) >= requests, timeout_seconds)


if TYPE_CHECKING:
    _KEEPS_TO_THE_INTERFACE: Transport = FakeTransport()
