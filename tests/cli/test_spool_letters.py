"""Dead letters as a sender's source: what fits is taken, what arrived is struck out."""

import pytest

from defender_logging._pipeline.buffer import Bounds, Overflow
from defender_logging._pipeline.entry import Draft
from defender_logging._pipeline.spool import DeadLetter, Identity, SpoolDirectory
from defender_logging._pipeline.spooled_buffer import SpooledBuffer
from defender_logging.cli.spool_letters import LetterSource
from defender_logging.clock import Wake


@pytest.fixture
def shelf(tmp_path):
    """Three entries and one piece of damage."""
    (tmp_path / "s").mkdir()
    shelf = SpoolDirectory(tmp_path, 1 << 20).dead_letters("s")
    for seq in (1, 2, 3):
        shelf.append(DeadLetter(f"s-{seq}", "rejected", "no", seq, 0.0, b'{"a":%d}' % seq))
    shelf.append(DeadLetter("s-damaged-1-0", "damaged", "", None, 0.0, b"\0"))
    return shelf


@pytest.fixture
def account(tmp_path):
    """A buffer that only counts."""
    directory = SpoolDirectory(tmp_path / "own", 1 << 20)
    bounds = Bounds(1 << 20, Overflow.DROP_NEWEST, 1.0, 10, 1 << 20)
    return SpooledBuffer(
        "t",
        bounds,
        store=directory.create_stream("t", Identity("k", "o", "/")),
        wake=Wake(),
        describe_drops=lambda *_: Draft(b"{", b"}"),
        tell=print,
    )


def counts(account):
    stats = account.stats(filtered=0, state="idle")
    return stats.accepted, stats.delivered, stats.rejected, stats.pending


def test_only_entries_count(shelf, account):
    """Damaged bytes cannot be sent."""
    source = LetterSource(shelf, shelf.read(), account)

    assert (3, 24) == (source.waiting_entries, source.waiting_bytes + 3)
    assert (3, 0, 0, 3) == counts(account)


@pytest.mark.parametrize(
    ("max_entries", "max_bytes", "expected"), [(2, 100, 2), (9, 16, 2), (9, 15, 1), (9, 1, 1), (9, 100, 3)]
)
def test_takes_what_fits_and_at_least_one(shelf, account, max_entries, max_bytes, expected):
    """Both bounds hold, but an entry larger than the bound goes alone."""
    source = LetterSource(shelf, shelf.read(), account)

    taken = source.take(max_entries, max_bytes)

    assert list(range(1, expected + 1)) == [entry.seq for entry in taken]
    assert (3, 3 - expected) == (source.pending, source.waiting_entries)


def test_strikes_out_what_arrived_and_no_more(shelf, account):
    """A letter that is refused again stays; one that is handed back comes first the next time."""
    source = LetterSource(shelf, shelf.read(), account)
    first, second, third = source.take(3, 100)

    source.settle([first], [(second, "rejected")])
    source.hand_back([third])

    assert ["s-2", "s-3", "s-damaged-1-0"] == [letter.id for letter in shelf.read()]
    assert (third,) == source.take(3, 100)
    assert (3, 1, 1, 1) == counts(account)
