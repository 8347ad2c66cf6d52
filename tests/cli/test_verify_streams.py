"""Every change of a trail is found at its place, and what receivers and retries do is no change."""

from __future__ import annotations

import contextlib
import itertools
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trails import KEY, KEYED, PLAIN, Trail, chain, found, received, renumbered, resealed

from defender_logging._pipeline.integrity import Seal
from defender_logging.cli.verify_reading import entry_in
from defender_logging.cli.verify_streams import verify

RECORDS = 994
"""With ``started`` and ``stopped`` of three streams: a thousand entries."""


@pytest.fixture(scope="module")
def trail():
    """A thousand entries of three interleaved streams, keyed."""
    return Trail(received(["generic"] * 3, records=RECORDS), [Seal(KEY)])


@pytest.fixture(scope="module")
def plain_trail():
    """The same without a key."""
    return Trail(received(["generic"] * 3, records=RECORDS, settings=PLAIN), [Seal()])


def places(trail):
    """Index, entry, stream and number of every entry, and the last number of its stream."""
    last = {stream: max(trail.entries[i]["seq"] for i in at) for stream, at in trail.streams.items()}
    for index, entry in enumerate(trail.entries):
        yield index, entry, entry["stream"], entry["seq"], last[entry["stream"]]


def test_an_untouched_trail_is_intact(trail, plain_trail):
    """A thousand entries, three streams, nothing found."""
    for each in (trail, plain_trail):
        reports = list(verify(each.entries, each.seals))

        assert (1000, 3) == (sum(report.entries for report in reports), len(reports))
        assert {} == found(reports)


def test_duplicated_by_retries_and_reordered_it_is_intact(trail):
    """Every entry twice, some three times, in any order, with fields added and moved: duplicates are only told."""
    entries = [
        dict(reversed({**entry, "_time": "now"}.items())) for entry in trail.entries * 2 + trail.entries[:99]
    ]
    random.Random(7).shuffle(entries)

    reports = list(verify(entries, trail.seals))

    assert {} == found(reports)
    assert 1000 == sum(len(report.duplicates) for report in reports)


def edits(entry):
    """Every way to change one field: its value, its type, its name, or that it is there; numbers of ours too."""
    for name, value in entry.items():
        yield {n: v for n, v in entry.items() if n != name}
        changed = {"a": value} if name == "hashed" else value + "x" if isinstance(value, str) else [value, 1]
        yield entry | {name: changed}
    for name in ("user", "reason", "component", "trail", "truncated"):
        if name not in entry:
            yield entry | {name: "mallory"}


def is_told(findings, stream, seq, last):
    """Whether a changed entry is reported at its place: itself, or, if nothing names it any more, its absence."""
    here = findings.get(stream, {})
    is_edited = any(first <= seq <= end for first, end in here.get("edited", ()))
    is_missing = any(
        first <= seq <= end for fault in ("gap", "begins late") for first, end in here.get(fault, ())
    )
    is_end_gone = seq == last and here.get("open end") == [(last - 1, last - 1)]
    return is_edited or is_missing or is_end_gone


def test_every_single_edit_is_found_at_its_place(trail):
    """Each entry with one field changed, another field from entry to entry, so that all fields get their turn."""
    for index, entry, stream, seq, last in places(trail):
        tampered = list(edits(entry))
        each = tampered[index % len(tampered)]

        findings = trail.verify({index: each}, stream=stream)

        assert is_told(findings, stream, seq, last), (seq, each, findings)


def test_every_field_of_an_entry_is_protected(trail):
    """All edits of one entry of each kind: the first, one in the middle, the last."""
    indexes = next(iter(trail.streams.values()))
    for index in (indexes[0], indexes[150], indexes[-1]):
        entry = trail.entries[index]
        last = trail.entries[indexes[-1]]["seq"]
        for each in edits(entry):
            assert is_told(trail.verify({index: each}), entry["stream"], entry["seq"], last), each


def test_every_single_removal_is_found_at_its_place(trail):
    """The first entry, the last, and all between."""
    for index, _, stream, seq, last in places(trail):
        expected = {"gap": [(seq, seq)]}
        if seq == 1:
            expected = {"begins late": [(1, 1)]}
        elif seq == last:
            expected = {"open end": [(last - 1, last - 1)]}

        assert {stream: expected} == trail.verify({index: None}, stream=stream)


def test_every_swap_is_found_at_its_place(trail):
    """Two neighbours of a stream that change places: both numbers are reported."""
    for stream, indexes in trail.streams.items():
        for index, after in itertools.pairwise(indexes):
            one, other = trail.entries[index], trail.entries[after]
            findings = trail.verify(
                {index: renumbered(one, other["seq"]), after: renumbered(other, one["seq"])}, stream=stream
            )

            assert [(one["seq"], other["seq"])] == findings[stream]["edited"]


