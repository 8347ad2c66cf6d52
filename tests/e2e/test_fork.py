"""A forked child starts with empty hands: its parent's entries, threads, locks and connections stay the parent's."""

from __future__ import annotations

import os
import sys

import pytest

from defender_logging.testing import LocalReceiver

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

CHILD_LEAVES = """
def in_child(task):
    pid = os.fork()
    if pid:
        return pid
    try:
        task()
        tell("FLUSHED", flush_all(10))
        tell_accounts()
    finally:
        os._exit(0)
"""


def test_parents_pending_entries_are_sent_once_and_by_the_parent(programs, receiver, check_account):
    """The child sends its own entries in a stream of its own, and nothing that the parent had queued."""
    result = programs.run(
        CHILD_LEAVES
        + """
make(flush_interval_seconds=30)
for number in range(20):
    log.info("parent before")
pid = in_child(lambda: [log.info("child") for _ in range(10)])
tell("CHILD_CODE", os.waitpid(pid, 0)[1])
log.info("parent after")
""",
        url=receiver.generic_url,
    )

    assert (0, "", 0) == (result.code, result.stderr, result.value("CHILD_CODE"))
    assert result.value("FLUSHED") is True
    assert 2 == len({account["stream"] for account in result.accounts})
    check_account(result.accounts, receiver, delivered=31)
    texts = [entry["message"] for entry in receiver.entries]
    assert (10, 20, 1) == tuple(texts.count(text) for text in ("child", "parent before", "parent after"))


def test_a_child_that_ends_normally_sends_nothing_of_the_parents(programs, receiver, check_account):
    """The exit hook of a child knows nothing of the parent's entries, and leaves its connection alone."""
    result = programs.run(
        """
        make(flush_interval_seconds=30)
        for number in range(5):
            log.info("parent")
        pid = os.fork()
        if pid == 0:
            log.info("child")
            sys.exit(7)
        tell("CHILD_CODE", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """,
        url=receiver.generic_url,
    )

    assert (0, "", 7) == (result.code, result.stderr, result.value("CHILD_CODE"))
    check_account(result.accounts, receiver, delivered=6)


