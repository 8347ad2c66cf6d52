"""Selection: two sets of check boxes, in a handler and as a filter on the stdlib's handlers."""

from __future__ import annotations

import logging
import logging.config

import pytest

from defender_logging import Component, ConfigurationError, SelectionFilter, Severity, Vocabulary


class Keeper(logging.Handler):
    """A stdlib handler that keeps what it gets."""

    def __init__(self, *args):
        super().__init__()
        self.kept = []

    def emit(self, record):
        self.kept.append(record.getMessage())


@pytest.fixture
def through():
    """Log with a filter on a stdlib handler; what came through."""
    undo = []

    def open_filter(selection):
        keeper = Keeper()
        keeper.addFilter(selection)
        logger = logging.getLogger(f"contract.selection.{len(undo)}")
        logger.propagate, logger.level = False, 1
        logger.addHandler(keeper)
        undo.append((logger, keeper))
        return logger, keeper.kept

    yield open_filter
    for logger, keeper in undo:
        logger.removeHandler(keeper)


LEVELS = [
    (1, "trace"),
    (5, "trace"),
    (10, "debug"),
    (15, "debug"),
    (20, "info"),
    (25, "info"),
    (30, "warn"),
    (35, "warn"),
    (40, "error"),
    (50, "error"),
]


@pytest.mark.parametrize(
    ("log_levels", "passed"),
    [
        (None, {"info", "warn", "error"}),
        ("all", {"trace", "debug", "info", "warn", "error"}),
        (["debug", "error"], {"debug", "error"}),
        (["WARNING"], {"warn"}),
        (["critical"], {"error"}),
        (["FATAL", "Trace"], {"error", "trace"}),
        ({Severity.INFO}, {"info"}),
    ],
)
def test_levels_are_check_boxes_not_a_threshold(through, log_levels, passed):
    """The default is info, warn and error."""
    logger, kept = through(SelectionFilter(log_levels=log_levels))
    for number, _ in LEVELS:
        logger.log(number, str(number))

    assert [str(number) for number, level in LEVELS if level in passed] == kept


def test_the_default_levels_are_those_of_the_form():
    """`log_levels` not given."""
    selection = SelectionFilter()
    passed = [number for number, _ in LEVELS if selection.filter(logging.makeLogRecord({"levelno": number}))]

    assert [20, 25, 30, 35, 40, 50] == passed


def test_without_log_types_everything_passes(through):
    """Records without a component too, and those with one that nobody knows."""
    logger, kept = through(SelectionFilter(None))
    logger.info("plain")
    logger.info("known", extra={"component": "relay"})
    logger.info("unknown", extra={"component": "relayy"})

    assert ["plain", "known", "unknown"] == kept


def test_with_log_types_only_those_components_pass(through):
    """No component: no; another one: no; an alias: yes."""
    logger, kept = through(SelectionFilter(["relay", Component.ADMIN]))
    logger.info("plain")
    for component in [
        "relay",
        "Relayers",
        Component.RELAY,
        "admin",
        "address_book",
        "sentinel",
        "relayy",
        7,
        None,
        ["relay"],
    ]:
        logger.info(repr(component), extra={"component": component})

    assert [repr(each) for each in ["relay", "Relayers", Component.RELAY, "admin", "address_book"]] == kept


def test_types_and_levels_both_have_to_fit(through):
    """Two sets of check boxes."""
    logger, kept = through(SelectionFilter(["relay"], ["debug"]))
    logger.info("a", extra={"component": "relay"})
    logger.debug("b", extra={"component": "admin"})
    logger.debug("c", extra={"component": "relay"})

    assert ["c"] == kept


@pytest.mark.parametrize(
    "settings", [{"log_types": ["relayy"]}, {"log_levels": ["loud"]}, {"log_levels": "loud"}]
)
def test_a_typo_is_a_configuration_error(settings):
    """It must not silently forward nothing."""
    with pytest.raises(ConfigurationError):
        SelectionFilter(**settings)


def test_a_filter_with_another_vocabulary(through):
    """A user's own components."""
    vocabulary = Vocabulary.default().extend(components=["billing"])
    logger, kept = through(SelectionFilter(["billing"], vocabulary=vocabulary))
    logger.info("a", extra={"component": "Billing"})
    logger.info("b", extra={"component": "relay"})

    assert ["a"] == kept


