"""Every entry of a batch has exactly one fate, whatever the verdict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defender_logging._pipeline.delivery import Pause, settle, verdict_of_failure
from defender_logging._pipeline.entry import Batch, Entry
from defender_logging._pipeline.wire import TransportError
from defender_logging.destinations.base import Delivered, Hold, Partly, Rejected, Retry, Split


def batch_of(count, **fields):
    return Batch(tuple(Entry(n, b"line%d" % n) for n in range(1, count + 1)), **fields)


def simplify(line):
    return line.upper()


def seqs(entries):
    return [entry.seq for entry in entries]


def decide(batch, verdict):
    return settle(batch, verdict, simplify)


class TestWhole:
    def test_delivered_is_the_end(self):
        """Nothing goes again, no pause."""
        settlement = decide(batch_of(3), Delivered())

        assert ([1, 2, 3], (), Pause.NONE) == (
            seqs(settlement.delivered),
            settlement.again,
            settlement.pause,
        )

    def test_rejected_is_the_end_with_a_reason(self):
        """Every entry is set aside under the code."""
        settlement = decide(batch_of(2), Rejected("why", "code_5"))

        assert [(1, "code_5"), (2, "code_5")] == [(e.seq, code) for e, code in settlement.rejected]

    @pytest.mark.parametrize(
        ("verdict", "pause", "is_ambiguous"),
        [
            (Retry("busy"), Pause.BACKOFF, False),
            (Retry("cut", is_ambiguous=True), Pause.BACKOFF, True),
            (Hold("key"), Pause.HOLD, False),
        ],
    )
    def test_waiting_keeps_the_batch_as_it_is(self, verdict, pause, is_ambiguous):
        """The same entries go again after the pause; doubt is remembered and counted."""
        settlement = decide(batch_of(2), verdict)

        assert pause is settlement.pause
        assert [[1, 2]] == [seqs(batch.entries) for batch in settlement.again]
        assert is_ambiguous == settlement.again[0].is_ambiguous
        assert (2 if is_ambiguous else 0) == settlement.duplicates_possible

    def test_doubt_stays_through_a_clean_failure(self):
        """An entry that may have arrived stays one that may have arrived."""
        settlement = decide(batch_of(1, is_ambiguous=True), Retry("refused"))

        assert settlement.again[0].is_ambiguous

    def test_a_hold_about_the_key_asks_for_the_key(self):
        """Only a 401 or 403 has the key read again."""
        assert decide(batch_of(1), Hold("403", is_about_the_key=True)).refreshes_key
        assert not decide(batch_of(1), Hold("404")).refreshes_key


class TestSplitting:
    def test_halves_in_order(self):
        """Both halves go again at once, the first one first."""
        settlement = decide(batch_of(5), Split("413", "http_413", is_oversize=True))

        assert [[1, 2], [3, 4, 5]] == [seqs(batch.entries) for batch in settlement.again]
        assert Pause.NONE is settlement.pause

    def test_a_single_oversize_entry_is_rejected(self):
        """Compression does not change what counts before it."""
        settlement = decide(batch_of(1), Split("413", "http_413", is_oversize=True))

        assert [(1, "http_413")] == [(e.seq, code) for e, code in settlement.rejected]

    def test_a_single_bad_entry_gets_one_try_uncompressed(self):
        """A broken gzip stream looks like bad data; after that try it is rejected."""
        first = decide(batch_of(1), Split("400", "http_400"))
        assert [False] == [batch.is_compressed for batch in first.again]

        second = decide(first.again[0], Split("400", "http_400"))
        assert [1] == [e.seq for e, _ in second.rejected]
        assert () == second.again

    def test_an_uncompressed_single_is_rejected_at_once(self):
        """Without compression there is nothing else to try."""
        settlement = decide(batch_of(1, is_compressed=False), Split("400", "http_400"))

        assert [1] == [e.seq for e, _ in settlement.rejected]


class TestPartly:
    def test_prefix_in_one_out_rest_again(self):
        """HEC code 6 with number 2 of 5."""
        settlement = decide(batch_of(5), Partly(frozenset({0, 1}), {2: "code_6"}, reason="bad"))

        assert [1, 2] == seqs(settlement.delivered)
        assert [(3, "code_6")] == [(e.seq, code) for e, code in settlement.rejected]
        assert [[4, 5]] == [seqs(batch.entries) for batch in settlement.again]
        assert ("bad", Pause.NONE) == (settlement.reason, settlement.pause)

    def test_simplified_entries_keep_their_place(self):
        """HEC code 15: the entry goes again, without what the receiver could not take."""
        settlement = decide(batch_of(3), Partly(frozenset({0}), simplified=frozenset({1})))

        assert [(2, b"LINE2"), (3, b"line3")] == list(settlement.again[0].entries)

    def test_what_cannot_be_simplified_is_rejected(self):
        """It would come back for ever otherwise."""
        settlement = settle(batch_of(2), Partly(frozenset(), simplified=frozenset({0})), lambda line: line)

        assert [(1, "cannot_simplify")] == [(e.seq, code) for e, code in settlement.rejected]
        assert [[2]] == [seqs(batch.entries) for batch in settlement.again]

    def test_the_rest_can_be_held(self):
        """HEC code 7: what was before the bad index is in, the rest is kept."""
        settlement = decide(batch_of(3), Partly(frozenset({0}), rest=Hold("index")))

        assert [1] == seqs(settlement.delivered)
        assert [[2, 3]] == [seqs(batch.entries) for batch in settlement.again]
        assert Pause.HOLD is settlement.pause

    def test_nothing_left_means_no_pause(self):
        """A hold for no entry holds nothing."""
        settlement = decide(batch_of(1), Partly(frozenset({0}), rest=Hold("index")))

        assert (Pause.NONE, ()) == (settlement.pause, settlement.again)


indexes = st.frozensets(st.integers(0, 9))
verdicts = st.one_of(
    st.just(Delivered()),
    st.builds(Retry, st.just("r"), is_ambiguous=st.booleans()),
    st.just(Hold("h")),
    st.just(Rejected("r", "c")),
    st.builds(Split, st.just("s"), st.just("c"), is_oversize=st.booleans()),
    st.builds(
        Partly,
        indexes,
        st.dictionaries(st.integers(0, 9), st.just("c")),
        indexes,
        st.sampled_from([None, Hold("h"), Retry("r")]),
    ),
)


@given(st.integers(1, 8), verdicts)
def test_every_entry_has_exactly_one_fate(count, verdict):
    """No verdict loses, doubles or reorders an entry."""
    settlement = decide(batch_of(count), verdict)
    again = [seq for batch in settlement.again for seq in seqs(batch.entries)]
    everything = seqs(settlement.delivered) + [e.seq for e, _ in settlement.rejected] + again

    assert list(range(1, count + 1)) == sorted(everything)
    assert sorted(again) == again
    assert all(batch.entries for batch in settlement.again)
    assert settlement.again or settlement.pause is Pause.NONE


def test_reads_a_missing_response_as_a_verdict():
    """Trust and proxy failures hold; everything else is tried again, with its doubt."""
    assert Hold("cert") == verdict_of_failure(TransportError("cert", is_hold=True))
    assert Retry("cut", is_ambiguous=True) == verdict_of_failure(TransportError("cut", is_ambiguous=True))
