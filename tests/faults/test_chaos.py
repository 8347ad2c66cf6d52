"""Case 59 once more, with every fault of a network and a receiver at random and at once, for some seconds each."""

from __future__ import annotations

import random
import threading
import time

import pytest

from defender_logging.testing import Answer, Link, LocalReceiver, TcpProxy

SECONDS = 3

FAULTS = [
    Answer(status=503),
    Answer(status=500, body="<html>"),
    Answer(status=429, headers={"Retry-After": "0"}),
    Answer(status=401),
    Answer(status=302, headers={"Location": "http://elsewhere.example/"}),
    Answer(delay_seconds=0.4),
    Answer(cut_at="after_headers"),
    Answer(cut_at="after_body", takes_entries=True),
    Answer(cut_at="in_answer_headers"),
    Answer(cut_at="in_answer_body"),
    Answer(cut_at="after_answer"),
    Answer(cut_at="after_answer", cut_with="close"),
]


class Weather:
    """Spoils a receiver and the line to it, at random, until it is told to stop."""

    def __init__(self, receiver, proxy, seed):
        self._receiver, self._proxy, self._random = receiver, proxy, random.Random(seed)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self._thread.join(10)
        self._proxy.restore()
        self._receiver.restore()

    def _run(self):
        while not self._is_over.wait(0.05):
            self._proxy.script(*[self._link() for _ in range(3)])
            answers = [self._random.choice([Answer(), self._random.choice(FAULTS)]) for _ in range(6)]
            self._receiver.script(*answers)
            self._random.choices(
                [
                    lambda: None,
                    self._proxy.reset,
                    self._proxy.silence,
                    self._receiver.forget_channels,
                    self._close,
                ],
                weights=[16, 2, 1, 1, 1],
            )[0]()

    def _link(self):
        how = self._random.choice(["reset", "silence"])
        return self._random.choice(
            [
                Link(),
                Link(cut_after_sent=self._random.randrange(3000), cut_with=how),
                Link(cut_after_received=self._random.randrange(400), cut_with=how),
            ]
        )

    def _close(self):
        self._proxy.refuse()
        self._is_over.wait(0.05)
        self._proxy.listen()


@pytest.mark.slow
@pytest.mark.parametrize("spool", [False, True], ids=["memory", "spool"])
@pytest.mark.parametrize(
    ("kind", "in_flight", "use_ack"),
    [
        ("splunk", 1, True),
        ("splunk", 4, True),
        ("splunk", "auto", False),
        ("datadog", 4, False),
        ("generic", 1, False),
    ],
)
def test_case_59_everything_at_once(  # noqa: PLR0917 - because fixtures are named, not placed
    oracle, connect, kind, in_flight, spool, use_ack, tmp_path, monkeypatch
):
    """Three threads log meanwhile. Afterwards all is there, in order where one request is under way at a time."""
    monkeypatch.setattr("defender_logging._pipeline.acks.FIRST_WAIT_SECONDS", 0.05)
    settings = {"use_ack": True, "ack_timeout_seconds": 0.5} if use_ack else {}
    if spool:
        settings |= {"spool_dir": str(tmp_path / "spool"), "max_queue_bytes": 200_000}
    with LocalReceiver(use_ack=use_ack) as receiver, TcpProxy(port=receiver.port) as proxy:
        handler, log = connect(
            kind,
            receiver,
            through=proxy,
            max_in_flight=in_flight,
            max_batch_entries=20,
            request_timeout_seconds=0.3,
            **{"max_queue_bytes": 200_000_000, **settings},
        )
        end = time.monotonic() + SECONDS

        def work():
            while time.monotonic() < end:
                oracle.log(log, 50)
                time.sleep(0.01)

        threads = [threading.Thread(target=work) for _ in range(3)]
        with Weather(receiver, proxy, seed=f"{kind} {in_flight} {spool} {use_ack}"):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        oracle.assert_conserved(
            receiver,
            handler,
            fired=lambda: handler.stats().retries and proxy.cut_count,
            duplicates=True,
            in_order=in_flight == 1,
        )
