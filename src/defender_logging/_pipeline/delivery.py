"""Judges what a verdict means for each entry of a batch, knowing no vendor. Pure: values in, values out.

The sender asks ``settle`` after every answer: a batch and a verdict come in, and a ``Settlement`` says which
entries are delivered, which are rejected and why, what is to be sent again and after what kind of pause.

Guaranteed: every entry of the batch is in exactly one of ``delivered``, ``rejected`` and ``again``; what goes
again keeps its order; a batch that is halved ends at single entries, so it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum

from defender_logging._pipeline.entry import Batch, Entry
from defender_logging._pipeline.wire import TransportError
from defender_logging.destinations.base import (
    Delivered,
    Hold,
    Partly,
    Rejected,
    Retry,
    Split,
    Verdict,
)

__all__ = ["Pause", "Settlement", "settle", "verdict_of_failure"]


class Pause(Enum):
    """How long to wait before the next request."""

    NONE = "none"
    BACKOFF = "backoff"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one answer decides.

    Attributes:
        delivered: entries that the receiver has.
        rejected: entries set aside, each with the word that it is counted under.
        again: what is to be sent next, in order.
        pause: what to wait for before that.
        reason: the failure in words; empty when all went well.
        refreshes_key: the key is read again before the next try.
        duplicates_possible: entries in ``again`` that may have arrived already.
        receipt: where given, ``delivered`` waits for the receiver's word under this number.
    """

    delivered: tuple[Entry, ...] = ()
    rejected: tuple[tuple[Entry, str], ...] = ()
    again: tuple[Batch, ...] = ()
    pause: Pause = Pause.NONE
    reason: str = ""
    refreshes_key: bool = False
    duplicates_possible: int = 0
    receipt: int | None = None


def verdict_of_failure(error: TransportError) -> Verdict:
    """Read a missing response as a verdict."""
    if error.is_hold:
        return Hold(error.reason)
    return Retry(error.reason, is_ambiguous=error.is_ambiguous)


def settle(batch: Batch, verdict: Verdict, simplify: Callable[[bytes], bytes]) -> Settlement:
    """Decide the fate of every entry of ``batch``.

    Args:
        batch: what was sent.
        verdict: what the receiver's answer means.
        simplify: the destination's way to leave out what the receiver cannot take from an entry.
    """
    if isinstance(verdict, Delivered):
        return Settlement(delivered=batch.entries, receipt=verdict.receipt)
    if isinstance(verdict, Rejected):
        return Settlement(rejected=_all_as(verdict.code, batch.entries), reason=verdict.reason)
    if isinstance(verdict, Split):
        return _halve(batch, verdict)
    if isinstance(verdict, Partly):
        return _divide(batch, verdict, simplify)
    return _wait(batch, verdict)


def _wait(batch: Batch, verdict: Retry | Hold) -> Settlement:
    return Settlement(
        again=(_next_try(batch, batch.entries, is_ambiguous=verdict.is_ambiguous),),
        pause=Pause.HOLD if isinstance(verdict, Hold) else Pause.BACKOFF,
        reason=verdict.reason,
        refreshes_key=isinstance(verdict, Hold) and verdict.is_about_the_key,
        duplicates_possible=len(batch.entries) if verdict.is_ambiguous else 0,
    )


def _halve(batch: Batch, verdict: Split) -> Settlement:
    entries = batch.entries
    if len(entries) > 1:
        middle = len(entries) // 2
        halves = (entries[:middle], entries[middle:])
        return Settlement(again=tuple(_next_try(batch, half) for half in halves), reason=verdict.reason)
    if batch.is_compressed and not verdict.is_oversize:
        # A gzip stream that does not decompress looks like bad data to HEC (measured, ross/logit).
        return Settlement(
            again=(replace(_next_try(batch, entries), is_compressed=False),), reason=verdict.reason
        )
    return Settlement(rejected=_all_as(verdict.code, entries), reason=verdict.reason)


def _divide(batch: Batch, verdict: Partly, simplify: Callable[[bytes], bytes]) -> Settlement:
    delivered: list[Entry] = []
    rejected: list[tuple[Entry, str]] = []
    left: list[Entry] = []
    for index, entry in enumerate(batch.entries):
        if index in verdict.delivered:
            delivered.append(entry)
        elif index in verdict.rejected:
            rejected.append((entry, verdict.rejected[index]))
        elif index in verdict.simplified and (line := simplify(entry.line)) != entry.line:
            left.append(Entry(entry.seq, line))
        elif index in verdict.simplified:  # There is nothing to leave out: it would come back for ever.
            rejected.append((entry, "cannot_simplify"))
        else:
            left.append(entry)
    rest = Settlement()
    if left:
        again = replace(batch, entries=tuple(left))
        rest = _wait(again, verdict.rest) if verdict.rest else Settlement(again=(_next_try(batch, left),))
    return replace(
        rest,
        delivered=tuple(delivered),
        rejected=tuple(rejected),
        reason=verdict.reason or rest.reason,
        receipt=verdict.receipt,
    )


def _next_try(batch: Batch, entries: Iterable[Entry], *, is_ambiguous: bool = False) -> Batch:
    return replace(
        batch,
        entries=tuple(entries),
        is_ambiguous=batch.is_ambiguous or is_ambiguous,
        attempts=batch.attempts + 1,
    )


def _all_as(code: str, entries: Iterable[Entry]) -> tuple[tuple[Entry, str], ...]:
    return tuple((entry, code) for entry in entries)
