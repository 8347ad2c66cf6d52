"""Cases 22, 23, 25, 27, 28 and 34: what a disk gives back is not what was written.

Each way of damage is done to a stream of its own, so one handler meets hundreds of them in one adoption.
"""

from __future__ import annotations

import json
import shutil
import threading
import urllib.request
import zlib

import pytest

from defender_logging._pipeline.spool import SpoolDirectory
from defender_logging._pipeline.spool.cursor import Cursor


def wait_until(holds, seconds=20):
    """Look again and again; for what gives no sign of itself."""
    tick = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if holds():
            return True
        tick.wait(0.01)
    return False


class Orphans:
    """Leaves streams in a directory as processes do that die, for one handler to adopt."""

    def __init__(self, folder, oracle, receiver, connect):
        self.folder = folder
        self.handler, self.log = connect("generic", receiver, spool_dir=str(folder))
        self._oracle, self._receiver = oracle, receiver
        # Made elsewhere and moved, since each new segment measures the whole directory.
        self._workshop = folder.with_name("workshop")
        self._directory = SpoolDirectory(self._workshop, 1 << 30)
        self._identity = self.handler._spool_identity()
        self._count = 0

    def leave(self, entries=3, *, delivered=0, size=20):
        """Leave a stream; returns its folder and its tickets. The first ones may have been delivered already."""
        self._count += 1
        stream = f"{self._count:016x}"
        store = self._directory.create_stream(stream, self._identity)
        lines, tickets = [], []
        for seq in range(1, entries + 1):
            ticket = f"{stream}-{seq}"
            lines.append(self._line(stream, seq, ticket, "x" * size))
            store.append(seq, lines[-1])
            self._oracle.note(ticket, stream, padding="x" * size)
            tickets.append(ticket)
        if delivered:
            body = b"[" + b",".join(lines[:delivered]) + b"]"
            request = urllib.request.Request(self._receiver.generic_url, body)
            urllib.request.urlopen(request, timeout=10).close()
            store.settle(range(1, delivered + 1))
            store.write_cursor()
        store.abandon()
        if not self.folder.exists():
            self.folder.mkdir(0o700)
            shutil.copy2(self._workshop / "salt", self.folder)
        return (self._workshop / stream).rename(self.folder / stream), tickets

    @staticmethod
    def _line(stream, seq, ticket, padding):
        fields = {"ticket": ticket, "padding": padding, "id": f"{stream}-{seq}", "stream": stream, "seq": seq}
        return json.dumps(fields, separators=(",", ":")).encode()

    def names(self):
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and path.name[0] != ".")


@pytest.fixture
def orphans(tmp_path, oracle, receiver, connect):
    """Streams of dead processes, and a handler of theirs that has not started."""
    return Orphans(tmp_path / "spool", oracle, receiver, connect)


EVERY_OFFSET = pytest.mark.parametrize(
    "step", [7, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(120)])], ids=["some", "all"]
)


def segment_of(path):
    (segment,) = path.glob("*.seg")
    return segment


def frame_ends(data):
    """The offset behind the first line and behind each entry."""
    return [at + 1 for at, byte in enumerate(data) if byte == ord("\n")]


@EVERY_OFFSET
def test_case_22_a_torn_tail(oracle, orphans, receiver, step):
    """Cut off or full of zeros from any offset of the last entry on: all before are there, the tail is not."""
    path, _ = orphans.leave()
    start, end = frame_ends(segment_of(path).read_bytes())[-2:]
    torn, spoilt = set(), 0
    for offset in [*range(start, end, step), end - 1]:
        for fill in (b"", b"\0" * (end - offset)):
            path, tickets = orphans.leave()
            data = segment_of(path).read_bytes()
            segment_of(path).write_bytes(data[:offset] + fill)
            spoilt += 1
            if offset < end - 1:  # All but the newline: nothing is missing then.
                torn.add(tickets[-1])
    orphans.handler.start()
    expected = 3 * (spoilt + 1) - len(torn)
    assert wait_until(lambda: orphans.handler.stats().delivered == expected, 60)

    assert wait_until(lambda: not orphans.names())
    oracle.assert_conserved(receiver, orphans.handler, fired=spoilt, missing=torn)


