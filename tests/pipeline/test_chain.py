"""The chain of a buffer holds what was kept, tells what was not, and survives whoever interrupts it."""

from __future__ import annotations

import json
import random
import signal
import threading

import pytest
from interrupting import interrupt_at_random, struck_by_signals
from trails import resealed

from defender_logging._pipeline.buffer import QUEUE_FULL, Bounds, Buffer, Overflow
from defender_logging._pipeline.chain import (
    CHECKPOINT_ENTRIES,
    CHECKPOINT_SECONDS,
    SEAL_BYTES,
    Chain,
    ChainPlan,
    End,
    Sealing,
    end_of,
    hashes_of,
)
from defender_logging._pipeline.entry import SCHEMA, Fields
from defender_logging._pipeline.integrity import GENESIS, Seal
from defender_logging._pipeline.spool import Fsync, Identity, SpoolDirectory
from defender_logging._pipeline.spool.stream import DAMAGED
from defender_logging._pipeline.spooled_buffer import SPOOL_FULL, SpooledBuffer
from defender_logging.cli.verify_streams import verify
from defender_logging.clock import SYSTEM_CLOCK, Wake
from defender_logging.destinations.datadog import DatadogDestination
from defender_logging.destinations.generic import GenericDestination
from defender_logging.destinations.splunk import SplunkDestination
from defender_logging.fitting import encode_to_fit
from defender_logging.testing import FakeClock

SEAL = Seal("key")
IDENTITY = Identity(
    kind="k", origin="https://h", target="/", name="n", key_reference=None, key=None, index=None
)
GENERIC = GenericDestination(target="/")
ENCODER = Sealing(GENERIC)
DESTINATIONS = [
    GENERIC,
    DatadogDestination(target="/"),
    SplunkDestination(target="/", channel="c", indexed_fields=["level", "prev", "hash", "id"]),
    SplunkDestination(target="/services/collector/raw", channel="c"),
]
NUMBERS = iter(range(10**9))


def draft_of(**values):
    """A sealed draft, as a handler makes it."""
    return ENCODER.encode(Fields({**values, "schema": SCHEMA}, 0, 20))


def record():
    """One draft unlike all others."""
    return draft_of(message="m", n=next(NUMBERS))


def describe_mark(trail, message, values):
    return draft_of(message=message, trail=trail, **values)


def describe_drops(reason, ranges, count):
    return draft_of(
        reason=reason,
        trail="dropped",
        dropped=count,
        ranges=[[first, last] for first, last, *_ in ranges],
        range_hashes=[list(around) for _, _, *around in ranges],
    )


def arguments(
    max_queue_bytes=10_000_000, overflow=Overflow.DROP_NEWEST, block_timeout_seconds=0.02, clock=SYSTEM_CLOCK
):
    return {
        "stream": "s",
        "bounds": Bounds(
            max_queue_bytes=max_queue_bytes,
            overflow=overflow,
            block_timeout_seconds=block_timeout_seconds,
            wake_entries=100,
            wake_bytes=100_000,
        ),
        "wake": Wake(),
        "describe_drops": describe_drops,
        "tell": lambda sentence: None,
        "chain": Chain("s", ChainPlan(SEAL, describe_mark)),
        "clock": clock,
    }


def make_buffer(**given):
    return Buffer(**arguments(**given))


def drained(buffer):
    """All that waits, settled, with what settling makes the buffer tell."""
    entries = []
    while batch := buffer.take(1_000_000, 1_000_000_000):
        entries += [json.loads(entry.line) for entry in batch]
        buffer.settle(batch)
    return entries


def judged(entries):
    """The one report about some entries."""
    (report,) = verify(entries, [SEAL])
    return report


def faults(entries):
    return {fault.value: [*iter(numbers)] for fault, numbers in judged(entries).faults.items()}


def trails(entries):
    return [entry.get("trail") for entry in entries]


