"""An orphan goes to exactly one living handler, and only to one of the same identity."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from defender_logging._pipeline.spool import SpoolError, describe_streams, entries_of
from defender_logging._pipeline.spool.home import UNFINISHED_AGE_SECONDS


def seqs(entries):
    return [entry.seq for entry in entries]


@pytest.fixture
def orphan(spool, line):
    """A stream with five entries whose owner is dead."""
    store = spool.store()
    for seq in range(1, 6):
        store.append(seq, line(seq))
    spool.die()
    return spool.path / "s1"


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "DatadogHandler"},
        {"origin": "https://other.example:8088"},
        {"target": "/services/collector/raw"},
        {"name": "trail2"},
        {"name": None},
        {"key_reference": "env:OTHER"},
        {"key_reference": None, "key": "env:KEY"},
        {"key_reference": None},
        {"index": "main"},
    ],
)
def test_nobody_else_gets_an_orphan(orphan, spool, handler, change):
    """One difference is enough; and the right handler still gets it then."""
    assert ([], []) == spool.adopt(replace(handler, **change))
    assert [5] == [store.unsettled_count for store in spool.adopt(handler)[0]]


def test_literal_keys_are_told_apart_without_being_written(spool, line, handler):
    """Neither the key nor a secret path stands in any file; the same key finds its orphan again."""
    mine = replace(handler, key_reference=None, key="hunter2-hunter2", target="/v1/hunter3-hunter3")
    spool.store(identity=mine).append(1, line(1))
    spool.die()

    assert ([], []) == spool.adopt(replace(mine, key="hunter2-hunter4"))
    assert 1 == len(spool.adopt(mine)[0])
    assert not [path for path in spool.path.rglob("*") if path.is_file() and b"hunter" in path.read_bytes()]
    assert "hunter" not in repr(mine)


def test_a_living_stream_is_no_orphan(spool, line):
    """Not for its own process either."""
    spool.store().append(1, line(1))

    assert ([], []) == spool.adopt()


def test_an_adopted_stream_is_no_orphan(orphan, spool):
    """The second who comes gets nothing."""
    assert 1 == len(spool.adopt()[0])
    assert ([], []) == spool.adopt()


def test_what_an_adopter_leaves_is_an_orphan_again(orphan, spool, read_all):
    """With its progress, if it died or closed after writing it down."""
    ((store,), _) = spool.adopt()
    store.settle([1, 2])
    store.write_cursor()
    spool.die()
    ((store,), _) = spool.adopt()
    store.settle([3])
    store.close()
    ((store,), _) = spool.adopt()

    assert [4, 5] == seqs(read_all(store))


def test_an_orphan_with_nothing_in_it_is_removed(orphan, spool):
    """As when its owner died just before it could."""
    ((store,), _) = spool.adopt()
    store.settle(range(1, 6))
    store.write_cursor()
    spool.die()

    assert ([], []) == spool.adopt()
    assert ["salt"] == spool.names()


def test_half_made_and_half_removed_streams_are_cleared_away(orphan, spool):
    """Whoever died in the middle of it; what is young may have a living maker, and stays."""
    for name in (".new-a", ".new-b", "c"):
        (spool.path / name).mkdir(mode=0o700)
    (spool.path / ".new-b" / "lock").touch()
    (spool.path / ".new-b" / "meta.json").touch()
    (spool.path / ".new-young").mkdir()
    long_ago = time.time() - 2 * UNFINISHED_AGE_SECONDS
    for name in (".new-a", ".new-b"):
        os.utime(spool.path / name, (long_ago, long_ago))
    spool.adopt()

    assert [".new-young", "s1", "salt"] == spool.names()


def test_a_symbolic_link_is_no_stream(orphan, spool, tmp_path):
    """Nor is a file; both are left alone."""
    orphan.rename(tmp_path / "elsewhere")
    orphan.symlink_to(tmp_path / "elsewhere")
    (spool.path / "file").touch()

    assert ([], []) == spool.adopt()
    assert [] == spool.directory().stream_paths()
    assert 0 == spool.directory().used_bytes()


def test_a_segment_that_is_a_symbolic_link_is_not_read(orphan, spool, tmp_path):
    """The stream is told of, and nothing is removed."""
    (segment, *_) = spool.segments()
    segment.rename(tmp_path / "elsewhere")
    segment.symlink_to(tmp_path / "elsewhere")
    adopted, problems = spool.adopt()

    assert [] == adopted
    assert "symbolic link" in problems[0]


def test_everything_is_for_the_owner_only(spool, line):
    """Directories 0700, files 0600, whatever the umask lets through."""
    before = os.umask(0)
    try:
        store = spool.store()
        store.append(1, line(1))
        store.settle([1])
        store.write_cursor()
        store.set_aside(store.read_after(0, 1)[0] if store.unsettled_count else _entry(line), "r", "a")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (spool.path, *spool.path.rglob("*"))}

    assert {"spool": 0o700, "s1": 0o700} == {name: mode for name, mode in modes.items() if mode != 0o600}
    assert {"salt", "lock", "meta.json", "cursor.json", "00000001.seg", "dead-letters.ndjson"} < modes.keys()


def _entry(line):
    from defender_logging._pipeline.entry import Entry

    return Entry(1, line(1))


def test_a_person_may_take_any_orphan(orphan, spool, read_all):
    """Whatever its identity; not a living one, nor one that is not there."""
    store = spool.directory().adopt_stream("s1")

    assert [1, 2, 3, 4, 5] == seqs(read_all(store))
    assert None is spool.directory().adopt_stream("s1")
    assert None is spool.directory().adopt_stream("nothing")
    store.close()


@pytest.mark.parametrize("name", ["../s1", "/tmp", "a/b", ".", "..", ""])
def test_a_name_that_leads_elsewhere_is_no_stream(spool, name):
    """What a person types stays in the directory."""
    with pytest.raises(SpoolError, match="not the name"):
        spool.directory().path_of(name)


def test_removes_an_orphan_when_told(orphan, spool, line):
    """With all that is in it; never a living one."""
    living = spool.store("s2")
    living.append(1, line(1))

    assert spool.directory().remove_stream("s1")
    assert not spool.directory().remove_stream("s2")
    assert ["s2", "salt"] == spool.names()


def test_lists_streams_without_disturbing_them(orphan, spool, line):
    """Owned ones and orphans, with what is in them, while they are written."""
    living = spool.store("s2")
    living.append(1, line(1))
    living.append(2, line(2))
    living.settle([1])
    living.write_cursor()
    first, second = describe_streams(spool.directory().stream_paths())

    assert ("s1", False, 5, 0) == (first.stream, first.is_owned, first.entries, first.dead_letters)
    assert ("s2", True, 1, None) == (second.stream, second.is_owned, second.entries, second.problem)
    assert "2026-01-02T03:04:05.000006Z" == first.oldest_time
    assert sum(path.stat().st_size for path in spool.segments()) == first.bytes
    assert "SplunkHandler" == first.meta["handler"]["kind"]
    assert os.getpid() == first.meta["pid"]
    assert [1, 2, 3, 4, 5] == seqs(entries_of(orphan))
    living.append(3, line(3))


@pytest.mark.parametrize(
    ("content", "time"),
    [
        (b'{"time":"T1"}', "T1"),
        (b'{"time":1.5,"event":{"time":"T2"}}', "T2"),
        (b'{"timestamp":1,"time":"T3"}', "T3"),
        (b'{"time":1}', None),
        (b"[1]", None),
        (b"no JSON", None),
        (b'{"event":"text"}', None),
    ],
)
def test_finds_the_time_in_every_destination_s_form(spool, content, time):
    """Ours, HEC's envelope, Datadog's names; otherwise none."""
    spool.store().append(1, content)
    (info,) = describe_streams(spool.directory().stream_paths())

    assert time == info.oldest_time


def test_a_small_quota_makes_small_segments(spool, line):
    """So that there is something to drop, and little waste."""
    store = spool.store(max_spool_bytes=8_000, segment_bytes=4 << 20)
    for seq in range(1, 30):
        store.append(seq, line(seq))

    assert 1_000 >= max(path.stat().st_size for path in spool.segments())
    assert 8_000 >= spool.directory().used_bytes()


def test_what_dying_makers_of_the_salt_left_is_cleared_away(spool, line):
    """Once it is old enough to be nobody's any more."""
    spool.store().append(1, line(1))
    old, young = spool.path / "salt.12.abcd", spool.path / "salt.13.abcd"
    for path in (old, young):
        path.write_text("unfinished")
    os.utime(old, (1e9, 1e9))
    spool.adopt()

    assert ["s1", "salt", "salt.13.abcd"] == spool.names()
