"""dictConfig again and again: quick, without loss, and without threads that pile up."""

from __future__ import annotations

import pytest

from defender_logging.testing import LocalReceiver

CONFIGURE = """
import logging.config

def configure(url=URL, name="trail", key="secret", count=1, **settings):
    names = [name] if count == 1 else [f"{name}{n}" for n in range(count)]
    began = time.monotonic()
    logging.config.dictConfig({
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {n: {"class": "defender_logging.ApiKeyHandler", "url": url, "api_header_name": "X-Key",
                         "api_key": key, **FAST, **settings} for n in names},
        "root": {"level": "INFO", "handlers": names},
    })
    HANDLERS.extend(logging.getLogger().handlers)
    return time.monotonic() - began
"""
QUICK_SECONDS = 0.5
"""For all reconfigurations of one test together; a request under way would take far longer."""


@pytest.mark.parametrize("times", [2, 20])
def test_loses_nothing_while_the_receiver_is_up(programs, receiver, check_account, times):
    """Entries of every generation arrive, and only one thread is left."""
    result = programs.run(
        CONFIGURE
        + f"""
seconds = []
for generation in range({times}):
    seconds.append(configure())
    for _ in range(10):
        log.info("generation %d", generation)
tell("FLUSHED", flush_all(10))
tell("ONE_THREAD", wait_until(lambda: len(own_threads()) == 1))
tell("SLOWEST", max(seconds))
""",
        url=receiver.generic_url,
    )

    assert (0, "", True, True) == (
        result.code, result.stderr, result.value("FLUSHED"), result.value("ONE_THREAD"),
    )  # fmt: skip
    assert result.value("SLOWEST") < QUICK_SECONDS
    check_account(result.accounts, receiver, delivered=10 * times)
    assert times == len(result.accounts)


@pytest.mark.parametrize("times", [2, 20])
@pytest.mark.parametrize("fault", ["refused", "black hole"])
def test_loses_nothing_while_the_receiver_is_down(programs, check_account, times, fault):
    """Closing waits for nobody; the newest handler takes over what older ones hold, and delivers it in the end."""
    with LocalReceiver() as receiver:
        receiver.refuse() if fault == "refused" else receiver.black_hole()
        program = programs.start(
            CONFIGURE
            + f"""
seconds = []
for generation in range({times}):
    seconds.append(configure(request_timeout_seconds=1))
    for _ in range(10):
        log.info("generation %d", generation)
    time.sleep(0.02)
tell("SLOWEST", max(seconds))
tell("ONE_THREAD", wait_until(lambda: len(own_threads()) == 1))
wait_for_test()
tell("FLUSHED", flush_all(15))
configure()  # The last one before is closed as well, and has nothing left.
tell("NO_THREAD", wait_until(lambda: not own_threads()))
""",
            url=receiver.generic_url,
        )
        assert program.wait_for("ONE_THREAD")
        receiver.listen() if fault == "refused" else receiver.restore()
        program.go_on()
        result = program.finish()

        assert (0, "", True, True) == (
            result.code, result.stderr, result.value("FLUSHED"), result.value("NO_THREAD"),
        )  # fmt: skip
        assert result.value("SLOWEST") < QUICK_SECONDS
        check_account(result.accounts, receiver, delivered=10 * times)
        for stream in {entry["stream"] for entry in receiver.entries}:
            seqs = [entry["seq"] for entry in receiver.entries if entry["stream"] == stream]
            assert list(range(1, 11)) == seqs