def test_every_insertion_is_found_at_its_place(trail):
    """A copy of each entry under the number of the next one, or under a new number at the end."""
    for index, entry, stream, seq, last in places(trail):
        place = (seq if index % 2 else last) + 1

        findings = trail.verify(added=[renumbered(entry, place)], stream=stream)

        assert [(place, place)] == findings[stream]["edited"]


def test_an_entry_of_another_stream_is_found(trail):
    """Moved over with stream and number changed to fit."""
    one, other, _ = trail.streams
    stranger = trail.entries[trail.streams[other][50]]
    place = trail.streams[one][50]
    seq = trail.entries[place]["seq"]

    findings = trail.verify({place: stranger | {"stream": one, "seq": seq, "id": f"{one}-{seq}"}}, stream=one)

    assert {one: {"edited": [(seq, seq)]}} == findings


def test_every_truncation_is_found_at_its_place(trail):
    """A stream cut after each of its entries has an open end there."""
    for stream, indexes in trail.streams.items():
        for count in range(1, len(indexes)):
            findings = trail.verify(dict.fromkeys(indexes[count:]), stream=stream)

            seq = trail.entries[indexes[count - 1]]["seq"]
            assert {stream: {"open end": [(seq, seq)]}} == findings


def test_a_replay_is_told_as_a_duplicate(trail):
    """The same entry again, which a retry may send as well, is harmless, but named."""
    entry = trail.entries[500]

    reports = list(verify([*trail.entries, entry], trail.seals))

    assert {} == found(reports)
    assert [[(entry["seq"], entry["seq"])]] == [list(r.duplicates) for r in reports if r.duplicates]


def test_without_a_key_a_forger_who_computes_one_hash_breaks_the_chain(plain_trail):
    """Each entry changed and its hash made right: the entry after it, or the end, shows it."""
    for index, entry, stream, seq, last in places(plain_trail):
        findings = plain_trail.verify({index: resealed(entry, message="all is well")}, stream=stream)

        expected = {} if seq == last else {stream: {"does not follow the entry before": [(seq + 1, seq + 1)]}}
        assert expected == findings


def test_with_a_key_a_forger_without_it_gets_nowhere(trail):
    """The same on a keyed trail: the hash is the plain one, so the entry itself is reported."""
    for index, entry, stream, seq, _last in places(trail):
        findings = trail.verify({index: resealed(entry, message="all is well")}, stream=stream)

        assert [(seq, seq)] == findings[stream]["edited"]


def test_who_has_the_key_cannot_have_two_entries_of_one_number(trail):
    """An entry beside the true one, both with right hashes."""
    entry = trail.entries[500]

    findings = trail.verify(added=[resealed(entry, Seal(KEY), message="all is well")])

    assert [(entry["seq"], entry["seq"])] == findings[entry["stream"]]["two different entries"]


def test_a_key_is_wanted_where_there_is_one(trail, plain_trail):
    """Another key, no key, and a trail without a key where one is given: each stream says so, and no more."""
    assert {s: {"unknown key": [(1, n)]} for s, n in lasts(trail)} == found(
        verify(trail.entries, [Seal("x")])
    )
    assert {s: {"unknown key": [(1, n)]} for s, n in lasts(trail)} == found(verify(trail.entries, [Seal()]))
    assert {s: {"sealed without a key": [(1, n)]} for s, n in lasts(plain_trail)} == found(
        verify(plain_trail.entries, [Seal(KEY)])
    )


def lasts(trail):
    """Each stream with its highest number."""
    return [(stream, len(indexes)) for stream, indexes in trail.streams.items()]


def test_keys_may_change_from_stream_to_stream(trail):
    """After a rotation both keys are given."""
    other = Trail(received(["generic"], records=3, settings={**KEYED, "integrity_key": "another"}), [])

    assert {} == found(verify(trail.entries + other.entries, [Seal("another"), Seal(KEY)]))


def test_entries_without_hash_are_findings(trail):
    """Put into a chained stream they are edits of it; a stream of nothing else says that it has no chain."""
    first = trail.entries[0]
    bare = {"message": "hello", "stream": first["stream"], "seq": 5, "id": f"{first['stream']}-5"}

    assert [(5, 5)] == trail.verify(added=[bare])[first["stream"]]["edited"]
    assert {"s": {"not chained": [(1, 1)]}} == found(verify([{"stream": "s", "seq": 1}], [Seal()]))


