"""Reading a record: its message, its error, and a mended copy of an odd one."""

from __future__ import annotations

import logging
import sys
import time
import types

import pytest

from defender_logging.record_reading import STANDARD_ATTRIBUTES, error_fields, mended, message_of
from defender_logging.redaction import Redactor

REDACTOR = Redactor()


def record(message="m", arguments=(), **attributes):
    """A record as a log call makes it, with some attributes changed."""
    made = logging.LogRecord("app", logging.INFO, "f.py", 1, message, arguments, None)
    made.__dict__.update(attributes)
    return made


class Evil:
    """Raises when printed."""

    def __str__(self):
        raise KeyError("no")

    __repr__ = __str__


class TestMessage:
    """What a record says."""

    @pytest.mark.parametrize(
        ("message", "arguments", "expected"),
        [
            ("plain", (), "plain"),
            ("100%", (), "100%"),
            ("%s is %d", ("a", 1), "a is 1"),
            ("%(a)s", ({"a": 1},), "1"),
            ("x\ud800", (), "x\ufffd"),
            ("%s", ("\ud800",), "\ufffd"),
            ("", (), ""),
            (None, (), "None"),
            (5, (), "5"),
            (ValueError("bad"), (), "bad"),
            ({"b": 1, "password": "x"}, (), '{"b":1,"password":"[redacted]"}'),
            (types.MappingProxyType({"a": 1}), (), '{"a":1}'),
            (["a", {"token": "x"}], (), "['a', {'token': '[redacted]'}]"),
            (Evil(), (), "<Evil: unprintable, KeyError>"),
        ],
    )
    def test_it_is_text(self, message, arguments, expected):
        """Whatever was logged as the message."""
        assert (expected, {}) == message_of(record(message, arguments), REDACTOR)

    @pytest.mark.parametrize(
        ("message", "arguments", "error"),
        [
            ("%d", ("x",), "TypeError: "),
            ("%s %s", ("x",), "TypeError: not enough arguments"),
            ("none", ("x",), "TypeError: not all arguments"),
            ("%(b)s", ({"a": 1},), "KeyError: "),
            ("%z", (1,), "ValueError: unsupported format"),
            ("%s", (Evil(),), "KeyError: 'no'"),
            ({"a": 1}, (1,), "TypeError: not all arguments"),
        ],
    )
    def test_wrong_arguments_leave_the_raw_text_and_are_told(self, message, arguments, error):
        """Nothing is lost: text, arguments and the reason."""
        made = record(message, arguments)
        text, notes = message_of(made, REDACTOR)

        assert str(message) == text
        assert made.args == notes["message_args"]
        assert notes["message_error"].startswith(error)

    def test_a_records_own_way_to_make_its_message_is_used(self):
        """A subclass may format with braces."""

        class Braces(logging.LogRecord):
            def getMessage(self):
                return self.msg.format(*self.args)

        assert "a-b" == message_of(Braces("n", 20, "", 0, "{}-{}", ("a", "b"), None), REDACTOR)[0]

    def test_system_exit_passes(self):
        """Not ours to swallow."""

        class Ending:
            def __str__(self):
                raise SystemExit

        with pytest.raises(SystemExit):
            message_of(record("%s", (Ending(),)), REDACTOR)


def raised(error):
    """Return exc_info of an error that was raised."""
    try:
        raise error
    except type(error):
        return sys.exc_info()


