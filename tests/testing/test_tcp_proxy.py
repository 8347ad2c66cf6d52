"""The proxy: bytes pass as they are, and each fault of a network happens where and when it was asked for."""

from __future__ import annotations

import os
import socket
import ssl
import time

import pytest

from defender_logging.testing import Link, LocalReceiver, TcpProxy

REQUEST = b"POST /logs HTTP/1.1\r\ncontent-length: 13\r\n\r\n" + b'{"number": 1}'
ANSWER_START = b"HTTP/1.1 200 OK"


@pytest.fixture
def proxy(receiver):
    with TcpProxy(port=receiver.port) as running:
        yield running


@pytest.fixture
def dial(proxy):
    """Connect through the proxy, as often as wanted."""
    made = []

    def connect():
        made.append(socket.create_connection(("127.0.0.1", proxy.port), timeout=20))
        return made[-1]

    yield connect
    for connection in made:
        connection.close()


def read_to_end(connection):
    """What comes until the peer closes."""
    found = b""
    while data := connection.recv(65536):
        found += data
    return found


def exchange(connection):
    connection.sendall(REQUEST)
    answer = connection.recv(65536)
    if not answer:
        raise EOFError("closed without an answer")
    return answer


def test_carries_bytes_both_ways_and_counts_them(receiver, proxy, dial):
    """Two exchanges on one connection, and nothing else."""
    connection = dial()
    answers = [exchange(connection), exchange(connection)]

    assert all(answer.startswith(ANSWER_START) for answer in answers)
    assert 2 == receiver.entry_count
    assert (1, 0) == (proxy.connection_count, proxy.cut_count)
    assert (2 * len(REQUEST), sum(map(len, answers))) == (proxy.sent_bytes, proxy.received_bytes)
    assert f"127.0.0.1:{proxy.port}/logs?x=1" in proxy.through(receiver.generic_url + "?x=1")


def test_an_end_is_passed_on(proxy, dial):
    """A request with «Connection: close»: the receiver's end reaches the client, after all of the answer."""
    connection = dial()
    connection.sendall(REQUEST.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))

    assert read_to_end(connection).startswith(ANSWER_START)
    assert 0 == proxy.cut_count


@pytest.mark.parametrize("passed", [0, 1, len(REQUEST) - 1])
def test_a_reset_in_the_request(receiver, proxy, dial, passed):
    """Exactly so many bytes go out, so the receiver never has a whole request."""
    proxy.script(Link(cut_after_sent=passed))
    connection = dial()
    with pytest.raises(ConnectionError):
        exchange(connection)

    assert proxy.wait_for(cuts=1)
    assert (passed, 0, 0) == (proxy.sent_bytes, receiver.request_count, proxy.unused_links)
    assert exchange(dial()).startswith(ANSWER_START)


@pytest.mark.parametrize("passed", [0, 20])
def test_a_reset_in_the_answer(receiver, proxy, dial, passed):
    """The receiver has the whole request, the client exactly so many bytes of the answer, or none of them."""
    proxy.script(Link(cut_after_received=passed))
    connection = dial()
    connection.sendall(REQUEST)
    with pytest.raises(ConnectionResetError):
        read_to_end(connection)

    assert proxy.wait_for(cuts=1)
    assert (passed, 1) == (proxy.received_bytes, receiver.entry_count)


def test_silence_in_the_answer(receiver, proxy, dial):
    """The client waits for the rest, and nobody tells it that nothing will come."""
    proxy.script(Link(cut_after_received=20, cut_with="silence"))
    connection = dial()
    assert 20 == len(exchange(connection))
    assert proxy.wait_for(cuts=1)
    receiver.refuse()
    connection.settimeout(0.1)

    with pytest.raises(TimeoutError):
        connection.recv(1)


def test_silence_from_the_start(receiver, proxy, dial):
    """Accepted, and then nothing: not even the request goes on."""
    proxy.always(Link(cut_after_sent=0, cut_with="silence"))
    connection = dial()
    connection.settimeout(0.1)
    with pytest.raises(TimeoutError):
        exchange(connection)
    proxy.restore()

    assert 0 == receiver.request_count
    assert exchange(dial()).startswith(ANSWER_START)