def test_forking_while_threads_log_neither_hangs_nor_loses(programs, receiver, check_account):
    """Thirty forks while eight threads log: every lock that a child inherits is free, and every entry arrives once."""
    result = programs.run(
        CHILD_LEAVES
        + """
make(flush_interval_seconds=0)
stop = threading.Event()
def chatter():
    while not stop.is_set():
        log.info("parent")
        time.sleep(0.0005)
threads = [threading.Thread(target=chatter) for _ in range(8)]
for thread in threads:
    thread.start()
codes = []
for _ in range(30):
    pid = in_child(lambda: [log.info("child") for _ in range(5)])
    codes.append(os.waitpid(pid, 0)[1])
stop.set()
for thread in threads:
    thread.join()
tell("CODES", codes)
""",
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    assert [0] * 30 == result.value("CODES")
    assert [True] * 30 == result.values("FLUSHED")
    assert 31 == len({account["stream"] for account in result.accounts})
    check_account(result.accounts, receiver)
    assert receiver.entry_count == sum(account["accepted"] for account in result.accounts)
    assert 150 == [entry["message"] for entry in receiver.entries].count("child")


def test_forking_in_the_middle_of_a_request_leaves_the_request_to_the_parent(programs, check_account):
    """The parent's request goes on, is tried again after its reset, and the child's entries arrive beside it."""
    with LocalReceiver() as receiver:
        receiver.black_hole()
        program = programs.start(
            """
            import gc
            make(flush_interval_seconds=0)
            for number in range(3):
                log.info("parent")
            wait_for_test()
            pid = os.fork()
            if pid == 0:
                gc.collect()
                tell("FORKED", True)
                log.info("child")
                log.info("child")
                sys.exit(0)
            tell("CHILD_CODE", os.waitpid(pid, 0)[1])
            """,
            url=receiver.generic_url,
            options=("-X", "dev", "-W", "error"),
        )
        assert receiver.wait_for(requests=1)
        program.go_on()
        program.wait_for("FORKED")
        assert receiver.wait_for(requests=2)
        receiver.restore()
        result = program.finish()

        assert (0, "", 0) == (result.code, result.stderr, result.value("CHILD_CODE"))
        check_account(result.accounts, receiver, delivered=5)


@pytest.mark.parametrize("logs_in_child", [False, True], ids=["silent child", "child that logs"])
def test_a_tls_connection_of_the_parent_survives_the_exit_of_a_child(programs, check_account, logs_in_child):
    """The child must not say goodbye on a connection that is not its own."""
    pytest.importorskip("trustme")
    with LocalReceiver(tls=True) as receiver:
        result = programs.run(
            f"""
            handler = make(ca_file=os.environ["CA_FILE"], flush_interval_seconds=0)
            log.info("parent before")
            assert handler.flush(10)
            pid = os.fork()
            if pid == 0:
                if {logs_in_child}:
                    log.info("child")
                sys.exit(0)
            tell("CHILD_CODE", os.waitpid(pid, 0)[1])
            log.info("parent after")
            """,
            url=receiver.generic_url,
            options=("-X", "dev", "-W", "error"),
            CA_FILE=receiver.ca_file,
        )

        assert (0, "", 0) == (result.code, result.stderr, result.value("CHILD_CODE"))
        check_account(result.accounts, receiver, delivered=2 + logs_in_child)
        by_connection = {
            entry["message"]: request.connection
            for entry in receiver.entries
            for request in receiver.requests
            if request.number == entry.request
        }
        assert by_connection["parent before"] == by_connection["parent after"]
        assert by_connection["parent before"] != by_connection.get("child")


METHODS = ["fork", "spawn", "forkserver"]


@pytest.mark.parametrize("configured", ["at import", "in the target"])
@pytest.mark.parametrize("method", METHODS)
def test_children_of_multiprocessing_deliver_without_calling_anything(
    programs, receiver, check_account, method, configured
):
    """They leave by os._exit and run no exit hooks; their entries arrive all the same."""
    result = programs.run(
        f"""
        import multiprocessing

        def work(number):
            if {configured == "in the target"}:
                make(flush_interval_seconds=30)
            for _ in range(3):
                log.info("child %d", number)

        if {configured == "at import"}:
            make(flush_interval_seconds=30)
        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            children = [context.Process(target=work, args=(number,)) for number in range(2)]
            for child in children:
                child.start()
            for child in children:
                child.join()
            tell("CODES", [child.exitcode for child in children])
        """,
        url=receiver.generic_url,
        options=(),
    )

    assert (0, "", [0, 0]) == (result.code, result.stderr, result.value("CODES"))
    assert (6, {}) == (receiver.entry_count, receiver.duplicates())
    assert 2 == len({entry["stream"] for entry in receiver.entries})


def test_a_pool_delivers_when_it_is_closed(programs, receiver):
    """Workers of a process pool deliver what they logged once the pool is closed and joined."""
    result = programs.run(
        """
        import multiprocessing

        def work(number):
            log.info("record %d", number)

        make(flush_interval_seconds=30)
        if __name__ == "__main__":
            with_pool = multiprocessing.get_context("fork").Pool(2)
            with_pool.map(work, range(20))
            with_pool.close()
            with_pool.join()
        """,
        url=receiver.generic_url,
        options=(),
    )

    assert (0, "") == (result.code, result.stderr)
    assert (20, {}) == (receiver.entry_count, receiver.duplicates())


def test_a_daemon_that_forks_twice_delivers(programs, receiver, check_account):
    """The grandchild of a double fork logs and delivers like any process; those in between have nothing to send."""
    result = programs.run(
        """
        make(flush_interval_seconds=30)
        log.info("before")
        pid = os.fork()
        if pid == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            log.info("daemon")
            sys.exit(0)
        os.waitpid(pid, 0)
        """,
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    check_account(result.accounts, receiver, delivered=2)
    assert 2 == len({entry["stream"] for entry in receiver.entries})


def test_a_fork_while_the_handler_starts_does_not_hang_the_child(programs, receiver, check_account):
    """A lock that another thread holds at the fork, for its first record, is a new one in the child."""
    result = programs.run(
        CHILD_LEAVES
        + """
handler = make()
handler._start_lock.acquire()
held, forked = threading.Event(), threading.Event()
pid = None
def fork():
    global pid
    pid = in_child(lambda: log.info("child"))
thread = threading.Thread(target=fork)
thread.start()
thread.join()
handler._start_lock.release()
os.waitpid(pid, 0)
""",
        url=receiver.generic_url,
    )

    assert (0, "", True) == (result.code, result.stderr, result.value("FLUSHED"))
    check_account(result.accounts, receiver, delivered=1)


def test_a_record_in_whose_midst_the_process_forks_is_sent_by_both(programs, receiver, check_account):
    """The child's has the child's queue, although the call began in the parent."""
    result = programs.run(
        """
make()
log.info("first")
pid = None

class Forks:
    def __str__(self):
        global pid
        if pid is None:
            pid = os.fork()
        return "in two"

log.info("%s", Forks())
if not pid:
    tell("FLUSHED", flush_all(10))
    tell_accounts()
    os._exit(0)
os.waitpid(pid, 0)
""",
        url=receiver.generic_url,
    )

    assert (0, "", True) == (result.code, result.stderr, result.value("FLUSHED"))
    check_account(result.accounts, receiver, delivered=3)
    assert ["first", "in two", "in two"] == sorted(entry["message"] for entry in receiver.entries)


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("fault", ["none", "refused", "tls"])
def test_nothing_is_imported_once_a_handler_is_made(programs, receiver, refused_url, fault, compression):
    """A module that another thread is importing at a fork can never be imported in the child."""
    tls = fault == "tls" and pytest.importorskip("trustme") and LocalReceiver(tls=True).start()
    url = {"none": receiver.generic_url, "refused": refused_url, "tls": tls and tls.generic_url}[fault]
    result = programs.run(
        """
        for kind in (ApiKeyHandler, DatadogHandler, SplunkHandler):
            make(kind=kind, api_header_name="X-Key", api_key="secret", shutdown_timeout_seconds=0.2,
                 ca_file=os.environ["CA_FILE"] or None, compression=os.environ["COMPRESSION"],
                 spool_dir="spool" if kind is ApiKeyHandler else None)
        class Watcher:
            def find_spec(self, name, path=None, target=None):
                tell("IMPORTED", [threading.current_thread().name, name])
        sys.meta_path.insert(0, Watcher())
        log.info("record")
        try:
            raise ValueError("told")
        except ValueError:
            log.exception("record")
        tell("FLUSHED", flush_all(0.5))
        sys.meta_path.pop(0)  # At exit the interpreter itself imports.
        """,
        url=url.replace("127.0.0.1", "localhost"),
        CA_FILE=tls.ca_file if tls else "",
        COMPRESSION=compression,
    )
    if tls:
        tls.stop()

    assert 0 == result.code
    assert [] == result.values("IMPORTED")
    assert 3 == len(result.accounts)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_child_of_a_child_has_its_own_stream(programs, receiver, check_account):
    """Each generation drops what it inherited, entries of the middle one too."""
    result = programs.run(
        CHILD_LEAVES
        + """
make(flush_interval_seconds=30)
log.info("parent")
def middle():
    log.info("child")
    os.waitpid(in_child(lambda: log.info("grandchild")), 0)
os.waitpid(in_child(middle), 0)
""",
        url=receiver.generic_url,
    )

    assert (0, "") == (result.code, result.stderr)
    assert 3 == len({account["stream"] for account in result.accounts})
    check_account(result.accounts, receiver, delivered=3)
