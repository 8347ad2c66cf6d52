"""Cases 62 to 71 and 77: whatever is logged, one strict JSON entry arrives for it, and its neighbours beside it."""

# ruff: noqa: PLR0917 - because fixtures are named, not placed

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import json
import logging
import logging.handlers
import math
import pathlib
import queue
import threading
import uuid

import pytest

FRAMINGS = ["splunk", "raw", "datadog", "array", "ndjson"]

LONE = "a\ud800b\udfffc"
REPLACED = "a\ufffdb\ufffdc"


@pytest.mark.parametrize("framing", FRAMINGS)
def test_case_62_lone_surrogates(oracle, receiver, open_wire, framing, assert_strict):
    """In message, argument, value, key, nested, logger name and path: replaced, so that every receiver takes it."""
    handler, log = open_wire(framing)
    oracle.log(log, 10)
    oracle.call(log.info, LONE, expected={"message": REPLACED})
    oracle.call(log.info, "see %s", LONE, expected={"message": f"see {REPLACED}"})
    oracle.call(
        log.info,
        "x",
        extra={LONE: LONE, "in": {LONE: [LONE]}},
        expected={REPLACED: REPLACED, "in": {REPLACED: [REPLACED]}},
    )
    oracle.call(log.getChild(LONE).info, "x", expected={"logger": f"{log.name}.{REPLACED}"})
    oracle.call(log.info, "whole \U0001f600", expected={"message": "whole \U0001f600"})
    try:
        raise OSError(2, "no such file", LONE)
    except OSError:
        oracle.call(log.exception, "failed")
    oracle.log(log, 10)
    oracle.assert_conserved(receiver, handler, fired=True)
    assert_strict(receiver)


def circular():
    value = {"list": [1]}
    value["self"] = value
    value["list"].append(value["list"])
    return value


def nested(depth, wrap):
    value = "innermost"
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize("framing", FRAMINGS)
def test_case_64_circles_and_depths(oracle, receiver, open_wire, framing, assert_strict, bodies):
    """Bounded, with a mark; no RecursionError, no crash, wherever the thing stands."""
    handler, log = open_wire(framing)
    things = [
        circular(),
        nested(200_000, lambda v: [v]),
        nested(200_000, lambda v: {"in": v}),
        nested(40, lambda v: (v,)),
    ]
    for thing in things:
        oracle.log(log, 1)
        oracle.call(log.info, "x", extra={"thing": thing, "subject": thing}, expected={"message": "x"})
        oracle.call(log.info, "see %s", thing)
        oracle.call(log.info, thing)
    oracle.log(log, 1)
    oracle.assert_conserved(receiver, handler, fired=True)
    assert_strict(receiver)
    assert '"truncated":true' in "".join(bodies(receiver))


@pytest.mark.parametrize("framing", FRAMINGS)
def test_case_65_too_large(oracle, receiver, open_wire, framing):
    """10 MB of text, 100,000 extras, a key of 1 MB: cut by rule, with mark and true size; neighbours are whole."""
    handler, log = open_wire(framing, flush_interval_seconds=30)
    oracle.log(log, 10, note="before")
    large = [
        oracle.call(log.info, "x" * 10_000_000),
        oracle.call(
            log.info, "many", extra={f"k{n}": "v" * 20 for n in range(100_000)}, expected={"message": "many"}
        ),
        oracle.call(log.info, "key", extra={"k" * 1_000_000: 1}, expected={"message": "key"}),
        oracle.call(log.info, "words", extra={"words": ["word"] * 300_000}, expected={"message": "words"}),
    ]
    oracle.log(log, 10, note="after")
    oracle.assert_conserved(receiver, handler, fired=True)
    entries = [json.loads(e.fields) if isinstance(e.fields, str) else e.fields for e in receiver.entries]
    cut = {entry["ticket"]: entry for entry in entries if entry.get("truncated")}
    assert {large[0], large[1], large[3]} <= set(cut) <= set(large)
    assert cut[large[0]]["original_bytes"] >= 10_000_000
    assert not any(entry.is_truncated for entry in receiver.entries)
    assert all(len(json.dumps(entry, ensure_ascii=False).encode()) < 1_100_000 for entry in entries)


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int
    y: int