class TestErrors:
    """Exceptions and stacks."""

    def test_an_exception_gives_type_message_and_stack(self):
        """The stack is the traceback as Python prints it."""
        fields = error_fields(vars(record(exc_info=raised(ValueError("bad")))))

        assert ["error_type", "error_message", "error_stack"] == list(fields)
        assert ("ValueError", "bad") == (fields["error_type"], fields["error_message"])
        assert fields["error_stack"].startswith("Traceback (most recent call last):\n")
        assert fields["error_stack"].endswith("\nValueError: bad")

    def test_an_exception_that_cannot_be_printed_has_a_type(self):
        """Its own str() raises; the stack is still there."""

        class Broken(Exception):
            def __str__(self):
                raise KeyError

        fields = error_fields(vars(record(exc_info=raised(Broken()))))

        assert "Broken" == fields["error_type"]
        assert "<Broken: unprintable, KeyError>" == fields["error_message"]
        assert "Traceback" in fields["error_stack"]

    def test_a_chained_loop_ends(self):
        """Two exceptions that are each other's cause."""
        first, second = ValueError("first"), KeyError("second")
        first.__cause__, second.__cause__ = second, first
        stack = error_fields(vars(record(exc_info=raised(first))))["error_stack"]

        assert "first" in stack
        assert "second" in stack

    def test_a_huge_chain_costs_little(self):
        """Ten thousand exceptions chained are told, not printed."""
        error = ValueError("last")
        link = error
        for number in range(10_000):
            link.__context__ = ValueError(str(number))
            link = link.__context__
        begin = time.perf_counter()
        stack = error_fields(vars(record(exc_info=raised(error))))["error_stack"]

        assert "ValueError: last" in stack
        assert "more than 32" in stack
        assert time.perf_counter() - begin < 2

    @pytest.mark.parametrize("exc_info", [(None, None, None), (), True, "text", (1, 2), (1, 2, 3), object()])
    def test_what_is_no_exception_gives_no_fields(self, exc_info):
        """An odd exc_info is no error of its own."""
        assert {} == error_fields(vars(record(exc_info=exc_info)))

    def test_a_bare_exception_is_one_too(self):
        """makeLogRecord takes anything as exc_info."""
        assert "bad" == error_fields(vars(record(exc_info=ValueError("bad"))))["error_message"]

    @pytest.mark.parametrize(
        ("exc_text", "error_type", "error_message"),
        [
            ("Traceback\n  File\nValueError: bad: worse", "ValueError", "bad: worse"),
            ("Traceback\n  File\nmy.module.Error: bad\n", "Error", "bad"),
            ("Traceback\nKeyError", "KeyError", ""),
            ("Traceback\nValueError: a\n  second line", None, None),
        ],
    )
    def test_a_formatted_exception_is_read(self, exc_text, error_type, error_message):
        """Behind a queue only the text has arrived; its last line mostly tells the type."""
        fields = error_fields(vars(record(exc_text=exc_text)))

        assert (error_type, error_message) == (fields.get("error_type"), fields.get("error_message"))
        assert exc_text == fields["error_stack"]

    def test_stack_info_is_kept(self):
        """As text."""
        assert {"stack_info": "Stack:\n  f.py"} == error_fields(vars(record(stack_info="Stack:\n  f.py")))


class TestMending:
    """Odd records."""

    @pytest.mark.parametrize(
        ("name", "value", "expected", "kept"),
        [
            ("name", None, "root", None),
            ("name", 5, "5", None),
            ("name", Evil(), "<Evil: unprintable, KeyError>", None),
            ("levelname", b"INFO", "b'INFO'", None),
            ("threadName", None, None, None),
            ("levelno", "x", 20, "x"),
            ("levelno", None, 20, None),
            ("created", -1e30, -62_135_596_800, -1e30),
            ("process", "x", None, "x"),
        ],
    )
    def test_a_wrong_attribute_is_replaced_and_kept(self, name, value, expected, kept):
        """The mended one has the right type; a value that could not be used is an extra."""
        good = mended(record(**{name: value}), REDACTOR)

        if expected is not None or name == "threadName":
            assert expected == getattr(good, name)
        assert kept == getattr(good, f"record_{name}", None)

    def test_the_level_of_a_known_name_is_taken(self):
        """A record whose number is odd still has its name."""
        assert logging.ERROR == mended(record(levelno="?", levelname="ERROR"), REDACTOR).levelno

    @pytest.mark.parametrize("created", ["x", None, float("nan"), [], {}])
    def test_a_time_that_is_none_becomes_now(self, created):
        """No time at all is worse."""
        assert abs(time.time() - mended(record(created=created), REDACTOR).created) < 60

    def test_missing_attributes_are_there_again(self):
        """Every standard attribute, even of a record that has none."""
        bare = logging.LogRecord.__new__(logging.LogRecord)

        assert vars(mended(bare, REDACTOR)).keys() >= STANDARD_ATTRIBUTES - {"message", "asctime", "taskName"}

    def test_the_record_itself_is_not_changed(self):
        """Other handlers get the very same record."""
        odd = record(name=5, created="x", component=["relay"])
        before = dict(vars(odd))
        mended(odd, REDACTOR)

        assert before == vars(odd)


def test_a_record_factory_of_the_application_changes_nothing():
    """What is standard is asked of LogRecord itself."""
    assert "tenant" not in STANDARD_ATTRIBUTES
    assert {"name", "msg", "args", "process", "taskName", "message"} <= STANDARD_ATTRIBUTES


def test_a_mended_word_shows_no_secret():
    """A structure given for a word becomes text only after redaction."""
    new = mended(record(component={"password": "x-secret"}, created="odd"), REDACTOR)

    assert "{'password': '[redacted]'}" == new.component
