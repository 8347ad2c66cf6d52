"""The command ``demo``: a small service, its trail at three destinations, and the account of every entry.

The example service runs under real uvicorn with the shipped logging.yaml, gets real HTTP requests, and is told
to stop by the signal of an orchestrator. The receiver is a process of its own, and its word is what counts.
"""

from __future__ import annotations

import argparse
import http.client
import importlib.util
import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from defender_logging.cli.demo_account import Row, account
from defender_logging.cli.demo_processes import EXAMPLES, DemoError, Receiver, Service
from defender_logging.cli.display import Screen, escaped
from defender_logging.cli.exits import GOOD, NOT_GOOD, UsageError
from defender_logging.cli.signals import unwinding_on_sigterm

KINDS = {"splunk": "splunk", "datadog": "datadog", "accounts": "generic"}
"""The handlers of logging.yaml, and the endpoint of the receiver that each sends to."""

ARRIVAL_SECONDS = 4.0
"""A batch is sent after one second at the latest; on a busy machine that may take longer."""

_DESCRIPTION = """\
See it all on this machine, in a few seconds: a small service under uvicorn writes an audit trail, a local
receiver plays Splunk, Datadog and an endpoint of your own, and in the end every entry is accounted for.
Needs the extra 'demo' (uvicorn and PyYAML). Nothing leaves the machine.
"""

_EPILOG = f"""\
What runs, to read and to copy from:
  {EXAMPLES / "service.py"}
  {EXAMPLES / "logging.yaml"}
"""


class Step(NamedTuple):
    """One request to the service, and what it is about."""

    about: str
    method: str
    path: str
    body: Mapping[str, Any] | None
    status: int


ACTS: tuple[tuple[Step, ...], ...] = (
    (
        Step("mallory guesses a password", "POST", "/sessions", {"user": "mallory", "password": "1234"}, 401),
        Step("alice mistypes hers", "POST", "/sessions", {"user": "alice", "password": "corect horse"}, 401),
        Step("alice signs in", "POST", "/sessions", {"user": "alice", "password": "correct horse"}, 201),
    ),
    (
        Step("a transaction is sent", "POST", "/relayers/relayer-7/transactions", {"value_wei": 10**18}, 202),
        Step("the gas limit is raised", "PATCH", "/relayers/relayer-7", {"gas_limit": 50_000}, 200),
        Step("the relayer is paused", "PATCH", "/relayers/relayer-7", {"is_paused": True}, 200),
        Step("it sends no more", "POST", "/relayers/relayer-7/transactions", {"value_wei": 1}, 409),
    ),
    (
        Step("the other one does", "POST", "/relayers/relayer-1/transactions", {"value_wei": 2}, 202),
        Step("alice signs out", "DELETE", "/sessions", None, 200),
    ),
)
"""Between two acts the demo waits until everything has arrived; after the last one the service is stopped at
once, so that what still waits has to be delivered on the way out."""


