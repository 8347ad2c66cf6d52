"""What is to be reached, figure by figure, and whether a ratio drifted since the figures were kept."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.figures import (
    QUEUE,
    SPOOL,
    Figure,
    Results,
    against_peers,
    alone,
    between,
    median,
    ratio,
    slowest_call_of_peers,
    three,
    wan_lag,
)

__all__ = ["MIB", "RATIO", "TARGETS", "Target", "drifts"]

MIB = 1 << 20
RATIO = "\N{MULTIPLICATION SIGN}"

WORSE_BY = 0.15
"""A ratio that got worse by more than this drifted: three times the difference of two runs on a busy machine."""


@dataclass(frozen=True, slots=True)
class Target:
    """One figure to reach.

    Args:
        text: what it is.
        limit: what to reach.
        unit: of both; ``RATIO`` for a ratio.
        figure: takes it from the results.
        is_floor: whether more is better.
        remark: what to say where it is missed.
    """

    text: str
    limit: float
    unit: str
    figure: Figure
    is_floor: bool = False
    remark: str = ""

    def is_reached(self, value: float) -> bool:
        """Whether a value is on the good side of the limit."""
        return value >= self.limit if self.is_floor else value <= self.limit


_BURST = "generic, gzip, fast"

TARGETS = (
    Target(
        "caller's CPU per call, with `fast`, to the standard library's queue",
        0.85,
        RATIO,
        between("caller", "generic, fast", QUEUE, "caller_cpu_us"),
        remark="the table «What such a call consists of» has the parts. Logging alone takes more than half of what "
        "is to be reached. The search for secrets takes a tenth, and was no part of the prototype that the figure "
        "comes from. What is left is one pass over the record, formatting, quoting and one assembled text, each "
        "about as fast as Python is. Handing the raw values to the sender instead would save the caller some 1.5 µs "
        "and cost the process more; it was left, because secrets would then wait in the queue in clear, and arguments "
        "would be formatted after they may have changed. With eight threads the call costs less than half of "
        "the standard library's.",
    ),
    Target(
        "the same without `fast`",
        1.15,
        RATIO,
        between("caller", "generic, plain", QUEUE, "caller_cpu_us"),
    ),
    Target(
        "the same with `spool_dir`, to ours in memory",
        1.2,
        RATIO,
        between("caller", f"{SPOOL}, fast", "generic, fast", "caller_cpu_us"),
        remark="a bare `os.write` of the line takes 0.9 µs, and 1.4 in a process with threads, since it lets go of "
        "the interpreter's lock; number, checksum and copy take 1 µs and cannot wait, as they can in memory, for a "
        "moment when many entries are numbered together. That alone is a ratio of 1.3. A memory map would save the "
        "write, but a failing or full disk then kills the process by SIGBUS.",
    ),
    Target(
        "with `spool_dir`, a busy disk: worst call, to a bare `os.write`",
        1.0,
        RATIO,
        between("disk", SPOOL, "a bare `os.write`", "wall_max_us"),
        remark="a worst call is one in eight thousand. The table has the bare write with syncing, and our handler "
        "without a spool, beside it: most of it is the wait for the interpreter's lock while the sender takes a batch, "
        "which a process with one thread does not have to wait for.",
    ),
    Target(
        "caller's wall time, p99.9, in a burst while the sender works",
        1.0,
        "ms",
        alone("burst", _BURST, "wall_p999_us", 1000),
        remark="in a burst the caller and the sender share the interpreter's lock, which changes hands every 5 ms, and "
        "both share the processors with whatever else runs.",
    ),
    Target(
        "p99.9 in a burst, to the best peer that delivers all",
        1.0,
        RATIO,
        slowest_call_of_peers,
        remark="the lowest is that of loki-logger-handler, which sends its backlog as one request after the burst. "
        "Ours sends meanwhile, and holds the interpreter's lock for up to half a millisecond while it takes a batch.",
    ),
    Target(
        "process CPU per delivered entry, gzip, to the caller's CPU in the same burst",
        1.25,
        RATIO,
        lambda results: ratio(
            median(results, "burst", _BURST, "process_cpu_us"),
            median(results, "burst", _BURST, "caller_cpu_us"),
        ),
    ),
    Target(
        "process CPU per delivered entry, to the best peer without compression",
        0.65,
        RATIO,
        against_peers("process_cpu_us", min, is_compressed=False),
    ),
    Target(
        "process CPU per delivered entry, to the best peer with compression",
        1 / 3,
        RATIO,
        against_peers("process_cpu_us", min, is_compressed=True),
        remark="logging alone and the ideal sender make a quarter of that peer's CPU: a third leaves less than 2 µs "
        "for everything that a handler does.",
    ),
    Target(
        "delivered per second, one handler, gzip",
        80_000,
        "/s",
        alone("burst", _BURST, "arrived_per_second"),
        is_floor=True,
        remark="a rate is wall time: it says as much of what else the machine did as of the handler; the CPU per "
        "entry does not.",
    ),
    Target(
        "delivered per second, to the best peer without compression",
        1.4,
        RATIO,
        against_peers("arrived_per_second", max, is_compressed=False),
        is_floor=True,
    ),
    Target(
        "delivered per second, to the best peer with compression",
        2.5,
        RATIO,
        against_peers("arrived_per_second", max, is_compressed=True),
        is_floor=True,
        remark="that is 115,000 a second, 8.7 µs an entry, while one processor at a time can run Python: the same "
        "limit as for the CPU per entry.",
    ),
    Target(
        "answers in 100 ms, `max_in_flight: auto`, 20,000/s: last arrival after last call",
        1.0,
        "s",
        wan_lag("splunk, `max_in_flight: auto`"),
    ),
    Target(
        "the same with acks",
        1.0,
        "s",
        wan_lag("splunk with acks, `max_in_flight: auto`"),
    ),
    Target(
        "three handlers on one logger, to one handler",
        1.6,
        RATIO,
        three,
        remark="texts are formatted, searched and quoted once for all three; what each does itself is to select, to "
        "look at the record's fields, and to assemble and queue its own line. The ratio was 1.58 when one handler "
        "cost more.",
    ),
    Target(
        "a filtered-out record, to a handler with a filter of one line",
        1.05,
        RATIO,
        between(
            "filtered",
            "generic, by level",
            "a handler that does nothing, filter of one line",
            "caller_cpu_us",
        ),
    ),
    Target(
        "peak memory, outage of 20 s at 2,000/s (32 MiB queue)",
        48,
        "MiB",
        alone("outage", "generic, 32 MiB queue", "memory_growth_bytes", MIB),
    ),
    Target(
        "the same with a queue of 4 MiB, which overflows",
        20,
        "MiB",
        alone("outage", "generic, 4 MiB queue (too small)", "memory_growth_bytes", MIB),
    ),
    Target(
        "`import defender_logging` beyond `import logging.config`",
        15,
        "ms",
        alone("import", "the package", "import_cpu_ms"),
    ),
)


def drifts(now: Results, kept: Results) -> list[str]:
    """Sentences about the ratios that got worse since they were kept."""
    found = []
    for target in TARGETS:
        value, before = target.figure(now), target.figure(kept)
        if target.unit != RATIO or value is None or before is None:
            continue
        change = before / value if target.is_floor else value / before
        if change > 1 + WORSE_BY:
            found.append(f"{target.text}: {value:.2f} {RATIO}, was {before:.2f} {RATIO}.")
    return found