class TestMarks:
    def test_a_stream_begins_with_started_and_ends_with_stopped(self):
        """Both chained, with the seal's name, and at the end count and head."""
        buffer = make_buffer()
        buffer.append(record())
        buffer.close()
        entries = drained(buffer)

        assert ["started", None, "stopped"] == trails(entries)
        assert [GENESIS.decode(), entries[0]["hash"], entries[1]["hash"]] == [e["prev"] for e in entries]
        assert {"hmac-sha256"} == {entries[i]["integrity"] for i in (0, 2)}
        assert (2, entries[1]["hash"], 0, 0) == tuple(
            entries[2][name] for name in ("count", "head", "dropped", "rejected")
        )
        assert {} == faults(entries)

    def test_the_fields_stand_in_the_order_of_the_wire(self):
        """prev, hash, schema, id, stream and seq are the last ones."""
        buffer = make_buffer()
        buffer.append(record())

        assert ["hashed", "prev", "hash", "schema", "id", "stream", "seq"] == list(drained(buffer)[1])[-7:]

    def test_a_stream_without_records_has_no_entries(self):
        """Nothing is written for a handler that nobody uses, unless it is started by hand."""
        silent, started = make_buffer(), make_buffer()
        started.begin()
        started.begin()
        for buffer in (silent, started):
            buffer.end()
            buffer.close()

        assert [[], ["started", "stopped"]] == [trails(drained(buffer)) for buffer in (silent, started)]

    def test_an_entry_after_the_end_has_another_end_follow(self):
        """As exit hooks that log late make it."""
        buffer = make_buffer()
        buffer.append(record())
        buffer.end()
        buffer.append(record())
        buffer.end()
        buffer.close()
        entries = drained(buffer)

        assert ["started", None, "stopped", None, "stopped"] == trails(entries)
        assert {} == faults(entries)

    def test_after_close_nothing_of_ours_is_written(self):
        """What is dropped as closed stays out of the chain, and makes no marks."""
        buffer = make_buffer()
        buffer.append(record())
        buffer.close()
        for _ in range(3):
            buffer.append(record())
        buffer.end()
        buffer.begin()
        entries = drained(buffer)

        assert ["started", None, "stopped"] == trails(entries)
        assert {} == faults(entries)
        assert {} == buffer._chain._edges  # Nobody will ask for them.

    def test_a_buffer_that_is_closed_at_once_begins_nothing(self):
        """A record after ``close()`` is dropped, and no ``started`` goes out for it."""
        buffer = make_buffer()
        buffer.close()
        buffer.append(record())

        assert [] == drained(buffer)

    @pytest.mark.parametrize("overflow", [Overflow.DROP_NEWEST, Overflow.DROP_OLDEST])
    def test_checkpoints_keep_the_bound_of_the_queue(self, overflow):
        """In an outage of any length they are dropped like any other entry."""
        clock = FakeClock()
        buffer = make_buffer(max_queue_bytes=3000, overflow=overflow, clock=clock)
        for _ in range(100):
            clock.advance(CHECKPOINT_SECONDS)
            buffer.append(record())

            assert buffer.waiting_bytes <= 3000

    def test_a_checkpoint_comes_before_the_next_entry_after_so_many(self):
        """Every CHECKPOINT_ENTRIES entries, the checkpoint itself counted."""
        buffer = make_buffer()
        for _ in range(2 * CHECKPOINT_ENTRIES + 1):
            buffer.append(record())
        entries = drained(buffer)

        assert [CHECKPOINT_ENTRIES, 2 * CHECKPOINT_ENTRIES + 1] == [
            e["count"] for e in entries if e.get("trail") == "checkpoint"
        ]

    def test_a_checkpoint_comes_after_so_long(self):
        """With the next entry, and only if there was one since the last."""
        clock = FakeClock()
        buffer = make_buffer(clock=clock)
        for seconds in (0, CHECKPOINT_SECONDS - 1, 1, 1, 3 * CHECKPOINT_SECONDS):
            clock.advance(seconds)
            buffer.append(record())

        assert ["started", None, None, "checkpoint", None, None, "checkpoint", None] == trails(
            drained(buffer)
        )


