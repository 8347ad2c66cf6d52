"""A stream gives back what was appended until it is settled, in this process and in the next."""

from __future__ import annotations

import pytest

from defender_logging._pipeline.entry import Entry
from defender_logging._pipeline.spool import Fsync, SpoolError


def seqs(entries):
    return [entry.seq for entry in entries]


def append_many(store, line):
    for seq in range(1, 100):
        store.append(seq, line(seq))


@pytest.mark.parametrize("fsync", Fsync)
def test_what_was_appended_can_be_read_back(spool, line, read_all, fsync):
    """The very bytes, in order, over many segments, whatever is synced when."""
    store = spool.store(fsync=fsync)
    entries = [Entry(seq, line(seq)) for seq in range(1, 41)]
    for entry in entries:
        store.append(*entry)

    assert entries == read_all(store)
    assert 5 < len(spool.segments())
    assert 40 == store.unsettled_count
    assert sum(path.stat().st_size for path in spool.segments()) == store.unsettled_bytes


def test_an_append_is_one_write(spool, line):
    """Nothing else of the system is used while a segment has room."""
    store = spool.store(segment_bytes=100_000)
    store.append(1, line(1))
    spool.fs.calls.clear()
    store.append(2, line(2))

    assert [("write",)] == spool.fs.calls


def test_reading_goes_on_where_entries_were_appended_meanwhile(spool, line, read_all):
    """The segment that is being written is read too."""
    store = spool.store()
    seen = []
    for seq in range(1, 30):
        store.append(seq, line(seq))
        seen += seqs(store.read_after(seen[-1] if seen else 0, 1_000))

    assert list(range(1, 30)) == seen
    assert list(range(1, 30)) == seqs(read_all(store))


def test_a_chunk_is_bounded_by_bytes_and_entries(spool, line):
    """As many as fit, at least one."""
    store = spool.store(segment_bytes=100_000)
    for seq in range(1, 6):
        store.append(seq, line(seq, size=1_000 if seq == 3 else 10))

    assert [1, 2] == seqs(store.read_after(0, 500))
    assert [3] == seqs(store.read_after(2, 500))
    assert [4] == seqs(store.read_after(3, 500, 1))
    assert [] == store.read_after(5, 500)


def test_settled_entries_are_not_read(spool, line, read_all):
    """Whatever the order of settling; unknown and repeated numbers count for nothing."""
    store = spool.store()
    for seq in range(1, 21):
        store.append(seq, line(seq))

    assert 3 == store.settle([5, 1, 20, 5, 99])
    assert 17 == store.unsettled_count
    assert [n for n in range(1, 20) if n not in (1, 5)] == seqs(read_all(store))


def test_the_next_process_gets_what_is_not_settled(spool, line, read_all):
    """A death after the cursor was written repeats nothing of what it settles."""
    store = spool.store()
    for seq in range(1, 21):
        store.append(seq, line(seq))
    store.settle([1, 2, 3, 4, 5, 6, 7, 11])
    store.write_cursor()
    spool.die()
    ((adopted,), problems) = spool.adopt()

    assert [8, 9, 10, *range(12, 21)] == seqs(read_all(adopted))
    assert (12, []) == (adopted.unsettled_count, problems)


def test_settling_the_last_entries_first_repeats_nothing(spool, line, read_all):
    """The file with the highest number stays while others do, so that the cursor is not ahead of them all."""
    store = spool.store()
    for seq in range(1, 13):
        store.append(seq, line(seq))
    spool.die()
    ((adopted,), _) = spool.adopt()
    adopted.settle([2, *range(5, 13)])
    adopted.write_cursor()
    spool.die()
    ((adopted,), _) = spool.adopt()

    assert [1, 3, 4] == seqs(read_all(adopted))


def test_a_death_before_the_cursor_repeats_the_batch(spool, line, read_all):
    """Duplicates, never a loss."""
    store = spool.store()
    for seq in range(1, 5):
        store.append(seq, line(seq))
    store.settle([1, 2])
    spool.die()
    ((adopted,), _) = spool.adopt()

    assert [1, 2, 3, 4] == seqs(read_all(adopted))


def test_files_go_only_after_the_cursor_that_settles_them(spool, line):
    """No segment is removed while the cursor cannot be written."""
    store = spool.store(fsync=Fsync.OFF)
    for seq in range(1, 21):
        store.append(seq, line(seq))
    before = spool.segments()
    store.settle(range(1, 16))
    spool.fs.fail("rename", 5)
    with pytest.raises(SpoolError, match=r"cursor.*EIO"):
        store.write_cursor()

    assert before == spool.segments()

    spool.fs.heal()
    spool.fs.calls.clear()
    store.write_cursor()
    order = [call for call in spool.fs.calls if call[0] in ("rename", "unlink")]

    assert ("rename", "cursor.json") == order[0]
    assert {"unlink"} == {call[0] for call in order[1:]}
    assert len(before) > len(spool.segments())


def test_a_cursor_that_says_nothing_new_is_not_written(spool, line):
    """So it can be asked for after each batch."""
    store = spool.store()
    store.append(1, line(1))
    store.settle([1])
    store.write_cursor()
    spool.fs.calls.clear()
    store.write_cursor()

    assert [] == spool.fs.calls


