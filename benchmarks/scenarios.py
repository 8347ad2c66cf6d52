"""Which cases are run: each scenario a question, its cases side by side, with the numbers that make a run.

``FULL`` numbers are for figures, ``QUICK`` ones show in a second or two that everything works.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.peers import NAMES as PEERS
from benchmarks.running import Case

__all__ = ["FULL", "QUICK", "Scenario", "Size", "scenarios"]


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

_ROOM = {"max_queue_bytes": 1 << 28}
"""For bursts: what is compared is the sending, not the dropping of what does not fit 32 MiB."""

_SPOOL = {"spool_dir": "temporary"}
_PACE = 2_000
_WAN_PACE = 20_000
_WAN_SINK = ("--delay-seconds", "0.1")
_THREADS = 8


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


def scenarios(size: Size) -> dict[str, Scenario]:
    """All scenarios by name, in the order of the report."""
    found = [
        _caller(size),
        _filtered(size),
        _three(size),
        _threads(size),
        _paced(size),
        _disk(size),
        _burst(size),
        _latency(size),
        _wan(size),
        _outage(size),
        _exit(size),
        _import(),
        _peers(size),
        _peers_defaults(size),
        _peers_exit(size),
    ]
    return {scenario.name: scenario for scenario in found}


def _rounds(size: Size) -> dict[str, float]:
    return {"calls": size.round_calls, "rounds": size.rounds}


def _caller(size: Size) -> Scenario:
    numbers = _rounds(size)
    kinds = ("generic", "splunk", "datadog")
    return Scenario(
        "caller",
        "What a log call costs its thread",
        "CPU of the calling thread per call, in bursts of 1,000 while the sender works.",
        (
            Case("logging alone (`NullHandler`)", "null", "rounds", numbers),
            Case("`QueueHandler` onto `SimpleQueue`", "queue", "rounds", numbers),
            *(Case(f"{kind}, fast", f"ours:{kind}", "rounds", numbers) for kind in kinds),
            *(Case(f"{kind}, plain", f"ours:{kind}", "rounds", numbers, is_fast=False) for kind in kinds),
            Case("generic with spool, fast", "ours:generic", "rounds", numbers, _SPOOL),
            Case("generic with spool, plain", "ours:generic", "rounds", numbers, _SPOOL, is_fast=False),
        ),
        columns=("caller_cpu_us",),
        floor="`QueueHandler` onto `SimpleQueue`",
    )


def _filtered(size: Size) -> Scenario:
    numbers = {"calls": 10 * size.round_calls, "rounds": size.rounds}
    return Scenario(
        "filtered",
        "A record that is filtered out",
        "CPU of the calling thread for a debug record that is not forwarded.",
        (
            Case("`NullHandler`", "null", "rounds", numbers, style="debug"),
            Case(
                "a handler that does nothing, filter of one line", "filter", "rounds", numbers, style="debug"
            ),
            Case("generic, by level", "ours:generic", "rounds", numbers, style="debug"),
            Case("generic, by component", "ours:generic", "rounds", numbers, {"log_types": ["admin"]}),
        ),
        columns=("caller_cpu_us",),
        floor="a handler that does nothing, filter of one line",
    )


def _three(size: Size) -> Scenario:
    numbers = _rounds(size)
    kinds = ("generic", "splunk", "datadog")
    return Scenario(
        "three",
        "Three handlers on one logger",
        "CPU of the calling thread per call; one handler is the mean of the three.",
        (
            *(Case(kind, f"ours:{kind}", "rounds", numbers) for kind in kinds),
            Case("all three", "ours:three", "rounds", numbers),
        ),
        columns=("caller_cpu_us",),
    )


def _threads(size: Size) -> Scenario:
    numbers = {"calls": size.burst_calls // 20, "threads": _THREADS}
    return Scenario(
        "threads",
        "Eight threads at once",
        "CPU of a call when eight threads log as fast as they can, and calls a second of all.",
        (
            Case("`QueueHandler` onto `SimpleQueue`", "queue", "threads", numbers),
            Case("generic", "ours:generic", "threads", numbers, _ROOM),
            Case("generic with spool", "ours:generic", "threads", numbers, _ROOM | _SPOOL),
        ),
        columns=("caller_cpu_us", "calls_per_second", "missing"),
        floor="`QueueHandler` onto `SimpleQueue`",
    )


def _paced(size: Size) -> Scenario:
    numbers = {"calls_a_second": _PACE / 2, "seconds": size.seconds}
    return Scenario(
        "paced",
        "A steady stream",
        "Wall time of single calls at 1,000 a second, each from a cold start of the processor's caches.",
        (
            Case("logging alone (`NullHandler`)", "null", "paced", numbers),
            Case("`QueueHandler` onto `SimpleQueue`", "queue", "paced", numbers),
            Case("generic", "ours:generic", "paced", numbers),
            Case("generic with spool", "ours:generic", "paced", numbers, _SPOOL),
        ),
        columns=("wall_p50_us", "wall_p99_us", "wall_p999_us", "wall_max_us"),
        floor="`QueueHandler` onto `SimpleQueue`",
        most_repetitions=3,
    )


def _disk(size: Size) -> Scenario:
    numbers = {"calls_a_second": _PACE, "seconds": size.seconds}
    return Scenario(
        "disk",
        "A disk that another process keeps busy",
        "Wall time of single calls at 2,000 a second while another process writes and syncs without pause.",
        (
            Case("a bare `os.write`", "write", "paced", numbers, _SPOOL, has_disk_load=True),
            Case(
                "the same, synced twice a second",
                "write:synced",
                "paced",
                numbers,
                _SPOOL,
                has_disk_load=True,
            ),
            Case("generic, memory", "ours:generic", "paced", numbers, has_disk_load=True),
            Case("generic with spool", "ours:generic", "paced", numbers, _SPOOL, has_disk_load=True),
        ),
        columns=("wall_max_us", "wall_p999_us", "wall_p50_us", "missing"),
        floor="a bare `os.write`",
        most_repetitions=3,
    )


def _burst(size: Size) -> Scenario:
    numbers = {"calls": size.burst_calls}
    plain = _ROOM | {"compression": "none"}
    return Scenario(
        "burst",
        "A burst of 100,000, and all of it delivered",
        "CPU of the whole process and time from the first call to the last arrival, per entry that arrived.",
        (
            Case("ideal sender, fast", "ideal", "burst", numbers),
            Case("ideal sender, plain", "ideal", "burst", numbers, is_fast=False),
            Case("generic, gzip, fast", "ours:generic", "burst", numbers, _ROOM),
            Case("generic, gzip, plain", "ours:generic", "burst", numbers, _ROOM, is_fast=False),
            Case("generic, no compression, fast", "ours:generic", "burst", numbers, plain),
            Case("splunk, gzip, fast", "ours:splunk", "burst", numbers, _ROOM),
            Case("datadog, gzip, fast", "ours:datadog", "burst", numbers, _ROOM),
            Case("generic with spool, gzip, fast", "ours:generic", "burst", numbers, _ROOM | _SPOOL),
        ),
        columns=(
            "process_cpu_us",
            "caller_cpu_us",
            "arrived_per_second",
            "wall_p999_us",
            "missing",
            "duplicated",
            "entry_bytes",
            "wire_entry_bytes",
        ),
        floor="ideal sender, fast",
        most_repetitions=3,
    )


def _latency(size: Size) -> Scenario:
    numbers = {"calls_a_second": _PACE / 2, "seconds": size.seconds}
    at_once = {"flush_interval_seconds": 0}
    return Scenario(
        "latency",
        "From the call to the receiver",
        "Time from the call to the arrival of the complete request, at 1,000 a second.",
        (
            Case("generic, default (gathers for 1 s)", "ours:generic", "paced", numbers, style="stamped"),
            Case(
                "generic, `flush_interval_seconds: 0`",
                "ours:generic",
                "paced",
                numbers,
                at_once,
                style="stamped",
            ),
        ),
        columns=("latency_p50_us", "latency_p99_us", "latency_max_us", "missing"),
        most_repetitions=3,
    )


def _wan(size: Size) -> Scenario:
    numbers = {"calls_a_second": _WAN_PACE, "seconds": 2 * size.seconds}
    auto = {"max_in_flight": "auto"}
    ack = {"use_ack": True}
    acking = (*_WAN_SINK, "--acks")
    return Scenario(
        "wan",
        "A receiver that answers in 100 ms",
        "20,000 entries a second for eight seconds: how long after the last call the last entry arrived.",
        (
            Case("splunk, one in flight", "ours:splunk", "paced", numbers, sink=_WAN_SINK),
            Case("splunk, `max_in_flight: auto`", "ours:splunk", "paced", numbers, auto, sink=_WAN_SINK),
            Case("splunk with acks, one in flight", "ours:splunk", "paced", numbers, ack, sink=acking),
            Case(
                "splunk with acks, `max_in_flight: auto`",
                "ours:splunk",
                "paced",
                numbers,
                ack | auto,
                sink=acking,
            ),
        ),
        columns=("lag_seconds", "waiting", "wall_p999_us", "missing", "dropped", "duplicated"),
        most_repetitions=2,
    )


def _outage(size: Size) -> Scenario:
    numbers = {"calls_a_second": _PACE, "seconds": size.outage_seconds, "warm_up_calls": 0}
    calm = {"retry_max_seconds": 2}  # So that the run does not last as long as the pauses between retries.
    small = {"max_queue_bytes": 4 << 20}
    sink = ("--down-seconds", str(size.outage_seconds))
    return Scenario(
        "outage",
        "A receiver that refuses for 20 seconds",
        "2,000 entries a second meanwhile: growth of the process's memory at its peak, and what arrives after.",
        (
            Case("generic, 32 MiB queue", "ours:generic", "paced", numbers, calm, sink=sink),
            Case(
                "generic, 4 MiB queue (too small)", "ours:generic", "paced", numbers, calm | small, sink=sink
            ),
            Case("generic with spool", "ours:generic", "paced", numbers, calm | _SPOOL, sink=sink),
        ),
        columns=("memory_growth_bytes", "finish_seconds", "arrived", "missing", "dropped", "duplicated"),
        most_repetitions=1,
    )


def _exit(size: Size) -> Scenario:
    numbers = {"calls": size.burst_calls // 5}
    return Scenario(
        "exit",
        "A program that just ends",
        "20,000 calls, then the last line of the script: what arrived, and how long the process took to end.",
        (
            Case("logging alone (`NullHandler`)", "null", "exit", numbers),
            Case("generic", "ours:generic", "exit", numbers),
            Case("generic with spool", "ours:generic", "exit", numbers, _SPOOL),
            Case("all three", "ours:three", "exit", numbers),
        ),
        columns=("exit_seconds", "arrived", "missing", "duplicated"),
        most_repetitions=3,
    )


def _import() -> Scenario:
    return Scenario(
        "import",
        "The import",
        "What `import defender_logging` adds to `import logging.config`, in a fresh interpreter.",
        (Case("import", "import", ""),),
        columns=("import_ms", "import_cpu_ms", "has_urllib3"),
    )


_PEER_COLUMNS = (
    "process_cpu_us",
    "caller_cpu_us",
    "arrived_per_second",
    "wall_p999_us",
    "missing",
    "duplicated",
    "has_fields",
    "entry_bytes",
    "wire_entry_bytes",
)


def _peers(size: Size) -> Scenario:
    burst = {"calls": size.burst_calls}
    plain = _ROOM | {"compression": "none"}
    return Scenario(
        "peers",
        "Other handlers at their best, the same burst",
        "100,000 calls, every handler with the settings that deliver most; counted is what arrived.",
        (
            Case("ideal sender", "ideal", "burst", burst),
            Case("defender-logging, generic, gzip", "ours:generic", "burst", burst, _ROOM),
            Case("defender-logging, generic, no compression", "ours:generic", "burst", burst, plain),
            *(Case(name, f"peer:{name}:best", "burst", burst) for name in PEERS),
        ),
        columns=_PEER_COLUMNS,
        floor="ideal sender",
        most_repetitions=3,
    )


def _peers_defaults(size: Size) -> Scenario:
    numbers = {"calls": size.burst_calls // 5}
    return Scenario(
        "peers-defaults",
        "Other handlers with their defaults",
        "20,000 calls at once; counted is what arrived.",
        (
            Case("defender-logging, generic", "ours:generic", "burst", numbers),
            *(Case(name, f"peer:{name}:default", "burst", numbers) for name in PEERS),
        ),
        columns=_PEER_COLUMNS,
        most_repetitions=1,
    )


def _peers_exit(size: Size) -> Scenario:
    numbers = {"calls": size.burst_calls // 5}
    return Scenario(
        "peers-exit",
        "Other handlers in a program that just ends",
        "20,000 calls with default settings, then the last line of the script: what arrived, and after how long.",
        (
            Case("defender-logging, generic", "ours:generic", "exit", numbers),
            *(Case(name, f"peer:{name}:default", "exit", numbers) for name in PEERS),
        ),
        columns=("exit_seconds", "arrived", "missing", "duplicated"),
        most_repetitions=1,
    )
