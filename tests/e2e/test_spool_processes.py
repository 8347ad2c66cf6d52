"""Several processes share a spool directory: each writes its own stream, and an orphan goes to exactly one of them."""

from __future__ import annotations

import os
from collections import Counter, defaultdict

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

SHARED = """
import shutil
from defender_logging import lifecycle

def streams():
    return [name for name in os.listdir("spool") if not name.startswith((".", "salt"))]

def in_child(task):
    pid = os.fork()
    if pid:
        return pid
    try:
        task()
        tell_accounts()
    finally:
        os._exit(0)

def drain(handler):
    tell("ADOPTED", wait_until(lambda: lifecycle._housekeeper._next_search > 0))
    tell("DRAINED", wait_until(lambda: handler.stats().pending == 0) and handler.flush(10))
"""


def assert_whole_streams(receiver, count):
    seqs = {}
    for entry in receiver.entries:
        seqs.setdefault(entry["stream"], []).append(entry["seq"])
    assert {} == receiver.duplicates()
    assert count == len(seqs)
    for found in seqs.values():
        assert list(range(1, len(found) + 1)) == found


def test_a_fork_with_entries_pending_leaves_them_and_the_lock_to_the_parent(programs, receiver):
    """The child has a stream of its own; when it dies its entries are adopted, and the parent's never are."""
    receiver.refuse()
    program = programs.start(
        SHARED
        + """
handler = make(spool_dir="spool")
for _ in range(20):
    log.info("parent")
pid = in_child(lambda: [log.info("child") for _ in range(10)])
tell("CHILD", os.waitpid(pid, 0)[1])
tell("STREAMS", len(streams()))
wait_for_test()
log.info("parent")
lifecycle._housekeeper._next_search = 0
tell("DELIVERED", wait_until(lambda: handler.stats().delivered == 31))
""",
        url=receiver.generic_url,
    )
    assert 2 == program.wait_for("STREAMS")
    other = programs.start(
        SHARED + 'handler = make(spool_dir="spool", name="other")\nlog.info("other")\ndrain(handler)',
        url=receiver.generic_url,
    )
    other.wait_for("ADOPTED")
    receiver.listen()
    other.finish()
    program.go_on()
    result = program.finish()

    assert (0, "", 0, True) == (
        result.code,
        result.stderr,
        result.value("CHILD"),
        result.value("DELIVERED"),
    )
    assert_whole_streams(receiver, 3)
    assert 32 == receiver.entry_count


FORKS_WHILE_EIGHT_THREADS_LOG = """
handler = make(spool_dir="spool", flush_interval_seconds=0, max_queue_bytes=20_000)
forks = int(os.environ["FORKS"])
stop = threading.Event()
def chatter():
    while not stop.is_set():
        log.info("parent")
        time.sleep(0.0005)
threads = [threading.Thread(target=chatter) for _ in range(8)]
for thread in threads:
    thread.start()
codes = []
for number in range(forks):
    flushes = number % 2
    pid = in_child(lambda: [[log.info("child") for _ in range(5)], flushes and flush_all(10)])
    codes.append(os.waitpid(pid, 0)[1])
stop.set()
for thread in threads:
    thread.join()
tell("CODES", codes)
lifecycle._housekeeper._next_search = 0
tell("ALONE", wait_until(lambda: len(streams()) == 1, forks))
tell("FLUSHED", handler.flush(forks))
"""


@pytest.mark.parametrize("forks", [30, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(150)])])
def test_forking_while_eight_threads_log_to_a_spool(programs, receiver, forks):
    """Each child has entries of its own, every second one leaves them behind: nothing hangs or is lost."""
    result = programs.start(
        SHARED + FORKS_WHILE_EIGHT_THREADS_LOG,
        url=receiver.generic_url,
        FORKS=str(forks),
        seconds=20 + forks / 5,
    ).finish()

    assert (0, "", [0] * forks) == (result.code, result.stderr, result.value("CODES"))
    assert (True, True) == (result.value("ALONE"), result.value("FLUSHED"))
    texts = Counter()
    seqs = defaultdict(set)
    for entry in {entry["id"]: entry for entry in receiver.entries}.values():
        texts[entry["message"]] += 1
        seqs[entry["stream"]].add(entry["seq"])
    assert 5 * forks == texts["child"]
    assert forks + 1 == len(seqs)
    for found in seqs.values():
        assert set(range(1, len(found) + 1)) == found


def test_a_daemon_that_forks_twice_has_a_stream_of_its_own(programs, receiver, check_account):
    """Parent and grandchild deliver what they logged; the child between them has nothing to lock or to send."""
    result = programs.run(
        """
        make(spool_dir="spool")
        log.info("before")
        pid = os.fork()
        if pid == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            log.info("daemon")
            sys.exit(0)
        os.waitpid(pid, 0)
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    check_account(result.accounts, receiver, delivered=2)
    assert_whole_streams(receiver, 2)


STARTERS = {
    "subprocess": "subprocess.Popen([sys.executable, '-c', SLEEPS])",
    "subprocess that keeps descriptors": "subprocess.Popen([sys.executable, '-c', SLEEPS], close_fds=False)",
    "posix_spawn": "os.posix_spawn(sys.executable, [sys.executable, '-c', SLEEPS], os.environ)",
}


@pytest.mark.parametrize("starter", STARTERS)
def test_a_program_that_was_started_holds_nothing_of_the_spool(programs, receiver, starter):
    """It outlives its killed parent, whose stream is an orphan all the same."""
    receiver.refuse()
    parent = programs.start(
        f"""
        import subprocess
        SLEEPS = "import time; print('STARTED 1', flush=True); time.sleep(60)"
        make(spool_dir="spool")
        for number in range(10):
            log.info("parent")
        {STARTERS[starter]}
        tell("WAITS", 1)
        wait_for_test()
        """,
        url=receiver.generic_url,
    )
    parent.wait_for("STARTED")
    parent.process.kill()
    parent.process.wait()
    receiver.listen()
    last = programs.run(
        SHARED + 'handler = make(spool_dir="spool")\nlog.info("anew")\ndrain(handler)',
        url=receiver.generic_url,
    )

    assert (0, "", True) == (last.code, last.stderr, last.value("DRAINED"))
    assert 11 == receiver.entry_count
    assert_whole_streams(receiver, 2)
