"""The adapter, bound fields, audit(), and the context of threads and tasks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import threading
from contextlib import ExitStack

import pytest

from defender_logging import Category, DefenderAdapter, Vocabulary, audit_context, get_logger

KEYWORDS = {
    "component": "relay", "category": "paused", "subject": "alice", "object": "relayer-7", "outcome": "success",
    "src_ip": "192.0.2.1", "user": "alice", "reason": "asked", "tenant": "t-1",
}  # fmt: skip
AUDITED = [
    ("added", "info", "success"), ("archived", "info", "success"), ("created", "info", "success"),
    ("deleted", "warn", "success"),
    ("exceeded", "warn", None), ("executed", "info", None), ("invited", "info", "success"), ("invoked", "info", None),
    ("notification", "info", None), ("paused", "info", "success"), ("proposed", "info", "success"),
    ("replaced", "info", "success"),
    ("sent", "info", None), ("set", "info", "success"), ("triggered", "info", None), ("updated", "info", "success"),
    ("invalid sign in", "warn", "failure"), ("signed in", "info", "success"), ("signed out", "info", "success"),
]  # fmt: skip


@pytest.mark.parametrize("method", ["debug", "info", "warning", "error", "critical", "trace"])
def test_every_method_takes_the_named_keywords(connect, method):
    """As keywords of `.info(...)` and friends."""
    wire = connect()
    getattr(DefenderAdapter(wire.logger), method)("hi %s", "you", **KEYWORDS)
    assert wire.flush()
    (entry,) = wire.server.entries

    assert "hi you" == entry["message"]
    assert KEYWORDS == {name: entry[name] for name in KEYWORDS}


def test_log_and_exception_take_them_too(connect, server):
    """The other ways to log."""
    wire = connect()
    adapter = DefenderAdapter(wire.logger)
    adapter.log(25, "a", subject="alice")
    try:
        raise ValueError("boom")
    except ValueError:
        adapter.exception("b", object="relayer-7")
    assert wire.flush()

    assert ["alice", None] == [entry.get("subject") for entry in server.entries]
    assert "relayer-7" == server.entries[1]["object"]
    assert "boom" == server.entries[1]["error_message"]


def test_trace_is_level_5(connect):
    """`.trace()`"""
    wire = connect()
    DefenderAdapter(wire.logger).trace("deep")
    assert wire.flush()

    assert "trace" == wire.server.entries[0]["level"]


def test_who_wins(connect):
    """Bound fields, then the caller's extra, then the call's keyword."""
    wire = connect()
    adapter = DefenderAdapter(wire.logger, component="relay", subject="bound", shard=1)
    adapter.info("a", extra={"subject": "extra", "mine": 2})
    adapter.info("b", subject="keyword")
    adapter.info("c")
    assert wire.flush()
    one, two, three = wire.server.entries

    assert ("relay", "extra", 1, 2) == (one["component"], one["subject"], one["shard"], one["mine"])
    assert "keyword" == two["subject"]
    assert "bound" == three["subject"]


def test_bind_gives_another_adapter(connect):
    """The first one is not changed; the later value wins; `extra=` is merged as well."""
    wire = connect()
    one = DefenderAdapter(wire.logger, subject="alice")
    two = one.bind(subject="bob", shard=7)
    three = two.bind(extra={"release": "1.2"})
    for adapter in (one, two, three):
        adapter.info("x")
    assert wire.flush()
    entries = wire.server.entries

    assert isinstance(two, DefenderAdapter)
    assert ["alice", "bob", "bob"] == [entry["subject"] for entry in entries]
    assert [None, 7, 7] == [entry.get("shard") for entry in entries]
    assert "1.2" == entries[2]["release"]


def test_the_callers_extra_is_not_changed(connect):
    """The mapping belongs to the caller."""
    wire = connect()
    extra = {"mine": 1}
    DefenderAdapter(wire.logger, shard=1).info("x", extra=extra, subject="alice")

    assert {"mine": 1} == extra


@pytest.mark.parametrize(("category", "level", "outcome"), AUDITED)
def test_audit_uses_the_defaults_of_the_category(connect, category, level, outcome):
    """Level and outcome of the table."""
    wire = connect()
    DefenderAdapter(wire.logger, component="account").audit(category.replace(" ", "_"), subject="alice")
    assert wire.flush()
    (entry,) = wire.server.entries

    assert (category, level, outcome) == (entry["category"], entry["level"], entry.get("outcome"))
    assert ("account", "alice") == (entry["component"], entry["subject"])


def test_audit_takes_any_field(connect):
    """In `.audit(...)` every keyword is a field; the outcome can be overridden; `extra=` is merged."""
    wire = connect()
    DefenderAdapter(wire.logger).audit(
        Category("deleted"),
        "gone",
        object={"type": "relayer", "id": "r-7"},
        outcome="failure",
        colour="red",
        extra={"shard": 7},
    )
    assert wire.flush()
    (entry,) = wire.server.entries

    assert ("gone", "deleted", "failure", "red", 7) == tuple(
        entry[name] for name in ("message", "category", "outcome", "colour", "shard")
    )
    assert ("r-7", "relayer", "r-7") == (entry["object"], entry["object_type"], entry["object_id"])


def test_audit_with_a_percent_sign_in_the_message(connect):
    """The message has no arguments."""
    wire = connect()
    DefenderAdapter(wire.logger).audit("paused", "100% of %s")
    assert wire.flush()

    assert "100% of %s" == wire.server.entries[0]["message"]


def test_audit_with_an_unknown_category_never_raises(connect):
    """The record goes out as given, with its error."""
    wire = connect()
    DefenderAdapter(wire.logger).audit("pausd", "x")
    assert wire.flush()
    (entry,) = wire.server.entries

    assert "pausd" == entry["category"]
    assert "pausd" in str(entry["vocabulary_errors"])


def test_the_caller_is_the_line_of_the_audit_call(connect):
    """findCaller skips our frames in a formatter's %(funcName)s."""
    wire = connect()
    wire.handler.setFormatter(logging.Formatter("%(funcName)s %(message)s"))
    DefenderAdapter(wire.logger).audit("paused", "a")
    DefenderAdapter(wire.logger).trace("b")
    DefenderAdapter(wire.logger).info("c")
    assert wire.flush()

    name = "test_the_caller_is_the_line_of_the_audit_call"
    assert [f"{name} {letter}" for letter in "abc"] == [entry["message"] for entry in wire.server.entries]


