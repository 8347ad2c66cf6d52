"""A buffer with a store keeps the order, the bound and the account, whatever the disk does and whoever interrupts."""

from __future__ import annotations

import errno
import json
import signal
import threading

import pytest
from deep import returns_at
from interrupting import interrupt_at_random

from defender_logging._pipeline.adopted_buffer import AdoptedBuffer
from defender_logging._pipeline.buffer import QUEUE_FULL, Bounds, Overflow
from defender_logging._pipeline.entry import Draft, Entry
from defender_logging._pipeline.spool import Fsync, Identity, SpoolDirectory, entries_of
from defender_logging._pipeline.spool.stream import DAMAGED
from defender_logging._pipeline.spool.system import SystemFileSystem
from defender_logging._pipeline.spooled_buffer import SPOOL_FULL, SpooledBuffer
from defender_logging.clock import SYSTEM_CLOCK, Wake
from defender_logging.testing import FakeClock

IDENTITY = Identity(
    kind="k", origin="https://h", target="/", name="n", key_reference=None, key=None, index=None
)
PADDING = b"x" * 60


class Disk(SystemFileSystem):
    """A file system that fails as told."""

    def __init__(self):
        self.failing = set()
        self.before_write = None
        self.sync_count = 0

    def _check(self, call):
        if call in self.failing:
            raise OSError(errno.ENOSPC if call == "write" else errno.EMFILE, "told to fail")

    def write(self, fd, data):
        if self.before_write:
            self.before_write()
        self._check("write")
        return super().write(fd, data)

    def open(self, path, flags):
        self._check("open")
        return super().open(path, flags)

    def rename(self, source, target):
        self._check("rename")
        return super().rename(source, target)

    def sync(self, fd):
        self._check("sync")
        self.sync_count += 1
        return super().sync(fd)


class Rig:
    """A buffer, its disk, and what it told."""

    def __init__(self, path, clock, *, max_queue_bytes, overflow, max_spool_bytes, segment_bytes):
        self.path, self.clock = path, clock
        self.disk = Disk()
        self.directory = SpoolDirectory(
            path, max_spool_bytes, segment_bytes=segment_bytes, fs=self.disk, clock=clock
        )
        self.told, self.dropped = [], []
        self.store = self.directory.create_stream("s", IDENTITY, fsync=Fsync.INTERVAL)
        self.buffer = SpooledBuffer(
            "s",
            Bounds(max_queue_bytes, overflow, 0.05, 100, 100_000),
            store=self.store,
            wake=Wake(),
            describe_drops=self.describe,
            tell=self.told.append,
            clock=clock,
        )

    def describe(self, reason, ranges, count):
        self.dropped.append((reason, [list(pair) for pair in ranges], count))
        return Draft(b'{"trail":"dropped"', b"}")

    def log(self, *numbers):
        for number in numbers:
            self.buffer.append(Draft(b'{"n":%d,"p":"%s"' % (number, PADDING), b"}"))
            self.stats()

    def stats(self):
        stats = self.buffer.stats(filtered=0, state="idle")
        assert stats.accepted == stats.delivered + stats.rejected + stats.dropped + stats.pending, stats
        return stats

    def deliver(self, entries=1000, size=1_000_000):
        """Take once, settle, and return the numbers."""
        taken = self.buffer.take(entries, size)
        self.stats()
        self.buffer.settle(taken)
        self.stats()
        return [json.loads(entry.line).get("n", "own") for entry in taken]

    def deliver_all(self, entries=1000, size=1_000_000):
        numbers = []
        for _ in range(10_000):
            if not self.buffer.waiting_entries:
                return numbers
            numbers += self.deliver(entries, size)
        raise AssertionError(f"never empty: {self.stats()}")

    def rest(self):
        """What a process that starts after the death of this one would adopt."""
        self.buffer.let_go()
        stores, _ = SpoolDirectory(self.path, 1 << 30).adopt_orphans(IDENTITY)
        entries = [entry for store in stores for entry in store.read_after(0, 1 << 30)]
        for store in stores:
            store.close()
        return [json.loads(entry.line).get("n", "own") for entry in entries]


