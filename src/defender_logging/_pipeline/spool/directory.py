"""Makes the stream of a handler and adopts those of dead processes.

A handler asks for its own stream when it is made, and for orphans at start and now and then. Several processes use
one directory at once; each writes only in streams whose lock it holds.

Guaranteed
- An orphan goes to exactly one process, and only to a handler of exactly the same identity.
- What is not understood (another format version, strange files, no identity) is left alone and reported.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from defender_logging._pipeline.spool.dead_letters import DeadLetters
from defender_logging._pipeline.spool.home import (
    Home,
    describe,
    remove_all,
    remove_unfinished,
    take_home,
)
from defender_logging._pipeline.spool.identity import Identity
from defender_logging._pipeline.spool.making import Quota
from defender_logging._pipeline.spool.place import SpoolPlace
from defender_logging._pipeline.spool.stream import StreamStore
from defender_logging._pipeline.spool.syncing import Fsync
from defender_logging._pipeline.spool.system import SYSTEM, FileSystem, SpoolError, spool_error
from defender_logging.clock import SYSTEM_CLOCK, Clock

__all__ = ["SEGMENT_BYTES", "SpoolDirectory"]

SEGMENT_BYTES = 4 << 20
"""Size of a segment: small enough to read back whole, large enough that making one is rare."""

SEGMENTS_IN_QUOTA = 8
"""A small ``max_spool_bytes`` makes segments smaller, so that at least this many fit."""

MAX_DEAD_LETTER_BYTES = 32 << 20
"""Bound of one stream's dead letters; a tenth of ``max_spool_bytes`` if that is less."""