@EVERY_OFFSET
def test_case_23_a_flipped_bit(oracle, orphans, receiver, step):
    """Only the entry that it hits is set aside, with its bytes; in the first line and in a newline it costs nothing."""
    path, _ = orphans.leave()
    ends = [0, *frame_ends(segment_of(path).read_bytes())]
    hit, letters, offsets = set(), {}, range(0, ends[-1], step)
    for offset in offsets:
        path, tickets = orphans.leave()
        data = bytearray(segment_of(path).read_bytes())
        data[offset] ^= 1 << (offset % 8)
        segment_of(path).write_bytes(data)
        if offset + 1 in ends:
            continue
        line = sum(end <= offset for end in ends) - 1
        letters[path.name] = bytes(data[ends[line] : ends[line + 1]])
        if line:
            hit.add(tickets[line - 1])
    orphans.handler.start()
    expected = 3 * (len(offsets) + 1) - len(hit)
    assert wait_until(lambda: orphans.handler.stats().delivered == expected, 60)

    assert wait_until(lambda: sorted(letters) == orphans.names())
    directory = SpoolDirectory(orphans.folder, 1 << 30)
    for stream, content in letters.items():
        assert [content] == [letter.line for letter in directory.dead_letters(stream).read()]
    oracle.assert_conserved(receiver, orphans.handler, fired=len(hit), missing=hit)


SIDE_FILES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "damaged": lambda path: path.write_bytes(path.read_bytes().replace(b"identity", b"identitz")),
    "shorter": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"}\n"),
    "zeroed": lambda path: path.write_bytes(bytes(len(path.read_bytes()))),
    "no JSON": lambda path: path.write_bytes(b"\xff\xfe"),
}


def test_case_25_a_spoilt_side_file(oracle, orphans, receiver):
    """The segments say by themselves whose entries they are."""
    for spoil in SIDE_FILES.values():
        path, _ = orphans.leave()
        spoil(path / "meta.json")
    orphans.handler.start()
    assert wait_until(lambda: orphans.handler.stats().delivered == 3 * len(SIDE_FILES))

    assert wait_until(lambda: not orphans.names())
    oracle.assert_conserved(receiver, orphans.handler, fired=len(SIDE_FILES))


CURSORS = {
    **{name: spoil for name, spoil in SIDE_FILES.items() if name != "damaged"},
    "damaged": lambda path: path.write_bytes(path.read_bytes().replace(b"3", b"5")),
    "ahead of the data": lambda path: path.write_bytes(Cursor(1_000).encode()),
    "ahead in its ranges": lambda path: path.write_bytes(Cursor(3, ((900, 901),)).encode()),
    "behind the data": lambda path: path.write_bytes(Cursor(1).encode()),
}


@pytest.mark.parametrize("spoilt", [True, False], ids=["spoilt", "whole"])
def test_case_27_a_spoilt_cursor(oracle, orphans, receiver, spoilt):
    """It costs duplicates, with the same ids, and no loss; a whole one costs nothing."""
    expected = []
    for name, spoil in CURSORS.items():
        path, tickets = orphans.leave(6, delivered=3)
        if spoilt:
            spoil(path / "cursor.json")
        is_behind = name == "behind the data"
        expected += tickets[3 if not spoilt else 1 if is_behind else 0 :]
    orphans.handler.start()
    assert wait_until(lambda: orphans.handler.stats().delivered == len(expected))

    assert wait_until(lambda: not orphans.names())
    oracle.assert_conserved(
        receiver, orphans.handler, fired=1, duplicates="seen" if spoilt else False, has_killed=True
    )


@pytest.mark.parametrize("version", [0, 2], ids=["older", "newer"])
@pytest.mark.parametrize("where", ["segment", "description"])
def test_case_28_a_spool_of_another_version(  # noqa: PLR0917 - because fixtures are named, not placed
    oracle, orphans, receiver, version, where, caplog
):
    """It is left untouched and told, whichever file says so; the handler works beside it."""
    path, left_alone = orphans.leave()
    if where == "segment":
        data = segment_of(path).read_bytes()
        words, _, rest = data.partition(b"\n")
        words = words.rpartition(b" ")[0].replace(b"spool 1 ", b"spool %d " % version)
        segment_of(path).write_bytes(b"%b %08x\n%b" % (words, zlib.crc32(words), rest))
    else:
        meta = json.loads((path / "meta.json").read_bytes())
        text = json.dumps([version, meta["body"]], separators=(",", ":"), sort_keys=True)
        meta |= {"format": version, "crc32": f"{zlib.crc32(text.encode()):08x}"}
        (path / "meta.json").write_text(json.dumps(meta))
    before = {each.name: each.read_bytes() for each in path.iterdir()}
    orphans.handler.start()
    oracle.log(orphans.log, 10)
    assert orphans.handler.flush(10)
    assert wait_until(lambda: orphans.handler.flush(1) and f"was written in format {version}" in caplog.text)

    assert before == {each.name: each.read_bytes() for each in path.iterdir()}
    oracle.assert_conserved(receiver, orphans.handler, fired=1, missing=set(left_alone))


def test_case_34_an_entry_of_ten_megabytes_among_others(oracle, orphans, receiver):
    """A stream with one is adopted and delivered, and so are its neighbours."""
    orphans.leave()
    orphans.leave(3, size=10_000_000)
    orphans.leave()
    orphans.handler.start()
    assert wait_until(lambda: orphans.handler.stats().delivered == 9)

    oracle.assert_conserved(receiver, orphans.handler, fired=1)