@pytest.fixture
def make(tmp_path):
    made = []

    def make_rig(
        *,
        max_queue_bytes=1_000_000,
        overflow=Overflow.DROP_NEWEST,
        max_spool_bytes=1 << 30,
        segment_bytes=2000,
        clock=None,
    ):
        rig = Rig(
            tmp_path / f"spool{len(made)}",
            clock or FakeClock(),
            max_queue_bytes=max_queue_bytes,
            overflow=overflow,
            max_spool_bytes=max_spool_bytes,
            segment_bytes=segment_bytes,
        )
        made.append(rig)
        return rig

    yield make_rig
    for rig in made:
        rig.disk.failing.clear()
        rig.disk.before_write = None
        rig.buffer.let_go()


class TestReadingOrder:
    @pytest.mark.parametrize("batch", [1, 3, 1000])
    def test_memory_then_disk_then_memory_in_the_order_of_the_numbers(self, make, batch):
        """A burst beyond the memory, with more logged while it drains, leaves in order and once."""
        rig = make(max_queue_bytes=1000)
        rig.log(*range(1, 101))
        numbers = []
        for number in range(101, 131):
            numbers += rig.deliver(batch)
            rig.log(number)
        numbers += rig.deliver_all(batch)

        assert list(range(1, 131)) == numbers
        assert 0 == rig.stats().pending

    def test_goes_back_to_memory_once_the_disk_has_nothing_more(self, make):
        """After a backlog, new entries are gathered again instead of being sent one by one from the disk."""
        rig = make(max_queue_bytes=1000)
        rig.log(*range(100))
        rig.deliver_all()
        rig.log(100)

        assert rig.stats().queue_bytes == rig.buffer.waiting_bytes < 200
        assert [100] == rig.deliver()

    def test_memory_stays_within_its_bound_and_one_batch(self, make):
        """However much waits on the disk, ``queue_bytes`` is at most ``max_queue_bytes``, or a batch beyond it."""
        rig = make(max_queue_bytes=1000)
        seen = []
        for number in range(300):
            rig.log(number)
            seen.append(rig.stats().queue_bytes)
        while rig.buffer.waiting_entries:
            taken = rig.buffer.take(5, 1_000_000)
            seen.append(rig.stats().queue_bytes)
            rig.buffer.settle(taken)

        assert max(seen) <= 1000

    def test_a_batch_from_the_disk_leaves_room_for_the_separators(self, make):
        """What is read back respects the byte limit of a batch as memory does, a byte for each separator."""
        rig = make(max_queue_bytes=300)
        rig.log(*range(200))
        while rig.buffer.waiting_entries:
            taken = rig.buffer.take(50, 2000)
            assert sum(len(entry.line) + 1 for entry in taken) <= 2001
            rig.buffer.settle(taken)

    def test_a_small_batch_is_filled_from_the_disk_as_from_memory(self, make):
        """What is read back makes batches of the same size, however many entries a batch might hold."""
        rig = make(max_queue_bytes=300)
        rig.log(*range(20))
        size = len(rig.buffer.take(1, 1000)[0].line) + 10
        rig.deliver(1000, 300)
        while len(rig.buffer._entries):
            rig.deliver()

        assert [3, 3] == [len(rig.deliver(1000, 3 * size)) for _ in range(2)]

    def test_entries_handed_back_come_first_again(self, make):
        """Another sender gets what the first one had read from the disk, in order."""
        rig = make(max_queue_bytes=300)
        rig.log(*range(20))
        numbers = rig.deliver()
        taken = rig.buffer.take(5, 1_000_000)
        rig.buffer.hand_back(taken)

        assert list(range(20)) == numbers + rig.deliver_all(4)

    def test_flush_is_true_after_the_last_numbers_were_dropped(self, make):
        """A number that is not on the disk any more does not keep ``flush`` waiting."""
        rig = make(max_queue_bytes=300, max_spool_bytes=16_000)
        rig.log(*range(400))
        rig.deliver_all()

        assert rig.stats().dropped
        assert rig.buffer.wait_settled(rig.clock.monotonic())


