"""Context: fields of a block are carried inside it, nowhere else, and never longer than it."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import logging
import logging.handlers
import queue
import threading

import pytest

from defender_logging.context import ContextFilter, audit_context, current_fields


class TestAuditContext:
    def test_carries_the_fields_inside_only(self):
        """Fields are there inside of the block, and not before or after."""
        before = dict(current_fields())
        with audit_context(user="alice", tenant="acme") as entered:
            inside = dict(current_fields())
        assert ({}, {"user": "alice", "tenant": "acme"}, {}) == (before, inside, dict(current_fields()))
        assert entered is None

    def test_nests_and_the_inner_wins(self):
        """An inner block adds to the outer one, hides what it sets itself, and gives it back."""
        with audit_context(user="alice", tenant="acme"):
            with audit_context(user="bob", reason="x"):
                assert {"user": "bob", "tenant": "acme", "reason": "x"} == dict(current_fields())
                with audit_context(user="carol"):
                    pass
                assert {"user": "bob", "tenant": "acme", "reason": "x"} == dict(current_fields())
            assert {"user": "alice", "tenant": "acme"} == dict(current_fields())

    def test_takes_none_for_not_given(self):
        """None hides no field of an outer block."""
        with audit_context(user="alice"), audit_context(user=None):
            assert {"user": "alice"} == dict(current_fields())

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_leaks_nothing_after_an_exception(self, error):
        """An exception passes through and takes the fields along."""
        with pytest.raises(error), audit_context(user="alice"):
            raise error
        assert {} == dict(current_fields())

    def test_is_per_thread(self):
        """Another thread sees nothing of the block."""
        seen = []
        with audit_context(user="alice"):
            thread = threading.Thread(target=lambda: seen.append(dict(current_fields())))
            thread.start()
            thread.join(10)
        assert [{}] == seen

    def test_is_per_task_and_inherited(self):
        """Tasks inherit what was set when they were made, and do not see each other's."""

        async def work(user, here, there):
            with audit_context(user=user):
                here.set()
                await there.wait()
                return dict(current_fields())

        async def main():
            first, second = asyncio.Event(), asyncio.Event()
            with audit_context(tenant="acme"):
                return await asyncio.gather(work("alice", first, second), work("bob", second, first))

        expected = [{"tenant": "acme", "user": "alice"}, {"tenant": "acme", "user": "bob"}]
        assert expected == asyncio.run(asyncio.wait_for(main(), 10))

    def test_leaks_nothing_when_generators_end_out_of_order(self):
        """Blocks in generators may overlap: each takes away its own fields, in any order."""

        def holding(**fields):
            with audit_context(**fields):
                yield

        blocks = [holding(user="alice"), holding(tenant="acme"), holding(user="bob")]
        for block in blocks:
            next(block)
        blocks[1].close()
        assert {"user": "bob"} == dict(current_fields())
        blocks[0].close()
        assert {"user": "bob"} == dict(current_fields())
        blocks[2].close()
        assert {} == dict(current_fields())

    def test_may_be_left_in_another_context(self):
        """A block that is closed in another copy of the context neither raises nor leaks."""
        block = audit_context(user="alice")
        contextvars.Context().run(block.__enter__)
        block.__exit__(None, None, None)
        assert {} == dict(current_fields())
        with audit_context(tenant="acme"):
            block.__exit__(None, None, None)
            assert {"tenant": "acme"} == dict(current_fields())

    def test_may_be_entered_again(self):
        """One block can be used more than once, inside of itself too."""
        block = audit_context(user="alice")
        for _ in range(2):
            with block:
                with audit_context(user="bob"):
                    with block:
                        assert {"user": "alice"} == dict(current_fields())
                    assert {"user": "bob"} == dict(current_fields())
                assert {"user": "alice"} == dict(current_fields())
            assert {} == dict(current_fields())

    def test_shows_names_and_no_values(self):
        """The repr helps without telling a secret."""
        assert "<audit_context of user, token>" == repr(audit_context(user="alice", token="hunter2"))
        assert "<audit_context of no fields>" == repr(audit_context())


class TestCurrentFields:
    def test_cannot_be_written(self):
        """The mapping is read-only, inside and outside of blocks."""
        with pytest.raises(TypeError):
            current_fields()["user"] = "mallory"
        with audit_context(user="alice"), pytest.raises(TypeError):
            current_fields()["user"] = "mallory"

    def test_is_one_empty_object_outside(self):
        """Asking costs nothing when there is no context, after blocks too."""
        before = current_fields()
        with audit_context(user="alice"):
            pass
        assert before is current_fields()


class TestContextFilter:
    def test_writes_the_fields_onto_the_record(self):
        """Fields of the context become attributes; what the record has stays, None too."""
        record = logging.makeLogRecord({"user": "carol", "reason": None})
        with audit_context(user="alice", reason="x", tenant="acme"):
            assert ContextFilter().filter(record) is True
        assert ("carol", None, "acme") == (record.user, record.reason, record.tenant)

    def test_renames_what_belongs_to_the_record(self):
        """A field named like an attribute of the record is kept beside it, once."""
        record = logging.makeLogRecord({"name": "app", "msg": "hello"})
        before = copy.copy(record)
        with audit_context(name="x", msg="y", message="z", asctime="a", taskName="t"):
            ContextFilter().filter(record)
            ContextFilter().filter(record)
        added = {key: value for key, value in vars(record).items() if key not in vars(before)}
        assert {
            "extra_name": "x",
            "extra_msg": "y",
            "extra_message": "z",
            "extra_asctime": "a",
            "extra_taskName": "t",
        } == added
        assert ("app", "hello") == (record.name, record.msg)

    def test_brings_the_context_over_a_queue(self):
        """On a QueueHandler it saves the context for the listener's thread."""
        arrived = []

        class Target(logging.Handler):
            def emit(self, record):
                arrived.append((threading.current_thread() is threading.main_thread(), record.user))

        records = queue.Queue()
        handler = logging.handlers.QueueHandler(records)
        handler.addFilter(ContextFilter())
        listener = logging.handlers.QueueListener(records, Target())
        logger = logging.Logger("app", logging.INFO)
        logger.addHandler(handler)
        listener.start()
        with audit_context(user="alice"):
            logger.info("hello")
        listener.stop()
        assert [(False, "alice")] == arrived
