"""Writes figures as Markdown tables, and into docs/performance.md between two marks; the prose around stays."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import baseline, plot
from benchmarks.figures import Results, Samples, is_of_peer, median
from benchmarks.running import ROOT
from benchmarks.scenario import FULL, Scenario
from benchmarks.scenarios import scenarios
from benchmarks.targets import MIB, RATIO, TARGETS, Target

__all__ = ["page", "tables", "target_table", "write"]

_PAGE = ROOT / "docs" / "performance.md"
_PLOT = ROOT / "docs" / "performance.svg"
_NONE = "\N{EN DASH}"
_BEGIN, _END = "<!-- figures -->", "<!-- end of figures -->"


def _thousands(value: float) -> str:
    return f"{value:,.0f}"


def _micro(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value < 10 else f"{value:.1f}"  # noqa: PLR2004


COLUMNS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "caller_cpu_us": ("caller CPU, µs", _micro),
    "process_cpu_us": ("process CPU per arrived entry, µs", _micro),
    "calls_per_second": ("calls/s", _thousands),
    "arrived_per_second": ("arrived/s", _thousands),
    "arrived": ("arrived", _thousands),
    "missing": ("missing", _thousands),
    "duplicated": ("twice", _thousands),
    "dropped": ("dropped, counted", _thousands),
    "wall_p50_us": ("wall p50, µs", _micro),
    "wall_p99_us": ("p99, µs", _micro),
    "wall_p999_us": ("wall p99.9, µs", _micro),
    "wall_max_us": ("worst call, µs", _micro),
    "latency_p50_us": ("p50, ms", lambda value: f"{value / 1000:.1f}"),
    "latency_p99_us": ("p99, ms", lambda value: f"{value / 1000:.1f}"),
    "latency_max_us": ("longest, ms", lambda value: f"{value / 1000:.1f}"),
    "memory_growth_bytes": ("memory growth at peak, MiB", lambda value: f"{value / MIB:.1f}"),
    "waiting": ("waiting at the last call", _thousands),
    "lag_seconds": ("last arrival after last call, s", lambda value: f"{value:.2f}"),
    "finish_seconds": ("seconds to finish", lambda value: f"{value:.2f}"),
    "exit_seconds": ("last call to end of process, s", lambda value: f"{value:.2f}"),
    "import_ms": ("wall, ms", lambda value: f"{value:.1f}"),
    "import_cpu_ms": ("CPU, ms", lambda value: f"{value:.1f}"),
    "has_urllib3": ("urllib3 imported", lambda value: "yes" if value else "no"),
    "has_fields": ("with fields", lambda value: "yes" if value else "no"),
    "entry_bytes": ("bytes per entry", _thousands),
    "wire_entry_bytes": ("on the wire", _thousands),
}
"""Figures that are shown: heading and spelling."""


def tables(results: Results, known: Mapping[str, Scenario]) -> str:
    """A section for each scenario that has results."""
    return "\n".join(_section(known[name], results[name]) for name in known if name in results)


def _section(scenario: Scenario, cases: Mapping[str, Samples]) -> str:
    shown = [name for name in scenario.columns if any(name in samples for samples in cases.values())]
    floor = cases.get(scenario.floor, {}).get(scenario.columns[0])
    heads = ["", *(COLUMNS[name][0] for name in shown), *(["to the floor"] if floor else [])]
    lines = [f"### {scenario.title}", "", scenario.question, "", _row(heads), _row(["---"] * len(heads))]
    for label, samples in cases.items():
        if "refused" in samples and shown[:1] not in ([name] for name in samples):
            lines.append(_row([label, f"not possible: {samples['refused'][0]}", *[""] * (len(heads) - 2)]))
            continue
        cells = [_cell(name, samples.get(name, []), is_first=name == shown[0]) for name in shown]
        if floor:
            values = samples.get(scenario.columns[0])
            cells.append(
                f"{statistics.median(values) / statistics.median(floor):.2f} {RATIO}" if values else _NONE
            )
        lines.append(_row([label, *cells]))
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(name: str, values: list[Any], *, is_first: bool) -> str:
    """The median; of the figure that counts the lowest and the highest as well."""
    if not values:
        return _NONE
    spell = COLUMNS[name][1]
    text = spell(statistics.median(values))
    if is_first and len(values) > 1:
        return f"**{text}** ({spell(min(values))} to {spell(max(values))})"
    return f"**{text}**" if is_first else text


def target_table(results: Results) -> str:
    """What was to be reached, and what was."""
    rows = [_row(["Figure", "to reach", "measured", ""]), _row(["---"] * 4)]
    remarks = []
    for target in TARGETS:
        value = target.figure(results)
        verdict = "not measured" if value is None else "reached" if target.is_reached(value) else "**missed**"
        sign = "≥" if target.is_floor else "≤"
        measured = _NONE if value is None else _spelled(value, target)
        rows.append(_row([target.text, f"{sign} {_spelled(target.limit, target)}", measured, verdict]))
        if target.remark and verdict == "**missed**":
            remarks.append(f"- *{target.text}*: {target.remark}")
    return "\n".join([*rows, *(["", "Where a figure is missed:", "", *remarks] if remarks else [])]) + "\n"


def _spelled(value: float, target: Target) -> str:
    if target.unit == "/s":
        return f"{value:,.0f}/s"
    return f"{value:.2f} {target.unit}" if value < 10 else f"{value:.1f} {target.unit}"  # noqa: PLR2004


def write() -> None:
    """Write the kept figures into docs/performance.md, and the plot beside it."""
    _PAGE.write_text(page(_PAGE.read_text("utf-8")), "utf-8")
    _PLOT.write_text(plot.draw(_bars(baseline.read())), "utf-8")


def page(text: str) -> str:
    """Return the text of the page with the kept figures between its marks."""
    results = baseline.read()
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    figures = [_BEGIN, "", _taken(), "", target_table(results), tables(results, scenarios(FULL)), _END]
    return before + "\n".join(figures) + after


def _taken() -> str:
    """When and on what, with the scenarios if they were not all taken at once, and how busy the machine was."""
    by_text: dict[str, list[str]] = {}
    for name, text in baseline.taken().items():
        by_text.setdefault(text, []).append(name)
    if len(by_text) == 1:
        lines = [f"Taken on {next(iter(by_text))}."]
    else:
        lines = [f"- {', '.join(names)}: taken on {text}." for text, names in by_text.items()] + [""]
    loads = baseline.loads()
    lines.append(
        f"Load average of the machine meanwhile: {min(loads)} to {max(loads)}; the benchmarks alone make 1 to 2. What "
        "is more came from other programs: it hardly touches CPU times and their ratios, but wall times and rates."
    )
    return "\n".join(lines)


def _bars(results: Results) -> list[plot.Bar]:
    """Process CPU per arrived entry of everyone that delivered all, the cheapest first."""
    bars = []
    for label in results.get("peers", {}):
        value = median(results, "peers", label, "process_cpu_us")
        is_complete = median(results, "peers", label, "missing") == 0
        if value is not None and is_complete:
            bars.append(plot.Bar(label, value, is_ours=not is_of_peer(label)))
    return sorted(bars, key=lambda bar: bar.value)
