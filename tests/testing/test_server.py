"""The port of the local receiver, and what a forked child sees of it."""

from __future__ import annotations

import os
import socket
import sys
import warnings

import pytest

from defender_logging.testing import Answer, LocalReceiver

REQUEST = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}"


@pytest.fixture
def forked_child(receiver):
    """A child that was forked while ``connection`` was open, and lives until the test ends."""
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as connection:
        connection.sendall(REQUEST)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: it is what is tested
            child = os.fork()
        if child == 0:
            connection.close()
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        yield connection
        os.close(reader)
        os.close(writer)
        assert os.waitpid(child, 0)[1] == 0


def test_a_forked_child_does_not_keep_the_port_open(receiver, forked_child):
    """While a forked child lives, closing in the parent really closes the port and the connections."""
    receiver.refuse()

    assert forked_child.recv(65536) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", receiver.port), timeout=10)


def test_a_forked_child_does_not_keep_connections_open(receiver, forked_child):
    """While a forked child lives, a reset in the parent really resets."""
    receiver.script(Answer(cut_at="after_body"))
    forked_child.sendall(REQUEST)

    with pytest.raises(ConnectionResetError):
        forked_child.recv(65536)


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("localhost", "http://localhost:"), ("", "http://127.0.0.1:")]
)  # fmt: skip
def test_urls_name_an_address_that_can_be_reached(host, url):
    """The URL leads back here, also when the receiver listens on every address."""
    with LocalReceiver(host=host) as receiver:
        assert receiver.url.startswith(url)
        socket.create_connection(("127.0.0.1", receiver.port), timeout=10).close()


@pytest.mark.skipif(not socket.has_ipv6 or sys.platform == "win32", reason="needs IPv6 on the loopback")
def test_ipv6():
    """An IPv6 address is bracketed in the URL."""
    try:
        with LocalReceiver(host="::1") as receiver:
            assert receiver.url == f"http://[::1]:{receiver.port}"
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
