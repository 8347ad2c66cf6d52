"""A process with a spool may be killed at any moment: what had been logged by then arrives after a restart."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections import defaultdict

import pytest

from defender_logging.testing import Answer

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")

LOGS_UNTIL_KILLED = """
handler = make(spool_dir="spool", flush_interval_seconds=0.01, max_batch_entries=20, fsync=os.environ["FSYNC"],
               max_queue_bytes=65536, compression="none")
report = os.open(os.environ["REPORT"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def chatter(thread):
    for number in range(100_000):
        word = f"{os.getpid()}-{thread}-{number}"
        log.info(word, extra={"padding": word * 20})
        os.write(report, (word + "\\n").encode())
        if number % 50 == 0:
            time.sleep(0.005)

threads = [threading.Thread(target=chatter, args=[n], daemon=True) for n in range(4)]
for thread in threads:
    thread.start()
tell("READY", os.getpid())
for thread in threads:
    thread.join()
"""

RESTARTS = """
handler = make(spool_dir="spool")
log.info("restarted")

def streams():
    return [name for name in os.listdir("spool") if not name.startswith((".", "salt"))]

is_drained = wait_until(lambda: len(streams()) == 1 and handler.stats().pending == 0, 20)
tell("DRAINED", is_drained and handler.flush(5))
"""


class Flapping:
    """A receiver that fails and works by turns."""

    def __init__(self, receiver, seed):
        self._receiver, self._random, self._stop = receiver, random.Random(seed), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        faults = [
            Answer(status=503),
            Answer(cut_at="before_request"),
            Answer(cut_at="after_body", takes_entries=True),
        ]
        while not self._stop.wait(self._random.uniform(0.01, 0.1)):
            self._receiver.always(self._random.choice(faults))
            self._stop.wait(self._random.uniform(0.01, 0.05))
            self._receiver.restore()

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._receiver.restore()


def crash_and_restart(programs, receiver, seeds, mode, fsync="interval"):
    """Kill one process per seed, all with one spool, restart once, and check all that had been reported."""
    dice = random.Random(seeds[0])
    if mode == "down":
        receiver.refuse()
    flapping = Flapping(receiver, seeds[0])
    if mode == "flapping":
        flapping.__enter__()
    running = [
        programs.start(
            LOGS_UNTIL_KILLED,
            url=receiver.generic_url,
            FSYNC=fsync,
            REPORT=str(programs.folder / f"report{seed}"),
        )
        for seed in seeds
    ]
    for program in running:
        program.wait_for("READY")
    for program in dice.sample(running, len(running)):
        threading.Event().wait(dice.uniform(0, 0.15))
        program.process.send_signal(signal.SIGKILL)
        program.process.wait()
    if mode == "flapping":
        flapping.__exit__()
    if mode == "down":
        receiver.listen()
    result = programs.run(RESTARTS, url=receiver.generic_url)

    reported = {word for seed in seeds for word in (programs.folder / f"report{seed}").read_text().split()}
    assert (0, "", True) == (result.code, result.stderr, result.value("DRAINED"))
    arrived = defaultdict(set)
    for entry in receiver.entries:
        arrived[entry["id"]].add(json.dumps(entry.fields, sort_keys=True))
    words = [json.loads(next(iter(bodies)))["message"] for bodies in arrived.values()]
    assert reported
    assert set() == reported - set(words)
    assert len(words) == len(set(words))
    assert {1} == {len(bodies) for bodies in arrived.values()}
    (account,) = result.accounts
    assert account["accepted"] == account["delivered"]
    return account


@pytest.mark.parametrize("mode", ["up", "down", "flapping"])
@pytest.mark.parametrize("fsync", ["interval", "off"])
def test_nothing_whose_call_had_returned_is_lost_by_kill_9(programs, receiver, mode, fsync):
    """Four threads log, batches are in flight: duplicates only with the same id and payload."""
    account = crash_and_restart(programs, receiver, [1, 2, 3, 4], mode, fsync)

    assert mode == "up" or account["accepted"] > 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["up", "down", "flapping"])
@pytest.mark.parametrize("first_seed", range(100, 200, 10))
def test_nothing_is_lost_in_300_deaths(programs, receiver, mode, first_seed):
    """Thirty rounds of ten deaths each."""
    for start in (first_seed, first_seed + 5):
        crash_and_restart(programs, receiver, list(range(start, start + 5)), mode, "interval")
        receiver.clear()


def test_fsync_always_survives_kill_9(programs, receiver):
    """With the disk waited for at each call, the same holds."""
    crash_and_restart(programs, receiver, [50], "down", "always")