def test_closing_leaves_nothing_of_a_settled_stream(spool, line):
    """Its directory goes; and closing twice is harmless."""
    store = spool.store()
    for seq in range(1, 21):
        store.append(seq, line(seq))
    store.settle(range(1, 21))
    store.close()
    store.close()

    assert ["salt"] == spool.names()
    assert (0, 0) == (store.unsettled_count, store.unsettled_bytes)


def test_closing_leaves_what_is_not_settled_to_the_next(spool, line, read_all):
    """With its cursor, and without its lock."""
    store = spool.store()
    for seq in range(1, 6):
        store.append(seq, line(seq))
    store.settle([1, 2])
    store.close()
    ((adopted,), _) = spool.adopt()

    assert [3, 4, 5] == seqs(read_all(adopted))

    adopted.settle([3, 4, 5])
    adopted.close()

    assert ["salt"] == spool.names()


def test_an_append_after_close_takes_the_stream_up_again(spool, line, read_all):
    """Log calls at interpreter exit come late, and are not lost."""
    store = spool.store()
    store.append(1, line(1))
    store.close()
    store.append(2, line(2))

    assert [1, 2] == seqs(read_all(store))
    assert ([], []) == spool.adopt()

    store.settle([1, 2])
    store.close()
    store.append(3, line(3))

    assert [3] == seqs(read_all(store))


def test_an_append_after_close_leaves_the_stream_to_its_adopter(spool, line):
    """Who let go and finds another owner says so."""
    store = spool.store()
    store.append(1, line(1))
    store.close()
    assert 1 == len(spool.adopt()[0])
    with pytest.raises(SpoolError, match="belongs to another process"):
        store.append(2, line(2))


def test_nothing_is_appended_to_an_adopted_stream(spool, line):
    """New entries need a stream of this process."""
    spool.store().append(1, line(1))
    spool.die()
    ((adopted,), _) = spool.adopt()
    with pytest.raises(SpoolError, match="adopted"):
        adopted.append(2, line(2))


def test_nothing_touches_the_disk_before_the_first_append(spool):
    """Making a store cannot fail."""
    store = spool.store()
    store.write_cursor()
    store.sync()
    store.close()

    assert not spool.path.exists()


def test_dropping_the_oldest_segment_tells_which_numbers_are_gone(spool, line, read_all):
    """A whole sealed segment, but for what was settled in it; never the one being written."""
    store = spool.store()
    assert None is store.drop_oldest_segment()
    for seq in range(1, 11):
        store.append(seq, line(seq))
    per_segment = 4
    store.settle([2])
    gone = store.drop_oldest_segment()

    assert [(1, 1), (3, per_segment)] == list(gone)
    assert list(range(per_segment + 1, 11)) == seqs(read_all(store))

    store.sync()
    store.write_cursor()

    assert 2 == len(spool.segments())

    store.drop_oldest_segment()

    assert None is store.drop_oldest_segment()


def test_a_full_spool_takes_entries_again_once_a_segment_is_dropped(spool, line):
    """The quota is looked up when a segment is made, over all streams of the directory."""
    other = spool.store("s0", max_spool_bytes=6_000)
    for seq in range(1, 9):
        other.append(seq, line(seq))
    store = spool.store("s1", max_spool_bytes=6_000)
    with pytest.raises(SpoolError, match="max_spool_bytes is 6000") as caught:
        append_many(store, line)
    seq = store.last_seq + 1

    assert (True, "spool_full") == (caught.value.is_full, caught.value.reason)
    assert 6_000 >= spool.directory().used_bytes() > 5_000
    with pytest.raises(SpoolError, match="max_spool_bytes"):
        store.append(seq, line(seq))

    assert store.drop_oldest_segment()
    store.append(seq, line(seq))


def test_settling_makes_room_in_a_full_spool(spool, line):
    """At once, not after the pause that a failure is followed by."""
    store = spool.store(max_spool_bytes=4_000, fsync=Fsync.OFF)
    with pytest.raises(SpoolError, match="is full"):
        append_many(store, line)
    seq = store.last_seq + 1
    store.settle(range(1, seq))
    store.write_cursor()
    store.append(seq, line(seq))

    assert 1 == store.unsettled_count


def test_ten_megabytes_are_one_entry(spool, line, read_all):
    """An entry longer than a segment has one of its own, and its neighbours are not lost with it."""
    store = spool.store(max_spool_bytes=40_000_000)
    large = b'"' + b"L" * 10_000_000 + b'"'
    for seq, content in ((1, line(1)), (2, large), (3, line(3))):
        store.append(seq, content)
    spool.die()
    ((adopted,), _) = spool.adopt()

    assert [line(1), large, line(3)] == [entry.line for entry in read_all(adopted)]


def test_a_refused_entry_is_kept_beside_the_stream(spool, line):
    """The dead letter outlives the stream's other files."""
    store = spool.store()
    store.append(1, line(1))
    store.set_aside(Entry(1, line(1)), "rejected", "400 no")
    store.settle([1])
    store.close()
    (letter,) = spool.directory().dead_letters("s1").read()

    assert ("s1-1", "rejected", "400 no", line(1)) == (letter.id, letter.reason, letter.answer, letter.line)
    assert ([], []) == spool.adopt()

    spool.directory().dead_letters("s1").discard(["s1-1"])
    spool.adopt()

    assert ["salt"] == spool.names()
