"""Trails for the tests of ``verify``: written by real handlers, received by the local receiver."""

from __future__ import annotations

import copy
import json
import logging
import uuid
from itertools import cycle, islice

from defender_logging import ApiKeyHandler, DatadogHandler, SplunkHandler
from defender_logging._pipeline.integrity import Seal
from defender_logging.cli.verify_entries import sightings
from defender_logging.cli.verify_streams import judge
from defender_logging.testing import LocalReceiver

KEY = "correct-horse-battery-staple"
KEYED = {"integrity": "hmac-sha256", "integrity_key": KEY}
PLAIN = {"integrity": "sha256"}


def received(kinds, *, records, settings=KEYED, extra=None):
    """The entries of one handler a kind, logged in turn, as they arrived; ended properly."""
    loggers = []
    with LocalReceiver() as receiver:
        made = {
            "generic": lambda: ApiKeyHandler(url=receiver.generic_url, **settings),
            "datadog": lambda: DatadogHandler(url=receiver.datadog_url, api_key=receiver.api_key, **settings),
            "splunk": lambda: SplunkHandler(url=receiver.hec_url, api_key=receiver.token, **settings),
        }
        for kind in kinds:
            logger = logging.getLogger(f"trails.{uuid.uuid4().hex}")
            logger.propagate, logger.level = False, 1
            logger.addHandler(made[kind]())
            loggers.append(logger)
        for number, logger in enumerate(islice(cycle(loggers), records)):
            given = {"component": "relay", "category": "paused", "amount": number / 4, "tx": f"0x{number:x}"}
            logger.info(
                "entry %d", number, extra={**given, "object": {"name": "r", "id": number}, **(extra or {})}
            )
        for logger in loggers:
            (handler,) = logger.handlers
            handler.close()
            assert handler.flush(10)
        return [copy.deepcopy(entry.fields) for entry in receiver.entries]


class Trail:
    """Entries of several streams, each looked at once; a change costs only the judgement of its stream."""

    def __init__(self, entries, seals):
        self.entries, self.seals = entries, seals
        self.streams = {}
        for index, entry in enumerate(entries):
            self.streams.setdefault(entry["stream"], []).append(index)
        self._lines = [self._look_at(entry) for entry in entries]

    def _look_at(self, entry):
        return list(sightings([entry], self.seals, lambda: None))

    def verify(self, changed=None, *, added=(), stream=None):
        """What is found, as {stream: {fault: ranges}}, with entries changed by index (None: removed) or added.

        Args:
            changed: the new entries by index.
            added: further ones.
            stream: judge this one only.
        """
        changed = changed or {}
        indexes = self.streams[stream] if stream else range(len(self.entries))
        lines = []
        for index in indexes:
            if index not in changed:
                lines += self._lines[index]
            elif changed[index] is not None:
                lines += self._look_at(changed[index])
        for entry in added:
            lines += self._look_at(entry)
        return found(judge(sorted(lines)))


def found(reports):
    """Faults by stream, as plain values; intact streams are left out."""
    return {
        report.stream: {fault.value: [*iter(numbers)] for fault, numbers in report.faults.items()}
        for report in reports
        if report.faults
    }


def resealed(entry, seal=None, **changes):
    """An entry with changes and the hash that its forger gives it, without the key unless a seal is told."""
    from defender_logging._pipeline.integrity import core_digest

    entry = {**entry, **changes}
    link = (seal or Seal()).link(entry["prev"].encode(), core_digest(entry), entry["id"].encode())
    return entry | {"hash": link.decode()}


def chain(stream, *contents, seal=None):
    """Entries of one stream with these contents, sealed by hand; None leaves a number out, as overflow does."""
    entries, link = [], "0" * 64
    for seq, content in enumerate(contents, 1):
        if content is not None:
            entry = {**content, "prev": link, "id": f"{stream}-{seq}", "stream": stream, "seq": seq}
            entries.append(resealed(entry, seal))
            link = entries[-1]["hash"]
    return entries


def renumbered(entry, seq):
    """A copy of an entry under another number of its stream, nothing else changed."""
    return entry | {"seq": seq, "id": f"{entry['stream']}-{seq}"}


def as_ndjson(values):
    """One JSON object a line."""
    return "".join(json.dumps(value) + "\n" for value in values)
