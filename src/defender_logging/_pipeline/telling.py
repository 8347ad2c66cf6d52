"""What people are told about the sending of one destination: each trouble once, and its end.

The sender says what it met; sentences go to ``Reports``, for a thread that may log. Everything is also counted in
the account, whether it is told or not.
"""

from __future__ import annotations

import logging

from defender_logging._pipeline.delivery import Pause, Settlement
from defender_logging._pipeline.reports import Reports

__all__ = ["TELL_OUTAGE_AFTER_SECONDS", "Telling"]

TELL_OUTAGE_AFTER_SECONDS = 30.0
"""An outage shorter than this is the daily life of a network and nobody's business."""

REJECTION_REPORT_SECONDS = 60.0
"""Refused entries are all counted, but told at most this often."""

_MAX_SHOWN_SEQS = 5


class Telling:
    """Belongs to a sender.

    Args:
        name: of the destination, as people know it.
        reports: where the sentences go.
    """

    def __init__(self, name: str, reports: Reports) -> None:
        self._name = name
        self._reports = reports
        self._failing_since: float | None = None
        self._told = ""
        self._next_rejection_report = 0.0
        self._queries_fail_since: float | None = None
        self._has_told_of_acks = False

    def note(self, settlement: Settlement, now: float) -> None:
        """Tell of an outage that lasts, of a hold at once, and of the end of both."""
        if settlement.pause is Pause.NONE:
            if settlement.delivered:
                self._tell_recovery(now)
            return
        if self._failing_since is None:
            self._failing_since = now
        if settlement.pause is Pause.HOLD:
            self.tell_trouble(f"holds its entries: {settlement.reason}")
        elif now - self._failing_since >= TELL_OUTAGE_AFTER_SECONDS:
            self.tell_trouble(f"cannot deliver and goes on trying: {settlement.reason}")

    def tell_trouble(self, sentence: str) -> None:
        """Tell of a trouble, unless the last one told was the same."""
        # Without the receiver's own words, in which every answer may have another time or request id.
        kind = sentence.partition('("')[0]
        if kind != self._told:
            self._told = kind
            self._add(logging.WARNING, f" {sentence}")

    def tell_rejected(self, settlement: Settlement, now: float) -> None:
        """Tell of refused entries, now and then."""
        if now >= self._next_rejection_report:
            self._next_rejection_report = now + REJECTION_REPORT_SECONDS
            seqs = ", ".join(str(entry.seq) for entry, _ in settlement.rejected[:_MAX_SHOWN_SEQS])
            self._add(
                logging.WARNING,
                f": the receiver refuses entries for good (seq {seqs}): {settlement.reason}",
            )

    def tell_of_no_compression(self) -> None:
        """Tell that a receiver takes no compressed entries."""
        self._add(
            logging.WARNING,
            ": the receiver takes entries only without compression, so none is used from now on; set compression "
            "to 'none'",
        )

    def note_failed_query(self, reason: str, now: float) -> None:
        """Tell once when nothing is heard about acknowledgments for long."""
        if self._queries_fail_since is None:
            self._queries_fail_since = now
        if now - self._queries_fail_since >= TELL_OUTAGE_AFTER_SECONDS:
            self._tell_of_acks(f"gets no answer about acknowledgments and goes on asking: {reason}")

    def note_loss(self, reason: str) -> None:
        """Tell once that entries go again for want of an acknowledgment."""
        self._tell_of_acks(f"sends entries again: {reason}")

    def note_answered_query(self, *, has_confirmed: bool) -> None:
        """Tell when acknowledgments come again."""
        self._queries_fail_since = None
        if has_confirmed and self._has_told_of_acks:
            self._has_told_of_acks = False
            self._add(logging.INFO, " gets acknowledgments again")

    def _tell_of_acks(self, sentence: str) -> None:
        if not self._has_told_of_acks:
            self._has_told_of_acks = True
            self._add(logging.WARNING, f" {sentence}")

    def _tell_recovery(self, now: float) -> None:
        if self._told:
            self._told = ""
            seconds = now - (now if self._failing_since is None else self._failing_since)
            self._add(logging.INFO, f" delivers again, after {seconds:.0f} s")
        self._failing_since = None

    def _add(self, levelno: int, sentence: str) -> None:
        self._reports.add(levelno, self._name + sentence)
