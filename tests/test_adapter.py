"""The adapter: keywords become fields, nothing raises into the caller, the caller's line is reported."""

from __future__ import annotations

import copy
import inspect
import logging
import pickle
import threading

import pytest

from defender_logging.adapter import DefenderAdapter, get_logger
from defender_logging.context import audit_context
from defender_logging.errors import VocabularyError
from defender_logging.vocabulary import Category, Component, Vocabulary

STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
NAMED = ["component", "category", "subject", "object", "outcome", "src_ip", "user", "reason", "tenant"]


class Collector(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)

    @property
    def last(self):
        return self.records[-1]

    @property
    def fields(self):
        return {name: value for name, value in vars(self.last).items() if name not in STANDARD}


@pytest.fixture
def heard():
    return Collector()


@pytest.fixture
def logger(heard):
    logger = logging.Logger("app", 1)
    logger.addHandler(heard)
    return logger


class Marking(logging.LoggerAdapter):
    """A user's own adapter: it changes the message, and hands the fields on."""

    def process(self, msg, kwargs):
        return f"[{self.extra['mark']}] {msg}", kwargs


class TestKeywords:
    @pytest.mark.parametrize("name", NAMED)
    def test_become_fields_of_the_record(self, logger, heard, name):
        """Each named keyword is an attribute of the record, as given."""
        value = object()
        DefenderAdapter(logger).info("hello %s", "you", **{name: value})
        assert {name: value} == heard.fields
        assert "hello you" == heard.last.getMessage()

    @pytest.mark.parametrize(
        "method", ["debug", "info", "warning", "error", "exception", "critical", "trace"]
    )
    def test_work_with_every_method(self, logger, heard, method):
        """All the methods of a logger take them."""
        getattr(DefenderAdapter(logger), method)("hello", subject="alice")
        DefenderAdapter(logger).log(33, "hello", subject="alice")
        assert ["alice", "alice"] == [record.subject for record in heard.records]

    def test_win_over_extra_and_bound_fields(self, logger, heard):
        """The call's keywords win over its extra, its extra over bound fields."""
        adapter = DefenderAdapter(
            logger, subject="bound", object="bound", reason="bound", extra={"x": "bound"}
        )
        extra = {"subject": "extra", "object": "extra", "y": "extra"}
        adapter.info("hello", subject="call", extra=extra)
        expected = {"subject": "call", "object": "extra", "reason": "bound", "x": "bound", "y": "extra"}
        assert expected == heard.fields
        assert {"subject": "extra", "object": "extra", "y": "extra"} == extra

    def test_mean_not_given_when_none(self, logger, heard):
        """A None keyword neither hides a bound field nor becomes one."""
        DefenderAdapter(logger, subject="alice", tenant=None).info("hello", subject=None, object=None)
        assert {"subject": "alice"} == heard.fields

    def test_are_refused_when_unknown(self, logger, heard):
        """A keyword that is no named one is a TypeError, as with every logger: a typo must not pass for a field."""
        with pytest.raises(TypeError, match="componet"):
            DefenderAdapter(logger).info("hello", componet="relay")
        assert [] == heard.records

    def test_leave_the_logging_modules_own_alone(self, logger, heard):
        """exc_info and stack_info work as ever."""
        error = ValueError("x")
        DefenderAdapter(logger).info("hello", exc_info=error, stack_info=True, subject="alice")
        assert (error, {"subject": "alice"}) == (heard.last.exc_info[1], heard.fields)
        assert "test_adapter" in heard.last.stack_info

    def test_leave_the_context_to_the_formatter(self, logger, heard):
        """Fields of audit_context are not copied here, so that they stay the lowest."""
        with audit_context(user="alice"):
            DefenderAdapter(logger).info("hello")
        assert {} == heard.fields


