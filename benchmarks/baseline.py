"""Keeps the last figures that were written: ``baseline.json``, with when and on what they were taken."""

from __future__ import annotations

import json
import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.figures import Results

__all__ = ["loads", "read", "taken", "write"]

_FILE = Path(__file__).parent / "baseline.json"


def read() -> Results:
    """The kept figures; empty if there are none."""
    return {name: scenario["cases"] for name, scenario in _stored().items()}


def taken() -> dict[str, str]:
    """Of each scenario, when and on what its figures were taken."""
    return {name: scenario["taken"] for name, scenario in _stored().items()}


def loads() -> list[float]:
    """The machine's load averages when the scenarios were begun."""
    return [scenario["load"] for scenario in _stored().values()]


def write(results: Results, load: float) -> None:
    """Keep these figures, in place of older ones of the same scenarios.

    Args:
        results: the figures.
        load: the machine's load average when they were begun.
    """
    stored = _stored()
    for name, cases in results.items():
        stored[name] = {"taken": _here_and_now(), "load": load, "cases": cases}
    _FILE.write_text(_spelled(stored), "utf-8")


def _spelled(stored: dict[str, Any]) -> str:
    """JSON with one line for each case: a change of figures shows as a change of lines."""
    blocks = []
    for name, scenario in stored.items():
        cases = ",\n".join(
            f"    {json.dumps(label)}: {json.dumps(x)}" for label, x in scenario["cases"].items()
        )
        taken = f'"taken": {json.dumps(scenario["taken"])},\n   "load": {scenario["load"]}'
        head = f'  {json.dumps(name)}: {{\n   {taken},\n   "cases": {{\n'
        blocks.append(f"{head}{cases}\n   }}\n  }}")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def _stored() -> dict[str, Any]:
    if not _FILE.is_file():
        return {}
    stored: dict[str, Any] = json.loads(_FILE.read_text("utf-8"))
    return stored


def _here_and_now() -> str:
    day = datetime.now(timezone.utc).date().isoformat()
    python = f"CPython {platform.python_version()}"
    return f"{day}, {python}, {_processor()}, {os.cpu_count()} processors, {platform.system()}"


def _processor() -> str:
    """The processor's name, which ``platform`` does not know on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({platform.machine()})" if names else platform.machine()
