"""Templates: the short way writes what the long way writes, and common records take it."""

from __future__ import annotations

import enum
import logging
import math
from collections import UserString
from json.encoder import encode_basestring
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from defender_logging import audit_context, template_writing, templates
from defender_logging.destinations.datadog import DatadogDestination
from defender_logging.destinations.generic import GenericDestination
from defender_logging.destinations.splunk import SplunkDestination
from defender_logging.fields_building import FieldsBuilder
from defender_logging.fitting import encode_to_fit
from defender_logging.redaction import Redactor
from defender_logging.templates import LEARN_AFTER, Templates
from defender_logging.vocabulary import Category, Component

LIMIT = 1_000_000
DESTINATIONS = {
    "generic": GenericDestination(target="/"),
    "event": SplunkDestination(target="/", channel="c", host="h"),
    "event without a host": SplunkDestination(
        target="/", channel="c", indexed_fields=("tenant", "k", "level")
    ),
    "raw": SplunkDestination(target="/services/collector/raw", channel="c"),
    "datadog": DatadogDestination(target="/", tags=["team:core"], environment="prod%"),
}


class Ways:
    """Both ways of one handler, of which the short one has learnt nothing yet."""

    def __init__(self, destination="generic", *, redactor=None, limit=LIMIT, **speaker):
        self.redactor = redactor or Redactor()
        self.destination = DESTINATIONS[destination]
        self.limit = limit
        self.builder = FieldsBuilder(
            redactor=self.redactor, reserved_names=self.destination.reserved_names, host="web-1", **speaker
        )
        self.templates = Templates(
            self.builder,
            self.destination,
            inspected_names=self.destination.inspected_names,
            max_line_bytes=limit,
            redactor=self.redactor,
        )

    def short(self, record):
        """Return the draft of the short way, None where the record has to take the long one."""
        try:
            return self.templates.draft(record)
        except Exception:
            return None

    def long(self, record):
        """Return the draft of the long way."""
        return encode_to_fit(self.destination, self.builder.build(record), max_line_bytes=self.limit)

    def learn(self, record):
        """Show a record as often as it takes to learn its kind."""
        for _ in range(LEARN_AFTER):
            assert self.short(record) is None


def make(message="paused", args=(), *, level=logging.INFO, created=1_795_664_572.686316, name="app", **extra):
    """A record as ``logger.log(level, message, *args, extra=...)`` makes it."""
    record = logging.getLogger(name).makeRecord(name, level, "f.py", 7, message, args, None, "f", extra)
    record.created = created
    return record


@pytest.fixture(params=DESTINATIONS)
def destination(request):
    """The name of each destination in turn."""
    return request.param


COMMON = {
    "component": "relay",
    "category": "signed in",
    "subject": "alice@example.com",
    "object": "relayer-7",
    "request_id": "a81bc81b",
    "attempt": 3,
}


def test_common_records_take_the_short_way(destination):
    """From then on that their kind has been learnt, whatever their texts, numbers, arguments and time."""
    ways = Ways(destination, service="pay%ments", environment="{prod}", tags=["a:b"])
    ways.learn(make("%s failures", (1,), **COMMON))
    for number in range(20):
        record = make(
            "%s %s",
            (number, "x"),
            created=1_795_664_572.686316 + number / 3,
            **COMMON | {"subject": f"user {number}", "request_id": '"%s{}\\', "attempt": -number},
        )
        draft = ways.short(record)

        assert draft is not None
        assert ways.long(record) == draft


@pytest.mark.parametrize(
    "extra",
    [
        {"ok": True, "ratio": 1.5, "nothing": None, "count": 7},
        {"subject": 42, "object": 7},
        {"component": Component.RELAY, "category": Category.SENT},
        {"password": "hunter2", "token": ["x"], "secret": None},
        {"message_": "x", "service": "theirs", "timestamp": "theirs", "status": "x"},
        {
            "subject": "a",
            "subject_type": "user",
            "user": "u",
            "src_ip": "10.0.0.1",
            "tenant": "t",
            "reason": "r",
        },
        {"outcome": "failure"},
        {},
    ],
    ids=lambda extra: ",".join(extra) or "nothing",
)
def test_these_are_common_too(destination, extra):
    """Numbers, words as enum members, hidden and colliding names, every typed field."""
    ways = Ways(destination)
    ways.learn(make(**extra))
    record = make("other", **extra)

    assert ways.long(record) == ways.short(record)


