"""Strict JSON: what is written, and that both encoders write the same bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defender_logging.strict_json import RareFloat, clean_text, comparable_float, dumps, dumps_stdlib

any_text = st.text(st.characters(exclude_categories=()))
atoms = st.one_of(
    any_text,
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False).map(comparable_float),
    st.booleans(),
    st.none(),
)
plain_values = st.recursive(
    atoms, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)

REPAINTING = [
    0x7F,
    0x80,
    0x85,
    0x9B,
    0x9F,
    0x61C,
    0x200E,
    0x200F,
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
    0xFEFF,
]

HARMLESS = [
    0x20,
    0x7E,
    0xA0,
    0xC5,
    0x61B,
    0x61D,
    0x200D,
    0x2010,
    0x2027,
    0x202F,
    0x2065,
    0x206A,
    0xFEFE,
    0x1F600,
]


@pytest.mark.parametrize("encode", [dumps, dumps_stdlib])
class TestBoth:
    """What either encoder writes."""

    def test_it_writes_no_blanks_and_keeps_the_order(self, encode):
        """Names stand in the order given, nothing between them but commas and colons."""
        assert b'{"b":[1,2.5,true,null],"a":"\xc3\xa9"}' == encode({"b": [1, 2.5, True, None], "a": "é"})

    @pytest.mark.parametrize("code", REPAINTING)
    def test_it_escapes_what_repaints_or_breaks_lines(self, encode, code):
        """A character that a reader takes for a line break or a terminal for a command is never raw."""
        assert b'{"a":"x\\u%04xy"}' % code == encode({"a": f"x{chr(code)}y"})

    @pytest.mark.parametrize("code", HARMLESS)
    def test_it_leaves_the_neighbours_alone(self, encode, code):
        """Characters next to those ranges go out as they are."""
        assert f'"{chr(code)}"'.encode() == encode(chr(code))

    @pytest.mark.parametrize("code", range(0x20))
    def test_it_escapes_controls(self, encode, code):
        """No C0 control, no raw line break is in the line."""
        line = encode(f"a{chr(code)}b")

        assert all(byte >= 0x20 for byte in line)
        assert f"a{chr(code)}b" == json.loads(line)

    def test_it_repairs_surrogates(self, encode):
        """A split pair becomes its character, a lone half U+FFFD, in names as well."""
        assert '{"�":["😀","x�","�y"]}'.encode() == encode({"\ud800": ["\ud83d\ude00", "x\ud83d", "\ude00y"]})

    @pytest.mark.parametrize(
        ("number", "text"),
        [
            (0.0, b"0.0"),
            (-0.0, b"-0.0"),
            (1e15, b"1000000000000000.0"),
            (1e16, b"1e+16"),
            (-1.5e300, b"-1.5e+300"),
            (0.0001, b"0.0001"),
            (0.00001, b"1e-05"),
            (5e-324, b"5e-324"),
        ],
    )
    def test_it_spells_floats_as_python_does(self, encode, number, text):
        """Encoders differ in exponents; ours is Python's spelling."""
        assert text == encode(comparable_float(number))


@given(plain_values)
def test_both_encoders_write_the_same_bytes(value):
    """Whatever the plain value, orjson and the standard library agree."""
    assert dumps_stdlib(value) == dumps(value)


@given(plain_values)
def test_a_line_is_strict_and_reads_back(value):
    """The bytes are UTF-8 and parse to the very value, but for surrogates."""
    assert json.loads(dumps(clean(value))) == clean(value)


def clean(value):
    """Repair the surrogates in every text of a value."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(name): clean(item) for name, item in value.items()}
    return value


@given(any_text)
def test_clean_text_can_be_encoded(text):
    """What comes out is UTF-8, and text that already was is not changed."""
    cleaned = clean_text(text)

    assert cleaned == cleaned.encode().decode()
    assert cleaned == clean_text(cleaned)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", {"a": object()}])
def test_it_refuses_what_is_not_plain(value):
    """An object that was not made plain is a TypeError, not a guess."""
    with pytest.raises(TypeError):
        dumps(value)


def test_ordinary_floats_stay_floats():
    """Only floats that encoders spell in different ways are marked."""
    assert [float, RareFloat] == [type(comparable_float(0.5)), type(comparable_float(1e20))]