class TestFull:
    def test_drop_newest_tells_exactly_the_missing_numbers(self, make):
        """What is on the disk goes out; the numbers of all others are in the trail."""
        rig = make(max_queue_bytes=300, max_spool_bytes=16_000)
        rig.log(*range(1, 401))
        arrived = [number for number in rig.deliver_all() if number != "own"]

        assert {SPOOL_FULL: 400 - len(arrived)} == rig.stats().dropped_by_reason
        assert arrived == list(range(1, len(arrived) + 1))
        assert [(SPOOL_FULL, [[len(arrived) + 1, 400]], 400 - len(arrived))] == rig.dropped
        assert 1 == len(rig.told)
        assert "max_spool_bytes" in rig.told[0]

    def test_drop_oldest_keeps_the_newest_and_tells_the_others(self, make):
        """Whole segments go, in order of age."""
        rig = make(max_queue_bytes=300, max_spool_bytes=16_000, overflow=Overflow.DROP_OLDEST)
        rig.log(*range(1, 401))
        arrived = [number for number in rig.deliver_all() if number != "own"]
        missing = set(range(1, 401)) - set(arrived)

        assert 400 == arrived[-1]
        assert {SPOOL_FULL: len(missing)} == rig.stats().dropped_by_reason
        assert missing == {n for _, pairs, _ in rig.dropped for a, b in pairs for n in range(a, b + 1)}

    def test_drop_oldest_counts_what_is_in_flight_as_delivered_only(self, make):
        """Entries that a sender holds are neither dropped nor lost when their segment goes."""
        rig = make(max_spool_bytes=16_000, overflow=Overflow.DROP_OLDEST)
        rig.log(*range(1, 6))
        taken = rig.buffer.take(5, 1_000_000)
        rig.log(*range(6, 401))
        rig.buffer.settle(taken)

        assert 5 == rig.stats().delivered
        rig.deliver_all()
        assert 0 == rig.stats().pending

    def test_drop_oldest_while_the_sender_reads_drops_nothing_twice(self, make, monkeypatch):
        """A segment that goes between reading and flight is dropped and not delivered."""
        rig = make(max_queue_bytes=300, max_spool_bytes=16_000, overflow=Overflow.DROP_OLDEST)
        rig.log(*range(1, 100))
        rig.deliver()
        read_after = rig.store.read_after

        def read_and_overtake(*arguments):
            found = read_after(*arguments)
            monkeypatch.undo()
            rig.log(*range(100, 401))
            return found

        monkeypatch.setattr(rig.store, "read_after", read_and_overtake)
        rig.deliver_all(20)

        assert 0 == rig.stats().pending
        assert rig.stats().dropped

    def test_a_dropped_entry_that_is_dropped_itself_is_told_anew(self, make):
        """Every missing number is told by an entry that arrives, however often the spool overflows."""
        rig = make(max_queue_bytes=300, max_spool_bytes=16_000, overflow=Overflow.DROP_OLDEST)
        told_in = {}
        describe = rig.describe

        def remember(reason, ranges, count):
            told_in[len(told_in)] = [list(pair) for pair in ranges]
            describe(reason, ranges, count)
            return Draft(b'{"told":%d' % (len(told_in) - 1), b"}")

        rig.buffer._describe = remember
        arrived = []

        def deliver():
            taken = rig.buffer.take(3, 1_000_000)
            rig.buffer.settle(taken)
            arrived.extend(taken)

        for start in range(0, 2000, 400):
            rig.log(*range(start, start + 400))
            deliver()
        while rig.buffer.waiting_entries:
            deliver()
        told = [told_in[body["told"]] for e in arrived if "told" in (body := json.loads(e.line))]
        numbers = {n for pairs in told for a, b in pairs for n in range(a, b + 1)}

        assert set(range(1, rig.stats().accepted + 1)) == {e.seq for e in arrived} | numbers
        assert not {e.seq for e in arrived} & numbers

    def test_a_full_spool_takes_entries_again_once_all_is_delivered(self, make):
        """Files that are done with go although nothing is left to be settled; the drops are told then."""
        rig = make(max_queue_bytes=300, max_spool_bytes=16_000)
        rig.log(*range(1, 401))
        rig.deliver_all()
        rig.log(*range(401, 801))
        rig.deliver_all()
        rig.buffer.sync()
        rig.clock.advance(1)
        told = rig.deliver_all()
        rig.log(*range(801, 811))

        assert told == (["own"] if told else [])
        assert list(range(801, 811)) == rig.deliver_all()
        assert rig.stats().dropped == sum(count for _, _, count in rig.dropped)


