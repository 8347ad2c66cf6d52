"""What is in the spool waits for the next start of the same handler, whatever ended the process, and for no other."""

from __future__ import annotations

import json
import logging
import sys
import threading

import pytest

from defender_logging import ApiKeyHandler, flush_all
from defender_logging._pipeline.spool import SpoolDirectory
from defender_logging.testing import Answer

DRAINS = """
from defender_logging import lifecycle

def streams():
    return [name for name in os.listdir("spool") if not name.startswith((".", "salt"))]

def drain(handler, left=1):
    "Deliver all that this handler may deliver; the first round of the housekeeper looks for orphans."
    tell("ADOPTED", wait_until(lambda: lifecycle._housekeeper._next_search > 0))
    tell("DRAINED", wait_until(lambda: handler.stats().pending == 0) and handler.flush(10))
    wait_until(lambda: len(streams()) <= left)  # A stream that is done with is removed a moment later.
    tell("STREAMS", len(streams()))
"""


def assert_in_order_per_stream(receiver):
    by_stream = {}
    for entry in receiver.entries:
        by_stream.setdefault(entry["stream"], []).append(entry["seq"])
    for seqs in by_stream.values():
        assert list(range(1, len(seqs) + 1)) == seqs


ENDINGS = {"normal": ("", 0), "sys.exit": ("sys.exit(3)", 3), "os._exit": ("tell_accounts(); os._exit(4)", 4)}


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_exit_could_not_deliver_is_delivered_by_the_next_start(
    programs, receiver, check_account, within, ending
):
    """Exit keeps its budget and its code and says nothing, for nothing is lost; the next start delivers in order."""
    statement, code = ENDINGS[ending]

    def attempt():
        receiver.clear()
        receiver.refuse()
        result = programs.run(
            f"""
            make(spool_dir="spool", shutdown_timeout_seconds=1, max_batch_entries=7)
            for number in range(50):
                log.info("record %d", number)
            tell("LAST_LINE", time.monotonic())
            {statement}
            """,
            url=receiver.generic_url,
        )
        assert (code, "") == (result.code, result.stderr)
        assert (50, 50) == (result.accounts[0]["accepted"], result.accounts[0]["pending"])
        receiver.listen()
        second = programs.run(
            DRAINS + 'handler = make(spool_dir="spool")\nlog.info("second")\ndrain(handler)',
            url=receiver.generic_url,
        )
        assert (0, "", True) == (second.code, second.stderr, second.value("DRAINED"))
        assert 51 == second.accounts[0]["delivered"] == second.accounts[0]["accepted"]
        assert {} == receiver.duplicates()
        assert 51 == receiver.entry_count
        assert_in_order_per_stream(receiver)
        return result.ended - result.value("LAST_LINE")

    within(1.8, attempt)


OTHERS = {
    "name": ("name='one'", "name='two'"),
    "literal key": ("api_header_name='X-Key', api_key='one'", "api_header_name='X-Key', api_key='two'"),
    "key reference": ("api_header_name='X-Key', api_key='env:A'", "api_header_name='X-Key', api_key='env:B'"),
    "index": (
        "kind=SplunkHandler, api_key='k', index='one'",
        "kind=SplunkHandler, api_key='k', index='two'",
    ),
}


@pytest.mark.parametrize("difference", OTHERS)
def test_handlers_that_differ_never_deliver_each_others_orphans(programs, receiver, difference):
    """An orphan waits for a handler of its own name, key and index."""
    mine, others = OTHERS[difference]
    keys = {"A": "same", "B": "same"}
    url = receiver.url
    receiver.refuse()
    programs.run(
        f"make(spool_dir='spool', shutdown_timeout_seconds=0.1, {mine})\nlog.info('mine')", url=url, **keys
    )
    receiver.listen()
    other = programs.run(
        DRAINS + f"handler = make(spool_dir='spool', {others})\nlog.info('other')\ndrain(handler, left=2)",
        url=url,
        **keys,
    )

    assert ["other"] == [entry["message"] for entry in receiver.entries]
    assert (True, True, 2) == tuple(other.value(kind) for kind in ("ADOPTED", "DRAINED", "STREAMS"))
    again = programs.run(
        DRAINS + f"handler = make(spool_dir='spool', {mine})\nlog.info('again')\ndrain(handler)",
        url=url,
        **keys,
    )
    assert (0, "", True) == (again.code, again.stderr, again.value("DRAINED"))
    assert ["again", "mine", "other"] == sorted(entry["message"] for entry in receiver.entries)