OBJECTS = {
    "bytes": lambda: b"ab\xff\x00",
    "bytearray": lambda: bytearray(b"\x80"),
    "memoryview": lambda: memoryview(b"abc"),
    "set": lambda: {1},
    "frozenset": lambda: frozenset({"a"}),
    "naive datetime": lambda: dt.datetime(2026, 7, 1, 12, 0, 0),  # noqa: DTZ001 - because this is the odd input
    "aware datetime": lambda: dt.datetime(2026, 7, 1, 12, 0, 0, tzinfo=dt.timezone.utc),
    "timedelta": lambda: dt.timedelta(days=1),
    "uuid": lambda: uuid.UUID(int=7),
    "enum": lambda: Colour.RED,
    "path": lambda: pathlib.PurePosixPath("/tmp/x"),
    "dataclass": lambda: Point(1, 2),
    "lock": threading.Lock,
    "lambda": lambda: len,
    "nan": lambda: math.nan,
    "wei": lambda: 2**256,
    "deque": lambda: collections.deque([1, 2]),
    "type": lambda: int,
}


@pytest.mark.parametrize("framing", ["splunk", "datadog", "array"])
def test_case_66_objects_of_every_type(oracle, receiver, open_wire, framing, tmp_path, assert_strict):
    """The same object has the same text twice; nothing is consumed, awaited, read or pickled."""
    handler, log = open_wire(framing)
    for name, make in OBJECTS.items():
        for _ in range(2):
            oracle.call(
                log.info, name, extra={"odd": make(), "deep": [{"odd": make()}]}, expected={"message": name}
            )

    async def later():
        raise AssertionError("awaited")

    numbers, coroutine = (number for number in range(3)), later()
    with (tmp_path / "file").open("w+") as file:
        file.write("content")
        file.seek(0)
        for thing in (numbers, coroutine, file, iter([])):
            oracle.call(log.info, "see %s", thing, extra={"odd": thing})
        assert "content" == file.read()
    coroutine.close()
    assert [0, 1, 2] == list(numbers)
    oracle.assert_conserved(receiver, handler, fired=True)
    assert_strict(receiver)
    forms = collections.defaultdict(list)
    for entry in receiver.entries:
        if entry["message"] in OBJECTS:
            forms[entry["message"]].append((entry["odd"], entry["deep"]))
    assert {} == {name: found for name, found in forms.items() if found[0] != found[1]}


class Broken:
    """Raises whatever is asked of it."""

    def __getattr__(self, name):
        raise ValueError(name)

    def __eq__(self, other):
        raise ValueError

    def __hash__(self):
        raise ValueError

    def __str__(self):
        raise ValueError

    __repr__ = __bool__ = __len__ = __iter__ = __str__

    def __format__(self, spec):
        raise ValueError


class WrongType:
    def __str__(self):
        return 5  # noqa: PLE0307 - because this is the bad input

    __repr__ = __str__


@pytest.mark.parametrize("framing", FRAMINGS)
def test_case_67_objects_that_raise(oracle, receiver, open_wire, framing, assert_strict, bodies):
    """A placeholder names the type; one that logs while it is printed gets both entries out, without recursion."""
    handler, log = open_wire(framing)

    class Chatty:
        def __repr__(self):
            oracle.log(log, 1, message="from inside")
            return "<chatty>"

    oracle.log(log, 5)
    for thing in (Broken(), WrongType()):
        oracle.call(
            log.info,
            "x",
            extra={"odd": thing, "subject": thing, "in": [{"a": thing}]},
            expected={"message": "x"},
        )
        oracle.call(log.info, "see %s", thing)
        oracle.call(log.info, thing)
    oracle.call(log.info, "see %r", Chatty(), expected={"message": "see <chatty>"})
    oracle.log(log, 5)
    oracle.assert_conserved(receiver, handler, fired=True)
    assert_strict(receiver)
    sent = "".join(bodies(receiver))
    assert "Broken" in sent
    assert "WrongType" in sent


@pytest.mark.parametrize("interrupt", [SystemExit, KeyboardInterrupt])
def test_case_67_interrupts_pass(oracle, receiver, open_wire, interrupt):
    """They belong to the program; the next record goes out as ever."""

    class Interrupts:
        def __str__(self):
            raise interrupt

    handler, log = open_wire("array")
    oracle.log(log, 1)
    with pytest.raises(interrupt):
        log.info("x", extra={"odd": Interrupts()})
    oracle.log(log, 1)
    oracle.assert_conserved(receiver, handler, fired=True)


BAD_ARGUMENTS = [
    ("%d", "x"),
    ("%s %s", "a"),
    ("%s", "a", "b"),
    ("100%", "a"),
    ("%(a)s", {}),
    ("%q", 1),
    ("%", 1),
    ("%s %", "a"),
]


