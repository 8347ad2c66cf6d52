"""Cases 35 to 40 and 51: names, connections, TLS and proxies that fail. Nothing is lost or sent unverified."""

# ruff: noqa: PLR0917 - because fixtures are named, not placed

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import socket
import ssl
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from defender_logging import ApiKeyHandler
from defender_logging.testing import Answer, Certificate, Link, LocalReceiver, TcpProxy, make_certificate
from defender_logging.testing.relay import Relay, Traffic
from defender_logging.testing.server import Server

KINDS = ["splunk", "datadog", "generic"]


def threads_of(handler):
    """The threads that send for one handler: its address is in their names."""
    address = repr(handler).partition("(")[2].partition(")")[0]
    assert "http" in address
    return [thread for thread in threading.enumerate() if address in thread.name]


class Resolver:
    """Answers for the name ``logs.example`` only: as often as told not at all, then after a test's word, then well."""

    def __init__(self, failures):
        self._real = socket.getaddrinfo
        self.failures = failures
        self.is_asked = threading.Event()
        self.may_answer = threading.Event()

    def __call__(self, host, *args, **kwargs):
        if host != "logs.example":
            return self._real(host, *args, **kwargs)
        if self.failures:
            self.failures -= 1
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        self.is_asked.set()
        self.may_answer.wait(20)
        return self._real("127.0.0.1", *args, **kwargs)


def test_case_35_a_name_that_does_not_resolve(oracle, receiver, attached, monkeypatch, until):
    """Unknown three times, then a resolver that keeps silent: the calls return meanwhile, and then all arrives."""
    resolver = Resolver(failures=3)
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    handler = ApiKeyHandler(
        url=receiver.generic_url.replace("127.0.0.1", "logs.example"),
        allow_plaintext=True,
        flush_interval_seconds=0.01,
        retry_initial_seconds=0.02,
        retry_max_seconds=0.05,
    )
    log = attached(handler)
    oracle.log(log, 10)
    assert resolver.is_asked.wait(20)
    assert "logs.example" in handler.stats().last_error
    oracle.log(log, 100)
    assert 110 == handler.stats().pending
    assert 1 == len(threads_of(handler))
    resolver.may_answer.set()

    oracle.assert_conserved(receiver, handler, fired=lambda: resolver.failures == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_case_36_connections_are_refused(oracle, receiver, connect, kind, until):
    """While nobody listens all is kept, by one thread; nothing comes twice afterwards."""
    receiver.refuse()
    handler, log = connect(kind, receiver)
    oracle.log(log, 1000)
    assert until(lambda: handler.stats().retries >= 3)
    stats = handler.stats()
    assert (1000, "retrying", 1) == (stats.pending, stats.state, len(threads_of(handler)))
    assert "refused" in stats.last_error.lower()
    receiver.listen()

    oracle.assert_conserved(receiver, handler, fired=stats.retries)


@pytest.mark.skipif(
    not Path("/proc/net/tcp").exists(), reason="a full backlog drops what knocks on Linux only"
)
def test_case_36_connections_vanish(oracle, connect, until):
    """SYN packets are dropped: each try ends at its timeout, in one thread, until somebody is there."""
    with contextlib.ExitStack() as stack:
        hole = stack.enter_context(socket.socket())
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        for _ in range(4):  # The kernel takes one or two more than it was told.
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        receiver = LocalReceiver(port=hole.getsockname()[1])
        handler, log = connect("generic", receiver, connect_timeout_seconds=0.1)
        oracle.log(log, 100)
        assert until(lambda: handler.stats().retries >= 3)
        stats = handler.stats()
        assert "0.1 s" in stats.last_error
        assert (100, 1) == (stats.pending, len(threads_of(handler)))
    with receiver:
        oracle.assert_conserved(receiver, handler, fired=stats.retries)


def test_case_36_connections_are_accepted_and_then_silent(oracle, receiver, proxy, connect, until):
    """Half open: nothing that is written arrives anywhere. The deadline of the request ends it."""
    proxy.always(Link(cut_after_sent=0, cut_with="silence"))
    handler, log = connect("generic", receiver, through=proxy, request_timeout_seconds=0.1)
    oracle.log(log, 100)
    assert until(lambda: handler.stats().retries >= 2)
    proxy.restore()

    oracle.assert_conserved(receiver, handler, fired=lambda: proxy.cut_count)
    assert 1 == len(threads_of(handler))


class OldServer(Certificate):
    """Shows the same certificate, and speaks no TLS that is younger than 1.1."""

    def server_context(self):
        context = Certificate.server_context(self)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context


@pytest.fixture
def good(tmp_path):
    """What the receiver shows after its renewal."""
    pytest.importorskip("trustme")
    return make_certificate(tmp_path)


@pytest.fixture
def bad(good, tmp_path):
    """Make a certificate that is wrong in a given way; its issuer is trusted in place of the good one at first."""
    folder = tmp_path / "bad"
    folder.mkdir()

    def make(fault):
        yesterday = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)
        if fault == "expired":
            made = make_certificate(folder, not_after=yesterday)
        elif fault == "another host's":
            made = make_certificate(folder, names=("other.example",))
        else:
            made = make_certificate(folder)
        if fault == "self-signed":  # or of any other issuer that nobody knows
            return made, good.ca_file
        if fault == "of an old server":
            return OldServer(made.certificate_file, made.key_file, made.ca_file), made.ca_file
        if fault == "only for known clients":
            return Certificate(made.certificate_file, made.key_file, made.ca_file, good.ca_file), made.ca_file
        return made, made.ca_file

    return make


