"""Cases 20, 21, 29, 30, 32, 33 and 34: a disk that is full, failing, read-only or gone, and clocks that jump."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading

import pytest

from defender_logging._pipeline.spool.system import SystemFileSystem

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs mount, limits of open files, or SIGKILL")


def wait_until(holds, seconds=15):
    tick = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if holds():
            return True
        tick.wait(0.02)
    return False


def is_on_disk(path):
    """Whether a segment there holds an entry."""
    return any(each.stat().st_size > 200 for each in path.rglob("*.seg"))


def times_told(caplog, words):
    return sum(words in record.getMessage() for record in caplog.records)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    path = tmp_path / "disk"
    path.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small tmpfs cannot be mounted here: {error}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_case_20_disk_full(oracle, receiver, connect, small_disk, caplog):
    """ENOSPC of a real file system: memory takes over up to its bound, told once; it heals without a restart."""
    handler, log = connect(
        "generic",
        receiver,
        spool_dir=str(small_disk / "spool"),
        max_queue_bytes=500_000,
        max_spool_bytes=1_600_000,
    )
    oracle.log(log)
    receiver.refuse()
    oracle.log(log, 400, padding="x" * 5000)
    full = handler.stats()
    receiver.listen()
    assert handler.flush(20)
    told_while_full = times_told(caplog, "does not take entries")
    assert wait_until(lambda: oracle.log(log) and "takes entries again" in caplog.text)

    assert 0 < full.dropped == full.dropped_by_reason["queue_full"]
    assert full.queue_bytes <= 500_000
    assert 1 == told_while_full
    # What only memory holds may overtake what the disk holds.
    oracle.assert_conserved(receiver, handler, fired=full.dropped, missing=full.dropped, in_order=False)


FAILS_A_SYNC = """
import glob
from defender_logging._pipeline.spool.system import SystemFileSystem
really_sync, failed, safe = SystemFileSystem.sync, [], {}

def sync(fd):
    "The first sync of a segment fails, and its pages are lost; what is synced later is noted."
    path, size = os.readlink(f"/proc/self/fd/{fd}"), os.fstat(fd).st_size
    if not failed and path.endswith(".seg"):
        failed.append(path)
        raise OSError(int(os.environ["ERROR"]), "made up")
    really_sync(fd)
    safe[path] = size

def segments():
    return {path: os.stat(path).st_size for path in glob.glob(os.getcwd() + "/spool/*/*.seg") if path not in failed}

SystemFileSystem.sync = staticmethod(sync)
make(spool_dir="spool")
log_tickets("main", 50)
tell("FAILED", wait_until(lambda: failed) and failed[0])
log_tickets("later", 50)
tell("SAVED", wait_until(lambda: segments() and segments().items() <= safe.items()) and safe)
wait_for_test()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
def test_case_21_an_error_on_fsync(oracle, tickets, receiver, code):
    """The entries are written anew elsewhere, so the pages of the failed sync may be lost, in a power cut too."""
    receiver.refuse()
    program = tickets.start(FAILS_A_SYNC, ERROR=str(code))
    failed = program.wait_for("FAILED")
    safe = program.wait_for("SAVED")
    program.process.kill()
    program.process.wait()
    for path in (tickets.folder / "spool").glob("*/*.seg"):
        os.truncate(path, safe.get(str(path), 0))
    receiver.listen()
    accounts = tickets.start_anew()

    assert failed not in safe
    assert 100 == len(tickets.note())
    oracle.assert_conserved(receiver, *accounts, fired=failed, has_killed=True)


def test_case_29_the_directory_is_deleted_while_running(oracle, receiver, connect, tmp_path):
    """What is in memory goes out all the same, and new entries are on the disk again without a restart."""
    path = tmp_path / "spool"
    handler, log = connect("generic", receiver, spool_dir=str(path))
    receiver.refuse()
    oracle.log(log, 20)
    shutil.rmtree(path, ignore_errors=True)  # The handler may be at work there.
    assert wait_until(lambda: is_on_disk(path))
    oracle.log(log, 20)
    receiver.listen()

    oracle.assert_conserved(receiver, handler, fired=1)