@pytest.mark.parametrize("framing", ["splunk", "datadog", "array"])
def test_case_68_wrong_arguments(oracle, receiver, open_wire, framing, capsys):
    """The record is kept with what was given, and nothing is printed."""
    handler, log = open_wire(framing)
    for message, *args in BAD_ARGUMENTS:
        oracle.call(log.info, message, *args, expected={"message": message, "message_args": args})
    oracle.log(log, 1)
    oracle.assert_conserved(receiver, handler, fired=True)
    assert all(entry["message_error"] for entry in receiver.entries if "message_args" in entry.fields)
    assert "Traceback" not in capsys.readouterr().err


def test_case_69_an_object_changed_right_after(oracle, receiver, open_wire):
    """The entry says what was true at the call, however late it is sent."""
    receiver.refuse()
    handler, log = open_wire("array")
    shared = {"state": "before", "list": [1]}
    before = {"state": "before", "list": [1]}
    oracle.call(
        log.info,
        "%s",
        shared["list"],
        extra={"shared": shared},
        expected={"message": "[1]", "shared": before},
    )
    shared["state"] = "after"
    shared["list"].append(2)
    shared.clear()
    receiver.listen()
    oracle.assert_conserved(receiver, handler, fired=lambda: receiver.entry_count)


FORGED = {
    "nul": "a\x00b",
    "line breaks": 'real\r\n{"level":"error","message":"forged"}\n',
    "end of the entry": '","seq":999,"x":"',
    "escapes": "\x1b[2J\x1b[31mred",
    "separators": "a\u2028b\u2029c\x85d",
    "bom": "\ufeffbom",
    "bidi": "abc\u202edef\u2066g",
    "c1": "a\x9bm",
    "delete": "a\x7fb",
}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_case_71_text_that_would_forge_another_entry(
    oracle, receiver, open_wire, framing, assert_strict, bodies
):
    """Escaped: one record stays one entry, and its text is what was logged, to the last character."""
    handler, log = open_wire(framing)
    for text in FORGED.values():
        oracle.call(
            log.info,
            text,
            extra={"note": text, text: text},
            expected={"message": text, "note": text, text: text},
        )
    oracle.call(log.info, "bytes", extra={"note": b"\xff\xfe\n\x00"}, expected={"message": "bytes"})
    oracle.assert_conserved(receiver, handler, fired=True)
    assert_strict(receiver)
    assert len(FORGED) + 1 == receiver.entry_count
    assert not any(set("\u2028\u2029\x85\u202e\u2066\ufeff\x9b\x7f") & set(body) for body in bodies(receiver))


ODD_ATTRIBUTES = [
    {}, {"msg": None}, {"levelno": "high"}, {"levelno": math.nan}, {"created": "now"}, {"created": math.inf},
    {"created": -1e18}, {"name": None}, {"args": 5}, {"thread": None}, {"process": None}, {"levelname": None},
    {"exc_text": "only text"}, {"exc_info": "nonsense"}, {"stack_info": 7}, {5: "key"}, {"": "empty"},
]  # fmt: skip
MISSING = [
    "msg",
    "args",
    "levelno",
    "levelname",
    "created",
    "name",
    "exc_info",
    "thread",
    "process",
    "stack_info",
]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_case_77_odd_records(oracle, receiver, open_wire, framing, assert_strict):
    """Attributes missing or of the wrong kind, a bare record, one that a QueueHandler prepared: no AttributeError."""
    handler, log = open_wire(framing)
    odd = []
    for attributes in ODD_ATTRIBUTES:
        record = logging.makeLogRecord({"levelno": 20, "levelname": "INFO", "msg": "x"})
        record.__dict__.update(attributes)
        odd.append(record)
    for name in MISSING:
        record = logging.makeLogRecord({"levelno": 20, "levelname": "INFO", "msg": "x"})
        del record.__dict__[name]
        odd.append(record)
    prepared = queue.Queue()
    logging.handlers.QueueHandler(prepared).handle(
        logging.makeLogRecord({"msg": "%s", "args": ("x",), "levelno": 20})
    )
    odd += [prepared.get(timeout=5), logging.makeLogRecord({})]
    for number, record in enumerate(odd):
        record.ticket = f"odd-{number}"
        handler.handle(record)
        oracle.note(record.ticket)
        oracle.log(log, 1)
    oracle.assert_conserved(receiver, handler, fired=True)
    assert_strict(receiver)
    assert 0 == handler.stats().filtered
