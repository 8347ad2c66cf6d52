"""The benchmarks measure what they say: every case runs, the sink's counts are exact, the page shows what is kept."""

from __future__ import annotations

import gzip
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import baseline, plot, report, sink
from benchmarks.running import SILENT, run
from benchmarks.scenario import Size
from benchmarks.scenarios import scenarios
from benchmarks.targets import TARGETS, drifts

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"

TINY = Size(rounds=2, round_calls=50, burst_calls=400, seconds=0.05, outage_seconds=0.1, repetitions=1)
"""Enough for everything to happen once."""

OURS = {name: scenario for name, scenario in scenarios(TINY).items() if not name.startswith("peers")}

AT_ONCE = 4
"""Runs side by side: what they measure does not matter here."""


def run_here(case):
    """The figures of one run with the interpreter of the tests."""
    return run(case, sys.executable)


@pytest.mark.parametrize("name", OURS)
def test_every_case_runs_and_delivers_each_record_once(name):
    """Of every scenario each case gives the figures that are shown, and nothing is missing or doubled."""
    cases = OURS[name].cases

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(run_here, cases))

    for case, figures in zip(cases, found, strict=True):
        refused = figures.get("refused", "")
        if case.settings.get("max_in_flight") == "auto" and "max_in_flight" in refused:
            continue  # Not in this version: an answer too.
        assert not refused, case.label
        assert OURS[name].columns[0] in figures, case.label
        if (
            not case.is_import
            and case.subject not in SILENT
            and case.style != "debug"
            and "log_types" not in case.settings
        ):
            assert (figures["calls"], 0, 0) == tuple(
                figures[key] for key in ("arrived", "missing", "duplicated")
            )


def arrival(*numbers, at, encoding=""):
    """A request with a marked text for each number, as the sink keeps it."""
    body = b",".join(
        b'"transfer bench-%08d of 1.00 USDC approved","relayer-0123456789ab"' % number for number in numbers
    )
    return sink.Arrival(at, encoding, gzip.compress(body) if encoding == "gzip" else body)


def test_the_sink_counts_distinct_doubled_and_missing_records():
    """Of five records one came twice and two did not come; calls before the clock started are left out."""
    warm_up = arrival(sink.WARM_UP, at=1)

    counted = sink.count([warm_up, arrival(0, 1, at=5, encoding="gzip"), arrival(1, 4, at=9)], expected=5)

    assert (3, 1, 2) == (counted["delivered"], counted["duplicated"], counted["missing"])
    assert (5, 9, True) == (counted["first_ns"], counted["last_ns"], counted["has_fields"])


def caller(ours_us):
    """Results in which our log call costs so much, and the standard library's queue 10 microseconds."""
    return {
        "caller": {
            "generic, fast": {"caller_cpu_us": [ours_us, 99.0, 0.1]},
            "`QueueHandler` onto `SimpleQueue`": {"caller_cpu_us": [10.0]},
        }
    }


def test_only_a_ratio_that_got_clearly_worse_is_a_drift():
    """A quarter more than was kept is told; a tenth more, or less, is the noise of a machine."""
    told = drifts(caller(10.0), caller(8.0))

    assert ["1.00", "0.80"] == [word for sentence in told for word in sentence.split() if word[0].isdigit()]
    assert (
        [] == drifts(caller(8.8), caller(8.0)) == drifts(caller(4.0), caller(8.0)) == drifts({}, caller(8.0))
    )


def test_a_figure_that_was_not_measured_is_not_reached():
    """Without results the table of targets has a row for each, and none says reached."""
    rows = report.target_table({}).splitlines()[2:]

    assert len(TARGETS) == len(rows)
    assert all(row.endswith("| not measured |") for row in rows)


def test_the_page_shows_the_kept_figures():
    """docs/performance.md has the tables that the figures in baseline.json make."""
    text = PAGE.read_text("utf-8")

    assert baseline.read()
    assert report.page(text) == text


def test_the_plot_is_an_image_with_a_bar_for_each_case():
    """The plot is well-formed, names what it shows, and its longest bar belongs to the largest value."""
    drawn = ET.fromstring(
        plot.draw([plot.Bar("ours & <fast>", 5, is_ours=True), plot.Bar("b", 20, is_ours=False)])
    )

    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    widths = [float(element.get("width")) for element in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert ["ours & <fast>", "5.0", "b", "20.0"] == texts[1:]
    assert widths[1] == pytest.approx(4 * widths[0], abs=1)
