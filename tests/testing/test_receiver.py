"""The local receiver on a real socket: vendors by path, scripted faults, memory."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from defender_logging.testing import (
    Answer,
    DatadogSettings,
    FakeClock,
    GenericSettings,
    HecSettings,
    LocalReceiver,
    hec_answer,
)

CHANNEL = "11111111-2222-3333-4444-555555555555"
ENTRY = '{"id":"a"}'


def post_raw(receiver, data):
    """Everything that comes back for ``data`` until the receiver closes."""
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=20) as connection:
        connection.sendall(data)
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


class TestVendors:
    def test_all_three_on_one_port(self, receiver, client):
        """The path decides whose rules hold, on one kept connection, and one memory keeps all entries."""
        assert client.hec('{"event":{"id":"s"}}') == (200, {"text": "Success", "code": 0})
        assert client.send("/api/v2/logs", '[{"id":"d"}]', {"DD-API-KEY": "k"}) == (202, b"{}")
        assert client.send("/any/where?x=1", '[{"id":"g"}]') == (200, b'{"accepted":1}')

        assert [(e.kind, e.id) for e in receiver.entries] == [
            ("splunk", "s"),
            ("datadog", "d"),
            ("generic", "g"),
        ]
        assert [(r.number, r.connection, r.status) for r in receiver.requests] == [
            (1, 1, 200),
            (2, 1, 202),
            (3, 1, 200),
        ]

    def test_urls_lead_to_the_vendors(self, receiver, client):
        """The receiver's own URLs and keys are good ones."""
        base = receiver.url

        assert (
            client.hec(ENTRY.join(['{"event":', "}"]), receiver.hec_url[len(base) :], receiver.token)[0]
            == 200
        )
        assert client.hec("x", receiver.hec_raw_url[len(base) :], receiver.token)[0] == 200
        assert (
            client.send(receiver.datadog_url[len(base) :], "{}", {"DD-API-KEY": receiver.api_key})[0] == 202
        )
        assert client.send(receiver.generic_url[len(base) :], "{}")[0] == 200

    def test_given_keys_are_the_only_good_ones(self, connect):
        """Tokens and keys of the constructor are checked, and can be replaced while running."""
        with LocalReceiver(
            tokens=["one"], api_keys=["two"], generic=GenericSettings(header_name="K")
        ) as receiver:
            client = connect(receiver)

            assert (receiver.token, receiver.api_key) == ("one", "two")
            assert client.hec('{"event":1}', token="other")[0] == 403
            assert client.hec('{"event":1}', token="one")[0] == 200
            assert client.send("/api/v2/logs", "{}", {"DD-API-KEY": "one"})[0] == 403
            assert client.send("/", "{}")[0] == 401
            receiver.hec = HecSettings(tokens=["other"])
            receiver.datadog = DatadogSettings(api_keys=["one"])
            assert client.hec('{"event":1}', token="other")[0] == 200
            assert client.send("/api/v2/logs", "{}", {"DD-API-KEY": "one"})[0] == 202

    def test_acks(self, connect):
        """Ids are given out, and answered over the wire, and forgotten by ``forget_channels``."""
        with LocalReceiver(use_ack=True, hec=HecSettings(is_cloud=True)) as receiver:
            client = connect(receiver)

            assert client.hec('{"event":1}')[1]["ackId"] == 0
            assert client.hec('{"acks":[0]}', "/services/collector/ack")[1] == {"acks": {"0": True}}
            assert client.hec('{"event":1}', channel="")[1]["code"] == 28
            receiver.forget_channels()
            assert client.hec('{"event":1}')[1]["ackId"] == 0

    def test_datadog_goes_by_the_given_clock(self, connect):
        """An entry ages by the clock of the receiver, and what vanishes is in ``discarded``."""
        clock = FakeClock(unix_seconds=1000.0)
        with LocalReceiver(clock=clock) as receiver:
            client = connect(receiver)
            for _ in range(2):
                body = '{"id":"a","timestamp":1000000}'
                assert client.send("/api/v2/logs", body, {"DD-API-KEY": "k"})[0] == 202
                clock.advance(19 * 3600)

            assert [entry.id for entry in receiver.entries] == ["a"]
            assert [entry.id for entry in receiver.discarded] == ["a"]