@pytest.mark.parametrize(
    "entry",
    [{}, {"stream": "s"}, {"seq": 1}, {"stream": "s", "seq": 0}, {"stream": "s", "seq": -1}, {"stream": "", "seq": 1},
     {"stream": "a b", "seq": 1}, {"stream": "s\n", "seq": 1}, {"stream": 5, "seq": 1}, {"stream": "s", "seq": True},
     {"stream": "s", "seq": 1.5}, {"stream": "s", "seq": "x"}, {"stream": "s", "seq": 10**18},
     {"stream": "x" * 65, "seq": 1}, {"stream": "s", "seq": "9" * 5000}, {"stream": "s", "seq": "\u0665"}],
)  # fmt: skip
def test_what_has_no_stream_and_number_is_counted_apart(entry):
    """Nothing of it is trusted, and nothing of it stops the work."""
    strangers = []

    assert [] == list(verify([entry], [Seal()], lambda: strangers.append(1)))
    assert [1] == strangers


@pytest.mark.parametrize(
    "entry",
    [
        {"trail": "dropped", "ranges": "all"}, {"trail": "dropped", "ranges": [[1, 2, 3], [5], "x", [9, 2], [True, 1]]},
        {"trail": "dropped", "ranges": [[1, 2]], "range_hashes": [None, 5]}, {"trail": "stopped", "head": 5},
        {"trail": "stopped", "head": "0" * 64, "of_stream": 5, "of_seq": "x"}, {"trail": ["stopped"]},
        {"message": "\ud800"}, {"hashed": "message"}, {"hashed": [1, None, ["x"]]},
    ],
)  # fmt: skip
def test_odd_entries_never_stop_the_work(entry):
    """Sealed rightly by somebody with other ideas of our fields, as far as that can be: a report comes all the same."""
    whole = {"prev": "0" * 64, "hash": "0" * 64, "stream": "s", "seq": 1, "id": "s-1", **entry}
    with contextlib.suppress(UnicodeEncodeError):
        whole = resealed(whole)

    assert ["s"] == [report.stream for report in verify([whole], [Seal()])]


M = {"message": "m"}
LAST = {"trail": "stopped", "hashed": []}


def telling(trail, **values):
    """The content of an entry that tells of others."""
    return {"trail": trail, "hashed": list(values), **values}


def end_of(entry):
    """What an adopter says of a stream that ends with this entry."""
    return telling("stopped", of_stream=entry["stream"], of_seq=entry["seq"], head=entry["hash"])


class TestEnds:
    """Streams closed by who adopted them."""

    def test_the_named_end_is_as_good_as_stopped(self):
        """Told once or, by two adopters in turn, twice."""
        dead = chain("a", M, M, M)

        assert {} == found(verify([*dead, *chain("b", end_of(dead[2]), end_of(dead[2]), LAST)], [Seal()]))

    def test_the_named_entry_cannot_be_replaced(self):
        """Its hash stands in another stream, so making it right again does not help."""
        dead = chain("a", M, M, M)
        entries = [*dead[:2], resealed(dead[2], message="x"), *chain("b", end_of(dead[2]), LAST)]

        assert {"a": {"does not follow the entry before": [(3, 3)]}} == found(verify(entries, [Seal()]))

    def test_the_end_of_another_stream_is_not_the_own_one(self):
        """An adopter's stream goes on after it has named an end."""
        dead = chain("a", M)

        assert {"b": {"open end": [(2, 2)]}} == found(
            verify([*dead, *chain("b", M, end_of(dead[0]))], [Seal()])
        )

    def test_what_is_beyond_the_named_end_leaves_it_open(self):
        """A power cut may take the last entries from the disk that had been delivered; nothing is cut off then."""
        dead = chain("a", M, M, M)

        assert {"a": {"open end": [(3, 3)]}} == found(
            verify([*dead, *chain("b", end_of(dead[1]), LAST)], [Seal()])
        )

    def test_a_gap_before_what_is_beyond_is_a_gap(self):
        """Not a cut tail as well."""
        dead = chain("a", *[M] * 7)
        entries = [*dead[:3], dead[6], *chain("b", end_of(dead[4]), LAST)]

        assert {"a": {"gap": [(4, 6)], "open end": [(7, 7)]}} == found(verify(entries, [Seal()]))

    def test_only_who_has_the_key_may_name_an_end(self):
        """An end that is forged cuts nothing off."""
        dead = chain("a", M, M, LAST, seal=Seal(KEY))
        forged = {"stream": "a", "seq": 9, "hash": "0" * 64}

        assert "a" not in found(verify([*dead, *chain("b", end_of(forged), LAST)], [Seal(KEY)]))

    def test_what_a_receiver_adds_to_stopped_names_no_end(self):
        """A field outside of the hash could defame another stream, and takes no end away from its own."""
        seal = Seal(KEY)
        entries = [
            *chain("a", M, telling("stopped", head="0" * 64), seal=seal),
            *chain("b", M, LAST, seal=seal),
        ]
        entries[1] |= {"of_stream": "b", "of_seq": 7}

        assert {} == found(verify(entries, [seal]))


