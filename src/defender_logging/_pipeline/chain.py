"""Chains the entries of one stream: each carries the ``hash`` of the one before as ``prev``.

``Sealing`` digests an entry in the caller's thread when it is encoded; the buffer, which alone knows the number and
what was dropped, has ``Chain`` finish the line, under its lock. The rules are in ``integrity``.

Guaranteed: the chain holds exactly the entries that were kept when they were numbered. One that is dropped later
leaves a gap; the entry ``dropped`` tells it, with the hash before and after.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from defender_logging._pipeline.entry import SCHEMA, Draft, Fields
from defender_logging._pipeline.integrity import GENESIS, HASHED, Seal, core_digest, extras_in
from defender_logging.destinations.base import Encoder

__all__ = [
    "CHECKPOINT_ENTRIES",
    "CHECKPOINT_SECONDS",
    "SEAL_BYTES",
    "Chain",
    "ChainPlan",
    "End",
    "Mark",
    "Sealing",
    "end_of",
    "hashes_of",
]

CHECKPOINT_ENTRIES = 1000
CHECKPOINT_SECONDS = 60.0
"""A checkpoint comes before the next entry after so many entries, or so long."""

_SCHEMA_FIELD = b',"schema":"%b"' % SCHEMA.encode()
SEAL_BYTES = len(',"prev":"","hash":""') + 2 * len(GENESIS) + len(_SCHEMA_FIELD)
"""Length of what ``Chain.seal`` returns."""

_MARKS = re.compile(b'"prev":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"' + _SCHEMA_FIELD + b',"id":"')
"""In a line; the last such place is ours. Texts cannot look so, as their quotes are escaped."""


class Mark(str, Enum):
    """What an entry of our own about the chain is called in ``trail``."""

    STARTED = "started"
    CHECKPOINT = "checkpoint"
    STOPPED = "stopped"


Describe = Callable[[str, str, Mapping[str, Any]], Draft]
"""Makes the draft of an entry of our own from its ``trail``, a sentence, and further fields."""


@dataclass(frozen=True, slots=True)
class ChainPlan:
    """How a pipeline chains: with which seal, and who makes the entries about the chain."""

    seal: Seal
    describe: Describe


class Sealing:
    """A destination's ``encode`` that digests what it encodes; entries cut to size are digested as they are sent."""

    def __init__(self, destination: Encoder) -> None:
        self._encode = destination.encode

    def encode(self, fields: Fields) -> Draft:
        """Return a draft with ``core``; its head ends before ``schema``, where ``prev`` and ``hash`` belong."""
        values = fields.values
        extras = extras_in(values)
        if extras:
            values = {**values, HASHED: extras}
            values["schema"] = values.pop("schema")
        draft = self._encode(fields._replace(values=values))
        return Draft(draft.head.removesuffix(_SCHEMA_FIELD), draft.foot, core_digest(values))


class _Kept(NamedTuple):
    """The newest entry that was numbered; until the next one comes it may still turn out to be dropped."""

    seq: int
    hash: bytes