@pytest.mark.filterwarnings(
    "ignore:.*TLSv1_1:DeprecationWarning", "ignore:.*MINIMUM_SUPPORTED:DeprecationWarning"
)
@pytest.mark.parametrize(
    "fault", ["expired", "another host's", "self-signed", "of an old server", "only for known clients"]
)
def test_case_37_a_server_that_cannot_be_trusted(oracle, connect, tmp_path, good, bad, fault, until):
    """Not a byte of an entry goes out; held, the reason told; it heals after the renewal without a restart."""
    certificate, trusted = bad(fault)
    ca_file = tmp_path / "trusted.pem"
    shutil.copy(trusted, ca_file)
    with LocalReceiver(tls=certificate) as suspect:
        handler, log = connect("splunk", suspect, ca_file=str(ca_file))
        oracle.log(log, 50)
        assert until(lambda: handler.stats().requests >= 3 and handler.stats().last_error)
        stats = handler.stats()
        assert ("held", 50) == (stats.state, stats.pending)
        assert 0 == suspect.request_count
        port = suspect.port
    shutil.copy(good.ca_file, ca_file)
    with LocalReceiver(tls=good, port=port) as renewed:
        oracle.assert_conserved([suspect, renewed], handler, fired=stats.retries)


def test_case_37_our_own_certificate_has_expired(oracle, connect, tmp_path, good, until):
    """The receiver refuses it, after the handshake or in it: held, and it heals when the files are renewed."""
    own = {}
    for name, not_after in (("old", dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)), ("new", None)):
        (tmp_path / name).mkdir()
        own[name] = make_certificate(tmp_path / name, not_after=not_after)
    known = tmp_path / "known.pem"
    known.write_text("".join(Path(made.ca_file).read_text() for made in own.values()))
    files = {"client_cert_file": tmp_path / "own.pem", "client_key_file": tmp_path / "own.key"}

    def show(made):
        shutil.copy(made.certificate_file, files["client_cert_file"])
        shutil.copy(made.key_file, files["client_key_file"])

    show(own["old"])
    with LocalReceiver(tls=replace(good, client_ca_file=str(known))) as receiver:
        settings = {name: str(path) for name, path in files.items()}
        handler, log = connect("splunk", receiver, ca_file=receiver.ca_file, **settings)
        oracle.log(log, 50)
        assert until(lambda: handler.stats().state == "held")
        assert (0, 50) == (receiver.request_count, handler.stats().pending)
        show(own["new"])
        oracle.assert_conserved(receiver, handler, fired=lambda: handler.stats().retries)


