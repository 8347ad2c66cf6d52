"""The command ``spool discard``: deletes orphans or dead letters for good, after asking.

A stream that a living process owns is left alone, but for its dead letters, which are struck out beside it. So is
what another release wrote: only that one knows what is in it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from defender_logging._pipeline.spool import SpoolError
from defender_logging.cli.display import escaped
from defender_logging.cli.exits import GOOD, NOT_GOOD, UsageError
from defender_logging.cli.spool_listing import counted
from defender_logging.cli.spool_places import Found, chosen, find_spools
from defender_logging.cli.spool_sending import clear_away


def run(arguments: argparse.Namespace) -> int:
    """Delete the streams named, or only dead letters: theirs, or all."""
    if not arguments.streams and not arguments.dead_letters:
        raise UsageError(
            "name the streams to discard, or give --dead-letters; `defender-logging spool list` shows them"
        )
    streams = chosen(find_spools(arguments.where), arguments.streams)
    if arguments.dead_letters:
        streams = [each for each in streams if each.info.dead_letters]
    if not streams:
        print("There is nothing to discard.")
        return GOOD
    if not arguments.yes and not _is_sure(streams, dead_letters=arguments.dead_letters):
        print("Nothing is discarded.")
        return NOT_GOOD
    discard = _discard_letters if arguments.dead_letters else _discard_stream
    results = [_told(each, discard(each)) for each in streams]
    return GOOD if all(results) else NOT_GOOD


def _is_sure(streams: Sequence[Found], *, dead_letters: bool) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("discarding asks first, and there is no terminal to ask on; give --yes")
    letters = counted(sum(each.info.dead_letters for each in streams), "dead letter")
    entries = counted(sum(each.info.entries for each in streams), "entry")
    what = letters if dead_letters else f"{entries} and {letters}"
    print(f"Discard {what} of {counted(len(streams), 'stream')} for good? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _told(found: Found, problem: str | None) -> bool:
    print(f"{escaped(found.info.stream)}: {escaped(problem) if problem else 'discarded'}", flush=True)
    return problem is None


def _discard_stream(found: Found) -> str | None:
    """Delete one orphan; returns why not."""
    info = found.info
    if info.problem and not info.entries:
        return f"not discarded, for nobody knows what is in it: {info.problem}"
    try:
        is_gone = found.place.directory.remove_stream(info.stream)
    except SpoolError as error:
        return str(error)
    return None if is_gone else "not discarded: a living process has it"


def _discard_letters(found: Found) -> str | None:
    shelf = found.place.directory.dead_letters(found.info.stream)
    try:
        shelf.discard(letter.id for letter in shelf.read())
    except (SpoolError, OSError) as error:
        return f"not discarded: {error}"
    if not found.info.is_owned and not found.info.entries:
        clear_away(found)
    return None
