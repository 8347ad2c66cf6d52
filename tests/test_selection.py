"""Selection: two sets of check boxes, typos refused, unknown components told once."""

from __future__ import annotations

import itertools
import logging
import logging.config
import threading

import pytest

from defender_logging.context import audit_context
from defender_logging.errors import ConfigurationError
from defender_logging.selection import SelectionFilter, parse_log_levels, parse_log_types
from defender_logging.severity import Severity
from defender_logging.vocabulary import Component, Vocabulary


def record(level=logging.INFO, name="app", **fields):
    return logging.makeLogRecord({"levelno": level, "name": name, **fields})


class Collector(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def told():
    """What is told on the package's own logger."""
    logger, collector = logging.getLogger("defender_logging"), Collector()
    logger.addHandler(collector)
    yield collector.records
    logger.removeHandler(collector)


class TestLevels:
    @pytest.mark.parametrize(
        ("levelno", "expected"),
        [(0, False), (5, False), (10, False), (19, False), (20, True), (25, True), (30, True), (50, True)],
    )
    def test_selects_info_warn_and_error_by_default(self, levelno, expected):
        """Debug and trace stay in the house unless chosen; asked twice, the answer is the same."""
        selection = SelectionFilter()
        assert [expected, expected] == [selection.filter(record(levelno)) for _ in range(2)]

    @pytest.mark.parametrize("chosen", list(itertools.combinations(Severity, 2)), ids=str)
    def test_is_a_set_and_no_threshold(self, chosen):
        """Exactly the chosen levels pass, also with a gap between them."""
        selection = SelectionFilter(log_levels=[str(level) for level in chosen])
        assert list(chosen) == [level for level in Severity if selection.filter(record(level.levelno))]

    @pytest.mark.parametrize("every", ["all", "ALL", ["all"], ["info", "All"]])
    def test_all_selects_every_level(self, every):
        """One word checks every box."""
        selection = SelectionFilter(log_levels=every)
        assert all(selection.filter(record(levelno)) for levelno in (0, 3, 5, 10, 20, 30, 40, 50))

    def test_takes_one_word(self):
        """A single level needs no list; its other spellings work."""
        selection = SelectionFilter(log_levels="Critical")
        assert [False, True, True] == [selection.filter(record(levelno)) for levelno in (30, 40, 50)]

    def test_remembers_a_bounded_number_of_levels(self):
        """A service that invents level numbers does not grow the filter."""
        selection = SelectionFilter()
        assert all(selection.filter(record(levelno)) for levelno in range(20, 2000))
        assert len(selection._by_levelno) <= 256

    @pytest.mark.parametrize("odd", [None, "ERROR", [], float("nan")])
    def test_treats_an_odd_level_as_info(self, odd):
        """A record without a usable level neither raises nor is lost."""
        assert SelectionFilter().filter(record(odd)) is True
        assert SelectionFilter(log_levels="error").filter(record(odd)) is False

    def test_takes_a_record_without_attributes(self):
        """Records that lack everything, or were made of nothing, do not raise."""
        bare = logging.makeLogRecord({})
        vars(bare).clear()
        for selection in (SelectionFilter(), SelectionFilter(log_types="relay", log_levels="error")):
            assert selection.filter(logging.makeLogRecord({})) is selection.filter(bare)


class TestComponents:
    def test_lets_everything_pass_when_not_given(self):
        """Without log_types records without a component and with an unknown one pass too."""
        selection = SelectionFilter()
        assert all(
            selection.filter(record(**fields)) for fields in ({}, {"component": "x"}, {"component": 5})
        )

    @pytest.mark.parametrize(
        ("component", "expected"),
        [
            *(("relay", True), ("RELAY", True), ("relayers", True), (Component.RELAY, True)),
            *(("account", False), ("settings", False), (Component.ADMIN, False), (None, False)),
        ],
    )
    def test_lets_only_the_chosen_pass(self, component, expected):
        """The record's component decides, in any accepted spelling."""
        assert expected is SelectionFilter(log_types=["relay"]).filter(record(component=component))

    def test_holds_back_records_without_a_component(self):
        """With log_types given, a record must say where it belongs."""
        assert SelectionFilter(log_types="relay").filter(record()) is False

    def test_reads_the_context_when_the_record_says_nothing(self):
        """The component of audit_context counts, the record's own counts more."""
        selection = SelectionFilter(log_types=["relay"])
        with audit_context(component="Relay"):
            assert [True, True, False] == [
                selection.filter(record()),
                selection.filter(record(component=None)),
                selection.filter(record(component="admin")),
            ]
        assert selection.filter(record()) is False

    def test_needs_both_boxes(self):
        """A record passes when its component and its level are chosen."""
        selection = SelectionFilter(log_types=["relay"], log_levels=["debug"])
        passing = [
            (component, level)
            for component, level in itertools.product(["relay", "admin"], [10, 20])
            if selection.filter(record(level, component=component))
        ]
        assert [("relay", 10)] == passing

    @pytest.mark.parametrize(
        "vocabulary", [{"components": ["ledger"]}, Vocabulary.default().extend(components=["ledger"])]
    )
    def test_knows_the_words_of_a_vocabulary(self, vocabulary):
        """A user's own component can be chosen, with the vocabulary as an object or as dictConfig has it."""
        selection = SelectionFilter("ledger", vocabulary=vocabulary)
        assert [True, False] == [selection.filter(record(component=word)) for word in ("Ledger", "relay")]


class TestUnknownComponent:
    def test_is_held_back_and_told_once_with_the_near_match(self, told):
        """What leaves is chosen, not guessed; the typo is told once, on our own logger."""
        selection = SelectionFilter(log_types=["relay"])
        assert [False] * 3 == [selection.filter(record(component="rely")) for _ in range(3)]
        assert [logging.WARNING] == [entry.levelno for entry in told]
        message = told[0].getMessage()
        assert "component 'rely' (did you mean 'relay'?)" in message
        assert "do not pass log_types ['relay']" in message

    def test_is_told_once_by_many_threads(self, told):
        """Threads that meet the same word tell it once together."""
        selection, start = SelectionFilter(log_types=["relay"]), threading.Barrier(8)

        def meet():
            start.wait(10)
            selection.filter(record(component="rely"))

        threads = [threading.Thread(target=meet) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert 1 == len(told)

    def test_is_told_for_a_bounded_number_of_words(self, told):
        """A service that writes data into component does not flood the log or the memory."""
        selection = SelectionFilter(log_types=["relay"])
        for number in range(150):
            selection.filter(record(component=f"order-{number}"))
        assert (100, 100) == (len(told), len(selection._told))

    def test_is_not_told_when_it_changes_nothing(self, told):
        """Without log_types, or below the chosen levels, nothing is held back for its component."""
        SelectionFilter().filter(record(component="rely"))
        SelectionFilter(log_types=["relay"]).filter(record(logging.DEBUG, component="rely"))
        assert [] == told

    def test_does_not_recurse(self):
        """Told through a handler that has the same filter, with a context of the same component, it ends."""
        selection, collector = SelectionFilter(log_types=["relay"]), Collector()
        collector.addFilter(selection)
        logger = logging.getLogger("defender_logging")
        logger.addHandler(collector)
        try:
            with audit_context(component="rely"):
                assert selection.filter(record()) is False
        finally:
            logger.removeHandler(collector)
        assert 1 == len(collector.records)

    @pytest.mark.parametrize("odd", [5, b"relay", ["relay"], {"relay": 1}, object()])
    def test_may_be_any_object(self, odd, told):
        """What is no word is told by its type, and never raises."""
        assert SelectionFilter(log_types=["relay"]).filter(record(component=odd)) is False
        assert 1 == len(told)

    def test_can_be_told_elsewhere(self, told):
        """A subclass may send the report where it wants."""
        sentences = []

        class Quiet(SelectionFilter):
            def report(self, sentence):
                sentences.append(sentence)

        Quiet(log_types=["relay"]).filter(record(component="rely"))
        assert (1, []) == (len(sentences), told)


class TestOwnRecords:
    @pytest.mark.parametrize("name", ["defender_logging", "defender_logging.worker"])
    def test_pass_untouched(self, name, told):
        """Our own reports pass on other handlers, whatever is selected."""
        selection = SelectionFilter(log_types=["relay"], log_levels=["error"])
        assert selection.filter(record(logging.DEBUG, name)) is True
        assert selection.filter(record(logging.ERROR, name, component="rely")) is True
        assert [] == told

    def test_are_not_those_of_similar_names(self):
        """A user's logger that only begins like ours is selected like any other."""
        assert SelectionFilter(log_levels="error").filter(record(name="defender_logging_demo")) is False


class TestSettings:
    @pytest.mark.parametrize("nothing", [[], (), set(), iter([])])
    def test_refuse_a_choice_of_nothing(self, nothing):
        """An empty list would silently forward nothing."""
        with pytest.raises(ConfigurationError, match="log_types is empty, which selects nothing"):
            SelectionFilter(log_types=nothing)
        with pytest.raises(ValueError, match="log_levels is empty, which selects nothing"):
            parse_log_levels([])

    @pytest.mark.parametrize("wrong", [5, True, b"relay", {"relay": True}])
    def test_refuse_what_is_no_list_of_words(self, wrong):
        """A setting of another type is told with what it takes."""
        for parse in (lambda value: parse_log_types(value, Vocabulary.default()), parse_log_levels):
            with pytest.raises(ValueError, match="give one word or a list of words"):
                parse(wrong)

    def test_tell_every_wrong_word_with_its_near_match(self):
        """A typo is an error, not a filter that holds everything back."""
        with pytest.raises(ConfigurationError) as caught:
            SelectionFilter(log_types=["rely", "relay", 7, "acount"], log_levels=["infos", "warn", "eror"])
        assert "SelectionFilter" == caught.value.subject
        types, levels = caught.value.problems
        assert "'rely' (did you mean 'relay'?), 7, 'acount' (did you mean 'account'?)" in types
        assert "'infos' (did you mean 'info'?), 'eror' (did you mean 'error'?)" in levels
        assert "autotask, sentinel, relay, admin, account" in types
        assert "trace, debug, info, warn, error, or all" in levels

    def test_tell_a_wrong_word_beside_all(self):
        """«all» does not excuse a typo: who takes it out later would be left with that."""
        with pytest.raises(ConfigurationError) as caught:
            SelectionFilter(log_types=["all", "rely"], log_levels=["inof", "all"])
        types, levels = caught.value.problems
        assert "'rely' (did you mean 'relay'?)" in types
        assert "'inof' (did you mean 'info'?)" in levels

    def test_tell_a_wrong_vocabulary(self):
        """Mistakes in the vocabulary are told beside those in the levels."""
        with pytest.raises(ConfigurationError) as caught:
            SelectionFilter("relay", "infos", {"components": [5]})
        words, levels = caught.value.problems
        assert words.startswith("component name 5 cannot be written")
        assert levels.startswith("log_levels has 'infos'")

    def test_are_parsed_for_others_too(self):
        """The handlers read the same two settings with the same rules."""
        page = Vocabulary.default()
        assert frozenset({"relay", "admin"}) == parse_log_types(["Relayers", "address_book"], page)
        assert frozenset({"relay"}) == parse_log_types("relay", page)
        assert (None, None, None) == tuple(parse_log_types(value, page) for value in (None, "all", ["ALL"]))
        assert frozenset({Severity.WARN}) == parse_log_levels(iter(["warning", Severity.WARN]))
        assert frozenset({Severity.INFO, Severity.WARN, Severity.ERROR}) == parse_log_levels(None)

    def test_show_in_the_repr(self):
        """The repr says what is selected, in the order of severity."""
        assert "SelectionFilter(log_types=['admin', 'relay'], log_levels=['debug', 'error'])" == repr(
            SelectionFilter(["relay", "admin"], ["error", "debug"])
        )
        assert "log_types=None" in repr(SelectionFilter())

    def test_work_from_dict_config(self):
        """The filter stands in a dictConfig file as any other."""
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "filters": {
                    "relay": {
                        "()": "defender_logging.selection.SelectionFilter",
                        "log_types": ["ledger"],
                        "log_levels": "all",
                        "vocabulary": {"components": ["ledger"]},
                    }
                },
                "handlers": {"memory": {"()": Collector, "filters": ["relay"]}},
                "loggers": {
                    "test_selection.configured": {
                        "level": "DEBUG",
                        "handlers": ["memory"],
                        "propagate": False,
                    }
                },
            }
        )
        logger = logging.getLogger("test_selection.configured")
        (handler,) = logger.handlers
        logger.debug("yes", extra={"component": "ledger"})
        logger.error("no", extra={"component": "relay"})
        assert ["yes"] == [entry.msg for entry in handler.records]
        logger.removeHandler(handler)
