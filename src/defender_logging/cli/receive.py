"""The command ``receive``: the local receiver of ``defender_logging.testing``, printing each entry as it arrives.

Connections are served in threads of the receiver, and an entry is printed before its answer is sent; so a slow
terminal slows the senders down instead of filling the memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Sequence
from typing import Any

from defender_logging.cli.display import Screen, escaped
from defender_logging.cli.exits import GOOD, UsageError
from defender_logging.cli.signals import unwinding_on_sigterm
from defender_logging.testing import DatadogSettings, GenericSettings, HecSettings, LocalReceiver
from defender_logging.testing.exchange import ReceivedEntry, ReceivedRequest

DEFAULT_PORT = 8088
"""Splunk's own for HEC."""

KEY_HEADER = "X-Api-Key"
"""What the generic endpoint wants the token in."""

_REMEMBERED = 100
"""Nobody asks this receiver what arrived; it must not grow."""

_WAKE_SECONDS = 0.5
"""On Windows a wait without an end cannot be interrupted."""

_DESCRIPTION = """\
Be Splunk, Datadog and a plain endpoint on this machine, and print each entry that arrives, one a line.
The rules are the vendors' own: a wrong token, a bad envelope or an entry too large is refused as they would.
Ctrl-C ends it.
"""

_EPILOG = """\
examples:
  defender-logging receive                      any token will do
  defender-logging receive --token s3cret-1     only this one, in the vendor's header
  defender-logging receive --tls                https with a throw-away certificate (extra 'tls')
  defender-logging receive --json > trail.json  the raw entries, one JSON value a line
"""


def add_parser(commands: Any) -> None:
    """Add the command's words to the command line."""
    parser = commands.add_parser(
        "receive",
        help="be the receiver, and show what arrives",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="port, 0 for any free one (default: %(default)s)"
    )
    parser.add_argument(
        "--tls", action="store_true", help="speak https, with a certificate made for this run"
    )
    parser.add_argument("--token", metavar="T", help="take only this token or key (default: any)")
    parser.add_argument("--json", action="store_true", help="write each entry as it came")
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:  # noqa: PLR2004 - the highest port
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 65535")
    return port


def run(arguments: argparse.Namespace) -> int:
    """Receive until interrupted, or until nobody reads the output any more."""
    printer = _Printer(as_json=arguments.json)
    receiver = _receiver(arguments, printer)
    with unwinding_on_sigterm():
        _start(receiver, arguments)
        try:
            _introduce(receiver, arguments)
            while not printer.is_over.wait(_WAKE_SECONDS):
                pass
        except (KeyboardInterrupt, BrokenPipeError):  # The two usual ends.
            pass
        finally:
            receiver.stop()
    return GOOD


def _start(receiver: LocalReceiver, arguments: argparse.Namespace) -> None:
    try:
        receiver.start()
    except ModuleNotFoundError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(
            f"cannot listen on {arguments.host}:{arguments.port} ({type(error).__name__}: {error.strerror}); "
            "choose another --port, or 0 for any"
        ) from None


def _receiver(arguments: argparse.Namespace, printer: _Printer) -> LocalReceiver:
    keys = None if arguments.token is None else (arguments.token,)
    return LocalReceiver(
        host=arguments.host,
        port=arguments.port,
        tls=arguments.tls,
        hec=HecSettings(tokens=keys),
        datadog=DatadogSettings(api_keys=keys),
        generic=GenericSettings(header_name=KEY_HEADER if keys else None, header_values=keys),
        max_entries=_REMEMBERED,
        max_requests=_REMEMBERED,
        on_arrival=printer.print_arrival,
    )


def _introduce(receiver: LocalReceiver, arguments: argparse.Namespace) -> None:
    """Say where to send; with ``--json`` on stderr, so that stdout has entries only."""
    screen = Screen(sys.stderr if arguments.json else sys.stdout)
    screen.line("Listening. In your configuration, set url to")
    for name, url in (
        ("SplunkHandler", receiver.hec_url),
        ("DatadogHandler", receiver.datadog_url),
        ("ApiKeyHandler", f"{receiver.generic_url}  (or any other path)"),
    ):
        screen.line(f"  {name:<15} {url}")
    if arguments.tls:
        screen.line(f"  {'ca_file':<15} {receiver.ca_file}")
        screen.line(f"  {'or pin':<15} {receiver.fingerprint}")
    if arguments.token is None:
        screen.line("Any token or key is taken. Ctrl-C ends it.")
    else:
        screen.line(
            f"Only your token is taken; for ApiKeyHandler in the header {KEY_HEADER}. Ctrl-C ends it."
        )


class _Printer:
    """Prints entries from any thread, line by line."""

    def __init__(self, *, as_json: bool) -> None:
        self.is_over = threading.Event()
        self._as_json = as_json
        self._screen = Screen(sys.stdout)
        self._lock = threading.Lock()

    def print_arrival(self, request: ReceivedRequest, entries: Sequence[ReceivedEntry]) -> None:
        with self._lock:
            if self.is_over.is_set():
                return
            try:
                for entry in entries:
                    self._screen.line(self._line(entry))
                if not entries and request.status is not None and request.status >= 400 and not self._as_json:  # noqa: PLR2004 - refusals
                    refused = f"refused with {request.status}: {request.method} {escaped(request.path)}"
                    self._screen.line(self._screen.paint(refused, "red"))
            except OSError:  # Whoever read our output has gone.
                self.is_over.set()

    def _line(self, entry: ReceivedEntry) -> str:
        if self._as_json:
            return json.dumps(entry.fields)
        return self._screen.entry(entry.kind, entry.fields)
