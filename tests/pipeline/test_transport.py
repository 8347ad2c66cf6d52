"""The transport returns complete responses in time, or says what failed; the key goes to the peer alone."""

from __future__ import annotations

import contextlib
import gc
import select
import socket
import ssl
import struct
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from defender_logging._pipeline.connection.exchange import _Response
from defender_logging._pipeline.transport import HttpTransport, Peer
from defender_logging._pipeline.wire import TransportError, WireRequest
from defender_logging.secret import Secret, Url
from defender_logging.testing import Answer, LocalReceiver, make_certificate

KEY = "s3cr3t-k3y-0123456789"
REQUEST = WireRequest("/logs", {"Content-Type": "application/json"}, b'[{"a":1}]')


@pytest.fixture
def receiver():
    with LocalReceiver() as started:
        yield started


@pytest.fixture
def connect():
    """Make transports that are closed at the end."""
    made = []

    def make(url, **fields):
        chosen = {"connect_timeout_seconds": 5, "request_timeout_seconds": 5} | fields
        transport = HttpTransport(Peer(url=Url(url), key_header="X-Key", key=Secret(KEY), **chosen))
        made.append(transport)
        return transport

    yield make
    for transport in made:
        transport.close()


@pytest.fixture(scope="module")
def tls_receiver():
    with LocalReceiver(tls=True) as started:
        yield started


def failure_of(transport, request=REQUEST):
    with pytest.raises(TransportError) as caught:
        transport.send(request)
    assert KEY not in str(caught.value) + repr(caught.value) + repr(request)
    return caught.value


