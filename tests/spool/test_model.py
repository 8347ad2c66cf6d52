"""Whatever is done to a spool, in whatever order, it holds what a plain model of it holds."""

from __future__ import annotations

import errno
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from defender_logging._pipeline.spool import Fsync, SpoolError
from defender_logging._pipeline.spool.writing import PAUSE_SECONDS

FAULTS = ("write", "create", "sync", "rename", "truncate", "unlink", "sync_directory")
SEEN = Counter()
"""What really happened in all runs, so that a test which never crashes or corrupts cannot pass."""


def line_of(stream, seq, size):
    return b'{"stream":"%b","seq":%d,"pad":"%b"}' % (stream.encode(), seq, b"J" * size)


class SpoolMachine(RuleBasedStateMachine):
    """One process after another, on one directory that is damaged, filled and cut from power.

    ``held`` are entries that must be found; ``may_miss`` those of them that damage has hit or no sync has covered;
    ``may_return`` are settled entries that may come a second time.
    """

    def __init__(self, make_spool):
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.spool = make_spool(Path(self.temporary.name) / "spool")
        self.held = {}
        self.may_miss = set()
        self.may_return = {}
        self.unwritten = {}
        self.written = {}
        self.synced = set()
        self.streams = 0
        self.is_healthy = True
        self.begin()

    def begin(self):
        self.streams += 1
        self.stream = f"s{self.streams}"
        self.seq = 0
        self.fsync = list(Fsync)[self.streams % 3]
        self.store = self.spool.store(self.stream, segment_bytes=400, max_spool_bytes=6_000, fsync=self.fsync)

    def heal(self):
        self.spool.fs.heal()
        self.spool.clock.advance(PAUSE_SECONDS)
        self.is_healthy = True

    def own(self, entries):
        return {key: line for key, line in entries.items() if key[0] == self.stream}

    @rule(size=st.sampled_from([0, 20, 60, 500]), count=st.integers(1, 9))
    def append(self, size, count):
        for _ in range(count):
            self.seq += 1
            key, line = (self.stream, self.seq), line_of(self.stream, self.seq, size)
            try:
                self.store.append(self.seq, line)
            except SpoolError as error:
                SEEN["full" if error.is_full else "refused"] += 1
                self.may_return[key] = line  # Refused; a broken disk may have kept it all the same.
            else:
                self.held[key] = line
                if self.fsync is Fsync.ALWAYS:
                    self.synced.add(key)

    @rule(max_bytes=st.integers(1, 2_000))
    def read(self, max_bytes):
        try:
            found = self.read_all(self.store, max_bytes)
        except SpoolError:
            assert not self.is_healthy
            return
        assert self.own(self.held) == found
        assert len(found) == self.store.unsettled_count
        assert [] == self.store.take_damage()

    @staticmethod
    def read_all(store, max_bytes=1_000):
        found, seq = {}, 0
        while chunk := store.read_after(seq, max_bytes):
            numbers = [seq, *(entry.seq for entry in chunk)]
            assert sorted(set(numbers)) == numbers
            seq = numbers[-1]
            found |= {(store.stream, entry.seq): entry.line for entry in chunk}
        return found

    @rule(pick=st.randoms(use_true_random=False), share=st.sampled_from([0.2, 0.8, 1]))
    def settle(self, pick, share):
        chosen = [key for key in self.own(self.held) if pick.random() < share]

        assert len(chosen) == self.store.settle(seq for _, seq in chosen)
        for key in chosen:
            self.unwritten[key] = self.held.pop(key)

    @rule()
    def write_cursor(self):
        try:
            self.store.write_cursor()
        except SpoolError:
            assert not self.is_healthy
        else:
            self.written |= self.own(self.unwritten)
            self.unwritten = {key: line for key, line in self.unwritten.items() if key[0] != self.stream}

    @rule(code=st.sampled_from([None, None, errno.EIO, errno.ENOSPC]))
    def sync(self, code):
        if code is not None:
            self.spool.fs.fail("sync", code, times=1)
        try:
            note = self.store.sync()
        except SpoolError:
            assert code is not None or not self.is_healthy
        else:
            SEEN["rescued"] += note is not None
            self.spool.fs.faults.pop("sync", None) if code is not None else None
            if self.fsync is not Fsync.OFF:
                self.synced |= self.own(self.held).keys()

    @rule()
    def drop_oldest(self):
        try:
            gone = self.store.drop_oldest_segment()
        except SpoolError:
            assert not self.is_healthy
            return
        for first, last in gone or ():
            for seq in range(first, last + 1):
                del self.held[self.stream, seq]
                SEEN["dropped"] += 1

    @rule(
        operation=st.sampled_from(FAULTS),
        code=st.sampled_from([errno.ENOSPC, errno.EIO]),
        times=st.integers(1, 3),
    )
    def break_disk(self, operation, code, times):
        self.is_healthy = False
        self.spool.fs.fail(operation, code, times=times)

    @rule(size=st.integers(0, 300))
    def break_writes(self, size):
        self.is_healthy = False
        self.spool.fs.short_write_bytes = size

    @rule()
    def repair_disk(self):
        self.heal()

    @rule(how=st.sampled_from(["killed", "killed", "cut", "zeroed"]))
    def die(self, how):
        """End the process, or the power too, and start another with a stream of its own."""
        SEEN[how] += 1
        self.spool.die()
        self.heal()
        self.may_return |= self.unwritten
        self.unwritten = {}
        if how != "killed":
            self.spool.fs.lose_power(self.spool.path, zeroed=how == "zeroed")
            self.may_miss |= self.held.keys() - self.synced
            self.may_return |= self.written
            self.written = {}
        self.begin()

    @rule()
    def close(self):
        """End the process in good order."""
        try:
            self.store.close()
        except SpoolError:
            assert not self.is_healthy
            self.may_return |= self.unwritten
        else:
            self.written |= self.unwritten
        self.unwritten = {}
        self.spool.die()
        self.heal()
        self.begin()

    def orphans(self):
        return [path for path in self.spool.path.glob("s*/*.seg") if path.parent.name != self.stream]

    @precondition(lambda self: self.orphans())
    @rule(pick=st.randoms(use_true_random=False))
    def flip_a_bit(self, pick):
        path = pick.choice(sorted(self.orphans()))
        data = bytearray(path.read_bytes())
        if data:
            at = pick.randrange(len(data))
            self.note_hit(path, bytes(data), at, at + 1)
            data[at] ^= 1 << pick.randrange(8)
            path.write_bytes(data)
            SEEN["flipped"] += 1

    @precondition(lambda self: self.orphans())
    @rule(pick=st.randoms(use_true_random=False))
    def cut_a_segment(self, pick):
        path = pick.choice(sorted(self.orphans()))
        data = path.read_bytes()
        at = pick.randrange(len(data) + 1)
        self.note_hit(path, data, at, len(data))
        path.write_bytes(data[:at])
        SEEN["shortened"] += 1

    def note_hit(self, path, data, start, end):
        """Let the entries miss whose bytes between ``start`` and ``end`` are changed, and those next to old damage."""
        stream = path.parent.name
        hit = {key for key in self.held if key[0] == stream and _is_hit(data, self.held[key], start, end)}
        self.may_miss |= hit
        # Damage at the end of the data makes a cursor look ahead of it.
        for kind in (self.unwritten, self.written):
            for key in [key for key in kind if key[0] == stream]:
                self.may_return[key] = kind.pop(key)

    @rule(content=st.sampled_from([None, b"", b"{}", b"\0" * 80]))
    def damage_cursors(self, content):
        for path in self.spool.path.glob("s*/cursor.json"):
            if path.parent.name != self.stream:
                path.unlink() if content is None else path.write_bytes(content)
                SEEN["cursor damaged"] += 1
        for kind in (self.unwritten, self.written):
            for key in [key for key in kind if key[0] != self.stream]:
                self.may_return[key] = kind.pop(key)

    @rule(share=st.sampled_from([0.5, 1]), is_closed=st.booleans(), pick=st.randoms(use_true_random=False))
    def adopt(self, share, is_closed, pick):
        self.heal()
        adopted, _ = self.spool.adopt()
        found = {}
        for store in adopted:
            of_store = self.read_all(store)
            assert len(of_store) == store.unsettled_count
            found |= of_store
        known = {**self.may_return, **self.held}
        others = {key for key in self.held if key[0] != self.stream}

        assert found == {key: known[key] for key in found}
        assert set() == others - self.may_miss - found.keys()
        SEEN["adopted"] += len(found)
        SEEN["missing"] += len(others - found.keys())
        for key in others - found.keys():
            self.may_return[key] = self.held.pop(key)
        for store in adopted:
            self.send(store, found, share, is_closed=is_closed, pick=pick)
        self.synced |= {key for key in found if key in self.synced}

    def send(self, store, found, share, *, is_closed, pick):
        """Settle a share of an adopted stream, then close it or die with it."""
        of_store = [key for key in found if key[0] == store.stream]
        sent = [key for key in of_store if pick.random() < share]
        store.settle(seq for _, seq in sent)
        store.write_cursor()
        for key in of_store:
            self.held[key] = found[key]
        for key in sent:
            self.written[key] = self.held.pop(key)
            self.may_return.pop(key, None)
        if is_closed:
            store.close()
        else:
            store.abandon()

    def teardown(self):
        self.spool.die()
        self.temporary.cleanup()


def _is_hit(data, line, start, end):
    """Tell whether the frame of ``line`` in ``data`` has a byte from ``start`` to below ``end``."""
    at = data.find(line)
    # The byte before the frame too: without it, and with the one before damaged, the frame may not be found.
    return at >= 0 and at - 36 < end and start < at + len(line) + 1


def test_a_spool_holds_what_its_model_holds(make_spool):
    """Append, read, settle, drop, crash, power cuts, damage, full disks, adoption: no loss, no invention."""
    SEEN.clear()
    run_state_machine_as_test(
        lambda: SpoolMachine(make_spool),
        settings=settings(max_examples=250, stateful_step_count=60, deadline=None),
    )

    assert set() == {
        "adopted", "cursor damaged", "cut", "dropped", "flipped", "full", "killed", "refused", "rescued", "shortened",
        "zeroed",
    } - {what for what, count in SEEN.items() if count}  # fmt: skip