def test_context_is_common_too(destination):
    """A request handler's fields differ from request to request, and are read anew for each."""
    ways = Ways(destination)
    with audit_context(user="alice", src_ip="10.0.0.1", trace="t"):
        ways.learn(make(component="relay"))
    for user in ("bob", "carol"):
        with audit_context(user=user, src_ip="10.0.0.2", trace=user):
            record = make(component="relay")

            assert ways.long(record) == ways.short(record)
            assert f'"user":"{user}"'.encode() in ways.short(record).head
    assert b"carol" not in ways.long(make(component="relay")).head


@pytest.mark.parametrize(
    ("names", "extra"),
    [
        (["name"], {}),
        (["msg", "levelname"], {}),
        (["message"], {}),
        (["asctime", "taskName"], {}),
        (["component"], {"component": None}),
        (["component"], {"component": "relay"}),
        (["user"], {"user": None}),
        (["k"], {"k": None}),
        (["k"], {"k": "own"}),
    ],
    ids=str,
)
def test_a_context_that_names_what_the_record_has_is_read_each_time(destination, names, extra):
    """Which of the two is written depends on the value; another request has other values under the same names."""
    ways = Ways(destination)
    for value in ("relay", "admin", "relay"):
        with audit_context(**dict.fromkeys(names, value)):
            for _ in range(LEARN_AFTER + 2):
                record = make(**extra)
                assert ways.short(record) in {None, ways.long(record)}


def test_defaults_of_the_configuration_are_common_too(destination):
    """``static_fields`` that the caller may set stand in where he does not."""
    ways = Ways(destination, static_fields={"component": "relay", "team": "core"})
    ways.learn(make(category="sent"))
    record = make("other", category="sent")

    assert ways.long(record) == ways.short(record)


class Odd(str, enum.Enum):
    """A text whose value is another text."""

    def __new__(cls, value):
        """Make a member that looks like ``value`` and is its reverse."""
        member = str.__new__(cls, value)
        member._value_ = value[::-1]
        return member

    RELAY = "relay"


class Text(str):
    """A text of another class."""

    __slots__ = ()


def with_attributes(**attributes):
    """A common record in which somebody has changed something."""
    record = make(**COMMON)
    record.__dict__.update(attributes)
    return record


def without(name):
    """A common record in which somebody has deleted something."""
    record = make(**COMMON)
    del record.__dict__[name]
    return record


class OwnRecord(logging.LogRecord):
    """What another record factory makes."""