@pytest.mark.parametrize(
    "second", ["name='other'", "key='another'", "url=URL + '/other'"], ids=["name", "key", "address"]
)
def test_a_handler_of_another_identity_takes_nothing_over(programs, check_account, second):
    """The trail of one handler never goes out under the name, the key or the address of another."""
    with LocalReceiver() as receiver:
        receiver.refuse()
        program = programs.start(
            CONFIGURE
            + f"""
configure()
log.info("first")
configure({second})
log.info("second")
tell("THREADS", len(own_threads()))
wait_for_test()
tell("FLUSHED", flush_all(10))
""",
            url=receiver.generic_url,
        )
        assert 2 == program.wait_for("THREADS")
        receiver.listen()
        program.go_on()
        result = program.finish()

        assert (0, "", True) == (result.code, result.stderr, result.value("FLUSHED"))
        check_account(result.accounts, receiver, delivered=2)
        by_text = {
            entry["message"]: request
            for entry in receiver.entries
            for request in receiver.requests
            if request.number == entry.request
        }
        first, other = by_text["first"], by_text["second"]
        assert first.connection != other.connection
        assert ("secret", receiver.generic_url) == (first.header("X-Key"), receiver.url + first.target)
        assert ("another" if "key" in second else "secret") == other.header("X-Key")


def test_two_new_handlers_do_not_serve_the_same_closed_one(programs, check_account):
    """One of them takes over: the entries of one stream are sent by one thread, so in order."""
    with LocalReceiver() as receiver:
        receiver.refuse()
        program = programs.start(
            """
            first = make(max_batch_entries=1)
            for _ in range(200):
                log.info("first")
            first.close()
            logging.getLogger().removeHandler(first)
            make(max_batch_entries=1), make(max_batch_entries=1)
            log.info("both")
            tell("READY", True)
            wait_for_test()
            tell("FLUSHED", flush_all(20))
            """,
            url=receiver.generic_url,
        )
        program.wait_for("READY")
        receiver.listen()
        program.go_on()
        result = program.finish()

        assert (0, "", True) == (result.code, result.stderr, result.value("FLUSHED"))
        check_account(result.accounts, receiver, delivered=202)
        stream = result.accounts[0]["stream"]
        assert list(range(1, 201)) == [e["seq"] for e in receiver.entries if e["stream"] == stream]


def test_closing_twice_changes_nothing_and_later_records_are_counted(programs, receiver, check_account):
    """close() may be called again; a record logged afterwards counts as accepted and dropped, and starts no thread."""
    result = programs.run(
        """
        handler = make()
        log.info("before")
        handler.close()
        handler.close()
        tell("NO_THREAD", wait_until(lambda: not own_threads()))
        started = []
        original = threading.Thread.start
        threading.Thread.start = lambda thread: (started.append(thread.name), original(thread))
        for _ in range(3):
            log.info("after")
        tell("STARTED", started)
        tell("STATE", handler.stats().state)
        """,
        url=receiver.generic_url,
    )

    assert (0, "", True) == (result.code, result.stderr, result.value("NO_THREAD"))
    assert [] == result.value("STARTED")
    assert "closed" == result.value("STATE")
    assert {"closed": 3} == result.accounts[0]["dropped_by_reason"]
    check_account(result.accounts, receiver, delivered=1)


def test_making_handlers_starts_nothing(programs, refused_url):
    """Construction only validates; a configuration that is never logged to has no thread, and closes at once."""
    result = programs.run(
        CONFIGURE
        + """
tell("SECONDS", max(configure(count=5) for _ in range(5)))
tell("THREADS", threading.active_count())
""",
        url=refused_url,
    )

    assert (0, "") == (result.code, result.stderr)
    assert 1 == result.value("THREADS")


def test_reconfiguring_while_threads_log_neither_hangs_nor_loses(programs, receiver, check_account):
    """Every record is accepted by the handler of its moment and arrives, or is counted as made after close()."""
    result = programs.run(
        CONFIGURE
        + """
configure()
stop = threading.Event()
def chatter():
    while not stop.is_set():
        log.info("record")
        time.sleep(0.0005)
threads = [threading.Thread(target=chatter) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(20):
    configure()
    time.sleep(0.01)
stop.set()
for thread in threads:
    thread.join()
""",
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    assert {"closed"} >= {reason for account in result.accounts for reason in account["dropped_by_reason"]}
    for account in result.accounts:
        assert (0, account["accepted"]) == (account["pending"], account["delivered"] + account["dropped"])
    assert receiver.entry_count == sum(account["delivered"] for account in result.accounts)
    assert {} == receiver.duplicates()
