"""Accounting and life: the identity, states, flush and close, replies that make it wait, drops told in the trail."""

from __future__ import annotations

import email.utils
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from freezegun import freeze_time

import defender_logging
from defender_logging import ApiKeyHandler, flush_all


def identity(stats):
    return stats.delivered + stats.rejected + stats.dropped + stats.pending


def seqs(server):
    return [entry["seq"] for entry in server.entries]


def wait_until_told(server, count, seconds=8.0):
    """Wait for that many `dropped` entries: they come when there is room again, after a flush perhaps."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while len(told(server)) < count and time.monotonic() < end:
        pause.wait(0.005)
    return len(told(server)) >= count


def told(server):
    return [entry for entry in server.entries if entry.get("trail") == "dropped"]


def test_the_identity_holds_at_any_moment(connect, server):
    """Read again and again while eight threads log and batches fail."""
    wire = connect(max_batch_entries=20)
    flaky = iter(range(10**6))
    server.always(lambda request: server.Reply(503 if next(flaky) % 3 == 0 else 200))
    stop, wrong = threading.Event(), []

    def watch():
        while not stop.is_set():
            stats = wire.handler.stats()
            if stats.accepted != identity(stats):
                wrong.append(stats)

    def work(number):
        for count in range(100):
            wire.logger.info("%d/%d", number, count)

    watcher = threading.Thread(target=watch)
    watcher.start()
    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join(20)
    is_done = wire.flush(20)
    stop.set()
    watcher.join(5)
    stats = wire.handler.stats()

    assert is_done
    assert [] == wrong
    assert (800, 800, 0, 0, 0) == (
        stats.accepted,
        stats.delivered,
        stats.rejected,
        stats.dropped,
        stats.pending,
    )
    assert list(range(1, 801)) == seqs(server)
    for number in range(8):
        mine = [entry["message"] for entry in server.entries if entry["message"].startswith(f"{number}/")]
        assert [f"{number}/{count}" for count in range(100)] == mine


def test_states(connect, server):
    """idle, sending, retrying, held, closed: plain strings."""
    wire = connect(hold_retry_seconds=60, retry_initial_seconds=60, retry_max_seconds=60)
    gate = threading.Event()
    assert "idle" == wire.handler.stats().state
    server.script(server.Reply(gate=gate))
    wire.logger.info("a")
    assert server.wait(requests=1)
    assert "sending" == wire.handler.stats().state
    gate.set()
    assert wire.until(lambda stats: stats.state == "idle")
    assert str is type(wire.handler.stats().state)
    server.script(server.Reply(503), server.Reply(403))
    wire.logger.info("b")
    assert wire.until(lambda stats: stats.state == "retrying")
    assert "503" in wire.handler.stats().last_error


def test_state_held_and_closed(connect, server):
    """A refused key holds; a closed handler is closed."""
    wire = connect(hold_retry_seconds=0.3)
    server.script(server.Reply(403))
    wire.logger.info("b")
    assert wire.until(lambda stats: stats.state == "held")
    assert "403" in wire.handler.stats().last_error
    assert wire.flush(5)
    assert "idle" == wire.handler.stats().state
    wire.handler.close()
    assert "closed" == wire.handler.stats().state


def test_after_close_a_call_is_accepted_and_dropped(connect, server):
    """Reason `closed`; nothing raises; close twice is nothing."""
    wire = connect()
    wire.entry("x")
    wire.handler.close()
    wire.handler.close()
    wire.logger.info("late")
    stats = wire.handler.stats()

    assert (2, 1, 1, 0) == (stats.accepted, stats.delivered, stats.dropped, stats.pending)
    assert {"closed": 1} == dict(stats.dropped_by_reason)
    assert ["x"] == [entry["message"] for entry in server.entries]


def test_a_handler_closed_before_its_first_record(connect):
    """The same."""
    wire = connect()
    wire.handler.close()
    wire.logger.info("late")

    assert (1, 1) == (wire.handler.stats().accepted, wire.handler.stats().dropped)


def test_close_does_not_wait_and_loses_nothing(connect, server):
    """What is left is sent in the background."""
    gate = threading.Event()
    server.always(server.Reply(gate=gate))
    wire = connect(flush_interval_seconds=30)
    for number in range(10):
        wire.logger.info("m%d", number)
    began = time.monotonic()
    wire.handler.close()
    assert time.monotonic() - began < 0.5
    gate.set()

    assert server.wait(entries=10)
    assert wire.until(lambda stats: stats.pending == 0)
    assert 10 == wire.handler.stats().delivered


def test_flush_tells_the_truth_within_its_time(connect, server):
    """False when the receiver does not answer, at the deadline; True as soon as all is delivered."""
    server.always(server.Reply(503))
    wire = connect()
    wire.logger.info("x")
    began = time.monotonic()
    assert wire.handler.flush(0.2) is False
    assert 0.15 <= time.monotonic() - began < 1.0
    assert wire.handler.flush(timeout_seconds=0) is False
    server.restore()
    began = time.monotonic()
    assert wire.handler.flush(8) is True
    assert time.monotonic() - began < 4


def test_flush_without_a_time_takes_that_of_shutdown(connect, server):
    """`None: shutdown_timeout_seconds`."""
    server.always(server.Reply(503))
    wire = connect(shutdown_timeout_seconds=0.3)
    wire.logger.info("x")
    began = time.monotonic()

    assert wire.handler.flush() is False
    assert 0.2 <= time.monotonic() - began < 1.5


def test_flush_does_not_wait_for_company(connect, server):
    """A long flush interval is cut short."""
    wire = connect(flush_interval_seconds=600)
    wire.logger.info("x")
    began = time.monotonic()

    assert wire.flush(5)
    assert time.monotonic() - began < 2


def test_flush_counts_a_rejected_entry_as_settled(connect, server):
    """Nothing is pending."""
    server.always(server.Reply(400))
    wire = connect()
    wire.logger.info("x")

    assert wire.flush(5) is True
    assert (0, 1) == (wire.handler.stats().delivered, wire.handler.stats().rejected)
    assert 1 == sum(wire.handler.stats().rejected_by_reason.values())


def test_flush_inside_a_frozen_moment_ends(connect, server):
    """Under freezegun too, deadlines run on real time."""
    server.always(server.Reply(503))
    with freeze_time("2026-07-01 12:00:00"):
        wire = connect()
        wire.logger.info("x")
        done = []
        thread = threading.Thread(target=lambda: done.append(wire.handler.flush(0.2)), daemon=True)
        thread.start()
        thread.join(3)

    assert [False] == done


def test_delivery_inside_a_frozen_moment_without_flush(connect, server):
    """`flush_interval_seconds` passes in real time."""
    with freeze_time("2026-07-01 12:00:00"):
        wire = connect(flush_interval_seconds=0.01)
        wire.logger.info("x")
        assert server.wait(entries=1, seconds=3)


def test_flush_all_is_one_deadline(connect, server, other_server):
    """Over every live handler; True if all is delivered."""
    wires = [connect() for _ in range(3)]
    for wire in wires:
        wire.logger.info("x")
    assert flush_all(5) is True
    assert 3 == len(server.entries)
    server.always(server.Reply(503))
    for wire in wires:
        wire.logger.info("y")
    began = time.monotonic()
    assert flush_all(timeout_seconds=0.3) is False
    assert 0.2 <= time.monotonic() - began < 1.5


def test_flush_all_in_a_held_state_waits_for_its_deadline(connect, server):
    """Then it returns False."""
    server.always(server.Reply(403))
    wire = connect(hold_retry_seconds=60)
    wire.logger.info("x")
    assert wire.until(lambda stats: stats.state == "held")
    began = time.monotonic()
    assert flush_all(0.3) is False
    assert 0.25 <= time.monotonic() - began < 1.5


def test_a_key_file_is_read_again_after_a_refusal(connect, server, tmp_path):
    """Rotation needs no restart."""
    path = tmp_path / "key"
    path.write_text("old\n")
    server.always(lambda request: server.Reply(200 if request.header("X-Key") == "new" else 401))
    wire = connect(api_header_name="X-Key", api_key=f"file:{path}", hold_retry_seconds=0.1)
    wire.logger.info("x")
    assert wire.until(lambda stats: stats.state == "held")
    path.write_text("new\n")
    assert wire.flush(5)

    assert ["x"] == [entry["message"] for entry in server.entries]
    assert {"old", "new"} == {request.header("X-Key") for request in server.requests}


def test_a_key_in_the_environment_can_change_too(connect, server, monkeypatch):
    """`env:` is read again as well, or at least a hold heals by the receiver."""
    monkeypatch.setenv("CONTRACT_KEY", "good")
    server.script(server.Reply(403))
    wire = connect(api_header_name="X-Key", api_key="env:CONTRACT_KEY")
    wire.logger.info("x")

    assert wire.flush(5)


def test_a_hold_tries_slowly(connect, server):
    """Every `hold_retry_seconds`, not in a tight loop."""
    server.always(server.Reply(401))
    wire = connect(hold_retry_seconds=0.3)
    wire.logger.info("x")
    assert server.wait(requests=3, seconds=5)
    first, second, third = [request.at for request in server.requests[:3]]

    assert second - first > 0.2
    assert third - second > 0.2


def spaced(server):
    first, second = server.requests[:2]
    return second.at - first.at


@pytest.mark.parametrize(
    ("headers", "least"),
    [
        ([("Retry-After", "1")], 0.9),
        ([("Retry-After", "0"), ("Retry-After", "1")], 0.9),
        ([("Retry-After", "1.5")], 0),
        ([("Retry-After", "-1")], 0),
        ([("Retry-After", "soon")], 0),
        ([("Retry-After", "0")], 0),
        ([("Retry-After", "Wed, 01 Jul 2020 12:00:00 GMT")], 0),
        ([("Retry-After", "soon"), ("Retry-After", "1")], 0.9),
        ([("Retry-After", "٣")], 0),
    ],
)
def test_retry_after(connect, server, headers, least):
    """Digits or a date; the largest valid one; the rest is ignored."""
    status = 503 if least else 429
    if any(ord(character) > 255 for _, value in headers for character in value):
        headers = [("Retry-After", value.encode().decode("latin-1")) for _, value in headers]
    wire = connect()
    server.script(server.Reply(status, b"", headers))
    wire.logger.info("x")
    assert wire.flush(8)

    assert least <= spaced(server) < least + 1.0


def test_retry_after_as_a_date(connect, server):
    """Compared with the answer's own Date, or with our clock: both agree here."""
    wire = connect()
    later = email.utils.formatdate(time.time() + 2, usegmt=True)
    server.script(server.Reply(503, b"", {"Retry-After": later}))
    wire.logger.info("x")
    assert wire.flush(8)

    assert 0.5 < spaced(server) < 3.5