class TestFieldNames:
    @pytest.mark.parametrize("name", sorted(STANDARD))
    def test_that_a_record_owns_are_renamed(self, logger, heard, name):
        """What the logging module would refuse goes out as extra_<name>, from all three sources."""
        DefenderAdapter(logger).bind(**{name: 1}).info("hello", extra={"other": 2})
        DefenderAdapter(logger).info("hello", extra={name: 1, "other": 2})
        DefenderAdapter(logger).audit("sent", extra={name: 1, "other": 2, "category": "x"})
        expected = {f"extra_{name}": 1, "other": 2}
        fields = [
            {key: value for key, value in vars(record).items() if key in expected} for record in heard.records
        ]
        assert [expected] * 3 == fields

    def test_collide_without_loss(self, logger, heard):
        """A caller who has both names keeps both values."""
        DefenderAdapter(logger).info("hello", extra={"extra_name": 1, "name": 2, "extra_name_2": 3})
        assert {"extra_name": 1, "extra_name_2": 3, "extra_name_3": 2} == heard.fields

    def test_keep_precedence_when_renamed(self, logger, heard):
        """The call's value wins over the bound one, under the new name as well."""
        DefenderAdapter(logger).bind(name="bound").info("hello", extra={"name": "call"})
        assert {"extra_name": "call"} == heard.fields

    def test_that_a_record_factory_sets_are_renamed(self, logger, heard):
        """A factory of the user's own refuses more names; they do not raise either."""

        class Record(logging.LogRecord):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.tenant = "factory"

        original = logging.getLogRecordFactory()
        logging.setLogRecordFactory(Record)
        try:
            DefenderAdapter(logger).info("hello", tenant="call")
            assert {"tenant": "factory", "extra_tenant": "call"} == heard.fields
        finally:
            logging.setLogRecordFactory(original)
        DefenderAdapter(logger).info("hello", tenant="call")
        assert {"tenant": "call"} == heard.fields

    def test_that_an_unusual_factory_cannot_be_asked_for(self, logger, heard):
        """A factory that refuses a look at a record is used as before."""

        def factory(name, *args, **kwargs):
            if not name:
                raise RuntimeError("no name")
            return logging.LogRecord(name, *args, **kwargs)

        original = logging.getLogRecordFactory()
        logging.setLogRecordFactory(factory)
        try:
            DefenderAdapter(logger).info("hello", tenant="call", extra={"name": "x"})
        finally:
            logging.setLogRecordFactory(original)
        assert {"tenant": "call", "extra_name": "x"} == heard.fields

    @pytest.mark.parametrize("odd", ["text", 5, object(), ["text"]])
    def test_of_an_extra_that_is_no_mapping(self, logger, heard, odd):
        """A wrong extra does not raise; it is kept whole."""
        DefenderAdapter(logger).info("hello", extra=odd)
        assert {"extra": odd} == heard.fields


class TestBind:
    def test_returns_a_new_adapter(self, logger, heard):
        """The new adapter has both fields, the new ones winning; the old one is as before."""
        old = DefenderAdapter(logger, component="relay", tenant="a")
        new = old.bind(tenant="b", colour="red", extra={"x": 1}, subject=None)
        new.info("hello")
        assert {"component": "relay", "tenant": "b", "colour": "red", "x": 1} == heard.fields
        old.info("hello")
        assert {"component": "relay", "tenant": "a"} == heard.fields

    def test_takes_every_keyword_as_a_field(self, logger, heard):
        """No name is taken: self, logger, strict and level are fields."""
        DefenderAdapter(logger).bind(self=1, logger=2, strict=3, level=4, vocabulary=5).info("hello")
        assert {"self": 1, "logger": 2, "strict": 3, "level": 4, "vocabulary": 5} == heard.fields

    def test_keeps_class_strictness_and_vocabulary(self, logger):
        """A bound adapter behaves as the one that it came from."""

        class Own(DefenderAdapter):
            pass

        vocabulary = Vocabulary.default().extend(components=["ledger"])
        bound = Own(logger, strict=True, vocabulary=vocabulary).bind(component="ledger")
        assert (Own, True, vocabulary) == (type(bound), bound.strict, bound.vocabulary)


