"""Bad input: whatever is logged, one strict JSON entry arrives, and so do its neighbours."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime as dt
import enum
import gc
import json
import logging
import math
import sys
import threading
import types
import uuid
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


class Raises:
    def __str__(self):
        raise RuntimeError("no str")

    __repr__ = __str__


class Wrong:
    def __str__(self):
        return 5  # noqa: PLE0307 - because this is the bad input.

    __repr__ = __str__


class Hostile:
    """Raises whatever is asked of it."""

    def __getattr__(self, name):
        raise ValueError(name)

    def __eq__(self, other):
        raise ValueError

    def __hash__(self):
        raise ValueError

    def __bool__(self):
        raise ValueError

    def __len__(self):
        raise ValueError

    def __iter__(self):
        raise ValueError

    def __format__(self, spec):
        raise ValueError

    def __repr__(self):
        raise ValueError


class LyingDict(dict):
    def items(self):
        raise RuntimeError("items")

    __iter__ = keys = values = items


class SurrogateStr(str):
    __slots__ = ()

    def __str__(self):
        raise RuntimeError("str of a str")


class Evil(str):
    __slots__ = ()

    def encode(self, *args):
        return b'","injected":"'


class Colour(enum.Enum):
    RED = 1


class IntColour(enum.IntEnum):
    BLUE = 2


@dataclasses.dataclass
class Point:
    x: int
    y: object


class Pair(NamedTuple):
    a: object
    b: object


def circular_list():
    value = [1]
    value.append(value)
    return value


def circular_dict():
    value = {"a": 1}
    value["self"] = [value]
    return value


def deep(depth, make):
    value = "leaf"
    for _ in range(depth):
        value = make(value)
    return value


class Shared(dict):
    """A mapping subclass whose keys are odd."""


OBJECTS = {
    "raises": Raises, "wrong str": Wrong, "hostile": Hostile, "lying dict": lambda: LyingDict(a=1),
    "nan": lambda: math.nan,
    "inf": lambda: [math.inf, -math.inf, {"x": math.nan}], "wei": lambda: 2**256, "huge": lambda: 10**5000,
    "negative": lambda: -(2**64),
    "bytes": lambda: b"\xff\xfeab\x00", "bytearray": lambda: bytearray(b"\x80"),
    "memoryview": lambda: memoryview(b"abc"),
    "surrogates": lambda: "a\ud800b\udfff", "surrogate key": lambda: {"k\ud800": "v\udc00"}, "nul": lambda: "a\x00b",
    "lines": lambda: "a\r\nb\u2028c\u2029",
    "circular list": circular_list, "circular dict": circular_dict, "deep list": lambda: deep(10_000, lambda v: [v]),
    "deep dict": lambda: deep(10_000, lambda v: {"a": v}), "deep tuple": lambda: deep(50_000, lambda v: (v,)),
    "set": lambda: {1, 2}, "frozenset": lambda: frozenset({"a"}), "deque": lambda: collections.deque([1]),
    "generator": lambda: (n for n in range(3)),
    "infinite": lambda: iter(int, 1), "range": lambda: range(10**12), "lock": threading.Lock,
    "lambda": lambda: (lambda: 1), "type": lambda: int, "module": lambda: json,
    "datetime": dt.datetime.now, "date": dt.date.today, "time": lambda: dt.time(1, 2),
    "delta": lambda: dt.timedelta(days=1),
    "uuid": uuid.uuid4, "enum": lambda: Colour.RED, "int enum": lambda: IntColour.BLUE,
    "dataclass": lambda: Point(1, Raises()), "class": lambda: Raises,
    "namedtuple": lambda: Pair(1, math.nan), "mapping proxy": lambda: types.MappingProxyType({"a": 1}),
    "ordered": lambda: collections.OrderedDict(a=1),
    "complex": lambda: 1 + 2j, "ellipsis": lambda: ..., "not implemented": lambda: NotImplemented,
    "exception": lambda: ValueError("x\ud800"),
    "odd keys": lambda: {1: "a", "1": "b", None: "c", (1, 2): "d", 1.5: "e", 1.0 + 1: "f", b"x": "g"},
    "nan key": lambda: {math.nan: 1, "nan": 2},
    "hostile key": lambda: {Raises: 1, 2**70: 2}, "long key": lambda: {"k" * 100_000: 1},
    "str subclass": lambda: SurrogateStr("sub"), "evil str": lambda: Evil("evil"),
    "float subclass": lambda: type("F", (float,), {"__repr__": lambda self: "oops"})(1.5),
    "int subclass": lambda: type("I", (int,), {"__repr__": lambda self: "oops", "__str__": lambda self: "oops"})(7),
    "list subclass": lambda: type("L", (list,), {"__iter__": lambda self: iter(int, 1)})([1, 2]),
    "big list": lambda: list(range(50_000)),
    "escapes": lambda: "\x1b[31m\u202e\ufeff\x7f\x85", "bool keys": lambda: {False: 0, "False": 1},
    "coloured key": lambda: {Colour.RED: 1},
    "bom": lambda: "\ufeff", "emoji": lambda: "👨‍👩‍👧", "empty": lambda: {"": ""}, "sys": lambda: sys,
    "minus zero": lambda: -0.0, "tiny": lambda: 5e-324, "big float": lambda: 1.7e308,
    "json in a string": lambda: '{"seq": 1, "id": "x"}',
}  # fmt: skip


@pytest.mark.parametrize("kind", ["generic", "datadog", "splunk"])
def test_every_odd_object_in_every_place(connect, server, kind):
    """As argument, message, extra, subject, user, nested and as a static key; the neighbours arrive."""
    wire = connect(kind, body="ndjson") if kind == "generic" else connect(kind)
    places = 0
    chosen = (
        OBJECTS
        if kind == "generic"
        else {
            name: make for name, make in OBJECTS.items() if not name.startswith(("deep", "big", "infinite"))
        }
    )
    for name, make in chosen.items():
        for place in (
            {"extra": {"odd": make()}},
            {
                "extra": {
                    "subject": make(),
                    "object": make(),
                    "user": make(),
                    "component": make(),
                    "category": make(),
                    "outcome": make(),
                }
            },
            {
                "extra": {
                    "nested": {"a": [make(), {"b": make()}]},
                    "reason": make(),
                    "src_ip": make(),
                    "tenant": make(),
                }
            },
            {
                "extra": {
                    "subject": {"type": make(), "id": make(), "name": make()},
                    "user": {"id": make(), "name": make(), "email": make()},
                }
            },
        ):
            wire.logger.info("before %s", name)
            wire.logger.info(name, **place)
            places += 2
        wire.logger.info("arg %s", make())
        wire.logger.info(make())
        wire.logger.log(20, "%(a)s", {"a": make()})
        places += 3
    assert wire.flush(30), wire.handler.stats()
    stats = wire.handler.stats()

    assert (places, places, 0, 0) == (stats.accepted, stats.delivered, stats.rejected, stats.dropped)
    assert list(range(1, places + 1)) == [entry["seq"] for entry in server.entries]
    assert all(
        isinstance(entry.get(name, ""), str)
        for entry in server.entries
        for name in (
            "subject",
            "object",
            "user",
            "message",
            "reason",
            "src_ip",
            "tenant",
            "component",
            "category",
            "outcome",
        )
    )
    assert all(
        isinstance(entry.get(name, ""), str)
        for entry in server.entries
        for name in ("subject_type", "subject_id", "object_type", "user_id", "user_name", "user_email")
    )


def test_generators_are_not_consumed_and_coroutines_not_awaited(connect):
    """The caller still has them."""
    numbers = (number for number in range(3))

    async def later():
        return 1

    coroutine = later()
    try:
        entry = connect().entry("x", extra={"numbers": numbers, "later": coroutine})
    finally:
        result = asyncio.new_event_loop()
        assert 1 == result.run_until_complete(coroutine)
        result.close()

    assert [0, 1, 2] == list(numbers)
    assert str is type(entry["numbers"])
    assert str is type(entry["later"])


def test_a_broken_str_is_replaced_by_a_placeholder_naming_the_type(connect):
    """Fault 67."""
    entry = connect().entry("see %s", Raises(), extra={"odd": Raises()})

    assert "Raises" in str(entry["odd"])
    assert "see" in entry["message"]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_interrupts_are_not_swallowed(connect, error):
    """They belong to the program."""

    class Interrupts:
        def __str__(self):
            raise error

    wire = connect()
    with pytest.raises(error):
        wire.logger.info("x", extra={"odd": Interrupts()})
    assert "after" == wire.entry("after")["message"]


def test_recursion_close_to_the_limit(connect):
    """No RecursionError reaches the caller."""
    wire = connect()

    def down(levels):
        if levels:
            down(levels - 1)
        else:
            wire.logger.info("deep", extra={"value": deep(100, lambda v: [v])})

    gc.collect()
    gc.disable()  # Whatever a collection runs down there (a callback of hypothesis) has no room either.
    try:
        down(sys.getrecursionlimit() - 120 - len(__import__("inspect").stack()))
    finally:
        gc.enable()
    assert wire.flush()
    stats = wire.handler.stats()
    assert 1 == stats.accepted


def test_exceptions_with_loops_notes_and_broken_str(connect, server):
    """error_* fields are strings, whatever the exception does."""
    wire = connect()

    class Broken(Exception):
        def __str__(self):
            raise RuntimeError("no str")

    one, two = ValueError("one\ud800"), Broken("two")
    one.__cause__, two.__context__ = two, one
    for error in (one, two, KeyError(Raises())):
        try:
            raise error
        except Exception:
            wire.logger.exception("caught")
    wire.logger.info("true", exc_info=True)
    wire.logger.info("odd", exc_info=(None, None, None))
    wire.handler.handle(
        logging.makeLogRecord(
            {"msg": "x", "levelno": 20, "exc_info": "nonsense", "exc_text": 5, "stack_info": 7}
        )
    )
    assert wire.flush()

    assert 6 == len(server.entries)
    assert all(
        isinstance(entry.get(name, ""), str)
        for entry in server.entries
        for name in ("error_type", "error_message", "error_stack", "stack_info")
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {}, {"msg": None}, {"levelno": "high"}, {"levelno": None}, {"levelno": math.nan}, {"created": "now"},
        {"created": math.nan}, {"created": math.inf},
        {"created": -1e18}, {"created": 1e30}, {"created": None}, {"name": None}, {"name": 5}, {"args": 5},
        {"args": None}, {"thread": None, "threadName": None},
        {"process": None}, {"levelname": None}, {"levelname": Raises()}, {"name": Raises()}, {"stack_info": Raises()},
        {"exc_text": "only text"}, {5: "key", None: 1},
        {"created": -62135596801.0}, {"created": 253402300800.0}, {"levelno": True}, {"levelno": 10**400},
        {"levelno": 20.5}, {"": "empty"},
    ],
    ids=lambda attributes: "-".join(map(repr, attributes)) or "none",
)  # fmt: skip
@pytest.mark.parametrize("kind", ["generic", "datadog", "splunk"])
def test_records_with_missing_or_odd_attributes(connect, server, kind, attributes):
    """Fault 77: one valid entry, no AttributeError, the neighbour arrives."""
    wire = connect(kind)
    record = logging.makeLogRecord({"levelno": 20, "levelname": "INFO", "msg": "x"})
    record.__dict__.update(attributes)
    wire.handler.handle(record)
    wire.logger.info("neighbour")
    assert wire.flush()

    assert 2 == len(server.entries) or wire.handler.stats().filtered == 1
    assert "neighbour" == server.entries[-1]["message"]
    assert wire.handler.stats().rejected == 0


@pytest.mark.parametrize(
    "missing",
    [
        "msg",
        "args",
        "levelno",
        "levelname",
        "created",
        "name",
        "exc_info",
        "thread",
        "process",
        "msecs",
        "threadName",
        "exc_text",
        "stack_info",
    ],
)
def test_records_that_lack_an_attribute(connect, server, missing):
    """A factory may leave one out."""
    wire = connect()
    record = logging.makeLogRecord({"levelno": 20, "levelname": "INFO", "msg": "x"})
    del record.__dict__[missing]
    wire.handler.handle(record)
    wire.logger.info("neighbour")
    assert wire.flush()

    assert "neighbour" == server.entries[-1]["message"]
    assert 2 == len(server.entries) + wire.handler.stats().filtered


@pytest.mark.parametrize("kind", ["generic", "datadog", "splunk"])
def test_a_huge_record_does_not_take_its_neighbours_along(connect, server, kind):
    """10 MB message, 100,000 extras, a key of 1 MB, a list of a million."""
    wire = connect(kind, flush_interval_seconds=30)
    wire.logger.info("first")
    wire.logger.info("x" * 10_000_000)
    wire.logger.info("many", extra={f"k{number}": "v" * 20 for number in range(100_000)})
    wire.logger.info("key", extra={"k" * 1_000_000: 1})
    wire.logger.info("list", extra={"numbers": list(range(1_000_000))})
    wire.logger.info("strings", extra={"words": ["word"] * 300_000})
    wire.logger.info("last")
    assert wire.flush(20)
    stats = wire.handler.stats()

    assert stats.delivered + stats.rejected == 7
    assert {"first", "many", "last"} <= {entry["message"] for entry in server.entries}
    big = next(entry for entry in server.entries if entry["message"].startswith("xxx"))
    assert big["truncated"] is True
    assert big["original_bytes"] >= 10_000_000
    for entry in server.entries:
        assert len(json.dumps(entry, ensure_ascii=False).encode()) <= 1_100_000


def test_wrong_arguments(connect, server):
    """Too few, too many, the wrong type, none: the record is kept."""
    wire = connect()
    for message, args in [
        ("%d", ("x",)),
        ("%s %s", ("a",)),
        ("%s", ("a", "b")),
        ("100%", ("a",)),
        ("%(a)s", ({},)),
        ("%q", (1,)),
        ("%", (1,)),
        ("%s %", ("a",)),
    ]:
        wire.logger.info(message, *args)
    assert wire.flush()

    assert 8 == len(server.entries)
    assert all(isinstance(entry["message"], str) for entry in server.entries)


def test_nothing_is_printed_for_odd_input(connect, capsys):
    """No `--- Logging error ---` for a record that went out."""
    wire = connect()
    wire.logger.info("%d", "x", extra={"odd": Raises(), "deep": circular_list()})
    assert wire.flush()

    assert "Traceback" not in capsys.readouterr().err


def test_duplicate_keys_after_text_conversion(connect):
    """Keys that become the same text are all kept, under different names."""
    entry = connect().entry("x", extra={"value": {1: "a", "1": "b", None: "c", "None": "d"}})

    assert {"a", "b", "c", "d"} == set(map(str, entry["value"].values()))
    assert 4 == len(entry["value"])


def test_a_nested_json_injection_stays_text(connect):
    """A string can not end the entry."""
    text = '","seq":999,"x":"'
    entry = connect().entry(text, extra={text: text})

    assert 1 == entry["seq"]
    assert text == entry["message"] == entry[text]


HOSTILE = {
    "raises": Raises,
    "wrong": Wrong,
    "hostile": Hostile,
    "enum": lambda: Colour.RED,
    "type": lambda: int,
    "evil": lambda: Evil("x"),
}
PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.text(alphabet=st.characters())
)
ATOMS = (
    PLAIN
    | st.binary(max_size=20)
    | st.complex_numbers()
    | st.datetimes()
    | st.uuids()
    | st.decimals()
    | st.fractions()
    | st.timedeltas()
    | st.sampled_from(sorted(HOSTILE)).map(lambda name: HOSTILE[name]())
)
KEYS = st.text() | st.integers() | st.none() | st.floats() | st.booleans() | st.binary(max_size=5)
JSON_LIKE = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(KEYS, inner, max_size=5)
        | st.tuples(inner, inner)
        | st.builds(Pair, inner, inner)
        | st.builds(Point, st.integers(), inner)
    ),
    max_leaves=12,
)
SURROGATES = st.text(alphabet=st.characters(categories=["Cs", "Cc", "Ll", "Zl"]), max_size=10)
TELLING = """subject object user component category outcome reason tenant src_ip seq id stream time level status
timestamp hostname fields event truncated tags trail extra_seq usr.id"""
NAMES = st.sampled_from(TELLING.split()) | SURROGATES | st.text(max_size=8)
RESERVED = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


@pytest.mark.parametrize("kind", ["generic", "splunk", "datadog"])
def test_arbitrary_objects(connect, server, kind):
    """Whatever is logged: one entry more, strict JSON, its number next, plain text unchanged."""
    wire = connect(kind)
    calls = []

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        message=JSON_LIKE | SURROGATES,
        args=st.lists(JSON_LIKE, max_size=2),
        extra=st.dictionaries(NAMES, JSON_LIKE, max_size=6),
        plain=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20),
    )
    def check(message, args, extra, plain):
        given_extra = {name: value for name, value in extra.items() if name not in RESERVED}
        wire.logger.info(message, *args, extra={**given_extra, "plain_text": plain})
        calls.append(plain)

    check()
    assert wire.flush(20)
    stats = wire.handler.stats()

    assert len(calls) == stats.accepted == stats.delivered
    assert calls == [entry["plain_text"] for entry in server.entries]
    assert list(range(1, len(calls) + 1)) == [entry["seq"] for entry in server.entries]