@pytest.mark.parametrize("value", ["86400", "Fri, 01 Jan 2100 00:00:00 GMT", "9" * 400])
def test_retry_after_is_capped(connect, server, value):
    """By `retry_after_max_seconds`, so that one header cannot park the queue for a year."""
    wire = connect(retry_after_max_seconds=0.4)
    server.script(server.Reply(429, b"", {"Retry-After": value}))
    wire.logger.info("x")
    assert wire.flush(8)

    assert 0.3 < spaced(server) < 1.5


def test_retry_after_holds_the_whole_destination(connect, server):
    """Not only the batch that was answered."""
    wire = connect(max_batch_entries=1, retry_after_max_seconds=0.5)
    server.script(server.Reply(429, b"", {"Retry-After": "5"}))
    wire.logger.info("a")
    assert server.wait(requests=1)
    wire.logger.info("b")
    assert wire.flush(8)

    assert spaced(server) > 0.4
    assert [1, 2] == seqs(server)


def fill(connect, server, overflow, **settings):
    """A handler whose receiver hangs, with a queue of few entries, and 100 records logged to it."""
    gate = threading.Event()
    server.script(server.Reply(gate=gate))
    wire = connect(max_queue_bytes=8_000, overflow=overflow, max_batch_entries=1, **settings)
    for number in range(100):
        wire.logger.info("m%d %s", number, "x" * 100)
    return wire, gate


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
def test_a_full_queue_drops_by_its_policy_and_tells_it(connect, server, overflow):
    """Counted at once, told in the trail when there is room again; the missing numbers exactly."""
    wire, gate = fill(connect, server, overflow)
    stats = wire.handler.stats()
    assert stats.dropped > 0
    assert stats.accepted == identity(stats)
    assert sum(stats.dropped_by_reason.values()) == stats.dropped
    assert stats.queue_bytes <= 8_000
    gate.set()
    assert wire.flush(8)
    assert wait_until_told(server, 1)
    assert wire.until(lambda stats: stats.pending == 0 and stats.accepted > 100)
    stats = wire.handler.stats()
    tellers = told(server)
    missing = sorted(set(range(1, max(seqs(server)) + 1)) - set(seqs(server)))

    assert tellers
    assert stats.dropped == len(missing) == sum(entry["dropped"] for entry in tellers)
    named = sorted(
        number for entry in tellers for first, last in entry["ranges"] for number in range(first, last + 1)
    )
    assert missing == named
    assert stats.accepted == identity(stats) == 100 + len(tellers)
    for entry in tellers:
        assert "warn" == entry["level"]
        assert {entry["reason"]} <= set(stats.dropped_by_reason)
        assert not {"component", "category"} & set(entry)
        assert all(first <= last for first, last in entry["ranges"])
        assert all(
            one[1] + 1 < two[0] for one, two in zip(entry["ranges"], entry["ranges"][1:], strict=False)
        )
        assert len(entry["ranges"]) <= 100
        assert f"{entry['stream']}-{entry['seq']}" == entry["id"]
        assert "time" in entry
    kept = [entry["message"].split()[0] for entry in server.entries if "trail" not in entry]
    assert "m0" == kept[0]
    assert ("m99" in kept) == (overflow == "drop_oldest")
    assert ("m5" in kept) == (overflow == "drop_newest")


