"""The numbers by which a sender batches, retries and waits, as one value. They come from ``settings``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Policy"]


@dataclass(frozen=True, slots=True)
class Policy:
    """See docs/configuration.md for the meaning of each.

    ``max_unacknowledged_bytes`` bounds what is under way or waits for an acknowledgment.
    """

    max_batch_entries: int
    max_batch_bytes: int
    flush_interval_seconds: float
    compression: str
    retry_initial_seconds: float
    retry_max_seconds: float
    retry_after_max_seconds: float
    hold_retry_seconds: float
    max_in_flight: int | Literal["auto"] = 1
    ack_timeout_seconds: float = 300.0
    max_unacknowledged_bytes: int = 33_554_432
