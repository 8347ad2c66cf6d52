"""The command ``send``: one marked entry through each handler, and the receiver's answer in words.

The handlers are made as ``check`` makes them, and send as they would in the service; what became of the entry
is read from ``stats()``. The account is then given up, so that leaving costs nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from defender_logging.cli.building import Built, build, nearest
from defender_logging.cli.display import Screen, escaped, masked
from defender_logging.cli.exits import GOOD, NOT_GOOD, UsageError
from defender_logging.cli.findings import Finding
from defender_logging.cli.imports import user_modules
from defender_logging.cli.inside import end_stream, give_up, id_of_first_entry, settings_of
from defender_logging.cli.loading import LoadedFile, load
from defender_logging.handlers import DatadogHandler, ForwardingHandler, SplunkHandler
from defender_logging.metrics import Stats

LASTING_TROUBLE_RETRIES = 2
"""After two failures a third request is not waited for; one may be a receiver that was only busy."""

DEFAULT_TIMEOUT_SECONDS = 15.0
_POLL_SECONDS = 0.02

_DESCRIPTION = """\
Send one marked entry through each handler of defender_logging in a logging configuration, and explain the
answer: delivered, or what is wrong (token, index, site, certificate, name, proxy, ...) and what to do next.
The entry is sent whatever log_types and log_levels select: category 'notification', level info.
"""

_EPILOG = """\
examples:
  defender-logging send logging.yaml
  defender-logging send --handler splunk --timeout 5 logging.yaml
  defender-logging send --json logging.yaml      exit code 1 if any handler could not deliver
"""


_PROSPECTS = {
    "rejected": "The receiver refuses this entry for good; its words say why.",
    "held": "In the service, entries wait until this is set right.",
    "retrying": "In the service, entries wait and the handler goes on trying.",
}


class Result(NamedTuple):
    """What became of one handler's entry.

    Attributes:
        handler: its name in the configuration.
        address: scheme, host and port; None if the handler could not be made.
        outcome: ``delivered``, ``rejected``, ``held``, ``retrying``, ``no answer`` or ``not made``.
        reason: why it was not delivered; empty if it was.
        next_step: where to look for the entry, or what to do.
        entry_id: the entry's ``id``.
    """

    handler: str
    address: str | None
    outcome: str
    reason: str = ""
    next_step: str = ""
    entry_id: str | None = None

    @property
    def is_delivered(self) -> bool:
        """Whether the receiver has the entry."""
        return self.outcome == "delivered"


def add_parser(commands: Any) -> None:
    """Add the command's words to the command line."""
    parser = commands.add_parser(
        "send",
        help="send one test entry through each handler",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="YAML, JSON or INI")
    parser.add_argument("--handler", metavar="NAME", help="only this one")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=wait_seconds,
        default=DEFAULT_TIMEOUT_SECONDS,
        help="longest wait over all handlers together (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.set_defaults(run=run)


def wait_seconds(text: str) -> float:
    """Read a wait, for argparse."""
    seconds = float(text)
    if not 0 < seconds <= 3600:  # noqa: PLR2004 - an hour; also refuses NaN
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 3600 seconds")
    return seconds


def run(arguments: argparse.Namespace) -> int:
    """Send the test entries of one file."""
    deadline = time.monotonic() + arguments.timeout
    with user_modules():
        file = load(arguments.file)
        with build(file.config) as built:
            names = _chosen(built, arguments.handler, file)
            results = _send_all(built, names, deadline)
    results = [_without_keys(result, built.secrets) for result in results]
    screen = Screen(sys.stdout)
    if arguments.json:
        screen.line(json.dumps(_as_json(file, results), indent=2))
    else:
        _print(screen, file, results)
    return GOOD if results and all(result.is_delivered for result in results) else NOT_GOOD


def _chosen(built: Built, wanted: str | None, file: LoadedFile) -> list[str]:
    if wanted is None:
        return built.ours
    if wanted not in built.ours:
        raise UsageError(
            f"{file.path!r} has no handler of defender_logging named {wanted!r}{nearest(wanted, built.ours)}"
        )
    return [wanted]