class TestAudit:
    @pytest.mark.parametrize(
        ("category", "levelno", "expected"),
        [
            ("deleted", 30, {"category": "deleted", "outcome": "success"}),
            ("INVALID_SIGN_IN", 30, {"category": "invalid sign in", "outcome": "failure"}),
            (Category.SIGNED_IN, 20, {"category": "signed in", "outcome": "success"}),
            ("exceeded", 30, {"category": "exceeded"}),
            ("exploded", 20, {"category": "exploded"}),
            (5, 20, {"category": 5}),
            (None, 20, {}),
        ],
    )
    def test_uses_the_categorys_level_and_outcome(self, logger, heard, category, levelno, expected):
        """The category says level and outcome; an unknown one is info, as given, and does not raise."""
        DefenderAdapter(logger).audit(category)
        assert (levelno, "", expected) == (heard.last.levelno, heard.last.getMessage(), heard.fields)

    def test_takes_message_and_any_field(self, logger, heard):
        """Every keyword is a field, names of the logging module's arguments too; a % stays a %."""
        DefenderAdapter(logger, tenant="acme").audit(
            "sent",
            "100 % done",
            subject="alice",
            colour="red",
            msg=1,
            level=2,
            self=3,
            args=4,
            extra={"x": 5},
        )
        assert "100 % done" == heard.last.getMessage()
        assert {
            "category": "sent",
            "tenant": "acme",
            "subject": "alice",
            "colour": "red",
            "extra_msg": 1,
            "level": 2,
            "self": 3,
            "extra_args": 4,
            "x": 5,
        } == heard.fields

    def test_takes_its_arguments_by_name(self, logger, heard):
        """category and message may be named."""
        DefenderAdapter(logger).audit(category="sent", message="hello")
        assert ("hello", {"category": "sent"}) == (heard.last.getMessage(), heard.fields)

    def test_lets_everybody_override_the_outcome(self, logger, heard):
        """Keyword, extra, bound field and context all win over the category's default; None does not."""
        DefenderAdapter(logger).audit("deleted", outcome="failure")
        DefenderAdapter(logger).audit("deleted", extra={"outcome": "failure"})
        DefenderAdapter(logger, outcome="failure").audit("deleted")
        DefenderAdapter(logging.LoggerAdapter(logger, {"outcome": "failure"})).audit("deleted")
        DefenderAdapter(DefenderAdapter(logger, outcome="failure")).audit("deleted")
        DefenderAdapter(logger).audit("deleted", outcome=None)
        assert ["failure"] * 5 + ["success"] == [record.outcome for record in heard.records]
        with audit_context(outcome="failure"):
            DefenderAdapter(logger).audit("deleted")
        assert {"category": "deleted"} == heard.fields

    def test_uses_its_vocabulary(self, logger, heard):
        """A user's own category has its own level and outcome."""
        vocabulary = Vocabulary.default().extend(
            categories={"lost": {"level": "error", "outcome": "failure"}}
        )
        DefenderAdapter(logger, vocabulary=vocabulary).audit("Lost")
        assert (40, {"category": "lost", "outcome": "failure"}) == (heard.last.levelno, heard.fields)

    def test_keeps_the_logging_modules_keywords(self, logger, heard):
        """exc_info and stack_info are no fields."""
        error = ValueError("x")
        try:
            raise error
        except ValueError:
            DefenderAdapter(logger).audit("sent", exc_info=True, stack_info=True)
        assert error is heard.last.exc_info[1]
        assert heard.last.stack_info.startswith("Stack")
        assert {"category": "sent"} == heard.fields


class TestLevels:
    def test_cost_nothing_below_the_loggers(self, logger, heard):
        """A call below the logger's level does not look at its fields."""

        class Untouchable(dict):
            def keys(self):
                raise AssertionError("looked at")

            __iter__ = items = __getitem__ = keys

        logger.setLevel(logging.ERROR)
        adapter = DefenderAdapter(logger, strict=True)
        adapter.info("hello", extra=Untouchable(x=1), colour="red")
        adapter.trace("hello", extra=Untouchable(x=1))
        adapter.audit("sent", extra=Untouchable(x=1))
        assert [] == heard.records

    def test_trace_logs_at_five(self, logger, heard):
        """trace takes arguments as info does."""
        DefenderAdapter(logger).trace("hello %s", "you", subject="alice")
        assert (5, "hello you", {"subject": "alice"}) == (
            heard.last.levelno,
            heard.last.getMessage(),
            heard.fields,
        )


