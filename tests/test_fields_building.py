"""Records to fields: order, names, collisions, odd records."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import sys
import threading
import time

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from defender_logging.context import audit_context
from defender_logging.field_names import CALLER_NAMES, RESERVED_NAMES
from defender_logging.fields_building import FieldsBuilder
from defender_logging.record_reading import STANDARD_ATTRIBUTES
from defender_logging.redaction import Redactor
from defender_logging.severity import Severity
from defender_logging.strict_json import dumps
from defender_logging.vocabulary import Vocabulary

ORDER = [
    *("time", "level", "component", "category", "subject", "subject_type", "subject_id"),
    *("object", "object_type", "object_id", "outcome", "reason", "user", "src_ip", "tenant", "message"),
    *("logger", "levelname", "service", "environment", "host", "process", "thread"),
    *("error_type", "error_message", "error_stack", "stack_info", "tags"),
]
"""As the contract lists them; then extras, vocabulary_errors, truncated, original_bytes, trail."""


def record(message="m", arguments=(), /, level=logging.INFO, **extra):
    """A record as ``logger.info(message, extra=...)`` makes it."""
    return logging.getLogger("app.relay").makeRecord(
        "app.relay", level, "f.py", 1, message, arguments, None, "f", extra
    )


def odd(**attributes):
    """A record of ``makeLogRecord``, good but for the attributes given."""
    good = {"name": "app", "msg": "m", "levelno": 20, "levelname": "INFO"}
    return logging.makeLogRecord(good | attributes)


def values(made, **settings):
    """Return the fields of a record."""
    return FieldsBuilder(**settings).build(made).values


def extras(made, **settings):
    """Return the fields that are not the entry's own."""
    return {name: value for name, value in values(made, **settings).items() if name not in RESERVED_NAMES}


def twice(made, **settings):
    """Return the fields of a record when its kind is new, and when it is known."""
    builder = FieldsBuilder(**settings)
    return builder.build(made).values, builder.build(made).values


class TestOrder:
    """The order of the wire."""

    def full(self):
        """A record that has every field a caller can set, in an order of its own."""
        try:
            raise ValueError("bad")
        except ValueError:
            exc_info = sys.exc_info()
        made = record(
            request="r-1",
            **dict.fromkeys(sorted(CALLER_NAMES - {"component", "category", "outcome"}, reverse=True), "x"),
            outcome="failure",
            category="paused",
            component="unheard of",
        )
        made.exc_info, made.stack_info = exc_info, "Stack"
        return made

    def test_every_field_is_in_its_place(self):
        """Typed fields, message, origin, error, tags, extras, errors."""
        expected = [*ORDER, "team", "request", "vocabulary_errors"]

        for made in twice(
            self.full(), service="s", environment="e", host="h", tags=["a:b"], static_fields={"team": "t"}
        ):
            assert expected == list(made)

    def test_a_mapping_is_flattened_in_place(self):
        """The parts stand after their whole."""
        made = record(
            object={"id": 2, "type": "relayer"}, subject={"id": 1, "name": "al"}, user={"id": 3}, reason="r"
        )
        names = [name for name in values(made) if name not in {"time", "level"}]

        assert [
            *("subject", "subject_id", "object", "object_type", "object_id"),
            *("reason", "user", "user_id", "message"),
        ] == names[: names.index("message") + 1]

    def test_absent_fields_are_left_out(self):
        """No nulls for what was not told."""
        assert ["time", "level", "message", "logger", "levelname", "process", "thread"] == list(
            values(record())
        )

    def test_cut_entries_say_so_after_their_errors(self):
        """truncated and original_bytes follow vocabulary_errors."""
        deep = "x"
        for _ in range(40):
            deep = [deep]

        assert ["deep", "vocabulary_errors", "truncated", "original_bytes"] == list(
            values(record(deep=deep, component="unheard of"))
        )[-4:]


