"""A bad line on this machine: a TCP proxy between a sender and a receiver, both real, that a test can spoil.

A sender under test connects to ``port`` in place of the receiver's; each connection is carried by a ``Relay`` as
its ``Link`` says. What HTTP itself can say wrongly is the business of ``LocalReceiver.script``; here is what a
network does to any bytes, TLS included, and to receivers of other makes.
"""

from __future__ import annotations

import socket
import threading
import weakref
from collections import deque
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

from defender_logging.testing.relay import Link, Order, Relay, Traffic
from defender_logging.testing.server import Server

__all__ = ["TcpProxy"]


class TcpProxy:
    """Carries each connection to ``host`` and ``port``, well unless told otherwise.

    ::

        with LocalReceiver() as receiver, TcpProxy(port=receiver.port) as proxy:
            proxy.script(Link(cut_after_received=0))  # a reset after the request, before the answer
            handler = ApiKeyHandler(url=proxy.through(receiver.generic_url))

    It starts and stops with ``with``, or by ``start()`` and ``stop()``. Every method may be called from any
    thread.

    Args:
        host: where the receiver listens.
        port: on which port.
        listen_port: its own; 0 for any free one.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int, listen_port: int = 0) -> None:
        self._target = (host, port)
        self._listen_port = listen_port
        self._traffic = Traffic()
        self._lock = threading.Lock()
        self._links: deque[Link] = deque()
        self._always = Link()
        self._relays: weakref.WeakSet[Relay] = weakref.WeakSet()
        self._server: Server | None = None

    def __repr__(self) -> str:
        """Name both ends and the counts."""
        counts = f"{self.connection_count} connections, {self.cut_count} cut"
        return f"<TcpProxy 127.0.0.1:{self.port} to {self._target[0]}:{self._target[1]}, {counts}>"

    def __enter__(self) -> TcpProxy:  # noqa: PYI034 - because Self needs Python 3.11
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def start(self) -> TcpProxy:
        """Open the port; a second call does nothing. Started again, it keeps its port.

        Raises:
            OSError: the port is taken.
        """
        if self._server is None:
            server = Server("127.0.0.1", self._listen_port, self._relay, name="proxy")
            server.bind()
            server.listen()
            self._server, self._listen_port = server, server.port
        return self

    def stop(self) -> None:
        """Close the port and all connections and wait for the threads; a second call does nothing."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    @property
    def port(self) -> int:
        """The port to connect to; 0 before the first start when any was asked for."""
        return self._listen_port

    def through(self, url: str) -> str:
        """Return the receiver's ``url`` with the proxy's address in place of its own."""
        return urlunsplit(urlsplit(url)._replace(netloc=f"127.0.0.1:{self.port}"))

    def script(self, *links: Link) -> None:
        """Queue links for the next connections, each used once."""
        with self._lock:
            self._links += links

    def always(self, link: Link) -> None:
        """Give ``link`` to every connection that finds none queued, until ``restore``."""
        with self._lock:
            self._always = link

    def restore(self) -> None:
        """Carry new connections well again; forget what was queued. Open connections stay as they are."""
        with self._lock:
            self._links.clear()
            self._always = Link()

    def reset(self) -> None:
        """Reset every open connection, both sides of it."""
        self._order("reset")

    def silence(self) -> None:
        """Let nothing pass on the open connections any more, and tell nobody."""
        self._order("silence")

    def refuse(self) -> None:
        """Close the port and every connection, so that connecting is refused, but keep the port."""
        self._running_server().refuse()

    def listen(self) -> None:
        """Take connections again after ``refuse``, on the same port."""
        self._running_server().listen()

    @property
    def unused_links(self) -> int:
        """How many queued links have met no connection; 0 proves that every fault really happened."""
        with self._lock:
            return len(self._links)

    @property
    def connection_count(self) -> int:
        """How many connections have been made."""
        return self._traffic.connections

    @property
    def cut_count(self) -> int:
        """How many connections have been reset or silenced here."""
        return self._traffic.cuts

    @property
    def sent_bytes(self) -> int:
        """How many bytes have gone to the receiver."""
        with self._traffic.changed:
            return self._traffic.sent_bytes

    @property
    def received_bytes(self) -> int:
        """How many bytes have come back from it."""
        with self._traffic.changed:
            return self._traffic.received_bytes

    def wait_for(self, *, connections: int = 0, cuts: int = 0, timeout_seconds: float = 10.0) -> bool:
        """Block until at least so many connections were made and so many cut; False when the time was over first."""
        traffic = self._traffic
        with traffic.changed:
            return traffic.changed.wait_for(
                lambda: traffic.connections >= connections and traffic.cuts >= cuts, timeout_seconds
            )

    def _relay(self, accepted: socket.socket, _number: int) -> Relay:
        with self._lock:
            link = self._links.popleft() if self._links else self._always
            relay = Relay(accepted, self._target, link, self._traffic)
            self._relays.add(relay)
        return relay

    def _order(self, order: Order) -> None:
        with self._lock:
            relays = list(self._relays)
        for relay in relays:
            relay.order(order)

    def _running_server(self) -> Server:
        if self._server is None:
            raise RuntimeError("the proxy is not started; call start() first")
        return self._server