class TestHttp:
    def test_bodies_as_they_came_are_remembered(self, receiver, client):
        """A request keeps its compressed body, its headers and its query."""
        body = gzip.compress(b"{}")
        client.send("/x?a=1&b=%20", body, {"Content-Encoding": "gzip", "X-Y": "z"})
        (request,) = receiver.requests

        assert (body, "z", None, {"a": "1", "b": " "}, "/x") == (
            request.body,
            request.header("x-y"),
            request.header("nothing"),
            request.query,
            request.path,
        )

    def test_head_and_options_have_no_body(self, client):
        """HEAD gets the headers alone, OPTIONS the methods; the connection goes on."""
        assert client.send("/services/collector/health", method="HEAD") == (200, b"")
        assert client.send("/services/collector/event", method="OPTIONS") == (200, b"")
        assert client.send("/", "{}")[0] == 200

    def test_chunks_and_expect_continue(self, receiver):
        """A chunked body is read, after the go-ahead that the client asked for."""
        head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
        body = b"a\r\n" + ENTRY.encode() + b"\r\n0\r\n\r\n"
        received = post_raw(receiver, head + b"Expect: 100-continue\r\n\r\n" + body)

        assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
        assert receiver.ids == {"a": 1}

    def test_an_overlong_body_is_answered_unread(self, connect):
        """A body over the bound gets 413, also when the client has sent all of it."""
        with LocalReceiver(max_body_bytes=1000) as receiver:
            assert connect(receiver).send("/", bytes(30_000_000))[0] == 413
            assert receiver.requests == []

    def test_nonsense_gets_400(self, receiver):
        """What is no HTTP is told so, and remembered nowhere."""
        assert post_raw(receiver, b"hello\r\n\r\n").startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert receiver.requests == []

    def test_many_connections_at_once(self, receiver, connect):
        """Entries of many connections all arrive, each counted once, and the connections are told apart."""

        def work(worker):
            client = connect(receiver)
            for lap in range(20):
                lines = "\n".join(f'{{"id":"{worker}-{lap}-{n}"}}' for n in range(50))
                assert client.send("/", lines)[0] == 200

        with ThreadPoolExecutor(20) as pool:
            list(pool.map(work, range(20)))

        assert receiver.entry_count == len(receiver.entries) == len(receiver.ids) == 20_000
        assert receiver.duplicates() == {}
        assert len({request.connection for request in receiver.requests}) == 20
        assert sorted(request.number for request in receiver.requests) == list(range(1, 401))