AFTERWARDS = {
    "after close": "handler.close(); log.info('after')",
    "after logging.shutdown": "logging.shutdown(); log.info('after')",
    "in an exit hook after ours": "VERY_LAST.append(lambda: log.info('after'))",
    "in a hook before ours": "atexit.register(lambda: log.info('after'))",
}


@pytest.mark.parametrize("when", AFTERWARDS)
def test_what_is_logged_after_the_end_is_spooled_and_delivered_by_the_next_start(programs, receiver, when):
    """A log call after ``close`` loses nothing where there is a spool."""
    receiver.refuse()
    first = programs.run(
        f"""
        handler = make(spool_dir="spool", shutdown_timeout_seconds=0.2)
        log.info("before")
        {AFTERWARDS[when]}
        """,
        url=receiver.generic_url,
    )
    receiver.listen()
    second = programs.run(
        DRAINS + 'handler = make(spool_dir="spool")\nlog.info("second")\ndrain(handler)',
        url=receiver.generic_url,
    )

    assert (0, "") == (first.code, first.stderr)
    assert 0 == first.accounts[0]["dropped"]
    assert (True, 1) == (second.value("DRAINED"), second.value("STREAMS"))
    assert ["after", "before", "second"] == sorted(entry["message"] for entry in receiver.entries)
    assert {} == receiver.duplicates()


def test_the_shortest_program_delivers_what_an_earlier_one_left(programs, receiver):
    """A script that logs once and ends sends the rest of the one before, without waiting for anything by itself."""
    make_orphan(programs, receiver)
    for number in range(3):
        result = programs.run(
            f"make(spool_dir='spool')\nlog.info('short {number}')", url=receiver.generic_url
        )
        assert (0, "") == (result.code, result.stderr)
        assert {} == receiver.duplicates()
        assert 51 + number == receiver.entry_count


class Gate(threading.Event):
    """An event that tells when somebody waits for it."""

    def __init__(self):
        super().__init__()
        self.is_reached = threading.Event()

    def wait(self, timeout=None):
        self.is_reached.set()
        return super().wait(timeout)


def test_nobody_adopts_what_an_exiting_process_may_still_be_sending(programs, receiver):
    """A request under way at the end of the budget: the stream is the process's until it is gone; no other begins."""
    may_answer = Gate()
    receiver.always(Answer(wait_for=may_answer))
    first = programs.start(
        """
        handler = make(spool_dir="spool", shutdown_timeout_seconds=0.5, max_batch_entries=7)
        for number in range(50):
            log.info("record %d", number)
        wait_for_test()

        def linger():
            tell("HOOKS_ARE_DONE", True)
            wait_for_test()
            is_quiet = lambda: handler.stats().delivered and not any("ApiKey" in name for name in own_threads())
            tell("QUIET", wait_until(is_quiet))
            tell("DELIVERED", [handler.stats().delivered, handler.stats().requests])

        VERY_LAST.append(linger)
        """,
        url=receiver.generic_url,
    )
    assert may_answer.is_reached.wait(10)
    first.go_on()
    assert first.wait_for("HOOKS_ARE_DONE")
    others = DRAINS + 'handler = make(spool_dir="spool")\nhandler.start()\n'
    second = programs.run(
        others
        + 'tell("SEARCHED", wait_until(lambda: lifecycle._housekeeper._next_search > 0))\n'
        + 'tell("ADOPTED", handler.stats().accepted)',
        url=receiver.generic_url,
    )
    assert (True, 0) == (second.value("SEARCHED"), second.value("ADOPTED"))
    receiver.restore()
    may_answer.set()
    first.go_on()
    ended = first.finish()
    assert (0, True) == (ended.code, ended.value("QUIET"))
    assert [receiver.entry_count, 1] == ended.value("DELIVERED")
    third = programs.run(others + "drain(handler, left=0)", url=receiver.generic_url)

    assert (True, 0) == (third.value("DRAINED"), third.value("STREAMS"))
    assert list(range(1, 51)) == [entry["seq"] for entry in receiver.entries]


