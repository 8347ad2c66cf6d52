"""Plain values: what becomes of every kind of Python object."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import gc
import inspect
import json
import pathlib
import sys
import threading
import time
import types
import uuid
from collections.abc import Mapping
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from defender_logging.plain import CIRCULAR, MAX_DEPTH, Snapshot, plain
from defender_logging.redaction import REDACTED, Redactor
from defender_logging.strict_json import comparable_float, dumps, dumps_stdlib

SHOW_ALL = Redactor(frozenset())


def shown(value):
    """Make a value plain, nothing hidden."""
    return plain(value, SHOW_ALL)


def redacted(value):
    """Make a value plain with the built-in names."""
    return plain(value, Redactor())


def strictly(line):
    """Parse as the strictest reader does: no constants of JavaScript, no name twice, no lone surrogate."""

    def no_constant(text):
        raise AssertionError(text)

    def no_name_twice(pairs):
        assert len(pairs) == len(dict(pairs))
        return dict(pairs)

    value = json.loads(
        line.decode("utf-8", "strict"), parse_constant=no_constant, object_pairs_hook=no_name_twice
    )
    json.dumps(value, ensure_ascii=False).encode("utf-8", "strict")
    return value


class Colour(enum.Enum):
    """An enum of values of two kinds."""

    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    """An integer enum."""

    HIGH = 3


@dataclasses.dataclass
class Account:
    """A dataclass with a field that its author hides."""

    owner: str
    balance: int = 2**60
    password: str = "hunter2"
    internal: str = dataclasses.field(default="no", repr=False)


class Point(NamedTuple):
    """Two values with names."""

    x: object
    api_key: object


class Loud(str):
    """A text that raises in its methods."""

    __slots__ = ()

    def __str__(self):
        raise ValueError

    __len__ = isascii = encode = __str__


def counting():
    """A generator that fails the test when it is consumed."""
    raise AssertionError
    yield


ATOMS = [
    ("text", "text"),
    (True, True),
    (None, None),
    (0, 0),
    (2**53 - 1, 2**53 - 1),
    (2**53, "9007199254740992"),
    (-(2**53), "-9007199254740992"),
    (2**256, str(2**256)),
    (Level.HIGH, 3),
    (1.5, 1.5),
    (1e300, 1e300),
    (float("nan"), "NaN"),
    (float("inf"), "Infinity"),
    (float("-inf"), "-Infinity"),
    ("\ud800", "\ufffd"),
]

FORMS = [
    (b"caf\xc3\xa9 \xff\x00", "café \\xff\x00"),
    (bytearray(b"ab"), "ab"),
    (memoryview(b"abc")[::2], "ac"),
    (dt.datetime(2026, 7, 1, 12, 30, 0, 5), "2026-07-01T12:30:00.000005"),  # noqa: DTZ001 - naive is the case
    (dt.datetime(2026, 7, 1, tzinfo=dt.timezone.utc), "2026-07-01T00:00:00+00:00"),
    (dt.date(2026, 7, 1), "2026-07-01"),
    (dt.time(1, 2), "01:02:00"),
    (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (decimal.Decimal("1.10"), "1.10"),
    (pathlib.PurePosixPath("/etc/\udcff"), "/etc/\ufffd"),
    (Colour.RED, "red"),
    (Colour.PAIR, [1, 2]),
    (Account("al"), {"owner": "al", "balance": str(2**60), "password": "hunter2"}),
    (Account, "<class 'tests_plain.Account'>"),
    (Point(1, 2), {"x": 1, "api_key": 2}),
    ((1, "a"), [1, "a"]),
    ({3, 1, 2, 10}, [1, 2, 3, 10]),
    ({"b", "a"}, ["a", "b"]),
    ({"b", 1, None}, ["b", 1, None]),
    (frozenset({(2,), (1,)}), [[1], [2]]),
    (collections.deque([1, 2]), [1, 2]),
    (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    ({"a": 1}.keys(), ["a"]),
    ({"a": 1}.values(), [1]),
    (ValueError("bad"), "ValueError: bad"),
    (KeyError(), "KeyError"),
    (range(3), "range(0, 3)"),
    (1 + 2j, "(1+2j)"),
]


@pytest.mark.parametrize(("value", "expected"), ATOMS)
def test_an_atom_keeps_its_type_where_json_can_hold_it(value, expected):
    """Numbers that receivers would round, and those JSON has no word for, become text."""
    made = shown(value)

    assert expected == made
    assert type(expected) is type(made) or isinstance(made, float)
    assert [expected] == shown([value])


@pytest.mark.parametrize(("value", "expected"), FORMS)
def test_an_object_gets_a_stable_form(value, expected):
    """Each known kind has one form, the same in every run."""
    if expected == "<class 'tests_plain.Account'>":
        expected = f"<class '{Account.__module__}.Account'>"

    assert expected == shown(value)


@pytest.mark.parametrize(
    ("make", "begin"),
    [
        (counting, "<generator object counting>"),
        (threading.Lock, "<unlocked _thread.lock object>"),
        (object, "<object object>"),
        (lambda: iter([1]), "<list_iterator object>"),
        (lambda: make_nothing, "<function make_nothing>"),
    ],
)
def test_what_has_no_form_becomes_text_without_an_address(make, begin):
    """Nothing is consumed, and the text is the same in every run."""
    assert begin == shown(make())


def make_nothing():
    """A function to log."""


def test_a_coroutine_is_not_awaited():
    """Its text is written, and it can still be run."""

    async def answer():
        return 42

    coroutine = answer()

    assert "answer>" in shown(coroutine)
    assert 42 == asyncio.run(coroutine)


def test_a_file_is_not_read(tmp_path):
    """An open file is a text, its position stays."""
    path = tmp_path / "file.txt"
    path.write_text("abc")
    with path.open() as file:
        assert "file.txt" in shown(file)
        assert "abc" == file.read()


def test_it_is_a_snapshot():
    """What the caller changes later does not show."""
    inner = [1]
    made = shown({"a": inner})
    inner.append(2)

    assert {"a": [1]} == made


class TestNames:
    """Keys of mappings."""

    def test_every_key_becomes_text_and_none_is_lost(self):
        """Keys that are equal as text are numbered."""
        made = shown(
            {1: "a", "1": "b", None: "c", (1, 2): "d", b"x": "e", Colour.RED: "f", 1.5: "g", "1_2": "h"}
        )

        expected = {
            "1": "a",
            "1_2": "b",
            "null": "c",
            "[1,2]": "d",
            "x": "e",
            "red": "f",
            "1.5": "g",
            "1_2_2": "h",
        }
        assert expected == made

    def test_keys_that_differ_only_in_surrogates_are_numbered(self):
        """Cleaning makes them equal, so it comes before the count."""
        assert {"\ufffd": 1, "\ufffd_2": 2} == shown(dict(zip("\ud800\udfff", [1, 2], strict=True)))

    def test_a_hundred_thousand_equal_keys_cost_linear_time(self):
        """The count goes on where it stopped."""

        class Same:
            def __str__(self):
                return "same"

        begin = time.perf_counter()
        made = shown({Same(): number for number in range(100_000)})

        assert 100_000 == len(made)
        assert time.perf_counter() - begin < 10


class TestRedaction:
    """Names that hide their values."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ({"a": [{"dbPassword": 1}]}, {"a": [{"dbPassword": REDACTED}]}),
            ({b"Authorization": "x"}, {"Authorization": REDACTED}),
            ([("Cookie", "x"), (b"x-api-key", b"y")], [["Cookie", REDACTED], ["x-api-key", REDACTED]]),
            ({"token": "x"}.items(), [["token", REDACTED]]),
            (Point(1, 2), {"x": 1, "api_key": REDACTED}),
            (Account("al", 1), {"owner": "al", "balance": 1, "password": REDACTED}),
            (["password", "x"], ["password", "x"]),
        ],
    )
    def test_it_hides_at_every_depth(self, value, expected):
        """In mappings, objects with names, and pairs."""
        assert expected == redacted(value)

    def test_a_hidden_value_is_not_even_looked_at(self):
        """No code of it runs."""

        class Secret:
            def __str__(self):
                raise SystemExit

        assert {"password": REDACTED} == redacted({"password": Secret()})

    def test_it_hides_in_what_is_cut_off_as_text(self):
        """Too deep is no way around."""
        value = {"password": "hunter2", "x": 1}
        for _ in range(MAX_DEPTH + 3):
            value = [value]

        line = dumps(redacted(value))

        assert b"hunter2" not in line
        assert REDACTED.encode() in line


