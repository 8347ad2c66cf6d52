"""The command line ``defender-logging``: reads the arguments, runs one command, and returns its exit code.

Each command is a module with ``add_parser`` (its words and help) and ``run`` (its work). What a command cannot
begin with, a missing file say, it raises as ``UsageError``; that becomes one sentence on stderr.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from defender_logging._version import __version__
from defender_logging.cli import check, demo, receive, send, spool, verify
from defender_logging.cli.display import escaped
from defender_logging.cli.exits import INTERRUPTED, NOT_GOOD, USAGE, UsageError

__all__ = ["main"]

_DESCRIPTION = """\
Try out and check a typed audit trail on its way to Splunk, Datadog or any endpoint that takes an API key.

In this order, when you are new here:

  defender-logging demo                  see a small service and its trail arrive, on this machine
  defender-logging check logging.yaml    read your configuration: what it will do, what is wrong
  defender-logging send logging.yaml     send one test entry through each handler to its receiver
  defender-logging spool list DIR        see what waits on disk, and what dead processes left there
  defender-logging verify FILE...        prove that a trail is whole and unchanged (`integrity`)
  defender-logging receive               be the receiver yourself, and watch what your service sends
"""

_EPILOG = """\
Exit codes: 0 all is good, 1 something was found or not delivered, 2 the command could not begin.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments without the program's name; None: those of the process.

    Returns:
        The exit code: 0 good, 1 findings or not delivered, 2 usage, 130 interrupted.
    """
    try:
        arguments = _parser().parse_args(argv)
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except SystemExit as request:  # argparse leaves so, after --help (0) and after a wrong argument (2).
        return request.code if isinstance(request.code, int) else NOT_GOOD
    except UsageError as error:
        print(f"defender-logging: {escaped(str(error))}", file=sys.stderr, flush=True)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter must not stumble over it again when it leaves.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_GOOD
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="defender-logging",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"defender-logging {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (check, send, spool, verify, receive, demo):
        command.add_parser(commands)
    return parser
