"""Real processes: killed while they write, racing for orphans, forked."""

from __future__ import annotations

import os
import signal

import pytest

from defender_logging._pipeline.spool import SpoolDirectory, abandon_locks

PREPARE = """
import os, sys, threading
from defender_logging._pipeline.spool import Fsync, Identity, SpoolDirectory, abandon_locks
from defender_logging._pipeline.spool.system import SystemFileSystem

identity = Identity("SplunkHandler", "https://splunk.example:8088", "/services/collector/event", "trail", "env:KEY")
fs = SystemFileSystem()
if sys.argv[2] == "claims":
    fs.flock = lambda fd, *, is_shared=False: None
directory = SpoolDirectory(sys.argv[1], 100_000_000, segment_bytes=20_000, fs=fs)
"""

WRITE = (
    PREPARE
    + """
store = directory.create_stream(sys.argv[3], identity, fsync=Fsync(sys.argv[4]))
threading.Thread(target=lambda: [store.sync() for _ in iter(int, 1)], daemon=True).start()
for seq in range(1, 1_000_000):
    store.append(seq, b'{"seq":%d,"pad":"%b"}' % (seq, b"x" * (seq * 37 % 900)))
    os.write(1, b"%d\\n" % seq)
    if seq % 50 == 0:
        done = range(seq - 49, seq - 20)
        os.write(1, b"-%d\\n" % seq)
        store.settle(done)
        store.write_cursor()
        os.write(1, b"=%d\\n" % seq)
"""
)

ADOPT = (
    PREPARE
    + """
print("ready", flush=True)
sys.stdin.readline()
stores, problems = directory.adopt_orphans(identity)
assert not problems, problems
for store in stores:
    entries = store.read_after(0, 1_000_000)
    store.settle(entry.seq for entry in entries)
    print(store.stream, len(entries), flush=True)
    store.close()
print("done", flush=True)
sys.stdin.readline()
"""
)


@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 30))]
)
def test_kill_9_loses_no_entry_whose_append_returned(run_python, tmp_path, handler, seed):
    """Killed at a random point of writing, syncing, settling: all is there but what was settled."""
    fsync = ("off", "interval", "always")[seed % 3]
    process = run_python(WRITE, tmp_path / "spool", "flock", "s1", fsync)
    wanted = 1 + seed * 997 % (300 if fsync == "always" else 4_000)
    received = b""
    while received.count(b"\n") < wanted:
        received += os.read(process.stdout.fileno(), 1 << 16)
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate(timeout=30)
    told = (received + rest).rpartition(b"\n")[0].split()
    returned = {int(word) for word in told if word.isdigit()}
    begun, settled = (
        {n for word in told if word[:1] == sign for n in range(int(word[1:]) - 49, int(word[1:]) - 20)}
        for sign in (b"-", b"=")
    )
    stores, problems = SpoolDirectory(tmp_path / "spool", 100_000_000).adopt_orphans(handler)
    found = {}
    for store in stores:
        seq = 0
        while entries := store.read_after(seq, 1 << 20):
            found.update(entries)
            seq = entries[-1].seq

    assert [] == problems
    assert set() == returned - begun - found.keys()
    assert set() == settled & found.keys()
    assert found == {seq: b'{"seq":%d,"pad":"%b"}' % (seq, b"x" * (seq * 37 % 900)) for seq in found}
    assert [] == [damage for store in stores for damage in store.take_damage()]
    for store in stores:
        store.abandon()
    abandon_locks()


@pytest.mark.parametrize("kind", ["flock", "claims"])
def test_two_processes_that_start_at_once_share_ten_orphans(run_python, spool, line, kind):
    """Each stream is delivered exactly once, and nothing is left."""
    spool.fs.has_flock = kind == "flock"
    for at in range(10):
        store = spool.store(f"s{at}")
        for seq in range(1, 8):
            store.append(seq, line(seq))
    spool.die()
    if kind == "claims":  # This process lives on; what died is one that had another number.
        gone = run_python("")
        gone.communicate(timeout=30)
        for path in spool.path.glob("*/lock.1"):
            path.write_text(path.read_text().replace(str(os.getpid()), str(gone.pid), 1))
    racers = [run_python(ADOPT, spool.path, kind) for _ in range(2)]
    for racer in racers:
        assert b"ready\n" == racer.stdout.readline()
    for racer in racers:
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    lines = []
    for racer in racers:
        while (said := racer.stdout.readline()) != b"done\n":
            assert said, "the process failed"
            lines.append(said)

    assert [f"s{at} 7\n".encode() for at in range(10)] == sorted(lines)
    assert ["salt"] == spool.names()


FORK = (
    PREPARE
    + """
store = directory.create_stream("s1", identity)
store.append(1, b"{}")
said, told = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    abandon_locks()
    store.abandon()
    os.write(said[1], b"x")
    os.read(told[0], 1)
    os._exit(0)
os.read(said[0], 1)
store.append(2, b"{}")
print("ready", child, flush=True)
sys.stdin.readline()
os.write(told[1], b"x")
os.waitpid(child, 0)
print("child gone", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), 9)
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_neither_takes_nor_keeps_the_lock(run_python, tmp_path, handler):
    """The parent's stream is its own while it lives, whatever the child does."""
    directory = SpoolDirectory(tmp_path / "spool", 1_000_000)
    process = run_python(FORK, directory.path, "flock")
    assert process.stdout.readline().startswith(b"ready")
    assert ([], []) == directory.adopt_orphans(handler)
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert b"child gone\n" == process.stdout.readline()
    assert ([], []) == directory.adopt_orphans(handler)
    process.communicate(b"\n", timeout=30)
    ((store,), _) = directory.adopt_orphans(handler)

    assert [1, 2] == [entry.seq for entry in store.read_after(0, 1_000)]
    store.settle([1, 2])
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_outlives_its_parent_does_not_keep_the_stream(run_python, tmp_path, handler):
    """Once it has abandoned it."""
    directory = SpoolDirectory(tmp_path / "spool", 1_000_000)
    process = run_python(FORK, directory.path, "flock")
    child = int(process.stdout.readline().split()[1])
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    try:
        os.kill(child, 0)
        ((store,), _) = directory.adopt_orphans(handler)
        store.settle([1, 2])
        store.close()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_started_program_inherits_nothing(run_python, spool, line):
    """Descriptors close by themselves when another program is started."""
    spool.store().append(1, line(1))
    code = """
import os
for fd in range(3, 200):
    try:
        print(os.fstat(fd).st_ino)
    except OSError:
        pass
"""
    output, _ = run_python(code, close_fds=False).communicate(timeout=30)
    ours = {path.stat().st_ino for path in spool.path.rglob("*")}

    assert set() == ours & {int(number) for number in output.split()}
