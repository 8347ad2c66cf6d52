"""Compares what the service's handlers say they took with what the receiver says it has, entry by entry. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """The account of one handler.

    Attributes:
        handler: its name in logging.yaml.
        accepted: entries that it took.
        delivered: different entries that the receiver has of it.
        at_the_end: those of them that were still on their way when the service was told to stop.
        dropped: entries that it gave up.
        missing: numbers that it gave out and the receiver does not have.
        repeated: ids that arrived more than once.
    """

    handler: str
    accepted: int
    delivered: int
    at_the_end: int
    dropped: int
    missing: tuple[int, ...]
    repeated: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every entry arrived, once, and there were any."""
        return self.accepted == self.delivered > 0 and not (self.dropped or self.missing or self.repeated)

    def as_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {**asdict(self), "complete": self.is_complete}


def account(handler: str, stats: Mapping[str, Any], ids: Counter[str]) -> Row:
    """Compare one handler's stats, taken right before the end, with the ids that arrived."""
    accepted = int(stats["accepted"])
    numbers = {
        int(number) for number in (entry_id.rpartition("-")[2] for entry_id in ids) if number.isdecimal()
    }
    return Row(
        handler,
        accepted,
        delivered=len(ids),
        at_the_end=max(0, len(ids) - int(stats["delivered"])),
        dropped=int(stats["dropped"]) + int(stats["rejected"]),
        missing=tuple(sorted(set(range(1, accepted + 1)) - numbers)),
        repeated=tuple(sorted(entry_id for entry_id, times in ids.items() if times > 1)),
    )
