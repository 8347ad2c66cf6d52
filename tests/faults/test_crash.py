"""Cases 1 to 4: a process is killed, or its power is cut, at any moment."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path

import pytest

from defender_logging.testing import Answer

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")

LOGS_UNTIL_KILLED = """
make(spool_dir="spool", flush_interval_seconds=0.01, max_batch_entries=20, fsync=os.environ["FSYNC"],
     max_queue_bytes=65536, compression="none", max_in_flight=int(os.environ["IN_FLIGHT"]))

def chatter(thread):
    for number in range(100_000):
        log_ticket(thread, number)
        if number % 50 == 0:
            time.sleep(0.005)

threads = [threading.Thread(target=chatter, args=[n], daemon=True) for n in range(4)]
for thread in threads:
    thread.start()
tell("READY", os.getpid())
for thread in threads:
    thread.join()
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


@pytest.fixture
def kill_at_random(oracle, tickets, receiver):
    """Kill processes at random moments, all with one spool, start anew, and hold all that they reported against it."""

    def kill(seeds, mode, fsync="interval", in_flight=1):
        dice = random.Random(seeds[0])
        if mode == "down":
            receiver.refuse()
        flapping = Flapping(receiver, seeds[0])
        if mode == "flapping":
            flapping.__enter__()
        running = [tickets.start(LOGS_UNTIL_KILLED, FSYNC=fsync, IN_FLIGHT=str(in_flight)) for _ in seeds]
        for program in running:
            program.wait_for("READY")
        for program in dice.sample(running, len(running)):
            threading.Event().wait(dice.uniform(0, 0.15))
            program.process.kill()
            program.process.wait()
        if mode == "flapping":
            flapping.__exit__()
        if mode == "down":
            receiver.listen()
        accounts = tickets.start_anew()
        fired = len(tickets.note())

        assert mode == "up" or accounts
        oracle.assert_conserved(
            receiver, *accounts, fired=fired, has_killed=True, duplicates=mode != "down", in_order=False
        )

    return kill


@pytest.mark.parametrize("mode", ["up", "down", "flapping"])
@pytest.mark.parametrize("fsync", ["interval", "off"])
def test_case_01_kill_minus_nine_in_mid_burst(kill_at_random, mode, fsync):
    """Four threads log, batches are in flight: what had returned arrives, and comes twice only as the same entry."""
    kill_at_random([1, 2, 3, 4], mode, fsync)


def test_case_01_kill_minus_nine_with_fsync_always(kill_at_random):
    """With the disk waited for at each call, the same holds."""
    kill_at_random([50], "down", "always")


@pytest.mark.parametrize("mode", ["up", "flapping"])
def test_case_01_kill_minus_nine_with_many_under_way(kill_at_random, mode):
    """Batches are settled in another order than they were logged in; the spool knows which are."""
    kill_at_random([61, 62, 63, 64], mode, in_flight=4)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", ["up", "down", "flapping"])
@pytest.mark.parametrize("first_seed", range(100, 200, 10))
def test_case_01_three_hundred_deaths(kill_at_random, mode, first_seed):
    """Thirty rounds of ten deaths each."""
    kill_at_random(list(range(first_seed, first_seed + 10)), mode)


STOPS_SYNCING = """
from defender_logging._pipeline.spool.system import SystemFileSystem
SYNCED = os.open("synced", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
really_sync, rounds, hangs = SystemFileSystem.sync, 0, threading.Event()

def sync(fd):
    "Note what is safe, and how many records had been logged before; the third round hangs."
    global rounds
    status, logged = os.fstat(fd), os.fstat(REPORT).st_size
    is_segment = os.readlink(f"/proc/self/fd/{fd}").endswith(".seg")
    rounds += is_segment
    if rounds > 2:
        hangs.set()
        threading.Event().wait()
    really_sync(fd)
    os.write(SYNCED, f"{status.st_ino} {status.st_size} {logged if is_segment else 0}\\n".encode())

SystemFileSystem.sync = staticmethod(sync)
make(spool_dir="spool")
number = 0
while not hangs.is_set():
    log_ticket("main", number)
    number += 1
    time.sleep(0.0002)
log_tickets("too-late", 100)
tell("HANGS", True)
wait_for_test()
"""


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")
@pytest.mark.parametrize("zeroed", [False, True], ids=["cut off", "full of zeros"])
def test_case_02_power_loss(oracle, tickets, receiver, zeroed):
    """Pages that were never synced are gone: nothing is lost that was logged before the last sync began."""
    receiver.refuse()
    program = tickets.start(STOPS_SYNCING)
    program.wait_for("HANGS")
    program.process.kill()
    program.process.wait()
    synced, logged = {}, 0
    for line in (tickets.folder / "synced").read_text().splitlines():
        inode, size, before = map(int, line.split())
        synced[inode], logged = size, max(logged, before)
    cut = 0
    for path in (tickets.folder / "spool").glob("*/*.seg"):
        size, kept = path.stat().st_size, synced.get(path.stat().st_ino, 0)
        cut += size - kept
        os.truncate(path, kept)
        os.truncate(path, size if zeroed else kept)
    receiver.listen()
    accounts = tickets.start_anew()
    issued = tickets.note()
    safe = (tickets.folder / "report").read_bytes()[:logged].count(b"\n")
    arrived = {entry["ticket"] for entry in receiver.entries}

    assert 0 < safe < len(issued)
    assert set(issued[:safe]) <= arrived
    oracle.assert_conserved(
        receiver, *accounts, fired=cut, missing=set(issued[safe:]) - arrived, has_killed=True
    )


def test_case_03_kill_minus_nine_in_memory_only(oracle, tickets, receiver):
    """Without a spool just what was in memory is lost."""
    program = tickets.start(
        """
        handler = make()
        log_tickets("delivered", 50)
        assert handler.flush(10)
        tell("FLUSHED", True)
        wait_for_test()
        log_tickets("in-memory", 50)
        tell("LOGGED", True)
        wait_for_test()
        """
    )
    program.wait_for("FLUSHED")
    receiver.black_hole()
    program.go_on()
    program.wait_for("LOGGED")
    program.process.kill()
    program.process.wait()
    receiver.restore()
    lost = {ticket for ticket in tickets.note() if "in-memory" in ticket}

    assert 50 == len(lost)
    oracle.assert_conserved(receiver, fired=1, missing=lost, has_killed=True)


@pytest.mark.parametrize("spool", [True, False], ids=["spool", "memory"])
def test_case_04_sigterm_without_a_handler(oracle, tickets, receiver, spool):
    """Python dies of it at once, as of SIGKILL: a spool keeps everything, memory nothing."""
    receiver.refuse()
    program = tickets.start(
        f"""
        make({"spool_dir='spool'" if spool else ""})
        log_tickets("main", 50)
        tell("LOGGED", True)
        wait_for_test()
        """
    )
    program.wait_for("LOGGED")
    program.process.send_signal(signal.SIGTERM)
    result = program.finish()
    receiver.listen()
    accounts = tickets.start_anew() if spool else []
    issued = tickets.note()

    assert (-signal.SIGTERM, 50) == (result.code, len(issued))
    oracle.assert_conserved(
        receiver, *accounts, fired=1, missing=0 if spool else set(issued), has_killed=True
    )