@pytest.fixture(scope="module")
def answer_bytes():
    """How many bytes a receiver's whole answer to one request has."""

    def measure(kind, connect):
        with LocalReceiver() as receiver, TcpProxy(port=receiver.port) as proxy:
            handler, log = connect(kind, receiver, through=proxy)
            log.info("how long is the answer?")
            assert handler.flush(20)
            return proxy.received_bytes

    return measure


CLEAN = {"at the first byte": Link(cut_after_sent=0), "in the request": Link(cut_after_sent=300)}
AMBIGUOUS = {
    "before the answer": lambda size: Link(cut_after_received=0),
    "in the answer's headers": lambda size: Link(cut_after_received=20),
    "in the answer's body": lambda size: Link(cut_after_received=size - 2),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("point", CLEAN)
def test_case_38_reset_before_the_request_is_complete(oracle, receiver, proxy, connect, kind, point):
    """Nothing can have arrived, so nothing comes twice."""
    proxy.script(*[CLEAN[point]] * 3)
    handler, log = connect(kind, receiver, through=proxy, compression="none")
    oracle.log(log, 1000)
    oracle.assert_conserved(receiver, handler, fired=lambda: proxy.cut_count == 3)


@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("point", AMBIGUOUS)
def test_case_38_reset_after_the_request(
    oracle, receiver, proxy, connect, kind, point, in_flight, answer_bytes
):
    """The receiver has the entries and the answer is lost: they come again, as the entries that they are."""
    proxy.script(*[AMBIGUOUS[point](answer_bytes(kind, connect))] * 3)
    handler, log = connect(kind, receiver, through=proxy, max_in_flight=in_flight)
    oracle.log(log, 1000)
    oracle.assert_conserved(
        receiver,
        handler,
        fired=lambda: proxy.cut_count == 3,
        duplicates="seen",
        in_order=in_flight == 1,
    )


def test_case_38_reset_at_every_byte_of_an_answer_over_tls(oracle, connect):
    """Handshake, answer and what is between: wherever the line breaks, delivered is only what was confirmed."""
    pytest.importorskip("trustme")
    with LocalReceiver(tls=True) as receiver, TcpProxy(port=receiver.port) as proxy:
        proxy.script(*[Link(cut_after_received=passed) for passed in range(0, 3000, 60)])
        handler, log = connect(
            "splunk", receiver, through=proxy, ca_file=receiver.ca_file, retry_max_seconds=0.02
        )
        oracle.log(log, 20)
        assert handler.flush(20)
        while proxy.unused_links:  # A whole answer fits into the later ones: the next batch meets them.
            proxy.reset()
            oracle.log(log, 20)
            assert handler.flush(20)

        oracle.assert_conserved(receiver, handler, fired=lambda: proxy.cut_count > 10, duplicates="seen")


@pytest.mark.parametrize("cut_with", ["close", "reset"])
@pytest.mark.parametrize("kind", KINDS)
def test_case_39_a_kept_connection_is_closed_while_idle(oracle, receiver, connect, kind, cut_with):
    """One try on a new connection, at once: the usual pause of a minute would outlast the test."""
    receiver.script(Answer(cut_at="after_answer", cut_with=cut_with))
    handler, log = connect(kind, receiver, retry_initial_seconds=60, retry_max_seconds=60)
    oracle.log(log, 10)
    assert handler.flush(20)
    oracle.log(log, 10)
    oracle.assert_conserved(
        receiver, handler, fired=lambda: 2 == len({request.connection for request in receiver.requests})
    )


def test_case_39_a_kept_connection_is_silent_after_a_while(oracle, receiver, proxy, connect):
    """A balancer that forgot the connection: the deadline ends it, the next one works."""
    handler, log = connect("generic", receiver, through=proxy, request_timeout_seconds=0.2)
    oracle.log(log, 10)
    assert handler.flush(20)
    proxy.silence()
    oracle.log(log, 10)
    oracle.assert_conserved(receiver, handler, fired=lambda: proxy.cut_count)


SLOW = {
    "a byte at a time": Link(received_bytes_per_second=5),
    "silent in the headers": Link(cut_after_received=20, cut_with="silence"),
    "late": Link(latency_seconds=2),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slow", SLOW)
def test_case_40_an_answer_that_takes_for_ever(oracle, receiver, proxy, connect, kind, slow, until):
    """The total deadline ends it, however many bytes still come."""
    proxy.script(SLOW[slow])
    handler, log = connect(kind, receiver, through=proxy, request_timeout_seconds=0.5)
    oracle.log(log, 100)
    assert until(lambda: handler.stats().last_error is not None)
    assert "no complete response within 0.5 s" in handler.stats().last_error
    oracle.assert_conserved(receiver, handler, fired=lambda: not proxy.unused_links, duplicates=True)


class ConnectProxy:
    """An HTTP proxy that tunnels, or answers to CONNECT what a test has given it."""

    def __init__(self):
        self.answers = []
        self.heads = []
        self._traffic = Traffic()
        self._server = Server("127.0.0.1", 0, self._begin, name="connect-proxy")

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.port}"

    def __enter__(self):
        self._server.bind()
        self._server.listen()
        return self

    def __exit__(self, *_):
        self._server.stop()

    def _begin(self, accepted, _number):
        return _Tunnel(accepted, self)


class _Tunnel:
    """One connection to the proxy."""

    def __init__(self, accepted, owner):
        self._socket, self._owner, self._relay = accepted, owner, None

    def run(self):
        head = b""
        with contextlib.suppress(OSError):
            while b"\r\n\r\n" not in head and (data := self._socket.recv(65536)):
                head += data
            self._owner.heads.append(head)
            answer = self._owner.answers.pop(0) if self._owner.answers else None
            self._socket.sendall(answer or b"HTTP/1.1 200 OK\r\n\r\n")
            if answer is None:
                host, port = head.split()[1].decode().rsplit(":", 1)
                self._relay = Relay(self._socket, (host, int(port)), Link(), self._owner._traffic)
                self._relay.run()
                return
            self._socket.shutdown(socket.SHUT_WR)
        self._socket.close()

    def end(self):
        if self._relay is not None:
            self._relay.end()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def forget(self):
        self._socket.close()


HTML = b"<html><body>Please sign in to the network</body></html>"
REFUSALS = {
    "407": (b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", "held"),
    "403": (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "held"),
    "502 with HTML": (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: %d\r\n\r\n" % len(HTML) + HTML, "retrying"),
    "a portal in the tunnel": (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", None),
    "no HTTP": (b"hello\r\n", "retrying"),
}  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS)
def test_case_51_a_proxy_that_does_not_let_us_through(oracle, connect, refusal, until):
    """Held or tried again, never taken for the receiver; the proxy never sees the key."""
    pytest.importorskip("trustme")
    answer, state = REFUSALS[refusal]
    with LocalReceiver(tls=True) as receiver, ConnectProxy() as tunnel:
        tunnel.answers += [answer] * 3
        handler, log = connect("splunk", receiver, ca_file=receiver.ca_file, proxy_url=tunnel.url)
        oracle.log(log, 50)
        if state is not None:
            assert until(lambda: handler.stats().state == state or handler.stats().delivered)
        oracle.assert_conserved(receiver, handler, fired=lambda: not tunnel.answers)
        assert len(tunnel.heads) >= 4
        assert receiver.token.encode() not in b"".join(tunnel.heads)


@pytest.mark.parametrize("status", [407, 502, 200], ids=["407", "502", "a captive portal's 200"])
@pytest.mark.parametrize("kind", ["splunk", "datadog"])
def test_case_51_a_page_of_html_is_no_answer(oracle, receiver, connect, kind, status):
    """What stands between may answer in the receiver's place: nothing is delivered by that."""
    page = Answer(status=status, body=HTML, headers={"Content-Type": "text/html"})
    receiver.script(*[page] * 4)
    handler, log = connect(kind, receiver)
    oracle.log(log, 1000)
    oracle.assert_conserved(receiver, handler, fired=lambda: handler.stats().retries >= 4)