class TestFailingDisk:
    @pytest.mark.parametrize("overflow", [Overflow.DROP_NEWEST, Overflow.DROP_OLDEST])
    def test_goes_on_from_memory_within_the_bound(self, make, overflow):
        """Told once; what fits memory arrives, what does not is counted; after the healing all is on the disk."""
        rig = make(max_queue_bytes=3000, overflow=overflow)
        rig.log(*range(5))
        rig.disk.failing = {"write", "open"}
        for number in range(5, 200):
            rig.log(number)
            assert rig.stats().queue_bytes <= 3000
        failing = rig.stats()
        rig.disk.failing = set()
        rig.clock.advance(1)
        rig.log(200)
        arrived = [number for number in rig.deliver_all() if number != "own"]

        assert failing.dropped == failing.dropped_by_reason[QUEUE_FULL]
        assert set(range(5)) <= set(arrived)
        assert sorted(set(arrived)) == sorted(arrived)
        # Numbers begin at 0 and seqs at 1.
        missing = {n for _, pairs, _ in rig.dropped for a, b in pairs for n in range(a - 1, b)}
        assert set(range(201)) - missing == set(arrived)
        assert 1 == sum("does not take entries" in sentence for sentence in rig.told)
        assert 1 == sum("takes entries again" in sentence for sentence in rig.told)

    def test_what_was_in_memory_only_is_on_the_disk_after_the_next_round(self, make):
        """After the healing nothing is in memory alone, in flight or waiting; a death then loses nothing."""
        rig = make()
        rig.log(*range(5))
        rig.disk.failing = {"write", "open"}
        rig.log(*range(5, 20))
        taken = rig.buffer.take(10, 1_000_000)
        rig.buffer.sync()
        assert 15 == rig.buffer.memory_only
        rig.disk.failing = set()
        rig.buffer.sync()

        assert (0, 20) == (rig.buffer.memory_only, rig.stats().pending)
        assert 1 == sum("takes entries again" in sentence for sentence in rig.told)
        rig.buffer.settle(taken[:7])
        rig.clock.advance(1)
        rig.log(20)
        assert list(range(7, 21)) == rig.rest()

    def test_a_cursor_written_before_the_healing_does_not_hide_what_is_saved_after_it(self, make):
        """What was in memory only when others were settled is not called settled; death may come at any step."""
        rig = make()
        rig.log(*range(5))
        rig.disk.failing = {"write", "open"}
        rig.log(*range(5, 20))
        rig.disk.failing = set()
        rig.clock.advance(1)
        rig.log(20)
        rig.deliver(5)
        rig.store.save([Entry(seq, b'{"n":%d}' % (seq - 1)) for seq in range(6, 21)])

        left = SpoolDirectory(rig.path, 1 << 30)
        assert list(range(6, 22)) == [entry.seq for entry in entries_of(left.path_of("s"))]

    def test_what_is_saved_leaves_after_the_older_ones_that_only_the_disk_has(self, make):
        """The order of the numbers is kept where the receiver takes nothing until the disk has healed."""
        rig = make(max_queue_bytes=3000)
        rig.log(*range(100))
        rig.deliver_all(1)
        rig.log(*range(100, 200))
        rig.disk.failing = {"write", "open"}
        rig.log(*range(200, 220))
        rig.disk.failing = set()
        rig.buffer.sync()
        rig.clock.advance(1)
        rig.log(*range(220, 300))

        assert (0, 0) == (rig.stats().dropped, rig.buffer.memory_only)
        assert list(range(100, 300)) == rig.deliver_all(7)

    def test_what_is_saved_while_it_is_in_flight_is_not_sent_again(self, make):
        """Entries that overtook the disk's, and are there by now, are not read back a second time."""
        rig = make(max_queue_bytes=3000)
        rig.log(*range(100))
        rig.disk.failing = {"write", "open"}
        rig.log(*range(100, 110))
        taken = rig.buffer.take(10, 1_000_000)
        rig.disk.failing = set()
        rig.buffer.sync()
        older = rig.deliver_all(30)
        rig.buffer.settle(taken)

        assert list(range(100)) == older
        assert list(range(100, 110)) == [json.loads(entry.line)["n"] for entry in taken]
        assert (0, []) == (rig.stats().pending, rig.rest())

    def test_a_full_memory_beside_a_failing_disk_costs_a_caller_no_search(self, make):
        """Copies of what is on the disk are looked for once, not with each of the many calls of a long outage."""
        rig = make(max_queue_bytes=3000)
        rig.log(*range(10))
        rig.disk.failing = {"write", "open"}
        rig.log(*range(10, 60))
        looked = []
        rig.buffer._let_go_of_copies = looked.append
        rig.log(*range(60, 100))

        assert [] == looked
        assert rig.stats().dropped > 40

    def test_copies_of_what_is_on_the_disk_make_room_for_what_is_not(self, make):
        """The whole of ``max_queue_bytes`` is there for entries that the disk refuses, and nothing else is dropped."""
        rig = make(max_queue_bytes=3000, overflow=Overflow.DROP_OLDEST)
        rig.log(*range(25))
        rig.disk.failing = {"write"}
        rig.log(*range(25, 45))
        rig.disk.failing = set()

        assert 0 == rig.stats().dropped
        assert list(range(45)) == sorted(rig.deliver_all())

    def test_copies_made_between_two_failures_make_room_as_well(self, make):
        """What reached the disk after it had healed is not dropped from memory when the disk fails anew."""
        rig = make(max_queue_bytes=300, overflow=Overflow.DROP_OLDEST)
        rig.disk.failing = {"write", "open"}
        rig.log(*range(1, 6))
        rig.deliver_all()
        rig.disk.failing.clear()
        rig.clock.advance(1)
        rig.log(6, 7)
        rig.disk.failing = {"write", "open"}
        rig.clock.advance(1)
        rig.log(8, 9)
        rig.disk.failing.clear()

        assert sorted(number for number in rig.deliver_all() if number != "own") == [6, 7, 8, 9]

    def test_what_was_saved_before_the_disk_failed_again_is_not_dropped(self, make):
        """A disk that takes the first file of what was in memory and refuses the second: the account holds."""
        rig = make(max_queue_bytes=1500, overflow=Overflow.DROP_OLDEST, segment_bytes=500)
        rig.disk.failing = {"write"}
        rig.log(*range(1, 16))
        writes = 0

        def fail_at_the_second_file():
            nonlocal writes
            writes += 1
            rig.disk.failing = {"write"} if writes > 4 else set()

        rig.disk.before_write = fail_at_the_second_file
        rig.clock.advance(1)
        rig.buffer.sync()
        rig.disk.before_write = None
        rig.disk.failing = {"write"}
        assert 0 < rig.buffer.memory_only < rig.stats().pending

        rig.log(*range(16, 22))  # Looks at the account after each.

    def test_an_unreadable_disk_makes_no_tight_loop_and_heals_with_the_next_round(self, make):
        """After a failed read nothing waits until the housekeeper's round; it is told once."""
        rig = make(max_queue_bytes=300)
        rig.log(*range(50))
        rig.disk.failing = {"open"}
        numbers = rig.deliver_all()
        for _ in range(3):
            rig.buffer.sync()
            numbers += rig.deliver_all()

        assert 0 < rig.stats().pending
        rig.disk.failing = set()
        rig.buffer.sync()
        assert list(range(50)) == numbers + rig.deliver_all()
        assert 1 == sum("cannot be read" in sentence for sentence in rig.told)

    def test_a_cursor_that_cannot_be_written_is_told_once(self, make):
        """Each batch tries again, appending goes on in between, and people hear of it once."""
        rig = make()
        rig.log(1)
        rig.disk.failing = {"rename"}
        for number in range(2, 12):
            rig.deliver()
            rig.log(number)
        rig.disk.failing = set()
        rig.deliver()

        assert 1 == sum("cursor cannot be written" in sentence for sentence in rig.told)
        assert [] == rig.rest()

    def test_flush_is_not_true_before_the_cursor_is_written(self, make):
        """What is delivered would come again after a death until the cursor says so; the next round writes it."""
        rig = make()
        rig.log(1)
        rig.disk.failing = {"rename"}
        rig.deliver()
        assert 0 == rig.stats().pending
        assert not rig.buffer.wait_settled(rig.clock.monotonic())
        rig.disk.failing = set()
        rig.buffer.sync()

        assert rig.buffer.wait_settled(rig.clock.monotonic())

    def test_an_adopted_stream_is_let_go_only_with_its_cursor_written(self, make):
        """Otherwise the next one who adopts it would send all of it again; ``flush`` waits for that as well."""
        dead = make()
        dead.log(*range(5))
        dead.buffer.let_go()
        rig = make()
        (store,), _ = SpoolDirectory(dead.path, 1 << 30, fs=rig.disk).adopt_orphans(IDENTITY)
        adopted = AdoptedBuffer(store, rig.buffer)
        rig.disk.failing = {"rename"}
        adopted.settle(adopted.take(5, 100_000))

        assert (0, False) == (adopted.pending, adopted.is_finished)
        assert not rig.buffer.wait_settled(rig.clock.monotonic())
        rig.disk.failing = set()
        adopted.look_again()
        assert adopted.is_finished
        assert rig.buffer.wait_settled(rig.clock.monotonic())
        assert not (dead.path / "s").exists()

    def test_a_sync_that_fails_again_and_again_is_told_once(self, make):
        """The housekeeper tries every half second; people hear of the failure once, and of the healing."""
        rig = make()
        rig.log(1)
        rig.disk.failing = {"sync", "open"}
        for _ in range(5):
            rig.buffer.sync()

        assert 1 == sum("cannot be synced" in sentence for sentence in rig.told)

    def test_damage_is_counted_and_told_as_what_it_is(self, make):
        """A flipped bit costs its entry only, counted as damaged."""
        rig = make(max_queue_bytes=300)
        rig.log(*range(1, 51))
        path = max(rig.path.glob("s/*.seg"))
        data = bytearray(path.read_bytes())
        at = data.index(b'"p":"xx') + 10
        data[at] ^= 1
        path.write_bytes(data)
        numbers = [number for number in rig.deliver_all() if number != "own"]

        assert 49 == len(numbers)
        assert {DAMAGED: 1} == rig.stats().dropped_by_reason
        assert not any("queue is full" in sentence for sentence in rig.told)