ODD = {
    "a big integer": make(**COMMON | {"attempt": 2**53}),
    "not a number": make(**COMMON | {"attempt": math.nan}),
    "a float": make(**COMMON | {"attempt": 3.0}),
    "a rare float": make(**COMMON | {"attempt": 1e-7}),
    "a negative zero": make(**COMMON | {"attempt": -0.0}),
    "true": make(**COMMON | {"attempt": True}),
    "a list": make(**COMMON | {"attempt": [1]}),
    "a class of text": make(**COMMON | {"request_id": Text("x")}),
    "an enum member": make(**COMMON | {"request_id": Odd.RELAY}),
    "an odd word": make(**COMMON | {"component": Odd.RELAY}),
    "a word of another class": make(**COMMON | {"component": UserString("relay")}),
    "an unknown word": make(**COMMON | {"component": "rely"}),
    "an unhashable word": make(**COMMON | {"category": ["sent"]}),
    "no subject": make(**COMMON | {"subject": None}),
    "a subject that is a mapping": make(**COMMON | {"subject": {"id": 1}}),
    "a lone surrogate": make(**COMMON | {"subject": "\udc00"}),
    "a split pair": make(**COMMON | {"subject": "\ud83d\ude00"}),
    "repainting characters": make("\x7f\u2028\u202e\x85\x00", **COMMON | {"subject": "\x7f"}),
    "another order": make(**dict(reversed(COMMON.items()))),
    "one more": make(**COMMON, more=1),
    "an object as argument": make("%s", (object,), **COMMON),
    "a mapping as argument": make("%(a)s", ({"a": 1},), **COMMON),
    "arguments that do not fit": make("%d", ("x",), **COMMON),
    "another logger": make(name="other", **COMMON),
    "another level": make(level=logging.ERROR, **COMMON),
    "a level between": make(level=25, **COMMON),
    "a level that is a float": with_attributes(levelno=20.0),
    "a process that is true": with_attributes(process=True),
    "no process": with_attributes(process=None),
    "no thread": with_attributes(threadName=None),
    "a message of another class": with_attributes(msg=Text("x")),
    "no message": with_attributes(msg=None),
    "a mapping as message": with_attributes(msg={"password": "x"}),
    "an exception": with_attributes(exc_info=(ValueError, ValueError("x"), None)),
    "a stack": with_attributes(stack_info="x"),
    "what a formatter left behind": with_attributes(message="x", asctime="y"),
    "another year": make(created=10.0, **COMMON),
    "a far year": make(created=1e11, **COMMON),
    "before the epoch": make(created=-1_123_456_789.5, **COMMON),
    "no time": with_attributes(created=math.nan),
    "a time that is an integer": with_attributes(created=1_795_664_572),
    "the last instant of a second": make(created=1_795_664_572.9999998, **COMMON),
    "a deleted attribute": without("filename"),
    "a deleted name": without("name"),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_records_are_said_as_the_long_way_says_them(destination, odd):
    """Before and after a common record of the same line of code has been learnt."""
    ways = Ways(destination)
    ways.learn(make(**COMMON))
    common = make("again", **COMMON)

    assert ways.long(common) == ways.short(common)
    for _ in range(LEARN_AFTER + 3):
        assert ways.short(ODD[odd]) in {None, ways.long(ODD[odd])}
    assert ways.long(common) == ways.short(common)


VALUES = st.one_of(
    st.text(max_size=20),
    st.integers(-(2**60), 2**60),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(st.integers(), max_size=2),
    st.sampled_from([Component.RELAY, Odd.RELAY, Text("x")]),
)
NAMES = st.one_of(
    st.sampled_from(
        [
            *("component", "category", "subject", "object", "subject_type", "outcome", "user", "tenant", "k"),
            *("password", "extra_k", "service", "status", "timestamp", "usr.id", "wallet", "%s{0}"),
        ]
    ),
    st.text(min_size=1, max_size=5),
)


@pytest.mark.parametrize("name", DESTINATIONS)
@given(
    extra=st.dictionaries(NAMES, VALUES, max_size=5).filter(
        lambda extra: not extra.keys() & vars(make()).keys()
    ),
    others=st.lists(st.tuples(st.integers(0, 4), VALUES), max_size=4),
    said=st.tuples(st.text(max_size=10), st.tuples(VALUES) | st.just(())),
    contexts=st.dictionaries(
        st.sampled_from(["component", "user", "k", "name", "taskName", "message"]),
        st.tuples(VALUES, VALUES),
        max_size=2,
    ),
    created=st.floats(allow_nan=True) | st.floats(1e9, 1e10),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_short_way_says_what_the_long_way_says(name, extra, others, said, contexts, created):  # noqa: PLR0917 - given
    """Whatever a record and the context hold, and whatever kinds were learnt before."""
    ways = Ways(name, redactor=Redactor.from_setting(["k2"]))
    changed = dict(extra)
    for place, value in others:
        if place < len(extra):
            changed[list(extra)[place]] = value
    for turn in (0, 1):
        with audit_context(**{key: values[turn] for key, values in contexts.items()}):
            for given_extra in (extra, changed):
                for record in (make("learnt", **given_extra), make(*said, created=created, **given_extra)):
                    assert ways.short(record) in {None, ways.long(record)}
            for _ in range(LEARN_AFTER):
                ways.short(make("learnt", **extra))


@pytest.mark.parametrize("name", ["taskName", "message", "asctime", "filename", "thread", "extra_k"])
def test_an_attribute_that_somebody_sets_is_read_each_time(destination, name):
    """``taskName`` is an extra before Python 3.12 and the record's own since; formatters leave others behind."""
    ways = Ways(destination)
    for number in range(3):
        for _ in range(LEARN_AFTER + 2):
            record = make(k=number)
            record.__dict__[name] = f"value {number}"
            assert ways.short(record) in {None, ways.long(record)}


def test_a_line_that_is_too_long_is_cut_the_long_way():
    """The limit counts the tail as well, so the short way returns nothing that would go over it."""
    ways = Ways(limit=5000)
    ways.learn(make(**COMMON))
    lengths = range(3500, 5200)
    drafts = [ways.short(make("x" * length, **COMMON)) for length in lengths]

    assert drafts[0] is not None
    assert drafts[-1] is None
    for length, draft in list(zip(lengths, drafts, strict=True))[::50]:
        assert draft in {None, ways.long(make("x" * length, **COMMON))}


def test_what_may_have_to_be_redacted_takes_the_long_way(monkeypatch):
    """The redactor is asked about every line."""
    asked = []

    def may_hold_secret(line):
        asked.append(line)
        return b"geheim" in line

    monkeypatch.setattr(Redactor, "question", property(lambda self: may_hold_secret))
    ways = Ways()
    ways.learn(make(**COMMON))

    assert ways.short(make("geheim", **COMMON)) is None
    assert ways.short(make("offen", **COMMON)) is not None
    assert 2 <= len(asked)


@pytest.mark.parametrize(
    "secret",
    [
        "Authorization: Bearer abcdefgh12345678",
        "postgres://alice:hunter2secret@db/x",
        "card 4111 1111 1111 1111",
        "AKIAIOSFODNN7EXAMPLE",
        "password=hunter2secret",
    ],
)
def test_a_secret_in_any_text_is_redacted(secret):
    """In the message, its arguments, a typed field and an extra, after the kind was learnt without one."""
    ways = Ways()
    for args in ((), ("x",)):
        for _ in range(LEARN_AFTER + 1):
            ways.short(make("%s" if args else "x", args, **COMMON))
    for record in (
        make(secret, **COMMON),
        make("%s", (secret,), **COMMON),
        make("x", **COMMON | {"subject": secret}),
        make("x", **COMMON | {"request_id": secret}),
    ):
        assert ways.short(record) is None
        assert b"[redacted]" in ways.long(record).head


def test_handlers_of_one_logger_share_the_work_and_nothing_else(monkeypatch):
    """The second and third find the texts of the first; each says what its own long way says."""
    quoted = []

    def quote(text):
        quoted.append(text)
        return encode_basestring(text)

    monkeypatch.setitem(template_writing._TOOLS, "quote", quote)
    all_ways = [Ways(name) for name in DESTINATIONS]
    for ways in all_ways:
        ways.learn(make(**COMMON))
        assert ways.short(make(**COMMON)) is not None
    for number in range(3):
        record = make("%s", (number,), **COMMON | {"subject": f"user {number}"})
        quoted.clear()
        for ways in all_ways[:2] + all_ways[3:]:
            assert ways.long(record) == ways.short(record)
        assert 1 == quoted.count(f"user {number}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attempt", True),
        ("attempt", 1.0),
        ("attempt", 2),
        ("subject", "mallory"),
        ("msg", "other %s"),
        ("args", (2,)),
        ("threadName", "T-2"),
        ("created", 1_795_664_573.0),
    ],
)
def test_a_record_that_is_changed_between_two_handlers_is_read_anew(name, value):
    """A filter of the second may rename or mask; equal is not the same (1, 1.0 and true)."""
    first, second = Ways(), Ways("datadog")
    for ways in (first, second):
        for attempt in (1, 1.0, True):
            for _ in range(LEARN_AFTER + 1):
                ways.short(make("%s", (1,), **COMMON | {"attempt": attempt}))
    record = make("%s", (1,), **COMMON | {"attempt": 1})

    assert first.long(record) == first.short(record)
    record.__dict__[name] = value
    assert second.long(record) == second.short(record)
    assert first.long(record) == first.short(record)


