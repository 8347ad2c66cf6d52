"""What the tests of the spool share: a real directory, a file system that fails on demand, and small makers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import defender_logging
from defender_logging._pipeline.spool import Fsync, Identity, SpoolDirectory
from defender_logging._pipeline.spool.locks import abandon_locks
from defender_logging._pipeline.spool.system import SystemFileSystem
from defender_logging.testing import FakeClock

SOURCE = str(Path(defender_logging.__file__).parent.parent)
SEGMENT_BYTES = 700

HANDLER = Identity(
    "SplunkHandler", "https://splunk.example:8088", "/services/collector/event", "trail", "env:KEY"
)


class FaultyFileSystem(SystemFileSystem):
    """The real file system, which can fail, write short, do without ``flock``, and lose what was not synced."""

    def __init__(self):
        self.faults = {}
        self.short_write_bytes = None
        self.has_flock = True
        self.calls = []
        self.synced_sizes = {}

    def fail(self, operation, code, *, times=None):
        """Let ``operation`` fail from now on, or for so many times."""
        self.faults[operation] = [code, times]

    def heal(self):
        self.faults.clear()
        self.short_write_bytes = None

    def check(self, operation, *details):
        self.calls.append((operation, *details))
        fault = self.faults.get(operation)
        if fault is None:
            return
        if fault[1] is not None:
            if fault[1] == 0:
                return
            fault[1] -= 1
        raise OSError(fault[0], os.strerror(fault[0]))

    def open(self, path, flags):
        if flags & os.O_CREAT:
            self.check("create", path.name)
        self.check("open", path.name)
        return super().open(path, flags)

    def write(self, fd, data):
        self.check("write")
        if self.short_write_bytes is not None and self.short_write_bytes < len(data):
            if self.short_write_bytes:
                os.write(fd, data[: self.short_write_bytes])
            return self.short_write_bytes
        return os.write(fd, data)

    def read(self, fd, offset, size):
        self.check("read")
        return super().read(fd, offset, size)

    def truncate(self, fd, size):
        self.check("truncate")
        os.ftruncate(fd, size)

    def sync(self, fd):
        self.check("sync")
        os.fsync(fd)
        status = os.fstat(fd)
        self.synced_sizes[status.st_ino] = status.st_size

    def sync_directory(self, path):
        self.check("sync_directory")

    def rename(self, source, target):
        self.check("rename", target.name)
        source.replace(target)

    def link(self, source, target):
        self.check("link", target.name)
        os.link(source, target)

    def unlink(self, path):
        self.check("unlink", path.name)
        path.unlink()

    def make_directory(self, path, *, with_parents=False):
        self.check("make_directory")
        super().make_directory(path, with_parents=with_parents)

    def flock(self, fd, *, is_shared=False):
        return super().flock(fd, is_shared=is_shared) if self.has_flock else None

    def lose_power(self, path, *, zeroed):
        """Take from the segments what was never synced, as a power cut does: cut off, or full of zeros."""
        for segment in path.glob("*/*.seg"):
            status = segment.stat()
            kept = min(self.synced_sizes.get(status.st_ino, 0), status.st_size)
            os.truncate(segment, kept)
            if zeroed:
                os.truncate(segment, status.st_size)


class Spool:
    """A spool directory under test, with short ways to do what tests do."""

    def __init__(self, path):
        self.path = path
        self.fs = FaultyFileSystem()
        self.clock = FakeClock()
        self.stores = []

    def directory(self, *, max_spool_bytes=1_000_000, segment_bytes=SEGMENT_BYTES):
        return SpoolDirectory(
            self.path, max_spool_bytes, segment_bytes=segment_bytes, fs=self.fs, clock=self.clock
        )

    def store(self, stream="s1", *, identity=HANDLER, fsync=Fsync.INTERVAL, **options):
        store = self.directory(**options).create_stream(stream, identity, fsync=fsync)
        self.stores.append(store)
        return store

    def adopt(self, identity=HANDLER):
        adopted, problems = self.directory().adopt_orphans(identity)
        self.stores += adopted
        return adopted, problems

    def die(self):
        """Let all stores go as a dying process does: descriptors are closed, nothing else happens."""
        for store in self.stores:
            store.abandon()
        self.stores.clear()
        abandon_locks()

    def names(self):
        return sorted(path.name for path in self.path.iterdir())

    def segments(self, stream="s1"):
        return sorted((self.path / stream).glob("*.seg"))


@pytest.fixture
def spool(tmp_path):
    """A spool in a directory of its own, let go at the end."""
    made = Spool(tmp_path / "spool")
    yield made
    made.die()


@pytest.fixture
def line():
    """Makes the line of an entry from its number: all of about one length."""
    return lambda seq, size=60: (
        b'{"time":"2026-01-02T03:04:05.000006Z","seq":%d,"pad":"%b"}' % (seq, b"x" * size)
    )


@pytest.fixture
def read_all():
    """Reads everything unsettled from a store, in small chunks."""

    def read(store, max_bytes=250):
        entries, seq = [], 0
        while chunk := store.read_after(seq, max_bytes):
            entries += chunk
            seq = chunk[-1].seq
        return entries

    return read


@pytest.fixture
def handler():
    """The identity that tests use unless they are about identities."""
    return HANDLER


@pytest.fixture
def run_python():
    """Starts another Python with our package and returns the process, whose pipes are open."""
    processes = []

    def run(code, *arguments, close_fds=True):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": SOURCE},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            close_fds=close_fds,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate(timeout=30)


@pytest.fixture
def names():
    """Lists a directory."""
    return lambda path: sorted(each.name for each in path.iterdir())


@pytest.fixture
def open_descriptors():
    """Counts the descriptors of this process."""
    return lambda: len(list(Path("/dev/fd").iterdir()))


@pytest.fixture
def make_spool():
    """Makes spools for tests that need many; those who ask let them go."""
    return Spool