class TestDepth:
    """Structures that are deep, circular or endless."""

    def test_a_circle_ends(self):
        """Where a container is inside itself, a marker stands; beside itself it is no circle."""
        circle = [1]
        circle.append(circle)
        mapping = {}
        mapping["self"] = mapping
        twice = ["x"]

        assert [1, CIRCULAR] == shown(circle)
        assert {"self": CIRCULAR} == shown(mapping)
        assert [["x"], ["x"]] == shown([twice, twice])

    @pytest.mark.parametrize(("levels", "is_cut"), [(MAX_DEPTH, False), (MAX_DEPTH + 1, True)])
    def test_what_is_nested_deeper_becomes_text(self, levels, is_cut):
        """The 32nd level keeps its shape, the 33rd is text."""
        value = "bottom"
        for _ in range(levels):
            value = [value]
        snapshot = Snapshot(SHOW_ALL)
        made = snapshot.take(value)
        for _ in range(MAX_DEPTH):
            made = made[0]

        assert is_cut == snapshot.is_cut
        assert ('["bottom"]' if is_cut else "bottom") == made

    @pytest.mark.parametrize(
        "wrap", [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: (inner, 1)]
    )
    def test_two_hundred_thousand_levels_do_no_harm(self, wrap):
        """Neither a RecursionError nor a crash, and the depth of what is written is bounded."""
        value = "bottom"
        for _ in range(200_000):
            value = wrap(value)
        snapshot = Snapshot(SHOW_ALL)
        line = dumps(snapshot.take(value))

        assert snapshot.is_cut
        assert len(line) < 10_000
        strictly(line)

    def test_the_text_of_what_is_cut_is_bounded(self):
        """At most a thousand characters and a mark; the rest is counted."""
        value = ["x" * 5000]
        for _ in range(MAX_DEPTH):
            value = [value]
        snapshot = Snapshot(SHOW_ALL)
        made = snapshot.take(value)
        for _ in range(MAX_DEPTH):
            made = made[0]

        assert 1001 == len(made)
        assert 4004 == snapshot.cut_bytes

    def test_a_structure_that_unfolds_without_end_is_bounded(self):
        """Forty levels of ten equal parts would be more values than atoms in the world."""
        value = ["x"]
        for _ in range(40):
            value = [value] * 10
        snapshot = Snapshot(SHOW_ALL)
        begin = time.perf_counter()
        line = dumps(snapshot.take(value))

        assert snapshot.is_cut
        assert len(line) < 50_000_000
        assert time.perf_counter() - begin < 20

    def test_a_mapping_without_end_is_bounded(self):
        """A user's own items may never stop."""

        class Endless(Mapping):
            def __getitem__(self, key):
                return key

            def __len__(self):
                return 1

            def __iter__(self):
                number = 0
                while True:
                    yield number
                    number += 1

        snapshot = Snapshot(SHOW_ALL)

        assert len(snapshot.take(Endless())) < 1_000_000
        assert snapshot.is_cut

    @pytest.mark.parametrize("room", range(15, 90, 5))
    def test_a_nearly_full_stack_is_no_error(self, room):
        """The caller's own recursion is not ended by a log call, however few frames are left."""
        value = "bottom"
        for _ in range(MAX_DEPTH):
            value = [value]

        def deeper(levels):
            return deeper(levels - 1) if levels else Snapshot(SHOW_ALL).take(value)

        gc.disable()  # A destructor run by the collector may need more frames than are left.
        try:
            made = deeper(sys.getrecursionlimit() - len(inspect.stack(0)) - room)
        finally:
            gc.enable()

        assert dumps(made)