def test_case_29_the_directory_cannot_be_made(oracle, receiver, connect, tmp_path, caplog):
    """A file stands in its place; told once, delivered from memory, and spooled once the file is gone."""
    path = tmp_path / "spool"
    handler, log = connect("generic", receiver, spool_dir=str(path))
    path.write_text("in the way")
    oracle.log(log, 20)
    assert handler.flush(10)
    path.unlink()
    receiver.refuse()
    assert wait_until(lambda: oracle.log(log) and path.is_dir() and is_on_disk(path))
    receiver.listen()

    assert 1 == times_told(caplog, "does not take entries")
    oracle.assert_conserved(receiver, handler, fired=1)


def test_case_29_a_read_only_file_system(oracle, receiver, connect, small_disk, caplog):
    """EROFS of a real one; nothing is lost that memory holds."""
    path = small_disk / "spool"
    handler, log = connect("generic", receiver, spool_dir=str(path))
    remount = ["mount", "-o", "remount,{}", str(small_disk)]
    subprocess.run([part.format("ro") for part in remount], check=True)
    oracle.log(log, 20)
    assert handler.flush(10)
    subprocess.run([part.format("rw") for part in remount], check=True)
    receiver.refuse()
    assert wait_until(lambda: oracle.log(log) and path.is_dir() and is_on_disk(path))
    receiver.listen()

    assert 1 == times_told(caplog, "does not take entries")
    oracle.assert_conserved(receiver, handler, fired=1)


def test_case_29_killed_after_the_disk_has_healed(oracle, tickets, receiver):
    """No further log call is needed for what only memory held: the disk heals, and then the process may die."""
    receiver.refuse()
    program = tickets.start(
        """
        handler = make(spool_dir="spool", max_batch_entries=7)
        open("spool", "w").close()  # In the way of the directory.
        log_tickets("main", 50)
        tell("IN_MEMORY", handler._pipeline.pending_in_memory_only)
        os.unlink("spool")
        tell("SAVED", wait_until(lambda: not handler._pipeline.pending_in_memory_only))
        wait_for_test()
        """
    )
    in_memory = program.wait_for("IN_MEMORY")
    assert program.wait_for("SAVED")
    program.process.kill()
    program.process.wait()
    receiver.listen()
    accounts = tickets.start_anew()

    assert 50 == in_memory == len(tickets.note())
    oracle.assert_conserved(receiver, *accounts, fired=in_memory)


@pytest.mark.parametrize("operation", ["open", "write"])
@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO], ids=errno.errorcode.get)
def test_case_29_permission_lost_or_a_failing_disk(  # noqa: PLR0917 - because fixtures are named, not placed
    oracle, receiver, connect, tmp_path, monkeypatch, caplog, operation, code
):
    """The same, whatever call the system refuses and for how long: memory holds what the disk does not take."""
    refused, healed = [], threading.Event()
    really = getattr(SystemFileSystem, operation)

    def refuse(*arguments, **named):
        if healed.is_set():
            return really(*arguments, **named)
        refused.append(operation)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(SystemFileSystem, operation, refuse if operation == "open" else staticmethod(refuse))
    path = tmp_path / "spool"
    handler, log = connect("generic", receiver, spool_dir=str(path))
    receiver.refuse()
    oracle.log(log, 20)
    assert 20 == handler.stats().pending
    healed.set()
    assert wait_until(lambda: oracle.log(log) and path.is_dir() and is_on_disk(path))
    receiver.listen()

    assert 1 == times_told(caplog, "does not take entries")
    oracle.assert_conserved(receiver, handler, fired=len(refused))


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest", "block"])
def test_case_30_spool_quota_reached(oracle, receiver, connect, tmp_path, overflow):
    """By ``overflow``, counted at every look, and the trail names every missing number and no other."""
    handler, log = connect(
        "generic",
        receiver,
        spool_dir=str(tmp_path / "spool"),
        max_spool_bytes=1_000_000,
        max_queue_bytes=100_000,
        overflow=overflow,
        block_timeout_seconds=0.001,
        max_batch_entries=50,
    )
    done, wrong = threading.Event(), []

    def look():
        while not done.is_set():
            s = handler.stats()
            if s.accepted != s.delivered + s.rejected + s.dropped + s.pending:
                wrong.append(s)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(3):
            receiver.refuse()
            oracle.log(log, 400, padding="x" * 5000)
            receiver.listen()
            oracle.log(log, 50, padding="y" * 500)
            assert handler.flush(20)
        assert handler.flush(20)
    finally:
        done.set()
        watcher.join()
    stats = handler.stats()
    arrived = {entry["seq"] for entry in receiver.entries}
    told = [
        number
        for entry in receiver.entries
        if entry.fields.get("trail") == "dropped"
        for first, last in entry["ranges"]
        for number in range(first, last + 1)
    ]

    assert [] == wrong[:1]
    assert sorted(told) == sorted({*range(1, stats.accepted + 1)} - arrived)
    # The trail's word about drops finds no room on the disk either, and overtakes it.
    oracle.assert_conserved(
        receiver, handler, fired=stats.dropped > 100, missing=stats.dropped, in_order=False
    )