def test_a_drop_is_told_whatever_the_selection(connect, server):
    """Our own entries are not subject to it."""
    _, gate = fill(connect, server, "drop_newest", log_levels=["info"], log_types=None)
    gate.set()
    assert wait_until_told(server, 1)


def test_a_drop_is_told_on_every_destination(connect, server):
    """In its own form."""
    for kind in ("splunk", "datadog"):
        gate = threading.Event()
        server.script(server.Reply(503, gate=gate))
        wire = connect(
            kind, max_queue_bytes=20_000, max_batch_entries=1, log_levels=["info"], log_types=["relay"]
        )
        for _ in range(100):
            wire.logger.info("x" * 400, extra={"component": "relay"})
        gate.set()
        assert wire.flush(8)
    assert wait_until_told(server, 2)
    told_on = {
        request.path: entry for request in server.requests for entry in request.entries if "trail" in entry
    }

    assert "status" not in told_on["/services/collector/event"]
    assert "warning" == told_on["/api/v2/logs"]["status"]


def test_block_waits_a_bounded_time_for_each_call(connect, server):
    """Then drops the newest; the wait is outside every lock."""
    gate = threading.Event()
    server.script(server.Reply(gate=gate))
    wire = connect(max_queue_bytes=4_000, overflow="block", block_timeout_seconds=0.2, max_batch_entries=1)
    while wire.handler.stats().dropped == 0:
        began = time.monotonic()
        wire.logger.info("x" * 500)
        took = time.monotonic() - began
        assert took < 1.0
    assert took >= 0.15
    gate.set()
    assert wire.flush(8)
    stats = wire.handler.stats()

    assert 1 == stats.dropped
    assert stats.accepted == identity(stats)