class TestValues:
    """What the fields say."""

    @pytest.mark.parametrize(
        ("created", "expected", "microseconds"),
        [
            (1_700_000_000.123456, "2023-11-14T22:13:20.123456Z", 1_700_000_000_123_456),
            (1_700_000_000.9999999, "2023-11-14T22:13:21.000000Z", 1_700_000_001_000_000),
            (0, "1970-01-01T00:00:00.000000Z", 0),
            (-5.5, "1969-12-31T23:59:54.500000Z", -5_500_000),
            (253_402_300_799, "9999-12-31T23:59:59.000000Z", 253_402_300_799_000_000),
        ],
    )
    def test_time_is_rfc_3339_with_microseconds(self, created, expected, microseconds):
        """In UTC, whatever the machine's zone."""
        fields = FieldsBuilder().build(odd(created=created))

        assert (expected, microseconds) == (fields.values["time"], fields.unix_microseconds)

    @freeze_time("2026-07-01 12:00:00.000005")
    def test_time_is_the_records_own(self):
        """Not that of the encoding."""
        made = record()
        with freeze_time("2030-01-01"):
            assert "2026-07-01T12:00:00.000005Z" == values(made)["time"]

    @pytest.mark.parametrize(
        ("levelno", "level"),
        [(1, "trace"), (5, "trace"), (10, "debug"), (15, "debug"), (25, "info"), (30, "warn"), (50, "error")],
    )
    def test_level_follows_the_floor_rule_and_levelname_is_kept(self, levelno, level):
        """CRITICAL is error on the wire, and still CRITICAL by name."""
        fields = FieldsBuilder().build(record(level=levelno))

        assert (level, levelno) == (fields.values["level"], fields.levelno)
        assert logging.getLevelName(levelno) == fields.values["levelname"]

    def test_process_is_a_number_and_thread_a_name(self):
        """As the record has them."""
        made = record()

        assert (made.process, threading.current_thread().name) == (
            values(made)["process"],
            values(made)["thread"],
        )

    def test_the_second_record_of_a_kind_says_its_own(self):
        """Nothing of the first record shows in the next one of the same names."""
        builder = FieldsBuilder()
        first = builder.build(record("one", subject="al", n=1, component="relay", category="paused")).values
        second = builder.build(record("two", subject="bo", n=2, component="relay", category="paused")).values

        assert ["one", "al", 1] == [first[name] for name in ("message", "subject", "n")]
        assert ["two", "bo", 2] == [second[name] for name in ("message", "subject", "n")]
        assert list(first) == list(second)

    @pytest.mark.parametrize("later", [None, 5, {"name": "x"}, ["x"]])
    def test_a_known_kind_with_odd_values_is_written_anew(self, later):
        """What a template has no room for gives the same as on a fresh builder."""
        builder = FieldsBuilder()
        builder.build(record(subject="al", n="1"))
        made = record(subject=later, n=later)

        assert FieldsBuilder().build(made) == builder.build(made)

    def test_an_error_in_a_known_kind_is_written(self):
        """The same call site may log with and without an exception."""
        builder = FieldsBuilder()
        made = record(n=1)
        builder.build(made)
        made.exc_info = (ValueError, ValueError("bad"), None)

        assert FieldsBuilder().build(made) == builder.build(made)
        assert "bad" == builder.build(made).values["error_message"]

    def test_templates_keep_no_values(self):
        """A builder does not hold on to what was logged."""
        builder = FieldsBuilder()
        builder.build(record("secret message", subject="secret subject", n="secret n"))

        assert "secret" not in repr(builder._assembler._templates)

    def test_values_are_taken_at_the_call(self):
        """A list changed afterwards is not the list that was logged."""
        items = [1]
        made = values(record(items=items))
        items.append(2)

        assert [1] == made["items"]

    def test_the_record_stays_as_it_is(self):
        """Other handlers get it too."""
        made = record("%s", ("x",), subject={"id": 1}, component="?")
        before = copy.copy(vars(made))
        FieldsBuilder().build(made)

        assert before == vars(made)

    def test_a_thread_without_a_name_is_left_out(self):
        """logging.logThreads may be off."""
        builder = FieldsBuilder()
        named, unnamed = record(), record()
        unnamed.threadName = unnamed.process = None
        builder.build(named)

        assert {"process", "thread"} == builder.build(named).values.keys() - builder.build(
            unnamed
        ).values.keys()


