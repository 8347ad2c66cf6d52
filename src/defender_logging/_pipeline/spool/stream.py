"""One stream on disk: what the buffer appends to, the sender reads back and settles, and a dead process leaves.

An entry is appended in the caller's thread (``writing``), synced by the housekeeper (``syncing``), read back when
memory was too small or its process died (``reading``), settled when it is delivered or set aside
(``dead_letters``). The same class serves an adopted orphan; nothing can be appended to that.

Guaranteed
- An entry whose ``append`` returned is found again after the death of the process, until the cursor that calls it
  settled is written. After a power cut that holds for what ``sync`` had taken on before.
- A file goes only after the cursor that settles all of it is written.
- A stream has one owner at a time; a forked child is none (``abandon``).
Not guaranteed: that an entry is read back only once. After a death all that was settled since the last
``write_cursor``, and after a power cut since the last ``sync``, comes again, with the same numbers.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from defender_logging._pipeline.entry import Entry
from defender_logging._pipeline.ranges import Ranges
from defender_logging._pipeline.spool.catalogue import Catalogue
from defender_logging._pipeline.spool.home import Home
from defender_logging._pipeline.spool.identity import SealedIdentity
from defender_logging._pipeline.spool.making import Quota, SegmentMaker, chunks
from defender_logging._pipeline.spool.reading import Backlog, last_entry
from defender_logging._pipeline.spool.settling import Settler
from defender_logging._pipeline.spool.shelf import DAMAGED, Shelf
from defender_logging._pipeline.spool.survey import Damage, survey
from defender_logging._pipeline.spool.syncing import Fsync, Syncer
from defender_logging._pipeline.spool.system import FileSystem, SpoolError, spool_error
from defender_logging._pipeline.spool.writing import Writer
from defender_logging.clock import SYSTEM_CLOCK, Clock

__all__ = ["DAMAGED", "StreamStore"]


class StreamStore:
    """One stream of a ``SpoolDirectory``, which makes it. Nothing touches the disk before the first ``append``.

    Threads: ``append``, ``settle`` and the counts from any; ``sync`` and ``write_cursor`` from any, one at a time;
    ``read_after`` from one at a time.
    """

    def __init__(
        self,
        fs: FileSystem,
        stream: str,
        catalogue: Catalogue,
        *,
        max_dead_letter_bytes: int,
        home: Home | None = None,
        is_synced: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.stream = stream
        self.strange_files: list[Path] = []
        self._fs = fs
        self._catalogue = catalogue
        self._backlog = Backlog(fs, catalogue)
        self._shelf = Shelf(fs, stream, self._ensure_home, max_dead_letter_bytes, clock)
        self._adopted_home = home
        self._maker: SegmentMaker | None = None
        self._writer: Writer | None = None
        self._syncer: Syncer | None = None
        self._sync_lock = threading.RLock()
        self._is_synced = is_synced
        self._settler = Settler(fs, catalogue, self._note_room, is_synced=is_synced)

    @classmethod
    def create(
        cls,
        fs: FileSystem,
        path: tuple[Path, str],
        prepare: Callable[[], SealedIdentity],
        *,
        quota: Quota,
        max_dead_letter_bytes: int,
        fsync: Fsync = Fsync.INTERVAL,
        clock: Clock = SYSTEM_CLOCK,
    ) -> StreamStore:
        """Return the store of a new stream; for the arguments see ``SegmentMaker``."""
        catalogue = Catalogue()
        store = cls(
            fs,
            path[1],
            catalogue,
            max_dead_letter_bytes=max_dead_letter_bytes,
            is_synced=fsync is Fsync.ALWAYS,
            clock=clock,
        )
        store._maker = maker = SegmentMaker(fs, path, prepare, catalogue, quota)
        store._writer = writer = Writer(
            fs,
            catalogue,
            maker,
            clock,
            syncs_each=fsync is Fsync.ALWAYS,
            keeps_open=fsync is not Fsync.OFF,
        )
        store._syncer = Syncer(fs, catalogue, maker, writer, is_on=fsync is not Fsync.OFF)
        store._sync_lock = store._syncer.lock
        # Without a method of ours in between: this is all that a log call waits for.
        store.append = writer.append  # type: ignore[method-assign]
        store.reserve = writer.reserve  # type: ignore[method-assign]
        return store

    @classmethod
    def adopt(
        cls,
        fs: FileSystem,
        home: Home,
        *,
        max_dead_letter_bytes: int,
        between: Callable[[], None] = lambda: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> StreamStore:
        """Return the store of an orphan whose directory this process has taken.

        Its damage is set aside, now where it shows already, or when it is read.

        Args:
            fs: the file system.
            home: of the stream.
            max_dead_letter_bytes: bound of its dead letters.
            between: called after each segment.
            clock: time.

        Raises:
            OSError: it cannot be read.
        """
        found = survey(fs, home.path, is_quick=True, between=between)
        catalogue = Catalogue(found.segments, found.last_seq)
        store = cls(
            fs,
            home.path.name,
            catalogue,
            max_dead_letter_bytes=max_dead_letter_bytes,
            home=home,
            clock=clock,
        )
        store.strange_files = found.strange
        store._shelf.set_damage_aside(found.damage)
        return store

    def __repr__(self) -> str:
        kind = "adopted" if self.is_adopted else "own"
        return f"<StreamStore {self.stream} {kind} unsettled={self.unsettled_count}>"

    @property
    def is_adopted(self) -> bool:
        """True for the stream of a dead process."""
        return self._maker is None

    @property
    def _home(self) -> Home | None:
        return self._maker.home if self._maker is not None else self._adopted_home

    def append(self, seq: int, line: bytes) -> None:
        """Write one entry; ``seq`` rises from call to call, ``line`` is one line without its newline.

        Blocks for one write; where a segment is full (each 4 MiB) for making the next, under a millisecond on a
        good disk; with ``Fsync.ALWAYS`` for the disk. After ``close`` it takes the stream up again.

        Raises:
            SpoolError: the entry is not in the spool.
        """
        del line  # A stream of our own has the writer's method in the place of this one.
        raise SpoolError(f"the stream {self.stream} is an adopted one; entry {seq} needs a stream of its own")

    def reserve(self, line_bytes: int) -> None:
        """Make sure that the next entry finds room, for callers who would rather wait than be refused.

        Raises:
            SpoolError: there is no room.
        """
        raise SpoolError(
            f"the stream {self.stream} is an adopted one; nothing of {line_bytes} bytes goes there"
        )

    def sync(self) -> str | None:
        """Bring all that was appended and settled before the call to the disk; may block as long as the disk does.

        Returns:
            A sentence for people if entries had to be written anew; None normally.

        Raises:
            SpoolError: not all of it is safe; what is not is tried again at the next call.
        """
        if (home := self._home) is not None and (self._syncer is None or self._syncer.is_on):
            self._settler.sync(home)
        return self._syncer.sync() if self._syncer is not None else None

    def read_after(self, seq: int, max_bytes: int, max_entries: int | None = None) -> list[Entry]:
        """Return unsettled entries above ``seq``, rising: as many as fit, at least one if there is any.

        Each counts one byte more, for what separates it from the next one in a batch.

        Cheapest when ``seq`` is the last one that the call before returned: so bound the call, do not cut its result.

        Entries that turn out damaged are set aside and settled; ask ``take_damage``.

        Raises:
            SpoolError: a segment cannot be read now.
        """
        entries = self._backlog.read_after(seq, max_bytes, max_entries)
        if self._backlog.damage:
            found, self._backlog.damage = self._backlog.damage, []
            self._shelf.set_damage_aside(found)
        return entries

    def last_entry(self) -> Entry | None:
        """Return the last entry that can be read, settled or not; None if there is none. Reads a segment or two.

        Raises:
            OSError: a segment cannot be read now.
        """
        return last_entry(self._fs, self._catalogue)

    def release_memory(self) -> None:
        """Let go of the segment that ``read_after`` keeps in memory."""
        self._backlog.forget()

    def note_absent(self, seqs: Iterable[int]) -> None:
        """Note that entries are pending which the disk did not take, or does not have any more."""
        with self._catalogue.lock:
            for seq in seqs:
                self._catalogue.absent.add(seq)

    def give_up_absent(self, seq: int) -> None:
        """Note that an entry that was in memory only is pending no more; nothing happens with any other."""
        with self._catalogue.lock:
            self._catalogue.absent.remove(seq, seq)

    @property
    def absent(self) -> Ranges:
        """The numbers of pending entries that are in no file; a copy."""
        with self._catalogue.lock:
            return self._catalogue.absent.copy()

    def save(self, entries: Sequence[Entry]) -> int:
        """Write entries that are absent to files of their own, rising; returns how many of them are pending there.

        Raises:
            SpoolError: some are still absent.
        """
        saved = 0
        maker = self._maker
        with self._sync_lock:
            for chunk in chunks(entries, maker.quota.segment_bytes) if maker is not None else ():
                assert maker is not None
                segment = maker.make_sealed(chunk, is_rescue=False, is_synced=self._is_synced)
                saved += self._catalogue.move_absent((entry.seq for entry in chunk), segment)
        if entries:  # The disk works: the next append need not wait for the end of the writer's rest.
            self._note_room()
        return saved

    def take_damage(self) -> list[Damage]:
        """Return the damage found since the last call; its ``lost`` numbers are settled already."""
        return self._shelf.take_damage()

    def settle(self, seqs: Iterable[int]) -> int:
        """Note that entries are delivered or given up; returns how many of them were unsettled here."""
        return self._catalogue.settle(seqs)

    def set_aside(self, entry: Entry, reason: str, answer: str) -> None:
        """Keep an entry as a dead letter; to be settled after that, so that no death loses it in between.

        Raises:
            SpoolError: it is not kept.
        """
        self._shelf.set_aside(entry, reason, answer)

    def take_lost_dead_letters(self) -> int:
        """Return how many dead letters had to go for newer ones since the last call."""
        return self._shelf.take_lost()

    def _ensure_home(self) -> Home:
        home = self._home or (self._maker.ensure_home() if self._maker is not None else None)
        if home is None:
            raise SpoolError(f"the stream {self.stream} is closed; open it again")
        return home

    def write_cursor(self) -> None:
        """Write down what is settled, then remove the files that this finishes. Cheap if nothing changed.

        Raises:
            SpoolError: it is not written; nothing is removed.
        """
        if (home := self._home) is not None:
            self._settler.write(home)

    def _note_room(self) -> None:
        if self._writer is not None:
            self._writer.retry_now()

    @property
    def last_seq(self) -> int:
        """The number of the last entry that was written; 0 if there is none."""
        return self._catalogue.last_seq

    @property
    def unsettled_count(self) -> int:
        """How many entries are in the spool, neither delivered nor given up."""
        return self._catalogue.unsettled_count

    @property
    def pending_count(self) -> int:
        """How many entries are neither delivered nor given up, the absent ones among them."""
        return self._catalogue.pending_count

    @property
    def unsettled_bytes(self) -> int:
        """Bytes of the files that hold an unsettled entry; 0 if there is none."""
        return self._catalogue.unsettled_bytes

    def drop_oldest_segment(self) -> Ranges | None:
        """Give up the oldest sealed segment with unsettled entries, to make room for new ones.

        Returns:
            The numbers that are gone, for the account; None if there is no such segment.

        Raises:
            SpoolError: the file cannot be removed; nothing is given up.
        """
        with self._catalogue.lock:
            sealed = [each for each in self._catalogue.segments if each.is_sealed and each.unsettled]
            if not sealed:
                return None
            oldest = sealed[0]
            try:
                self._fs.unlink(oldest.path)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise spool_error(f"removing '{oldest.path}'", error) from error
            gone, oldest.unsettled = oldest.unsettled, Ranges()
            if oldest.fd is None:  # Otherwise the syncer may be using it; it closes it.
                self._catalogue.remove(oldest)
            self._note_room()
            return gone

    def close(self) -> None:
        """Write down what is settled and let the stream go; its directory goes too if nothing is left in it.

        Blocks for the disk, and callers of ``append`` with it. Closing twice changes nothing.

        Raises:
            SpoolError: the last sync or cursor failed; the stream is let go all the same.
        """
        problem: SpoolError | None = None
        with self._sync_lock, self._settler.lock, self._catalogue.lock:
            if self._writer is not None:
                self._writer.seal_active()
            for step in (self.sync, self.write_cursor):
                try:
                    step()
                except SpoolError as error:
                    problem = error
            home = self._home
            self._close_descriptors()
            if home is not None:
                if problem is None:
                    problem = self._remove_if_done(home)
                home.lock.release()
            self._adopted_home = None
            if self._maker is not None:
                self._maker.home = None
            self._settler.forget()
            self._backlog.forget()
        if problem is not None:
            raise problem

    def rest(self) -> None:
        """Let an empty stream go; from now on each ``append`` waits for the disk, since nobody may sync any more.

        Raises:
            SpoolError: as for ``close``.
        """
        if self._writer is not None and (self._syncer is None or self._syncer.is_on):
            self._writer.syncs_each = True
        with self._sync_lock, self._settler.lock, self._catalogue.lock:
            if not self.pending_count:
                self.close()

    def _remove_if_done(self, home: Home) -> SpoolError | None:
        if self.unsettled_count:
            return None
        try:
            for segment in tuple(self._catalogue.segments):
                with contextlib.suppress(FileNotFoundError):
                    self._fs.unlink(segment.path)
                self._catalogue.remove(segment)
            self._shelf.remove_if_empty(home)
            home.remove_if_empty()
        except FileNotFoundError:
            return None
        except OSError as error:
            return spool_error(f"removing '{home.path}'", error)
        return None

    def abandon(self) -> None:
        """Let go of everything in a forked child, before anything else there: the stream is the parent's.

        Closes descriptors only, and takes no lock: its holder does not exist in the child. Nothing else of this
        object may be used after it.
        """
        self._close_descriptors()
        if self._home is not None:
            self._home.lock.abandon()

    def _close_descriptors(self) -> None:
        for segment in tuple(self._catalogue.segments):
            if segment.fd is not None:
                fd, segment.fd = segment.fd, None
                with contextlib.suppress(OSError):
                    self._fs.close(fd)