class TestStrict:
    @pytest.mark.parametrize(
        ("fields", "complaint"),
        [
            ({"component": "rely"}, "component 'rely' (did you mean 'relay'?)"),
            ({"category": "deletd"}, "category 'deletd' (did you mean 'deleted'?)"),
            ({"outcome": "succes"}, "outcome 'succes' (did you mean 'success'?)"),
            ({"extra": {"component": "rely"}}, "component 'rely'"),
            ({"componet": "relay"}, "unknown keyword 'componet' (did you mean 'component'?)"),
            ({"srcip": "::1"}, "did you mean 'src_ip'?"),
        ],
    )
    def test_raises_before_anything_is_logged(self, logger, heard, fields, complaint):
        """A wrong word or keyword is a VocabularyError with value and near match."""
        with pytest.raises(VocabularyError) as caught:
            DefenderAdapter(logger, strict=True).info("hello", **fields)
        assert complaint in str(caught.value)
        assert [] == heard.records

    def test_checks_bound_fields_and_audit(self, logger, heard):
        """A wrong word raises wherever it came from, all of them in one error."""
        with pytest.raises(VocabularyError, match="rely"):
            DefenderAdapter(logger, strict=True, component="rely").info("hello")
        with pytest.raises(VocabularyError, match=r"'rely'.*; category 'exploded'.*; outcome 'bad'"):
            DefenderAdapter(logger, strict=True).audit("exploded", component="rely", outcome="bad")
        assert [] == heard.records

    def test_lets_right_words_pass_in_any_spelling(self, logger, heard):
        """Aliases, enum members, other fields of audit and extra are fine; values stay as given."""
        adapter = DefenderAdapter(logger, strict=True)
        adapter.info("hello", component="relayers", category="Signed_In", outcome="SUCCESS", subject_type="x")
        assert ("relayers", "Signed_In", "SUCCESS", "x") == tuple(heard.fields.values())
        adapter.audit(Category.SENT, component=Component.RELAY, colour="red")
        adapter.info("hello", extra={"colour": "red", "component": None})
        assert 3 == len(heard.records)

    def test_knows_the_vocabulary_given(self, logger, heard):
        """A user's own component is right."""
        vocabulary = Vocabulary.default().extend(components=["ledger"])
        DefenderAdapter(logger, strict=True, vocabulary=vocabulary).info("hello", component="ledger")
        assert {"component": "ledger"} == heard.fields

    def test_is_off_by_default(self, logger, heard):
        """In production a wrong word goes out as given."""
        DefenderAdapter(logger).info("hello", component="rely", outcome=object)
        assert {"component": "rely", "outcome": object} == heard.fields


ADAPTERS = {
    "over a logger": DefenderAdapter,
    "over a plain adapter": lambda logger: DefenderAdapter(logging.LoggerAdapter(logger, {})),
    "over a user's adapter": lambda logger: DefenderAdapter(Marking(logger, {"mark": "x"})),
    "over one of ours": lambda logger: DefenderAdapter(DefenderAdapter(logger)),
    "over a user's over one of ours": lambda logger: DefenderAdapter(
        Marking(DefenderAdapter(logger), {"mark": "x"})
    ),
    "over ours over a user's": lambda logger: DefenderAdapter(
        DefenderAdapter(Marking(logger, {"mark": "x"}))
    ),
}


class Wrapped(DefenderAdapter):
    """A user's subclass with a process of its own around ours."""

    def process(self, msg, kwargs):
        return super().process(msg, kwargs)


@pytest.mark.parametrize("make", [*ADAPTERS.values(), Wrapped], ids=[*ADAPTERS, "subclass"])
class TestCaller:
    def test_is_the_users_line(self, logger, heard, make):
        """trace, audit, log and the stdlib's own methods report the line of the call."""
        adapter = make(logger)
        adapter.info("x")
        adapter.log(20, "x")
        adapter.trace("x")
        adapter.audit("sent")
        first = inspect.currentframe().f_lineno - 4
        name = inspect.currentframe().f_code.co_name
        expected = [(first + number, __file__, name) for number in range(4)]
        assert expected == [(record.lineno, record.pathname, record.funcName) for record in heard.records]

    def test_is_further_up_with_stacklevel(self, logger, heard, make):
        """stacklevel counts the user's frames only, for every method, however adapters are stacked."""
        adapter = make(logger)

        def helper(stacklevel):
            adapter.info("x", stacklevel=stacklevel)
            adapter.log(20, "x", stacklevel=stacklevel)
            adapter.trace("x", stacklevel=stacklevel)
            adapter.audit("sent", stacklevel=stacklevel)

        def outer(stacklevel):
            helper(stacklevel)

        for stacklevel in (1, 2, 3):
            outer(stacklevel)
        names = ["helper"] * 4 + ["outer"] * 4 + ["test_is_further_up_with_stacklevel"] * 4
        assert names == [record.funcName for record in heard.records]

    def test_is_the_outermost_when_stacklevel_is_too_large(self, logger, heard, make):
        """A stacklevel beyond the stack does not raise."""
        adapter = make(logger)
        thread = threading.Thread(target=lambda: adapter.audit("sent", stacklevel=10_000))
        thread.start()
        thread.join(10)
        assert 1 == len(heard.records)