def test_block_goes_on_when_there_is_room(connect, server):
    """Nothing is dropped when the receiver comes back in time."""
    gate = threading.Event()
    server.script(server.Reply(gate=gate))
    wire = connect(max_queue_bytes=4_000, overflow="block", block_timeout_seconds=10, max_batch_entries=1)
    thread = threading.Thread(target=lambda: [wire.logger.info("x" * 500) for _ in range(30)])
    thread.start()
    assert server.wait(requests=1)
    gate.set()
    thread.join(8)
    assert not thread.is_alive()
    assert wire.flush(8)

    assert (30, 0) == (wire.handler.stats().delivered, wire.handler.stats().dropped)


def test_queue_bytes_counts_what_waits(connect, server):
    """Exact bytes of the entries that are not delivered."""
    gate = threading.Event()
    server.script(server.Reply(gate=gate))
    wire = connect()
    wire.logger.info("x" * 10_000)
    assert 10_000 < wire.handler.stats().queue_bytes < 12_000
    gate.set()
    assert wire.flush(8)
    assert 0 == wire.handler.stats().queue_bytes


def test_last_success_is_a_time(connect):
    """Unix seconds."""
    wire = connect()
    wire.entry("x")

    assert abs(time.time() - wire.handler.stats().last_success_unix_seconds) < 30


