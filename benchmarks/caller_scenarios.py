"""The scenarios about the calling thread: what a call costs, how long it lasts, how a process starts and ends."""

from __future__ import annotations

from benchmarks.running import Case
from benchmarks.scenario import PACE, ROOM, SPOOL, Scenario, Size

__all__ = ["about_calls"]

_THREADS = 8


def about_calls(size: Size) -> list[Scenario]:
    """What a call costs and how long it lasts; how a process starts and ends."""
    return [
        _caller(size),
        _parts(size),
        _filtered(size),
        _three(size),
        _threads(size),
        _paced(size),
        _disk(size),
        _exit(size),
        _import(),
    ]


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
            Case("generic with spool, fast", "ours:generic", "rounds", numbers, SPOOL),
            Case("generic with spool, plain", "ours:generic", "rounds", numbers, SPOOL, is_fast=False),
        ),
        columns=("caller_cpu_us",),
        floor="`QueueHandler` onto `SimpleQueue`",
    )


def _parts(size: Size) -> Scenario:
    numbers = _rounds(size)
    unsearched = {"redact": {"only": ["password"]}}
    return Scenario(
        "parts",
        "What such a call consists of",
        "The same calls, of which the record goes a part of its way only; each row has all of the rows above it.",
        (
            Case("logging alone (`NullHandler`)", "null", "rounds", numbers),
            Case("and selected by type and level", "part:selected", "rounds", numbers),
            Case("and encoded", "part:encoded", "rounds", numbers, unsearched),
            Case("and its texts searched for secrets", "part:encoded", "rounds", numbers),
            Case("and queued, numbered, sent beside: *generic, fast*", "ours:generic", "rounds", numbers),
            Case(
                "and written to the spool: *generic with spool, fast*",
                "ours:generic",
                "rounds",
                numbers,
                SPOOL,
            ),
        ),
        columns=("caller_cpu_us",),
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
            Case("generic", "ours:generic", "threads", numbers, ROOM),
            Case("generic with spool", "ours:generic", "threads", numbers, ROOM | SPOOL),
        ),
        columns=("caller_cpu_us", "calls_per_second", "missing"),
        floor="`QueueHandler` onto `SimpleQueue`",
    )


def _paced(size: Size) -> Scenario:
    numbers = {"calls_a_second": PACE / 2, "seconds": size.seconds}
    return Scenario(
        "paced",
        "A steady stream",
        "Wall time of single calls at 1,000 a second, each from a cold start of the processor's caches.",
        (
            Case("logging alone (`NullHandler`)", "null", "paced", numbers),
            Case("`QueueHandler` onto `SimpleQueue`", "queue", "paced", numbers),
            Case("generic", "ours:generic", "paced", numbers),
            Case("generic with spool", "ours:generic", "paced", numbers, SPOOL),
        ),
        columns=("wall_p50_us", "wall_p99_us", "wall_p999_us", "wall_max_us"),
        floor="`QueueHandler` onto `SimpleQueue`",
        most_repetitions=3,
    )


def _disk(size: Size) -> Scenario:
    numbers = {"calls_a_second": PACE, "seconds": size.seconds}
    return Scenario(
        "disk",
        "A disk that another process keeps busy",
        "Wall time of single calls at 2,000 a second while another process writes and syncs without pause.",
        (
            Case("a bare `os.write`", "write", "paced", numbers, SPOOL, has_disk_load=True),
            Case(
                "the same, synced twice a second",
                "write:synced",
                "paced",
                numbers,
                SPOOL,
                has_disk_load=True,
            ),
            Case("generic, memory", "ours:generic", "paced", numbers, has_disk_load=True),
            Case("generic with spool", "ours:generic", "paced", numbers, SPOOL, has_disk_load=True),
        ),
        columns=("wall_max_us", "wall_p999_us", "wall_p50_us", "missing"),
        floor="a bare `os.write`",
        most_repetitions=3,
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
            Case("generic with spool", "ours:generic", "exit", numbers, SPOOL),
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
        (
            Case("the package", "import", ""),
            Case("the package and `SplunkHandler` from it", "import:SplunkHandler", ""),
        ),
        columns=("import_ms", "import_cpu_ms", "has_urllib3"),
    )