class TestScripts:
    @pytest.fixture(params=["new", "kept"])
    def client_kept_or_new(self, request, receiver, client):
        if request.param == "kept":
            client.send("/", "{}")
            receiver.clear()
        return receiver, client

    def test_answers_in_order_and_then_as_usual(self, receiver, client):
        """Each scripted answer is used once; what it does not take is not remembered."""
        receiver.script(
            Answer(status=503, body=b"busy", headers={"Retry-After": "1"}),
            hec_answer(9),
            Answer(status=200, body="<html>"),
            Answer(status=202, body={"ok": 1}, takes_entries=True),
        )
        statuses = [client.send("/", f'{{"id":"{n}"}}') for n in range(5)]

        assert statuses == [
            (503, b"busy"),
            (503, b'{"text":"Server is busy","code":9}'),
            (200, b"<html>"),
            (202, b'{"ok": 1}'),
            (200, b'{"accepted":1}'),
        ]
        assert receiver.ids == {"3": 1, "4": 1}
        assert receiver.unused_answers == 0

    def test_headers_come_along(self, receiver, client):
        """Headers are sent, repeated ones too, and join the vendor's own answer where no status is given."""
        receiver.script(Answer(headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]))
        client.connection.request("POST", "/", "{}")
        response = client.connection.getresponse()

        assert response.read() == b'{"accepted":1}'
        assert response.msg.get_all("Set-Cookie") == ["a=1", "b=2"]

    def test_always_and_restore(self, receiver, client):
        """``always`` holds for its path until ``restore``."""
        receiver.always(Answer(status=429), path="/a")

        assert [client.send(path, "{}")[0] for path in ("/a", "/ab", "/b")] == [429, 429, 200]
        receiver.restore()
        assert client.send("/a", "{}")[0] == 200

    def test_a_lying_receiver(self, receiver, client):
        """``takes_entries=False`` answers as the vendor and keeps nothing."""
        receiver.script(Answer(takes_entries=False))

        assert client.send("/", ENTRY) == (200, b'{"accepted":1}')
        assert receiver.entries == []

    @pytest.mark.parametrize(
        ("cut_at", "ids", "statuses"),
        [
            ("before_request", {}, None),
            ("after_headers", {}, [None]),
            ("after_body", {"a": 1}, [None]),
            ("in_answer_body", {"a": 1}, [200]),
        ],
    )
    @pytest.mark.parametrize("cut_with", ["reset", "close"])
    def test_cuts(self, client_kept_or_new, cut_at, ids, statuses, cut_with):
        """The connection is cut at the named point, new or kept; after that all is well."""
        receiver, client = client_kept_or_new
        receiver.script(Answer(cut_at=cut_at, cut_with=cut_with))
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            client.send("/", ENTRY)

        assert ids == receiver.ids
        assert receiver.unused_answers == 0
        if statuses is not None:  # a new connection cut before its request leaves no request
            assert statuses == [request.status for request in receiver.requests]
        assert client.send("/", "{}")[0] == 200

    def test_a_reset_is_a_reset(self, receiver):
        """The client sees RST or an orderly end, whichever was asked for."""
        receiver.script(Answer(cut_at="after_body"), Answer(cut_at="after_body", cut_with="close"))
        request = b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"

        with pytest.raises(ConnectionResetError):
            post_raw(receiver, request)
        assert post_raw(receiver, request) == b""

    def test_a_close_after_the_answer(self, receiver, client):
        """The answer is whole, and the kept connection is dead without a word."""
        receiver.script(Answer(cut_at="after_answer", cut_with="close"))

        assert client.send("/", ENTRY)[0] == 200
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            client.send("/", ENTRY)

    def test_cut_headers_are_a_part_of_them(self, receiver):
        """In the middle of the headers means: the status line and no blank line; the entries are taken."""
        receiver.script(Answer(cut_at="in_answer_headers", cut_with="close"))
        received = post_raw(receiver, b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\n" + ENTRY.encode())

        assert received.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: ")
        assert b"\r\n\r\n" not in received
        assert (receiver.ids, [request.status for request in receiver.requests]) == ({"a": 1}, [200])

    def test_a_cut_body_is_half_of_what_was_announced(self, receiver):
        """In the middle of the body means: all headers, half of the bytes."""
        receiver.script(Answer(status=200, body=b"12345678", cut_at="in_answer_body", cut_with="close"))

        received = post_raw(receiver, b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
        assert received == b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n1234"

    def test_garbage(self, receiver, client):
        """Raw bytes take the place of the answer."""
        receiver.script(Answer(raw=b"\x00\x01\x02\r\n"))

        with pytest.raises(http.client.BadStatusLine):
            client.send("/", ENTRY)
        assert [request.status for request in receiver.requests] == [None]

    def test_a_dripped_answer_is_whole(self, receiver, client):
        """An answer sent byte by byte arrives complete."""
        receiver.script(Answer(drip_seconds=0.0001))

        assert client.send("/", ENTRY) == (200, b'{"accepted":1}')

    def test_an_answer_waits_for_the_tests_event(self, receiver, client):
        """While an answer waits, its request has arrived already; it comes when the event is set."""
        event = threading.Event()
        receiver.script(Answer(wait_for=event))
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(client.send, "/", ENTRY)
            assert receiver.wait_for(count=1)
            assert not answer.done()
            event.set()

            assert answer.result(timeout=10) == (200, b'{"accepted":1}')

    def test_waiting_for_an_event_is_bounded(self, receiver, client):
        """An event that is never set holds an answer no longer than it says."""
        receiver.script(Answer(wait_for=threading.Event(), wait_at_most_seconds=0.05))

        assert client.send("/", ENTRY)[0] == 200


class TestOutages:
    def test_black_hole(self, receiver, client):
        """A black hole takes a request and says nothing; ``restore`` resets it and keeps nothing of it."""
        receiver.black_hole()
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(client.send, "/", ENTRY)
            assert receiver.wait_for(requests=1)
            assert not answer.done()
            receiver.restore()

            with pytest.raises(ConnectionError):
                answer.result(timeout=10)
        assert receiver.entries == []
        assert client.send("/", ENTRY)[0] == 200

    def test_refuse_and_listen(self, receiver, client):
        """A closed port refuses and ends open connections; opened again it is the same port."""
        port = receiver.port
        client.send("/", "{}")
        receiver.refuse()

        with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
            client.send("/", "{}")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)
        with pytest.raises(OSError), LocalReceiver(port=port):
            pytest.fail("the port was not kept")
        receiver.refuse()
        receiver.listen()
        receiver.listen()
        assert client.send("/", "{}")[0] == 200
        assert port == receiver.port

    def test_methods_need_a_start(self):
        """What needs the port says so before ``start``."""
        for method in (LocalReceiver().refuse, LocalReceiver().listen):
            with pytest.raises(RuntimeError, match="start"):
                method()


class TestLife:
    @pytest.mark.parametrize(
        "answer",
        [
            Answer(),
            Answer(delay_seconds=600),
            Answer(wait_for=threading.Event(), wait_at_most_seconds=None),
            Answer(drip_seconds=600),
        ],
    )
    def test_stop_is_quick_whatever_goes_on(self, answer):
        """No thread is left after ``stop``, though connections are idle, delayed, waiting or dripping."""
        before = set(threading.enumerate())
        receiver = LocalReceiver().start()
        receiver.always(answer)
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
            assert receiver.wait_for(requests=1)
            receiver.stop()

        assert set(threading.enumerate()) <= before

    def test_start_and_stop_may_be_called_twice(self):
        """A second call does nothing, and a stopped receiver starts again on its port."""
        receiver = LocalReceiver()
        receiver.stop()
        assert receiver.start() is receiver.start()
        port = receiver.port
        receiver.stop()
        receiver.stop()
        with receiver:
            assert port == receiver.port

    def test_a_taken_port_is_an_error(self, receiver):
        """Two receivers never share a port."""
        with pytest.raises(OSError):
            LocalReceiver(port=receiver.port).start()

    def test_repr_shows_no_key(self, connect):
        """Neither the receiver nor a request shows a key in its repr."""
        with LocalReceiver(tokens=["secret"], api_keys=["secret"]) as receiver:
            client = connect(receiver)
            client.hec('{"event":1}', path="/services/collector/event?token=secret", token="secret")

            shown = repr(receiver) + repr(receiver.requests) + repr(vars(receiver)["hec"])
            assert "secret" not in shown
            assert "1 entries in 1 requests" in shown
            assert "POST /services/collector/event, " in shown

    def test_arrivals_are_told(self, connect):
        """``on_arrival`` gets each request with what was taken from it."""
        told = []
        with LocalReceiver(on_arrival=lambda request, entries: told.append((request, entries))) as receiver:
            connect(receiver).send("/", ENTRY)

            assert [(receiver.requests[0], (receiver.entries[0],))] == told


class TestMemory:
    def test_waits(self, receiver, client):
        """``wait_for`` waits for everything that it is given, and gives up in time."""
        client.send("/", '[{"id":"a"},{"id":"a"},{"id":"b"}]')

        assert receiver.wait_for(
            count=3, requests=1, ids=["a", "b"], predicate=lambda: receiver.entry_count == 3
        )
        assert not receiver.wait_for(count=4, timeout_seconds=0)
        assert not receiver.wait_for(requests=2, timeout_seconds=0)
        assert not receiver.wait_for(ids=["a", "c"], timeout_seconds=0)
        assert not receiver.wait_for(predicate=lambda: False, timeout_seconds=0)
        assert (receiver.ids, receiver.duplicates()) == ({"a": 2, "b": 1}, {"a": 2})

    def test_a_wait_ends_with_the_arrival(self, receiver, client):
        """A thread that waits for ids goes on when the last of them has arrived."""
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(receiver.wait_for, ids=["a", "b"], timeout_seconds=20)
            client.send("/", '{"id":"a"}')
            client.send("/", '{"id":"b"}')

            assert waiting.result(timeout=10) is True

    def test_clear(self, receiver, client):
        """``clear`` forgets what arrived, counts too."""
        client.send("/", ENTRY)
        receiver.clear()

        assert (
            receiver.entries,
            receiver.requests,
            receiver.ids,
            receiver.entry_count,
            receiver.request_count,
        ) == ([], [], {}, 0, 0)

    def test_bounded(self, connect):
        """With bounds the newest are kept, while the counts go on."""
        with LocalReceiver(max_entries=2, max_requests=1) as receiver:
            client = connect(receiver)
            for body in ('[{"id":"a"},{"id":"b"}]', '[{"id":"a"}]', '[1,{"id":"a"}]'):
                client.send("/", body)

            assert [entry.id for entry in receiver.entries] == [None, "a"]
            assert (receiver.ids, receiver.entry_count, receiver.request_count) == ({"a": 1}, 5, 3)
            assert [request.number for request in receiver.requests] == [3]

    def test_entries_read_like_mappings(self, receiver, client):
        """A field is read by its name; a missing one is a KeyError."""
        client.send("/", '{"id":"a","n":{"m":1}}')

        assert receiver.entries[0]["n"] == {"m": 1}
        with pytest.raises(KeyError):
            receiver.entries[0]["missing"]


def test_100_000_entries_within_seconds(receiver, client):
    """The receiver is quick enough for heavy use; this test's own time limit is the bound."""
    headers = {"Authorization": "Splunk t", "Content-Encoding": "gzip"}
    for lap in range(100):
        events = "".join(
            json.dumps({"event": {"id": f"{lap}-{n}", "message": "x" * 100}}) for n in range(1000)
        )
        status, _ = client.send("/services/collector/event", gzip.compress(events.encode(), 1), headers)
        assert status == 200

    assert receiver.wait_for(ids=(f"{lap}-{n}" for lap in range(100) for n in range(1000)), timeout_seconds=5)
