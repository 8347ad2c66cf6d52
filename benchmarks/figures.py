"""Turns the samples of the repetitions into medians and ratios, for ``targets`` and ``report``.

Absolute times depend on the machine; what is judged is nearly always a ratio of two medians of the same run.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

__all__ = [
    "QUEUE",
    "SPOOL",
    "WAN_PACE",
    "Figure",
    "Results",
    "Samples",
    "against_peers",
    "alone",
    "between",
    "is_of_peer",
    "median",
    "ratio",
    "samples_of",
    "slowest_call_of_peers",
    "three",
    "wan_lag",
]

Samples = Mapping[str, list[Any]]
"""Of one case: each figure with its value in every repetition; or ``refused`` with the reason."""

Results = dict[str, dict[str, Samples]]
"""Scenario and label of a case to its samples."""

Figure = Callable[[Results], "float | None"]
"""Takes one number from the results; None where it was not measured."""

KEPT = (
    "calls",
    "caller_cpu_us",
    "process_cpu_us",
    "calls_per_second",
    "arrived_per_second",
    "arrived",
    "missing",
    "duplicated",
    "dropped",
    "wall_p50_us",
    "wall_p99_us",
    "wall_p999_us",
    "wall_max_us",
    "latency_p50_us",
    "latency_p99_us",
    "latency_max_us",
    "memory_growth_bytes",
    "waiting",
    "lag_seconds",
    "finish_seconds",
    "exit_seconds",
    "import_ms",
    "import_cpu_ms",
    "has_urllib3",
    "has_fields",
    "entry_bytes",
    "wire_entry_bytes",
    "refused",
)
"""The figures of a run that are kept; the others only lead to them."""

WAN_PACE = 20_000
"""Calls a second that are to be kept up with where answers take 100 ms."""

_PACE_KEPT = 0.95
"""Where fewer of the calls came in time, the machine was too busy, and nothing is shown."""

QUEUE = "`QueueHandler` onto `SimpleQueue`"
SPOOL = "generic with spool"


def samples_of(runs: list[dict[str, Any]]) -> Samples:
    """Collect the figures of a case's repetitions; a repetition that failed leaves its reason."""
    names = [name for name in KEPT if any(name in figures for figures in runs)]
    return {name: [_rounded(figures[name]) for figures in runs if name in figures] for name in names}


def _rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def median(results: Results, scenario: str, label: str, name: str) -> float | None:
    """The median of a figure over the repetitions; None where there is none."""
    values = results.get(scenario, {}).get(label, {}).get(name)
    return float(statistics.median(values)) if values else None


def ratio(above: float | None, below: float | None) -> float | None:
    """One number by another; None where one is missing."""
    return above / below if above is not None and below else None


def between(scenario: str, label: str, other: str, name: str) -> Figure:
    """A case's figure to that of another case of the same scenario."""
    return lambda results: ratio(
        median(results, scenario, label, name), median(results, scenario, other, name)
    )


def alone(scenario: str, label: str, name: str, unit: float = 1.0) -> Figure:
    """A case's figure, in a larger unit."""
    return lambda results: ratio(median(results, scenario, label, name), unit)


def wan_lag(label: str) -> Figure:
    """How long after the last call the last entry arrived; None if the calls themselves were late."""

    def figure(results: Results) -> float | None:
        pace = median(results, "wan", label, "calls_per_second")
        is_in_time = pace is not None and pace >= _PACE_KEPT * WAN_PACE
        return median(results, "wan", label, "lag_seconds") if is_in_time else None

    return figure


def three(results: Results) -> float | None:
    """The cost of three handlers to the mean of the three alone."""
    single = [median(results, "three", kind, "caller_cpu_us") for kind in ("generic", "splunk", "datadog")]
    values = [value for value in single if value is not None]
    return ratio(
        median(results, "three", "all three", "caller_cpu_us"), statistics.mean(values) if values else None
    )


def _rival(results: Results, name: str, *, is_compressed: bool, best: Callable[..., float]) -> float | None:
    """The best value among the peers that delivered everything, fields included, with or without compression."""
    found = []
    for label in results.get("peers", {}):
        entry, wire = (median(results, "peers", label, key) for key in ("entry_bytes", "wire_entry_bytes"))
        value = median(results, "peers", label, name)
        if value is None or entry is None or wire is None or not is_of_peer(label):
            continue
        is_complete = median(results, "peers", label, "missing") == 0
        has_fields = bool(median(results, "peers", label, "has_fields"))
        if is_complete and has_fields and (wire < entry / 2) == is_compressed:
            found.append(value)
    return best(found) if found else None


def is_of_peer(label: str) -> bool:
    """Whether a case of the scenario with the other handlers is neither ours nor the floor."""
    return not label.startswith(("defender-logging", "ideal"))


def against_peers(
    name: str, best: Callable[..., float], *, ours: str = "gzip", is_compressed: bool
) -> Figure:
    """Our figure to the best one of the peers that delivered everything."""
    label = f"defender-logging, generic, {ours}"
    return lambda results: ratio(
        median(results, "peers", label, name), _rival(results, name, is_compressed=is_compressed, best=best)
    )


def slowest_call_of_peers(results: Results) -> float | None:
    """Our p99.9 of a call in a burst to the lowest of the peers that delivered everything."""
    rivals = [_rival(results, "wall_p999_us", is_compressed=packed, best=min) for packed in (False, True)]
    values = [value for value in rivals if value is not None]
    ours = median(results, "peers", "defender-logging, generic, gzip", "wall_p999_us")
    return ratio(ours, min(values) if values else None)
