"""A receiver that is no bottleneck: it keeps bodies as they come, answers, and counts when the clock has stopped.

A process of its own, of plain sockets. It prints its port; when its input ends it unpacks what it kept, counts the
numbered records in it (``workload.MARK``) and prints that as JSON. Speaks as much of the receivers' languages as
keeps senders content: Splunk HEC (with acks), Datadog, Loki, OTLP, Sentry, Seq, and lines over bare TCP.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import socket
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.workload import MARK, OBJECT, SHARES, WARM_UP

__all__ = ["count", "main"]

_CHUNK_BYTES = 1 << 18

_ANSWERS = (
    ("/services/collector", "200 OK", b'{"text":"Success","code":0}'),
    ("/api/v2/logs", "202 Accepted", b"{}"),
    ("/loki/", "204 No Content", b""),
    ("/v1/logs", "200 OK", b""),
    ("/ingest/clef", "201 Created", b"{}"),
    ("/api/events/raw", "201 Created", b"{}"),
)
"""What a path is answered with; any other gets 200 and an empty object."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One body as it came: when it was complete (monotonic nanoseconds), how it is packed, and its bytes."""

    at: int
    encoding: str
    body: bytes


class _Sink:
    """Takes connections, a thread each, until the process ends."""

    def __init__(self, *, delay_seconds: float, down_seconds: float, has_acks: bool) -> None:
        self.arrivals: list[Arrival] = []
        self.requests = 0
        self.connections = 0
        self._delay_seconds = delay_seconds
        self._down_seconds = down_seconds
        self._has_acks = has_acks
        self._up_from: float | None = None
        self._ack_ids: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        received = bytearray()
        with connection:
            try:
                while self._exchange(connection, received):
                    pass
            except (ConnectionError, ValueError):
                pass  # The sender went away, or speaks something else: what is missing shows in the count.

    def _exchange(self, connection: socket.socket, received: bytearray) -> bool:
        while (end := received.find(b"\r\n\r\n")) < 0:
            chunk = connection.recv(_CHUNK_BYTES)
            if not chunk:
                return False
            received += chunk
            if not received.startswith(b"P"):
                self._take_lines(connection, received)
                return False
        first, *lines = received[:end].decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        body = bytearray(int(headers.get("content-length", "0")))
        rest = received[end + 4 : end + 4 + len(body)]
        body[: len(rest)] = rest
        del received[: end + 4 + len(rest)]
        view, have = memoryview(body), len(rest)
        while have < len(body):
            got = connection.recv_into(view[have:])
            if not got:
                return False
            have += got
        connection.sendall(self._answer(first.split(" ")[1], headers, body))
        return headers.get("connection", "").lower() != "close"

    def _take_lines(self, connection: socket.socket, received: bytearray) -> None:
        while chunk := connection.recv(_CHUNK_BYTES):
            received += chunk
        self.arrivals.append(Arrival(time.monotonic_ns(), "", bytes(received)))

    def _answer(self, path: str, headers: dict[str, str], body: bytearray) -> bytes:
        now = time.monotonic_ns()
        if path.startswith("/services/collector/ack"):
            acks = dict.fromkeys(map(str, json.loads(body)["acks"]), True)
            return _response("200 OK", json.dumps({"acks": acks}).encode())
        self.requests += 1
        if self._is_down(now / 1e9):
            return _response("503 Service Unavailable", b'{"text":"Server is busy","code":9}')
        self.arrivals.append(Arrival(now, headers.get("content-encoding", ""), bytes(body)))
        if self._delay_seconds:
            time.sleep(self._delay_seconds)
        if self._has_acks:
            channel = headers.get("x-splunk-request-channel", "")
            with self._lock:
                ack_id = self._ack_ids[channel]
                self._ack_ids[channel] += 1
            return _response("200 OK", b'{"text":"Success","code":0,"ackId":%d}' % ack_id)
        for start, status, answer in _ANSWERS:
            if path.startswith(start):
                return _response(status, answer)
        return _response("200 OK", b"{}")

    def _is_down(self, now_seconds: float) -> bool:
        if self._up_from is None:
            self._up_from = now_seconds + self._down_seconds
        return now_seconds < self._up_from


def _response(status: str, body: bytes) -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if not status.startswith("204") else ""
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{length}\r\n".encode() + body


def _unpacked(arrival: Arrival) -> bytes:
    if arrival.encoding == "gzip":
        return gzip.decompress(arrival.body)
    if arrival.encoding == "deflate":
        return zlib.decompress(arrival.body)
    return arrival.body


def count(arrivals: Iterable[Arrival], expected: int) -> dict[str, object]:
    """Count distinct, duplicated and missing records among the numbers 0 to ``expected`` - 1.

    Returns:
        ``delivered``, ``duplicated``, ``missing``; ``has_fields``, whether their objects came along; ``first_ns`` and
        ``last_ns`` of the arrivals that count; ``body_bytes`` and ``wire_bytes`` of all; of stamped records the
        latencies from call to arrival.
    """
    seen: Counter[int] = Counter()
    latencies_us: list[float] = []
    times: list[int] = []
    body_bytes = wire_bytes = objects = 0
    for arrival in arrivals:
        body = _unpacked(arrival)
        wire_bytes += len(arrival.body)
        body_bytes += len(body)
        objects += len(OBJECT.findall(body))
        numbers = [(int(n), stamp) for n, stamp in MARK.findall(body) if int(n) < WARM_UP]
        seen.update(n for n, _ in numbers)
        latencies_us += [(arrival.at - int(stamp)) / 1000 for _, stamp in numbers if stamp]
        if numbers:
            times.append(arrival.at)
    return {
        "delivered": len(seen),
        "duplicated": seen.total() - len(seen),
        "missing": expected - len(seen),
        "has_fields": 0 < len(seen) <= objects,
        "first_ns": min(times, default=0),
        "last_ns": max(times, default=0),
        "body_bytes": body_bytes,
        "wire_bytes": wire_bytes,
    } | _latency_figures(sorted(latencies_us))


def _latency_figures(sorted_us: list[float]) -> dict[str, object]:
    if not sorted_us:
        return {}
    last = len(sorted_us) - 1
    return {f"latency_{name}_us": sorted_us[round(share * last)] for name, share in SHARES.items()}


def main() -> None:
    """Serve until the input ends, which brings the number of records that were logged; then count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay-seconds", type=float, default=0.0, help="wait before each answer")
    parser.add_argument(
        "--down-seconds", type=float, default=0.0, help="answer 503 for so long after the first request"
    )
    parser.add_argument("--acks", action="store_true", help="acknowledge like Splunk HEC")
    chosen = parser.parse_args()
    sink = _Sink(delay_seconds=chosen.delay_seconds, down_seconds=chosen.down_seconds, has_acks=chosen.acks)
    threading.Thread(target=sink.accept, daemon=True).start()
    print(sink.port, flush=True)
    expected = int(sys.stdin.read() or 0)
    cpu_seconds = time.process_time()
    counted = count(sink.arrivals, expected)
    counted |= {"requests": sink.requests, "connections": sink.connections, "sink_cpu_seconds": cpu_seconds}
    print(json.dumps(counted), flush=True)
    os._exit(0)  # Its threads wait in system calls.


if __name__ == "__main__":
    main()
