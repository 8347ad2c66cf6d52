"""The demo's receiver, in a process of its own: ``python -m defender_logging.cli.demo_receiver``.

It reads the keys to accept as one JSON line from stdin, writes its addresses as one JSON line to stdout, then
one line for each entry that arrives. It ends when stdin does, and so never outlives the demo.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Sequence
from typing import Any

from defender_logging.testing import DatadogSettings, GenericSettings, HecSettings, LocalReceiver
from defender_logging.testing.exchange import ReceivedEntry, ReceivedRequest


def main() -> None:
    """Receive until stdin ends."""
    keys = json.loads(sys.stdin.readline())
    lock = threading.Lock()

    def write(line: Any) -> None:
        with lock:
            print(json.dumps(line), flush=True)

    def tell(_: ReceivedRequest, entries: Sequence[ReceivedEntry]) -> None:
        for entry in entries:
            write({"kind": entry.kind, "fields": entry.fields})

    receiver = LocalReceiver(
        hec=HecSettings(tokens=[keys["splunk"]]),
        datadog=DatadogSettings(api_keys=[keys["datadog"]]),
        generic=GenericSettings(header_name="X-Api-Key", header_values=[keys["generic"]]),
        on_arrival=tell,
    )
    with receiver:
        write({"splunk": receiver.hec_url, "datadog": receiver.datadog_url, "generic": receiver.generic_url})
        sys.stdin.read()


if __name__ == "__main__":
    main()