def test_the_filter_from_dict_config(restored_logging):
    """`()` in the filters section, on a handler of the standard library."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"chosen": {"()": "defender_logging.SelectionFilter", "log_types": ["billing"],
            "log_levels": ["info"],
                                   "vocabulary": {"components": ["billing"]}}},
            "handlers": {"memory": {"()": Keeper, "filters": ["chosen"]}},
            "loggers": {"contract.filtered": {"handlers": ["memory"], "level": 1, "propagate": False}},
        }
    )  # fmt: skip
    logger = logging.getLogger("contract.filtered")
    (keeper,) = logger.handlers
    logger.info("a", extra={"component": "billing"})
    logger.debug("b", extra={"component": "billing"})
    logger.info("c")
    logger.removeHandler(keeper)

    assert ["a"] == keeper.kept


def test_the_selection_inside_a_handler(connect, server):
    """One handler block is one row of the form; what does not pass is counted in `filtered`."""
    wire = connect(log_types=["relay"], log_levels=["info", "error"])
    wire.logger.info("no component")
    wire.logger.info("yes", extra={"component": "relay"})
    wire.logger.warning("level", extra={"component": "relay"})
    wire.logger.critical("yes too", extra={"component": "relayers"})
    wire.logger.info("other", extra={"component": "admin"})
    wire.logger.info("unknown", extra={"component": "relayy"})
    assert wire.flush()
    stats = wire.handler.stats()

    assert ["yes", "yes too"] == [entry["message"] for entry in server.entries]
    assert (2, 4) == (stats.accepted, stats.filtered)


def test_the_component_of_the_context_counts_in_a_handler(connect, server):
    """What the entry will say is what is selected."""
    from defender_logging import audit_context

    wire = connect(log_types=["relay"])
    with audit_context(component="relay"):
        wire.logger.info("inside")
    wire.logger.info("outside")
    assert wire.flush()

    assert ["inside"] == [entry["message"] for entry in server.entries]


def test_an_unknown_component_is_told_once_with_the_nearest_match(connect, capsys, caplog):
    """A typo at a call is visible somewhere, once."""
    wire = connect(log_types=["relay"])
    for _ in range(3):
        wire.logger.info("x", extra={"component": "relayy"})
    wire.logger.info("y", extra={"component": "relay"})
    assert wire.flush()
    told = caplog.text + capsys.readouterr().err

    assert 1 == told.count("relayy")
    assert 3 == wire.handler.stats().filtered


def test_our_own_records_are_never_forwarded(connect, server):
    """The loggers `defender_logging*`."""
    wire = connect()
    for name in ["defender_logging", "defender_logging.worker"]:
        logging.getLogger(name).addHandler(wire.handler)
        try:
            logging.getLogger(name).error("ours")
        finally:
            logging.getLogger(name).removeHandler(wire.handler)
    for name in ["defender_loggingX", "urllib3.connectionpool", "other"]:
        logger = logging.getLogger(name)
        logger.addHandler(wire.handler)
        try:
            logger.error("theirs")
        finally:
            logger.removeHandler(wire.handler)
    assert wire.flush()
    names = [entry["logger"] for entry in server.entries]

    assert {"urllib3.connectionpool", "other"} <= set(names)
    assert not {"defender_logging", "defender_logging.worker"} & set(names)


def test_urllib3_at_debug_on_the_root_does_not_feed_back(connect, server):
    """As many entries as the application logged."""
    wires = [connect(flush_interval_seconds=0) if False else connect() for _ in range(5)]
    root, urllib3_logger = logging.getLogger(), logging.getLogger("urllib3")
    before = root.level, urllib3_logger.level
    root.setLevel(1)
    urllib3_logger.setLevel(logging.DEBUG)
    for wire in wires:
        root.addHandler(wire.handler)
    try:
        for number in range(20):
            logging.getLogger("contract.app").info("record %d", number)
        for wire in wires:
            assert wire.flush()
    finally:
        for wire in wires:
            root.removeHandler(wire.handler)
        root.setLevel(before[0])
        urllib3_logger.setLevel(before[1])

    assert 100 == len(server.entries)
    assert [20] * 5 == [wire.handler.stats().accepted for wire in wires]
    assert len(server.requests) <= 100


def test_stdlib_filters_on_a_handler_work(connect, server):
    """addFilter, and a filter that returns another record (3.12)."""
    wire = connect()
    wire.handler.addFilter(lambda record: "no" not in record.getMessage())
    wire.logger.info("no")
    wire.logger.info("yes")
    assert wire.flush()

    assert ["yes"] == [entry["message"] for entry in server.entries]
    assert [1] == [entry["seq"] for entry in server.entries]
