"""The command line: choose scenarios, run them in turns, show, keep or check the figures.

``python -m benchmarks`` runs all of ours (some 8 minutes); with ``--peers`` the other handlers too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import baseline, report
from benchmarks.figures import Results, Samples, samples_of
from benchmarks.running import Case, run
from benchmarks.scenario import FULL, QUICK, Scenario
from benchmarks.scenarios import scenarios
from benchmarks.targets import drifts

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was chosen.

    Returns:
        0; 1 if ``--check`` found a ratio that drifted; 2 for a mistake in the arguments.
    """
    chosen = _parser().parse_args(arguments)
    size = QUICK if chosen.quick else FULL
    known = scenarios(size)
    if unknown := [name for name in chosen.scenario if name not in known]:
        print(f"No scenario is called {', '.join(unknown)}; there are {', '.join(known)}.", file=sys.stderr)
        return 2
    if chosen.peers and (difference := _difference(chosen.peers)):
        print(difference, file=sys.stderr)
        return 2
    if chosen.quick and chosen.write:
        print("--quick runs are too short to keep; leave out one of --quick and --write.", file=sys.stderr)
        return 2
    began = time.monotonic()
    names = chosen.scenario or [name for name in known if chosen.peers or not name.startswith("peers")]
    results: Results = {}
    for name in names:
        plan = _Plan(chosen.repetitions or size.repetitions, began + 60 * chosen.minutes, chosen.peers)
        load = round(os.getloadavg()[0], 1)
        results[name] = _run_scenario(known[name], plan)
        print(report.tables({name: results[name]}, known), flush=True)
        if chosen.write:
            baseline.write({name: results[name]}, load)
            report.write()
    print(f"{time.monotonic() - began:.0f} s in all", file=sys.stderr)
    if not chosen.check:
        return 0
    found = drifts(results, baseline.read())
    print("\n".join(found) or "No ratio drifted.")
    return 1 if found else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "scenario", nargs="*", help=f"some of {', '.join(scenarios(FULL))}; all of ours if none is given"
    )
    parser.add_argument("--repetitions", type=int, help="of each case; some long ones have fewer")
    parser.add_argument(
        "--minutes", type=float, default=10, help="after which no further repetition is begun (10)"
    )
    parser.add_argument("--quick", action="store_true", help="tiny runs, to see that everything works")
    parser.add_argument(
        "--peers", metavar="PYTHON", help="an interpreter that has requirements-peers.txt installed"
    )
    parser.add_argument(
        "--write", action="store_true", help="keep the figures, and write docs/performance.md anew"
    )
    parser.add_argument("--check", action="store_true", help="compare the ratios with those that were kept")
    return parser


def _difference(peers_python: str) -> str:
    """Why the peers' interpreter cannot be compared with this one; empty if it can."""
    ask = [peers_python, "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
    theirs = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if theirs == ours:
        return ""
    return (
        f"{peers_python} is Python {theirs or '(it does not run)'}, this one {ours}; "
        "make its environment with this one."
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """How often, until when (monotonic), and with which interpreter for the peers."""

    repetitions: int
    deadline: float
    peers_python: str | None


def _run_scenario(scenario: Scenario, plan: _Plan) -> dict[str, Samples]:
    """Run the cases of a scenario in turns, so that what the machine does meanwhile meets all of them.

    Once at least; after the deadline no further turn is begun.
    """
    cases = [case for case in scenario.cases if plan.peers_python or not case.is_of_peer]
    began = time.monotonic()
    runs: dict[str, list[dict[str, object]]] = {case.label: [] for case in cases}
    for repetition in range(min(plan.repetitions, scenario.most_repetitions)):
        if repetition and time.monotonic() > plan.deadline:
            break
        for case in cases:
            runs[case.label].append(run(case, _python_for(case, plan.peers_python)))
            seconds = time.monotonic() - began
            print(
                f"{scenario.name} {repetition + 1}: {case.label} ({seconds:.0f} s)",
                file=sys.stderr,
                flush=True,
            )
    return {label: samples_of(found) for label, found in runs.items()}


def _python_for(case: Case, peers_python: str | None) -> str:
    return peers_python if case.is_of_peer and peers_python else sys.executable


if __name__ == "__main__":
    sys.exit(main())
