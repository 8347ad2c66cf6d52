"""The account of every entry: what was accepted, and where each entry is now.

``accepted = delivered + rejected + dropped + pending`` holds in every snapshot, because all counts are
taken at one moment, under the lock of the buffer that owns the ``Account``; ``pending`` is counted from
what the buffer and the sender hold, never by subtraction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["Account", "Stats"]


def _nothing() -> Mapping[str, int]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Stats:
    """A frozen snapshot of one handler in one process.

    Attributes:
        accepted: entries that took a ``seq``, our own (``trail``) among them.
        delivered: entries that the receiver has confirmed.
        rejected: entries that the receiver refuses for good, each set aside alone.
        dropped: entries given up, by the ``overflow`` policy or after ``close()``.
        pending: entries in memory or in flight.
        filtered: records that the selection (or a filter of the handler) left out; they take no ``seq``.
        dropped_by_reason: ``dropped``, by reason.
        rejected_by_reason: ``rejected``, by reason.
        vocabulary_errors: records that went out with ``vocabulary_errors`` in them.
        retries: requests that were sent again, whole or in part.
        requests: requests begun.
        duplicates_possible: entries sent again after an answer that leaves open whether they had arrived.
        queue_bytes: bytes of the entries in memory, in flight included.
        spool_bytes: bytes of the entries on disk.
        last_error: the last failure in words, without any secret; None if there was none.
        last_success_unix_seconds: when the receiver last confirmed an entry; None if never.
        state: ``idle``, ``sending``, ``retrying``, ``held`` or ``closed``.
    """

    accepted: int = 0
    delivered: int = 0
    rejected: int = 0
    dropped: int = 0
    pending: int = 0
    filtered: int = 0
    dropped_by_reason: Mapping[str, int] = field(default_factory=_nothing)
    rejected_by_reason: Mapping[str, int] = field(default_factory=_nothing)
    vocabulary_errors: int = 0
    retries: int = 0
    requests: int = 0
    duplicates_possible: int = 0
    queue_bytes: int = 0
    spool_bytes: int = 0
    last_error: str | None = None
    last_success_unix_seconds: float | None = None
    state: str = "idle"


@dataclass(slots=True)
class Account:
    """The running counts of one buffer. Not thread-safe: the buffer's lock guards it."""

    delivered: int = 0
    rejected_by_reason: Counter[str] = field(default_factory=Counter)
    dropped_by_reason: Counter[str] = field(default_factory=Counter)
    vocabulary_errors: int = 0
    retries: int = 0
    requests: int = 0
    duplicates_possible: int = 0
    last_error: str | None = None
    last_success_unix_seconds: float | None = None
