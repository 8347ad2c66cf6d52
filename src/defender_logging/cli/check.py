"""The command ``check``: says what the handlers of a configuration will do, and everything that is wrong with it.

Nothing is configured and nothing is sent; with ``--connect`` each handler's connection is opened and closed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from defender_logging._pipeline.wire import TransportError
from defender_logging.cli.building import Built, build
from defender_logging.cli.display import Screen, escaped, masked
from defender_logging.cli.exits import GOOD, NOT_GOOD
from defender_logging.cli.findings import Finding
from defender_logging.cli.imports import user_modules
from defender_logging.cli.inside import connect, settings_of
from defender_logging.cli.loading import LoadedFile, load
from defender_logging.cli.review import Routes, review
from defender_logging.cli.wording import Said, describe

_DESCRIPTION = """\
Read a logging configuration (YAML, JSON or INI) and say, for each handler of defender_logging in it, where it
sends, with which key, what it selects and which loggers feed it; and everything that is wrong, all at once.
The logging of this process is not configured, and no key is ever printed.
"""

_EPILOG = """\
examples:
  defender-logging check logging.yaml              before you restart the service
  defender-logging check --connect logging.yaml    open each connection as well (TCP, TLS, certificate)
  defender-logging check --json logging.yaml       for a script; the exit code is 1 if anything is wrong
"""


def add_parser(commands: Any) -> None:
    """Add the command's words to the command line."""
    parser = commands.add_parser(
        "check",
        help="say what a configuration will do and what is wrong with it",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="YAML, JSON or INI")
    parser.add_argument(
        "--connect", action="store_true", help="open each handler's connection; nothing is sent"
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check one file."""
    with user_modules():
        file = load(arguments.file)
        with build(file.config) as built:
            findings = [*file.findings, *built.findings]
            if not file.is_broken:
                findings += review(file.config, built, is_ini=file.is_ini)
            connections = _connect_all(built, findings) if arguments.connect else {}
            report = _Report(file, built, findings, connections)
            if arguments.json:
                Screen(sys.stdout).line(json.dumps(report.as_json(), indent=2))
            else:
                report.print(Screen(sys.stdout))
    return GOOD if all(finding.is_note for finding in findings) else NOT_GOOD


def _connect_all(built: Built, findings: list[Finding]) -> dict[str, str]:
    found = {}
    for name, handler in built.handlers.items():
        try:
            tls_version = connect(handler)
        except TransportError as error:
            findings.append(
                Finding(("handlers", name), masked(f"cannot connect: {error.reason}", built.secrets))
            )
            continue
        proxy = settings_of(handler).proxy_url
        if tls_version is not None:
            found[name] = f"yes, {tls_version}, and the certificate is trusted"
        else:
            found[name] = "yes, unencrypted" + (f", as far as the proxy {proxy.origin}" if proxy else "")
    return found


class _Report:
    """All that there is to say about one file."""

    def __init__(
        self, file: LoadedFile, built: Built, findings: Sequence[Finding], connections: dict[str, str]
    ) -> None:
        self._file = file
        self._built = built
        self._findings = findings
        self._connections = connections
        self._routes = Routes(file.config)

    def print(self, screen: Screen) -> None:
        """Write it for people: handler by handler, then what concerns no single one."""
        problems = sum(not finding.is_note for finding in self._findings)
        head = f"{escaped(self._file.path)}: {_count(len(self._built.ours), 'handler')}, {_count(problems, 'problem')}"
        screen.line(screen.paint(head, "red" if problems else "green"))
        for name in self._built.ours:
            screen.line()
            screen.line(screen.paint(f"{escaped(name)} ({escaped(self._class_of(name))})", "bold"))
            for said in self._said(name):
                screen.line(f"  {said.name:<9} {escaped(said.words)}")
            self._print_findings(screen, [f for f in self._findings if f.is_about(name)])
        rest = [f for f in self._findings if not any(f.is_about(name) for name in self._built.ours)]
        if rest:
            screen.line()
            self._print_findings(screen, rest, shows_place=True)

    def as_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "file": self._file.path,
            "ok": all(finding.is_note for finding in self._findings),
            "handlers": [
                {
                    "name": name,
                    "class": self._class_of(name),
                    **{said.name.replace(" ", "_"): said.words for said in self._said(name)},
                }
                for name in self._built.ours
            ],
            "problems": [self._finding_json(f) for f in self._findings if not f.is_note],
            "notes": [self._finding_json(f) for f in self._findings if f.is_note],
        }

    def _class_of(self, name: str) -> str:
        block = self._file.config["handlers"][name]
        return str(block.get("class") or block.get("()")).rpartition(".")[2]

    def _said(self, name: str) -> Iterator[Said]:
        handler = self._built.handlers.get(name)
        if handler is not None:
            yield from describe(handler, self._routes.sources(name))
            if name in self._connections:
                yield Said("connects", self._connections[name])

    def _print_findings(
        self, screen: Screen, findings: Sequence[Finding], *, shows_place: bool = False
    ) -> None:
        for finding in findings:
            word = (
                screen.paint("note     ", "yellow") if finding.is_note else screen.paint("problem  ", "red")
            )
            place = ".".join(finding.where) if shows_place else ""
            line = self._file.line_of(finding.where)
            said = ": ".join(part for part in (place, finding.sentence) if part)
            screen.line(f"  {word} {escaped(said)}" + (f" (line {line})" if line else ""))

    def _finding_json(self, finding: Finding) -> dict[str, Any]:
        return {
            "where": ".".join(finding.where),
            "line": self._file.line_of(finding.where),
            "sentence": finding.sentence,
        }


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