def test_after_the_last_hook_nothing_is_sent_that_nobody_waits_for(programs, receiver):
    """The end of the process would cut the request, and the next start send its entries again; a flush still works."""
    program = programs.start(
        """
        handler = make(spool_dir="spool", flush_interval_seconds=0)
        log.info("early")

        def very_last():
            log.info("late")
            tell("IS_QUIET", wait_until(lambda: not any("ApiKey" in name for name in own_threads())))
            tell("PENDING", handler.stats().pending)
            tell("FLUSHED", flush_all(10))

        VERY_LAST.append(very_last)
        """,
        url=receiver.generic_url,
    )
    result = program.finish()

    assert (True, 1, True) == (result.value("IS_QUIET"), result.value("PENDING"), result.value("FLUSHED"))
    assert ["early", "late"] == [entry["message"] for entry in receiver.entries]


def test_what_is_logged_after_close_is_delivered_by_the_running_process(tmp_path, receiver, attached):
    """A closed handler that was done with, and gets an entry in its spool again, has it sent; flush_all sees to it."""
    handler = ApiKeyHandler(
        url=receiver.generic_url, spool_dir=str(tmp_path / "spool"), flush_interval_seconds=0.01
    )
    log = attached(handler, level=logging.INFO)
    log.info("before")
    assert handler.flush(10)
    handler.close()
    for number in range(3):
        log.info("after %d", number)
        assert flush_all(10)

    assert ["before", "after 0", "after 1", "after 2"] == [entry["message"] for entry in receiver.entries]
    assert 4 == handler.stats().delivered == handler.stats().accepted


def test_what_is_logged_to_a_closed_handler_is_delivered_by_its_successor(tmp_path, receiver, attached):
    """A thread that still has the old handler after a reconfiguration loses nothing, and holds up no exit."""
    old, new = (
        ApiKeyHandler(
            url=receiver.generic_url, spool_dir=str(tmp_path / "spool"), flush_interval_seconds=0.01
        )
        for _ in range(2)
    )
    log = attached(old, level=logging.INFO)
    log.info("old")
    assert old.flush(10)
    old.close()
    attached(new, level=logging.INFO).info("new")
    assert new.flush(10)
    log.info("late")

    assert flush_all(10)
    assert ["old", "new", "late"] == [entry["message"] for entry in receiver.entries]


def test_the_same_dict_config_twice_loses_and_doubles_nothing(programs, receiver):
    """The new handler takes over what the old one holds, in one process and on one directory."""
    receiver.refuse()
    program = programs.start(
        """
        import logging.config
        config = {"version": 1, "disable_existing_loggers": False,
                  "handlers": {"trail": {"class": "defender_logging.ApiKeyHandler", "url": URL, **FAST,
                  "spool_dir": "spool"}}, "root": {"handlers": ["trail"], "level": "INFO"}}
        for round in range(3):
            logging.config.dictConfig(config)
            HANDLERS.append(logging.getLogger().handlers[-1])
            for number in range(10):
                log.info("%d-%d", round, number)
        tell("LOGGED", True)
        wait_for_test()
        tell("FLUSHED", flush_all(15))
        """,
        url=receiver.generic_url,
    )
    program.wait_for("LOGGED")
    receiver.listen()
    program.go_on()
    result = program.finish()

    assert (0, "", True) == (result.code, result.stderr, result.value("FLUSHED"))
    assert [f"{r}-{n}" for r in range(3) for n in range(10)] == sorted(e["message"] for e in receiver.entries)
    assert_in_order_per_stream(receiver)
    assert 30 == sum(account["delivered"] for account in result.accounts)


