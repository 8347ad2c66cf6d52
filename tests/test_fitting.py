"""Fitting: an entry is never over the limit, and says when it was cut."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defender_logging._pipeline.entry import Draft, Fields
from defender_logging.field_names import RESERVED_NAMES
from defender_logging.fields_building import FieldsBuilder
from defender_logging.fitting import TAIL_BYTES, encode_to_fit
from defender_logging.redaction import Redactor
from defender_logging.severity import Severity
from defender_logging.strict_json import dumps

TAIL = b',"id":"S-1","stream":"S","seq":1'


class Destination:
    """Encodes as the generic destination does, with a foot and a field said twice, and counts."""

    def __init__(self):
        self.encoded = 0

    def encode(self, fields):
        """Encode into an envelope that repeats the message, as Datadog's names repeat some."""
        self.encoded += 1
        again = dumps(fields.values.get("message", ""))
        return Draft(
            b'{"again":' + again + b',"event":' + dumps(fields.values)[:-1], b'},"fields":{"a":"b"}}'
        )


def record(message="m", **extra):
    """A record as ``logger.info(message, extra=...)`` makes it."""
    return logging.getLogger("app").makeRecord("app", logging.INFO, "f.py", 7, message, (), None, "f", extra)


BUILDER = FieldsBuilder(redactor=Redactor(frozenset()), service="s", host="h", tags=["a:b"])


def fit(fields, limit=1_000_000):
    """Return the entry that was made to fit, after checking that it does."""
    draft = encode_to_fit(Destination(), fields, max_line_bytes=limit)

    assert len(draft.head) + len(draft.foot) + TAIL_BYTES <= limit
    return json.loads(draft.head + TAIL + draft.foot)["event"]


def test_an_entry_that_fits_is_encoded_once_and_unchanged():
    """Only schema is added, last."""
    fields = BUILDER.build(record(n=1))
    destination = Destination()
    draft = encode_to_fit(destination, fields, max_line_bytes=1_000_000)

    assert destination.encode(Fields({**fields.values, "schema": "1"}, *fields[1:])) == draft
    assert 2 == destination.encoded
    assert "schema" not in fields.values


def test_the_limit_is_exact():
    """A line that just fits is not cut, with one byte less it is."""
    fields = BUILDER.build(record("x" * 5000))
    draft = encode_to_fit(Destination(), fields, max_line_bytes=10**6)
    size = len(draft.head) + len(draft.foot) + TAIL_BYTES

    assert "truncated" not in fit(fields, size)
    assert fit(fields, size - 1)["truncated"] is True


def test_the_longest_texts_are_cut_and_short_ones_are_not():
    """Water finds one level: two long texts end equally long, a short one is whole."""
    entry = fit(BUILDER.build(record("m" * 3000, a="a" * 500_000, b="b" * 2_000_000)), 100_000)

    assert "m" * 3000 == entry["message"]
    assert len(entry["a"]) == len(entry["b"])
    assert 90_000 < len(entry["a"]) + len(entry["b"]) < 100_000
    assert entry["a"].endswith("a…")


def test_texts_are_measured_as_they_are_written():
    """A character that takes six bytes counts six."""
    entry = fit(BUILDER.build(record(a="a" * 500_000, b="\x00" * 500_000)), 100_000)

    assert abs(len(dumps(entry["a"])) - len(dumps(entry["b"]))) < 12


def test_the_entry_tells_how_large_it_was():
    """original_bytes is the size of the line before the cut."""
    fields = BUILDER.build(record("x" * 10_000_000))
    whole = encode_to_fit(Destination(), fields, max_line_bytes=10**8)

    assert len(whole.head) + len(whole.foot) + TAIL_BYTES == fit(fields)["original_bytes"]


def test_the_marks_stand_in_their_place():
    """After vocabulary_errors, before trail and schema."""
    plain = list(fit(BUILDER.build(record("x" * 10**6, component="rely"))))
    own = BUILDER.build_own("dropped", Severity.WARN, "x" * 10**6, {"dropped": 1}, unix_seconds=0)

    tail = ["id", "stream", "seq"]
    assert ["vocabulary_errors", "truncated", "original_bytes", "schema", *tail] == plain[-7:]
    assert ["truncated", "original_bytes", "trail", "dropped", "schema", *tail] == list(fit(own))[-8:]