def test_handlers_that_redact_in_another_way_share_nothing(monkeypatch):
    """What one may show, the other may have to search."""
    questions = {False: lambda line: False, True: lambda line: b"alice" in line}
    monkeypatch.setattr(Redactor, "question", property(lambda self: questions["kk" in self.names]))
    open_ways, careful = Ways(), Ways(redactor=Redactor.from_setting(["kk"]))
    for ways in (open_ways, careful):
        ways.learn(make(**COMMON | {"subject": "bob"}))
    record = make(**COMMON)

    assert open_ways.short(record) is not None
    assert careful.short(record) is None


def test_a_draft_that_carries_more_than_a_line_is_not_templated(monkeypatch):
    """A digest over the fields, say: a template would repeat the first one's."""

    class Sealed(NamedTuple):
        """A draft with something else in it."""

        head: bytes
        foot: bytes
        seal: bytes

    def sealed(*given, **named):
        return Sealed(*encode_to_fit(*given, **named), b"seal")

    monkeypatch.setattr(templates, "encode_to_fit", sealed)
    ways = Ways()
    ways.learn(make(**COMMON))

    assert ways.short(make(**COMMON)) is None


def test_a_hidden_value_is_kept_nowhere():
    """Neither in a template nor in what is remembered of the last record."""
    ways = Ways()
    ways.learn(make(**COMMON, password="hunter2"))
    draft = ways.short(make(**COMMON, password="hunter3"))

    assert b'"password":"[redacted]"' in draft.head
    assert b"hunter" not in draft.head
    cells = [cell.cell_contents for kind in kinds(ways) for cell in kind.write.__closure__]
    assert "hunter" not in repr(cells)