class SpoolDirectory:
    """One ``spool_dir``, used by one process. Threads: any.

    Args:
        path: the directory; made when the first entry is written. It may be a symbolic link; nothing in it may.
        max_spool_bytes: bound of the segments of all its streams.
        segment_bytes: for tests.
        fs: the file system.
        clock: time.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_spool_bytes: int,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        fs: FileSystem = SYSTEM,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.path = Path(path).absolute()
        self._place = SpoolPlace(fs, self.path)
        self.max_spool_bytes = max_spool_bytes
        self._segment_bytes = max(1, min(segment_bytes, max_spool_bytes // SEGMENTS_IN_QUOTA))
        self._max_dead_letter_bytes = min(MAX_DEAD_LETTER_BYTES, max_spool_bytes // 10)
        self._fs = fs
        self._clock = clock

    def __repr__(self) -> str:
        return f"<SpoolDirectory '{self.path}' max_spool_bytes={self.max_spool_bytes}>"

    def check(self) -> str | None:
        """Say what is wrong with the directory, as a sentence with its remedy; None if it will do. Changes nothing."""
        return self._place.check()

    def stream_paths(self) -> list[Path]:
        """Return the directories of all streams.

        Raises:
            SpoolError: they cannot be listed.
        """
        try:
            return list(self._place.stream_paths())
        except OSError as error:
            raise spool_error(f"reading '{self.path}'", error) from error

    def used_bytes(self) -> int:
        """Measure the segments of all streams: a file system call for each file."""
        return self._place.used_bytes()

    def create_stream(self, stream: str, identity: Identity, *, fsync: Fsync = Fsync.INTERVAL) -> StreamStore:
        """Return the store of a new stream. Touches nothing before the first ``append``, so it cannot fail."""
        return StreamStore.create(
            self._fs,
            (self.path, stream),
            lambda: identity.seal(self._place.prepare()),
            quota=Quota(self._segment_bytes, self.max_spool_bytes, self._place.used_bytes),
            max_dead_letter_bytes=self._max_dead_letter_bytes,
            fsync=fsync,
            clock=self._clock,
        )

    def adopt_orphans(
        self,
        identity: Identity,
        between: Callable[[], None] = lambda: None,
        *,
        before_use: Callable[[StreamStore], None] = lambda _: None,
    ) -> tuple[list[StreamStore], list[str]]:
        """Take over the streams of dead processes whose handler was the same.

        Reads them whole, a segment at a time, to count what is in them: as fast as the disk. The caller closes each
        when it is done with it; what is not settled by then is an orphan again.

        Args:
            identity: of the handler.
            between: called after each segment, for who has other things to do meanwhile.
            before_use: sees each stream first, those too that are only cleared away as nothing in them is
                unsettled. Must not raise.

        Returns:
            The streams, and sentences about those that cannot be used.

        Raises:
            SpoolError: the directory cannot be read.
        """
        adopted: list[StreamStore] = []
        problems: list[str] = []
        if not self.path.is_dir():
            return adopted, problems
        try:
            digest = identity.seal(self._place.prepare()).digest
            for name in self._fs.names(self.path):
                remove_unfinished(self._fs, self.path, name)
        except OSError as error:
            raise spool_error(f"looking for orphans in '{self.path}'", error) from error
        for path in self.stream_paths():
            store, problem = self._adopt(path, digest, between, before_use)
            adopted += [store] if store else []
            problems += [problem] if problem else []
        return adopted, problems

    def adopt_stream(
        self, stream: str, *, before_use: Callable[[StreamStore], None] = lambda _: None
    ) -> StreamStore | None:
        """Take over one orphan whatever its identity, because a person asked for it; see ``adopt_orphans``.

        Returns:
            None if a living process has it, or it is empty or gone.

        Raises:
            SpoolError: it cannot be read, or is of another version.
        """
        store, problem = self._adopt(self.path_of(stream), None, lambda: None, before_use)
        if problem:
            raise SpoolError(problem)
        return store

    def _adopt(
        self,
        path: Path,
        digest: str | None,
        between: Callable[[], None],
        before_use: Callable[[StreamStore], None],
    ) -> tuple[StreamStore | None, str | None]:
        """Adopt the orphan in ``path``; with a ``digest`` only if that is its identity.

        Returns:
            The store, and a sentence about what cannot be used; either may be None.
        """
        home: Home | None = None
        store: StreamStore | None = None
        try:
            home = take_home(self._fs, path)
            if home is None:
                return None, None
            # Only now: before, its owner might have been at work.
            found = describe(self._fs, path)
            problem = found.version_problem or (found.identity_problem if digest else None)
            if problem or (digest and found.identity not in {digest, None}):
                return None, problem
            store = StreamStore.adopt(
                self._fs,
                home,
                max_dead_letter_bytes=self._max_dead_letter_bytes,
                between=between,
                clock=self._clock,
            )
        except OSError as error:
            return None, str(spool_error(f"adopting '{path}'", error))
        finally:
            if home is not None and store is None:
                home.lock.release()
        before_use(store)
        return self._keep_if_useful(store, path)

    def _keep_if_useful(self, store: StreamStore, path: Path) -> tuple[StreamStore | None, str | None]:
        problem = None
        if store.strange_files:
            names = ", ".join(map(str, store.strange_files))
            problem = f"{names}: not written by the spool, so left there; look what it is"
        if store.unsettled_count:
            return store, problem
        try:
            store.close()
        except SpoolError as error:
            problem = problem or f"clearing '{path}' away: {error}"
        return None, problem

    def dead_letters(self, stream: str) -> DeadLetters:
        """Return the dead letters of a stream, to read or discard."""
        return DeadLetters(self._fs, self.path_of(stream), self._max_dead_letter_bytes)

    def remove_stream(self, stream: str) -> bool:
        """Delete an orphan with all that is in it, because a person said so; False if a living process has it.

        Raises:
            SpoolError: it cannot be deleted, or only in part.
        """
        try:
            home = take_home(self._fs, self.path_of(stream))
            if home is None:
                return False
            try:
                remove_all(self._fs, home.path)
            finally:
                home.lock.release()
        except OSError as error:
            raise spool_error(f"removing the stream {stream!r}", error) from error
        return True

    def path_of(self, stream: str) -> Path:
        """Return the directory of a stream.

        Raises:
            SpoolError: no stream can have this name.
        """
        if not stream or Path(stream).name != stream or stream.startswith("."):
            raise SpoolError(f"{stream!r} is not the name of a stream; see `defender-logging spool list`")
        return self.path / stream
