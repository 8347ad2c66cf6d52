"""A disk that is full, gone, read-only or out of descriptors is told once; entries go on from memory, and it heals."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading

import pytest

from defender_logging import ApiKeyHandler

FAST = {"flush_interval_seconds": 0.01, "retry_initial_seconds": 0.02, "retry_max_seconds": 0.05}


@pytest.fixture
def handler_in(receiver, attached):
    """A handler and a logger for a spool directory."""

    def make(path, **settings):
        handler = ApiKeyHandler(url=receiver.generic_url, spool_dir=str(path), **{**FAST, **settings})
        return handler, attached(handler, level=logging.INFO)

    return make


def wait_until(holds, seconds=10):
    tick = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if holds():
            return True
        tick.wait(0.02)
    return False


def assert_account(handler, receiver):
    assert handler.flush(10)
    stats = handler.stats()
    assert stats.accepted == stats.delivered + stats.dropped
    assert stats.delivered == receiver.entry_count
    assert {} == receiver.duplicates()
    return stats


def segments(path):
    return [each for each in path.rglob("*.seg") if each.stat().st_size > 200]


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


def told(caplog, words):
    return sum(words in record.getMessage() for record in caplog.records)


def test_a_full_disk_is_told_once_and_heals(small_disk, receiver, handler_in, caplog):
    """ENOSPC of a real file system: memory takes over up to its bound, and the disk again when there is room."""
    handler, log = handler_in(small_disk / "spool", max_queue_bytes=500_000, max_spool_bytes=1_600_000)
    log.info("first")
    receiver.refuse()
    for number in range(400):
        log.info("%d %s", number, "x" * 5000)
    full = handler.stats()
    assert full.accepted == full.delivered + full.dropped + full.pending
    receiver.listen()
    assert handler.flush(20)
    log.info("after")
    told_while_full = told(caplog, "does not take entries")
    assert wait_until(lambda: log.info("again") or "takes entries again" in caplog.text)
    stats = assert_account(handler, receiver)

    assert 0 < full.dropped == full.dropped_by_reason["queue_full"] == stats.dropped
    assert 1 == told_while_full
    assert full.queue_bytes <= 500_000


def test_the_directory_deleted_while_running_is_made_again(tmp_path, receiver, handler_in):
    """What is in memory goes out all the same, and new entries are on the disk again without a restart."""
    path = tmp_path / "spool"
    handler, log = handler_in(path)
    receiver.refuse()
    for number in range(20):
        log.info("before %d", number)
    shutil.rmtree(path, ignore_errors=True)  # The handler may be at work there.
    assert wait_until(lambda: segments(path))
    for number in range(20):
        log.info("after %d", number)
    receiver.listen()
    stats = assert_account(handler, receiver)

    assert (40, 0) == (stats.delivered, stats.dropped)


@pytest.mark.skipif(os.name == "nt", reason="needs a file in the way")
def test_a_directory_that_cannot_be_made_leaves_the_entries_in_memory(tmp_path, receiver, handler_in, caplog):
    """A file stands in its place; told once, delivered from memory, and spooled once the file is gone."""
    path = tmp_path / "spool"
    handler, log = handler_in(path)
    path.write_text("in the way")
    for number in range(20):
        log.info("before %d", number)
    assert handler.flush(10)
    path.unlink()
    receiver.refuse()
    assert wait_until(lambda: log.info("again") or (path.is_dir() and segments(path)))
    receiver.listen()
    assert_account(handler, receiver)

    assert 1 == told(caplog, "does not take entries")


def test_a_read_only_disk_is_told_once_and_heals(small_disk, receiver, handler_in, caplog):
    """EROFS of a real file system; nothing is lost that memory holds."""
    path = small_disk / "spool"
    handler, log = handler_in(path)
    remount = ["mount", "-o", "remount,{}", str(small_disk)]
    subprocess.run([part.format("ro") for part in remount], check=True)
    for number in range(20):
        log.info("read-only %d", number)
    assert handler.flush(10)
    subprocess.run([part.format("rw") for part in remount], check=True)
    receiver.refuse()
    assert wait_until(lambda: log.info("again") or (path.is_dir() and segments(path)))
    receiver.listen()
    assert_account(handler, receiver)

    assert 1 == told(caplog, "does not take entries")


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL and a file in the way")
def test_what_a_failing_disk_kept_in_memory_survives_a_kill_after_the_healing(programs, receiver):
    """No further log call is needed: the disk heals, the process dies, and the next start delivers all in order."""
    receiver.refuse()
    program = programs.start(
        """
        handler = make(spool_dir="spool", max_batch_entries=7)
        open("spool", "w").close()  # In the way of the directory.
        for number in range(50):
            log.info("record %d", number)
        tell("IN_MEMORY", handler._pipeline.pending_in_memory_only)
        os.unlink("spool")
        tell("SAVED", wait_until(lambda: not handler._pipeline.pending_in_memory_only))
        wait_for_test()
        """,
        url=receiver.generic_url,
    )
    assert 50 == program.wait_for("IN_MEMORY")
    assert program.wait_for("SAVED")
    program.process.kill()
    program.process.wait()
    receiver.listen()
    second = programs.run(
        """
        handler = make(spool_dir="spool")
        handler.start()
        tell("DELIVERED", wait_until(lambda: handler.stats().delivered == 50) and handler.flush(10))
        """,
        url=receiver.generic_url,
    )

    assert (0, "", True) == (second.code, second.stderr, second.value("DELIVERED"))
    assert list(range(1, 51)) == [entry["seq"] for entry in receiver.entries]


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of open files")
def test_too_many_open_files_are_told_once_and_lose_nothing(programs, receiver, check_account):
    """EMFILE while the stream is made and while the backlog is read: entries wait, and go when files can be opened."""
    receiver.refuse()
    program = programs.start(
        """
        import resource
        handler = make(spool_dir="spool", max_queue_bytes=20_000)
        handler.start()
        log.info("opens")
        hogs = []
        def hog():
            soft = len(os.listdir("/proc/self/fd")) + 5
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, 4096))
            try:
                while True:
                    hogs.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                pass
        for number in range(300):
            log.info("before %d", number)
        hog()
        cpu = time.process_time()
        for number in range(20):
            log.info("without descriptors %d", number)
            time.sleep(0.05)
        tell("CPU", time.process_time() - cpu)
        for fd in hogs:
            os.close(fd)
        tell("HEALED", True)
        wait_for_test()
        tell("FLUSHED", handler.flush(15))
        """,
        url=receiver.generic_url,
    )
    program.wait_for("HEALED")
    receiver.listen()
    program.go_on()
    result = program.finish()

    assert (0, True) == (result.code, result.value("FLUSHED"))
    assert result.value("CPU") < 0.8
    check_account(result.accounts, receiver, delivered=321)