def test_a_refused_port_heals(late_server, connect):
    """Connection refused, then up: nothing lost, no duplicates."""
    port, open_late = late_server
    wire = connect(url=f"http://127.0.0.1:{port}/x")
    wire.logger.info("x")
    assert wire.until(lambda stats: stats.state == "retrying")
    assert wire.handler.stats().last_error
    assert wire.handler.flush(0.1) is False
    late = open_late()
    assert wire.flush(8)

    assert ["x"] == [entry["message"] for entry in late.entries]
    assert 0 == wire.handler.stats().duplicates_possible


def run(code, *, seconds=20.0, server=None):
    """Run a script with a handler in a process of its own."""
    source = str(Path(defender_logging.__file__).parents[1])
    environ = {
        **os.environ,
        "PYTHONPATH": source,
        "CONTRACT_URL": server.url if server else "http://127.0.0.1:9",
    }
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=environ,
        check=False,
    )
    return done, time.monotonic() - began


SCRIPT = """
import logging, os, sys, threading
from defender_logging import ApiKeyHandler
handler = ApiKeyHandler(url=os.environ["CONTRACT_URL"] + "/x", shutdown_timeout_seconds=1, flush_interval_seconds=30)
logging.getLogger().addHandler(handler)
for number in range(20):
    logging.getLogger("exit").warning("m%d", number)
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("sys.exit(3)", 3), ("raise RuntimeError('boom')", 1), ("threading.Thread(target=sys.exit).start()", 0),
    ("logging.shutdown()", 0),
     ("logging.shutdown(); logging.getLogger('exit').warning('late')", 0), ("handler.close()", 0),
     ("del handler; logging.getLogger().handlers.clear()", 0)],
)  # fmt: skip
def test_exit_delivers(server, end, code):
    """Whatever way the process ends, its entries arrive when the receiver answers."""
    done, _ = run(SCRIPT + end, server=server)

    assert code == done.returncode, done.stderr
    assert [f"m{number}" for number in range(20)] == [entry["message"] for entry in server.entries][:20]
    assert "Traceback" not in done.stderr or "boom" in done.stderr


@pytest.mark.parametrize("kind", ["refused", "black hole", "slow"])
def test_exit_is_bounded_and_counts_the_rest(server, kind):
    """One line a handler on stderr, within shutdown_timeout_seconds + 0.5 s of the end."""
    if kind == "black hole":
        server.always(server.Reply(gate=threading.Event(), takes=False))
    if kind == "slow":
        server.always(server.Reply(503))
    began_file = "import time; print(time.time(), flush=True)"
    done, _ = run(SCRIPT + began_file, server=None if kind == "refused" else server)
    ended = time.time()

    assert 0 == done.returncode, done.stderr
    assert ended - float(done.stdout) < 1.0 + 0.5 + 0.7
    lines = [line for line in done.stderr.splitlines() if "20" in line and "ApiKeyHandler" in line]
    assert 1 == len(lines), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_gives_the_child_its_own_stream(server):
    """Parent's entries are sent once, by the parent."""
    code = (
        SCRIPT
        + """
import warnings
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    logging.getLogger("exit").warning("child")
    handler.flush(5)
    os._exit(0)
os.waitpid(child, 0)
logging.getLogger("exit").warning("parent")
"""
    )
    done, _ = run(code, server=server)
    assert 0 == done.returncode, done.stderr
    by_stream = {}
    for entry in server.entries:
        by_stream.setdefault(entry["stream"], []).append((entry["seq"], entry["message"]))
    child, parent = sorted(by_stream.values(), key=len)

    assert [(1, "child")] == child
    assert [*((number + 1, f"m{number}") for number in range(20)), (21, "parent")] == parent


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_multiprocessing_children_are_flushed(server):
    """They leave by os._exit: a finalizer sends what they have."""
    code = (
        SCRIPT
        + """
import multiprocessing, warnings
warnings.simplefilter("ignore")
def work():
    logging.getLogger("exit").warning("child")
process = multiprocessing.get_context("fork").Process(target=work)
process.start()
process.join(10)
"""
    )
    done, _ = run(code, server=server)

    assert 0 == done.returncode, done.stderr
    assert 1 == sum(entry["message"] == "child" for entry in server.entries)
    assert 21 == len(server.entries)


