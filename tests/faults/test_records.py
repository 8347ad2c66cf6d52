"""Cases 62 to 82: whatever is logged, one entry arrives for it, strict JSON, and its neighbours arrive beside it."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import gzip
import json
import logging
import logging.handlers
import math
import pathlib
import queue
import threading
import uuid
from dataclasses import replace

import pytest

from defender_logging import ConfigurationError
from defender_logging.testing import Answer

MADE = {
    "splunk": ("splunk", {}),
    "raw": ("splunk", {}),
    "datadog": ("datadog", {}),
    "array": ("generic", {}),
    "ndjson": ("generic", {"body": "ndjson"}),
}
"""Every framing that an entry can go out in."""


@pytest.fixture
def open_wire(receiver, connect):
    """Make a handler of a framing that forwards every level, and its logger."""

    def make(framing, **settings):
        kind, own = MADE[framing]
        url = {"url": receiver.hec_raw_url} if framing == "raw" else {}
        return connect(kind, receiver, **{"log_levels": "all", **own, **url, **settings})

    return make


def no_double(pairs):
    assert len(pairs) == len(dict(pairs)), f"a key stands twice among {[key for key, _ in pairs]}"
    return dict(pairs)


def bodies(receiver):
    """What was sent, as text; each of the bytes has to be UTF-8."""
    plain = [
        gzip.decompress(request.body) if request.header("Content-Encoding") == "gzip" else request.body
        for request in receiver.requests
    ]
    return [body.decode("utf-8", "strict") for body in plain]


def assert_strict(receiver):
    """No raw control character but the line feed, no lone surrogate, no key twice, no number that is none."""
    decoder = json.JSONDecoder(object_pairs_hook=no_double, parse_constant=pytest.fail)
    for body in bodies(receiver):
        assert not {chr(code) for code in (*range(32), 127)} & set(body) - {"\n"}
        position = 0
        while position < len(body):
            value, position = decoder.raw_decode(body, position)
            json.dumps(value, ensure_ascii=False).encode("utf-8")
            while body[position : position + 1] == "\n":
                position += 1


LONE = "a\ud800b\udfffc"
REPLACED = "a\ufffdb\ufffdc"


@pytest.mark.parametrize("framing", MADE)
def test_case_62_lone_surrogates(oracle, receiver, open_wire, framing):
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


@pytest.mark.parametrize("framing", MADE)
def test_case_64_circles_and_depths(oracle, receiver, open_wire, framing):
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


@pytest.mark.parametrize("framing", MADE)
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
def test_case_66_objects_of_every_type(oracle, receiver, open_wire, framing, tmp_path):
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


@pytest.mark.parametrize("framing", MADE)
def test_case_67_objects_that_raise(oracle, receiver, open_wire, framing):
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


@pytest.mark.parametrize("framing", MADE)
def test_case_71_text_that_would_forge_another_entry(oracle, receiver, open_wire, framing):
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


BAD_KEYS = {
    "a line feed behind": "s3cr3t-0815\n",
    "a line break inside": "s3cr3t-0815\r\nX-Other: 1",
    "nul": "s3cr3t-0815\x00",
    "beyond latin-1": "s3cr3t-0815\u20ac",
    "empty": "",
    "64 KB": "s3cr3t-0815" * 6000,
}


@pytest.mark.parametrize("fault", BAD_KEYS)
@pytest.mark.parametrize("kind", ["splunk", "datadog", "generic"])
def test_case_72_keys_that_no_header_can_carry(oracle, receiver, connect, kind, fault):
    """Refused at construction, unseen; a handler with a good key beside it works."""
    own = {"api_header_name": "X-Key"} if kind == "generic" else {}
    with pytest.raises(ConfigurationError, match="api_key") as caught:
        connect(kind, receiver, api_key=BAD_KEYS[fault], **own)
    assert "s3cr3t" not in str(caught.value) + repr(caught.value)
    handler, log = connect(kind, receiver)
    oracle.log(log, 10)
    oracle.assert_conserved(receiver, handler, fired=True)


@pytest.mark.parametrize("kind", ["splunk", "datadog", "generic"])
def test_case_73_the_key_shows_nowhere(oracle, receiver, connect, kind, tmp_path, caplog):  # noqa: PLR0917
    """Not in a repr, a report, an error or a file, while receivers quote it back in every kind of failure."""
    secret = "s3cr3t-0815-4711-0123456789"
    caplog.set_level(logging.DEBUG)
    quote = f"your key {secret} is bad"
    receiver.script(
        *[Answer(status=status, body=quote) for status in (401, 403, 503, 302, 400, 413)],
        Answer(cut_at="before_request"),
        Answer(raw=f"{quote}\r\n\r\n".encode()),
    )
    own = {"api_header_name": "X-Key"} if kind == "generic" else {}
    handler, log = connect(
        kind, receiver, api_key=secret, spool_dir=str(tmp_path / "spool"), flush_interval_seconds=30, **own
    )
    oracle.log(log, 100)  # One batch: the refusals of size and form halve it, and reject nothing.
    seen = []
    while receiver.unused_answers:
        seen += [repr(handler), str(handler.stats()), repr(handler._pipeline), repr(vars(handler))]
        receiver.wait_for(requests=receiver.request_count + 1, timeout_seconds=0.05)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    oracle.assert_conserved(receiver, handler, fired=lambda: handler.stats().retries >= 7, duplicates=True)
    seen += [record.getMessage() + str(record.exc_text) + str(record.args) for record in caplog.records]
    assert files
    assert secret not in "".join(seen)
    assert not any(secret.encode() in content for content in files)
    assert secret in "".join(str(request.headers) for request in receiver.requests)


ODD_TEXTS = ["line\r\nbreak", "nul\x00", "x" * 5000, "\u20ac\u2028", LONE]


@pytest.mark.parametrize("framing", ["splunk", "raw"])
@pytest.mark.parametrize("name", ["index", "source", "sourcetype", "host"])
def test_case_74_metadata_that_splunk_cannot_take(oracle, receiver, open_wire, framing, name):
    """Cleaned, or refused at construction with the name of the setting: never an entry that a receiver refuses."""
    made, refusals = [], []
    for text in ODD_TEXTS:
        try:
            made.append(open_wire(framing, **{name: text}))
        except ConfigurationError as error:
            refusals.append(str(error))
    assert all(name in refusal for refusal in refusals)
    made.append(open_wire(framing, **{name: "plain"}))
    for _, log in made:
        oracle.log(log, 10)
    oracle.assert_conserved(receiver, *(handler for handler, _ in made), fired=True)
    assert_strict(receiver)
    assert {200} == {request.status for request in receiver.requests}


def test_case_74_indexed_fields_are_flat(oracle, receiver, open_wire):
    """A nested value would be code 15: it is left to the event, and Splunk never has to refuse it."""
    handler, log = open_wire("splunk", indexed_fields=["nested", "number", "text", "component"])
    oracle.log(log, 10, nested={"a": [1, {"b": 2}]}, number=5, text="line\nbreak")
    oracle.assert_conserved(receiver, handler, fired=lambda: receiver.entries[0].envelope["fields"])
    assert {200} == {request.status for request in receiver.requests}
    assert all(isinstance(v, str) for entry in receiver.entries for v in entry.envelope["fields"].values())


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


@pytest.mark.parametrize("framing", MADE)
def test_case_77_odd_records(oracle, receiver, open_wire, framing):
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


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest", "block"])
def test_case_79_memory_and_spool_are_both_full(oracle, receiver, open_wire, tmp_path, overflow):
    """By the policy, counted with a reason and told in the trail; what was kept arrives whole."""
    receiver.refuse()
    handler, log = open_wire(
        "array",
        spool_dir=str(tmp_path / "spool"),
        max_spool_bytes=60_000,
        max_queue_bytes=20_000,
        overflow=overflow,
        block_timeout_seconds=0.001,
    )
    oracle.log(log, 1000, note="x" * 100)
    dropped = handler.stats().dropped
    assert dropped
    receiver.listen()
    stats = oracle.assert_conserved(receiver, handler, fired=lambda: dropped, missing=dropped)[0]
    assert dropped == sum(stats["dropped_by_reason"].values())
    told = [entry for entry in receiver.entries if entry.fields.get("trail") == "dropped"]
    assert dropped == sum(entry["dropped"] for entry in told)


def test_case_80_level_names_that_datadog_reads_by_their_letters(oracle, receiver, open_wire):
    """AUDIT would be an alert, SECURITY fine, NOTSET a notice: the status goes by the number."""
    names = {21: "AUDIT", 31: "SECURITY", 41: "NOTSET AT ALL", 6: "FINE"}
    handler, log = open_wire("datadog")
    log.setLevel(1)
    for number, name in names.items():
        logging.addLevelName(number, name)
    try:
        tickets = {oracle.log(log, 1, level=number)[0]: number for number in names}
    finally:
        for number in names:
            logging._levelToName.pop(number)
        for name in names.values():
            logging._nameToLevel.pop(name)
    oracle.assert_conserved(receiver, handler, fired=True)
    found = {tickets[entry["ticket"]]: entry["status"] for entry in receiver.entries}
    assert {21: "info", 31: "warning", 41: "error", 6: "debug"} == found
    assert names == {tickets[entry["ticket"]]: entry["levelname"] for entry in receiver.entries}


@pytest.mark.parametrize("kind", ["splunk", "datadog", "generic"])
@pytest.mark.parametrize("bad", [0, 37, 99])
def test_case_81_one_entry_that_nobody_can_read(oracle, receiver, connect, kind, bad, tmp_path):  # noqa: PLR0917
    """The receiver refuses each batch that it is in, without saying which: it alone is set aside, as a dead letter."""
    judge = receiver._judge

    def refuse_poison(request):
        outcome = judge(request)
        if any(entry["message"].startswith("poison") for entry in outcome.entries):
            return type(outcome)(replace(outcome.response, status=400, body=b"{}"))
        return outcome

    receiver._judge = refuse_poison
    handler, log = connect(kind, receiver, spool_dir=str(tmp_path / "spool"), flush_interval_seconds=30)
    oracle.log(log, bad)
    poison = oracle.log(log, 1, message="poison")
    oracle.log(log, 99 - bad)
    oracle.assert_conserved(receiver, handler, fired=lambda: handler.stats().rejected == 1, missing=poison)
    letters = [path for path in tmp_path.rglob("*") if path.is_file() and b"poison" in path.read_bytes()]
    assert letters


@pytest.mark.parametrize(
    ("kind", "most"), [("splunk", 1_000_000), ("datadog", 5_000_000), ("generic", 1_000_000)]
)
def test_case_82_entries_that_compress_to_almost_nothing(oracle, receiver, connect, kind, most):
    """The limits hold for the bytes before compression: no body unfolds to more than its vendor takes."""
    handler, log = connect(kind, receiver, overflow="block", block_timeout_seconds=20, max_batch_entries=1000)
    oracle.log(log, 20, message="x" * 800_000)
    oracle.assert_conserved(receiver, handler, fired=lambda: receiver.request_count >= 20 * 800_000 // most)
    assert max(map(len, bodies(receiver))) <= most
    assert max(len(request.body) for request in receiver.requests) < most // 100
