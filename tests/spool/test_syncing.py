"""A sync that fails is not believed later, and the entries it was for are saved elsewhere."""

from __future__ import annotations

import errno

import pytest

from defender_logging._pipeline.spool import Fsync, SpoolError


def seqs(entries):
    return [entry.seq for entry in entries]


def append(store, line, numbers):
    for seq in numbers:
        store.append(seq, line(seq))


@pytest.mark.parametrize("zeroed", [True, False])
def test_a_power_cut_costs_only_what_came_after_the_last_sync(spool, line, read_all, zeroed):
    """All that ``sync`` had taken on is there, over several segments; the files are readable."""
    store = spool.store()
    append(store, line, range(1, 11))
    store.sync()
    append(store, line, range(11, 14))
    spool.die()
    spool.fs.lose_power(spool.path, zeroed=zeroed)
    ((adopted,), problems) = spool.adopt()

    assert list(range(1, 11)) == seqs(read_all(adopted))
    assert [] == problems
    assert all(damage.is_torn for damage in adopted.take_damage())


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_entries_of_a_failed_sync_are_written_anew(spool, line, read_all, code):
    """To another segment, which is synced; the failed one is never synced again."""
    store = spool.store(segment_bytes=10_000)
    append(store, line, (1, 2))
    store.sync()
    append(store, line, (3, 4))
    store.settle([3])
    spool.fs.fail("sync", code, times=1)
    note = store.sync()
    append(store, line, (5,))

    assert errno.errorcode[code] in note
    assert "written anew" in note
    assert [1, 2, 4, 5] == seqs(read_all(store))
    assert 4 == store.unsettled_count

    store.sync()
    spool.die()
    spool.fs.lose_power(spool.path, zeroed=True)
    ((adopted,), _) = spool.adopt()

    assert [1, 2, 4, 5] == seqs(read_all(adopted))


def test_saving_entries_is_tried_until_it_works(spool, line, read_all):
    """While the disk refuses, ``sync`` says so each time, and nothing is lost meanwhile."""
    store = spool.store(segment_bytes=10_000)
    append(store, line, (1, 2))
    spool.fs.fail("sync", errno.EIO)
    for _ in range(3):
        with pytest.raises(SpoolError, match="anew"):
            store.sync()
        assert [1, 2] == seqs(read_all(store))
    synced = [call for call in spool.fs.calls if call[0] == "sync"]
    append(store, line, (3,))
    spool.fs.heal()
    store.sync()

    assert 5 == len(synced)  # The salt's; then the segment once, and a new one three times.
    assert [1, 2, 3] == seqs(read_all(store))
    assert None is store.sync()

    store.settle([1, 2, 3])
    store.close()

    assert ["salt"] == spool.names()


def test_entries_stay_in_place_where_a_full_disk_lets_nothing_be_written_anew(spool, line, read_all):
    """They are still readable; and the next process finds each once."""
    store = spool.store(segment_bytes=10_000)
    append(store, line, (1, 2, 3))
    spool.fs.fail("sync", errno.ENOSPC, times=1)
    spool.fs.fail("create", errno.ENOSPC)
    with pytest.raises(SpoolError, match="ENOSPC"):
        store.sync()
    spool.fs.heal()
    spool.fs.fail("truncate", errno.EIO)
    store.sync()

    assert [1, 2, 3] == seqs(read_all(store))

    spool.die()
    ((adopted,), _) = spool.adopt()

    assert [1, 2, 3] == seqs(read_all(adopted))
    assert 3 == adopted.unsettled_count


def test_a_segment_removed_by_somebody_is_written_anew(spool, line, read_all):
    """While its descriptor is open, everything in it can be read, what was synced before too."""
    store = spool.store(segment_bytes=10_000)
    append(store, line, (1, 2))
    store.sync()
    append(store, line, (3,))
    spool.segments()[0].unlink()
    with pytest.raises(SpoolError, match="ENOENT"):
        store.read_after(0, 1_000)
    note = store.sync()

    assert "removed by somebody" in note
    assert [1, 2, 3] == seqs(read_all(store))


def test_off_never_syncs(spool, line):
    """No file of a stream is synced, at no step of its life."""
    store = spool.store(fsync=Fsync.OFF)
    append(store, line, range(1, 11))
    spool.fs.calls.clear()
    store.sync()
    store.settle(range(1, 6))
    store.write_cursor()
    store.close()

    assert [] == [call for call in spool.fs.calls if call[0].startswith("sync")]


def test_descriptors_of_finished_segments_are_closed(spool, line, open_descriptors):
    """One is open for writing, however many segments there are."""
    store = spool.store()
    append(store, line, (1,))
    store.sync()
    before = open_descriptors()
    append(store, line, range(2, 40))
    store.sync()
    after = open_descriptors()

    assert before == after


def test_a_settled_segment_is_not_synced(spool, line):
    """What nobody needs any more costs no disk time."""
    store = spool.store()
    append(store, line, range(1, 5))
    append(store, line, (5,))
    store.settle([1, 2, 3, 4])
    spool.fs.calls.clear()
    store.sync()

    assert 1 == len([call for call in spool.fs.calls if call[0] == "sync"])