def test_a_black_hole_a_refused_port_and_a_slow_receiver_at_once(server, other_server):
    """One budget over all handlers, the largest; one line each."""
    server.always(server.Reply(gate=threading.Event(), takes=False))
    other_server.always(server.Reply(503))
    code = f"""
    import logging, time
    from defender_logging import ApiKeyHandler, DatadogHandler, SplunkHandler
    for handler in [ApiKeyHandler(url="http://127.0.0.1:9/x", shutdown_timeout_seconds=0.4),
                    SplunkHandler(url="{server.url}", api_key="k", shutdown_timeout_seconds=0.8),
                    DatadogHandler(url="{other_server.url}/api/v2/logs", api_key="k", shutdown_timeout_seconds=0.4)]:
        logging.getLogger().addHandler(handler)
    for number in range(20):
        logging.getLogger("exit").warning("m%d", number)
    print(time.time(), flush=True)
    """
    done, _ = run(code)
    ended = time.time()

    assert 0 == done.returncode, done.stderr
    assert ended - float(done.stdout) < 0.8 + 0.5 + 0.7
    for name in ("ApiKeyHandler", "SplunkHandler", "DatadogHandler"):
        assert 1 == sum(name in line and "20" in line for line in done.stderr.splitlines()), done.stderr


def test_a_collected_handler_hands_its_rest_on(server, late_server):
    """Nobody called close(): nothing is lost."""
    import gc

    handler = ApiKeyHandler(url=server.url, flush_interval_seconds=60)
    handler.handle(logging.makeLogRecord({"msg": "x", "levelno": 30}))
    del handler
    gc.collect()

    assert server.wait(entries=1, seconds=5)


def test_nobodys_trail_goes_out_with_anothers_key(connect, server):
    """A new handler takes over only what was made for the same key."""
    server.always(lambda request: server.Reply(503))
    one = connect(api_header_name="X-Key", api_key="one")
    one.logger.info("of one")
    one.handler.close()
    two = connect(api_header_name="X-Key", api_key="two")
    two.logger.info("of two")
    server.restore()
    assert two.flush(8)
    assert server.wait(entries=2)
    keys = {
        entry["message"]: request.header("X-Key") for request in server.requests for entry in request.entries
    }

    assert {"of one": "one", "of two": "two"} == keys


