"""The command ``spool``: its verbs, their words and their help; each is done by a module of its own."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from defender_logging.cli import spool_discarding, spool_listing, spool_sending
from defender_logging.cli.send import DEFAULT_TIMEOUT_SECONDS, wait_seconds

_DESCRIPTION = """\
See and handle what is on disk because a handler has a spool_dir: entries that wait for their receiver, those that
dead processes left (orphans; the next start of the same handler sends them), and dead letters, which the receiver
has refused for good. All of it is safe beside running services: what a living process owns is left to it.
CONFIG is a logging configuration (YAML, JSON or INI) whose handlers have a spool_dir; DIR is such a directory.
"""

_EPILOG = """\
examples:
  defender-logging spool list logging.yaml                     what is there, and whose
  defender-logging spool show /var/spool/audit STREAM          its entries, one a line
  defender-logging spool send logging.yaml                     deliver orphans now, without starting the service
  defender-logging spool send logging.yaml --dead-letters      after the receiver was set right
  defender-logging spool send logging.yaml --handler splunk --stream STREAM
                                                               an orphan of a handler that is configured no more
  defender-logging spool export /var/spool/audit > trail.ndjson
  defender-logging spool discard /var/spool/audit STREAM       for good; asks first
"""


def add_parser(commands: Any) -> None:
    """Add the command's words to the command line."""
    parser = commands.add_parser(
        "spool",
        help="see, send, export or discard what is on disk",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    listing = _verb(
        verbs, "list", "say which streams there are, whose, and how much is in them", spool_listing.run_list
    )
    listing.add_argument("--json", action="store_true", help="write one JSON object")
    show = _verb(verbs, "show", "show entries, one a line", spool_listing.run_show, streams=True)
    show.add_argument(
        "--dead-letters", action="store_true", help="show these instead, with reason and answer"
    )
    show.add_argument("--json", action="store_true", help="write one JSON object a line")
    _add_send(verbs)
    export = _verb(
        verbs,
        "export",
        "write entries as NDJSON, as they would be sent",
        spool_listing.run_export,
        streams=True,
    )
    export.add_argument("--dead-letters", action="store_true", help="write these instead")
    discard = _verb(
        verbs, "discard", "delete orphans or dead letters for good", spool_discarding.run, streams=True
    )
    discard.add_argument(
        "--dead-letters", action="store_true", help="only these, of the streams named or of all"
    )
    discard.add_argument("--yes", action="store_true", help="do not ask")


def _verb(
    verbs: Any, name: str, words: str, run: Callable[[argparse.Namespace], int], *, streams: bool = False
) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=words, description=_sentence(words))
    verb.add_argument("where", metavar="CONFIG|DIR", help="a logging configuration, or a spool_dir")
    if streams:
        verb.add_argument("streams", metavar="STREAM", nargs="*", help="only these; spool list names them")
    verb.set_defaults(run=run)
    return verb


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _add_send(verbs: Any) -> None:
    words = "deliver now what dead processes left"
    send = verbs.add_parser("send", help=words, description=_sentence(words))
    send.add_argument("config", metavar="CONFIG", help="the logging configuration whose handlers deliver")
    send.add_argument("--handler", metavar="NAME", help="only through this one")
    send.add_argument(
        "--stream",
        metavar="ID",
        help="only this one, through --handler, whichever handler it was written for",
    )
    send.add_argument("--dead-letters", action="store_true", help="send these again as well")
    send.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=wait_seconds,
        default=DEFAULT_TIMEOUT_SECONDS,
        help="give a handler up when nothing of it was delivered for so long (default: %(default)g)",
    )
    send.set_defaults(run=spool_sending.run)
