"""One handler's stations in one process, put together: a buffer, a sender, and what both share.

A handler makes its pipeline at its first record, and a forked child makes another. A pipeline never refers
to its handler, so that a handler that nobody uses any more can be collected while its entries still go out.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from defender_logging._pipeline.adopted_buffer import AdoptedBuffer
from defender_logging._pipeline.buffer import Bounds, Buffer
from defender_logging._pipeline.chain import Chain, ChainPlan, end_of
from defender_logging._pipeline.entry import Draft
from defender_logging._pipeline.policy import Policy
from defender_logging._pipeline.reports import Reports
from defender_logging._pipeline.spool import Fsync, Identity, SpoolDirectory, SpoolError, StreamStore
from defender_logging._pipeline.spooled_buffer import SpooledBuffer
from defender_logging._pipeline.wire import Transport
from defender_logging._pipeline.worker import Sender
from defender_logging.clock import SYSTEM_CLOCK, Clock, Wake
from defender_logging.destinations.base import Destination
from defender_logging.metrics import Stats

__all__ = ["Pipeline", "SpoolPlan"]

STREAM_BYTES = 8
"""Random bytes in the name of a stream: 64 bits, so that no two streams of a trail ever meet."""


@dataclass(frozen=True, slots=True)
class SpoolPlan:
    """Where and how a pipeline spools: the directory, whose entries they are, and when they are synced."""

    directory: SpoolDirectory
    identity: Identity
    fsync: Fsync


class Pipeline:
    """Takes drafts from any thread and sees them through; see ``Buffer`` and ``Sender`` for the guarantees.

    Args:
        label: how people know the handler, without any secret.
        identity: what a later handler must share to take the rest over: kind, address, name, key and index.
        destination: whose rules to follow.
        transport: carries requests.
        policy: when and how much to send.
        bounds: how much to keep.
        reports: what people should know, for threads that may log.
        describe_drops: makes the draft that tells of drops.
        spool: where to keep entries on the disk; None: in memory only.
        chain: how to chain entries; None: they are not chained.
        shutdown_timeout_seconds: its wish for the time that exit may cost.
        clock: time.
    """

    def __init__(
        self,
        label: str,
        identity: Hashable,
        destination: Destination,
        transport: Transport,
        *,
        policy: Policy,
        bounds: Bounds,
        reports: Reports,
        describe_drops: Callable[[str, Sequence[Sequence[int]], int], Draft],
        shutdown_timeout_seconds: float,
        spool: SpoolPlan | None = None,
        chain: ChainPlan | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.label = label
        self.identity = identity
        self.shutdown_timeout_seconds = shutdown_timeout_seconds
        self.reports = reports
        self.when_late: Callable[[Pipeline], None] = lambda _: None
        """Called when a closed pipeline has entries again, which only a spool takes."""
        self._is_late = False
        self._told: set[str] = set()
        wake = Wake()
        self._spool = spool
        self._adopted: list[AdoptedBuffer] = []
        stream = secrets.token_hex(STREAM_BYTES)
        self.buffer = self._make_buffer(
            stream,
            bounds,
            wake=wake,
            describe_drops=describe_drops,
            tell=lambda sentence: reports.add(logging.WARNING, f"{label}: {sentence}"),
            chain=Chain(stream, chain) if chain else None,
            clock=clock,
        )
        self.sender = Sender(label, destination, transport, policy, reports=reports, wake=wake, clock=clock)
        self.sender.add_buffer(self.buffer)

    def __repr__(self) -> str:
        return f"<Pipeline {self.label} {self.sender.state} pending={self.buffer.pending}>"

    def append(self, draft: Draft) -> None:
        """Number a draft, keep it, and see that a thread is there to send it. Any thread."""
        try:
            self.buffer.append(draft)
        except (
            BaseException
        ):  # Cut off by a signal handler or the end of the stack, but perhaps in the inbox.
            self.buffer.wake.set()
            raise
        if self._is_late or not self.sender.is_running:
            self._see_that_it_is_sent()

    def _see_that_it_is_sent(self) -> None:
        if not self.buffer.waiting_entries:
            return
        if not self._is_late:
            self.sender.ensure_running()
            return
        # Spooled after close(): an emptied buffer is no sender's any more.
        self.serve_again()
        self.when_late(self)

    def begin(self) -> None:
        """See that a thread is there, before the first record. Any thread."""
        self.buffer.begin()
        self.sender.ensure_running()

    def close(self) -> None:
        """Take no more; what waits still goes out. Any thread; never waits."""
        self._is_late = self.has_spool  # First: an append that finds the buffer closed must find this.
        self.buffer.close()

    def serve_again(self) -> bool:
        """See that a sender has the buffer and a thread runs it; False if none can be started."""
        self.sender.add_buffer(self.buffer)
        return self.sender.ensure_running()

    def take_over(self, other: Pipeline) -> None:
        """Serve what a closed pipeline of the same identity still holds, once its thread has ended its request."""
        other.sender.leave(self.sender)

    def _make_buffer(self, stream: str, bounds: Bounds, **others: Any) -> Buffer:
        if self._spool is None:
            return Buffer(stream, bounds, **others)
        directory = self._spool.directory
        store = directory.create_stream(stream, self._spool.identity, fsync=self._spool.fsync)
        return SpooledBuffer(
            stream,
            bounds,
            store=store,
            **others,
        )

    @property
    def has_spool(self) -> bool:
        """Whether entries are kept on the disk."""
        return self._spool is not None

    @property
    def pending_in_memory_only(self) -> int:
        """How many entries would be lost if the process ended now."""
        return self.buffer.memory_only if isinstance(self.buffer, SpooledBuffer) else self.buffer.pending

    def sync(self) -> None:
        """Bring what was appended to the disk itself. For the housekeeper."""
        if isinstance(self.buffer, SpooledBuffer):
            self.buffer.sync()
            for adopted in self._adopted:
                adopted.look_again()

    def adopt_orphans(self, between: Callable[[], None]) -> None:
        """Serve the streams of dead processes of the same identity. For the housekeeper.

        Reads them whole, at the speed of the disk; calls ``between`` after each few megabytes.
        """
        if self._spool is None or not isinstance(self.buffer, SpooledBuffer) or self.buffer.is_closed:
            return
        self._adopted = [adopted for adopted in self._adopted if not adopted.is_finished]
        try:
            stores, problems = self._spool.directory.adopt_orphans(
                self._spool.identity, between, before_use=self.close_stream_of
            )
        except SpoolError as error:
            stores, problems = [], [str(error)]
        for store in stores:
            adopted = AdoptedBuffer(store, self.buffer)
            self._adopted.append(adopted)
            self.sender.add_buffer(adopted)
            self.sender.ensure_running()
        for problem in problems:
            self._tell_once(problem)

    def close_stream_of(self, store: StreamStore) -> None:
        """Say in the own stream where that of a dead process ends, if both are chained."""
        if not self.buffer.is_chained:
            return
        try:
            last = store.last_entry()
        except OSError as error:
            self._tell_once(f"the last entry of the stream {store.stream} cannot be read: {error}")
            return
        end = end_of(last.line) if last else None
        if end is not None:
            self.buffer.append_end_of(end)

    def _tell_once(self, problem: str) -> None:
        if problem not in self._told:
            self._told.add(problem)
            self.reports.add(logging.WARNING, f"{self.label}: {problem}")

    @property
    def is_finished(self) -> bool:
        """Whether it was closed, and nothing of it is left to be sent or to be written down."""
        return self.buffer.is_closed and self.buffer.wait_settled(-math.inf)

    def rest(self) -> None:
        """Bring the spool in order for the end of the process.

        Its streams stay this process's until it is gone, since a request may still be under way. What is logged later
        is on the disk itself when the call returns, and is sent by who flushes, or by the next start: a request that
        nobody waits for would be cut by the end of the process, and its entries would arrive twice.
        """
        if isinstance(self.buffer, SpooledBuffer):
            self.sender.finish_by(-math.inf)
            self.buffer.rest()

    def let_go(self) -> None:
        """Write down what is settled and release the spool's streams; a later append takes the own one up again."""
        for adopted in self._adopted:
            adopted.let_go()
        if isinstance(self.buffer, SpooledBuffer):
            self.buffer.let_go()

    def abandon(self) -> None:
        """Let go of everything in a forked child: entries, streams and connection are the parent's."""
        for adopted in self._adopted:
            adopted.abandon()
        if isinstance(self.buffer, SpooledBuffer):
            self.buffer.abandon()
        self.sender.loop.abandon()

    def stats(self, *, filtered: int) -> Stats:
        """Take all counts at one moment."""
        return self.buffer.stats(
            filtered=filtered, state="closed" if self.buffer.is_closed else self.sender.state
        )
