"""The command ``verify`` says what it found in words, in JSON and by its exit code, in bounded memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from trails import KEY, PLAIN, as_ndjson, received, renumbered

from defender_logging.cli.verify_sorting import MAX_RUNS, sorted_lines


@pytest.fixture(scope="module")
def entries():
    """Two keyed streams of ten entries."""
    return received(["generic", "splunk"], records=16)


@pytest.fixture
def export(tmp_path, monkeypatch):
    """Writes entries to a file and returns its path; the key is in TRAIL_KEY."""
    monkeypatch.setenv("TRAIL_KEY", KEY)

    def write(entries, name="trail.ndjson"):
        path = tmp_path / name
        path.write_text(as_ndjson(entries), "utf-8")
        return path

    return write


KEYED = ("--integrity-key", "env:TRAIL_KEY")


def test_an_intact_trail(run, export, entries):
    """Exit code 0, one line a stream and the sum."""
    done = run("verify", *KEYED, export(entries))

    assert (0, "") == (done.code, done.err)
    assert ["intact, 10 entries, seq 1 to 10"] * 2 == [line[18:] for line in done.out.splitlines()[:2]]
    assert "2 streams, 20 entries: intact" == done.out.splitlines()[-1]


def test_findings(run, export, entries):
    """Exit code 1; each finding names stream, kind and number, and what it means."""
    stream = entries[0]["stream"]
    mine = [entry for entry in entries if entry["stream"] == stream]
    kept = [e for e in mine if e["seq"] not in (4, 5, 10)]
    tampered = [e | {"message": "x"} if e["seq"] == 2 else e for e in kept] + [mine[6]]

    done = run("verify", *KEYED, export([*tampered, {"hello": "world"}]))

    assert 1 == done.code
    assert [
        f"{stream}: findings, 7 entries, seq 1 to 9",
        "  edited: seq 2: not as it was written, or put in",
        "  gap: seq 4 to 5: missing, and nothing tells why",
        "  open end: after seq 9: no word of an end: its process died or still runs, or the rest was cut off",
        "  duplicates: seq 7: arrived more than once, harmless",
    ] == done.out.splitlines()[:5]
    assert "no entries: 1 values, first in" in done.out.splitlines()[5]
    assert "1 stream, 7 entries: findings in 1 stream" == done.out.splitlines()[6]


def test_json(run, export, entries):
    """One object with the same."""
    stream = entries[0]["stream"]
    kept = [entry for entry in entries if entry["stream"] == stream and entry["seq"] != 4]

    done = run("verify", *KEYED, "--json", export(kept))

    assert 1 == done.code
    assert {
        "ok": False,
        "entries": 9,
        "streams": [
            {
                "stream": stream,
                "intact": False,
                "entries": 9,
                "first": 1,
                "last": 10,
                "findings": [{"kind": "gap", "seqs": [[4, 4]]}],
                "dropped": [],
                "duplicates": [],
            }
        ],
        "no_entries": {"count": 0, "first": []},
    } == json.loads(done.out)


def test_several_files_are_one_trail(run, export, entries):
    """In any order, overlapping."""
    paths = [export(entries[12:], "b"), export(entries[:14], "a")]

    assert 0 == run("verify", *KEYED, *paths).code


def test_a_part_of_a_trail(run, export, entries):
    """Without the first and the last entries it is good with --partial only, and not without what is between."""
    part = [entry for entry in entries if 3 <= entry["seq"] <= 8]
    path, holed = export(part), export([entry for entry in part if entry["seq"] != 5], "holed")

    assert [1, 0, 1] == [
        run("verify", *KEYED, path).code,
        run("verify", *KEYED, "--partial", path).code,
        run("verify", *KEYED, "--partial", holed).code,
    ]


def test_keys(run, export, entries, tmp_path):
    """From a file, several, a wrong one, none; a trail without a key is not good enough where one is given."""
    path, plain = export(entries), export(received(["generic"], records=2, settings=PLAIN), "plain")
    (tmp_path / "key").write_text(f"{KEY}\n", "utf-8")
    (tmp_path / "old").write_text("old", "utf-8")
    key, old = f"file:{tmp_path / 'key'}", f"file:{tmp_path / 'old'}"

    assert 0 == run("verify", "--integrity-key", key, path).code
    assert 0 == run("verify", "--integrity-key", old, "--integrity-key", key, path).code
    assert "unknown key: seq 1 to 10" in run("verify", "--integrity-key", old, path).out
    assert "unknown key: seq 1 to 10" in run("verify", path).out
    assert 0 == run("verify", plain).code
    done = run("verify", "--integrity-key", key, plain)
    assert (1, True) == (done.code, "sealed without a key: seq 1 to 4" in done.out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "FILE"),
        (("missing.json",), "cannot be read"),
        (("--integrity-key", "hunter2", "x"), "neither env:NAME nor file:PATH"),
        (("--integrity-key", "env:NOT_THERE", "x"), "NOT_THERE"),
        (("--integrity-key", "env:EMPTY", "x"), "empty"),
    ],
)
def test_usage(run, monkeypatch, arguments, said):
    """Exit code 2 and a sentence, without the key that stands where it should not."""
    monkeypatch.setenv("EMPTY", "")

    done = run("verify", *arguments)

    assert 2 == done.code
    assert said in done.err
    assert "hunter2" not in done.err + done.out


def test_nothing_is_no_proof(run, export):
    """An empty file proves nothing: exit code 1."""
    done = run("verify", export([]))

    assert (1, "0 streams, 0 entries: nothing to verify\n") == (done.code, done.out)


def test_strange_names_do_not_reach_the_terminal(run, export, tmp_path):
    """A file name with an escape sequence is shown escaped."""
    done = run("verify", export([{"x": 1}], "a\x1b[31m"))

    assert "\x1b" not in done.out


class TestSorting:
    @pytest.mark.parametrize("count", [0, 1, 6, 7, 8, 100, 7 * MAX_RUNS + 3, 14 * MAX_RUNS])
    def test_sorts_any_number_of_lines(self, count):
        """On the files as in memory, whatever is left over."""
        lines = [b"%d\n" % (number * 7919 % 1000) for number in range(count)]

        assert sorted(lines) == list(sorted_lines(lines, run_lines=7))


GENERATE = """
import hashlib, json, sys
from defender_logging._pipeline.integrity import GENESIS, Seal, core_digest
seal, streams = Seal(), {f"{n:016x}": [0, GENESIS] for n in range(4)}
padding = "x" * int(sys.argv[2])
with open(sys.argv[1], "w") as file:
    for number in range(int(sys.argv[3])):
        stream = list(streams)[number % 4]
        seq, prev = streams[stream]
        seq += 1
        entry = {"message": f"entry {number} {padding}", "trail": "stopped"}
        link = seal.link(prev, core_digest(entry), f"{stream}-{seq}".encode())
        streams[stream] = [seq, link]
        marks = {"prev": prev.decode(), "hash": link.decode(), "id": f"{stream}-{seq}", "stream": stream, "seq": seq}
        file.write(json.dumps(entry | marks) + "\\n")
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_trail(tmp_path):
    """A trail of 600,000 entries and 300 MB takes no more than 60 MB beyond what one of a few entries takes."""
    pytest.importorskip("resource")

    def peak_kib(path):
        code = (
            "import resource, sys; from defender_logging.cli import main; code = main(sys.argv[1:]); "
            "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, "verify", str(path)],
            capture_output=True,
            text=True,
            timeout=180,
            check=True,
            env=os.environ,
        )
        word, kib, result = done.stdout.splitlines()[-1].split()
        assert ("peak", "0") == (word, result), done.stdout
        return int(kib)

    small, large = tmp_path / "small", tmp_path / "large"
    for path, count in ((small, 8), (large, 600_000)):
        subprocess.run(
            [sys.executable, "-c", GENERATE, str(path), "150", str(count)], timeout=180, check=True
        )

    assert large.stat().st_size > 250_000_000
    assert peak_kib(large) - peak_kib(small) < 60 * 1024


def test_forged_numbers_far_away_cost_nothing(run, export, entries):
    """A gap of a quintillion is one finding."""
    far = renumbered(entries[0], 10**17)

    done = run("verify", *KEYED, export([*entries, far]))

    assert f"gap: seq 11 to {10**17 - 1}" in done.out