class Chain:
    """The chain of one stream. Guarded by the lock of the buffer that uses it.

    Args:
        stream: its name.
        plan: seal and words.
    """

    def __init__(self, stream: str, plan: ChainPlan) -> None:
        self._stream = stream.encode()
        self._plan = plan
        self._head = GENESIS
        self._count = 0
        self._newest: _Kept | None = None
        self._last_kept_seq = 0
        self._stopped_seq = 0
        self._marked_count = 0
        self._marked_at = 0.0
        self._edges: dict[str, _Edges] = {}

    def __repr__(self) -> str:
        return f"<Chain {self._stream.decode()} {self._plan.seal.algorithm.value} count={self._count}>"

    def seal(self, seq: int, core: bytes) -> bytes:
        """Return ``prev``, ``hash`` and ``schema`` of the entry ``seq``, as they stand in its line.

        It counts as kept when a higher ``seq`` comes, unless ``drop_newest`` was called in between.
        """
        self._settle(seq)
        link = self._plan.seal.link(self._head, core, b"%b-%d" % (self._stream, seq))
        self._newest = _Kept(seq, link)
        return b',"prev":"%b","hash":"%b"%b' % (self._head, link, _SCHEMA_FIELD)

    def _settle(self, seq: int) -> None:
        """Take the newest entry into the chain, now that the next one, ``seq``, is due."""
        newest = self._newest
        if newest is not None and newest.seq < seq:
            self._newest = None
            self._last_kept_seq, self._head = newest
            self._count += 1

    def drop_newest(self) -> bytes:
        """Leave the newest entry out of the chain; returns the head, which is the hash before and after it."""
        self._newest = None
        return self._head

    def note_gap(self, seq: int, reason: str, before: bytes, after: bytes) -> None:
        """Remember the hashes around a dropped entry (empty: not known) until the gap is told."""
        self._edges.setdefault(reason, _Edges()).add(seq, before, after)

    def with_hashes(self, reason: str, ranges: Sequence[Sequence[int]]) -> list[list[Any]]:
        """Return told ranges with the hashes before and after each (None: not known), and forget those."""
        edges = self._edges.get(reason, _Edges())
        return [[*pair, *edges.take(*pair)] for pair in ranges]

    def due(self, seq: int, now_seconds: float) -> Mark | None:
        """Say which entry of our own has to stand before the next one, ``seq``; asked before each."""
        self._settle(seq)
        if seq == 1:
            self._marked_at = now_seconds
            return Mark.STARTED
        kept = self._count - self._marked_count
        if kept >= CHECKPOINT_ENTRIES or (kept and now_seconds - self._marked_at >= CHECKPOINT_SECONDS):
            # Even if this one is dropped: a full queue is no reason to try again before each entry.
            self._marked_count, self._marked_at = self._count + 1, now_seconds
            return Mark.CHECKPOINT
        return None

    def is_open(self, seq: int) -> bool:
        """Whether the entries before the next one, ``seq``, do not end in ``stopped``."""
        self._settle(seq)
        return self._last_kept_seq != self._stopped_seq

    def describe(self, mark: Mark, seq: int, *, dropped: int, rejected: int) -> Draft:
        """Make the draft of an entry about this chain, to be numbered ``seq``."""
        seal = self._plan.seal
        values: dict[str, Any] = {"integrity": seal.algorithm.value}
        if seal.key_id is not None:
            values["key_id"] = seal.key_id
        if mark is not Mark.STARTED:
            values |= {
                "count": self._count,
                "head": self._head.decode(),
                "dropped": dropped,
                "rejected": rejected,
            }
        if mark is Mark.STOPPED:
            self._stopped_seq = seq
        return self._plan.describe(mark.value, _SENTENCES[mark], values)

    def describe_end_of(self, end: End) -> Draft:
        """Make the draft of the entry that closes the stream of a dead process."""
        values = {"of_stream": end.stream, "of_seq": end.seq, "head": end.hash}
        return self._plan.describe(
            Mark.STOPPED.value,
            f"the process of the stream {end.stream} ended without a word; its last entry is {end.seq}",
            values,
        )


_SENTENCES: Mapping[Mark, str] = {
    Mark.STARTED: "this stream begins",
    Mark.CHECKPOINT: "this stream goes on",
    Mark.STOPPED: "this stream ends",
}


class _Edges:
    """The hashes around ranges of dropped entries, one pair a range, as they grow and merge."""

    def __init__(self) -> None:
        self._before: dict[int, bytes] = {}
        self._after: dict[int, bytes] = {}

    def add(self, seq: int, before: bytes, after: bytes) -> None:
        if self._after.pop(seq - 1, None) is None:
            self._before[seq] = before
        if self._before.pop(seq + 1, None) is None:
            self._after[seq] = after

    def take(self, first: int, last: int) -> tuple[str | None, str | None]:
        before, after = self._before.pop(first, b""), self._after.pop(last, b"")
        return before.decode() or None, after.decode() or None


class End(NamedTuple):
    """The last entry of a dead process's stream."""

    stream: str
    seq: int
    hash: str


def hashes_of(line: bytes) -> tuple[bytes, bytes]:
    """Return ``prev`` and ``hash`` of a line; both empty if it has none."""
    found: list[tuple[bytes, bytes]] = _MARKS.findall(line)
    return found[-1] if found else (b"", b"")


def end_of(line: bytes) -> End | None:
    """Return what the last line of a stream says of its end; None if it is not chained, or ends it properly."""
    try:
        entry = json.loads(line)
        entry = entry["event"] if isinstance(entry.get("event"), dict) else entry
        if entry.get("trail") == Mark.STOPPED.value and "of_stream" not in entry:
            return None
        return End(str(entry["stream"]), int(entry["seq"]), str(entry["hash"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