class TestUserCode:
    """Objects whose own code does what it likes."""

    def test_an_integer_too_long_for_decimal_is_hexadecimal(self):
        """Python refuses to write more than 4300 digits."""
        assert [hex(10**6000), {hex(10**6000): 1}] == shown([10**6000, {10**6000: 1}])

    def test_a_text_with_methods_of_its_own_is_read_without_them(self):
        """A str subclass is its characters."""
        assert ["abc", {"abc": 1}] == shown([Loud("abc"), {Loud("abc"): 1}])

    def test_an_error_costs_only_its_own_value(self):
        """The neighbours are written, and the type and the error are named."""

        class Evil:
            def __str__(self):
                raise LookupError

        assert [1, "<Evil: unprintable, LookupError>", {"a": 2}] == shown([1, Evil(), {"a": 2}])

    def test_an_attribute_never_set_costs_only_itself(self):
        """A slot without a value is told in its place."""
        account = Account("al")
        del account.__dict__["owner"]

        assert "<Account: unprintable, AttributeError>" == shown(account)["owner"]

    @pytest.mark.parametrize("items", [lambda: [1, 2], lambda: None, lambda: [(1, 2, 3)], lambda: 1 / 0])
    def test_a_mapping_with_wrong_items_becomes_a_placeholder(self, items):
        """What is no pair cannot be shown as one."""

        class Odd(dict):
            def items(self):
                return items()

        assert shown(Odd(a=1)).startswith("<Odd: unprintable, ")

    def test_a_released_memoryview_becomes_a_placeholder(self):
        """Its bytes are gone."""
        view = memoryview(b"x")
        view.release()

        assert "<memoryview: unprintable, ValueError>" == shown(view)

    def test_a_mapping_changed_by_another_thread_is_read_once_more(self):
        """RuntimeError is what iteration over a changed mapping raises."""
        tries = []

        class Changing(collections.UserDict):
            def items(self):
                tries.append(1)
                if len(tries) == 1:
                    raise RuntimeError
                return super().items()

        assert {"a": 1} == shown(Changing(a=1))

    def test_system_exit_passes(self):
        """Whoever ends the program, ends it."""

        class Ending:
            def __str__(self):
                raise SystemExit(3)

        with pytest.raises(SystemExit):
            shown([Ending()])

    def test_containers_are_still_shown_while_user_code_logs(self):
        """At the bound of nested calls only user code is not called."""

        class Recursive:
            def __str__(self):
                return json.dumps(shown({"me": self, "list": [1, (2,)]}))

        assert "[1, [2]]" in shown(Recursive())
        assert "logs itself" in shown(Recursive())