class TestNames:
    """Collisions, reserved names, redaction by name."""

    @pytest.mark.parametrize("name", sorted(RESERVED_NAMES - CALLER_NAMES - STANDARD_ATTRIBUTES))
    def test_a_callers_value_of_our_name_is_moved(self, name):
        """Nothing of ours is overwritten, nothing of the caller's left out."""
        made = record()
        made.__dict__[name] = "mine"

        for fields in twice(made, service="s", environment="e", host="h", tags=["a:b"]):
            assert "mine" == fields[f"extra_{name}"]
            assert "mine" != fields.get(name)

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"id": "a"}, {"extra_id": "a"}),
            ({"id": "a", "extra_id": "b"}, {"extra_id": "b", "extra_id_2": "a"}),
            (
                {"extra_id_2": "c", "id": "a", "extra_id": "b"},
                {"extra_id_2": "c", "extra_id": "b", "extra_id_3": "a"},
            ),
            ({"timestamp": "a", "status": "b"}, {"extra_timestamp": "a", "extra_status": "b"}),
            ({"team": "mine"}, {"team": "ours", "extra_team": "mine"}),
            ({"user_id": "7"}, {"extra_user_id": "7"}),
            ({"": "empty"}, {"": "empty"}),
            ({"_private": "x"}, {"_private": "x"}),
        ],
    )
    def test_collisions_are_numbered(self, given, expected):
        """extra_<name>, then extra_<name>_2; a name that the caller wrote so keeps it."""
        settings = {"reserved_names": frozenset({"timestamp", "status"}), "static_fields": {"team": "ours"}}

        assert {"team": "ours"} | expected == extras(record(**given), **settings)

    def test_names_that_are_no_text_become_text(self):
        """extra takes any key."""
        made = record()
        made.__dict__.update({1: "a", "1": "b", None: "c", "\ud800": "d"})

        assert {"1": "a", "extra_1": "b", "null": "c", "\ufffd": "d"} == extras(made)

    @pytest.mark.parametrize("name", ["password", "userApiKey", "id_token"])
    def test_telling_names_hide_their_values(self, name):
        """At the top as at any depth, in every record of the kind."""
        for fields in twice(record(**{name: "hunter2", "deep": [{name: "hunter2"}]})):
            assert ["[redacted]", [{name: "[redacted]"}]] == [fields[name], fields["deep"]]

    def test_a_moved_name_is_still_hidden(self):
        """A static field of the same name makes it extra_token."""
        assert {"token": "ours", "extra_token": "[redacted]"} == extras(
            record(token="x"), static_fields={"token": "ours"}
        )

    def test_an_allow_list_rules_the_callers_extras_only(self):
        """Our own fields are shown whatever it says."""
        made = record(component="relay", subject="al", amount=1, other=2, deep={"amount": 1, "x": 2})
        redactor = Redactor.from_setting({"allow": ["amount", "deep"]})
        fields = values(made, redactor=redactor, service="s", static_fields={"team": "t"})

        assert {"subject": "al", "service": "s", "team": "t", "message": "m"}.items() <= fields.items()
        assert [1, "[redacted]", {"amount": 1, "x": "[redacted]"}] == [
            fields[n] for n in ("amount", "other", "deep")
        ]

    def test_beyond_a_thousand_extras_the_rest_is_left_out_and_told(self):
        """The entry says truncated, and about how large it was."""
        fields = values(record(**{f"k{number}": "v" * 10 for number in range(100_000)}))

        assert 1000 == sum(name.startswith("k") for name in fields)
        assert fields["truncated"] is True
        assert 1_500_000 < fields["original_bytes"] < 3_000_000

    def test_what_other_formatters_leave_behind_is_no_extra(self):
        """message and asctime are set on the record by every stdlib formatter."""
        made = record(n=1)
        logging.Formatter("%(asctime)s %(message)s").format(made)

        assert {"n": 1} == extras(made)

    def test_what_a_subclass_sets_first_is_an_extra(self):
        """Attributes are told by name, not by place, where the class is not the stdlib's own."""

        class Early(logging.LogRecord):
            def __init__(self, *arguments):
                self.early = "x"
                super().__init__(*arguments)
                del self.relativeCreated  # So that the number of attributes is the usual one.

        assert {"early": "x"} == extras(Early("n", 20, "", 0, "m", (), None))

    def test_names_made_of_data_do_not_pile_up(self):
        """What a builder remembers is bounded."""
        builder = FieldsBuilder()
        for number in range(3000):
            builder.build(record(**{f"k{number}": 1}))
        assembler = builder._assembler

        assert len(assembler._templates) <= 1024
        assert len(assembler._planner._plans) <= 1024


