"""The handler's own formatter: a text becomes the message, a JSON object the extras."""

from __future__ import annotations

import logging
import sys

import pytest
from pythonjsonlogger.json import JsonFormatter

from defender_logging.field_names import RESERVED_NAMES
from defender_logging.fields_building import FieldsBuilder
from defender_logging.formatter_output import json_object
from defender_logging.formatting import DefenderFormatter


def record(message="m", arguments=(), /, **extra):
    """A record as ``logger.info(message, extra=...)`` makes it."""
    return logging.getLogger("app").makeRecord(
        "app", logging.INFO, "f.py", 7, message, arguments, None, "f", extra
    )


def values(made, formatter, **settings):
    """Return the fields of a record that goes through a formatter."""
    return FieldsBuilder(**settings).build(made, formatter).values


def extras(fields):
    """Return the fields that are not the entry's own."""
    return {name: value for name, value in fields.items() if name not in RESERVED_NAMES}


class TestPlain:
    """Formatters that write text."""

    def test_its_text_becomes_the_message(self):
        """Extras and typed fields are written as ever."""
        fields = values(
            record("said %s", ("x",), component="relay", n=1),
            logging.Formatter("[%(levelname)s] %(message)s"),
        )

        assert ("[INFO] said x", "relay", 1) == (fields["message"], fields["component"], fields["n"])

    def test_the_record_stays_as_it_is(self):
        """A formatter leaves message, asctime and exc_text on what it is given: a copy."""
        try:
            raise ValueError("bad")
        except ValueError:
            made = record()
            made.exc_info = sys.exc_info()
        before = dict(vars(made))
        values(made, logging.Formatter("%(asctime)s %(message)s"))

        assert before == vars(made)

    @pytest.mark.parametrize("result", [None, 5, b"x", ValueError("no"), SyntaxError()])
    def test_one_that_fails_is_told(self, result):
        """The record's own message is written, and what went wrong."""

        class Failing(logging.Formatter):
            def format(self, record):
                if isinstance(result, Exception):
                    raise result
                return result

        fields = values(record("said", formatter_error="mine"), Failing())

        assert "said" == fields["message"]
        assert "mine" == fields["formatter_error"]
        assert fields["formatter_error_2"].startswith(("TypeError: ", "ValueError: no", "SyntaxError: "))

    def test_system_exit_passes(self):
        """Whoever ends the program, ends it."""

        class Ending(logging.Formatter):
            def format(self, record):
                raise SystemExit

        with pytest.raises(SystemExit):
            values(record(), Ending())

    def test_a_message_that_is_json_forges_nothing(self):
        """Text that users can write is text."""
        forged = '{"component": "account", "category": "signed in", "time": "2000"}'

        class Own(logging.Formatter):
            def format(self, record):
                return record.getMessage()

        class Masking(logging.Formatter):
            def format(self, record):
                return super().format(record).replace("2000", "****").strip()

        for formatter in (logging.Formatter("%(message)s"), Own(), Masking()):
            fields = values(record(forged + "\n"), formatter)
            assert forged == fields["message"].replace("****", "2000").strip()
            assert "component" not in fields


class TestJson:
    """Formatters that write a JSON object."""

    def test_its_keys_take_the_place_of_the_extras(self):
        """Renamed and added keys are written, the record's own extras only as it writes them."""
        formatter = JsonFormatter("%(lineno)s", rename_fields={"n": "count"}, static_fields={"team": "t"})

        assert {"lineno": 7, "count": 1, "team": "t"} == extras(values(record(n=1), formatter))

    def test_typed_fields_come_from_it(self):
        """With vocabulary, flattening and outcome; what it leaves out comes from the record."""
        formatter = JsonFormatter("%(message)s", reserved_attrs=["tenant", *vars(record()), "message"])
        fields = values(
            record(component="relayers", category="paused", subject={"name": "al", "id": 1}, tenant="acme"),
            formatter,
        )

        assert ("relay", "paused", "success", "al", "1", "acme") == tuple(
            fields[name] for name in ("component", "category", "outcome", "subject", "subject_id", "tenant")
        )

    def test_what_is_ours_stays_ours(self):
        """Time, level and ids of another are moved, and not doubled where they say the same."""
        formatter = JsonFormatter(
            "%(levelname)s %(process)d %(name)s",
            static_fields={"time": "theirs", "level": "INFO", "id": "5", "status": "s"},
        )
        fields = values(record(), formatter, reserved_names=frozenset({"status"}))

        assert "info" == fields["level"]
        assert {
            "name": "app",
            "extra_time": "theirs",
            "extra_level": "INFO",
            "extra_id": "5",
            "extra_status": "s",
        } == extras(fields)

    def test_a_traceback_is_written_once(self):
        """Its exc_info says what our error_stack says."""
        try:
            raise ValueError("bad")
        except ValueError:
            made = record()
            made.exc_info = sys.exc_info()
        fields = values(made, JsonFormatter("%(message)s"))

        assert "ValueError" == fields["error_type"]
        assert {} == extras(fields)

    def test_its_message_is_taken(self):
        """A formatter may change it."""

        class Shouting(JsonFormatter):
            def process_log_record(self, log_data):
                log_data["message"] = log_data["message"].upper()
                return log_data

        assert "SAID" == values(record("said"), Shouting("%(message)s"))["message"]

    def test_a_prefix_is_no_obstacle(self):
        """Some write one for their collector."""
        assert {"n": 1} == extras(values(record(n=1), JsonFormatter("%(message)s", prefix="@cee: ")))

    def test_it_is_redacted(self):
        """By name, at every depth."""
        formatter = JsonFormatter("%(message)s", static_fields={"api_key": "x"})

        assert {"api_key": "[redacted]", "deep": {"token": "[redacted]"}} == extras(
            values(record(deep={"token": "x"}), formatter)
        )

    def test_a_message_that_is_a_mapping_becomes_extras(self):
        """As python-json-logger does it."""
        fields = values(record({"n": 1, "component": "relay"}), JsonFormatter("%(message)s"))

        assert (1, "relay", "") == (fields["n"], fields["component"], fields["message"])


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", '{"a": 1} x', "null", '"x"', "x", "{'a': 1}", "[" * 100_000, '{"a":' * 100_000]
)
def test_what_is_no_object_is_text(text):
    """Whatever it begins like."""
    assert json_object(JsonFormatter(), text) is None


class TestDefenderFormatter:
    """Our own formatter on one of our own handlers."""

    def test_its_settings_complete_those_of_the_handler(self):
        """The handler's win; both redact."""
        formatter = DefenderFormatter(
            "%(lineno)d",
            service="theirs",
            environment="prod",
            tags=["a:b"],
            static_fields={"team": "theirs", "x": 1},
            vocabulary={"components": ["billing"]},
            redact=["amount"],
        )
        made = record(component="billing", amount=5, password="p")
        settings = {"service": "ours", "host": "h", "static_fields": {"team": "ours"}}
        fields = values(made, formatter, **settings)

        assert ("ours", "prod", "h", ["a:b"]) == tuple(
            fields[n] for n in ("service", "environment", "host", "tags")
        )
        assert {
            "team": "ours",
            "x": 1,
            "lineno": 7,
            "amount": "[redacted]",
            "password": "[redacted]",
        } == extras(fields)
        assert "vocabulary_errors" not in fields
        assert "schema" not in fields

    def test_a_subclass_that_writes_something_else_is_asked(self):
        """Its output counts, as that of any formatter."""

        class Text(DefenderFormatter):
            def format(self, record):
                return "text"

        assert "text" == values(record(), Text())["message"]