def _send_all(built: Built, names: Sequence[str], deadline: float) -> list[Result]:
    """Hand every handler its entry, then wait for all of them together."""
    made = {name: built.handlers[name] for name in names if name in built.handlers}
    try:
        for handler in made.values():
            handler.emit(_test_record(handler))
            end_stream(handler)
            handler.flush(0)  # Asks it to send at once; waits for nothing.
        _wait(list(made.values()), deadline)
        return [
            _result(name, made[name]) if name in made else _not_made(name, built.findings) for name in names
        ]
    finally:
        for handler in made.values():
            give_up(handler)


def _test_record(handler: ForwardingHandler) -> logging.LogRecord:
    chosen = settings_of(handler)
    components = chosen.vocabulary.components
    selected = (word for word in components if chosen.log_types is None or word in chosen.log_types)
    words = {
        "name": "defender-logging.send",
        "levelno": logging.INFO,
        "levelname": "INFO",
        "msg": "This is a test entry, sent by the command defender-logging send.",
        "component": next(selected, components[0]),
        "category": "notification",
        "subject": "defender-logging send",
    }
    return logging.makeLogRecord(words)


def _wait(handlers: Sequence[ForwardingHandler], deadline: float) -> None:
    """Wait until each has an answer to tell of, or the time is over."""
    while time.monotonic() < deadline and not all(_is_decided(handler.stats()) for handler in handlers):
        time.sleep(_POLL_SECONDS)


def _is_decided(stats: Stats) -> bool:
    return stats.pending == 0 or stats.state == "held" or stats.retries >= LASTING_TROUBLE_RETRIES


def _result(name: str, handler: ForwardingHandler) -> Result:
    stats = handler.stats()
    address = settings_of(handler).url.origin
    if stats.delivered:
        entry_id = id_of_first_entry(handler)
        return Result(name, address, "delivered", "", _where_to_look(handler, entry_id), entry_id)
    if not stats.accepted:
        return Result(
            name, address, "not made", "the entry could not be written; see stderr", "Check the formatter."
        )
    if stats.last_error is None:
        reason = "the time was over before an answer came; does something between swallow packets?"
        return Result(
            name, address, "no answer", reason, "Give --timeout more seconds, or look at the network."
        )
    outcome = "rejected" if stats.rejected else stats.state
    return Result(name, address, outcome, stats.last_error, _PROSPECTS.get(outcome, _PROSPECTS["retrying"]))


def _not_made(name: str, findings: Sequence[Finding]) -> Result:
    reasons = [f.sentence for f in findings if f.is_about(name)]
    return Result(
        name, None, "not made", "; ".join(reasons), "Correct the configuration; check tells all of it."
    )


def _where_to_look(handler: ForwardingHandler, entry_id: str | None) -> str:
    if isinstance(handler, SplunkHandler):
        index = settings_of(handler).vendor.get("index") or "*"
        return f'Find it in Splunk: search index={index} "{entry_id}"'
    if isinstance(handler, DatadogHandler):
        return f"Find it in Datadog's Log Explorer: @id:{entry_id} (202 is a promise; indexing takes a while)"
    return f"Look there for the id {entry_id}"


def _without_keys(result: Result, secrets: frozenset[str]) -> Result:
    return result._replace(reason=masked(result.reason, secrets), next_step=masked(result.next_step, secrets))


def _print(screen: Screen, file: LoadedFile, results: Sequence[Result]) -> None:
    for finding in file.findings:
        screen.line(f"{screen.paint('problem', 'red')}  {escaped(finding.sentence)}")
    if not results and not file.is_broken:
        screen.line(
            f"{escaped(file.path)} has no handler of defender_logging, so there is nothing to send through."
        )
    for result in results:
        to = f" to {result.address}" if result.address else ""
        words = result.outcome if result.is_delivered else f"not delivered, {result.outcome}"
        outcome = screen.paint(words, "green" if result.is_delivered else "red")
        screen.line(f"{screen.paint(escaped(result.handler), 'bold')}{to}: {outcome}")
        for text in (result.reason, result.next_step):
            if text:
                screen.line(f"  {escaped(text)}")
    if results:
        screen.line("Sent whatever log_types and log_levels select: category 'notification', level info.")


def _as_json(file: LoadedFile, results: Sequence[Result]) -> Mapping[str, Any]:
    return {
        "file": file.path,
        "ok": bool(results) and all(result.is_delivered for result in results),
        "problems": [finding.sentence for finding in file.findings],
        "results": [result._asdict() for result in results],
    }
