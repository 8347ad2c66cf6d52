"""Carry the bytes of one connection between a client and a receiver, as badly as a ``Link`` says.

The proxy makes one ``Relay`` for each accepted connection and runs it in a thread. It knows bytes only, no HTTP
and no TLS. Nothing in it blocks but one ``select``, so ``end`` and a cut take effect at once.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from defender_logging.clock import SYSTEM_CLOCK

__all__ = ["Link", "Order", "Relay", "Traffic"]

Order = Literal["end", "reset", "silence"]
"""What a relay may be told: to close both sides, to reset both, or to let nothing pass any more."""

_PIECE_BYTES = 65_536
_HELD_BYTES = 262_144  # per way; beyond, nothing more is read, as with the buffers of a real line
_SLOW_PIECE_SECONDS = 0.05  # a slow way passes what it may carry in this time at once
_CONNECT_SECONDS = 10.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, for 0 seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How one connection is carried. Without arguments: as well as this machine can.

    Attributes:
        latency_seconds: each piece arrives this much later, either way.
        sent_bytes_per_second: what the way from the client to the receiver carries; None: any amount.
        received_bytes_per_second: the same for the way back.
        cut_after_sent: cut once exactly this many bytes have gone to the receiver; 0: before the first.
        cut_after_received: cut once exactly this many bytes have come back; 0: when the receiver begins to
            answer, before the client sees any of it.
        cut_with: ``reset`` (RST, to both sides) or ``silence``: nothing passes any more, nobody is told.

    Raises:
        ValueError: a number is out of range.
    """

    latency_seconds: float = 0
    sent_bytes_per_second: float | None = None
    received_bytes_per_second: float | None = None
    cut_after_sent: int | None = None
    cut_after_received: int | None = None
    cut_with: Literal["reset", "silence"] = "reset"

    def __post_init__(self) -> None:
        """Refuse what could never happen, so that no test passes by accident."""
        for name in ("latency_seconds", "cut_after_sent", "cut_after_received"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; give 0 or more")
        for name in ("sent_bytes_per_second", "received_bytes_per_second"):
            rate = getattr(self, name)
            if rate is not None and rate <= 0:
                raise ValueError(f"{name} is {rate!r}; give more than 0, or None for any amount")
        if self.cut_with not in ("reset", "silence"):
            raise ValueError(f"cut_with={self.cut_with!r} is not known; choose 'reset' or 'silence'")


class Traffic:
    """What all connections of a proxy have carried together. Safe to use from any thread."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.sent_bytes = 0
        self.received_bytes = 0
        self.connections = 0
        self.cuts = 0

    def count_connection(self) -> None:
        """Count one more, and wake who waits for it."""
        with self.changed:
            self.connections += 1
            self.changed.notify_all()

    def count_cut(self) -> None:
        """Count one more, and wake who waits for it."""
        with self.changed:
            self.cuts += 1
            self.changed.notify_all()

    def count_sent(self, send: Callable[[], int]) -> int:
        """Send without blocking and count it in one step: whoever has the bytes finds them counted."""
        with self.changed:
            sent = send()
            self.sent_bytes += sent
            return sent

    def count_received(self, send: Callable[[], int]) -> int:
        """The same for the way back."""
        with self.changed:
            sent = send()
            self.received_bytes += sent
            return sent


class _CutError(Exception):
    """The connection has carried what it may."""


class _Way:
    """One direction: bytes that have been read and wait for their time."""

    def __init__(
        self,
        source: socket.socket,
        target: socket.socket,
        *,
        latency_seconds: float,
        bytes_per_second: float | None,
        cut_after: int | None,
        count: Callable[[Callable[[], int]], int],
    ) -> None:
        self.source = source
        self.target = target
        self.reads = True
        self._latency_seconds = latency_seconds
        self._rate = bytes_per_second
        self._left = cut_after
        self._count = count
        self._held: deque[tuple[float, memoryview]] = deque()
        self._free_at = 0.0
        self._is_blocked = False

    @property
    def wants_more(self) -> bool:
        """Whether the source should be read."""
        return self.reads and sum(len(piece) for _, piece in self._held) < _HELD_BYTES

    @property
    def is_blocked(self) -> bool:
        """Whether the target has to become writable first."""
        return self._is_blocked

    @property
    def is_done(self) -> bool:
        """Whether the source has ended and all of it has been passed on."""
        return not self.reads and not self._held

    def read(self, now: float) -> None:
        """Take what the source has; at its end, tell the target once all is through."""
        data = self.source.recv(_PIECE_BYTES)
        if data and self._left == 0:
            raise _CutError
        if data:
            self._held.append((now + self._latency_seconds, memoryview(data)))
        else:
            self.reads = False
            self._pass_the_end_on()

    def forward(self, now: float) -> float | None:
        """Send what is due; seconds until the next piece is, None when there is none or the target is full."""
        self._is_blocked = False
        while self._held:
            due, piece = self._held[0]
            wait = max(due, self._free_at) - now
            if wait > 0:
                return wait
            part = piece[: self._allowed(len(piece))]
            try:
                sent = self._count(partial(self.target.send, part))
            except BlockingIOError:
                self._is_blocked = True
                return None
            self._note(now, sent)
            if sent < len(piece):
                self._held[0] = (due, piece[sent:])
            else:
                self._held.popleft()
            if self._left == 0:
                raise _CutError
        if not self.reads:
            self._pass_the_end_on()
        return None

    def _allowed(self, count: int) -> int:
        if self._rate is not None:
            count = min(count, max(1, int(self._rate * _SLOW_PIECE_SECONDS)))
        return count if self._left is None else min(count, self._left)

    def _note(self, now: float, sent: int) -> None:
        if self._rate is not None:
            self._free_at = now + sent / self._rate
        if self._left is not None:
            self._left -= sent

    def _pass_the_end_on(self) -> None:
        if not self._held:
            with contextlib.suppress(OSError):  # the target is gone already
                self.target.shutdown(socket.SHUT_WR)


class Relay:
    """One connection through the proxy. ``run`` belongs to its thread; all else is for any."""

    def __init__(
        self, accepted: socket.socket, target: tuple[str, int], link: Link, traffic: Traffic
    ) -> None:
        self._client = accepted
        self._target = target
        self._link = link
        self._traffic = traffic
        self._receiver: socket.socket | None = None
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._lock = threading.Lock()  # so that nobody writes to a socket that is closed
        self._order: Order | None = None
        self._is_silent = False

    def run(self) -> None:
        """Carry until both sides have ended, or the link is cut."""
        self._traffic.count_connection()
        try:
            self._receiver = socket.create_connection(self._target, timeout=_CONNECT_SECONDS)
            self._carry(self._receiver)
        except OSError:  # cut; or one side was reset or is not there, and the other one sees a reset, too
            self._reset_on_close()
        finally:
            self._close()

    def end(self) -> None:
        """Close both sides from another thread; ``run`` returns soon."""
        self.order("end")

    def order(self, order: Order) -> None:
        """Have the connection ended, reset or silenced."""
        with self._lock:
            self._order = order
            if self._wake_writer.fileno() >= 0:
                with contextlib.suppress(OSError):
                    self._wake_writer.send(b"x")

    def forget(self) -> None:
        """Close a forked child's copies without a word to either side."""
        for copy in (self._client, self._receiver, self._wake_reader, self._wake_writer):
            if copy is not None:
                copy.close()

    def _carry(self, receiver: socket.socket) -> None:
        for one in (self._client, receiver):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.setblocking(False)
        ways = self._ways(receiver)
        while not all(way.is_done for way in ways) and self._order != "end":
            try:
                self._step(ways)
            except _CutError:
                self._cut(self._link.cut_with)

    def _step(self, ways: tuple[_Way, _Way]) -> None:
        """Pass on what is due, wait for the next thing to do, and read what is there."""
        now = SYSTEM_CLOCK.monotonic()
        waits = [] if self._is_silent else [way.forward(now) for way in ways]
        ready = self._select(ways, min((wait for wait in waits if wait is not None), default=None))
        if self._wake_reader in ready:
            self._wake_reader.recv(1)
            if self._order in ("reset", "silence"):
                self._cut(self._order)
        for way in ways:
            if way.source in ready and self._is_silent:
                self._swallow(way)
            elif way.source in ready:
                way.read(SYSTEM_CLOCK.monotonic())

    def _swallow(self, way: _Way) -> None:
        """Let what comes go nowhere; the client's end ends the connection, the receiver's is hidden from it."""
        try:
            has_ended = not way.source.recv(_PIECE_BYTES)
        except ConnectionError:
            has_ended = True
        if has_ended:
            way.reads = False
            if way.source is self._client:
                self._order = "end"

    def _cut(self, how: str) -> None:
        if not self._is_silent:
            self._traffic.count_cut()
        if how == "reset":
            raise ConnectionResetError("cut")
        self._is_silent = True

    def _ways(self, receiver: socket.socket) -> tuple[_Way, _Way]:
        link = self._link
        return (
            _Way(
                self._client,
                receiver,
                latency_seconds=link.latency_seconds,
                bytes_per_second=link.sent_bytes_per_second,
                cut_after=link.cut_after_sent,
                count=self._traffic.count_sent,
            ),
            _Way(
                receiver,
                self._client,
                latency_seconds=link.latency_seconds,
                bytes_per_second=link.received_bytes_per_second,
                cut_after=link.cut_after_received,
                count=self._traffic.count_received,
            ),
        )

    def _select(self, ways: tuple[_Way, _Way], timeout: float | None) -> set[object]:
        """Wait for the next thing to do, and return the sockets that can be read."""
        events: dict[socket.socket, int] = {self._wake_reader: selectors.EVENT_READ}
        for way in ways:
            if way.wants_more or (self._is_silent and way.reads):
                events[way.source] = events.get(way.source, 0) | selectors.EVENT_READ
            if way.is_blocked and not self._is_silent:
                events[way.target] = events.get(way.target, 0) | selectors.EVENT_WRITE
        with selectors.DefaultSelector() as selector:
            for one, wanted in events.items():
                selector.register(one, wanted)
            return {key.fileobj for key, found in selector.select(timeout) if found & selectors.EVENT_READ}

    def _reset_on_close(self) -> None:
        for one in (self._client, self._receiver):
            if one is not None:
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def _close(self) -> None:
        with self._lock:
            self.forget()