def answer_of(number):
    body = b"%d" % number
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@contextlib.contextmanager
def serving(*exchanges, reads_bytes=None):
    """A server that answers each request, on whichever connection, with the next of ``exchanges``: pieces of bytes,
    and events to wait for.

    With ``reads_bytes`` it reads so much of a request, answers, and closes.
    """
    listener, left = socket.create_server(("127.0.0.1", 0)), list(exchanges)

    def serve_one(connection):
        request = b""
        while left:
            while (b"\r\n\r\n" not in request or not request.endswith(REQUEST.body)) and not reads_bytes:
                data = connection.recv(65_536)
                if not data:
                    return
                request += data
            if reads_bytes:
                connection.recv(reads_bytes)
            request = b""
            for piece in left.pop(0):
                if isinstance(piece, bytes):
                    connection.sendall(piece)
                else:
                    piece.wait(10)

    def serve():
        with contextlib.suppress(OSError):
            while left:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(ConnectionError):
                    serve_one(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


class TestExchange:
    def test_posts_body_headers_and_key(self, receiver, connect):
        """The peer sees one POST with Content-Length, our headers and the key."""
        response = connect(receiver.url).send(REQUEST)
        seen = receiver.requests[0]

        assert (200, "POST", "/logs", b'[{"a":1}]') == (response.status, seen.method, seen.path, seen.body)
        headers = {name.lower(): value for name, value in seen.headers}
        assert (KEY, "9", "application/json") == (
            headers["x-key"],
            headers["content-length"],
            headers["content-type"],
        )
        assert "transfer-encoding" not in headers

    def test_keeps_the_connection(self, receiver, connect):
        """Requests in a row share one connection."""
        transport = connect(receiver.url)
        for _ in range(3):
            transport.send(REQUEST)

        assert 1 == len({request.connection for request in receiver.requests})

    def test_gives_up_an_old_connection(self, receiver, connect, monkeypatch):
        """A kept connection is renewed after its time, so that balancers and DNS changes are seen."""
        monkeypatch.setattr("defender_logging._pipeline.transport.MAX_CONNECTION_AGE_SECONDS", 0.0)
        transport = connect(receiver.url)
        transport.send(REQUEST)
        transport.send(REQUEST)

        assert 2 == len({request.connection for request in receiver.requests})

    def test_sends_a_large_body_whole(self, receiver, connect):
        """Bodies beyond the chunk and the socket's buffer arrive unchanged."""
        body = b'["' + b"x" * 3_000_000 + b'"]'
        connect(receiver.url).send(WireRequest("/logs", {}, body))

        assert body == receiver.requests[0].body

    def test_does_not_follow_a_redirect(self, receiver, connect):
        """A 307 is a response like any other; the other host sees nothing."""
        with LocalReceiver() as trap:
            receiver.script(Answer(status=307, headers={"Location": trap.url + "/logs"}))
            response = connect(receiver.url).send(REQUEST)

            assert 307 == response.status
            assert [] == trap.requests

    def test_reads_at_most_64_kib_of_a_response(self, receiver, connect):
        """A peer cannot fill our memory; the rest is not read and the connection not used again."""
        receiver.script(Answer(status=200, body=b"x" * 1_000_000))
        transport = connect(receiver.url)

        assert 65_536 == len(transport.send(REQUEST).body)
        transport.send(REQUEST)
        assert 2 == len({request.connection for request in receiver.requests})

    def test_another_has_a_connection_and_cookies_of_its_own(self, receiver, connect):
        """For a second request at a time: the same peer and key, the same last moment, and nothing else in common."""
        receiver.script(Answer(headers={"Set-Cookie": "a=b"}))
        first = connect(receiver.url)
        first.send(REQUEST)
        first.limit(time.monotonic() + 1000.0)
        second = first.another()
        try:
            second.send(REQUEST)
        finally:
            second.close()
        first.send(REQUEST)

        one, other, again = receiver.requests
        assert one.connection == again.connection != other.connection
        assert (None, "a=b") == (other.header("Cookie"), again.header("Cookie"))
        assert KEY == other.header("X-Key")
        assert second._latest == first._latest

    def test_leaves_nothing_to_the_collector(self, receiver, connect):
        """A service may run without it (gc.disable, gc.freeze)."""
        transport = connect(receiver.url)
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                transport.send(REQUEST)
            assert [] == _Response.__subclasses__()
        finally:
            gc.enable()

    def test_hides_the_key_in_every_answer(self, receiver, connect):
        """Before it is cut to a length for people: half a key would not be found any more."""
        receiver.script(Answer(status=203, body=f"token {KEY}"))

        assert b"token ***" == connect(receiver.url).send(REQUEST).body

    def test_keeps_repeated_response_headers(self, receiver, connect):
        """Several Retry-After headers are all there to choose from."""
        receiver.script(Answer(status=503, headers=[("Retry-After", "1"), ("Retry-After", "7")]))

        assert ["1", "7"] == connect(receiver.url).send(REQUEST).header_values("retry-after")

    @pytest.mark.parametrize("status", [100, 102, 103])
    def test_passes_over_interim_answers(self, connect, status):
        """The answer comes behind them; left unread it would be taken for that to the next request."""
        interim = b"HTTP/1.1 %d Wait\r\nLink: x\r\n\r\n" % status
        with serving(*[(interim, answer_of(number)) for number in range(3)]) as url:
            transport = connect(url)

            assert [b"0", b"1", b"2"] == [transport.send(REQUEST).body for _ in range(3)]

    def test_an_answer_to_no_request_is_nobodys(self, connect):
        """What waits in a kept connection before a request is sent belongs to none: a new connection is made."""
        is_read = threading.Event()
        with serving((answer_of(0), is_read, answer_of(1)), (answer_of(2),)) as url:
            transport = connect(url)
            assert b"0" == transport.send(REQUEST).body
            is_read.set()
            assert select.select([transport._connection.sock], [], [], 10)[0]

            assert b"2" == transport.send(REQUEST).body

    def test_a_connection_that_was_closed_while_idle_is_not_used(self, receiver, connect):
        """Where the end has come already, nothing is sent in vain, and nothing is in doubt."""
        receiver.script(Answer(cut_at="after_answer", cut_with="close"))
        transport = connect(receiver.url)
        transport.send(REQUEST)
        assert select.select([transport._connection.sock], [], [], 10)[0]

        assert 200 == transport.send(REQUEST).status
        assert 2 == receiver.request_count

    def test_speaks_ipv6(self, connect):
        """A bracketed address works, in the Host header as well."""
        try:
            receiver = LocalReceiver(host="::1").start()
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
        with receiver:
            assert 200 == connect(receiver.url).send(REQUEST).status


class TestFailures:
    def test_refused_is_a_clean_failure(self, receiver, connect):
        """Nothing was sent, so nothing can have arrived."""
        receiver.refuse()
        error = failure_of(connect(receiver.url))

        assert (False, False) == (error.is_ambiguous, error.is_hold)
        assert "ECONNREFUSED" in error.reason

    def test_an_unknown_name_is_a_clean_failure(self, connect):
        """The message names the host."""
        error = failure_of(connect("http://no-such-host.invalid:8088"))

        assert (False, False) == (error.is_ambiguous, error.is_hold)
        assert "no-such-host.invalid" in error.reason

    @pytest.mark.parametrize(
        ("cut_at", "is_ambiguous"),
        [("after_body", True), ("in_answer_headers", True), ("in_answer_body", True)],
    )
    @pytest.mark.parametrize("cut_with", ["reset", "close"])
    def test_a_cut_after_the_request_is_ambiguous(self, receiver, connect, cut_at, cut_with, is_ambiguous):
        """A truncated answer is no answer, and the entries may have arrived."""
        receiver.script(
            Answer(
                status=200,
                body=b"x" * 5_000,
                headers={"Content-Type": "text/plain"},
                cut_at=cut_at,
                cut_with=cut_with,
            )
        )
        error = failure_of(connect(receiver.url))

        assert is_ambiguous is error.is_ambiguous
        assert not error.is_hold

    def test_an_early_answer_is_read_over_tls(self, connect, tmp_path):
        """The broken pipe has another name there, and the answer is no less true."""
        certificate = make_certificate(tmp_path)
        listener = socket.create_server(("127.0.0.1", 0))

        def answer_early():
            with contextlib.suppress(OSError):
                connection = certificate.server_context().wrap_socket(listener.accept()[0], server_side=True)
                with connection:
                    connection.recv(1_000)
                    connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
                    time.sleep(0.3)

        thread = threading.Thread(target=answer_early)
        thread.start()
        try:
            transport = connect(f"https://127.0.0.1:{listener.getsockname()[1]}", ca_file=certificate.ca_file)
            assert 413 == transport.send(WireRequest("/", {}, b"x" * 20_000_000)).status
        finally:
            thread.join(10)
            listener.close()

    def test_an_early_answer_is_read(self, receiver, connect):
        """A peer that answers 413 and closes before the body is whole is heard."""
        listener = socket.create_server(("127.0.0.1", 0))
        body = b"x" * 20_000_000

        def answer_early():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1_000)
                connection.sendall(
                    b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1_000_000):
                    pass

        thread = threading.Thread(target=answer_early)
        thread.start()
        try:
            port = listener.getsockname()[1]
            assert 413 == connect(f"http://127.0.0.1:{port}").send(WireRequest("/", {}, body)).status
        finally:
            thread.join(10)
            listener.close()

    def test_a_success_for_half_a_request_is_none(self, connect):
        """A peer that stops reading and says yes: that cannot be true of entries that it never got."""
        with serving((answer_of(0),), reads_bytes=1000) as url:
            error = failure_of(connect(url), WireRequest("/", {}, b"x" * 20_000_000))

        assert error.is_ambiguous

    @pytest.mark.parametrize("answer", [b"garbage\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b""])
    def test_what_is_not_http_is_ambiguous(self, receiver, connect, answer):
        """An unreadable answer says nothing about the entries."""
        receiver.script(Answer(raw=answer))

        assert failure_of(connect(receiver.url)).is_ambiguous

    def test_a_black_hole_ends_at_the_deadline(self, receiver, connect):
        """request_timeout_seconds is the most that an answer may take."""
        receiver.black_hole()
        started = time.monotonic()
        error = failure_of(connect(receiver.url, request_timeout_seconds=0.2))

        assert error.is_ambiguous
        assert "0.2 s" in error.reason
        assert time.monotonic() - started < 3

    def test_a_dripping_answer_ends_at_the_deadline(self, receiver, connect):
        """One byte at a time does not renew the deadline, in headers or body."""
        receiver.script(Answer(status=200, body=b"x" * 500, drip_seconds=0.02))
        started = time.monotonic()
        error = failure_of(connect(receiver.url, request_timeout_seconds=0.3))

        assert error.is_ambiguous
        assert time.monotonic() - started < 3

    def test_a_peer_that_does_not_read_ends_at_the_deadline(self, connect):
        """Writing keeps to the deadline too, and leaves no doubt: the request was never whole."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        try:
            transport = connect(f"http://127.0.0.1:{listener.getsockname()[1]}", request_timeout_seconds=0.3)
            started = time.monotonic()
            error = failure_of(transport, WireRequest("/", {}, b"x" * 50_000_000))
        finally:
            listener.close()

        assert not error.is_ambiguous
        assert time.monotonic() - started < 3

    def test_a_kept_connection_closed_meanwhile_is_stale(self, receiver, connect):
        """Worth one more try at once; the first connection of a transport never is."""
        transport = connect(receiver.url)
        transport.send(REQUEST)
        receiver.script(Answer(cut_at="before_request", cut_with="close"))

        assert failure_of(transport).is_stale_connection
        assert 200 == transport.send(REQUEST).status

    def test_a_new_connection_is_never_stale(self, receiver, connect):
        """A reset on a fresh connection is a failure like any other."""
        receiver.script(Answer(cut_at="after_body"))

        assert not failure_of(connect(receiver.url)).is_stale_connection


class TestTls:
    def test_trusts_the_given_ca(self, tls_receiver, connect):
        """With ca_file the exchange is verified and works."""
        assert 200 == connect(tls_receiver.url, ca_file=tls_receiver.ca_file).send(REQUEST).status

    def test_an_unknown_ca_is_held_and_nothing_is_sent(self, tls_receiver, connect):
        """Not one byte of the request goes to a peer that is not trusted."""
        tls_receiver.clear()
        error = failure_of(connect(tls_receiver.url))

        assert error.is_hold
        assert "ca_file" in error.reason
        assert "server_fingerprint" in error.reason
        assert [] == tls_receiver.requests

    def test_a_wrong_name_is_held(self, connect, tmp_path):
        """The certificate must be for the host of the URL."""
        certificate = make_certificate(tmp_path, names=("other.example",))
        with LocalReceiver(tls=certificate) as receiver:
            assert failure_of(connect(receiver.url, ca_file=receiver.ca_file)).is_hold
            assert [] == receiver.requests

    def test_a_matching_pin_replaces_ca_and_name(self, connect, tmp_path):
        """A self-signed certificate of any name is usable, safely."""
        certificate = make_certificate(tmp_path, names=("other.example",))
        with LocalReceiver(tls=certificate) as receiver:
            transport = connect(receiver.url, server_fingerprint=receiver.fingerprint)

            assert 200 == transport.send(REQUEST).status

    def test_a_wrong_pin_is_held(self, tls_receiver, connect):
        """A pin is not a hint."""
        tls_receiver.clear()
        error = failure_of(connect(tls_receiver.url, server_fingerprint="0" * 64))

        assert error.is_hold
        assert [] == tls_receiver.requests

    def test_never_falls_back_to_plain_http(self, receiver, connect):
        """A plain port behind an https URL hears a TLS greeting and nothing else."""
        failure_of(connect(receiver.url.replace("http://", "https://"), connect_timeout_seconds=0.3))

        assert [] == [request for request in receiver.requests if request.method == "POST"]

    def test_a_refusal_after_the_handshake_is_told_though_a_reset_hid_it(self, connect, tmp_path):
        """In TLS 1.3 the client writes before the server has judged it; a second connection only listens."""
        certificate = make_certificate(tmp_path)
        contexts = [certificate.server_context()]
        contexts.append(replace(certificate, client_ca_file=certificate.ca_file).server_context())
        listener = socket.create_server(("127.0.0.1", 0))

        def reset_then_refuse():
            client, _ = listener.accept()
            with contexts[0].wrap_socket(client, server_side=True) as secure:
                secure.recv(1)
                secure.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client, _ = listener.accept()
            with client, contextlib.suppress(ssl.SSLError, OSError):
                contexts[1].wrap_socket(client, server_side=True).close()

        thread = threading.Thread(target=reset_then_refuse)
        thread.start()
        try:
            url = f"https://127.0.0.1:{listener.getsockname()[1]}"
            error = failure_of(connect(url, ca_file=certificate.ca_file))
        finally:
            thread.join(10)
            listener.close()

        assert error.is_hold
        assert "set client_cert_file" in error.reason

    def test_a_reset_is_no_refusal(self, connect, tmp_path):
        """Nothing is said on the second connection, so it stays a matter of time."""
        certificate = make_certificate(tmp_path)
        with LocalReceiver(tls=certificate) as receiver:
            receiver.script(Answer(cut_at="after_body"))
            error = failure_of(connect(receiver.url, ca_file=receiver.ca_file, connect_timeout_seconds=0.2))

        assert (False, True) == (error.is_hold, error.is_ambiguous)

    def test_heals_when_the_trust_file_is_renewed(self, tls_receiver, connect, tmp_path):
        """Files are read anew for each connection."""
        ca_file = tmp_path / "ca.pem"
        other = make_certificate(tmp_path, names=("localhost",))
        ca_file.write_text(Path(other.ca_file).read_text())
        transport = connect(tls_receiver.url, ca_file=str(ca_file))
        assert failure_of(transport).is_hold

        ca_file.write_text(Path(tls_receiver.ca_file).read_text())
        assert 200 == transport.send(REQUEST).status


class TestProxy:
    def test_tunnels_and_keeps_the_key_inside(self, connect_proxy, connect):
        """The proxy sees where to, and its own password, but never the key."""
        url, heads, _ = connect_proxy
        with LocalReceiver(tls=True) as receiver:
            proxy_url = Url(url.replace("//", "//user:pass@"), may_have_user=True)
            transport = connect(receiver.url, ca_file=receiver.ca_file, proxy_url=proxy_url)
            assert 200 == transport.send(REQUEST).status
            transport.close()

        assert f"CONNECT 127.0.0.1:{receiver.port}" in heads[0]
        assert "Proxy-Authorization: Basic dXNlcjpwYXNz" in heads[0]
        assert KEY not in heads[0]

    @pytest.mark.parametrize(("status", "is_hold"), [(407, True), (403, True), (502, False), (503, False)])
    def test_a_refusal_of_the_proxy_is_told_apart(self, connect_proxy, connect, status, is_hold):
        """407 needs a person, 502 needs time; neither is an answer of the receiver."""
        url, _, statuses = connect_proxy
        statuses.append(status)
        error = failure_of(connect("https://localhost:1", proxy_url=Url(url)))

        assert is_hold is error.is_hold
        assert str(status) in error.reason


def test_refresh_reads_a_key_file_again(tmp_path, receiver):
    """A rotated key is used from the next request on."""
    key_file = tmp_path / "key"
    key_file.write_text("old\n")
    transport = HttpTransport(Peer(url=Url(receiver.url), key_header="X-Key", key=Secret(f"file:{key_file}")))
    assert not transport.refresh_key()

    key_file.write_text("new\n")
    assert transport.refresh_key()
    transport.send(REQUEST)
    transport.close()
    assert "new" == dict(receiver.requests[0].headers)["X-Key"]


def test_abandon_closes_without_a_word(receiver, connect):
    """In a forked child the descriptor goes, and no warning is left behind."""
    transport = connect(receiver.url)
    transport.send(REQUEST)
    descriptor = transport._connection.sock.fileno()
    transport.abandon()

    with pytest.raises(OSError, match="Bad file descriptor"):
        socket.socket(fileno=descriptor)


class TestCookies:
    @pytest.mark.parametrize(
        ("set_cookies", "expected"),
        [
            (["AWSALB=a/+=; Expires=Wed, 01 Jan 2070 00:00:00 GMT; Path=/; HttpOnly"], "AWSALB=a/+="),
            (["a=1", "b=2; Secure"], "a=1; b=2"),
            (["a=1", "a=2"], "a=2"),
            (["a=1", "a=1; Max-Age=0"], None),
            (["a=1", "a=; Path=/"], None),
            (["=1", "no cookie", "bad name=1", ""], None),
            (["a=" + "x" * 5000], None),
            (["old=" + "x" * 4000, "new=" + "y" * 200], "new=" + "y" * 200),
        ],
    )
    def test_are_sent_back_as_name_and_value(self, receiver, connect, set_cookies, expected):
        """A balancer finds its session again, over a new connection too; nothing else of the cookie is used."""
        transport = connect(receiver.url)
        receiver.script(Answer(headers=[("Set-Cookie", text) for text in set_cookies], cut_at="after_answer"))
        transport.send(REQUEST)
        transport.close()
        transport.send(REQUEST)

        assert [None, expected] == [request.header("Cookie") for request in receiver.requests]

    def test_the_users_own_header_wins(self, receiver, connect):
        """Who gives a Cookie header gets that one."""
        transport = connect(receiver.url)
        receiver.script(Answer(headers={"Set-Cookie": "a=1"}))
        request = WireRequest("/logs", {"cookie": "mine=1"}, b"[]")
        transport.send(request)
        transport.send(request)

        assert ["mine=1"] * 2 == [request.header("Cookie") for request in receiver.requests]

    def test_belong_to_one_transport(self, receiver, connect):
        """Another handler's sender does not get them."""
        receiver.script(Answer(headers={"Set-Cookie": "a=1"}))
        connect(receiver.url).send(REQUEST)
        connect(receiver.url).send(REQUEST)

        assert [None, None] == [request.header("Cookie") for request in receiver.requests]