class TestDrops:
    def test_the_newest_dropped_leave_the_chain_whole(self):
        """What is not kept is never in it: the hash before the gap is the one after it."""
        buffer = make_buffer(max_queue_bytes=3000)
        for _ in range(30):
            buffer.append(record())
        entries = drained(buffer)
        buffer.append(record())
        buffer.end()
        entries += drained(buffer)
        (told,) = [entry for entry in entries if entry.get("trail") == "dropped"]
        (first, last), (before, after) = told["ranges"][0], told["range_hashes"][0]

        assert before == after == next(e["hash"] for e in entries if e["seq"] == first - 1)
        assert {} == faults(entries)
        assert [(first, last)] == list(judged(entries).dropped)

    def test_the_oldest_dropped_leave_a_gap_that_is_told(self):
        """They were in it: the hash before is that of the entry before the gap, the one after is the next's prev."""
        buffer = make_buffer(max_queue_bytes=3000, overflow=Overflow.DROP_OLDEST)
        for _ in range(30):
            buffer.append(record())
        entries = drained(buffer)
        buffer.append(record())
        buffer.end()
        entries += drained(buffer)
        by_seq = {entry["seq"]: entry for entry in entries}
        (told,) = [entry for entry in entries if entry.get("trail") == "dropped"]
        (first, last), (before, after) = told["ranges"][0], told["range_hashes"][0]

        assert 2 == first  # ``started`` is spared.
        assert (by_seq[first - 1]["hash"], by_seq[last + 1]["prev"]) == (before, after)
        assert {} == faults(entries)
        assert [(first, last)] == list(judged(entries).dropped)

    def test_hashes_around_ranges_are_kept_as_the_ranges_merge(self):
        """In whatever order the numbers come; each range has its own two, by reason, and nothing is left over."""
        chain = Chain("s", ChainPlan(SEAL, describe_mark))
        hashes = {seq: (b"before-%d" % seq, b"after-%d" % seq) for seq in range(1, 20)}
        for seq in (5, 6, 9, 8, 7, 15, 13, 14):
            chain.note_gap(seq, "r", *hashes[seq])
        chain.note_gap(10, "other", *hashes[10])
        chain.note_gap(11, "other", b"", b"")
        edges = dict(chain._edges)

        assert [[5, 9, "before-5", "after-9"], [13, 15, "before-13", "after-15"]] == chain.with_hashes(
            "r", [[5, 9], [13, 15]]
        )
        assert [[10, 11, "before-10", None]] == chain.with_hashes("other", [[10, 11]])
        assert [({}, {})] * 2 == [(each._before, each._after) for each in edges.values()]

    @pytest.mark.parametrize("beside", [-1, 1])
    def test_an_entry_beside_a_told_gap_is_missed_all_the_same(self, beside):
        """A told gap hides nothing but itself."""
        buffer = make_buffer(max_queue_bytes=3000, overflow=Overflow.DROP_OLDEST)
        for _ in range(30):
            buffer.append(record())
        entries = drained(buffer)
        buffer.end()
        entries += drained(buffer)
        (told,) = [entry["ranges"][0] for entry in entries if entry.get("trail") == "dropped"]
        seq = told[0] - 1 if beside < 0 else told[1] + 1

        found = faults([entry for entry in entries if entry["seq"] != seq])

        assert [(seq, seq)] == found.get("gap", found.get("begins late"))

    @pytest.mark.parametrize("beside", [-1, 1])
    def test_an_entry_beside_a_told_gap_cannot_be_replaced(self, beside):
        """Even by who can make its hash right: the entry that tells of the gap has the hashes on both sides."""
        buffer = make_buffer(max_queue_bytes=3000, overflow=Overflow.DROP_OLDEST)
        for _ in range(30):
            buffer.append(record())
        entries = drained(buffer)
        buffer.end()
        entries += drained(buffer)
        (told,) = [entry["ranges"][0] for entry in entries if entry.get("trail") == "dropped"]
        seq = told[0] - 1 if beside < 0 else told[1] + 1
        index = next(i for i, entry in enumerate(entries) if entry["seq"] == seq)
        entries[index] = resealed(entries[index], SEAL, message="all is well")
        if beside > 0:
            entries[index] = resealed(entries[index], SEAL, prev="0" * 64)
        broken = seq if beside > 0 else told[0]

        found = faults(entries)["does not follow the entry before"]

        assert any(first <= broken <= last for first, last in found)

    @pytest.mark.parametrize("overflow", [Overflow.DROP_NEWEST, Overflow.DROP_OLDEST])
    @pytest.mark.parametrize("seed", range(5))
    def test_whatever_is_dropped_when_the_trail_explains_itself(self, overflow, seed):
        """Random bursts, takes, settlements and hand-backs: no fault, and exactly the drops counted are told."""
        dice, clock = random.Random(seed), FakeClock()
        buffer = make_buffer(max_queue_bytes=6000, overflow=overflow, clock=clock)
        entries, flight = [], []
        for _ in range(400):
            step = dice.random()
            clock.advance(dice.choice([0, 0, 0, 40]))
            if step < 0.6:
                for _ in range(dice.randint(1, 8)):
                    buffer.append(record())
            elif step < 0.75:
                flight += buffer.take(dice.randint(1, 10), 100_000)
            elif step < 0.9:
                buffer.settle(flight)
                entries += [json.loads(entry.line) for entry in flight]
                flight = []
            else:
                buffer.hand_back(flight)
                flight = []
        entries += [json.loads(entry.line) for entry in flight]
        buffer.settle(flight)
        entries += drained(buffer)
        buffer.end()
        entries += drained(buffer)

        assert {} == faults(entries)
        assert (
            buffer.stats(filtered=0, state="").dropped_by_reason[QUEUE_FULL]
            == len(judged(entries).dropped)
            > 0
        )


