"""What a process still delivers when it ends, and what its end may cost."""

from __future__ import annotations

import sys

import pytest

THREADS_END_BEFORE_EXIT_HOOKS = sys.version_info >= (3, 12)
"""From 3.12 on no thread can be started once the main thread has ended."""

ENDINGS = {
    "normal": ("", 0, ""),
    "sys.exit": ("sys.exit(3)", 3, ""),
    "exception": ("raise LookupError('mine')", 1, "LookupError: mine"),
    "sys.exit in a thread": ("t = threading.Thread(target=sys.exit, args=[5]); t.start(); t.join()", 0, ""),
    "a thread outlives the main thread": (
        "threading.Timer(0.2, lambda: log.info('last words')).start()",
        0,
        "",
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_delivers_everything_before_the_process_ends(programs, receiver, check_account, ending):
    """What was logged in the last line arrives, and the exit code is what it would have been."""
    statement, code, last_line = ENDINGS[ending]
    result = programs.run(
        f"""
        make(flush_interval_seconds=30)
        for number in range(50):
            log.info("record %d", number)
        {statement}
        """,
        url=receiver.generic_url,
    )

    assert code == result.code
    assert last_line == (result.stderr.splitlines() or [""])[-1]
    assert (result.stderr.count("\n") > 1) == bool(last_line)
    count = 51 if "outlives" in ending else 50
    check_account(result.accounts, receiver, delivered=count)
    assert count == receiver.entry_count


def test_exit_costs_one_budget_over_all_handlers_whatever_the_receivers_do(
    programs, receiver, refused_url, within, request
):
    """A refused port, a black hole and a slow receiver together cost one shutdown_timeout_seconds and a line each."""
    from defender_logging.testing import Answer, LocalReceiver

    budget_seconds = 1.5
    receiver.black_hole()
    slow = LocalReceiver().start()
    request.addfinalizer(slow.stop)
    slow.always(Answer(status=200, drip_seconds=1, takes_entries=True))

    def attempt():
        receiver.clear()
        slow.clear()
        result = programs.run(
            f"""
            for name in ("REFUSED", "HOLE", "SLOW"):
                make(name, os.environ[name], shutdown_timeout_seconds={budget_seconds})
            for number in range(7):
                log.info("record")
            tell("LAST_LINE", time.monotonic())
            """,
            REFUSED=refused_url,
            HOLE=receiver.generic_url,
            SLOW=slow.generic_url,
        )
        lines = sorted(result.stderr.splitlines())

        assert 0 == result.code
        assert 3 == len(lines)
        for name, line in zip(("HOLE", "REFUSED", "SLOW"), lines, strict=True):
            assert f"ApiKeyHandler {name!r}" in line
            assert "7 of 7 entries not delivered at exit" in line
        assert 3 == len(result.accounts)
        for account in result.accounts:
            assert (7, 7, 0) == (account["accepted"], account["pending"], account["delivered"])
        return result.ended - result.value("LAST_LINE")

    within(budget_seconds + 0.5, attempt)


RESOLVER_HANGS = """
import socket
socket.getaddrinfo = lambda *_, **__: time.sleep(3600)
"""


def test_a_resolver_that_hangs_does_not_delay_exit(programs, within):
    """Name resolution has no deadline of its own, so exit must not wait for it."""

    def attempt():
        result = programs.run(
            RESOLVER_HANGS
            + """
make(url="https://receiver.example", shutdown_timeout_seconds=1)
log.info("record")
tell("LAST_LINE", time.monotonic())
"""
        )

        assert (0, 1) == (result.code, len(result.stderr.splitlines()))
        assert "1 of 1 entries not delivered at exit" in result.stderr
        return result.ended - result.value("LAST_LINE")

    within(1.5, attempt)


@pytest.mark.parametrize(
    "fault",
    [
        "black hole",
        pytest.param(
            "resolver",
            marks=pytest.mark.skipif(
                THREADS_END_BEFORE_EXIT_HOOKS,
                reason="resolving cannot be bounded in the exiting thread itself",
            ),
        ),
    ],
)
@pytest.mark.parametrize("hook", ["before", "after"])
def test_the_first_record_in_an_exit_hook_does_not_delay_exit(programs, receiver, within, fault, hook):
    """Where no thread can be started any more, sending in the exiting thread keeps to the budget as well."""
    receiver.black_hole()
    url = receiver.generic_url if fault == "black hole" else "https://receiver.example"
    late = "atexit.register(lambda: (log.info('late'), tell('LAST_LINE', time.monotonic())))"

    def attempt():
        result = programs.run(
            "\n".join(
                [
                    RESOLVER_HANGS if fault == "resolver" else "",
                    late if hook == "before" else "",
                    "make(shutdown_timeout_seconds=1)",
                    late if hook == "after" else "",
                ]
            ),
            url=url,
        )

        assert (0, 1) == (result.code, len(result.stderr.splitlines())), result.stderr
        assert "1 of 1 entries not delivered at exit" in result.stderr
        return result.ended - result.value("LAST_LINE")

    within(1.5, attempt)


@pytest.mark.parametrize("first", [True, False], ids=["first record ever", "after others"])
def test_delivers_records_of_exit_hooks(programs, receiver, check_account, first):
    """Hooks registered before and after ours may log, be it the first record of the process."""
    result = programs.run(
        f"""
        atexit.register(log.info, "hook that runs after ours")
        make(flush_interval_seconds=30)
        atexit.register(log.info, "hook that runs before ours")
        if not {first}:
            log.info("ordinary")
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    check_account(result.accounts, receiver, delivered=2 if first else 3)


@pytest.mark.parametrize("place", ["before", "after"])
def test_delivers_the_first_record_of_a_process_from_a_single_exit_hook(
    programs, receiver, check_account, place
):
    """Whether the hook runs before or after ours, its record has the whole budget."""
    hook = 'atexit.register(log.info, "the only record")'
    result = programs.run(
        "\n".join([hook if place == "before" else "", "make()", hook if place == "after" else ""]),
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    check_account(result.accounts, receiver, delivered=1)


def test_a_lock_that_a_dead_thread_holds_hangs_no_destructor(programs, receiver, check_account):
    """A daemon thread may die with the buffer's lock; records made afterwards are counted all the same."""
    result = programs.run(
        """
        class Speaker:
            def __init__(self, handler):
                self.handler, self.log, self.tell = handler, log, tell
            def __del__(self):
                self.log.info("from a destructor")
                self.tell("AFTER", dict(self.handler.stats().dropped_by_reason))
        speaker = Speaker(make())
        log.info("ordinary")
        may_take, is_taken = threading.Event(), threading.Event()
        lock = HANDLERS[0]._pipeline.buffer._lock
        threading.Thread(target=hold, args=(lock, may_take, is_taken), daemon=True).start()
        VERY_LAST.extend([may_take.set, is_taken.wait])
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    assert {"closed": 1} == result.value("AFTER")
    check_account(result.accounts, receiver, delivered=1)


def test_logging_shutdown_by_hand_loses_nothing_and_counts_what_comes_later(
    programs, receiver, check_account
):
    """logging.shutdown() ends the handler, not the process: what waits is sent, later records are counted."""
    result = programs.run(
        """
        make(flush_interval_seconds=30)
        for number in range(20):
            log.info("before")
        began = time.monotonic()
        logging.shutdown()
        tell("SECONDS", time.monotonic() - began)
        log.info("after")
        log.info("after")
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    check_account(result.accounts, receiver, delivered=20)
    assert {"closed": 2} == result.accounts[0]["dropped_by_reason"]
    assert ["before"] * 20 == [entry["message"] for entry in receiver.entries]


def test_daemon_threads_may_log_until_the_very_end(programs, receiver, check_account):
    """Exit waits for what was accepted when it began, not for those that never stop, and nothing is raised."""
    result = programs.run(
        """
        make(shutdown_timeout_seconds=2)
        def chatter():
            while True:
                log.info("still here")
                time.sleep(0.001)
        for _ in range(4):
            threading.Thread(target=chatter, daemon=True).start()
        time.sleep(0.2)
        """,
        url=receiver.generic_url,
    )

    # The accounts are told while the threads go on, so some that arrived were not yet confirmed, or not yet logged.
    (account,) = result.accounts
    assert 0 == result.code
    assert all("entries not delivered at exit" in line for line in result.stderr.splitlines())
    assert account["accepted"] == sum(account[n] for n in ("delivered", "rejected", "dropped", "pending"))
    assert account["delivered"] > 0
    assert set(account["dropped_by_reason"]) <= {"closed"}
    assert {} == receiver.duplicates()
    assert account["delivered"] <= receiver.entry_count


@pytest.mark.parametrize("closes", [True, False], ids=["closed", "collected"])
def test_delivers_what_a_handler_left_behind(programs, receiver, closes):
    """A handler that was removed from its logger with entries pending has them delivered all the same."""
    result = programs.run(
        f"""
        import gc
        handler = make(flush_interval_seconds=30)
        for number in range(20):
            log.info("record")
        logging.getLogger().removeHandler(handler)
        if {closes}:
            handler.close()
        HANDLERS.clear()
        del handler
        gc.collect()
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    assert (20, {}) == (receiver.entry_count, receiver.duplicates())
    assert list(range(1, 21)) == [entry["seq"] for entry in receiver.entries]


@pytest.mark.parametrize("statement", ["sys.stderr = None", "sys.stderr.close()"])
def test_exit_survives_a_missing_stderr(programs, refused_url, statement):
    """A daemon without stderr ends as well, with its own exit code."""
    result = programs.run(
        f"""
        make(shutdown_timeout_seconds=0.2)
        log.info("record")
        {statement}
        sys.exit(4)
        """,
        url=refused_url,
    )

    assert 4 == result.code
    assert "" == result.stderr
    assert 1 == result.accounts[0]["pending"]


def test_threads_that_log_while_the_process_exits_hang_nothing(programs, receiver, check_account):
    """Non-daemon threads that start to log only after the main thread has ended have their records delivered."""
    result = programs.run(
        """
        make()
        def late():
            threading.main_thread().join()
            for _ in range(25):
                log.info("late")
        for _ in range(4):
            threading.Thread(target=late).start()
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    check_account(result.accounts, receiver, delivered=100)
