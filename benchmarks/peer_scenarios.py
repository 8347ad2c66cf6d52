"""The scenarios with other handlers, ours beside them."""

from __future__ import annotations

from benchmarks.peers import NAMES as PEERS
from benchmarks.running import Case
from benchmarks.scenario import ROOM, Scenario, Size

__all__ = ["about_peers"]

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


def about_peers(size: Size) -> list[Scenario]:
    """The burst and the exit with other handlers."""
    return [
        _peers(size),
        _peers_defaults(size),
        _peers_exit(size),
    ]


def _peers(size: Size) -> Scenario:
    burst = {"calls": size.burst_calls}
    plain = ROOM | {"compression": "none"}
    return Scenario(
        "peers",
        "Other handlers at their best, the same burst",
        "100,000 calls, every handler with the settings that deliver most; counted is what arrived.",
        (
            Case("ideal sender", "ideal", "burst", burst),
            Case("defender-logging, generic, gzip", "ours:generic", "burst", burst, ROOM),
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