# An interrupt may land in a destructor, where it goes nowhere.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestInterruptions:
    def test_many_threads_make_one_chain(self):
        """Entries of 16 threads, one chain without a fault."""
        buffer = make_buffer()
        threads = [
            threading.Thread(target=lambda: [buffer.append(record()) for _ in range(100)]) for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        buffer.close()

        assert {} == faults(drained(buffer))

    @pytest.mark.parametrize("overflow", list(Overflow))
    def test_an_append_inside_an_append_is_chained_right_after(self, overflow):
        """A draft that arrives inside the section (a destructor, a signal handler), and an end there too."""
        buffer = make_buffer(overflow=overflow)

        class Wakes:
            def set(self):
                if buffer.stats(filtered=0, state="").accepted < 4:
                    buffer.append(record())
                    buffer.end()

        buffer.wake = Wakes()
        buffer.append(record())
        entries = drained(buffer)

        assert "stopped" == entries[-1]["trail"]
        assert {} == faults(entries)

    @pytest.mark.no_cover  # A handler inside the coverage tool's own lock would wait for it for ever.
    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timer signals")
    @pytest.mark.parametrize("overflow", list(Overflow))
    def test_a_signal_handler_that_logs_breaks_no_chain(self, overflow):
        """Drafts appended by a handler of a signal that strikes at any step, the wait for room included."""
        buffer, struck = make_buffer(overflow=overflow, max_queue_bytes=1_000_000_000), []

        def log():
            struck.append(1)
            buffer.append(record())

        with struck_by_signals(log, 0.0003):
            for _ in range(20_000):
                buffer.append(record())
        buffer.end()

        assert len(struck) > 5
        assert {} == faults(drained(buffer))

    @pytest.mark.no_cover  # An exception inside the coverage tool's own lock would leave it locked.
    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timer signals")
    @pytest.mark.parametrize("has_spool", [False, True])
    def test_a_keyboard_interrupt_breaks_no_chain(self, has_spool, tmp_path):
        """Struck hundreds of times at any step: what was kept is one chain; lost is only what the account tells of."""
        given = arguments(max_queue_bytes=1_000_000_000)
        if has_spool:
            store = SpoolDirectory(tmp_path / "spool", 1 << 30).create_stream("s", IDENTITY, fsync=Fsync.OFF)
            buffer = SpooledBuffer(store=store, **given)
        else:
            buffer = Buffer(**given)

        struck = interrupt_at_random(lambda _: buffer.append(record()), 150)
        buffer.end()
        entries = drained(buffer)
        lost = buffer.stats(filtered=0, state="").dropped
        found = faults(entries)
        missing = sum(last - first + 1 for first, last in found.pop("gap", ()))

        assert struck > 100
        assert {} == found
        assert missing <= lost


class TestSpool:
    @pytest.fixture
    def make(self, tmp_path):
        def make(max_spool_bytes=1 << 30, segment_bytes=4 << 20, **given):
            directory = SpoolDirectory(tmp_path / "spool", max_spool_bytes, segment_bytes=segment_bytes)
            store = directory.create_stream("s", IDENTITY, fsync=Fsync.OFF)
            return SpooledBuffer(store=store, **arguments(**given))

        return make

    def test_entries_read_back_from_the_disk_are_chained(self, make):
        """The lines on the disk are the very bytes that are sent."""
        buffer = make(max_queue_bytes=5000)
        for _ in range(200):
            buffer.append(record())
        buffer.end()

        assert {} == faults(drained(buffer))

    @pytest.mark.parametrize("overflow", [Overflow.DROP_NEWEST, Overflow.DROP_OLDEST])
    @pytest.mark.parametrize("max_queue_bytes", [3000, 1_000_000])
    def test_a_full_spool_is_told_with_what_is_known_of_the_hashes(self, make, overflow, max_queue_bytes):
        """Whole segments may be gone from the disk and from memory; the trail explains itself all the same."""
        buffer = make(
            max_spool_bytes=20_000, segment_bytes=2_500, overflow=overflow, max_queue_bytes=max_queue_bytes
        )
        for _ in range(300):
            buffer.append(record())
        entries = drained(buffer)
        for _ in range(20):
            buffer.append(record())
            buffer.sync()
            entries += drained(buffer)
        buffer.end()
        entries += drained(buffer)
        told = [entry for entry in entries if entry.get("trail") == "dropped"]

        assert {SPOOL_FULL} == {entry["reason"] for entry in told}
        assert {} == faults(entries)
        if overflow is Overflow.DROP_NEWEST or max_queue_bytes > 3000:
            assert all(None not in pair for entry in told for pair in entry["range_hashes"])

    def test_a_flipped_bit_is_told(self, make, tmp_path):
        """An entry that the disk has damaged is a told gap."""
        buffer = make(max_queue_bytes=1500)
        for _ in range(30):
            buffer.append(record())
        (segment,) = (tmp_path / "spool").glob("s/*.seg")
        content = bytearray(segment.read_bytes())
        content[len(content) // 2] ^= 1
        segment.write_bytes(content)
        entries = drained(buffer)
        buffer.append(record())
        buffer.end()
        entries += drained(buffer)

        assert {DAMAGED} == {entry["reason"] for entry in entries if entry.get("trail") == "dropped"}
        assert {} == faults(entries)
        assert 1 == len(judged(entries).dropped)


class TestLines:
    @pytest.mark.parametrize("destination", DESTINATIONS, ids=["generic", "datadog", "event", "raw"])
    def test_a_cut_entry_is_within_the_limit_with_its_marks(self, destination):
        """What the buffer adds is reckoned with, and the hash is that of the entry as it is cut."""
        limit, encoder = 5000, Sealing(destination)
        fields = Fields({"message": "m" * 9000, "a": ["\x1b" * 3000] * 3, "b": {"c": "é" * 400}}, 0, 20)
        given = arguments()
        given |= {"stream": "f" * 16, "chain": Chain("f" * 16, ChainPlan(SEAL, describe_mark))}
        buffer = Buffer(**given)
        buffer._last_seq = 10**15
        buffer.append(encode_to_fit(encoder, fields, max_line_bytes=limit - SEAL_BYTES))
        (entry,) = buffer.take(10, 100_000)
        content = json.loads(entry.line)

        assert 0.9 * limit < len(entry.line) <= limit
        assert content.get("event", content)["truncated"]
        assert {"begins late", "open end"} == faults([content.get("event", content)]).keys()

    @pytest.mark.parametrize("destination", DESTINATIONS, ids=["generic", "datadog", "event", "raw"])
    def test_hashes_and_end_are_found_in_the_line_of_every_destination(self, destination):
        """Whatever the destination writes around them, and whatever the caller's fields look like."""
        nested = {"prev": "0" * 64, "hash": "1" * 64, "schema": "1", "id": "s-1"}
        text = ',"prev":"{}","hash":"{}","schema":"1","id":"'.format("2" * 64, "3" * 64)
        values = {"level": "info", "message": text, "x": nested, "schema": SCHEMA}
        buffer = make_buffer()
        buffer.append(Sealing(destination).encode(Fields(values, 0, 20)))
        _, entry = buffer.take(10, 100_000)
        content = json.loads(entry.line)
        content = content.get("event", content)

        assert (content["prev"], content["hash"]) == tuple(each.decode() for each in hashes_of(entry.line))
        assert End("s", 2, content["hash"]) == end_of(entry.line)

    @pytest.mark.parametrize(
        "line",
        [b"", b"{", b"[]", b"5", b'{"event":5}', b'{"stream":"s","seq":1}', b"[" * 100_000, b"\xff"],
    )
    def test_what_is_not_chained_has_no_end(self, line):
        """A line of another making says nothing."""
        assert None is end_of(line)
        assert (b"", b"") == hashes_of(line)

    def test_a_stream_that_ends_properly_needs_no_other_end(self):
        """``stopped`` is one; that of another stream is not."""
        line = b'{"trail":"stopped","stream":"s","seq":3,"hash":"h"%b}'

        assert None is end_of(line % b"")
        assert End("s", 3, "h") == end_of(line % b',"of_stream":"t"')

    def test_the_length_of_a_line_is_known_before(self):
        """What callers wait for is what is then taken."""
        buffer = make_buffer()
        buffer.begin()
        (_started,) = buffer.take(1, 100_000)
        draft = record()
        size = buffer._size(draft)
        buffer.append(draft)
        (entry,) = buffer.take(1, 100_000)

        assert len(entry.line) == size
        assert SEAL_BYTES == len(Chain("s", ChainPlan(SEAL, describe_mark)).seal(1, b""))
