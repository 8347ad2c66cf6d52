"""Around the handlers: what keeps records from them, and what dictConfig passes over in silence."""

import logging

import pytest

from defender_logging.cli.building import build
from defender_logging.cli.review import Routes, Source, review

BLOCK = {"class": "defender_logging.ApiKeyHandler", "url": "https://x.example"}


def config(**changes):
    """A configuration in which nothing is wrong, but for the changes; None takes a part out."""
    parts = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"a": BLOCK},
        "root": {"level": "INFO", "handlers": ["a"]},
        **changes,
    }
    return {name: part for name, part in parts.items() if part is not None}


def findings(mapping, **options):
    with build(mapping) as built:
        return review(mapping, built, **options)


def test_finds_nothing_in_a_good_configuration():
    """No problem and no note."""
    assert [] == findings(config())


@pytest.mark.parametrize(
    ("changes", "where", "words"),
    [
        ({"version": None}, "version", "is missing"),
        ({"version": 2}, "version", "is 2"),
        ({"incremental": True}, "incremental", "no handler is made"),
        ({"logers": {}}, "logers", "did you mean 'loggers'?"),
        ({"formatters": ["x"]}, "formatters", "is no mapping"),
        ({"handlers": {}, "root": {"level": "INFO"}}, "", "no handler of defender_logging"),
        ({"root": {"level": "INFO", "handlers": ["a", "b"]}}, "root.handlers", "'b', which is not defined"),
        ({"root": {"level": "INFO", "handlers": "a"}}, "root.handlers", "give a list, such as [a]"),
        ({"root": {"level": "INFO", "handler": ["a"]}}, "root.handler", "did you mean 'handlers'?"),
        ({"root": {"level": "LOUD", "handlers": ["a"]}}, "root.level", "level is 'LOUD'"),
        ({"root": ["a"]}, "root", "is no mapping"),
        ({"loggers": {"x": None}}, "loggers.x", "is no mapping"),
        ({"loggers": {"x": {"filters": ["f"]}}}, "loggers.x.filters", "'f', which is not defined"),
        ({"root": {"level": "INFO"}}, "handlers.a", "attached to no logger"),
        ({"root": None}, "handlers.a", "attached to no logger"),
        (
            {"root": {"handlers": ["a"]}},
            "handlers.a",
            "selects info, which never come: 'root' let through WARNING",
        ),
        ({"root": {"level": "ERROR", "handlers": ["a"]}}, "handlers.a", "selects info, warn"),
        ({"handlers": {"a": {**BLOCK, "level": "ERROR"}}}, "handlers.a", "holds back info, warn"),
        (
            {"handlers": {"a": {**BLOCK, "log_levels": ["debug", "info"]}}},
            "handlers.a",
            "set level: DEBUG there, or log_levels: [info] here",
        ),
        ({"handlers": {"a": {**BLOCK, "log_levels": "all"}}}, "handlers.a", "selects trace, debug"),
        ({"loggers": {"x.y": {"handlers": ["a"]}}}, "handlers.a", "each record of 'x.y' twice"),
    ],
)
def test_finds_each_mistake(changes, where, words):
    """A mistake is found where it stands, with what to do."""
    found = [f for f in findings(config(**changes)) if ".".join(f.where) == where and words in f.sentence]

    assert 1 == len(found)
    assert not found[0].is_note


@pytest.mark.parametrize(
    "changes",
    [
        {"root": {"level": 15, "handlers": ["a"]}, "handlers": {"a": {**BLOCK, "log_levels": ["debug"]}}},
        {"root": {"level": "NOTSET", "handlers": ["a"]}, "handlers": {"a": {**BLOCK, "log_levels": "all"}}},
        {"root": {"level": "DEBUG", "handlers": ["a"]}, "handlers": {"a": {**BLOCK, "log_levels": "all"}}},
        {"root": {"handlers": ["a"]}, "loggers": {"x": {"level": "INFO"}}},
        {"root": {}, "loggers": {"x": {"level": "INFO", "handlers": ["a"]}}},
        {"root": {}, "loggers": {"x": {"level": "INFO"}, "x.y": {"handlers": ["a"]}}},
        {"root": {}, "loggers": {"": {"level": "INFO", "handlers": ["a"]}}},
        {"loggers": {"x": {"handlers": ["a"], "propagate": False}}},
        {"x-anchors": {"y": 1}},
        {"handlers": {"a": {**BLOCK, "log_levels": ["error"], "level": "ERROR"}}},
        {
            "handlers": {
                "a": BLOCK,
                "m": {"class": "logging.handlers.MemoryHandler", "target": "a", "capacity": 9},
            },
            "root": {"level": "INFO", "handlers": ["m"]},
        },
        {
            "handlers": {"a": BLOCK, "q": {"class": "logging.handlers.QueueHandler", "handlers": ["a"]}},
            "root": {"level": "INFO", "handlers": ["q"]},
        },
    ],
)
def test_is_content_with_what_works(changes):
    """Odd but right configurations raise no alarm."""
    assert [] == findings(config(**changes))


def test_a_handler_before_ours_holds_back_too():
    """The level of a MemoryHandler on the way counts."""
    handlers = {
        "a": BLOCK,
        "m": {"class": "logging.handlers.MemoryHandler", "target": "a", "capacity": 9, "level": "ERROR"},
    }

    found = findings(config(handlers=handlers, root={"level": "INFO", "handlers": ["m"]}))

    assert ["selects info, warn"] == [f.sentence.partition(",")[0] + f.sentence[12:18] for f in found]


def test_loggers_that_fall_silent_are_a_note():
    """disable_existing_loggers is legal, and a note for dictConfig only."""
    mapping = config(disable_existing_loggers=None)

    assert [True] == [f.is_note for f in findings(mapping)]
    assert [] == findings(mapping, is_ini=True)


def test_tells_the_loggers_that_feed_a_handler():
    """Those that have it, and those below with a level of their own."""
    mapping = config(
        loggers={
            "x": {"level": "DEBUG"},
            "x.y": {"propagate": False},
            "z": {},
            "w": {"level": "ERROR", "propagate": False},
        }
    )

    assert [Source("root", logging.INFO), Source("x", logging.DEBUG)] == Routes(mapping).sources("a")


def test_handlers_that_name_each_other_come_to_an_end():
    """A circle of targets is no endless loop."""
    handlers = {
        "a": BLOCK,
        "m": {"class": "logging.handlers.MemoryHandler", "target": "n"},
        "n": {"class": "logging.handlers.MemoryHandler", "target": "m", "handlers": ["a"]},
    }

    assert [Source("root", logging.INFO)] == Routes(config(handlers=handlers)).sources("a")