@pytest.mark.parametrize("kind", ["generic", "splunk", "datadog"])
@pytest.mark.parametrize("fault", ["503", "429", "portal", "reset"])
def test_an_outage_loses_nothing(connect, server, kind, fault):
    """All arrive; duplicates only after the reset, with the same id."""
    reply = {
        "503": server.Reply(503), "429": server.Reply(429, b"", {"Retry-After": "0"}), "reset": server.Reply(cut=True),
        "portal": server.Reply(200, b"<!DOCTYPE html><html>Sign in</html>", {"Content-Type": "text/html"}, takes=False),
    }[fault]  # fmt: skip
    server.script(*[reply] * 4)
    wire = connect(kind, max_batch_entries=50)
    for number in range(300):
        wire.logger.info("m%d", number)
    assert wire.flush(8)
    stats = wire.handler.stats()

    assert list(range(1, 301)) == sorted(seqs(server))
    assert (300, 0, 0, 0) == (stats.delivered, stats.rejected, stats.dropped, stats.pending)
    assert 300 == len({entry["id"] for request in server.requests for entry in request.entries})
    assert (stats.duplicates_possible > 0) == (fault in {"reset", "portal"}) or fault == "portal"


def test_dict_config_twice_loses_nothing(server, restored_logging):
    """Also with the receiver down; no wait, no leaked threads, the new handler takes the rest over."""
    import logging.config

    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"trail": {"class": "defender_logging.ApiKeyHandler", "url": server.url + "/x",
        "retry_initial_seconds": 0.02,
                               "retry_max_seconds": 0.05, "flush_interval_seconds": 0.01}},
        "loggers": {"contract.again": {"handlers": ["trail"], "level": "INFO", "propagate": False}},
    }  # fmt: skip
    threads = threading.active_count()
    server.always(server.Reply(503))
    logger = logging.getLogger("contract.again")
    for round_number in range(4):
        began = time.monotonic()
        logging.config.dictConfig(config)
        assert time.monotonic() - began < 1.0
        for number in range(5):
            logger.info("%d/%d", round_number, number)
    server.restore()
    assert flush_all(8)

    assert sorted(f"{one}/{two}" for one in range(4) for two in range(5)) == sorted(
        entry["message"] for entry in server.entries
    )
    pause = threading.Event()
    for _ in range(200):
        if threading.active_count() <= threads + 8:
            break
        pause.wait(0.01)
    mine = [thread.name for thread in threading.enumerate() if "defender" in thread.name.lower()]
    assert len(mine) <= 2, mine


def test_the_random_numbers_of_the_program_are_its_own(connect, server):
    """A retry in the background takes none of them: a seeded program gives the same result with and without us."""
    import random

    server.script(*[server.Reply(503)] * 5)
    state = random.getstate()
    wire = connect()
    wire.entry("x")

    assert 5 == wire.handler.stats().retries
    assert state == random.getstate()


def test_a_signal_like_reentry_keeps_both(connect, server):
    """A record made while another is being written is appended right after."""
    wire = connect()

    class Loud:
        def __str__(self):
            wire.logger.info("inner")
            return "outer"

    wire.logger.info("%s", Loud())
    assert wire.flush()

    assert {"inner", "outer"} == {entry["message"] for entry in server.entries}
    assert [1, 2] == seqs(server)


def test_stats_of_a_subclass_and_repr_are_helpful(connect):
    """Destination, state and counts at 3 a.m."""
    wire = connect()
    wire.entry("x")
    text = repr(wire.handler)

    assert "ApiKeyHandler" in text
    assert "127.0.0.1" in text
    assert "idle" in text
    assert "delivered=1" in text


def test_a_plain_handler_can_be_subclassed(server):
    """As with every logging.Handler."""

    class Mine(ApiKeyHandler):
        """A user's own."""

    handler = Mine(url=server.url)
    handler.handle(logging.makeLogRecord({"msg": "x", "levelno": 30}))
    assert handler.flush(5)
    handler.close()
