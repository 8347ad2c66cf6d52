"""Says in words what a handler will do: where to, with which key, what, how, and from which loggers.

``check`` prints the pairs that come from here. No path of a URL and no key is among them; the spool is only measured.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from defender_logging._pipeline.integrity import Integrity
from defender_logging._pipeline.spool import Fsync, SpoolDirectory
from defender_logging.cli.inside import settings_of
from defender_logging.cli.review import Source, level_name
from defender_logging.destinations.splunk import is_raw_target
from defender_logging.handlers import DatadogHandler, ForwardingHandler, SplunkHandler
from defender_logging.settings import Settings
from defender_logging.severity import Severity

_WHEN_FULL = {
    "drop_newest": "new entries are dropped and counted",
    "drop_oldest": "the oldest entries are dropped and counted",
    "block": "each call waits up to {wait:g} s, then new entries are dropped and counted",
}

_AT_A_TIME: dict[int | str, str] = {
    1: "one at a time",
    "auto": "as many at a time as the receiver takes well",
}

_SYNCED = {
    Fsync.OFF: "synced by the system alone",
    Fsync.INTERVAL: "synced every half second",
    Fsync.ALWAYS: "synced before each call returns",
}


class Said(NamedTuple):
    """One thing about a handler."""

    name: str
    words: str


def describe(handler: ForwardingHandler, sources: Sequence[Source]) -> Iterator[Said]:
    """Yield what a handler will do, the most important first."""
    chosen = settings_of(handler)
    yield Said("sends to", _where_to(handler, chosen))
    yield Said("key", _key(chosen))
    yield Said("selects", _selection(chosen))
    yield Said(
        "fed by", ", ".join(f"{s.name} ({level_name(s.levelno)} and above)" for s in sources) or "nothing"
    )
    yield Said(
        "batches",
        f"up to {chosen.max_batch_entries:,} entries or {size(chosen.max_batch_bytes)}, "
        f"after {chosen.flush_interval_seconds:g} s at the latest, compression {chosen.compression}, "
        f"{_AT_A_TIME.get(chosen.max_in_flight, f'up to {chosen.max_in_flight} at a time')}",
    )
    when_full = _WHEN_FULL[chosen.overflow.value].format(wait=chosen.block_timeout_seconds)
    if chosen.spool_dir is None:
        yield Said("queue", f"up to {size(chosen.max_queue_bytes)} in memory; when it is full, {when_full}")
    else:
        yield Said("queue", f"up to {size(chosen.max_queue_bytes)} in memory, and all of it on disk")
        yield Said("spool", f"{_spool(chosen, chosen.spool_dir)}; when it is full, {when_full}")
    if chosen.integrity is not Integrity.OFF:
        yield Said("integrity", _integrity(chosen))
    if handler.level != logging.NOTSET:
        yield Said("level", f"{level_name(handler.level)} and above only, whatever is selected")


def _where_to(handler: ForwardingHandler, chosen: Settings) -> str:
    parts = [chosen.url.origin]
    if isinstance(handler, SplunkHandler):
        parts.append("Splunk HEC, raw endpoint" if is_raw_target(chosen.url.target) else "Splunk HEC")
        parts += [
            f"{name} {chosen.vendor[name]!r}" for name in ("index", "sourcetype") if chosen.vendor.get(name)
        ]
    elif isinstance(handler, DatadogHandler):
        parts += ["Datadog", f"source {chosen.vendor['ddsource']!r}"]
    else:
        parts.append({"json_array": "JSON arrays", "ndjson": "NDJSON"}[chosen.vendor["body"]])
    if chosen.proxy_url is not None:
        parts.append(f"through the proxy {chosen.proxy_url.origin}")
    return ", ".join((*parts, *_trust(chosen)))


def _trust(chosen: Settings) -> Iterator[str]:
    if chosen.url.scheme == "http":
        yield "unencrypted"
    elif chosen.server_fingerprint is not None:
        yield "only if its certificate is the pinned one"
    elif chosen.ca_file is not None:
        yield f"if {chosen.ca_file!r} vouches for its certificate"
    if chosen.client_cert_file is not None:
        yield f"showing the certificate in {chosen.client_cert_file!r}"


def _key(chosen: Settings) -> str:
    if chosen.api_key is None:
        return "none"
    if chosen.api_key.is_reference:
        return f"{chosen.api_key.identity} in the header {chosen.api_header_name}"
    return f"written in the file (env:NAME or file:PATH is safer), in the header {chosen.api_header_name}"


def _spool(chosen: Settings, spool_dir: str) -> str:
    used = size(SpoolDirectory(spool_dir, chosen.max_spool_bytes).used_bytes())
    return (
        f"in {spool_dir!r}, up to {size(chosen.max_spool_bytes)} over all its streams (now {used}), "
        f"{_SYNCED[chosen.fsync]}; what is left when a process ends, the next start of a handler with this address, "
        "name, key and index sends"
    )


def _integrity(chosen: Settings) -> str:
    if chosen.integrity_key is None:
        return "a hash chain (sha256) without a key, which anybody can compute anew"
    key = chosen.integrity_key
    where = key.identity if key.is_reference else "a key written in the file (env:NAME or file:PATH is safer)"
    return f"a hash chain (hmac-sha256) with {where}; `defender-logging verify` checks it"


def _selection(chosen: Settings) -> str:
    levels = ", ".join(level for level in Severity if level in chosen.log_levels)
    if chosen.log_types is None:
        return f"every record, with or without a component; levels {levels}"
    components = ", ".join(word for word in chosen.vocabulary.components if word in chosen.log_types)
    return f"components {components}; levels {levels}"


def size(size_bytes: int) -> str:
    """Return a number of bytes in words."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 100_000 else f"{size_bytes:,} bytes"  # noqa: PLR2004 - 0.1 MB