class TestBehindTheRecord:
    """Context, defaults, static fields."""

    def test_the_context_is_carried_and_the_record_wins(self):
        """A None in the record is "not given"."""
        with audit_context(user="al", tenant="acme", request="r-1", seq="x"):
            fields = values(record(tenant="other", user=None))

        assert ("al", "other", "r-1", "x") == tuple(
            fields[n] for n in ("user", "tenant", "request", "extra_seq")
        )

    def test_static_fields_of_a_callers_name_are_defaults(self):
        """Record, then context, then configuration."""
        static = {"component": "relay", "tenant": "a", "user": "b", "n": 2**60}
        with audit_context(user="c"):
            fields = values(record(tenant="d"), static_fields=static)

        assert ("relay", "d", "c") == tuple(fields[name] for name in ("component", "tenant", "user"))
        assert str(2**60) == fields["n"]

    def test_a_static_field_of_our_name_is_moved(self):
        """The configuration does not overwrite us either."""
        assert {"extra_id": "x"} == extras(record(), static_fields={"id": "x"})

    def test_attributes_asked_for_are_extras(self):
        """As DefenderFormatter's fmt asks."""
        assert {"lineno": 1, "extra_thread": threading.get_ident()} == extras(
            record(), record_attributes=("lineno", "thread")
        )


class TestVocabulary:
    """Words in a plain extra."""

    def test_aliases_are_written_in_the_pages_spelling(self):
        """With the category's outcome."""
        for fields in twice(record(component="Relayers", category="signed_in")):
            assert ("relay", "signed in", "success") == tuple(
                fields[n] for n in ("component", "category", "outcome")
            )

    def test_unknown_words_go_out_and_are_told_each_time(self):
        """One sentence a word; the list is the entry's own."""
        first, second = twice(record(component="rely", category="pasued", outcome="ok"))

        assert ("rely", "pasued", "ok") == tuple(first[n] for n in ("component", "category", "outcome"))
        assert 3 == len(first["vocabulary_errors"]) == len(second["vocabulary_errors"])
        assert first["vocabulary_errors"] is not second["vocabulary_errors"]

    def test_a_vocabulary_of_the_users_own(self):
        """Its words are known, with their outcomes."""
        vocabulary = Vocabulary.default().extend(
            components=["billing"], categories={"refunded": {"outcome": "success"}}
        )
        fields = values(record(component="billing", category="refunded"), vocabulary=vocabulary)

        assert "success" == fields["outcome"]
        assert "vocabulary_errors" not in fields


class Evil:
    """Raises in everything."""

    def _raise(self, *_):
        raise RuntimeError("no")

    __str__ = __repr__ = __eq__ = __bool__ = __len__ = __format__ = __getattr__ = _raise
    __hash__ = object.__hash__


class Unhashable(Evil):
    """Cannot be looked up either."""

    __hash__ = None


