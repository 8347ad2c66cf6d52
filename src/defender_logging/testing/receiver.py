"""The other end on this machine: Splunk HEC, Datadog and a generic endpoint on one port of a real server.

A sender under test posts to ``hec_url``, ``datadog_url`` or ``generic_url``; the vendor's rules judge each
request; what they take is remembered, before the answer is sent. ``script`` bends single answers,
``black_hole`` and ``refuse`` the whole receiver.
"""

from __future__ import annotations

import contextlib
import itertools
import ssl
import tempfile
import threading
import uuid
from collections.abc import Callable, Collection
from dataclasses import replace
from types import TracebackType

from defender_logging.clock import SYSTEM_CLOCK, Clock
from defender_logging.testing.certificates import Certificate, make_certificate
from defender_logging.testing.connection import Connection, Service
from defender_logging.testing.datadog import DATADOG_PATH, DatadogSettings, judge_datadog
from defender_logging.testing.exchange import Outcome, ReceivedEntry, ReceivedRequest, Response
from defender_logging.testing.generic import GenericSettings, judge_generic
from defender_logging.testing.hec import AckDesk, HecSettings, is_hec, judge_hec
from defender_logging.testing.memory import Memory
from defender_logging.testing.scripting import Answer, Script
from defender_logging.testing.server import Server

__all__ = ["LocalReceiver"]

_ANY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104 - because these are only compared with

Arrival = Callable[[ReceivedRequest, tuple[ReceivedEntry, ...]], None]


