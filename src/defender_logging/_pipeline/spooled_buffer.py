"""A buffer whose entries are on the disk before the log call returns.

A draft comes from a handler in the caller's thread, is numbered, and is written to the stream's store with one
write; a copy stays in memory while there is room, so that a sender that keeps up never reads the disk. When
memory is full, the newer entries are on the disk only, and the sender reads them back in order. What is settled
is written to the store's cursor before it is counted, so ``flush`` returns when a restart would know it too.

Guaranteed
- An entry whose ``append`` returned is on the disk, or counted as dropped, or (while the disk fails) in memory
  under ``max_queue_bytes`` and its overflow policy, which is told once.
- Memory holds at most ``max_queue_bytes`` and one batch, whatever the backlog.
- What a failing disk kept in memory is on the disk soon after it has healed (``sync``), without any log call.
- Entries leave in the order of their numbers; while the disk fails, those in memory may overtake the disk's.
- ``wait_settled`` is true only when the cursors say what is settled, of adopted streams too.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from defender_logging._pipeline import threads
from defender_logging._pipeline.buffer import Bounds, Buffer, Overflow
from defender_logging._pipeline.entry import Draft, Entry, new_entry
from defender_logging._pipeline.ranges import Ranges, numbers_in
from defender_logging._pipeline.runs import bytes_of, seqs_of
from defender_logging._pipeline.settling_calls import keep_dead_letters, write_cursor
from defender_logging._pipeline.spool.stream import DAMAGED, StreamStore
from defender_logging._pipeline.spool.survey import Damage
from defender_logging._pipeline.spool.system import SpoolError
from defender_logging._pipeline.troubles import Troubles

__all__ = ["SPOOL_FULL", "SpooledBuffer"]

SPOOL_FULL = "spool_full"
"""Reason of a drop: ``max_spool_bytes`` was reached."""

_Drops = tuple[str, Sequence[Sequence[int]], int]
"""What a ``dropped`` entry tells: reason, ranges of numbers, count."""

_WHY_DROPPED = {
    SPOOL_FULL: "the spool is full (max_spool_bytes): entries are lost by overflow {overflow!r}, beginning with seq "
    "{seq}; the trail will tell which, and a larger max_spool_bytes gives longer outages room",
    DAMAGED: "bytes of the spool are not those that were written: entries are lost, beginning with seq {seq}; the "
    "damaged bytes are kept among the dead letters, and the trail will tell which entries; look at the disk",
}

_ROOM_CHECK_SECONDS = 0.05
"""How often a caller that ``block`` makes wait asks the spool for room; other processes free it unheard."""

_SAVE_PAUSE_FACTOR = 20
"""Looking through a full memory for a disk that goes on failing takes at most one part in so many of the time."""


class SpooledBuffer(Buffer):
    """A ``Buffer`` with a store; see there for who may call what.

    Args:
        store: the stream's place on the disk.
        others: as for ``Buffer``.
    """

    _may_park = False  # What was appended is on the disk.

    def __init__(self, stream: str, bounds: Bounds, *, store: StreamStore, **others: Any) -> None:
        self._describe: Callable[[str, Sequence[Sequence[int]], int], Draft] = others.pop("describe_drops")
        super().__init__(stream, bounds, describe_drops=self._describe_and_remember, **others)
        self._store = store
        self._append_to_store = store.append
        self._is_disk_ahead = False
        self._read_seq = 0
        self._is_failing = self._is_full = False
        self._has_copies = True
        self._next_save = 0.0
        self._unwritten: dict[
            StreamStore, int
        ] = {}  # Whose cursor does not say yet what is settled, since when.
        self._settled_count = 0
        self._disk_turn = threading.Lock()  # Held by who reads the disk, or brings entries there from memory.
        self._disk_thread: int | None = None  # Whose thread that is.
        self._is_blind = False
        self._dropped_meanwhile: set[int] | None = None  # Only while the sender reads the disk.
        self._troubles = Troubles(self._tell)
        self._telling: _Drops | None = None
        self._told_by: dict[int, _Drops] = {}
        self._to_retell: deque[_Drops] = deque()
        self._adopted_accepted = 0
        self._adopted_pending = 0

    def _number(self, draft: Draft, *, is_own: bool = False) -> None:
        # In one piece, since this is what a log call waits for.
        seq = self._last_seq + 1
        line = self._line(draft)
        try:
            self._append_to_store(seq, line)
        except SpoolError as error:
            self._number_without_disk(draft, error, is_own=is_own)
            return
        if not self._is_disk_ahead:
            before = self._waiting_bytes
            waiting = before + len(line)
            if waiting + self._flight_bytes > self._bounds.max_queue_bytes:
                self._read_seq = seq - 1
                self._is_disk_ahead = True
                self.wake.set()
            else:
                entries = self._entries
                entries.append(new_entry((seq, line)))
                self._waiting_bytes = waiting
                self._wake_if_due(len(entries) - 1, before)
        self._last_seq = seq
        if is_own:
            self._note_own(seq)
        if self._is_failing:
            self._is_failing = self._is_full = False
            self._has_copies = True
            self._troubles.end("write", f"the spool takes entries again, from seq {seq} on")

    def _number_without_disk(self, draft: Draft, error: SpoolError, *, is_own: bool) -> None:
        """Make room on the disk by the overflow policy, drop, or go on in memory."""
        seq = self._last_seq + 1
        self._is_failing, self._is_full = True, error.is_full
        if error.is_full:  # Told with the first drop.
            self._account.last_error = str(error)
            if self._bounds.overflow is Overflow.DROP_OLDEST and self._drop_segment():
                self._number(draft, is_own=is_own)
                return
        else:
            self._note_trouble("write", f"the spool does not take entries: {error}")
        if error.is_full and not is_own:
            self._drop(seq, SPOOL_FULL)
            self._last_seq = seq
            return
        super()._number(draft, is_own=is_own)
        if self._entries and self._entries[-1].seq == seq:
            self._store.note_absent([seq])
            if is_own:
                self._note_own(seq)

    def _note_own(self, seq: int) -> None:
        self._own.add(seq)
        if self._telling is not None:
            self._told_by[seq], self._telling = self._telling, None

    def _describe_and_remember(self, reason: str, ranges: Sequence[Sequence[int]], count: int) -> Draft:
        self._telling = (reason, ranges, count)
        return self._describe(reason, ranges, count)

    def _tell_drops(self) -> None:
        """Say again what an entry said that was dropped itself, then what is new."""
        for _ in range(len(self._to_retell)):
            self._number(self._describe_and_remember(*self._to_retell.popleft()), is_own=True)
        super()._tell_drops()

    def _let_go_of(self, entries: Sequence[Entry]) -> None:
        self._store.settle(seqs_of(entries))
        super()._let_go_of(entries)
        if self._told_by:
            for seq in seqs_of(entries):
                self._told_by.pop(seq, None)

    def _find_room(self, size: int) -> bool:
        """Let go of copies of what is on the disk first: memory is for what is nowhere else."""
        if self._is_closed:
            return False
        if self._has_copies:  # Looked for once: while the disk fails, no more come.
            absent = set(numbers_in(self._store.absent))
            self._let_go_of_copies({entry.seq for entry in self._entries if entry.seq not in absent})
            self._has_copies = False
        is_room = self._waiting_bytes + self._flight_bytes + size <= self._bounds.max_queue_bytes
        return is_room or super()._find_room(size)

    def _let_go_of_copies(self, seqs: set[int]) -> None:
        """Take entries out of memory that are on the disk, to be read there when their turn comes."""
        if not seqs:
            return
        before = min(seqs) - 1
        self._read_seq = min(self._read_seq, before) if self._is_disk_ahead else before
        self._is_disk_ahead = True
        self._entries = deque(entry for entry in self._entries if entry.seq not in seqs)
        self._waiting_bytes = bytes_of(self._entries)

    def _drop(self, seq: int, reason: str, line: bytes = b"") -> None:
        self._store.give_up_absent(seq)
        self._own.discard(seq)
        if seq in self._told_by:  # It told of drops, in a segment that is dropped now.
            self._to_retell.append(self._told_by.pop(seq))
        if self._dropped_meanwhile is not None:
            self._dropped_meanwhile.add(seq)
        if reason in _WHY_DROPPED and reason not in self._untold:
            self._untold[reason] = Ranges()
            self._tell(_WHY_DROPPED[reason].format(overflow=self._bounds.overflow.value, seq=seq))
        super()._drop(seq, reason, line)

    def _drop_segment(self) -> bool:
        """Give up the oldest whole segment of the own stream, by ``drop_oldest``."""
        try:
            gone = self._store.drop_oldest_segment()
        except SpoolError:
            return False
        if not gone:
            return False
        lost = {seq for seq in numbers_in(gone) if seq not in self._in_flight}
        lines = {entry.seq: entry.line for entry in self._entries if entry.seq in lost}
        kept = [entry for entry in self._entries if entry.seq not in lost]
        self._waiting_bytes = sum(len(entry.line) for entry in kept)
        self._entries = deque(kept)
        # What is in flight is delivered all the same; until then it is only in memory.
        self._store.note_absent(seq for seq in numbers_in(gone) if seq in self._in_flight)
        for seq in sorted(lost):
            self._drop(seq, SPOOL_FULL, lines.get(seq, b""))
        return True

    def _note_trouble(self, kind: str, sentence: str) -> None:
        self._account.last_error = sentence
        self._troubles.begin(kind, sentence)

    def _wait_for_room(self, draft: Draft) -> None:
        """Wait while the spool is full, as long as ``block`` allows; memory never makes a caller wait here."""
        size = self._size(draft)
        deadline = self._clock.monotonic() + self._bounds.block_timeout_seconds
        while not (self._is_inside or threads.is_ours()) and self._lacks_room(size):
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return
            self._changed.wait(min(left, _ROOM_CHECK_SECONDS))

    def _lacks_room(self, size: int) -> bool:
        self._is_full = False
        try:
            self._store.reserve(size)
        except SpoolError as error:
            self._is_full = error.is_full
        return self._is_full

    def _accepted(self) -> int:
        return self._last_seq + self._adopted_accepted

    def _held(self) -> int:
        return self._store.pending_count + self._adopted_pending

    def _spool_bytes(self) -> int:
        return self._store.unsettled_bytes

    def _repair(self) -> None:
        seq = self._store.last_seq
        is_in_memory = bool(self._entries) and self._entries[-1].seq == seq
        if seq > self._last_seq and not is_in_memory and not self._is_disk_ahead:
            # Interrupted between the write and the placing: only the disk knows the entry.
            self._read_seq = seq - 1
            self._is_disk_ahead = True
        # Interrupted between a step in memory and the note of what is nowhere else.
        waiting = {entry.seq for entry in self._entries}
        held = waiting | self._in_flight.keys()
        for absent in numbers_in(self._store.absent):
            if absent not in held:
                self._store.give_up_absent(absent)
        self._store.note_absent(sorted(each for each in waiting if each > seq))
        super()._repair()

    def take(self, max_entries: int, max_bytes: int) -> tuple[Entry, ...]:
        """Move the oldest entries into flight, from memory or, where the disk is ahead, from there."""
        taken = super().take(max_entries, max_bytes)
        if taken or not self._is_disk_ahead:
            return taken
        with self._turn_at_disk() as is_ours:
            if not is_ours:
                return ()
            with self._section():
                self._dropped_meanwhile = set()
            try:
                # Without the buffer's lock, so that callers do not wait for the disk.
                read = self._store.read_after(self._read_seq, max_bytes, max_entries)
            except SpoolError as error:
                with self._section():
                    self._dropped_meanwhile = None
                    self._is_blind = True  # Until the housekeeper's next round: no tight loop.
                    self._note_trouble("read", f"the spool cannot be read: {error}")
                return ()
            with self._section():
                return self._put_in_flight(read, self._store.take_damage())

    def _put_in_flight(self, read: Sequence[Entry], damage: Sequence[Damage]) -> tuple[Entry, ...]:
        self._troubles.end("read", "the spool can be read again")
        gone, self._dropped_meanwhile = self._dropped_meanwhile or (), None
        # One that a failing disk kept in memory may be in flight, ahead of older ones, and on the disk since then.
        chunk = tuple(e for e in read if e.seq not in gone and e.seq not in self._in_flight)
        self._in_flight.update(chunk)
        self._flight_bytes += bytes_of(chunk)
        for found in damage:
            for seq in numbers_in(found.lost):
                self._drop(seq, DAMAGED)
        if read:
            self._read_seq = read[-1].seq
        if self._waiting_count() <= len(self._entries):
            self._is_disk_ahead = False  # The disk has nothing more that memory could not hold.
            self._has_copies = True
        return chunk

    def settle(self, delivered: Sequence[Entry], rejected: Sequence[tuple[Entry, str]] = ()) -> None:
        """Keep rejected entries as dead letters, count, and write down what is settled."""
        problem = keep_dead_letters(self._store, rejected, self._account.last_error or "")
        with self._section():
            self._note_unwritten(self._store)
            super().settle(delivered, rejected)
            if problem:
                self._note_trouble("dead letter", problem)
            elif rejected:
                self._troubles.end("dead letter", "refused entries are kept as dead letters again")
        self.write_cursor_of(self._store)
        if self._is_full:
            self.sync()  # Now, because files go only when they are synced, and callers wait for the room.

    def write_cursor_of(self, store: StreamStore) -> bool:
        """Write down what is settled in the own or an adopted stream; ``flush`` waits until it is."""
        with self._section():
            turn = self._note_unwritten(store)
        problem = write_cursor(store)
        with self._section():
            # Another number: more was settled meanwhile, and another thread is about to write that down.
            is_last = self._unwritten.get(store) == turn
            if problem:
                self._note_trouble("settle", problem)
            elif is_last:
                del self._unwritten[store]
                if not self._unwritten:
                    self._troubles.end("settle", "the spool's cursor is written again")
        return not problem

    def _note_unwritten(self, store: StreamStore) -> int:
        self._settled_count += 1
        self._unwritten[store] = self._settled_count
        return self._settled_count

    def hand_back(self, entries: Sequence[Entry]) -> None:
        """Put entries in flight back to the front, for another sender."""
        self._has_copies = True
        super().hand_back(entries)

    def _waiting_count(self) -> int:
        return self._held() - self._adopted_pending - len(self._in_flight)

    @property
    def waiting_entries(self) -> int:
        self._number_parked()
        return len(self._entries) if self._is_blind else self._waiting_count()

    @property
    def waiting_bytes(self) -> int:
        return self._waiting_bytes if not self._is_disk_ahead else self._bounds.wake_bytes

    def _lowest_pending(self) -> float:
        if self._adopted_pending or self._unwritten:
            return 0
        lowest = super()._lowest_pending()
        is_more_on_disk = self._is_disk_ahead and self._waiting_count() > len(self._entries)
        return min(lowest, self._read_seq + 1) if is_more_on_disk else lowest

    def adopt(self, count: int) -> None:
        """Count the entries of an adopted stream as accepted here."""
        with self._section():
            self._adopted_accepted += count
            self._adopted_pending += count

    def settle_adopted(self, delivered: int, rejected: Sequence[str], damaged: int) -> None:
        """Count what became of adopted entries."""
        with self._section():
            account = self._account
            # First, as everywhere: ``_repair`` makes good what an interruption leaves uncounted, not what counts twice.
            self._adopted_pending -= delivered + len(rejected) + damaged
            account.delivered += delivered
            account.rejected_by_reason.update(rejected)
            if damaged:
                account.dropped_by_reason[DAMAGED] += damaged
            if delivered:
                account.last_success_unix_seconds = self._clock.time()

    @property
    def last_error(self) -> str:
        """The last failure in words, for a dead letter."""
        return self._account.last_error or ""

    @property
    def memory_only(self) -> int:
        """How many pending entries are not on the disk."""
        return len(self._store.absent)

    def sync(self) -> None:
        """Bring what was appended to the disk itself, and what a failing disk kept in memory; for the housekeeper."""
        self._save_absent()
        problem = ""
        try:
            sentence = self._store.sync()
        except SpoolError as error:
            sentence, problem = None, f"the spool cannot be synced: {error}"
        # What was settled before it was synced is still there; without this, a full spool would stay full for ever.
        if self._store in self._unwritten:
            self.write_cursor_of(self._store)
        else:
            write_cursor(self._store)
        with self._section():
            if sentence:
                self._tell(sentence)
            if problem:
                self._note_trouble("sync", problem)
            else:
                self._troubles.end("sync", "the spool can be synced again")
            was_blind, self._is_blind = self._is_blind, False
            if not self._held():  # Nothing will be settled any more, and so nothing told.
                self._tell_drops()
        if was_blind:
            self.wake.set()

    @contextmanager
    def _turn_at_disk(self) -> Iterator[bool]:
        """Wait for the turn; False where this thread has it already, and a signal handler asks in the middle of it."""
        thread = threading.get_ident()
        if self._disk_thread == thread:
            yield False
            return
        with self._disk_turn:
            self._disk_thread = thread
            try:
                yield True
            finally:
                self._disk_thread = None

    def _save_absent(self) -> None:
        """Write down what is in memory only, for the disk may take it by now, and let it take its turn there."""
        began = self._clock.monotonic()
        if not self._store.absent or began < self._next_save:
            return
        with self._turn_at_disk() as is_ours:
            if not is_ours:
                return
            with self._section():
                held = [*map(new_entry, self._in_flight.items()), *self._entries]
            absent = set(numbers_in(self._store.absent))
            entries = sorted(entry for entry in held if entry.seq in absent)
            try:
                saved = self._store.save(entries)
            except SpoolError as error:
                now = self._clock.monotonic()
                self._next_save = now + _SAVE_PAUSE_FACTOR * (now - began)
                with self._section():
                    self._has_copies = True  # Some may have been saved before it failed.
                    if not error.is_full:  # Told with the first drop.
                        self._note_trouble("write", f"the spool does not take entries: {error}")
                return
            with self._section():
                self._has_copies = True
                self._troubles.end(
                    "write", f"the spool takes entries again, and has the {saved} that were in memory only"
                )
                if self._is_disk_ahead:  # Then in order: after the older ones that are read back.
                    there = {entry.seq for entry in entries if entry.seq > self._read_seq}
                    self._let_go_of_copies(there & {entry.seq for entry in self._entries})

    def rest(self) -> None:
        """Bring all to the disk for the end of the process; from now on each entry goes there by itself."""
        self.sync()
        with contextlib.suppress(SpoolError):
            self._store.rest()

    def let_go(self) -> None:
        """Write down what is settled and release the stream, for whoever starts next; a later append reopens it."""
        with contextlib.suppress(SpoolError):
            self._store.close()

    def abandon(self) -> None:
        """Close the parent's descriptors in a forked child."""
        self._store.abandon()