class TestAtTheEndOfTheProcess:
    def test_what_is_logged_later_is_on_the_disk_and_costs_no_look_at_the_backlog(self, make):
        """The open segment goes on; each entry is synced by itself, since nobody may come to do it."""
        rig = make(segment_bytes=100_000)
        rig.log(*range(100))
        rig.buffer.rest()
        rig.disk.failing = {"open"}
        synced = rig.disk.sync_count
        rig.log(100, 101)

        assert (0, 2) == (rig.buffer.memory_only, rig.disk.sync_count - synced)
        rig.disk.failing = set()
        assert list(range(102)) == rig.rest()

    def test_an_empty_stream_leaves_nothing_and_is_made_again_for_what_is_logged_later(self, make):
        """Its directory goes with the last entry, and comes back with the next."""
        rig = make()
        rig.log(1)
        rig.deliver()
        rig.buffer.rest()
        assert not (rig.path / "s").exists()
        rig.log(2)

        assert [2] == rig.rest()

    def test_what_a_failing_disk_kept_in_memory_gets_a_last_try(self, make):
        """Nothing is left in memory only if the disk has healed by then."""
        rig = make()
        rig.disk.failing = {"open"}
        rig.log(*range(5))
        rig.disk.failing = set()
        rig.buffer.rest()

        assert (0, list(range(5))) == (rig.buffer.memory_only, rig.rest())