@pytest.mark.parametrize(
    "wrong",
    [{"component": "relayy"}, {"category": "pausd"}, {"outcome": "maybe"}],
    ids=["component", "category", "outcome"],
)
def test_strict_raises_for_wrong_words(connect, wrong):
    """`DefenderAdapter(strict=True)` is for tests."""
    adapter = DefenderAdapter(connect().logger, strict=True)
    with pytest.raises(ValueError, match=next(iter(wrong.values()))):
        adapter.info("x", **wrong)
    with pytest.raises(ValueError):
        adapter.info("x", extra=wrong)
    adapter.info("x", **KEYWORDS)


def test_strict_audit_and_bind(connect):
    """Everywhere."""
    adapter = DefenderAdapter(connect().logger, strict=True)
    with pytest.raises(ValueError):
        adapter.audit("pausd")
    with pytest.raises(ValueError):
        adapter.bind(component="relayy").info("x")


def test_wrong_words_do_not_raise_without_strict(connect):
    """They are counted as accepted and told in the entry."""
    wire = connect()
    DefenderAdapter(wire.logger).info("x", component="relayy")
    assert wire.flush()

    assert "relayy" in str(wire.server.entries[0]["vocabulary_errors"])


def test_get_logger_binds(connect):
    """`get_logger(name, **fields)`"""
    wire = connect()
    get_logger(wire.logger.name, component="relay").info("x")
    assert wire.flush()

    assert "relay" == wire.server.entries[0]["component"]


def test_colliding_names_in_extra_do_not_raise_key_error(connect):
    """What stdlib logging refuses in `extra` (message, name, args) cannot raise through the adapter's fields either."""
    wire = connect()
    adapter = DefenderAdapter(wire.logger)
    adapter.audit("paused", "x", name="mine", args=[1], created="now", extra={"module": "m"})
    assert wire.flush()
    (entry,) = wire.server.entries

    assert "mine" in entry.values()
    assert "m" in entry.values()