def add_parser(commands: Any) -> None:
    """Add the command's words to the command line."""
    parser = commands.add_parser(
        "demo",
        help="see a small service and its trail arrive, on this machine",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--json", action="store_true", help="write one JSON object at the end, and nothing else"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the whole way once."""
    missing = [package for package in ("uvicorn", "yaml") if importlib.util.find_spec(package) is None]
    if missing:
        names = " and ".join({"yaml": "PyYAML"}.get(package, package) for package in missing)
        raise UsageError(f'the demo needs {names}, not installed here; pip install "defender-logging[demo]"')
    began = time.monotonic()
    show = _Show(Screen(sys.stdout), is_silent=arguments.json)
    rows: Sequence[Row] = ()
    problems: list[str] = []
    try:
        with unwinding_on_sigterm():
            rows = _play(show, problems)
    except (DemoError, OSError, http.client.HTTPException) as error:
        problems.append(str(error) or type(error).__name__)
    problems += [
        f"{row.handler}: not every entry arrived exactly once" for row in rows if not row.is_complete
    ]
    seconds = time.monotonic() - began
    if arguments.json:
        content = {
            "ok": not problems,
            "seconds": round(seconds, 3),
            "handlers": [row.as_json() for row in rows],
            "problems": problems,
        }
        Screen(sys.stdout).line(json.dumps(content, indent=2))
    else:
        show.end(rows, problems, seconds)
    return NOT_GOOD if problems else GOOD


def _play(show: _Show, problems: list[str]) -> list[Row]:
    with Receiver(show.arrival) as receiver:
        show.say("The receiver plays Splunk, Datadog and an endpoint of your own:")
        for kind, url in receiver.urls.items():
            show.say(f"  {kind:<8} {url}")
        with Service(_environment(receiver)) as service:
            show.say(
                f"The service runs under uvicorn at http://127.0.0.1:{service.port}, with logging.yaml as shipped."
            )
            for number, act in enumerate(ACTS, 1):
                _perform(act, service, show, problems)
                stats = service.request("GET", "/stats")[1]
                if number < len(ACTS):
                    receiver.wait_for(_expected(stats), ARRIVAL_SECONDS)
            show.say()
            show.say("The service is told to stop; what still waits goes out on the way:")
            if not service.stop():
                problems.append("the service did not stop in time")
            receiver.wait_for(_expected(stats), ARRIVAL_SECONDS)
    return [account(handler, stats[handler], receiver.ids(kind)) for handler, kind in KINDS.items()]


def _environment(receiver: Receiver) -> dict[str, str]:
    """Return what logging.yaml refers to."""
    return {
        "SPLUNK_HEC_URL": receiver.urls["splunk"],
        "SPLUNK_HEC_TOKEN": receiver.keys["splunk"],
        "DATADOG_LOGS_URL": receiver.urls["datadog"],
        "DATADOG_API_KEY": receiver.keys["datadog"],
        "ACCOUNTS_URL": receiver.urls["generic"],
        "ACCOUNTS_API_KEY": receiver.keys["generic"],
    }


def _perform(act: Sequence[Step], service: Service, show: _Show, problems: list[str]) -> None:
    show.say()
    for step in act:
        status, _ = service.request(step.method, step.path, step.body)
        show.step(step, status)
        if status != step.status:
            problems.append(f"{step.method} {step.path} was answered with {status}, not {step.status}")


def _expected(stats: Mapping[str, Any]) -> dict[str, int]:
    return {kind: stats[handler]["accepted"] for handler, kind in KINDS.items()}


class _Show:
    """What people see. Any thread may call it."""

    def __init__(self, screen: Screen, *, is_silent: bool) -> None:
        self._screen = screen
        self._is_silent = is_silent
        self._lock = threading.Lock()

    def say(self, text: str = "") -> None:
        """Write one line."""
        if not self._is_silent:
            with self._lock:
                self._screen.line(text)

    def step(self, step: Step, status: int) -> None:
        """Write what is done to the service, and its answer."""
        request = self._screen.paint(f"{step.method} {step.path}", "dim")
        self.say(f"{self._screen.paint(f'{step.about:<28}', 'bold')} {request} {status}")

    def arrival(self, kind: str, fields: Any) -> None:
        """Write an entry that has arrived."""
        self.say(f"  {self._screen.entry(kind, fields)}")

    def end(self, rows: Sequence[Row], problems: Sequence[str], seconds: float) -> None:
        """Write the account and the result."""
        self.say()
        names = ("handler ", "accepted", "delivered", "on the way out", "dropped", "missing", "twice")
        if rows:
            self.say(self._screen.paint("  ".join(names), "bold"))
        for row in rows:
            cells: tuple[object, ...] = (row.handler, row.accepted, row.delivered, row.at_the_end)
            cells += (row.dropped, len(row.missing), len(row.repeated))
            self.say("  ".join(_cell(cell, len(name)) for cell, name in zip(cells, names, strict=True)))
        for problem in problems:
            lines = problem.splitlines()
            self.say(self._screen.paint(f"problem: {escaped(lines[0])}", "red"))
            for line in lines[1:]:
                self.say(f"  {escaped(line)}")
        if not problems:
            self.say(self._screen.paint(f"Every entry arrived, each once, in {seconds:.1f} s.", "green"))
            self.say(f"What you saw is in {EXAMPLES}; start your own from its logging.yaml.")


def _cell(value: object, width: int) -> str:
    return f"{value:<{width}}" if isinstance(value, str) else f"{value:>{width}}"
