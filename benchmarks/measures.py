"""How a subject is driven, in the measured process: in rounds, in a burst, paced, from threads, up to an exit.

Every measure returns plain figures with their unit in the name. CPU of the caller is ``thread_time``, of the process
``getrusage`` (through ``process_time``), so that what other programs do meanwhile counts as little as it can.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.subjects import Subject
from benchmarks.workload import SHARES, WARM_UP

__all__ = ["MEASURES", "Figures"]

Figures = dict[str, Any]

_WARM_UP_CALLS = 100
_WARM_UP_ROUNDS = 2
_TICKS_A_SECOND = 200
"""Of a fast paced run: so many calls at a time that the sleeps between them are long enough to be real."""


def _warm_up(subject: Subject, calls: int = _WARM_UP_CALLS) -> None:
    """Have threads started, connections opened and caches filled before the clock runs."""
    for number in range(WARM_UP, WARM_UP + calls):
        subject.call(number)
    subject.drain()
    gc.collect()


def _shares(values: Sequence[float], name: str) -> Figures:
    ordered = sorted(values)
    last = len(ordered) - 1
    return {f"{name}_{key}_us": ordered[round(share * last)] for key, share in SHARES.items()}


def in_rounds(subject: Subject, *, calls: int, rounds: int) -> Figures:
    """The caller's CPU per call: the median of rounds, with what waits sent in between."""
    _warm_up(subject)
    call = subject.call
    costs = []
    for index in range(rounds):
        numbers = range(index * calls, (index + 1) * calls)
        began = time.thread_time_ns()
        for number in numbers:
            call(number)
        costs.append((time.thread_time_ns() - began) / calls / 1000)
        subject.drain()
    subject.finish()
    counted = sorted(costs[_WARM_UP_ROUNDS:] or costs)
    return {"calls": rounds * calls, "caller_cpu_us": counted[len(counted) // 2]}


def in_burst(subject: Subject, *, calls: int) -> Figures:
    """As fast as it goes, then deliver all: rates, CPU of caller and process, wall time of the single calls."""
    _warm_up(subject)
    call, now = subject.call, time.perf_counter_ns
    marks = array("q", bytes(8 * (calls + 1)))
    began_ns, process_began, caller_began = time.monotonic_ns(), time.process_time_ns(), time.thread_time_ns()
    marks[0] = now()
    for number in range(calls):
        call(number)
        marks[number + 1] = now()
    caller = time.thread_time_ns() - caller_began
    called_ns = time.monotonic_ns()
    subject.finish()
    process = time.process_time_ns() - process_began
    walls = [(later - earlier) / 1000 for earlier, later in pairwise(marks)]
    return {
        "calls": calls,
        "began_ns": began_ns,
        "call_seconds": (called_ns - began_ns) / 1e9,
        "caller_cpu_us": caller / calls / 1000,
        "process_cpu_seconds": process / 1e9,
        **_shares(walls, "wall"),
        **subject.stats(),
    }


def paced(
    subject: Subject, *, calls_a_second: int, seconds: float, warm_up_calls: int = _WARM_UP_CALLS
) -> Figures:
    """At a steady rate: wall time of the single calls, memory, and what still waits when the last was made."""
    _warm_up(subject, warm_up_calls)
    call, now = subject.call, time.perf_counter_ns
    calls = int(calls_a_second * seconds)
    at_once = max(1, calls_a_second // _TICKS_A_SECOND) if calls_a_second > 5 * _TICKS_A_SECOND else 1
    walls = array("d")
    resident_bytes = _reset_peak_memory()
    start = time.monotonic()
    for number in range(calls):
        if number % at_once == 0:
            pause = start + number / calls_a_second - time.monotonic()
            if pause > 0:
                time.sleep(pause)
        began = now()
        call(number)
        walls.append((now() - began) / 1000)
    called_ns = time.monotonic_ns()
    waiting = subject.stats()
    began_to_finish = time.monotonic()
    subject.finish()
    return {
        "calls": calls,
        "calls_per_second": calls / (called_ns / 1e9 - start),
        "called_ns": called_ns,
        "finish_seconds": time.monotonic() - began_to_finish,
        "memory_growth_bytes": _peak_memory() - resident_bytes,
        "waiting": waiting.get("pending", 0),
        **_shares(walls, "wall"),
        **subject.stats(),
    }


def in_threads(subject: Subject, *, calls: int, threads: int) -> Figures:
    """A burst shared by threads: the mean CPU of a call, and the wall time of all."""
    _warm_up(subject)
    costs: list[float] = []
    gate = threading.Barrier(threads + 1)

    def run(index: int) -> None:
        gate.wait()
        began = time.thread_time_ns()
        for number in range(index * calls, (index + 1) * calls):
            subject.call(number)
        costs.append((time.thread_time_ns() - began) / calls / 1000)

    workers = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    gate.wait()
    began = time.monotonic()
    for worker in workers:
        worker.join()
    seconds = time.monotonic() - began
    subject.finish()
    return {
        "calls": calls * threads,
        "caller_cpu_us": sum(costs) / threads,
        "calls_per_second": calls * threads / seconds,
        **subject.stats(),
    }


def up_to_exit(subject: Subject, *, calls: int) -> Figures:
    """A burst, and then nothing: the interpreter ends, and the runner sees how long that took and what arrived."""
    _warm_up(subject)
    for number in range(calls):
        subject.call(number)
    return {"calls": calls, "last_call_ns": time.monotonic_ns()}


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


def _reset_peak_memory() -> int:
    """Forget the peak so far, where the system can (Linux); return the bytes resident now."""
    gc.collect()
    if not sys.platform.startswith("linux"):
        return 0
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    return _status_bytes("VmRSS")


def _peak_memory() -> int:
    return _status_bytes("VmHWM") if sys.platform.startswith("linux") else 0


MEASURES: dict[str, Callable[..., Figures]] = {
    "rounds": in_rounds,
    "burst": in_burst,
    "paced": paced,
    "threads": in_threads,
    "exit": up_to_exit,
}