def test_case_32_too_many_open_files(oracle, tickets, receiver):
    """EMFILE while the backlog is read and segments are made: no tight loop, and all go when files can be opened."""
    receiver.refuse()
    program = tickets.start(
        """
        import resource
        handler = make(spool_dir="spool", max_queue_bytes=20_000)
        handler.start()
        log_tickets("before", 300)
        hogs = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 5, 4096))
        try:
            while True:
                hogs.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        cpu = time.process_time()
        for number in range(20):
            log_ticket("without-descriptors", number)
            time.sleep(0.05)
        tell("CPU", time.process_time() - cpu)
        for fd in hogs:
            os.close(fd)
        tell("HOGS", len(hogs))
        wait_for_test()
        tell("FLUSHED", handler.flush(15))
        """
    )
    hogs = program.wait_for("HOGS")
    receiver.listen()
    program.go_on()
    result = program.finish()

    assert (0, True) == (result.code, result.value("FLUSHED"))
    assert result.value("CPU") < 0.8
    assert 320 == len(tickets.note())
    oracle.assert_conserved(receiver, *result.accounts, fired=hogs)


@pytest.mark.parametrize("killed", [False, True], ids=["running", "killed"])
def test_case_33_the_clock_jumps(oracle, tickets, receiver, killed):
    """An hour back, ten years ahead: entries leave in the order of their numbers, and retries go on."""
    receiver.refuse()
    program = tickets.start(
        """
        really = {name: getattr(time, name) for name in ("time", "time_ns")}
        ahead = 0
        time.time = lambda: really["time"]() + ahead
        time.time_ns = lambda: really["time_ns"]() + ahead * 10**9
        handler = make(spool_dir="spool", max_spool_bytes=80_000, max_queue_bytes=4000)
        handler.start()
        for jump, ahead in enumerate([0, -3600, 10 * 365 * 86400, 0, -86400]):
            log_tickets(f"jump{jump}", 20)
            time.sleep(0.1)
        tell("FILES", sum(name.endswith(".seg") for _, _, names in os.walk("spool") for name in names))
        wait_for_test()
        tell("FLUSHED", handler.flush(10))
        """
    )
    files = program.wait_for("FILES")
    if killed:
        program.process.kill()
        program.process.wait()
    receiver.listen()
    if killed:
        accounts = tickets.start_anew("max_spool_bytes=80_000")
    else:
        program.go_on()
        accounts = program.finish().accounts
    times = [entry["time"] for entry in receiver.entries]

    assert files > 1
    assert 100 == len(tickets.note())
    oracle.assert_conserved(receiver, *accounts, fired=times != sorted(times), has_killed=killed)


def test_case_34_a_record_of_ten_megabytes(oracle, receiver, connect, tmp_path):
    """It is cut to the limit of one entry and marked, and its neighbours on the disk are not lost with it."""
    handler, log = connect("generic", receiver, spool_dir=str(tmp_path / "spool"), max_queue_bytes=20_000)
    receiver.refuse()
    oracle.log(log, 50)
    log.info("x" * 10_000_000, extra={"ticket": "huge"})
    oracle.note("huge", truncated=True)
    oracle.log(log, 50)
    receiver.listen()
    assert handler.flush(20)
    (huge,) = [entry for entry in receiver.entries if entry["ticket"] == "huge"]

    assert huge["original_bytes"] > 10_000_000
    oracle.assert_conserved(receiver, handler, fired=len(huge["message"]) > 100_000)
