"""DefenderFormatter: one entry as one JSON line, on any handler of the standard library."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import platform

import pytest
from freezegun import freeze_time

from defender_logging.formatting import DefenderFormatter
from defender_logging.vocabulary import Vocabulary


def record(message="m", **extra):
    """A record as ``logger.info(message, extra=...)`` makes it."""
    return logging.getLogger("app").makeRecord("app", logging.INFO, "f.py", 7, message, (), None, "f", extra)


def line(*arguments, made=None, **settings):
    """Return the entry that a formatter writes."""
    return json.loads(DefenderFormatter(*arguments, **settings).format(made or record()))


@freeze_time("2026-07-01 12:00:00")
def test_it_writes_the_entry_without_what_belongs_to_delivery():
    """In the order of the wire, schema last."""
    made = record(component="relay", category="paused", subject="alice", object="relayer-7", n=1)
    made.process, made.threadName = 1, "main"

    assert (
        '{"time":"2026-07-01T12:00:00.000000Z","level":"info","component":"relay","category":"paused",'
        '"subject":"alice","object":"relayer-7","outcome":"success","message":"m","logger":"app","levelname":"INFO",'
        '"service":"s","environment":"e","host":"h","process":1,"thread":"main","tags":["a:b"],"n":1,"schema":"1"}'
    ) == DefenderFormatter(service="s", environment="e", host="h", tags={"a": "b"}).format(made)


def test_the_host_is_this_one_unless_told():
    """As with the handlers."""
    assert platform.node() == line()["host"]


@pytest.mark.parametrize("code", [0, 0xA, 0xD, 0x1B, 0x85, 0x2028, 0x202E, 0xFEFF])
def test_nothing_can_make_a_second_line(code):
    """In no field, name or message."""
    character = chr(code)
    text = DefenderFormatter().format(record(f"a{character}b", **{f"k{character}": f"v{character}"}))

    assert character not in text
    assert f"v{character}" == json.loads(text)[f"k{character}"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("%(pathname)s %(lineno)d %(funcName)s",), {"pathname": "f.py", "lineno": 7, "funcName": "f"}),
        (("{lineno} {message}", None, "{"), {"lineno": 7}),
        (("${lineno}", None, "$"), {"lineno": 7}),
        (("%(asctime)s %(levelname)s %(name)s %(message)s %(exc_info)s %(unknown)s",), {}),
        ((None, "%Y"), {}),
        (("no fields", None, "%", False), {}),
    ],
)
def test_fmt_adds_attributes_that_the_entry_does_not_have(arguments, expected):
    """By position, as dictConfig passes them."""
    found = line(*arguments)

    assert expected == {
        name: found[name] for name in found if name in {"pathname", "lineno", "funcName", "asctime"}
    }
    assert found.keys() >= {"message", "logger", "levelname"}


def test_it_works_from_dict_config():
    """With keywords, and without any."""
    stream = io.StringIO()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "entry": {
                    "()": "defender_logging.formatting.DefenderFormatter",
                    "fmt": "%(lineno)d",
                    "service": "s",
                    "tags": ["a:b"],
                    "vocabulary": {"components": ["billing"]},
                    "redact": {"only": ["amount"]},
                },
                "bare": {"class": "defender_logging.formatting.DefenderFormatter", "format": "%(message)s"},
            },
            "handlers": {
                "out": {"class": "logging.StreamHandler", "stream": stream, "formatter": "entry"},
                "bare": {"class": "logging.StreamHandler", "stream": stream, "formatter": "bare"},
            },
            "loggers": {
                "test_formatting": {"handlers": ["out", "bare"], "level": "INFO", "propagate": False}
            },
        }
    )
    try:
        logging.getLogger("test_formatting").info(
            "m", extra={"component": "billing", "amount": 1, "password": "p"}
        )
    finally:
        logging.getLogger("test_formatting").handlers.clear()
    entry, bare = map(json.loads, stream.getvalue().splitlines())

    assert ("s", ["a:b"], "billing") == (entry["service"], entry["tags"], entry["component"])
    assert ("[redacted]", "p") == (entry["amount"], entry["password"])
    assert "lineno" in entry
    assert "vocabulary_errors" not in entry
    assert (1, "[redacted]") == (bare["amount"], bare["password"])
    assert "vocabulary_errors" in bare


def test_a_ready_vocabulary_is_taken_too():
    """Not only the mapping of dictConfig."""
    vocabulary = Vocabulary.default().extend(components=["billing"])

    assert "vocabulary_errors" not in line(made=record(component="billing"), vocabulary=vocabulary)


@pytest.mark.parametrize(
    "settings", [{"redact": "password"}, {"vocabulary": {"component": []}}, {"vocabulary": 5}]
)
def test_wrong_settings_are_refused_at_construction(settings):
    """Not at the first record."""
    with pytest.raises(ValueError):
        DefenderFormatter(**settings)


def test_it_never_raises():
    """Not even for what is no record."""
    assert "a record could not be read" in DefenderFormatter().format(object())


def test_python_json_loggers_own_method_writes_strict_json():
    """Whoever calls it gets what the class promises."""
    assert '{"a":"NaN"}' == DefenderFormatter().jsonify_log_record({"a": float("nan")})
