"""Levels: the floor rule, the spellings, and how a level prints."""

from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
from decimal import Decimal

import pytest

from defender_logging.severity import TRACE, Severity, register_trace, shown


class Unhelpful:
    """Raises whatever is asked of it."""

    __hash__ = None

    def __ge__(self, other):
        raise RuntimeError("no")

    @property
    def __class__(self):
        raise RuntimeError("no")


class TestFromLevelno:
    @pytest.mark.parametrize(
        ("levelno", "expected"),
        [
            *((-5, "trace"), (0, "trace"), (1, "trace"), (5, "trace"), (9, "trace"), (True, "trace")),
            *((10, "debug"), (15, "debug"), (19, "debug"), (19.9, "debug")),
            *((20, "info"), (25, "info"), (29, "info"), (20.0, "info"), (Decimal(21), "info")),
            *((30, "warn"), (35, "warn"), (39, "warn")),
            *((40, "error"), (45, "error"), (50, "error"), (60, "error"), (10**400, "error")),
            *((float("inf"), "error"), (float("-inf"), "trace")),
        ],
    )
    def test_gives_the_highest_level_not_above_the_number(self, levelno, expected):
        """The floor rule holds for every number, custom levels and floats among them."""
        assert Severity(expected) is Severity.from_levelno(levelno)

    @pytest.mark.parametrize("odd", [None, "40", "ERROR", float("nan"), [], {}, object(), 1j])
    def test_takes_whatever_is_no_number_for_info(self, odd):
        """A record with an odd level is neither lost to the selection nor an alarm."""
        assert Severity.INFO is Severity.from_levelno(odd)

    def test_runs_no_risk_with_an_object_that_raises(self):
        """What an odd level raises when it is looked at never reaches the caller."""
        assert Severity.INFO is Severity.from_levelno(Unhelpful())

    def test_is_undone_by_levelno(self):
        """Each severity has the number that logging uses, and the number leads back."""
        assert [5, 10, 20, 30, 40] == [severity.levelno for severity in Severity]
        assert list(Severity) == [Severity.from_levelno(severity.levelno) for severity in Severity]


class TestParse:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            *(("trace", "trace"), ("Debug", "debug"), ("INFO", "info"), ("wArN", "warn"), ("error", "error")),
            *(("warning", "warn"), ("WARNING", "warn"), ("critical", "error"), ("Fatal", "error")),
            (Severity.WARN, "warn"),
        ],
    )
    def test_accepts_every_spelling_of_the_table(self, text, expected):
        """Any case, warning, critical and fatal are understood, by the enum's own look-up too."""
        assert expected == Severity.parse(text).value
        assert expected == Severity(text).value

    @pytest.mark.parametrize("wrong", ["", "verbose", "warn ", 20, None, ["info"], b"info"])
    def test_refuses_every_other_value(self, wrong):
        """A wrong level is a ValueError that names what is allowed."""
        for parse in (Severity.parse, Severity):
            with pytest.raises(ValueError, match="choose one of trace, debug, info, warn, error"):
                parse(wrong)

    def test_names_value_and_near_match(self):
        """A typo is answered with the word that was meant."""
        with pytest.raises(ValueError, match=r"level 'infos' \(did you mean 'info'\?\)"):
            Severity.parse("infos")


class TestText:
    def test_is_the_word_wherever_text_is_wanted(self):
        """str, format, %-format, JSON and comparison give the page's word on every Python."""
        info = Severity.INFO
        assert ["info"] * 4 == [str(info), f"{info}", "%s" % info, "{}".format(info)]  # noqa: UP031, UP032
        assert "  info" == f"{info:>6}"
        assert '"info"' == json.dumps(info)
        assert "info" == info
        assert str is type(str(info))

    def test_survives_pickle_as_itself(self):
        """A severity is the same object after a trip between processes."""
        assert Severity.ERROR is pickle.loads(pickle.dumps(Severity.ERROR))


class TestShown:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("a\nb", r"'a\nb'"),
            ("x" * 70, "'" + "x" * 64 + "'..."),
            ("\ud800", r"'\ud800'"),
            (Severity.INFO, "'info'"),
            (7, "7"),
            (None, "None"),
            (True, "True"),
            pytest.param(10**5000, "an object of type int", id="long"),
            ({"password": "hunter2"}, "an object of type dict"),
        ],
    )
    def test_is_short_and_runs_no_code_of_the_value(self, value, expected):
        """Error messages hold any value on one short line."""
        assert expected == shown(value)
        assert "an object of type Unhelpful" == shown(Unhelpful())


class TestTrace:
    def test_is_five(self):
        """TRACE is the number of the trace level."""
        assert 5 == TRACE == Severity.TRACE.levelno

    def test_is_named_only_when_asked(self):
        """Importing changes nothing global; register_trace names level 5 both ways."""
        code = (
            "import logging; from defender_logging.severity import register_trace as r\n"
            "print(logging.getLevelName(5)); r(); r()\n"
            "print(logging.getLevelName(5), logging.getLevelName('TRACE'))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
        )
        assert ["Level 5", "TRACE 5"] == done.stdout.splitlines()

    def test_lets_a_logger_be_set_by_name(self, monkeypatch):
        """After register_trace, setLevel("TRACE") works."""
        monkeypatch.setattr(logging, "_levelToName", dict(logging._levelToName))
        monkeypatch.setattr(logging, "_nameToLevel", dict(logging._nameToLevel))
        register_trace()
        logger = logging.Logger("fresh")
        logger.setLevel("TRACE")
        assert TRACE == logger.level