class TestTold:
    """Numbers that the trail itself calls dropped."""

    def reports(self, *contents, removed=()):
        entries = [entry for entry in chain("a", *contents) if entry["seq"] not in removed]
        (report,) = verify(entries, [Seal()])
        return {fault.value: list(at) for fault, at in report.faults.items()}, list(report.dropped)

    def test_once_or_again(self):
        """Told twice, in part twice, and in pieces: the numbers count once."""
        told = [
            telling("dropped", ranges=ranges) for ranges in ([[2, 4]], [[2, 4]], [[3, 4]], [[2, 2], [3, 3]])
        ]

        assert ({}, [(2, 4)]) == self.reports(M, None, None, None, *told, LAST)
        assert ({}, [(2, 4)]) == self.reports(
            M, None, None, None, telling("dropped", ranges=[[2, 4], [3, 3]]), LAST
        )

    def test_an_entry_that_is_there_is_not_dropped(self):
        """Told as dropped, and delivered all the same: first, in the middle, last, all."""
        told = telling("dropped", ranges=[[2, 4]])

        assert ({}, [(3, 4)]) == self.reports(M, M, None, None, told, LAST)
        assert ({}, [(2, 2), (4, 4)]) == self.reports(M, None, M, None, told, LAST)
        assert ({}, [(2, 3)]) == self.reports(M, None, None, M, told, LAST)
        assert ({}, []) == self.reports(M, M, M, M, told, LAST)

    @pytest.mark.parametrize("delivered", [[], [2], [3], [4], [2, 3], [2, 4], [3, 4], [2, 3, 4]])
    def test_an_entry_that_is_there_does_not_end_the_told_gap(self, delivered):
        """What comes behind the gap follows the hash that was told, whichever of the gap have arrived."""
        kept = chain("a", *[M] * 6)
        hashes = [kept[1]["prev"], kept[3]["hash"]]
        told = telling("dropped", ranges=[[2, 4]], range_hashes=[hashes])

        assert {} == self.reports(*[M] * 6, told, LAST, removed={2, 3, 4} - set(delivered))[0]

    def test_who_stands_in_for_what_was_dropped_is_found(self):
        """Without a key: a forged entry at the end of a told gap leads nowhere."""
        kept = chain("a", *[M] * 6)
        told = telling("dropped", ranges=[[2, 4]], range_hashes=[[kept[1]["prev"], kept[3]["hash"]]])
        entries = chain("a", *[M] * 6, told, LAST)
        entries[1:4] = [resealed(entries[3], message="x")]

        assert {"a": {"does not follow the entry before": [(5, 5)]}} == found(verify(entries, [Seal()]))

    def test_more_is_missing_than_is_told(self):
        """Before the gap, and behind it."""
        told = telling("dropped", ranges=[[3, 4]])

        assert ({"gap": [(2, 2), (5, 5)]}, [(3, 4)]) == self.reports(
            M, M, None, None, M, told, LAST, removed=(2, 5)
        )

    def test_what_a_receiver_adds_to_dropped_explains_nothing(self):
        """Ranges outside of the hash are not ours."""
        seal = Seal(KEY)
        entries = chain("a", M, M, telling("dropped"), LAST, seal=seal)
        entries[2] |= {"ranges": [[2, 2]]}

        assert {"a": {"gap": [(2, 2)]}} == found(verify([entries[0], *entries[2:]], [seal]))

    def test_an_edited_entry_tells_nothing(self):
        """Only who is believed explains a gap."""
        told = telling("dropped", ranges=[[2, 3]])
        entries = chain("a", M, None, None, telling("dropped", ranges=[[2, 2]]), LAST)
        entries[1] |= {"ranges": told["ranges"]}

        assert {"a": {"edited": [(4, 4)], "gap": [(2, 3)]}} == found(verify(entries, [Seal()]))


NAMES = st.sampled_from(
    ["stream", "seq", "id", "prev", "hash", "hashed", "trail", "ranges", "range_hashes", "of_stream", "of_seq", "head",
     "event", "result", "_raw", "attributes", "message", "tags{}", "a.b", "a.b{}", "a"]
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    | st.sampled_from(["s", "s-1", "1", "0" * 64, "dropped", "stopped", 1, 2])
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=12),
    max_leaves=40,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(VALUES, max_size=5))
def test_no_json_value_stops_the_work(values):
    """Whatever stands in a file, also where fields of ours are expected and rightly sealed, there is a report."""
    entries = [entry for value in values if (entry := entry_in(value)) is not None]
    for entry in list(entries):
        whole = {**entry, "prev": "0" * 64, "stream": "s", "seq": 1, "id": "s-1"}
        entries.append(resealed(whole))
    whole = {"s"} if entries else set()

    assert whole <= {report.stream for report in verify(entries, [Seal()])}