def test_audit_context_adds_fields(connect):
    """Every record made inside carries them; the call wins; nested ones add up."""
    wire = connect()
    with audit_context(subject="alice", tenant="t-1", shard=7):
        wire.logger.info("one")
        wire.logger.info("two", extra={"subject": "bob"})
        with audit_context(tenant="t-2", depth=2):
            wire.logger.info("three")
        wire.logger.info("four")
    wire.logger.info("five")
    assert wire.flush()
    entries = wire.server.entries

    assert ["alice", "bob", "alice", "alice", None] == [entry.get("subject") for entry in entries]
    assert ["t-1", "t-1", "t-2", "t-1", None] == [entry.get("tenant") for entry in entries]
    assert [None, None, 2, None, None] == [entry.get("depth") for entry in entries]
    assert [7, 7, 7, 7, None] == [entry.get("shard") for entry in entries]


def test_audit_context_ends_with_an_exception(connect):
    """The fields are gone afterwards."""
    wire = connect()
    with pytest.raises(RuntimeError), audit_context(subject="alice"):
        raise RuntimeError
    assert "subject" not in wire.entry("x")


def test_audit_context_and_the_adapter(connect):
    """What is bound to a logger is nearer to the call than the context."""
    wire = connect()
    with audit_context(subject="context", tenant="t-1"):
        DefenderAdapter(wire.logger, subject="bound").info("x")
    assert wire.flush()

    assert ("bound", "t-1") == (wire.server.entries[0]["subject"], wire.server.entries[0]["tenant"])


def test_threads_do_not_see_each_others_context(connect):
    """This thread only."""
    wire = connect()
    barrier = threading.Barrier(4, timeout=5)

    def work(number):
        with audit_context(subject=f"user-{number}"):
            barrier.wait()
            wire.logger.info(f"from {number}")
            barrier.wait()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert wire.flush()

    assert {f"from {n}": f"user-{n}" for n in range(4)} == {
        entry["message"]: entry["subject"] for entry in wire.server.entries
    }


def test_tasks_do_not_see_each_others_context(connect):
    """This task only; a child task inherits."""
    wire = connect()

    async def child():
        wire.logger.info("child")

    async def work(number, ready):
        with audit_context(subject=f"user-{number}"):
            await ready.wait()
            wire.logger.info("from %d", number)
            if number == 0:
                await asyncio.create_task(child())

    async def main():
        ready = asyncio.Event()
        tasks = [asyncio.create_task(work(number, ready)) for number in range(3)]
        await asyncio.sleep(0)
        ready.set()
        await asyncio.gather(*tasks)
        wire.logger.info("main")

    asyncio.run(main())
    assert wire.flush()
    seen = {entry["message"]: entry.get("subject") for entry in wire.server.entries}

    assert {
        "from 0": "user-0",
        "from 1": "user-1",
        "from 2": "user-2",
        "child": "user-0",
        "main": None,
    } == seen


def test_a_copied_context_carries_the_fields(connect):
    """contextvars decide, nothing else."""
    wire = connect()
    with audit_context(subject="alice"):
        copied = contextvars.copy_context()
    copied.run(wire.logger.info, "x")
    assert wire.flush()

    assert "alice" == wire.server.entries[0]["subject"]


def test_a_mapping_as_subject_in_the_context(connect):
    """The same rules hold for every way in."""
    wire = connect()
    with ExitStack() as stack:
        stack.enter_context(
            audit_context(
                subject={"type": "user", "id": "u-1", "name": "alice"}, component="Relayers", password="p"
            )
        )
        entry = wire.entry("x")

    assert ("alice", "user", "u-1") == (entry["subject"], entry["subject_type"], entry["subject_id"])
    assert "relay" == entry["component"]
    assert "[redacted]" == entry["password"]


def test_is_enabled_for_and_set_level_still_work(connect):
    """It is a logging.LoggerAdapter."""
    wire = connect()
    adapter = DefenderAdapter(wire.logger)
    adapter.setLevel(logging.ERROR)
    adapter.info("no")
    adapter.audit("paused", "no")
    adapter.trace("no")
    assert not adapter.isEnabledFor(logging.INFO)
    adapter.error("yes")
    assert wire.flush()

    assert ["yes"] == [entry["message"] for entry in wire.server.entries]


def test_own_category_defaults_from_a_vocabulary(connect):
    """A handler with an extended vocabulary knows the word; the page's categories keep their defaults."""
    vocabulary = Vocabulary.default().extend(categories={"refunded": {"level": "warn", "outcome": "success"}})
    wire = connect(vocabulary=vocabulary)
    DefenderAdapter(wire.logger).audit("deleted", "x")
    wire.logger.info("y", extra={"category": "refunded"})
    assert wire.flush()

    assert "warn" == wire.server.entries[0]["level"]
    assert "vocabulary_errors" not in wire.server.entries[1]
