"""Cases 9 to 12: several processes, by fork and otherwise, with one handler or on one spool."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

HOLDS_EVERY_LOCK = """
LOCKS = (type(threading.Lock()), type(threading.RLock()))

def locks_of(thing, seen):
    "Every lock that can be reached from a handler through objects of this package."
    if id(thing) in seen:
        return
    seen[id(thing)] = thing
    if isinstance(thing, LOCKS):
        yield thing
    elif isinstance(thing, (list, tuple, set, dict)):
        for each in list(thing.values() if isinstance(thing, dict) else thing):
            yield from locks_of(each, seen)
    elif isinstance(thing, logging.Handler) or type(thing).__module__.startswith("defender_logging"):
        names = [*getattr(thing, "__dict__", ()), *getattr(type(thing), "__slots__", ())]
        for each in [getattr(thing, name, None) for name in names]:
            yield from locks_of(each, seen)

def with_every_lock_held(handler, task):
    "Do the task while another thread holds all locks that can be had, as a busy sender and callers might."
    held, done = threading.Event(), threading.Event()

    def hold_all():
        mine = [lock for lock in locks_of(handler, {}) if lock.acquire(timeout=0.2)]
        tell("HELD", len(mine))
        held.set()
        done.wait(15)
        for lock in mine:
            lock.release()

    holder = threading.Thread(target=hold_all)
    holder.start()
    held.wait(15)
    try:
        return task()
    finally:
        done.set()
        holder.join()
"""


@pytest.mark.parametrize("held", [False, True], ids=["locks free", "locks held"])
def test_case_09_a_fork_with_a_running_worker(oracle, tickets, receiver, held):
    """The child has its own stream and locks, sends nothing of its parent's, and the parent goes on undisturbed."""
    receiver.refuse()
    program = tickets.start(
        HOLDS_EVERY_LOCK
        + f"""
handler = make()
log_tickets("before", 20)

def child():
    log_tickets("child", 10)
    tell("SPOKE", True)
    tell("FLUSHED", flush_all(15))

pid = with_every_lock_held(handler, lambda: in_child(child)) if {held} else in_child(child)
log_tickets("after", 5)
tell("CODE", os.waitpid(pid, 0)[1])
"""
    )
    program.wait_for("SPOKE")
    receiver.listen()
    result = program.finish()

    assert (0, "", 0) == (result.code, result.stderr, result.value("CODE"))
    assert True is result.value("FLUSHED")
    assert not held or result.value("HELD") > 3
    assert 35 == len(tickets.note())
    assert 2 == len({account["stream"] for account in result.accounts})
    oracle.assert_conserved(receiver, *result.accounts, fired=len(result.accounts) == 2)


def test_case_10_a_fork_while_the_spool_is_locked(oracle, tickets, receiver):
    """Child and parent write streams of their own at once, with no lock, file or position in common."""
    receiver.refuse()
    program = tickets.start(
        HOLDS_EVERY_LOCK
        + """
handler = make(spool_dir="spool", max_queue_bytes=4000)
log_tickets("before", 20)
pid = with_every_lock_held(handler, lambda: in_child(lambda: log_tickets("child", 50)))
log_tickets("after", 50)
tell("CODE", os.waitpid(pid, 0)[1])
tell("STREAMS", len(streams()))
wait_for_test()
lifecycle._housekeeper._next_search = 0
tell("ALONE", wait_until(lambda: len(streams()) == 1))
tell("FLUSHED", handler.flush(10))
"""
    )
    assert 2 == program.wait_for("STREAMS")
    receiver.listen()
    program.go_on()
    result = program.finish()

    assert (0, "", 0) == (result.code, result.stderr, result.value("CODE"))
    assert (True, True) == (result.value("ALONE"), result.value("FLUSHED"))
    assert 120 == len(tickets.note())
    # The child's entries were pending in its account, and are accepted once more by the adopter.
    child, parent = result.accounts
    assert (50, 50, 120) == (child["accepted"], child["pending"], parent["delivered"])
    oracle.assert_conserved(receiver, parent, fired=result.value("HELD") > 5)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_case_11_children_of_multiprocessing_with_one_configuration(oracle, tickets, receiver, method):
    """Each has a stream of its own in the common directory; what it could not send at its end, the parent adopts."""
    receiver.refuse()
    program = tickets.start(
        f"""
        import multiprocessing

        def work(number):
            HANDLERS or make(spool_dir="spool", shutdown_timeout_seconds=0.1)
            log_tickets("child", 10)

        if __name__ == "__main__":
            handler = make(spool_dir="spool", shutdown_timeout_seconds=0.1)
            log_tickets("parent", 1)
            context = multiprocessing.get_context("{method}")
            children = [context.Process(target=work, args=[n]) for n in range(3)]
            for child in children:
                child.start()
            for child in children:
                child.join()
            tell("CODES", [child.exitcode for child in children])
            tell("STREAMS", len(streams()))
            wait_for_test()
            lifecycle._housekeeper._next_search = 0
            tell("DELIVERED", wait_until(lambda: handler.stats().delivered == 31))
            tell("PARENT", os.getpid())
        """,
        options=(),
    )
    assert [0, 0, 0] == program.wait_for("CODES")
    assert 4 == program.wait_for("STREAMS")
    receiver.listen()
    program.go_on()
    result = program.finish()
    (parent,) = [account for account in result.accounts if account["pid"] == result.value("PARENT")]

    assert (0, "", True) == (result.code, result.stderr, result.value("DELIVERED"))
    assert 31 == len(tickets.note())
    oracle.assert_conserved(receiver, parent, fired=parent["accepted"] == 31)


def test_case_12_two_processes_start_at_once_on_ten_orphans(oracle, tickets, receiver):
    """Ten streams of dead processes, two processes that look at the same moment: every stream goes to one of them."""
    receiver.refuse()
    dead = tickets.run(
        """
        handler = make(spool_dir="spool")
        for _ in range(10):
            os.waitpid(in_child(lambda: log_tickets("orphan", 20)), 0)
        tell("STREAMS", len(streams()))
        """
    )
    assert (0, "", 10) == (dead.code, dead.stderr, dead.value("STREAMS"))
    receiver.listen()
    living = [
        tickets.start(
            """
            wait_for_test()
            handler = make(spool_dir="spool")
            log_tickets("living", 1)
            tell("ADOPTED", wait_until(lambda: lifecycle._housekeeper._next_search > 0))
            tell("DRAINED", wait_until(lambda: handler.stats().pending == 0) and handler.flush(10))
            wait_for_test()
            """
        )
        for _ in range(2)
    ]
    for program in living:
        program.go_on()
    for program in living:
        assert True is program.wait_for("DRAINED")
    for program in living:
        program.go_on()
    results = [program.finish() for program in living]
    accounts = [account for result in results for account in result.accounts]

    assert [(0, "")] * 2 == [(result.code, result.stderr) for result in results]
    assert 202 == len(tickets.note()) == sum(account["accepted"] for account in accounts)
    oracle.assert_conserved(receiver, *accounts, fired=10)