class TestSettling:
    def test_what_is_settled_does_not_come_again(self, make):
        """After a death only the rest is there."""
        rig = make()
        rig.log(*range(10))
        rig.deliver(4)

        assert list(range(4, 10)) == rig.rest()

    def test_a_refused_entry_is_kept_with_its_reason(self, make):
        """It counts as rejected and stands among the dead letters."""
        rig = make()
        rig.log(1, 2)
        taken = rig.buffer.take(2, 1000)
        rig.buffer.note_failure("code 6: bad", duplicates_possible=0)
        rig.buffer.settle(taken[:1], [(taken[1], "http_400")])
        (letter,) = rig.directory.dead_letters("s").read()

        assert ("s-2", "http_400", "code 6: bad") == (letter.id, letter.reason, letter.answer)
        assert {"http_400": 1} == rig.stats().rejected_by_reason
        assert [] == rig.rest()

    def test_adopted_entries_are_accepted_and_settled_by_the_adopter(self, make):
        """One account holds both, at every step, and the adopted stream goes when it is done."""
        dead = make(max_queue_bytes=300)
        dead.log(*range(20))
        dead.buffer.let_go()
        rig = make()
        rig.log(100)
        (store,), problems = SpoolDirectory(dead.path, 1 << 30).adopt_orphans(IDENTITY)
        adopted = AdoptedBuffer(store, rig.buffer)

        assert [] == problems
        assert (21, 21) == (rig.stats().accepted, rig.stats().pending)
        assert not rig.buffer.wait_settled(rig.clock.monotonic())
        taken = adopted.take(7, 100_000)
        adopted.hand_back(taken)
        numbers = []
        while adopted.pending:
            taken = adopted.take(5, 100_000)
            numbers += [json.loads(entry.line)["n"] for entry in taken]
            adopted.settle(taken)
            rig.stats()
        assert list(range(20)) == numbers
        assert not (dead.path / "s").exists()
        rig.deliver_all()
        assert (21, 0) == (rig.stats().delivered, rig.stats().pending)


