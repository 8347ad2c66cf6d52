"""The command ``verify``: says of each hash-chained stream in some files whether it is whole and as it was written.

``verify_reading`` reads the entries, ``verify_streams`` judges them, here are the words. Memory is bounded: entries
are read one by one, and what is kept of each is a line of 120 bytes, on temporary files where it is many.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from defender_logging._pipeline.integrity import Seal
from defender_logging._pipeline.ranges import Ranges
from defender_logging.cli.display import Screen, escaped
from defender_logging.cli.exits import GOOD, NOT_GOOD, UsageError
from defender_logging.cli.verify_reading import read
from defender_logging.cli.verify_streams import PARTIAL, Fault, StreamReport, verify
from defender_logging.secret import resolve_reference

_MAX_SHOWN_RANGES = 20
_MAX_SHOWN_PLACES = 10

_DESCRIPTION = """\
Verify the hash chain of a trail that a handler with `integrity` has written: find every entry that was edited,
removed, put in or cut off. FILE is what the receiver exports, one JSON object a line: our entries, Splunk's JSON
(best with _raw), Datadog's, or a spool directory; several make one trail, in any order. `-` is standard input.
"""

_EPILOG = """\
examples:
  defender-logging verify trail.ndjson
  defender-logging verify --integrity-key env:TRAIL_KEY splunk-export.json /var/spool/audit
  defender-logging verify --partial --json monday.json.gz      a part of the trail, for a script
