"""Listen on a port of this machine and give each connection a thread.

The receiver and the proxy start, stop, close and open their port here; what is said on a connection is the
business of ``connection`` and ``relay``. Stopping takes bounded time and leaves no thread and no socket behind.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import socket
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

_BACKLOG = 1024
_STOP_SECONDS = 5.0


class Served(Protocol):
    """One accepted connection. ``run`` belongs to its thread; others may call ``end`` and ``forget``."""

    def run(self) -> None:
        """Serve until one side closes."""
        ...

    def end(self) -> None:
        """Have ``run`` return soon."""
        ...

    def forget(self) -> None:
        """Close a forked child's copy without a word to the peer."""
        ...


class Server:
    """One port, open (``listen``), closed but kept (``refuse``), or given back (``stop``).

    Threads: all methods may be called from any thread, one at a time.

    Args:
        host: the address to bind to.
        port: 0 for any free one.
        make_connection: serves an accepted socket, counted from 1.
        name: for the threads.
    """

    def __init__(
        self, host: str, port: int, make_connection: Callable[[socket.socket, int], Served], *, name: str
    ) -> None:
        self.port = port
        self._host = host
        self._make_connection = make_connection
        self._name = name
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._connections: dict[Served, threading.Thread] = {}
        self._listener: socket.socket | None = None
        self._acceptor: _Acceptor | None = None
        _close_in_forked_children(self)

    def bind(self) -> None:
        """Reserve the port; connecting is refused until ``listen``.

        Raises:
            OSError: the port is taken.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            # Connections of the time before may linger on the port, which must not forbid to bind it; but
            # nobody else may bind it while it is only reserved.
            _set_reuse(listener, is_allowed=True)
            listener.bind((self._host, self.port))
            _set_reuse(listener, is_allowed=False)
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        self._listener = listener

    def listen(self) -> None:
        """Take connections on the reserved port."""
        if self._listener is None:
            raise RuntimeError(f"the {self._name} is not started; call start() first")
        if self._acceptor is None:
            _set_reuse(self._listener, is_allowed=True)
            self._listener.listen(_BACKLOG)
            self._acceptor = _Acceptor(self._listener, self._begin, f"{self._name}-{self.port}-accept")

    def refuse(self) -> None:
        """Close the port and all connections, as a process that died, but keep the port."""
        if self._listener is not None:
            self.stop()
            self.bind()

    def stop(self) -> None:
        """Close everything and wait for the threads.

        Raises:
            RuntimeError: a thread did not end within 5 seconds.
        """
        if self._acceptor is not None:
            self._acceptor.stop()
            self._acceptor = None
        if self._listener is not None:
            with contextlib.suppress(OSError):  # A forked child may hold a copy still, which this ends too.
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            threads = dict(self._connections)
        for connection in threads:
            connection.end()
        for thread in threads.values():
            if thread is not threading.current_thread():
                thread.join(_STOP_SECONDS)
        stuck = [thread.name for thread in threads.values() if thread.is_alive()]
        if stuck and threading.current_thread().name not in stuck:
            raise RuntimeError(f"threads of the {self._name} did not end within {_STOP_SECONDS} s: {stuck}")

    def forget(self) -> None:
        """Close a forked child's copies, so that only the parent holds the port and its connections."""
        if self._acceptor is not None:
            self._acceptor.forget()
            self._acceptor = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in self._connections:
            connection.forget()
        self._connections = {}

    def _begin(self, accepted: socket.socket) -> None:
        """Serve one connection in a thread of its own."""
        accepted.setblocking(True)
        number = next(self._numbers)
        connection = self._make_connection(accepted, number)
        name = f"{self._name}-{self.port}-{number}"
        thread = threading.Thread(target=self._serve, args=(connection,), name=name, daemon=True)
        with self._lock:
            self._connections[connection] = thread
        try:
            thread.start()
        except RuntimeError:  # the machine has no thread left: the client finds its connection closed
            with self._lock:
                del self._connections[connection]
            connection.forget()

    def _serve(self, connection: Served) -> None:
        """The life of a connection's thread."""
        try:
            connection.run()
        finally:
            with self._lock:
                self._connections.pop(connection, None)


def _set_reuse(listener: socket.socket, *, is_allowed: bool) -> None:
    """Set ``SO_REUSEADDR``, except on Windows, where it would let two servers share a port."""
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(is_allowed))


class _Acceptor:
    """A thread that hands over each new connection until it is stopped."""

    def __init__(self, listener: socket.socket, begin: Callable[[socket.socket], None], name: str) -> None:
        self._listener = listener
        self._begin = begin
        self._wake_reader, self._wake_writer = socket.socketpair()
        listener.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the listener stays open."""
        self._wake_writer.send(b"x")
        self._thread.join(_STOP_SECONDS)
        self.forget()

    def forget(self) -> None:
        """Close the sockets that wake the thread."""
        self._wake_reader.close()
        self._wake_writer.close()

    def _run(self) -> None:
        """Accept until woken."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake_reader, selectors.EVENT_READ)
            while all(key.fileobj is not self._wake_reader for key, _ in selector.select()):
                with contextlib.suppress(OSError):  # the client gave up before it was accepted
                    self._begin(self._listener.accept()[0])


_live: weakref.WeakSet[Server] = weakref.WeakSet()
_hook_once = threading.Lock()


def _close_in_forked_children(server: Server) -> None:
    """Have a forked child drop its copies of the sockets.

    While a child holds a copy, closing in the parent would neither free the port nor end a connection.
    """
    if hasattr(os, "register_at_fork") and _hook_once.acquire(blocking=False):
        os.register_at_fork(after_in_child=_forget_all)
    _live.add(server)


def _forget_all() -> None:
    """In a forked child: close the copies of all receivers' sockets."""
    for server in list(_live):
        server.forget()