odd_objects = st.one_of(
    st.builds(object),
    st.binary(),
    st.binary().map(bytearray),
    st.datetimes(),
    st.uuids(),
    st.decimals(),
    st.complex_numbers(),
    st.fractions(),
    st.sampled_from([Colour.RED, Level.HIGH, Account("x"), ValueError("x"), len, Account]),
    st.floats(),
    st.integers(),
    st.text(st.characters(exclude_categories=())),
    st.none(),
    st.booleans(),
)
hashable = st.one_of(
    st.text(st.characters(exclude_categories=())), st.integers(), st.floats(), st.binary(), st.none()
)
any_objects = st.recursive(
    odd_objects,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(hashable, inner),
        st.sets(hashable),
        inner.map(lambda value: Point(value, value)),
        inner.map(Account),
    ),
    max_leaves=30,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(any_objects)
def test_every_object_becomes_strict_json(value):
    """Whatever is logged, a strict parser reads it, and both encoders write the same."""
    made = redacted(value)
    line = dumps(made)

    strictly(line)
    assert dumps_stdlib(made) == line
    assert made == shown(made)


clean_values = st.recursive(
    st.one_of(
        st.text(),
        st.integers(-(2**53) + 1, 2**53 - 1),
        st.floats(allow_nan=False, allow_infinity=False).map(comparable_float),
        st.booleans(),
        st.none(),
    ),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(clean_values)
def test_plain_values_come_through_unchanged(value):
    """What JSON can hold is what the receiver reads."""
    assert value == strictly(dumps(shown(value)))
