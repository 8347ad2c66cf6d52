"""A failing disk leaves nothing half-written, and the writer goes on by itself when it works again."""

from __future__ import annotations

import errno

import pytest

from defender_logging._pipeline.entry import Entry
from defender_logging._pipeline.spool import Fsync, SpoolError
from defender_logging._pipeline.spool.writing import PAUSE_SECONDS


def seqs(entries):
    return [entry.seq for entry in entries]


def adopted_seqs(spool, read_all):
    spool.die()
    adopted, problems = spool.adopt()
    assert [] == problems
    return [seq for store in adopted for seq in seqs(read_all(store))], [
        damage for store in adopted for damage in store.take_damage()
    ]


@pytest.mark.parametrize("short", [0, 1, 34, 35, 60, 120])
@pytest.mark.parametrize("truncate_works", [True, False])
def test_a_short_write_leaves_no_trace(spool, line, read_all, short, truncate_works):
    """It raises; entries before and after are whole, for this process and for the next."""
    store = spool.store()
    store.append(1, line(1))
    spool.fs.short_write_bytes = short
    if not truncate_works:
        spool.fs.fail("truncate", errno.EIO)
    with pytest.raises(SpoolError, match=rf"only {short} of \d+ bytes"):
        store.append(2, line(2))
    spool.fs.heal()
    spool.clock.advance(PAUSE_SECONDS)
    store.append(3, line(3))

    assert [1, 3] == seqs(read_all(store))
    assert 2 == store.unsettled_count
    assert (1 if truncate_works else 2) == len(spool.segments())

    found, damage = adopted_seqs(spool, read_all)

    assert [1, 3] == found
    assert [] == damage or not truncate_works


@pytest.mark.parametrize(
    "fault",
    [
        ("write", errno.ENOSPC, "free some space"),
        ("write", errno.EIO, "look at the disk"),
        ("create", errno.ENOSPC, "free some space"),
        ("create", errno.EMFILE, "open files"),
        ("create", errno.EROFS, "mount it for writing"),
        ("create", errno.EACCES, "let this user write"),
    ],
)
def test_goes_on_by_itself_when_the_disk_works_again(spool, line, read_all, fault):
    """The error names itself and the remedy; meanwhile the disk is left alone; nothing is half-written."""
    operation, code, remedy = fault
    store = spool.store()
    for seq in (1, 2, 3, 4):  # The next one needs a new segment.
        store.append(seq, line(seq))
    spool.fs.fail(operation, code)
    with pytest.raises(SpoolError, match=f"{errno.errorcode[code]}.*{remedy}"):
        store.append(5, line(5))
    spool.fs.heal()
    spool.fs.calls.clear()
    with pytest.raises(SpoolError, match=remedy):
        store.append(6, line(6))

    assert [] == spool.fs.calls

    spool.clock.advance(PAUSE_SECONDS)
    store.append(7, line(7))

    assert [1, 2, 3, 4, 7] == seqs(read_all(store))
    assert ([1, 2, 3, 4, 7], []) == adopted_seqs(spool, read_all)


@pytest.mark.parametrize("operation", ["make_directory", "create", "write", "sync", "link", "rename", "open"])
def test_a_spool_that_cannot_be_made_yet_is_made_later(spool, line, read_all, operation):
    """Nothing needs a restart, not even when the very first entry found no disk, at whatever step."""
    store = spool.store()
    spool.fs.fail(operation, errno.EROFS)
    with pytest.raises(SpoolError, match="EROFS"):
        store.append(1, line(1))
    spool.fs.heal()
    spool.clock.advance(PAUSE_SECONDS)
    store.append(2, line(2))

    assert [2] == seqs(read_all(store))
    assert ([2], []) == adopted_seqs(spool, read_all)


def test_a_half_made_stream_is_cleared_away(spool, line):
    """What a failure while making the directory leaves is no stream, and is removed."""
    store = spool.store()
    spool.fs.fail("rename", errno.ENOSPC)
    with pytest.raises(SpoolError):
        store.append(1, line(1))

    assert ["salt"] == spool.names()


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupted_append_is_whole_or_not_there(spool, line, read_all, when):
    """An exception of a signal handler goes through; ``last_seq`` says whether the entry was written."""
    store = spool.store(segment_bytes=10_000)
    store.append(1, line(1))
    real = store.append.__self__._write

    def interrupted(fd, data):
        if when == "after":
            real(fd, data)
        raise KeyboardInterrupt

    store.append.__self__._write = interrupted
    with pytest.raises(KeyboardInterrupt):
        store.append(2, line(2))
    store.append.__self__._write = real
    expected = [1, 2] if when == "after" else [1]

    assert expected[-1] == store.last_seq
    assert expected == seqs(read_all(store))

    store.append(3, line(3))

    assert ([*expected, 3], []) == adopted_seqs(spool, read_all)


def test_always_waits_for_the_disk(spool, line):
    """With ``Fsync.ALWAYS`` an entry is synced before ``append`` returns, its file's name too."""
    store = spool.store(fsync=Fsync.ALWAYS)
    store.append(1, line(1))
    calls = [call[0] for call in spool.fs.calls]

    assert ["sync_directory", "sync_directory", "write", "sync"] == calls[-4:]

    store.append(2, line(2))

    assert [("write",), ("sync",)] == spool.fs.calls[-2:]


def test_always_refuses_an_entry_that_is_not_synced(spool, line, read_all):
    """The entry is not in the spool; the segment is not used again, and its sync is not repeated."""
    store = spool.store(fsync=Fsync.ALWAYS)
    store.append(1, line(1))
    spool.fs.fail("sync", errno.EIO, times=1)
    with pytest.raises(SpoolError, match="EIO"):
        store.append(2, line(2))
    spool.clock.advance(PAUSE_SECONDS)
    store.append(3, line(3))

    assert [1, 3] == seqs(read_all(store))
    assert 2 == len(spool.segments())


def test_a_deleted_directory_is_made_again(spool, line, read_all):
    """At the next segment; other processes see a stream with an owner."""
    store = spool.store()
    for seq in (1, 2, 3, 4):
        store.append(seq, line(seq))
    for path in (*spool.segments(), *(spool.path / "s1").iterdir()):
        path.unlink(missing_ok=True)
    (spool.path / "s1").rmdir()
    (spool.path / "salt").unlink()
    spool.path.rmdir()
    store.append(5, line(5))

    assert 1 == len(spool.segments())

    store.sync()

    assert [1, 2, 3, 4, 5] == seqs(read_all(store))
    assert ([], []) == spool.adopt()
    assert [1, 2, 3, 4, 5] == sorted(adopted_seqs(spool, read_all)[0])


def test_takes_entries_at_once_after_others_were_saved(spool, line):
    """Who finds out that the disk works again does so for all; otherwise a trouble that is over would be told anew."""
    store = spool.store()
    spool.fs.fail("make_directory", errno.ENOTDIR)
    with pytest.raises(SpoolError):
        store.append(1, line(1))
    store.note_absent([1])
    spool.fs.heal()
    assert 1 == store.save([Entry(1, line(1))])
    store.append(2, line(2))

    assert 2 == store.unsettled_count