def test_adopted_entries_handed_back_keep_to_the_size_of_a_batch(make):
    """What several requests had under way does not come back as one batch that no receiver takes."""
    dead, adopter = make(), make()
    dead.log(*range(1, 21))
    dead.buffer.let_go()
    (store,), _ = dead.directory.adopt_orphans(IDENTITY)
    adopted = AdoptedBuffer(store, adopter.buffer)
    under_way = [adopted.take(1000, 500) for _ in range(3)]
    adopted.hand_back([entry for batch in under_way for entry in batch])

    assert [adopted.take(1000, 500) for _ in range(3)] == under_way
    adopted.let_go()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timer")
@pytest.mark.no_cover  # An exception inside the coverage tool's own lock would leave it locked.
# The standard library too may be interrupted, between opening something and taking care of it, or in a destructor.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestInterrupts:
    @pytest.mark.parametrize("max_queue_bytes", [5000, 1 << 30], ids=["disk ahead", "memory"])
    def test_what_returned_is_there_once(self, make, max_queue_bytes):
        """KeyboardInterrupt at random steps: nothing lost uncounted, nothing doubled."""
        rig = make(max_queue_bytes=max_queue_bytes, segment_bytes=100_000, clock=SYSTEM_CLOCK)
        returned = []

        def append(number):
            rig.buffer.append(Draft(b'{"n":%d' % number, b"}"))
            returned.append(number)

        interrupts = interrupt_at_random(append, rounds=300)
        rig.log(0)
        stats = rig.stats()
        # Without our own entries: one may tell of an append that was interrupted and did not return.
        arrived = [number for number in rig.deliver_all(100) if number != "own"]

        assert interrupts > 20
        assert sorted(set(arrived)) == sorted(arrived)
        # An interrupted write makes the spool rest for a moment; what memory cannot hold meanwhile is counted.
        assert len({*returned, 0} - set(arrived)) <= stats.dropped
        assert stats.pending >= len(arrived)
        assert [] == rig.rest()

    def test_a_signal_handler_that_closes_in_the_middle_of_saving_waits_for_nobody(self, make):
        """It would wait for its own thread: the turn at the disk is had already, and all is saved when that is over."""
        rig = make(max_queue_bytes=100_000, segment_bytes=2000)
        rig.disk.failing = {"write"}
        rig.log(1, 2)
        rig.disk.failing = set()
        rig.clock.advance(1)
        closed = []

        def close():
            rig.disk.before_write = None
            rig.buffer.rest()
            closed.append(rig.buffer.take(10, 1000))

        rig.disk.before_write = close
        rested = threading.Thread(target=rig.buffer.rest, daemon=True)
        rested.start()
        rested.join(10)

        assert not rested.is_alive()
        assert 1 == len(closed)
        assert 0 == rig.buffer.memory_only

    def test_a_stream_that_is_being_made_is_not_lost_to_an_interrupt(self, make):
        """Whatever step of making directory, lock and segment it hits, all is on the disk with the next round."""
        for _ in range(40):
            rig = make(segment_bytes=3000, clock=SYSTEM_CLOCK)
            interrupt_at_random(lambda number, rig=rig: rig.log(number), rounds=20, seconds=0.0004)
            rig.log(0)
            rig.buffer.sync()
            open_segments = [each for each in rig.store._catalogue.segments if not each.is_sealed]

            assert 0 == rig.buffer.memory_only, rig.told
            assert len(open_segments) <= 1
            assert rig.stats().accepted == len(rig.rest())

    @pytest.mark.parametrize("overflow", [Overflow.DROP_NEWEST, Overflow.DROP_OLDEST])
    def test_the_account_holds_while_the_disk_fails(self, make, overflow):
        """In memory alone and interrupted, the identity holds and every held entry goes out once."""
        rig = make(max_queue_bytes=20_000, overflow=overflow, clock=SYSTEM_CLOCK)
        rig.log(*range(5))
        rig.disk.failing = {"write", "open"}

        def append(number):
            rig.buffer.append(Draft(b'{"n":%d' % (number + 10), b"}"))

        interrupts = interrupt_at_random(append, rounds=300)
        rig.stats()
        rig.disk.failing = set()
        arrived = [number for number in rig.deliver_all(50) if number != "own"]

        assert interrupts > 20
        assert sorted(set(arrived)) == sorted(arrived)
        assert (0, 0) == (rig.stats().pending, rig.buffer.memory_only)

    @pytest.mark.no_cover  # Coverage tools of some Pythons take frames of their own.
    @pytest.mark.parametrize("max_queue_bytes", [300, 1_000_000])
    def test_at_the_end_of_the_stack_an_append_doubles_nothing(self, make, max_queue_bytes):
        """Called so deep that any step may fail, also those that put in order what the others left."""
        refused = 0
        for depth in range(40, 80):
            rig = make(max_queue_bytes=max_queue_bytes)
            rig.log(1)
            has_returned = returns_at(depth, lambda: rig.buffer.append(Draft(b'{"n":2', b"}")))  # noqa: B023
            refused += not has_returned
            rig.log(3)
            assert rig.deliver_all() in ([[1, 2, 3]] if has_returned else [[1, 3], [1, 2, 3]]), depth

        assert refused > 5

    def test_a_signal_handler_that_logs_in_the_middle_of_a_write(self, make):
        """Its entry follows the interrupted one, and both are on the disk."""
        rig = make()
        log, depth = rig.buffer.append, []

        def log_inside():
            if not depth:
                depth.append(1)
                log(Draft(b'{"n":2', b"}"))

        rig.log(0)
        rig.disk.before_write = log_inside
        log(Draft(b'{"n":1', b"}"))
        rig.disk.before_write = None

        assert 3 == rig.stats().accepted
        assert [0, 1, 2] == rig.deliver_all()


