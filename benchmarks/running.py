"""Runs one case: a sink, a fresh process with the subject, and the count of what arrived, as one set of figures.

A case comes from ``scenarios``; its figures go to ``figures``. Nothing outlives a run: both processes are ended, and
the temporary directory is removed, whatever happens.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "SILENT", "Case", "run"]

ROOT = Path(__file__).resolve().parent.parent

SILENT = ("null", "filter", "queue", "write", "write:synced", "part:selected", "part:encoded")
"""Subjects that send nothing."""

_RUN_SECONDS = 100.0
"""The longest that a measured process may live; what it did not deliver by then is missing in its figures."""

_LOAD = """
import os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
block = os.urandom(1 << 20)
while True:
    for index in range(64):
        os.pwrite(descriptor, block, index << 20)
        if index % 8 == 7:
            os.fsync(descriptor)
"""
"""Another process that writes and syncs, for as long as it is left alive."""

_IMPORT = """
import time, json, sys
import logging.config
began, cpu_began = time.perf_counter(), time.process_time()
import defender_logging
if len(sys.argv) > 1:
    getattr(defender_logging, sys.argv[1])
print(json.dumps({
    "import_ms": (time.perf_counter() - began) * 1e3,
    "import_cpu_ms": (time.process_time() - cpu_began) * 1e3,
    "has_urllib3": "urllib3" in sys.modules,
}))
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One subject under one measure.

    Args:
        label: how the report calls it.
        subject: see ``subjects.Wish``; ``import`` or ``import:NAME`` for the import itself, and a name from it.
        measure: one of ``measures.MEASURES``.
        numbers: what the measure is given: calls, rounds, rate, seconds.
        settings: for the handler; ``spool_dir: temporary`` gets a new directory.
        style: of the calls.
        is_fast: with orjson and isal, or with the standard library only.
        sink: options of the sink's command line.
        has_disk_load: another process writes and syncs on the same disk meanwhile.
    """

    label: str
    subject: str
    measure: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    style: str = "plain"
    is_fast: bool = True
    sink: tuple[str, ...] = ()
    has_disk_load: bool = False

    @property
    def is_import(self) -> bool:
        """Whether only the import itself is measured."""
        return self.subject.partition(":")[0] == "import"

    @property
    def copies(self) -> int:
        """How often each record is to arrive."""
        return 3 if self.subject == "ours:three" else 1

    @property
    def is_of_peer(self) -> bool:
        """Whether it runs in the peers' environment."""
        return self.subject.startswith("peer:")


def run(case: Case, python: str) -> dict[str, Any]:
    """Run a case once.

    Args:
        case: what to run.
        python: the interpreter of the measured process.

    Returns:
        The figures of the measure and of the sink, with what follows from both; or ``refused`` with the reason.
    """
    if case.is_import:
        return _figures_of(_run_process([python, "-c", _IMPORT, *case.subject.split(":")[1:]], None), {})
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as directory,
        _disk_load(case, directory),
        _Sink(case) as sink,
    ):
        began_ns = time.monotonic_ns()
        text = _run_process(
            [python, "-m", "benchmarks.child", _argument(case, sink.url, directory)], directory
        )
        ended_ns = time.monotonic_ns()
        figures = _figures_of(text, {"process_seconds": (ended_ns - began_ns) / 1e9})
        counted = sink.count(figures.get("calls", 0))
    return _together(case, figures, counted, ended_ns)


def _argument(case: Case, url: str, directory: str) -> str:
    settings = dict(case.settings)
    if settings.get("spool_dir") == "temporary":
        settings["spool_dir"] = directory
    wish = {"subject": case.subject, "url": url, "style": case.style, "settings": settings}
    return json.dumps(
        {"wish": wish, "measure": case.measure, "numbers": dict(case.numbers), "is_fast": case.is_fast}
    )


def _environment() -> dict[str, str]:
    """This tree first, so that what is measured is what stands beside this file, installed or not."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]).rstrip(
        os.pathsep
    )
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": ""}


def _run_process(command: list[str], directory: str | None) -> str:
    """Run a process to its end and return its output; one that hangs is ended, and has no figures."""
    try:
        done = subprocess.run(
            command,
            env=_environment(),
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=_RUN_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return json.dumps({"refused": f"not done after {_RUN_SECONDS:.0f} s"})
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        return json.dumps({"refused": (done.stderr.strip().splitlines() or ["no figures"])[-1]})
    return lines[-1]


def _figures_of(text: str, more: dict[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(text)
    return figures | more


def _together(case: Case, figures: dict[str, Any], counted: dict[str, Any], ended_ns: int) -> dict[str, Any]:
    """Add to the figures of a run what only both sides together know."""
    if "last_call_ns" in figures:
        figures["exit_seconds"] = (ended_ns - figures["last_call_ns"]) / 1e9
    if "refused" in figures or case.subject in SILENT:
        return figures
    if "dropped" in figures and figures["dropped"] != counted["missing"]:
        return {"refused": f"{counted['missing']} missing, but {figures['dropped']} counted as dropped"}
    counted["duplicated"] -= (case.copies - 1) * counted["delivered"]
    together = figures | {
        f"sink_{name}" if name in figures else name: value for name, value in counted.items()
    }
    arrived = counted["delivered"]
    together["arrived"] = arrived
    if "began_ns" in figures and arrived:
        seconds = (counted["last_ns"] - figures["began_ns"]) / 1e9
        together["arrived_per_second"] = arrived / seconds
        together["process_cpu_us"] = figures["process_cpu_seconds"] / arrived * 1e6
    if "called_ns" in figures and arrived:
        together["lag_seconds"] = (counted["last_ns"] - figures["called_ns"]) / 1e9
    if arrived:
        together["entry_bytes"] = counted["body_bytes"] / arrived
        together["wire_entry_bytes"] = counted["wire_bytes"] / arrived
    return together


@contextlib.contextmanager
def _disk_load(case: Case, directory: str) -> Iterator[None]:
    if not case.has_disk_load:
        yield
        return
    command = [sys.executable, "-c", _LOAD, str(Path(directory, "load"))]
    with subprocess.Popen(command) as load:
        try:
            yield
        finally:
            load.kill()


class _Sink(contextlib.AbstractContextManager["_Sink"]):
    """A receiver in a process of its own, for one run."""

    def __init__(self, case: Case) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-m", "benchmarks.sink", *case.sink],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def count(self, expected: int) -> dict[str, Any]:
        """Stop the clock, and count what came among so many records."""
        out, _ = self._process.communicate(str(expected), timeout=_RUN_SECONDS)
        counted: dict[str, Any] = json.loads(out)
        return counted