"""

_MEANING: Mapping[Fault, str] = {
    Fault.EDITED: "not as it was written, or put in",
    Fault.TWO: "two different entries have this number, and both hashes are right: the key is in other hands",
    Fault.BROKEN: "does not follow the entry before: one of the two was replaced",
    Fault.GAP: "missing, and nothing tells why",
    Fault.CUT: "cut off: another process found the stream longer",
    Fault.LATE: "missing at the beginning",
    Fault.ABSENT: "all missing: another process found this stream when its own had died",
    Fault.OPEN: "no word of an end: its process died or still runs, or the rest was cut off",
    Fault.UNKNOWN_KEY: "no hash is right: sealed with another key (--integrity-key), or all edited",
    Fault.UNKEYED: "sealed without the key that was given, as anybody could",
    Fault.BARE: "without hash: integrity was off, or they were put in",
}


def add_parser(commands: Any) -> None:
    """Add the command's words to the command line."""
    parser = commands.add_parser(
        "verify",
        help="prove that a trail is whole and unchanged",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="exports or spool directories of one trail")
    parser.add_argument(
        "--integrity-key",
        metavar="env:NAME|file:PATH",
        action="append",
        default=[],
        help="the handler's integrity_key, for hmac-sha256; again for each further key",
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="the files are a part of the trail: streams may begin before and go on after",
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Verify what is in some files."""
    seals = [_seal(reference) for reference in arguments.integrity_key] or [Seal()]
    strangers = _Strangers()
    reports = _excused(verify(strangers.left_out(arguments.files), seals, strangers.note), arguments.partial)
    show = _show_json if arguments.json else _show
    return GOOD if show(Screen(sys.stdout), reports, strangers) else NOT_GOOD


def _seal(reference: str) -> Seal:
    if not reference.startswith(("env:", "file:")):
        raise UsageError(
            "--integrity-key is neither env:NAME nor file:PATH; the key itself would show in the process list"
        )
    try:
        key = resolve_reference(reference)
    except ValueError as error:
        raise UsageError(f"--integrity-key {error}") from None
    if not key:
        raise UsageError(f"--integrity-key {reference!r} is empty")
    return Seal(key)


class _Strangers:
    """Counts what is no entry, and remembers where the first ones are."""

    def __init__(self) -> None:
        self.count = 0
        self.places: list[str] = []
        self._where = ""

    def left_out(self, files: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Yield the entries of the files."""
        for file in files:
            for self._where, entry in read(file):
                if entry is None:
                    self.note()
                else:
                    yield entry

    def note(self) -> None:
        """Count the value that was read last."""
        self.count += 1
        if len(self.places) < _MAX_SHOWN_PLACES:
            self.places.append(self._where)


def _excused(reports: Iterator[StreamReport], is_partial: bool) -> Iterator[StreamReport]:  # noqa: FBT001 - private
    for report in reports:
        if is_partial:
            for fault in PARTIAL:
                report.faults.pop(fault, None)
        yield report


def _show(screen: Screen, reports: Iterator[StreamReport], strangers: _Strangers) -> bool:
    streams = entries = bad = 0
    for report in reports:
        streams, entries, bad = streams + 1, entries + report.entries, bad + bool(report.faults)
        span = f", seq {report.first} to {report.last}" if report.entries else ""
        word = screen.paint("findings", "red") if report.faults else screen.paint("intact", "green")
        screen.line(f"{escaped(report.stream)}: {word}, {_counted(report.entries, 'entr', 'y', 'ies')}{span}")
        for fault in Fault:
            if fault in report.faults:
                name = screen.paint(fault.value, "red")
                screen.line(f"  {name}: {_seqs(fault, report)}: {_MEANING[fault]}")
        if report.dropped:
            screen.line(f"  dropped: seq {_spelled(report.dropped)}: lost, as the trail itself tells")
        if report.duplicates:
            screen.line(f"  duplicates: seq {_spelled(report.duplicates)}: arrived more than once, harmless")
    if strangers.count:
        places = escaped(", ".join(strangers.places))
        screen.line(f"{screen.paint('no entries', 'red')}: {strangers.count:,} values, first in {places}")
    is_good = not bad and not strangers.count and bool(streams)
    total = f"{_counted(streams, 'stream')}, {_counted(entries, 'entr', 'y', 'ies')}"
    words = "intact" if is_good else f"findings in {_counted(bad, 'stream')}" if bad else "not all good"
    screen.line(screen.paint(f"{total}: {words if streams else 'nothing to verify'}", "bold"))
    return is_good


def _counted(number: int, noun: str, one: str = "", many: str = "s") -> str:
    return f"{number:,} {noun}{one if number == 1 else many}"


def _seqs(fault: Fault, report: StreamReport) -> str:
    return f"{'after ' if fault is Fault.OPEN else ''}seq {_spelled(report.faults[fault])}"


def _spelled(numbers: Ranges) -> str:
    """Return ``3, 7 to 9``."""
    pairs = list(iter(numbers))  # Not the set itself: ``list`` would make room for as many as it has numbers.
    shown = [
        str(first) if first == last else f"{first} to {last}" for first, last in pairs[:_MAX_SHOWN_RANGES]
    ]
    rest = len(pairs) - len(shown)
    return ", ".join(shown) + (f" and {rest:,} more places" if rest else "")


def _show_json(screen: Screen, reports: Iterator[StreamReport], strangers: _Strangers) -> bool:
    streams = [_as_json(report) for report in reports]
    is_good = bool(streams) and not strangers.count and all(each["intact"] for each in streams)
    content = {
        "ok": is_good,
        "entries": sum(each["entries"] for each in streams),
        "streams": streams,
        "no_entries": {"count": strangers.count, "first": strangers.places},
    }
    screen.line(json.dumps(content, indent=2))
    return is_good


def _as_json(report: StreamReport) -> dict[str, Any]:
    return {
        "stream": report.stream,
        "intact": not report.faults,
        "entries": report.entries,
        "first": report.first,
        "last": report.last,
        "findings": [
            {"kind": fault.value, "seqs": [list(pair) for pair in report.faults[fault]]}
            for fault in Fault
            if fault in report.faults
        ],
        "dropped": [list(pair) for pair in report.dropped],
        "duplicates": [list(pair) for pair in report.duplicates],
    }
