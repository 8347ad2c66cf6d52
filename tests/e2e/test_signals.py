"""Signal handlers run between any two steps of a logging call: nothing may be lost or locked by them."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.mark.parametrize("seed", range(4))
def test_sigterm_that_exits_in_the_middle_of_a_burst_loses_no_finished_call(
    programs, receiver, check_account, seed
):
    """sys.exit(0) in a SIGTERM handler: every record whose call had returned arrives."""
    result = programs.run(
        f"""
        import random, signal
        make()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        random.seed({seed})
        threading.Timer(0.05 + random.random() / 20, os.kill, (os.getpid(), signal.SIGTERM)).start()
        done = 0
        atexit.register(lambda: tell("DONE", done))
        while True:
            log.info("record %d", done)
            done += 1
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    done = result.value("DONE")
    assert done > 0
    assert {f"record {n}" for n in range(done)} <= {entry["message"] for entry in receiver.entries}
    check_account(result.accounts, receiver)
    assert result.accounts[0]["accepted"] in (done, done + 1)


def test_a_signal_handler_may_log_and_flush_in_the_middle_of_a_call(programs, receiver, check_account):
    """flush_all inside a signal handler returns, whatever it interrupted; records made there arrive."""
    result = programs.run(
        """
        import random, signal
        make(flush_interval_seconds=0)
        made = count = 0
        def on_signal(*_):
            global count
            count += 1
            log.info("from the handler")
            if count % 4 == 0:
                flush_all(0.02)
        signal.signal(signal.SIGALRM, on_signal)
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            seen = count
            # One shot at a time: handlers inside each other without end are another story.
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.002))
            while count == seen:
                log.info("from the program")
                made += 1
        tell("MADE", made)
        tell("SIGNALS", count)
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    made, signals = result.value("MADE"), result.value("SIGNALS")
    assert signals > 10
    check_account(result.accounts, receiver, delivered=made + signals)


def test_an_exception_of_a_signal_handler_leaves_a_working_handler(programs, receiver, check_account):
    """KeyboardInterrupt between any two steps of a call: later records arrive, and the account stays exact."""
    result = programs.run(
        """
        import random, signal
        make(flush_interval_seconds=0)
        class Stop(BaseException):
            pass
        def on_signal(*_):
            raise Stop
        signal.signal(signal.SIGALRM, on_signal)
        done = interrupted = 0
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.002))
                while True:
                    log.info("record")
                    done += 1
            except Stop:
                interrupted += 1
        tell("DONE", done)
        tell("INTERRUPTED", interrupted)
        log.info("last")
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    done, interrupted = result.value("DONE"), result.value("INTERRUPTED")
    (account,) = result.accounts
    assert interrupted > 50
    # A call that was cut short may have accepted its record, or not.
    assert done + 1 <= account["accepted"] <= done + 1 + interrupted
    assert {"interrupted"} >= set(account["dropped_by_reason"])
    assert account["accepted"] == account["delivered"] + account["dropped"]
    assert account["delivered"] == receiver.entry_count
    assert {} == receiver.duplicates()
    assert "last" == receiver.entries[-1]["message"]


def test_a_signal_handler_that_logs_while_the_first_record_starts_the_pipeline(
    programs, receiver, check_account
):
    """The first record of all may be interrupted by another one of the same thread, which must not wait for it."""
    result = programs.run(
        """
        import signal
        handler = make()
        signal.signal(signal.SIGALRM, lambda *_: log.info("from the handler"))
        make_pipeline = handler._make_pipeline
        def interrupted():
            handler._make_pipeline = make_pipeline
            pipeline = make_pipeline()
            signal.raise_signal(signal.SIGALRM)
            return pipeline
        handler._make_pipeline = interrupted
        log.info("first")
        log.info("second")
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    check_account(result.accounts, receiver, delivered=3)


def test_an_interrupt_while_the_thread_starts_leaves_a_handler_that_sends(programs, receiver, check_account):
    """Ctrl-C in the very moment in which the sending thread starts: the next record starts one."""
    result = programs.run(
        """
        make()
        start, calls = threading.Thread.start, []
        def interrupted(thread):
            calls.append(thread.name)
            if len(calls) == 1:
                raise KeyboardInterrupt
            start(thread)
        threading.Thread.start = interrupted
        try:
            log.info("first")
        except KeyboardInterrupt:
            tell("INTERRUPTED", True)
        log.info("second")
        tell("FLUSHED", flush_all(5))
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    assert (True, True) == (result.value("INTERRUPTED"), result.value("FLUSHED"))
    check_account(result.accounts, receiver, delivered=2)


def test_threads_that_log_their_first_records_together_start_one_sender(programs, receiver, check_account):
    """The thread is started once, however many callers find none running at the same moment."""
    result = programs.run(
        """
        sys.setswitchinterval(1e-6)
        most = 0
        for round_ in range(20):
            handler = make(f"round {round_}", flush_interval_seconds=0)
            started = []
            start = threading.Thread.start
            gate = threading.Barrier(8)
            def work():
                gate.wait()
                for _ in range(10):
                    log.info("record")
            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            most = max(most, sum(f"'round {round_}'" in name for name in own_threads()))
            logging.getLogger().removeHandler(handler)
            handler.close()
        tell("MOST", most)
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    assert 1 == result.value("MOST")
    check_account(result.accounts, receiver, delivered=20 * 80)