class TestStacking:
    def test_keeps_the_fields_of_all_adapters(self, logger, heard):
        """Over ours and over plain adapters, every field arrives; the outer ones win."""
        inner = DefenderAdapter(logger, component="relay", tenant="inner")
        DefenderAdapter(inner, tenant="outer").info("hello", subject="alice")
        assert {"component": "relay", "tenant": "outer", "subject": "alice"} == heard.fields
        plain = logging.LoggerAdapter(logging.LoggerAdapter(logger, {"a": 1, "b": 1}), {"b": 2, "c": 2})
        DefenderAdapter(plain, c=3).info("hello", subject="alice")
        assert {"a": 1, "b": 2, "c": 3, "subject": "alice"} == heard.fields

    def test_reads_a_plain_adapters_fields_at_each_call(self, logger, heard):
        """Fields set on the plain adapter later are seen; one without any is fine."""
        plain = logging.LoggerAdapter(logger, {})
        adapter = DefenderAdapter(plain)
        plain.extra["request"] = 7
        adapter.info("hello")
        assert {"request": 7} == heard.fields
        DefenderAdapter(logging.LoggerAdapter(logger, None)).info("hello")
        assert {} == heard.fields

    def test_runs_the_process_of_a_users_adapter(self, logger, heard):
        """An adapter that changes messages still does."""
        DefenderAdapter(Marking(logger, {"mark": "x"}), component="relay").info("hello")
        assert ("[x] hello", {"component": "relay"}) == (heard.last.getMessage(), heard.fields)

    def test_works_below_a_users_adapter(self, logger, heard):
        """Another adapter may stand over ours and pass keywords down."""
        Marking(DefenderAdapter(logger, component="relay"), {"mark": "x"}).info("hello", subject="alice")
        assert {"component": "relay", "subject": "alice"} == heard.fields


class TestObject:
    def test_get_logger_is_an_adapter_over_the_named_logger(self):
        """The name leads to the logging module's logger; no name, to the root; fields are bound."""
        adapter = get_logger("test_adapter.named", component="relay", strict=True)
        assert logging.getLogger("test_adapter.named") is adapter.logger
        assert ({"component": "relay"}, True) == (adapter.extra, adapter.strict)
        assert logging.getLogger() is get_logger().logger

    def test_shows_logger_level_and_names_but_no_values(self, logger):
        """The repr helps without telling a secret."""
        logger.setLevel(logging.INFO)
        adapter = DefenderAdapter(logger, strict=True, component="relay", token="hunter2")
        assert "<DefenderAdapter app (INFO) with component, token, strict>" == repr(adapter)
        assert "<DefenderAdapter app (INFO) with no fields>" == repr(DefenderAdapter(logger))

    def test_survives_pickle_and_copy(self):
        """A copy logs to the same logger with the same fields and words."""
        vocabulary = Vocabulary.default().extend(components=["ledger"])
        adapter = get_logger("test_adapter.pickled", strict=True, vocabulary=vocabulary, component="ledger")
        for twin in (pickle.loads(pickle.dumps(adapter)), copy.copy(adapter), copy.deepcopy(adapter)):
            assert adapter.logger is twin.logger
            assert (adapter.extra, True, vocabulary) == (twin.extra, twin.strict, twin.vocabulary)

    def test_is_a_logger_adapter(self, logger):
        """Code that asks for the standard type, its level or its handlers is content."""
        adapter = DefenderAdapter(logger)
        adapter.setLevel(logging.ERROR)
        assert isinstance(adapter, logging.LoggerAdapter)
        assert (logging.ERROR, True, "app") == (
            adapter.getEffectiveLevel(),
            adapter.hasHandlers(),
            adapter.name,
        )