class TestOddRecords:
    """Whatever comes, an entry goes out."""

    def test_an_empty_record(self):
        """makeLogRecord({}) has a name and a level of None."""
        fields = values(logging.makeLogRecord({}))

        assert ("info", "", "root", "Level None") == tuple(
            fields[n] for n in ("level", "message", "logger", "levelname")
        )

    @pytest.mark.parametrize(
        "attributes",
        [
            {"created": "x"},
            {"created": float("nan")},
            {"created": float("inf")},
            {"created": -1e300},
            {"created": 884_541_351_600.0},
            {"created": None},
            {"levelno": "INFO"},
            {"levelno": None},
            {"levelno": Evil()},
            {"levelno": 10**400},
            {"levelname": 5},
            {"name": None},
            {"name": Evil()},
            {"process": "x"},
            {"process": Unhashable()},
            {"threadName": 7},
            {"threadName": Unhashable()},
            {"args": Evil()},
            {"args": 5},
            {"msg": Evil()},
            {"msg": "%s", "args": (Evil(),)},
            {"exc_info": Evil()},
            {"exc_text": 5},
            {"stack_info": Evil()},
            {"component": Evil(), "category": Unhashable(), "outcome": []},
            {"subject": Evil(), "object": {"name": Evil()}, "user": Unhashable()},
            {"x": Evil(), "y": Unhashable()},
            {1: 2, (3,): Evil()},
        ],
    )
    def test_any_attribute_may_be_odd(self, attributes):
        """The entry is strict JSON, at its right time where there is one, and the neighbours are kept."""
        builder = FieldsBuilder()
        for made in (odd(good="kept"), odd(good="kept")):
            made.__dict__.update(attributes)
            fields = builder.build(made)
            read = json.loads(dumps(fields.values))

            assert "kept" == read["good"]
            assert {"time", "level", "message", "logger"} <= read.keys()
            assert type(fields.unix_microseconds) is int
            assert type(fields.levelno) is int

    @pytest.mark.parametrize("name", sorted(vars(logging.LogRecord("", 0, "", 0, "", (), None))))
    def test_any_attribute_may_be_missing(self, name):
        """A record of someone's own making."""
        made = record("said", n=1)
        del made.__dict__[name]
        fields = values(made)

        assert 1 == fields["n"]
        assert name == "msg" or "said" == fields["message"]

    @pytest.mark.parametrize("thing", [None, 5, object(), {}, "text"])
    def test_what_is_no_record_gives_a_minimal_entry(self, thing):
        """It says that there was something."""
        fields = values(thing, host="h")

        assert fields["message"].startswith("a record could not be read: ")
        assert ("error", "h") == (fields["level"], fields["host"])

    def test_bad_arguments_are_told_beside_the_raw_text(self):
        """Also where the caller has used our names for it."""
        fields = values(record("%d", ("x", {"password": "p"}), message_args="mine"))

        assert ("%d", "mine") == (fields["message"], fields["message_args"])
        assert ["x", {"password": "[redacted]"}] == fields["message_args_2"]
        assert fields["message_error"].startswith("TypeError")

    def test_system_exit_passes(self):
        """Whoever ends the program, ends it."""

        class Ending:
            def __str__(self):
                raise SystemExit

        with pytest.raises(SystemExit):
            FieldsBuilder().build(record(x=Ending()))

    def test_records_from_another_process(self):
        """Pickled and made again, as SocketHandler does it."""
        made = record(component="relay", n=1)
        again = logging.makeLogRecord(pickle.loads(pickle.dumps(vars(made))))

        assert values(made) == values(again)


anything = st.one_of(
    *(st.none(), st.text(st.characters(exclude_categories=())), st.integers(), st.floats(), st.binary()),
    *(st.builds(Evil), st.builds(Unhashable), st.builds(ValueError, st.text())),
    st.dictionaries(st.text(), st.floats()),
    st.lists(st.integers()),
)


@given(
    st.dictionaries(
        st.one_of(st.sampled_from(sorted(RESERVED_NAMES | vars(odd()).keys())), st.text(), st.integers()),
        anything,
    )
)
def test_build_never_raises(attributes):
    """Whatever a record carries under whatever name: an entry in strict JSON, time and level first."""
    made = odd()
    made.__dict__.update(attributes)
    names = list(json.loads(dumps(values(made))))

    assert ["time", "level"] == names[:2]


class TestOwnEntries:
    """What the trail tells of itself."""

    def test_trail_stands_last_and_its_reason_in_place(self):
        """No component, no category."""
        builder = FieldsBuilder(service="s", host="h", tags=["a:b"])
        fields = builder.build_own(
            "dropped",
            Severity.WARN,
            "2 lost",
            {"dropped": 2, "ranges": [[1, 2]], "reason": "overflow"},
            unix_seconds=5,
        )

        assert {
            "time": "1970-01-01T00:00:05.000000Z",
            "level": "warn",
            "reason": "overflow",
            "message": "2 lost",
            "logger": "defender_logging",
            "service": "s",
            "host": "h",
            "tags": ["a:b"],
            "trail": "dropped",
            "dropped": 2,
            "ranges": [[1, 2]],
        } == {name: value for name, value in fields.values.items() if name != "process"}
        assert ["trail", "dropped", "ranges"] == list(fields.values)[-3:]
        assert (5_000_000, 30) == (fields.unix_microseconds, fields.levelno)


