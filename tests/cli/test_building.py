"""Our handlers are made as dictConfig makes them, every problem is collected, and nothing else happens."""

import logging
import sys

import pytest

from defender_logging import ApiKeyHandler, SplunkHandler
from defender_logging.cli.building import build

URL = "https://x.example"
OURS = {"class": "defender_logging.ApiKeyHandler", "url": URL}


def handler_from_function():
    """A factory, as ``()`` may name one."""
    return ApiKeyHandler(url=URL)


class OwnHandler(SplunkHandler):
    """A subclass is one of ours."""


@pytest.fixture
def built():
    """Builds the handlers of a mapping and closes them at the end."""
    done = []

    def run(handlers, **rest):
        done.append(build({"version": 1, "handlers": handlers, **rest}))
        return done[-1]

    yield run
    for each in done:
        each.__exit__(None, None, None)


@pytest.mark.parametrize(
    "block",
    [
        OURS,
        {"()": "defender_logging.ApiKeyHandler", "url": URL},
        {"()": "ext://defender_logging.ApiKeyHandler", "url": URL},
        {"()": handler_from_function},
        {"()": OwnHandler, "url": URL, "api_key": "k-123456"},
        {"class": "defender_logging.ApiKeyHandler", "url": "cfg://addresses.main"},
    ],
)
def test_makes_ours_however_they_are_named(built, block):
    """By class, by factory, as a subclass, and with the converters of dictConfig."""
    result = built({"a": block}, addresses={"main": URL})

    assert [] == result.findings
    assert ["a"] == result.ours == list(result.handlers)


def test_gives_formatter_level_and_filters(built):
    """A handler gets what dictConfig would give it."""
    result = built(
        {"a": {**OURS, "formatter": "f", "level": "ERROR", "filters": ["g"]}},
        formatters={"f": {"format": "%(message)s!"}},
        filters={"g": {"name": "here"}},
    )

    handler = result.handlers["a"]
    assert [] == result.findings
    assert ("%(message)s!", logging.ERROR, "here") == (
        handler.formatter._fmt,
        handler.level,
        handler.filters[0].name,
    )


def test_touches_neither_loggers_nor_files_nor_the_mapping(built, tmp_path):
    """Handlers of others are looked up and not made; the given mapping stays as it is."""
    path = tmp_path / "app.log"
    handlers = {
        "file": {"class": "logging.FileHandler", "filename": str(path)},
        "a": {**OURS, "level": "ERROR"},
    }
    before = (list(logging.getLogger().handlers), {name: dict(block) for name, block in handlers.items()})
    result = built(handlers)

    assert ["a"] == result.ours
    assert not path.exists()
    assert before == (list(logging.getLogger().handlers), handlers)


def test_closes_a_stranger_that_a_function_made(built):
    """Calling a function is the only way to know; what is not ours is closed again."""
    made = []

    class Stranger(logging.Handler):
        def close(self):
            made.append("closed")
            super().close()

    result = built({"a": {"()": lambda: Stranger()}})

    assert [] == result.ours
    assert ["closed"] == made


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (None, "is no mapping"),
        ({}, "has no class"),
        ({"class": "defender_logging.SplunkHandlr"}, "did you mean 'defender_logging.SplunkHandler'"),
        ({"class": "defender_loging.SplunkHandler"}, "did you mean 'defender_logging.SplunkHandler'"),
        ({"class": "nowhere_at_all.Handler"}, "is its package installed"),
        ({"class": "SplunkHandler"}, "with its module"),
        ({**OURS, "formatter": "jsn"}, "formatter 'jsn' is not defined; did you mean 'json'?"),
        ({**OURS, "filters": ["nome"]}, "filter 'nome' is not defined"),
        ({**OURS, "filters": "json"}, "filters is 'json'; give a list"),
        ({**OURS, "level": "LOUD"}, "level is 'LOUD'"),
        ({**OURS, "url": "ftp://x"}, "url"),
        ({**OURS, "url": "env:NOT_SET_HERE"}, "NOT_SET_HERE"),
        ({**OURS, "max_queue_bytes": 0}, "max_queue_bytes is 0"),
        ({**OURS, "url": "cfg://nothing.here"}, "nothing"),
        ({"()": lambda: 1 / 0}, "cannot be made: ZeroDivisionError"),
    ],
)
def test_finds_each_mistake(built, block, words):
    """One mistake is one finding, below the handler's name, in words that help."""
    result = built({"a": block}, formatters={"json": {"format": "%(message)s"}})

    assert 1 == len(result.findings)
    assert ("handlers", "a") == result.findings[0].where[:2]
    assert words in result.findings[0].sentence


def test_one_mistake_hides_no_other(built):
    """All problems of all handlers come at once."""
    result = built(
        {
            "a": {**OURS, "formatter": "x", "level": "LOUD", "url": "nothing", "log_types": ["rely"]},
            "b": {"class": "defender_logging.SplunkHandler"},
        },
        formatters={"broken": {"class": "nowhere_at_all.Formatter"}},
        filters={"broken": {"()": "nowhere_at_all.Filter"}},
    )

    assert {
        ("formatters", "broken"): 1,
        ("filters", "broken"): 1,
        ("handlers", "a"): 4,
        ("handlers", "b"): 2,
    } == {
        where: sum(f.where[:2] == where for f in result.findings)
        for where in {f.where[:2] for f in result.findings}
    }


def test_masks_a_key_in_a_strangers_error(built):
    """A factory that prints its arguments in an error cannot show a key."""

    def fail(api_key):
        raise RuntimeError(f"bad key {api_key}")

    result = built({"a": {"()": fail, "api_key": "hunter2-hunter2"}})

    assert "cannot be made: RuntimeError: bad key [key]" == result.findings[0].sentence


def test_closes_its_handlers():
    """After the block the handlers are closed."""
    with build({"handlers": {"a": OURS}}) as result:
        handler = result.handlers["a"]

    assert "closed" == handler.stats().state


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="dictConfig knows the handlers of a QueueHandler from 3.12 on"
)
def test_leaves_a_queue_handler_alone(built):
    """A QueueHandler in front of ours is looked up, not made, so no queue or listener begins."""
    queue = {"class": "logging.handlers.QueueHandler", "handlers": ["a"]}

    assert ["a"] == built({"queue": queue, "a": OURS}).ours