class LocalReceiver(Memory):
    """A server for tests that speaks Splunk HEC, Datadog logs v2 and plain JSON, told apart by the path.

    ::

        with LocalReceiver(tokens=["secret"]) as receiver:
            ...  # log to receiver.hec_url with receiver.token
            assert receiver.wait_for(count=3)
            assert "paused" == receiver.entries[0]["message"]

    It starts and stops with ``with``, or by ``start()`` and ``stop()``. Every method may be called from any
    thread. What arrived is in ``entries``, ``discarded``, ``requests``, ``ids``; ``wait_for`` waits.

    Args:
        host: the address to listen on.
        port: 0 for any free one.
        tls: True for a throw-away certificate (extra ``tls``), or a ``Certificate``.
        tokens: short for ``hec=HecSettings(tokens=...)``.
        api_keys: short for ``datadog=DatadogSettings(api_keys=...)``.
        use_ack: short for ``hec=HecSettings(use_ack=True)``.
        hec: how the Splunk is set up; may be replaced while running (a rotated token, acks that come again).
        datadog: how the Datadog is set up; likewise.
        generic: how the endpoint at every other path is set up; likewise.
        clock: tells Datadog's rules how old an entry is.
        max_entries: remember only the newest this many entries; None: all.
        max_requests: remember only the newest this many requests; None: all.
        max_body_bytes: a longer body, as sent, is answered with 413 and not read.
        on_arrival: called with each request and the entries taken from it, in the connection's thread.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: bool | Certificate = False,
        tokens: Collection[str] | None = None,
        api_keys: Collection[str] | None = None,
        use_ack: bool = False,
        hec: HecSettings | None = None,
        datadog: DatadogSettings | None = None,
        generic: GenericSettings | None = None,
        clock: Clock = SYSTEM_CLOCK,
        max_entries: int | None = None,
        max_requests: int | None = None,
        max_body_bytes: int = 64 * 1024 * 1024,
        on_arrival: Arrival | None = None,
    ) -> None:
        super().__init__(max_entries=max_entries, max_requests=max_requests)
        self.hec = hec or HecSettings()
        if tokens is not None:
            self.hec = replace(self.hec, tokens=tuple(tokens))
        if use_ack:
            self.hec = replace(self.hec, use_ack=True)
        self.datadog = datadog or DatadogSettings()
        if api_keys is not None:
            self.datadog = replace(self.datadog, api_keys=tuple(api_keys))
        self.generic = generic or GenericSettings()
        self._host = host
        self._port = port
        self._tls = tls
        self._clock = clock
        self._max_body_bytes = max_body_bytes
        self._on_arrival = on_arrival
        self._script = Script()
        self._acks = AckDesk()
        self._release = threading.Event()
        self._request_numbers = itertools.count(1)
        self._any_key = str(uuid.uuid4())
        self._lock = threading.RLock()
        self._server: Server | None = None
        self._certificate: Certificate | None = None
        self._cleanup = contextlib.ExitStack()

    def __repr__(self) -> str:
        """Name address, state and counts; no key."""
        state = "stopped" if self._server is None else "running"
        counts = f"{self.entry_count} entries in {self.request_count} requests"
        return f"<LocalReceiver {self.url} {state}, {counts}>"

    def __enter__(self) -> LocalReceiver:  # noqa: PYI034 - because Self needs Python 3.11
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def start(self) -> LocalReceiver:
        """Open the port and begin to answer; a second call does nothing. Started again, it keeps its port.

        Raises:
            OSError: the port is taken.
            ModuleNotFoundError: ``tls=True`` without the package trustme.
        """
        with self._lock:
            if self._server is None:
                service = Service(
                    self._script,
                    self._respond,
                    self._request_numbers.__next__,
                    self._open_tls(),
                    self._max_body_bytes,
                )
                server = Server(
                    self._host,
                    self._port,
                    lambda accepted, number: Connection(accepted, number, service),
                    name="receiver",
                )
                try:
                    server.bind()
                    server.listen()
                except OSError:
                    self._close_tls()
                    raise
                self._server, self._port = server, server.port
        return self

    def stop(self) -> None:
        """Close the port and all connections and wait for the threads; a second call does nothing."""
        with self._lock:
            server, self._server = self._server, None
            try:
                if server is not None:
                    server.stop()
            finally:
                self._close_tls()

    @property
    def port(self) -> int:
        """The port; 0 before the first start when any was asked for."""
        return self._port

    @property
    def url(self) -> str:
        """Scheme, host and port, without a path."""
        host = "127.0.0.1" if self._host in _ANY_ADDRESS else self._host
        return f"http{'s' if self._tls else ''}://{f'[{host}]' if ':' in host else host}:{self._port}"

    @property
    def hec_url(self) -> str:
        """HEC's endpoint for JSON events."""
        return f"{self.url}/services/collector/event"

    @property
    def hec_raw_url(self) -> str:
        """HEC's endpoint for raw text."""
        return f"{self.url}/services/collector/raw"

    @property
    def datadog_url(self) -> str:
        """Datadog's logs endpoint."""
        return f"{self.url}{DATADOG_PATH}"

    @property
    def generic_url(self) -> str:
        """An endpoint for JSON arrays, NDJSON and single objects; any other path does as well."""
        return f"{self.url}/logs"

    @property
    def token(self) -> str:
        """A HEC token that is valid now."""
        return next(iter(self.hec.tokens or ()), self._any_key)

    @property
    def api_key(self) -> str:
        """A Datadog API key that is valid now."""
        return next(iter(self.datadog.api_keys or ()), self._any_key)

    @property
    def ca_file(self) -> str:
        """Path of the CA certificate for clients to trust; gone after ``stop`` when it was made here."""
        certificate = self._running_certificate()
        return certificate.ca_file or certificate.certificate_file

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the server's certificate in DER, as 64 hexadecimal digits."""
        return self._running_certificate().fingerprint

    def script(self, *answers: Answer, path: str = "") -> None:
        """Queue answers for the next requests to a path that begins with ``path``, each used once."""
        self._script.add(answers, path)

    def always(self, answer: Answer, *, path: str = "") -> None:
        """Give ``answer`` to every request that finds none queued, until ``restore``."""
        self._script.always(answer, path)

    def black_hole(self) -> None:
        """Accept connections and requests and never answer, until ``restore``."""
        self.always(
            Answer(
                wait_for=self._release, wait_at_most_seconds=None, cut_at="after_body", takes_entries=False
            )
        )

    def restore(self) -> None:
        """Answer as the vendors do: forget all scripts, and reset the connections that a black hole holds."""
        self._script.clear()
        release, self._release = self._release, threading.Event()
        release.set()

    def refuse(self) -> None:
        """Close the port and every connection, so that connecting is refused, but keep the port."""
        with self._lock:
            self._running_server().refuse()

    def listen(self) -> None:
        """Take connections again after ``refuse``, on the same port."""
        with self._lock:
            self._running_server().listen()

    def forget_channels(self) -> None:
        """Forget all ack ids, as a Splunk that restarts: they begin at 0 again, old ones answer false."""
        self._acks.clear()

    @property
    def unused_answers(self) -> int:
        """How many scripted answers have not been used; 0 proves that every fault really happened."""
        return len(self._script)

    def _respond(self, request: ReceivedRequest, answer: Answer) -> Response:
        """Judge a request, remember it with what was taken, and return the response."""
        outcome = self._judge(request) if answer.asks_vendor else Outcome(Response(200))
        response = answer.applied_to(outcome.response)
        if answer.takes_entries is False:
            outcome = Outcome(response)
        remembered = replace(request, status=response.status) if answer.is_begun else request
        self._remember(remembered, outcome)
        if self._on_arrival is not None:
            self._on_arrival(remembered, outcome.entries)
        return response

    def _judge(self, request: ReceivedRequest) -> Outcome:
        """Let the vendor whose path it is judge a request."""
        if is_hec(request.path):
            return judge_hec(request, self.hec, self._acks)
        if request.path == DATADOG_PATH:
            return judge_datadog(request, self.datadog, now_unix_seconds=self._clock.time())
        return judge_generic(request, self.generic)

    def _open_tls(self) -> ssl.SSLContext | None:
        """Load the certificate, made in a folder of its own where none was given."""
        if isinstance(self._tls, Certificate):
            self._certificate = self._tls
        elif self._tls:
            folder = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="defender-logging-"))
            names = dict.fromkeys(("localhost", "127.0.0.1", "::1", *({self._host} - set(_ANY_ADDRESS))))
            self._certificate = make_certificate(folder, names=tuple(names))
        return None if self._certificate is None else self._certificate.server_context()

    def _close_tls(self) -> None:
        """Remove a certificate that was made here."""
        self._certificate = None
        self._cleanup.close()

    def _running_certificate(self) -> Certificate:
        """The certificate in use."""
        if self._certificate is None:
            raise RuntimeError("there is no certificate; give tls=True, and start the receiver first")
        return self._certificate

    def _running_server(self) -> Server:
        """The server in use."""
        if self._server is None:
            raise RuntimeError("the receiver is not started; call start() first")
        return self._server
