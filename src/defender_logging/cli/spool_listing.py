"""The commands ``spool list``, ``show`` and ``export``: what is on disk, for people and for scripts.

Streams come from ``spool_places``, living ones too; nothing is changed, and no owner is disturbed.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from defender_logging._pipeline.spool import DeadLetter, SpoolError, entries_of
from defender_logging.cli.display import Screen, escaped
from defender_logging.cli.exits import GOOD, NOT_GOOD
from defender_logging.cli.spool_places import Found, Place, Spools, chosen, find_spools, streams_in
from defender_logging.cli.wording import size

_KINDS = {"SplunkHandler": "splunk", "DatadogHandler": "datadog", "ApiKeyHandler": "generic"}


def run_list(arguments: argparse.Namespace) -> int:
    """Describe every stream."""
    spools = find_spools(arguments.where)
    found = [(place, list(streams_in(place))) for place in spools.places]
    is_good = not (
        any(not finding.is_note for finding in spools.findings)
        or any(each.info.problem or each.info.damaged for _, streams in found for each in streams)
    )
    screen = Screen(sys.stdout)
    if arguments.json:
        content = {
            "ok": is_good,
            "problems": [finding.sentence for finding in spools.findings if not finding.is_note],
            "spools": [
                {"spool_dir": str(place.directory.path), "streams": [_as_json(each) for each in streams]}
                for place, streams in found
            ],
        }
        screen.line(json.dumps(content, indent=2))
    else:
        _print_list(screen, spools, found)
    return GOOD if is_good else NOT_GOOD


def _as_json(found: Found) -> dict[str, Any]:
    info = found.info
    return {
        "stream": info.stream,
        "owner": found.owner,
        "configured_handler": found.handler_name,
        "handler": dict(found.described_handler),
        "pid": info.meta.get("pid"),
        "host": info.meta.get("host"),
        "entries": info.entries,
        "bytes": info.bytes,
        "oldest_time": info.oldest_time,
        "dead_letters": info.dead_letters,
        "damaged": info.damaged,
        "problem": info.problem,
    }


def _print_list(screen: Screen, spools: Spools, found: Sequence[tuple[Place, Sequence[Found]]]) -> None:
    for finding in spools.findings:
        if not finding.is_note:
            where = ".".join(finding.where)
            screen.line(f"{screen.paint('problem', 'red')}  {escaped(f'{where}: {finding.sentence}')}")
    for place, streams in found:
        entries = sum(each.info.entries for each in streams)
        head = f"{place.directory.path}: {counted(len(streams), 'stream')}, {counted(entries, 'entry')}"
        screen.line(screen.paint(escaped(head), "bold"))
        for each in streams:
            _print_stream(screen, spools.where, each)


def _print_stream(screen: Screen, where: str, found: Found) -> None:
    info = found.info
    parts = [counted(info.entries, "entry"), size(info.bytes)]
    if info.oldest_time:
        parts.append(f"oldest {info.oldest_time}")
    if info.dead_letters:
        parts.append(counted(info.dead_letters, "dead letter"))
    if info.damaged:
        parts.append(counted(info.damaged, "damaged place"))
    owner = screen.paint(f"{found.owner:<6}", "green" if info.is_owned else "yellow")
    screen.line(f"  {escaped(info.stream)}  {owner}  {escaped(', '.join(parts))}")
    screen.line(f"    {escaped(_whose(found))}")
    if info.problem:
        screen.line(f"    {screen.paint('problem', 'red')}  {escaped(info.problem)}")
    elif found.place.is_configured and not found.handler_name and not info.is_owned:
        screen.line(
            f"    no handler of {escaped(where)} takes it over; to send it all the same: defender-logging spool send "
            f"{escaped(where)} --handler NAME --stream {escaped(info.stream)}"
        )


def _whose(found: Found) -> str:
    handler, meta = found.described_handler, found.info.meta
    parts = [
        f"{handler.get('kind') or 'handler unknown'} {handler.get('name') or ''}".strip(),
        *(str(handler[name]) for name in ("origin", "key_reference") if handler.get(name)),
        *([f"index {handler['index']}"] if handler.get("index") else []),
        *([f"process {meta['pid']} on {meta.get('host')}"] if meta.get("pid") else []),
    ]
    return ", ".join(parts)


class _Shown(NamedTuple):
    """An entry or a dead letter, as it is shown."""

    stream: str
    seq: int | None
    line: bytes
    kind: str
    letter: DeadLetter | None = None


def _everything(arguments: argparse.Namespace) -> Iterator[_Shown | SpoolError]:
    """Yield what the streams hold in order, and what cannot be read."""
    for found in chosen(find_spools(arguments.where), arguments.streams):
        if found.info.problem and not found.info.entries:
            yield SpoolError(found.info.problem)
            continue
        try:
            yield from _contents(found, dead_letters=arguments.dead_letters)
        except (SpoolError, OSError) as error:
            yield SpoolError(f"the stream {found.info.stream} cannot be read: {error}")


def _contents(found: Found, *, dead_letters: bool) -> Iterator[_Shown]:
    stream = found.info.stream
    kind = _KINDS.get(str(found.described_handler.get("kind")), "")
    if dead_letters:
        for letter in found.place.directory.dead_letters(stream).read():
            yield _Shown(stream, letter.seq, letter.line, kind, letter)
    else:
        for entry in entries_of(found.info.path):
            yield _Shown(stream, entry.seq, entry.line, kind)


def run_show(arguments: argparse.Namespace) -> int:
    """Show entries, or dead letters, one a line."""
    screen, code = Screen(sys.stdout), GOOD
    for shown in _everything(arguments):
        if isinstance(shown, SpoolError):
            code = _complain(shown)
        elif arguments.json:
            screen.line(json.dumps(_shown_as_json(shown)))
        else:
            screen.line(_readable(screen, shown))
    return code


def run_export(arguments: argparse.Namespace) -> int:
    """Write entries, or dead letters that are entries, as they would be sent: one JSON object a line."""
    code = GOOD
    for shown in _everything(arguments):
        if isinstance(shown, SpoolError):
            code = _complain(shown)
        elif shown.seq is not None:
            sys.stdout.buffer.write(shown.line + b"\n")
    return code


def _complain(error: SpoolError) -> int:
    print(f"defender-logging: {escaped(error)}", file=sys.stderr, flush=True)
    return NOT_GOOD


def _decoded(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return line.decode("utf-8", "backslashreplace")


def _readable(screen: Screen, shown: _Shown) -> str:
    entry: Any = repr(shown.line)[1:] if shown.seq is None else _decoded(shown.line)
    if isinstance(entry, dict) and isinstance(entry.get("event"), dict) and shown.kind in ("splunk", ""):
        entry = entry["event"]
    text = screen.entry(shown.kind, entry)
    if shown.letter is None:
        return text
    answer = f": {shown.letter.answer}" if shown.letter.answer else ""
    return f"{text}  [{escaped(shown.letter.reason + answer)}]"


def _shown_as_json(shown: _Shown) -> dict[str, Any]:
    content: dict[str, Any] = {"stream": shown.stream, "seq": shown.seq}
    if shown.letter is not None:
        letter = shown.letter
        content |= {
            "id": letter.id,
            "reason": letter.reason,
            "answer": letter.answer,
            "unix_seconds": letter.time,
        }
    if shown.seq is None:
        return content | {"damaged_base64": base64.b64encode(shown.line).decode()}
    return content | {"entry": _decoded(shown.line)}


def counted(number: int, noun: str) -> str:
    """Return ``1 entry``, ``2 entries``, ``no entries``."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{f'{number:,}' if number else 'no'} {noun if number == 1 else plural}"