@pytest.mark.parametrize("fsync", ["always", "interval", "off"])
def test_every_fsync_delivers_from_memory_and_leaves_an_empty_spool(programs, receiver, check_account, fsync):
    """When all is delivered, no stream is left on the disk."""
    result = programs.run(
        f"""
        handler = make(spool_dir="spool", fsync="{fsync}")
        for number in range(200):
            log.info("record")
        tell("FLUSHED", handler.flush(10))
        VERY_LAST.append(lambda: tell("LEFT", [n for n in os.listdir("spool") if not n.startswith((".", "salt"))]))
        """,
        url=receiver.generic_url,
    )

    assert (0, "", True, []) == (result.code, result.stderr, result.value("FLUSHED"), result.value("LEFT"))
    check_account(result.accounts, receiver, delivered=200)


def make_orphan(programs, receiver, count=50):
    receiver.refuse()
    programs.run(
        f"""
        make(spool_dir="spool", shutdown_timeout_seconds=0)
        for number in range({count}):
            log.info("record %d", number)
        """,
        url=receiver.generic_url,
    )
    receiver.listen()
    (path,) = [p for p in (programs.folder / "spool").iterdir() if p.is_dir() and not p.name.startswith(".")]
    return path


DAMAGES = {"flipped bit": 49, "torn tail": 49, "cursor garbage": 50, "cursor empty": 50, "meta garbage": 50}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_orphan_gives_all_that_is_whole(programs, receiver, damage):
    """One flipped bit or a torn end costs that entry only; side files are rebuilt."""
    path = make_orphan(programs, receiver)
    segment = next(p for p in sorted(path.iterdir()) if p.name.endswith(".seg"))
    data = bytearray(segment.read_bytes())
    if damage == "flipped bit":
        data[data.index(b"record 20") + 3] ^= 4
        segment.write_bytes(data)
    elif damage == "torn tail":
        segment.write_bytes(data[:-10])
    else:
        name = "meta.json" if damage.startswith("meta") else "cursor.json"
        (path / name).write_bytes(b"" if damage.endswith("empty") else b"\x00garbage")
    second = programs.run(
        DRAINS + 'handler = make(spool_dir="spool")\nlog.info("second")\ndrain(handler, left=2)',
        url=receiver.generic_url,
    )

    assert (0, True) == (second.code, second.value("DRAINED"))
    arrived = [entry["message"] for entry in receiver.entries if entry["message"] != "second"]
    assert DAMAGES[damage] == len(arrived)
    assert sorted(arrived, key=lambda text: int(text.split()[1])) == arrived
    assert {} == receiver.duplicates()


def test_a_refused_entry_is_a_dead_letter_with_its_reason(tmp_path, receiver, attached):
    """A 400 sets the entry aside with the receiver's answer, alone."""
    handler = ApiKeyHandler(
        url=receiver.generic_url, spool_dir=str(tmp_path / "spool"), flush_interval_seconds=0.01
    )
    log = attached(handler)
    receiver.always(Answer(status=400, body="no such field"))
    log.info("bad")
    assert handler.flush(10)
    stream = handler._pipeline.buffer.stream
    (letter,) = SpoolDirectory(tmp_path / "spool", 1 << 30).dead_letters(stream).read()

    assert 1 == handler.stats().rejected
    assert "bad" == json.loads(letter.line)["message"]
    assert letter.reason
    assert "no such field" in letter.answer


if sys.platform == "linux":

    def test_memory_stays_bounded_and_the_backlog_leaves_in_order(programs, receiver):
        """50 MB with the receiver down and 1 MB of memory: nothing lost, all delivered in order afterwards."""
        receiver.refuse()
        program = programs.start(
            """
            def rss():
                with open("/proc/self/statm") as file:
                    return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

            handler = make(spool_dir="spool", max_queue_bytes=1_000_000)
            log.info("warm")
            before = rss()
            for number in range(10_000):
                log.info("%d %s", number, "x" * 5_000)
            tell("LOGGED", rss() - before)
            wait_for_test()
            tell("FLUSHED", handler.flush(20))
            tell("GROWTH", rss() - before)
            """,
            url=receiver.generic_url,
        )
        growth = program.wait_for("LOGGED")
        receiver.listen()
        program.go_on()
        result = program.finish()

        assert (0, "", True) == (result.code, result.stderr, result.value("FLUSHED"))
        assert list(range(1, 10_002)) == [entry["seq"] for entry in receiver.entries]
        assert growth < 17_000_000
        assert result.value("GROWTH") < 40_000_000
