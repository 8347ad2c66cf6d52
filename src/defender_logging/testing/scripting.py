"""Say, answer by answer, how the local receiver shall behave instead of as its vendor would.

A connection asks the ``Script`` once for every request; the ``Answer`` that it gets is carried out there.
Answers are used up in order; then ``always`` holds; then the vendor's own rules.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from defender_logging.testing.exchange import Response

__all__ = ["Answer", "CutAt", "Script"]

CutAt = Literal[
    "before_request", "after_headers", "after_body", "in_answer_headers", "in_answer_body", "after_answer"
]
"""Where a connection is cut.

``before_request``: as soon as the connection opens, or when the next request begins on one that is open
already. ``after_headers``: the request's body is not read. ``after_body``: the request is read, nothing is
answered. ``in_answer_headers``, ``in_answer_body``: halfway. ``after_answer``: without having announced it.
"""

_CUTS = (
    "before_request",
    "after_headers",
    "after_body",
    "in_answer_headers",
    "in_answer_body",
    "after_answer",
)
_CUTS_BEFORE_BODY = ("before_request", "after_headers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer out of the ordinary. What is not given is as the vendor would do it.

    Attributes:
        status: HTTP status; None: the vendor's own answer, with the rest of this ``Answer`` applied to it.
        body: bytes, text, or a value that is written as JSON. Only used with ``status``.
        headers: a mapping, or pairs where a name is repeated; added to the vendor's when there is no
            ``status``.
        takes_entries: whether the entries are remembered as arrived. None: with a ``status`` no, without as
            the vendor decides.
        delay_seconds: pause right before the answer or the cut.
        wait_for: an event to wait for at the same place, for at most ``wait_at_most_seconds`` (None: for
            ever).
        drip_seconds: pause after each byte of the answer.
        cut_at: where the connection is cut; None: nowhere.
        cut_with: ``reset`` (RST) or ``close`` (an orderly FIN).
        raw: bytes to write in place of an HTTP answer; the connection is closed after them.

    Raises:
        ValueError: the parts contradict each other.
    """

    status: int | None = None
    body: Any = b""
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()
    takes_entries: bool | None = None
    delay_seconds: float = 0
    wait_for: threading.Event | None = None
    wait_at_most_seconds: float | None = 30
    drip_seconds: float = 0
    cut_at: CutAt | None = None
    cut_with: Literal["reset", "close"] = "reset"
    raw: bytes | None = field(default=None)

    def __post_init__(self) -> None:
        """Refuse what could never happen, so that no test passes by accident."""
        if self.cut_at is not None and self.cut_at not in _CUTS:
            raise ValueError(f"cut_at={self.cut_at!r} is no point of an exchange; choose one of {_CUTS}")
        if self.cut_with not in ("reset", "close"):
            raise ValueError(f"cut_with={self.cut_with!r} is not known; choose 'reset' or 'close'")
        if self.takes_entries and self.is_cut_before_body:
            raise ValueError(f"takes_entries needs the body, which cut_at={self.cut_at!r} leaves unread")
        if self.status is None and self.body != b"":
            raise ValueError("body is only used with a status; give both")
        if self.delay_seconds < 0 or self.drip_seconds < 0:
            raise ValueError("delay_seconds and drip_seconds cannot be negative; give 0 or more")

    @property
    def is_cut_before_body(self) -> bool:
        """Whether the request's body stays unread."""
        return self.cut_at in _CUTS_BEFORE_BODY

    @property
    def is_begun(self) -> bool:
        """Whether the client gets to see a part of an HTTP answer."""
        return self.raw is None and not self.is_cut_before_body and self.cut_at != "after_body"

    @property
    def asks_vendor(self) -> bool:
        """Whether the vendor's rules have to judge the request, for the answer or for the entries."""
        if self.is_cut_before_body:
            return False
        return bool(self.takes_entries) or (
            self.status is None and (self.takes_entries is None or self.is_begun)
        )

    def applied_to(self, vendor: Response) -> Response:
        """The response to send, where the vendor's own would be ``vendor``."""
        pairs = self.headers.items() if isinstance(self.headers, Mapping) else self.headers
        own = tuple((name.lower(), value) for name, value in pairs)
        if self.status is None:
            given = {name for name, _ in own}
            return Response(
                vendor.status, tuple(h for h in vendor.headers if h[0] not in given) + own, vendor.body
            )
        if isinstance(self.body, bytes):
            return Response(self.status, own, self.body)
        if isinstance(self.body, str):
            return Response(self.status, own, self.body.encode())
        if not any(name == "content-type" for name, _ in own):
            own = (("content-type", "application/json"), *own)
        return Response(self.status, own, json.dumps(self.body).encode())


_ORDINARY = Answer()


class Script:
    """The answers that are still to come. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: list[tuple[str, Answer]] = []
        self._always: list[tuple[str, Answer]] = []

    def add(self, answers: Sequence[Answer], path: str) -> None:
        """Queue answers for requests whose path begins with ``path``."""
        with self._lock:
            self._queue += [(path, answer) for answer in answers]

    def always(self, answer: Answer, path: str) -> None:
        """Hold ``answer`` for every such request that finds none in the queue; replaces an earlier one."""
        with self._lock:
            self._always = [held for held in self._always if held[0] != path]
            self._always.append((path, answer))
            self._always.sort(key=lambda held: -len(held[0]))  # The longest prefix knows best.

    def clear(self) -> None:
        """Forget all answers."""
        with self._lock:
            self._queue.clear()
            self._always.clear()

    def __len__(self) -> int:
        """How many queued answers have not been used."""
        with self._lock:
            return len(self._queue)

    def take(self, path: str) -> Answer:
        """Take the answer for a request to ``path``; an empty ``Answer`` when there is none."""
        with self._lock:
            for index, (prefix, answer) in enumerate(self._queue):
                if path.startswith(prefix):
                    del self._queue[index]
                    return answer
            return next((answer for prefix, answer in self._always if path.startswith(prefix)), _ORDINARY)

    def take_before_request(self) -> Answer | None:
        """Take the next answer only if it cuts a connection that has not said anything yet."""
        with self._lock:
            held = (self._queue or self._always or [("", _ORDINARY)])[0]
            if held[0] or held[1].cut_at != "before_request":
                return None
            if self._queue:
                del self._queue[0]
            return held[1]