def test_what_was_cut_before_is_told_once():
    """An entry too deep as well as too long has one mark, with the larger size."""
    deep = "x"
    for _ in range(40):
        deep = [deep]
    fields = BUILDER.build(record("x" * 10**6, deep=deep))
    entry = fit(fields)

    assert 1 == list(entry).count("truncated")
    assert entry["original_bytes"] >= max(2 * 10**6, fields.values["original_bytes"])


@pytest.mark.parametrize("limit", [4096, 100_000, 1_000_000])
@pytest.mark.parametrize(
    "made",
    [
        record("x" * 10_000_000),
        record("\x00é\u2028" * 500_000),
        record("m", **{"k" * 1_000_000: "v"}),
        record("m", **{"k" * 1_000_000 + str(number): "v" for number in range(20)}),
        record("m", deep=[{"k" * 1_000_000 + str(number): "v"} for number in range(5)]),
        record("m", mapping={f"k{number}": number for number in range(100_000)}),
        record("m", **{f"k{number}": "v" * 2000 for number in range(2000)}),
        record("m", **{f"k{number}": [number] * 2000 for number in range(500)}),
        record("m", numbers=list(range(300_000))),
        record(
            "m", subject="s" * 10**6, user={"name": "u" * 10**6}, component="c" * 10**6, outcome="o" * 10**6
        ),
    ],
    ids=["message", "escapes", "key", "keys", "deep keys", "mapping", "extras", "lists", "numbers", "typed"],
)
def test_whatever_is_too_large_fits(made, limit):
    """Time and level are there, and the mark."""
    entry = fit(BUILDER.build(made), limit)

    assert {"time", "level", "truncated", "original_bytes", "schema"} <= entry.keys()
    assert entry["truncated"] is True
    assert {"message", "logger"} <= entry.keys()


def test_names_that_are_cut_stay_different():
    """Two long names with the same beginning are numbered."""
    entry = fit(BUILDER.build(record(**{"k" * 10**6 + "a": 1, "k" * 10**6 + "b": 2})), 5000)
    names = [name for name in entry if name.startswith("k")]

    assert [1, 2] == sorted(entry[name] for name in names)


def test_a_structure_becomes_text_only_where_cutting_texts_does_not_help():
    """A list of long texts stays a list; one of numbers without end becomes the beginning of its JSON."""
    entry = fit(BUILDER.build(record(texts=["x" * 10**6] * 3, numbers=[1, 2])), 10_000)
    other = fit(BUILDER.build(record(numbers=list(range(100_000)), texts=["x", "y"])), 10_000)

    assert (3, [1, 2]) == (len(entry["texts"]), entry["numbers"])
    assert other["numbers"].startswith("[0,1,2,3,")
    assert ["x", "y"] == other["texts"]


def test_the_largest_extras_go_first_where_nothing_else_helps():
    """Our own fields stay, and as many extras as fit."""
    many = {f"k{number}": "v" * 100 for number in range(900)}
    entry = fit(BUILDER.build(record(**many, small=1)), 6000)
    kept = [name for name in entry if name not in RESERVED_NAMES]

    assert "small" in kept
    assert 20 < len(kept) < 200
    assert {"message", "logger", "service", "host", "process"} <= entry.keys()


def test_fields_are_not_changed():
    """The same fields can be encoded again, for another destination."""
    fields = BUILDER.build(record("x" * 10**6, deep=[{"a": "x" * 10**6}]))
    before = json.dumps(fields.values)
    fit(fields, 10_000)

    assert before == json.dumps(fields.values)


def test_the_larger_of_two_sizes_is_told():
    """What was left out before counts, although it is not in the line that is cut."""
    fields = BUILDER.build(record(**{f"k{number}": "v" * 1000 for number in range(5000)}))

    assert fields.values["original_bytes"] == fit(fields)["original_bytes"] > 5_000_000


texts = st.one_of(
    st.text(),
    st.builds(lambda part, times: part * times, st.text(min_size=1, max_size=5), st.integers(0, 5000)),
)
nested = st.recursive(
    texts | st.integers() | st.floats() | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(texts, st.dictionaries(texts, nested), st.integers(4096, 40_000))
def test_no_entry_is_ever_over_the_limit(message, extra, limit):
    """Strict JSON within the limit, whatever the texts, names and nesting."""
    made = record(message)
    made.__dict__.update({name: value for name, value in extra.items() if name not in vars(made)})
    entry = fit(BUILDER.build(made), limit)

    assert {"time", "level", "schema"} <= entry.keys()