def test_a_draft_that_was_left_in_the_inbox_is_written_when_the_sender_looks(make):
    """A signal's exception may cut an append off before it is numbered; nobody waits for the next one."""
    rig = make()
    rig.buffer._inbox.append(Draft(b'{"n":1', b"}"))

    assert 1 == rig.buffer.waiting_entries
    assert 1 == rig.store.unsettled_count
    assert [1] == rig.deliver_all()


def test_each_entry_is_on_the_disk_when_append_returns(make):
    """None waits for its number beside others, as it may in a buffer without a store."""
    rig = make()
    bounds = Bounds(33_554_432, Overflow.DROP_NEWEST, 1.0, 1000, 1_000_000)
    buffer = SpooledBuffer(
        "s", bounds, store=rig.store, wake=Wake(), describe_drops=rig.describe, tell=rig.told.append
    )
    written = []
    for number in range(3):
        buffer.append(Draft(b'{"n":%d' % number, b"}"))
        written.append(rig.store.last_seq)

    assert [1, 2, 3] == written


def test_many_threads_number_without_gap_while_a_sender_drains(make):
    """Eight threads, little memory, a sender at work: each entry once, in order, and the identity at every look."""
    rig = make(max_queue_bytes=2000, segment_bytes=20_000, clock=SYSTEM_CLOCK)
    threads = [
        threading.Thread(target=lambda: [rig.buffer.append(Draft(b'{"n":1', b"}")) for _ in range(500)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    seqs = []
    while any(thread.is_alive() for thread in threads) or rig.buffer.waiting_entries:
        taken = rig.buffer.take(50, 100_000)
        rig.stats()
        rig.buffer.settle(taken)
        rig.stats()
        seqs += [entry.seq for entry in taken]
    for thread in threads:
        thread.join()

    assert list(range(1, 4001)) == seqs


def test_block_waits_for_room_and_drops_nothing(make):
    """A caller that finds the spool full waits for the sender, before it takes a number."""
    rig = make(max_queue_bytes=300, max_spool_bytes=16_000, overflow=Overflow.BLOCK, clock=SYSTEM_CLOCK)
    rig.buffer._bounds = Bounds(300, Overflow.BLOCK, 10.0, 100, 100_000)
    caller = threading.Thread(target=lambda: rig.log(*range(400)))
    caller.start()
    numbers = []
    while caller.is_alive() or rig.buffer.waiting_entries:
        numbers += rig.deliver(20)
    caller.join()

    assert (list(range(400)), 0) == (numbers, rig.stats().dropped)
