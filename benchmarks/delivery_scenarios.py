"""The scenarios about delivery: bursts, latency, slow and refusing receivers."""

from __future__ import annotations

from benchmarks.figures import WAN_PACE
from benchmarks.running import Case
from benchmarks.scenario import PACE, ROOM, SPOOL, Scenario, Size

__all__ = ["about_delivery"]

_WAN_SINK = ("--delay-seconds", "0.1")


def about_delivery(size: Size) -> list[Scenario]:
    """What a delivered entry costs, how fast it goes, and what a bad receiver does."""
    return [
        _burst(size),
        _latency(size),
        _wan(size),
        _outage(size),
    ]


def _burst(size: Size) -> Scenario:
    numbers = {"calls": size.burst_calls}
    plain = ROOM | {"compression": "none"}
    return Scenario(
        "burst",
        "A burst of 100,000, and all of it delivered",
        "CPU of the whole process and time from the first call to the last arrival, per entry that arrived.",
        (
            Case("ideal sender, fast", "ideal", "burst", numbers),
            Case("ideal sender, plain", "ideal", "burst", numbers, is_fast=False),
            Case("generic, gzip, fast", "ours:generic", "burst", numbers, ROOM),
            Case("generic, gzip, plain", "ours:generic", "burst", numbers, ROOM, is_fast=False),
            Case("generic, no compression, fast", "ours:generic", "burst", numbers, plain),
            Case("splunk, gzip, fast", "ours:splunk", "burst", numbers, ROOM),
            Case("datadog, gzip, fast", "ours:datadog", "burst", numbers, ROOM),
            Case("generic with spool, gzip, fast", "ours:generic", "burst", numbers, ROOM | SPOOL),
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
    numbers = {"calls_a_second": PACE / 2, "seconds": size.seconds}
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
    numbers = {"calls_a_second": WAN_PACE, "seconds": 2 * size.seconds}
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
        columns=(
            "lag_seconds",
            "calls_per_second",
            "waiting",
            "wall_p999_us",
            "missing",
            "dropped",
            "duplicated",
        ),
        most_repetitions=2,
    )


def _outage(size: Size) -> Scenario:
    numbers = {"calls_a_second": PACE, "seconds": size.outage_seconds, "warm_up_calls": 0}
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
            Case("generic with spool", "ours:generic", "paced", numbers, calm | SPOOL, sink=sink),
        ),
        columns=("memory_growth_bytes", "finish_seconds", "arrived", "missing", "dropped", "duplicated"),
        most_repetitions=1,
    )
