"""What a dead process left is found again, whatever happened to its files."""

from __future__ import annotations

import errno

import pytest

from defender_logging._pipeline.spool.cursor import Cursor
from defender_logging._pipeline.spool.sealed import seal
from defender_logging._pipeline.spool.segments import first_line


def seqs(entries):
    return [entry.seq for entry in entries]


@pytest.fixture
def orphan(spool, line):
    """A stream of three segments with 12 entries, of which 1 to 5 are settled; its owner is dead."""
    store = spool.store()
    for seq in range(1, 13):
        store.append(seq, line(seq))
    store.settle(range(1, 6))
    store.write_cursor()
    spool.die()
    return spool.path / "s1"


@pytest.fixture
def adopt(spool, read_all):
    """Adopts the one orphan, reads it whole, and lets it be an orphan again."""

    def adopt_and_read():
        ((store,), _) = spool.adopt()
        entries = read_all(store, 100_000)
        assert store.unsettled_count == len(entries)
        damage = store.take_damage()
        spool.die()
        return entries, damage

    return adopt_and_read


def test_a_segment_cut_or_zeroed_anywhere_keeps_all_entries_before(orphan, adopt, spool):
    """At every offset of the last segment, its first line too; the end is told once, as torn."""
    last = spool.segments()[-1]
    data = last.read_bytes()
    for offset in range(len(data)):
        for content in (data[:offset], data[:offset].ljust(len(data), b"\0")):
            last.write_bytes(content)
            entries, damage = adopt()
            whole = [5 + n for n in range(1, 8) if n <= 3 or data.find(b'"seq":%d,' % (5 + n)) > 0]
            # Whether an entry is there depends on where its line ends.
            expected = [
                seq
                for seq in whole
                if seq <= 8 or data.index(b"}\n", data.index(b'"seq":%d,' % seq)) + 1 <= offset
            ]

            assert {seq for seq in expected if seq > 5} <= set(seqs(entries)), offset
            assert not [seq for seq in seqs(entries) if seq > 8 and seq not in expected], offset
            assert len(damage) <= 1, offset
            assert all(each.is_torn for each in damage), offset


def test_a_flipped_bit_anywhere_costs_only_the_entry_it_hit(orphan, adopt, spool):
    """At every offset of a segment, its first line too; the bytes are kept as a dead letter."""
    path = spool.segments()[-1]
    data = path.read_bytes()
    (header, *frames) = data.splitlines(keepends=True)
    letters = spool.directory().dead_letters("s1")
    for offset in range(len(data)):
        changed = bytearray(data)
        changed[offset] ^= 1 << (offset % 8)
        path.write_bytes(changed)
        entries, damage = adopt()
        at, end = -1, len(header)
        while offset >= end:
            at += 1
            end += len(frames[at])
        hit = None if at < 0 or offset == end - 1 else 9 + at

        assert {9, 10, 11, 12} - {hit} == {seq for seq in seqs(entries) if seq > 8}, offset
        if hit is not None:
            ((only,), content) = damage, bytes(changed[end - len(frames[at]) : end])
            assert (content, False) == (only.content, only.is_torn), offset
            assert content in [letter.line for letter in letters.read()], offset


def _cursor_damage():
    good = Cursor(5).encode()
    return {
        "missing": None,
        "empty": b"",
        "cut": good[:-9],
        "zeroed": bytes(len(good)),
        "longer": good + b"}",
        "a flipped bit": good.replace(b"5", b"7"),
        "ahead of the data": Cursor(1_000).encode(),
        "ahead in its ranges": Cursor(3, ((900, 901),)).encode(),
        "of another version": seal({"low": 5, "ranges": []}).replace(b'"format": 1', b'"format": 2'),
        "another thing": seal({"stream": "s1"}),
        "no JSON": b"\xff\xfe",
    }


@pytest.mark.parametrize("case", _cursor_damage())
def test_a_cursor_that_cannot_be_believed_costs_duplicates_only(orphan, adopt, case):
    """All that the segments hold is sent again."""
    content = _cursor_damage()[case]
    if content is None:
        (orphan / "cursor.json").unlink()
    else:
        (orphan / "cursor.json").write_bytes(content)

    assert set(range(6, 13)) <= set(seqs(adopt()[0]))


def test_a_cursor_behind_the_data_costs_duplicates_only(orphan, adopt):
    """An older cursor settles less."""
    (orphan / "cursor.json").write_bytes(Cursor(1).encode())

    assert set(range(6, 13)) <= set(seqs(adopt()[0]))


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\0" * 100, seal({"identity": 5})[:-20]])
def test_the_description_can_be_lost(orphan, adopt, content):
    """The segments say whose they are."""
    meta = orphan / "meta.json"
    meta.unlink()
    if content is not None:
        meta.write_bytes(content)

    assert list(range(6, 13)) == seqs(adopt()[0])