def kinds(ways):
    """Every kind that was learnt."""
    return [kind for layout in ways.templates._layouts.values() for kind in layout.kinds.values()]


@pytest.mark.parametrize(
    "extra", [{"k": [1]}, {"component": "rely"}, {"subject": None}, {"wallet": "x"}], ids=str
)
def test_what_is_not_common_is_asked_about_once(monkeypatch, extra):
    """Learning costs as much as many records, so a kind that cannot be learnt is not tried again."""
    encoded = []

    def counted(*given, **named):
        encoded.append(given)
        return encode_to_fit(*given, **named)

    monkeypatch.setattr(templates, "encode_to_fit", counted)
    ways = Ways()
    for _ in range(LEARN_AFTER + 1):
        assert ways.short(make(**extra)) is None
    tried = len(encoded)
    for _ in range(5 * LEARN_AFTER):
        assert ways.short(make(**extra)) is None
    assert tried == len(encoded)


def test_what_is_remembered_is_bounded():
    """Names and words that are data do not stay in memory for ever."""
    ways = Ways()
    most = 0
    for number in range(1500):
        ways.short(make(**{f"name {number}": 1}))
        ways.short(make(component=f"word {number}"))
        most = max(most, len(ways.templates._layouts) + len(kinds(ways)))

    assert 1000 < most <= 1025
    long = "x" * 3000
    before = len(kinds(ways))
    ways.short(make(component=long))
    assert before == len(kinds(ways))
    before = len(ways.templates._layouts)
    ways.short(make(**{long: 1}))
    assert before == len(ways.templates._layouts)


@pytest.mark.parametrize(
    ("hidden", "learnt", "other"),
    [
        ("user", make(user="alice"), make(user=None)),
        ("message", make("%s failures", (1,)), make("%d failures", ("one",))),
    ],
)
def test_what_hides_a_text_does_not_hide_that_there_is_none(destination, hidden, learnt, other):
    """A redacted field that is not given is left out, and wrong arguments of a redacted message are told."""
    ways = Ways(destination, redactor=Redactor.from_setting([hidden]))
    ways.learn(learnt)
    ways.short(learnt)

    assert ways.short(other) in {None, ways.long(other)}