def test_building_is_cheap():
    """A usual record costs less than a few hundredths of a millisecond, on any machine."""
    builder = FieldsBuilder(service="s")
    made = record(component="relay", category="paused", subject="alice", object="relayer-7", request="r-1")
    begin = time.perf_counter()
    for _ in range(2000):
        builder.build(made)

    assert (time.perf_counter() - begin) / 2000 < 50e-6


@pytest.mark.parametrize("name", ["message", "error_message", "error_stack", "stack_info"])
def test_a_text_of_the_record_is_hidden_when_it_is_listed(name):
    """In the first entry of a kind and in those that follow."""
    builder = FieldsBuilder(redactor=Redactor.from_setting([name]))
    try:
        raise ValueError("x-secret")
    except ValueError:
        error = sys.exc_info()
    for _ in range(2):
        told = record("x-secret")
        told.exc_info, told.stack_info = error, "x-secret"
        assert "[redacted]" == builder.build(told).values[name]
    for _ in range(2):
        assert ("[redacted]" if name == "message" else "m") == builder.build(record()).values["message"]


def test_the_arguments_of_a_hidden_message_are_hidden_too():
    """Where they do not fit, and so are told apart from it."""
    fields = values(record("%d", ("x-secret",)), redactor=Redactor.from_setting(["message"]))

    assert ["[redacted]"] * 2 == [fields["message"], fields["message_args"]]


class TestSecretsInTexts:
    """What looks like a secret is taken out wherever a record says it."""

    TOKEN = "ghp_" + "a1" * 18

    def everything(self):
        """A record that shows the token in each of its places."""
        try:
            try:
                raise KeyError(self.TOKEN)
            except KeyError as error:
                raise ValueError(f"https://u:{self.TOKEN}@host") from error
        except ValueError:
            exc_info = sys.exc_info()
        deep = self.TOKEN
        for _ in range(7):
            deep = {"a": [deep]}
        made = record(
            "%s at %s",
            (self.TOKEN, {"x": self.TOKEN}),
            subject={"id": self.TOKEN, "name": "alice", "other": self.TOKEN},
            object=f"Bearer {self.TOKEN}",
            component=self.TOKEN,
            reason=self.TOKEN,
            note=self.TOKEN,
            deep=deep,
            data=self.TOKEN.encode(),
            **{self.TOKEN: 1},
        )
        made.exc_info, made.stack_info, made.name = exc_info, self.TOKEN, self.TOKEN
        return made

    def test_none_is_left(self):
        """Message and its arguments, typed fields, extras at any depth and their names, exceptions and their causes."""
        for each in twice(self.everything()):
            text = dumps(each).decode()

            assert self.TOKEN not in text
            assert ["[redacted] at {'x': '[redacted]'}", "Bearer [redacted]"] == [
                each["message"],
                each["object"],
            ]
            assert text.count("[redacted]") > 12

    def test_none_is_left_in_a_mended_record(self):
        """A record with odd attributes goes another way."""
        made = self.everything()
        made.process = "odd"

        assert self.TOKEN not in dumps(values(made)).decode()

    def test_a_digest_tells_equal_values_from_others(self):
        """In extras, typed fields, parts of a subject and pairs, also of records like one before."""
        builder = FieldsBuilder(
            redactor=Redactor.from_setting({"add": ["tenant"], "digest_key": "0123456789abcdef"})
        )
        mark = Redactor.from_setting({"digest_key": "0123456789abcdef"}).mark
        for secret in ("one", "two"):
            made = record(
                password=secret, tenant=secret, headers=[("cookie", secret)], deep={"token": secret}, n=1
            )
            fields = builder.build(made).values

            assert [mark(secret)] * 4 == [
                fields["password"],
                fields["tenant"],
                fields["headers"][0][1],
                fields["deep"]["token"],
            ]
        assert mark("one") != mark("two")