def test_an_error_while_reading_is_not_damage(orphan, spool, adopt):
    """The orphan is left alone and told of, and adopted when the disk works again."""
    spool.fs.fail("read", errno.EIO)
    with pytest.raises(Exception, match="EIO"):
        spool.adopt()
    spool.fs.heal()

    assert list(range(6, 13)) == seqs(adopt()[0])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(
            b"defender-logging spool 2 00 11111111\nother frames\n", id="a first line that is not ours"
        ),
        pytest.param(b"something else\n", id="a foreign file"),
    ],
)
def test_a_file_that_is_not_ours_is_left_there(orphan, spool, content, read_all):
    """Our entries beside it are delivered; it stays, and is told of."""
    strange = orphan / "00000099.seg"
    strange.write_bytes(content)
    ((store,), problems) = spool.adopt()
    store.settle(seqs(read_all(store)))
    store.close()

    assert content == strange.read_bytes()
    assert "00000099.seg" in problems[0]


@pytest.mark.parametrize("where", ["description", "segment"])
def test_an_unknown_version_is_left_untouched(orphan, spool, where):
    """Nothing is read, changed or removed; the sentence names both versions."""
    if where == "segment":
        path = orphan / "00000099.seg"
        path.write_bytes(first_line("ab").replace(b"spool 1", b"spool 2"))
        _repair_first_line(path)
    else:
        path = orphan / "meta.json"
        path.write_bytes(_seal_as(2, {"anything": []}))
    before = {each.name: each.read_bytes() for each in orphan.iterdir()}
    adopted, problems = spool.adopt()

    assert [] == adopted
    assert "format 2" in problems[0]
    assert "format 1" in problems[0]
    assert before == {each.name: each.read_bytes() for each in orphan.iterdir()}


def _repair_first_line(path):
    import zlib

    text = path.read_bytes().rpartition(b" ")[0]
    path.write_bytes(b"%b %08x\n" % (text, zlib.crc32(text)))


def _seal_as(version, body):
    import json
    import zlib

    text = json.dumps([version, body], separators=(",", ":"), sort_keys=True)
    return json.dumps({"format": version, "crc32": f"{zlib.crc32(text.encode()):08x}", "body": body}).encode()


def test_entries_whose_owner_nothing_tells_are_left_there(orphan, spool):
    """Without an identity nobody gets them by himself; a person can."""
    (orphan / "meta.json").unlink()
    for path in spool.segments():
        path.write_bytes(b"?" + path.read_bytes()[1:])
    adopted, problems = spool.adopt()

    assert [] == adopted
    assert "whose entries" in problems[0]

    store = spool.directory().adopt_stream("s1")

    assert 7 == store.unsettled_count
    store.abandon()


def test_the_order_is_that_of_the_numbers(spool, line, read_all):
    """Not of time stamps, nor of the clock that made them."""
    store = spool.store()
    for seq in range(1, 13):
        store.append(seq, line(seq))
        spool.clock.jump(-3_600 if seq % 2 else 3e8)
    spool.die()
    import os

    for at, path in enumerate(spool.segments()):
        os.utime(path, (1e9 - at, 1e9 - at))
    ((adopted,), _) = spool.adopt()

    assert list(range(1, 13)) == seqs(read_all(adopted))


def test_damage_in_a_living_stream_is_told_with_its_numbers(spool, line, read_all):
    """The number is settled, once, so that nobody waits for it; its bytes are kept."""
    store = spool.store()
    for seq in range(1, 13):
        store.append(seq, line(seq))
    path = spool.segments()[0]
    data = bytearray(path.read_bytes())
    data[data.index(b'"seq":3') + 3] ^= 4
    path.write_bytes(data)

    assert [n for n in range(1, 13) if n != 3] == seqs(read_all(store))
    assert 11 == store.unsettled_count
    (damage,) = store.take_damage()
    assert ((3, 3),) == damage.lost
    assert [] == store.take_damage()
    assert [damage.content] == [letter.line for letter in spool.directory().dead_letters("s1").read()]
    assert [n for n in range(1, 13) if n != 3] == seqs(read_all(store))
    assert [] == store.take_damage()


def test_a_sealed_segment_that_somebody_removed_is_told_with_its_numbers(spool, line, read_all):
    """They are gone, and the rest goes on."""
    store = spool.store()
    for seq in range(1, 13):
        store.append(seq, line(seq))
    store.sync()
    spool.segments()[1].unlink()

    assert [1, 2, 3, 4, 9, 10, 11, 12] == seqs(read_all(store))
    assert ((5, 8),) == store.take_damage()[0].lost
    assert 8 == store.unsettled_count
