"""What holds for every test: the same examples for a change whenever CI judges it, and nothing left running."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading

import pytest
from hypothesis import settings

from defender_logging import lifecycle

# CI judges a change and not its luck; every other run looks for new examples.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")

# A shell has its background programs ignore Ctrl-C, and so would the programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_pipeline_is_left_behind():
    """Have whatever a test left pending end with it, as it would with its process."""
    yield
    for pipeline in list(lifecycle._pipelines):
        lifecycle.forget(pipeline)


@pytest.fixture
def connect_proxy():  # noqa: C901 - because a proxy is a small server
    """A CONNECT proxy on loopback that takes every name for this machine: (url, request heads, statuses to answer)."""
    listener = socket.create_server(("127.0.0.1", 0))
    heads, statuses, threads = [], [], []

    def pump(source, sink):
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def serve(client):
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65_536)
            heads.append(head.decode())
            status = statuses.pop(0) if statuses else 200
            if status != 200:
                client.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
                return
            port = int(head.split()[1].decode().rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), 5) as upstream:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=pump, args=(upstream, client))
                back.start()
                pump(client, upstream)
                back.join(10)

    def accept():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=serve, args=(client,))
            thread.start()
            threads.append(thread)

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", heads, statuses
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    acceptor.join(10)
    for thread in threads:
        thread.join(10)
