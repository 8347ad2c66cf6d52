"""What a scenario is, and how much is done in a run: ``FULL`` for figures, ``QUICK`` to see that everything works."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.running import Case

__all__ = ["FULL", "PACE", "QUICK", "ROOM", "SPOOL", "Scenario", "Size"]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done in a run.

    Args:
        rounds, round_calls: of the measures in rounds.
        burst_calls: of a burst; also what an exit has to get rid of, divided by 5.
        seconds: of a paced run.
        outage_seconds: how long the receiver refuses.
        repetitions: of each case, one after the other in turns.
    """

    rounds: int
    round_calls: int
    burst_calls: int
    seconds: float
    outage_seconds: float
    repetitions: int


FULL = Size(rounds=30, round_calls=1000, burst_calls=100_000, seconds=4, outage_seconds=20, repetitions=5)
QUICK = Size(rounds=4, round_calls=250, burst_calls=2_000, seconds=0.25, outage_seconds=0.5, repetitions=1)

ROOM = {"max_queue_bytes": 1 << 28}
"""For bursts: what is compared is the sending, not the dropping of what does not fit 32 MiB."""

SPOOL = {"spool_dir": "temporary"}
"""A new directory for each run."""

PACE = 2_000
"""Calls a second, where there is no reason for more."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One question and the cases that answer it.

    Args:
        name: for the command line.
        title: for the report.
        question: what the cases show.
        cases: side by side.
        columns: the figures to show, the one that counts first.
        floor: label of the case with which that figure is compared.
        most_repetitions: where a run takes long.
    """

    name: str
    title: str
    question: str
    cases: tuple[Case, ...]
    columns: tuple[str, ...]
    floor: str = ""
    most_repetitions: int = 100
