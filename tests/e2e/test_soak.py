"""An hour of a service's life in little time: real traffic, one fault in a hundred requests, and nothing grows.

Pauses are a twelfth of the defaults, so five minutes have the retries of an hour. The test takes 30 seconds;
``SOAK_SECONDS=300 python -m pytest -m slow -s tests/e2e/test_soak.py`` takes the whole hour, and prints what it saw.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import threading
from collections import Counter

import pytest

from defender_logging.testing import Answer, LocalReceiver

SOAK_SECONDS = int(os.environ.get("SOAK_SECONDS", "30"))
RATE = 2_000
FAULT_SHARE = 0.01
MAX_GROWTH_BYTES = 4 * 1024 * 1024
"""Of the memory, from the median of the second quarter to that of the last: a leak of seven bytes an entry shows in
the long run. (It grows with the first outages, to what their backlogs need.)"""

FAULTS = [
    Answer(status=503),
    Answer(status=500, body="<html>"),
    Answer(status=429, headers={"Retry-After": "0"}),
    Answer(status=401),
    Answer(cut_at="before_request"),
    Answer(cut_at="after_headers"),
    Answer(cut_at="after_body", takes_entries=True),
    Answer(cut_at="in_answer_headers", takes_entries=True),
    Answer(delay_seconds=0.5),
]

SERVICE = """
pauses = {"retry_initial_seconds": 1 / 12, "retry_max_seconds": 5, "hold_retry_seconds": 1, "max_batch_entries": 50}
make("generic", spool_dir="spool", **pauses)
make("splunk", kind=SplunkHandler, url=os.environ["HEC_URL"], api_key="any", use_ack=True, ack_timeout_seconds=2,
     spool_dir="spool", **pauses)

def sample():
    with open("/proc/self/statm") as file:
        rss = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    files = sum(len(names) for _, _, names in os.walk("spool"))
    return {"rss": rss, "threads": threading.active_count(), "descriptors": len(os.listdir("/proc/self/fd")),
            "files": files, "pending": sum(handler.stats().pending for handler in HANDLERS)}

seconds, rate = int(os.environ["SOAK_SECONDS"]), int(os.environ["RATE"])
began = time.monotonic()
for number in range(seconds * rate):
    log.info("transaction %d sent", number, extra={"component": "relay", "category": "sent", "padding": "x" * 100})
    if number % 20 == 0 and (early := began + number / rate - time.monotonic()) > 0:
        time.sleep(early)
    if number % rate == 0:
        tell("SAMPLE", sample())
tell("FLUSHED", flush_all(30))
"""


class Trouble:
    """Gives a receiver one faulty answer in a hundred; and eleven times it is down, and forgets its channels."""

    def __init__(self):
        self.arrived = Counter()
        self.faults = 0
        self._dice = random.Random(12)
        self.receiver = LocalReceiver(max_entries=1, max_requests=1, use_ack=True, on_arrival=self._note)
        self._stop = threading.Event()
        self._outages = threading.Thread(target=self._fail, daemon=True)

    def _note(self, request, entries):
        self.arrived.update(entry.id for entry in entries)
        if self._dice.random() < FAULT_SHARE:
            self.faults += 1
            self.receiver.script(self._dice.choice(FAULTS))

    def _fail(self):
        while not self._stop.wait(SOAK_SECONDS / 12):
            self.receiver.refuse()
            self._stop.wait(SOAK_SECONDS / 120)
            self.receiver.listen()
            self.receiver.forget_channels()

    def __enter__(self):
        self.receiver.start()
        self._outages.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._outages.join()
        self.receiver.stop()


@pytest.mark.slow
@pytest.mark.timeout(120 + 2 * SOAK_SECONDS)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_is_lost_and_nothing_grows_in_a_soak(programs):
    """Memory, threads, descriptors and spool files are at the end what they were after the first quarter."""
    with Trouble() as trouble:
        result = programs.start(
            SERVICE,
            url=trouble.receiver.generic_url,
            HEC_URL=trouble.receiver.hec_url,
            seconds=SOAK_SECONDS * 2 + 60,
            SOAK_SECONDS=str(SOAK_SECONDS),
            RATE=str(RATE),
        ).finish()
    samples = result.values("SAMPLE")
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    rows = "".join(
        f"\n{name:12} {[sample[name] for sample in samples[:: max(1, quarter // 4)]]}" for name in samples[0]
    )
    print(f"\n{trouble.faults} faults{rows}\n{result.accounts}")  # noqa: T201 - for who asks with -s

    assert (0, True) == (result.code, result.value("FLUSHED")), result.stderr
    assert trouble.faults
    for account in result.accounts:
        assert account["accepted"] == account["delivered"] == SOAK_SECONDS * RATE
    accepted = {f"{a['stream']}-{n}" for a in result.accounts for n in range(1, a["accepted"] + 1)}
    assert accepted == set(trouble.arrived)
    for name, slack in {"threads": 0, "descriptors": 2, "files": 2}.items():
        assert max(s[name] for s in late) <= max(s[name] for s in samples[: 2 * quarter]) + slack, name
    growth = statistics.median(s["rss"] for s in late) - statistics.median(s["rss"] for s in early)
    assert growth < MAX_GROWTH_BYTES