@pytest.mark.parametrize("how", ["reset", "silence"])
def test_open_connections_can_be_spoilt(proxy, dial, how):
    """What was carried well so far."""
    connection = dial()
    exchange(connection)
    getattr(proxy, how)()
    assert proxy.wait_for(cuts=1)
    connection.settimeout(0.1)

    with pytest.raises(ConnectionError if how == "reset" else TimeoutError):
        exchange(connection)


def test_latency_delays_each_way(proxy, dial):
    """At least twice the latency from the request to its answer."""
    proxy.always(Link(latency_seconds=0.1))
    connection = dial()
    began = time.monotonic()
    exchange(connection)

    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("way", ["sent_bytes_per_second", "received_bytes_per_second"])
def test_a_slow_way(receiver, proxy, dial, way):
    """All arrives, but for as long as the rate says."""
    proxy.always(Link(**{way: 200}))
    connection = dial()
    began = time.monotonic()
    connection.sendall(REQUEST.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
    answer = read_to_end(connection)
    carried = len(answer) if way.startswith("received") else proxy.sent_bytes

    assert time.monotonic() - began >= 0.8 * carried / 200
    assert 1 == receiver.entry_count


def test_more_than_any_buffer_holds_passes_whole(dial, proxy, receiver):
    """Megabytes, each way pausing where the other side does not read."""
    body = b'{"text": "' + b"x" * 5_000_000 + b'"}'
    connection = dial()
    connection.sendall(b"POST /logs HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    connection.recv(65536)

    assert 5_000_000 == len(receiver.entries[0]["text"])


def test_refuse_and_listen(proxy, dial):
    """As a machine whose service died: refused at once, open again on the same port."""
    connection = dial()
    exchange(connection)
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        dial()
    assert b"" == connection.recv(1)
    proxy.listen()

    assert exchange(dial()).startswith(ANSWER_START)


def test_a_receiver_that_is_not_there_is_a_reset(proxy, dial, receiver):
    """The proxy accepts; what is behind it does not."""
    receiver.refuse()

    with pytest.raises(ConnectionError):
        exchange(dial())


def test_tls_passes():
    """The proxy knows bytes only: the certificate that the client sees is the receiver's."""
    pytest.importorskip("trustme")
    with LocalReceiver(tls=True) as receiver, TcpProxy(port=receiver.port) as proxy:
        context = ssl.create_default_context(cafile=receiver.ca_file)
        plain = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            assert exchange(connection).startswith(ANSWER_START)

        assert proxy.through(receiver.generic_url) == f"https://127.0.0.1:{proxy.port}/logs"


@pytest.mark.parametrize(
    "wrong",
    [
        {"latency_seconds": -1},
        {"cut_after_sent": -1},
        {"cut_after_received": -1},
        {"sent_bytes_per_second": 0},
        {"received_bytes_per_second": -5},
        {"cut_with": "magic"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_nonsense_is_refused(wrong):
    """A fault that could never happen would make a test pass by accident."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Link(**wrong)


def test_methods_need_a_start():
    """The message says what to do; stopping twice is nothing."""
    proxy = TcpProxy(port=1)
    with pytest.raises(RuntimeError, match="call start"):
        proxy.refuse()
    with proxy.start() as again:
        assert again is proxy
    proxy.stop()


def test_stop_is_quick_with_open_and_silent_connections(proxy, dial):
    """Nothing is left behind, whatever goes on."""
    exchange(dial())
    proxy.always(Link(cut_after_sent=0, cut_with="silence"))
    dial().sendall(REQUEST)
    assert proxy.wait_for(cuts=1)
    threads = list(proxy._server._connections.values())
    proxy.stop()

    assert not any(thread.is_alive() for thread in threads)
    assert "2 connections, 1 cut" in repr(proxy)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_keeps_no_connection_open(proxy, dial):
    """A reset in the parent really resets, while a child lives that was forked before."""
    connection = dial()
    exchange(connection)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        connection.close()
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    proxy.reset()
    assert proxy.wait_for(cuts=1)
    with pytest.raises(ConnectionResetError):
        connection.recv(1)
    os.close(reader)
    os.close(writer)

    assert 0 == os.waitpid(child, 0)[1]
