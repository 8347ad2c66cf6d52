"""Servers whose workers are killed and replaced at random: what the service answered is what the receiver has."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import random
import signal
import socket
import sys
import threading
import time
from collections import defaultdict

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="these servers fork")

SERVICE = """
from app import *
make(spool_dir="spool")
def application(environ, start_response):
    log.info("%s", environ["PATH_INFO"].strip("/"))
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

STARTS_ANEW = """
from defender_logging import lifecycle
handler = make(spool_dir="spool")
log.info("anew")
def streams():
    return [name for name in os.listdir("spool") if not name.startswith((".", "salt"))]
tell("DRAINED", wait_until(lambda: len(streams()) == 1 and handler.stats().pending == 0) and handler.flush(10))
"""

CLIENTS = 4
TROUBLE_SECONDS = 20
"""Most that a busy machine takes longer to answer from more workers than there were at first."""


class Load:
    """Clients that ask for one number after the other, each again until it is answered."""

    def __init__(self, address):
        self.answered = {}
        self.unanswered_tries = 0
        self._address, self._numbers, self._stop = address, itertools.count(), threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _run(self):
        while not self._stop.is_set():
            number = next(self._numbers)
            while (pid := self._ask(number)) is None:
                self.unanswered_tries += 1
            self.answered[number] = pid

    def _ask(self, number):
        with contextlib.closing(http.client.HTTPConnection(*self._address, timeout=20)) as connection:
            try:
                connection.request("GET", f"/{number}", headers={"Connection": "close"})
                return int(connection.getresponse().read())
            except (OSError, http.client.HTTPException, ValueError):  # Its worker was killed meanwhile.
                return None


def trouble(master, load, seconds, seed):
    """Kill workers and have all of them replaced, at random, until that shows; returns how often each happened."""
    dice = random.Random(seed)
    done = {"kill": 0, "reload": 0}
    pause = threading.Event()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends or not all(done.values()) or len(set(load.answered.values())) <= CLIENTS:
        assert time.monotonic() < ends + TROUBLE_SECONDS, (done, load.unanswered_tries)
        pause.wait(dice.uniform(0.02, 0.3))
        if not load.answered:
            continue
        if dice.random() < 0.15:
            os.kill(master, signal.SIGHUP)
            done["reload"] += 1
            continue
        workers = list(dict.fromkeys(reversed(load.answered.copy().values())))[:CLIENTS]
        with contextlib.suppress(ProcessLookupError):
            victim = dice.choice(workers)
            if os.getsid(victim) == master:  # And not somebody who got the number of a dead one.
                os.kill(victim, signal.SIGKILL)
                done["kill"] += 1
    return done


@pytest.fixture
def listening():
    """A listening socket that the server inherits, so that requests wait in it while workers are replaced."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        server.set_inheritable(True)
        yield server


SYNC, THREADS = ["--worker-class", "sync"], ["--worker-class", "gthread", "--threads", "4"]
RECYCLED = ["--max-requests", "40", "--max-requests-jitter", "20"]


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ([*SYNC, "--preload"], 1),
        slow([*SYNC, "--preload", *RECYCLED], 5),
        slow([*THREADS, "--preload", *RECYCLED], 5),
        slow([*THREADS, "--preload"], 5),
        slow(SYNC, 5),
    ],
    ids=["sync preload", "sync preload recycled", "gthread preload recycled", "gthread preload", "sync"],
)
def test_what_killed_and_reloaded_gunicorn_workers_answered_has_arrived(
    programs, receiver, listening, options, seconds
):
    """SIGKILL and SIGHUP at random under load: the numbers answered and the numbers received are the same set."""
    pytest.importorskip("gunicorn")
    (programs.folder / "service.py").write_text(SERVICE)
    server = programs.start_command(
        [
            *(sys.executable, "-m", "gunicorn", "--workers", "4", "--bind", f"fd://{listening.fileno()}"),
            *("--log-level", "critical"),
            *options,
            "service:application",
        ],
        url=receiver.generic_url,
        pass_fds=[listening.fileno()],
        seconds=45,
        HOME=str(programs.folder),  # Where newer versions put a control socket.
    )
    with Load(listening.getsockname()) as load:
        done = trouble(server.process.pid, load, seconds, seed=seconds)
    server.process.send_signal(signal.SIGTERM)
    result = server.finish()
    last = programs.run(STARTS_ANEW, url=receiver.generic_url)

    assert 0 == result.code, result.stderr
    assert (0, True) == (last.code, last.value("DRAINED")), last.stderr
    assert all(done.values()), done
    assert len(set(load.answered.values())) > CLIENTS
    assert {"anew", *map(str, load.answered)} == {entry["message"] for entry in receiver.entries}
    assert_no_stream_has_a_gap(receiver)


def assert_no_stream_has_a_gap(receiver):
    """Also what was logged by workers that died before they could answer: each stream is whole, each id one entry."""
    seqs, messages = defaultdict(set), defaultdict(set)
    for entry in receiver.entries:
        seqs[entry["stream"]].add(entry["seq"])
        messages[entry["id"]].add(entry["message"])
    for found in seqs.values():
        assert set(range(1, len(found) + 1)) == found
    assert {1} == {len(found) for found in messages.values()}
