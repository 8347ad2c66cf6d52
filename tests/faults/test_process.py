"""Cases 5 to 8 and 13 to 19: how processes end, reload and overload their handler."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import pytest

from defender_logging.testing import Answer

ENDINGS = {"normal": ("", 0), "sys.exit": ("sys.exit(3)", 3), "os._exit": ("tell_accounts(); os._exit(4)", 4)}


@pytest.mark.parametrize("ending", ENDINGS)
def test_case_05_exit_with_the_receiver_down_and_a_spool(oracle, tickets, receiver, within, ending):
    """Exit keeps its budget and its code and says nothing, for nothing is lost; the next start delivers in order."""
    statement, code = ENDINGS[ending]
    accounts = []

    def attempt():
        receiver.refuse()
        result = tickets.run(
            f"""
            make(spool_dir="spool", shutdown_timeout_seconds=1, max_batch_entries=7)
            log_tickets("main", 50)
            tell("LAST_LINE", time.monotonic())
            {statement}
            """
        )
        assert (code, "") == (result.code, result.stderr)
        assert (50, 50) == (result.accounts[0]["accepted"], result.accounts[0]["pending"])
        receiver.listen()
        accounts.extend(tickets.start_anew())
        tickets.note()
        return result.ended - result.value("LAST_LINE")

    within(1.8, attempt)
    oracle.assert_conserved(receiver, *accounts, fired=len(accounts))


def test_case_06_exit_with_a_slow_receiver_and_no_spool(oracle, tickets, receiver):
    """What could not be delivered in time is told on stderr, to the entry."""
    receiver.black_hole()
    result = tickets.run('make(shutdown_timeout_seconds=0.3)\nlog_tickets("main", 30)')
    receiver.restore()
    lost = tickets.note()

    assert 0 == result.code
    assert "30 of 30 entries not delivered at exit" in result.stderr
    assert 1 == len(result.stderr.splitlines())
    oracle.assert_conserved(
        receiver, *result.accounts, fired=result.accounts[0]["pending"], missing=set(lost)
    )


AFTERWARDS = {
    "after close": 'handler.close(); log_tickets("late", 5)',
    "after logging.shutdown": 'logging.shutdown(); log_tickets("late", 5)',
    "in an exit hook after ours": 'VERY_LAST.append(lambda: log_tickets("late", 5))',
    "in an exit hook before ours": 'atexit.register(lambda: log_tickets("late", 5))',
}


@pytest.mark.parametrize("spool", [True, False], ids=["spool", "memory"])
@pytest.mark.parametrize("when", AFTERWARDS)
def test_case_07_log_calls_after_the_end(oracle, tickets, receiver, spool, when):
    """No exception; the record goes to the spool, or, without one, is delivered or counted as dropped (closed)."""
    result = tickets.run(
        f"""
        handler = make({"spool_dir='spool'" if spool else ""})
        log_tickets("early", 5)
        {AFTERWARDS[when]}
        VERY_LAST.append(tell_accounts)
        """
    )
    anew = tickets.start_anew() if spool else []
    late = {ticket for ticket in tickets.note() if "late" in ticket}
    last = result.accounts[-1]

    assert (0, "", 5) == (result.code, result.stderr, len(late))
    if spool:
        # What the first process told as pending is what the next start adopted.
        last = {**last, "accepted": last["accepted"] - last["pending"], "pending": 0}
        # After our own exit hook the process may end in the middle of a request.
        is_cut = when == "in an exit hook after ours"
        oracle.assert_conserved(receiver, last, *anew, fired=len(late), duplicates=is_cut, has_killed=is_cut)
    else:
        dropped = last["dropped_by_reason"].get("closed", 0)
        assert dropped in (0, 5)
        oracle.assert_conserved(receiver, last, fired=len(late), missing=late if dropped else 0)


@pytest.mark.parametrize("spool", [True, False], ids=["spool", "memory"])
@pytest.mark.parametrize("first", [True, False], ids=["first record", "later record"])
def test_case_08_log_calls_during_interpreter_shutdown(oracle, tickets, receiver, spool, first):
    """A destructor logs when modules are torn down and no thread starts any more: spooled or counted, and no noise."""
    result = tickets.run(
        f"""
        class Speaker:
            def __init__(self, handler):
                self.handler, self.log_ticket, self.tell = handler, log_ticket, tell
            def __del__(self):
                self.log_ticket("destructor", 0)
                stats = self.handler.stats()
                self.tell("LAST", {{"accepted": stats.accepted, "delivered": stats.delivered, "rejected": 0,
                          "dropped": stats.dropped, "pending": stats.pending, "duplicates_possible": 0,
                          "dropped_by_reason": dict(stats.dropped_by_reason)}})
        speaker = Speaker(make({"spool_dir='spool'" if spool else ""}))
        if {not first}:
            log_tickets("ordinary", 5)
        """
    )
    anew = tickets.start_anew() if spool else []
    spoken = {ticket for ticket in tickets.note() if "destructor" in ticket}
    last = result.value("LAST")

    assert (0, "", 1) == (result.code, result.stderr, len(spoken))
    if spool:
        assert last["pending"]
        last = {**last, "accepted": last["accepted"] - last["pending"], "pending": 0}
        oracle.assert_conserved(receiver, last, *anew, fired=1)
    else:
        assert {"closed": 1} == last["dropped_by_reason"]
        oracle.assert_conserved(receiver, last, fired=1, missing=spoken)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), MemoryError(), SystemExit(1)], ids=repr)
@pytest.mark.parametrize("spool", [True, False], ids=["spool", "memory"])
def test_case_13_an_exception_in_the_worker(  # noqa: PLR0917 - because fixtures are named, not placed
    oracle, receiver, connect, monkeypatch, tmp_path, error, spool
):
    """The worker starts again with its batch; until then ``stats()`` says what is wrong, and not that all is well."""
    handler, log = connect("generic", receiver, **({"spool_dir": str(tmp_path)} if spool else {}))
    build_request, seen = handler._destination.build_request, []

    def fails_once(*arguments, **named):
        if not seen:
            seen.append(error)
            raise error
        if len(seen) == 1:
            seen.append(handler.stats())
        return build_request(*arguments, **named)

    monkeypatch.setattr(type(handler._destination), "build_request", staticmethod(fails_once))
    oracle.log(log, 50)
    assert handler.flush(20)
    meanwhile = seen[1]

    assert type(error).__name__ in meanwhile.last_error
    assert meanwhile.state not in {"idle", "sending"}
    oracle.assert_conserved(receiver, handler, fired=len(seen))


@pytest.mark.parametrize("spool", [True, False], ids=["spool", "memory"])
def test_case_14_many_threads_log_while_others_flush_and_close(oracle, receiver, connect, tmp_path, spool):
    """64 threads: no deadlock, the order of each is kept, and what came after ``close`` is spooled or counted."""
    handler, log = connect("generic", receiver, **({"spool_dir": str(tmp_path)} if spool else {}))
    start, half = threading.Barrier(64 + 2), threading.Event()

    def chatter():
        start.wait(20)
        for number in range(40):
            oracle.log(log)
            if number == 20:
                half.set()

    def flush():
        start.wait(20)
        while not half.is_set():
            handler.flush(0.01)

    def close():
        start.wait(20)
        half.wait(20)
        handler.close()

    threads = [threading.Thread(target=each, daemon=True) for each in [*[chatter] * 64, flush, close]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert handler.flush(20)
    dropped = handler.stats().dropped_by_reason.get("closed", 0)

    assert not (spool and dropped)
    oracle.assert_conserved(receiver, handler, fired=half.is_set(), missing=dropped)


def test_case_15_records_made_inside_the_transport(oracle, tickets, receiver):
    """Root logger and http.client at DEBUG, failures included: nothing of the sending is sent, so it ends."""
    receiver.script(Answer(status=503), Answer(cut_at="after_headers"))
    result = tickets.run(
        """
        import http.client
        http.client.HTTPConnection.debuglevel = 1
        for name in ("", "urllib3", "service"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        handler = make(level="DEBUG", log_levels="all")
        log_tickets("main", 20)
        tell("FLUSHED", handler.flush(10))
        """
    )
    tickets.note()

    assert (0, True) == (result.code, result.value("FLUSHED"))
    assert receiver.request_count < 10
    oracle.assert_conserved(receiver, *result.accounts, fired=result.accounts[0]["retries"])


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest", "block"])
def test_case_17_an_event_loop_with_a_full_queue(oracle, receiver, connect, overflow):
    """A call never holds the loop up, or with ``block`` for no longer than was asked; what is dropped is counted."""
    receiver.black_hole()
    bound_seconds = 0.05 if overflow == "block" else 0.0
    handler, log = connect(
        "generic", receiver, max_queue_bytes=20_000, overflow=overflow, block_timeout_seconds=0.05
    )
    taken = []

    async def application():
        for number in range(100 if overflow == "block" else 2000):
            began = time.monotonic()
            oracle.log(log)
            taken.append(time.monotonic() - began)
            if number % 50 == 0:
                await asyncio.sleep(0)

    asyncio.run(application())
    dropped = handler.stats().dropped
    receiver.restore()

    # The median: a busy machine holds single calls up.
    assert sorted(taken)[len(taken) // 2] < bound_seconds + 0.02
    oracle.assert_conserved(receiver, handler, fired=dropped, missing=dropped)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("count", "spool"),
    [
        (50_000, True),
        (50_000, False),
        pytest.param(1_000_000, True, marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
    ],
    ids=["short spool", "short memory", "a million spool"],
)
def test_case_18_a_burst_with_the_receiver_down(oracle, tickets, receiver, count, spool):
    """Memory stays bounded; what finds room is delivered, the rest is counted, and the trail tells which."""
    receiver.refuse()
    settings = "spool_dir='spool', max_spool_bytes=8_000_000" if spool else ""
    program = tickets.start(
        f"""
        def rss():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        handler = make(max_queue_bytes=4_000_000, {settings})
        log_tickets("early", 100)
        before = rss()
        for number in range({count}):
            log.info("burst %d", number, extra={{"ticket": number}})
        tell("GROWTH", rss() - before)
        wait_for_test()
        tell("FLUSHED", handler.flush(60) and handler.flush(60))
        """,
        seconds=150,
    )
    growth = program.wait_for("GROWTH")
    receiver.listen()
    program.go_on()
    result = program.finish()
    tickets.note()
    for number in range(count):
        oracle.note(number, "burst", message=f"burst {number}")
    (account,) = result.accounts
    told = sum(entry["dropped"] for entry in receiver.entries if entry.fields.get("trail") == "dropped")

    assert (0, True) == (result.code, result.value("FLUSHED"))
    assert growth < 4_000_000 + 16 * 1024 * 1024
    assert account["dropped"] == told
    oracle.assert_conserved(receiver, account, fired=account["dropped"], missing=account["dropped"])


@pytest.mark.parametrize("spool", [True, False], ids=["spool", "memory"])
@pytest.mark.parametrize("up", [True, False], ids=["receiver up", "receiver down"])
def test_case_19_the_same_configuration_twice(oracle, tickets, receiver, spool, up):
    """The new handler takes over what the old one holds, in one process and on one directory."""
    if not up:
        receiver.refuse()
    program = tickets.start(
        f"""
        import logging.config
        settings = {{"spool_dir": "spool"}} if {spool} else {{}}
        config = {{"version": 1, "disable_existing_loggers": False,
                  "handlers": {{"trail": {{"class": "defender_logging.ApiKeyHandler", "url": URL,
                                           **FAST, **settings}}}},
                  "root": {{"handlers": ["trail"], "level": "INFO"}}}}
        for round in range(3):
            logging.config.dictConfig(config)
            HANDLERS.append(logging.getLogger().handlers[-1])
            log_tickets(f"round{{round}}", 10)
        tell("LOGGED", True)
        wait_for_test()
        tell("FLUSHED", flush_all(15))
        """
    )
    program.wait_for("LOGGED")
    if not up:
        receiver.listen()
    program.go_on()
    result = program.finish()

    assert (0, "", True) == (result.code, result.stderr, result.value("FLUSHED"))
    assert 30 == len(tickets.note())
    oracle.assert_conserved(receiver, *result.accounts, fired=len(result.accounts) == 3)
