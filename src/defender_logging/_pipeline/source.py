"""What a sender takes entries from: a handler's buffer, or the stream of a dead process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from defender_logging._pipeline.entry import Entry
from defender_logging.clock import Wake

__all__ = ["Source"]


class Source(Protocol):
    """The sender's side of a buffer; see ``Buffer`` for what each does. Compared by identity."""

    wake: Wake

    @property
    def is_closed(self) -> bool: ...
    @property
    def pending(self) -> int: ...
    @property
    def waiting_entries(self) -> int: ...
    @property
    def waiting_bytes(self) -> int: ...
    def take(self, max_entries: int, max_bytes: int, /) -> tuple[Entry, ...]: ...
    def settle(self, delivered: Sequence[Entry], rejected: Sequence[tuple[Entry, str]], /) -> None: ...
    def hand_back(self, entries: Sequence[Entry], /) -> None: ...
    def count_request(self, *, is_retry: bool) -> None: ...
    def note_failure(self, reason: str, *, duplicates_possible: int) -> None: ...
