"""A directory has at most one owner, until that one lets go or dies, with ``flock`` and without it."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
import threading

import pytest

from defender_logging._pipeline.spool.locks import abandon_locks, is_locked, take_lock


@pytest.fixture(params=["flock", "claims"])
def fs(request, spool):
    """A file system with locks of either kind."""
    spool.fs.has_flock = request.param == "flock"
    return spool.fs


@pytest.fixture
def dead_pid():
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(timeout=30)
    return process.pid


def test_is_held_by_one_until_released(fs, tmp_path):
    """A second taker gets nothing, in the same process too."""
    lock = take_lock(fs, tmp_path, is_new=True)

    assert lock is not None
    assert is_locked(fs, tmp_path)
    assert None is take_lock(fs, tmp_path)

    lock.release()

    assert not is_locked(fs, tmp_path)

    again = take_lock(fs, tmp_path)

    assert again is not None
    again.release()


def test_a_lock_that_nobody_refers_to_is_free_again(spool, tmp_path):
    """An interrupt between taking it and noting it must not lock a stream for as long as the process runs."""
    taken = [take_lock(spool.fs, tmp_path, is_new=True)]
    assert is_locked(spool.fs, tmp_path)
    taken.clear()
    gc.collect()

    assert not is_locked(spool.fs, tmp_path)


def test_a_missing_lock_file_means_that_the_directory_is_going(fs, tmp_path, names):
    """Nobody makes a new one in a directory that is being removed."""
    assert None is take_lock(fs, tmp_path)
    assert not is_locked(fs, tmp_path)
    assert [] == names(tmp_path)


def test_a_lock_file_that_was_replaced_meanwhile_is_not_ours(spool, tmp_path):
    """Between opening and locking, the former owner removed the directory and another made it anew."""
    take_lock(spool.fs, tmp_path, is_new=True).release()
    real = spool.fs.flock

    def replace_first(fd, *, is_shared=False):
        (tmp_path / "lock").unlink()
        (tmp_path / "lock").touch()
        return real(fd)

    spool.fs.flock = replace_first

    assert None is take_lock(spool.fs, tmp_path)


def test_the_claim_of_a_dead_process_is_taken_over_by_one(spool, tmp_path, dead_pid, names):
    """Of many who see it dead in the same moment."""
    spool.fs.has_flock = False
    (tmp_path / "lock").touch()
    (tmp_path / "lock.1").write_text(f"{dead_pid} {socket.gethostname()}\n")
    barrier = threading.Barrier(8)
    got = []

    def take():
        barrier.wait(10)
        got.append(take_lock(spool.fs, tmp_path))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert 1 == len([lock for lock in got if lock])
    assert ["lock", "lock.1", "lock.2"] == names(tmp_path)


@pytest.mark.parametrize("content", ["", "nonsense", "1 ", f"99999999 {'x' * 20}"])
def test_a_claim_in_doubt_counts_as_alive(spool, tmp_path, content):
    """Of another host, or unreadable: its entries wait rather than being sent twice."""
    spool.fs.has_flock = False
    (tmp_path / "lock").touch()
    (tmp_path / "lock.1").write_text(content)

    assert is_locked(spool.fs, tmp_path)
    assert None is take_lock(spool.fs, tmp_path)


def test_a_lock_that_fails_leaves_no_descriptor(spool, tmp_path, open_descriptors):
    """However often it is tried."""
    held = take_lock(spool.fs, tmp_path, is_new=True)
    before = open_descriptors()
    for _ in range(5):
        assert None is take_lock(spool.fs, tmp_path)

    assert before == open_descriptors()

    abandon_locks()

    assert before - 1 == open_descriptors()
    held.fd = None


def test_an_abandoned_lock_leaves_no_descriptor(spool, tmp_path, open_descriptors):
    """As in a forked child; here there is no parent that still holds it."""
    before = open_descriptors()
    take_lock(spool.fs, tmp_path, is_new=True).abandon()

    assert before == open_descriptors()
    assert not is_locked(spool.fs, tmp_path)


def test_a_symbolic_link_is_no_lock_file(spool, tmp_path):
    """Who can make links could otherwise have any file opened."""
    (tmp_path / "elsewhere").touch()
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        take_lock(spool.fs, tmp_path)


def test_a_directory_that_goes_while_it_is_claimed_is_nobody_s(spool, tmp_path):
    """Its last owner removes it in that moment."""
    spool.fs.has_flock = False
    (tmp_path / "lock").touch()
    spool.fs.fail("create", 2)

    assert None is take_lock(spool.fs, tmp_path)
