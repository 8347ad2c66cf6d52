"""Dead letters keep the very bytes, are bounded, and can be discarded beside a running owner."""

from __future__ import annotations

import errno
import json

import pytest

from defender_logging._pipeline.spool import DeadLetter, DeadLetters, SpoolError

LINE = '{"message":"a \\"quoted\\" ,\\"entry\\": text ünï","n":1}'.encode()


@pytest.fixture
def letters(spool, tmp_path):
    return DeadLetters(spool.fs, tmp_path, 4_000)


def letter(seq, line=LINE, answer='400: {"text":"no","entry":1}'):
    return DeadLetter(f"s1-{seq}", "rejected", answer, seq, 12.5, line)


def damage(content=b"\x00\xff\n{"):
    return DeadLetter("s1-damaged-1-0", "damaged", "", None, 1.0, content)


def test_gives_back_what_was_set_aside(letters):
    """Entries and damaged bytes, byte by byte, in order."""
    for each in (letter(1), damage(), letter(2)):
        letters.append(each)

    assert [letter(1), damage(), letter(2)] == letters.read()
    assert [True, False, True] == [each.is_entry for each in letters.read()]


def test_is_plain_json_lines(letters, tmp_path):
    """Other tools can read it; the entry is an object in there."""
    letters.append(letter(1))
    (line,) = (tmp_path / "dead-letters.ndjson").read_text("utf-8").splitlines()

    assert json.loads(LINE) == json.loads(line)["entry"]


def test_a_discarded_letter_is_gone(letters):
    """By its id; one that is set aside again later is there again."""
    for seq in (1, 2, 3):
        letters.append(letter(seq))
    letters.discard(["s1-2", "s1-99"])

    assert [letter(1), letter(3)] == letters.read()

    letters.append(letter(2))

    assert [letter(1), letter(3), letter(2)] == letters.read()


def test_a_letter_set_aside_twice_counts_once(letters):
    """After a death between setting aside and settling."""
    letters.append(letter(1))
    letters.append(letter(1))

    assert [letter(1)] == letters.read()


def test_is_bounded_and_counts_what_goes(letters, tmp_path):
    """The oldest go first, by half of the bound; both files together stay below it."""
    gone = 0
    for seq in range(1, 101):
        gone += letters.append(letter(seq))
    kept = [each.seq for each in letters.read()]

    assert 4_000 >= sum(path.stat().st_size for path in tmp_path.glob("dead-letters*"))
    assert 100 == gone + len(kept)
    assert list(range(101 - len(kept), 101)) == kept


def test_a_torn_line_hurts_no_other(letters, tmp_path):
    """Whoever died in the middle of it."""
    letters.append(letter(1))
    path = tmp_path / "dead-letters.ndjson"
    path.write_bytes(path.read_bytes() + path.read_bytes()[:-20])
    letters.append(letter(2))

    assert [letter(1), letter(2)] == letters.read()


def test_a_short_write_leaves_no_trace(letters, spool):
    """It raises, and the next one is whole."""
    letters.append(letter(1))
    spool.fs.short_write_bytes = 30
    with pytest.raises(SpoolError, match="only a part"):
        letters.append(letter(2))
    spool.fs.heal()
    letters.append(letter(3))

    assert [letter(1), letter(3)] == letters.read()


@pytest.mark.parametrize("operation", ["create", "write"])
def test_a_full_disk_is_told(letters, spool, operation):
    """Nothing is claimed to be kept that is not."""
    spool.fs.fail(operation, errno.ENOSPC)
    with pytest.raises(SpoolError, match="ENOSPC"):
        letters.append(letter(1))
    with pytest.raises(SpoolError, match="ENOSPC"):
        letters.discard(["s1-1"])


def test_the_files_go_with_the_last_letter(letters, tmp_path):
    """And only then."""
    letters.append(letter(1))
    letters.remove_if_empty()

    assert [letter(1)] == letters.read()

    letters.discard(["s1-1"])
    letters.remove_if_empty()

    assert [] == list(tmp_path.glob("dead-letters*"))
