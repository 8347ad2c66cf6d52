"""The one place that touches process hooks: exit, fork, the children of ``multiprocessing`` and of Celery.

It knows every pipeline of this process that may still hold entries, and every handler. A handler registers
its pipeline at its first record; ``close()`` leaves the pipeline here, where it goes on sending until exit;
a new handler of the same identity takes it over.

Guaranteed
- Exit costs at most the largest ``shutdown_timeout_seconds`` of all handlers, once, whatever the receivers
  do; what is not delivered by then is told on stderr, one line a handler.
- Senders end with that budget. A spool's streams stay this process's until it is gone, so that nobody else sends
  what a request under way may still deliver; what is logged by later hooks is spooled and synced at once.
- After a fork the child has no entry, thread, lock or connection of the parent, and starts its own.
- Outside exit nothing here waits: ``dictConfig`` closes handlers while it holds the logging module's lock.

Not guaranteed: from Python 3.12 on no thread starts once the main thread has ended, so a handler whose very
first record comes from an exit hook sends in that thread, and a name that does not resolve delays it. Calling
``start()`` early avoids that.

Tried and dropped: ``threading._register_atexit`` (private, and it runs before other threads have ended);
``weakref.finalize`` for exit (no order, no shared deadline); letting streams go at exit (whoever started next
sent what this process had under way).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import weakref
from collections.abc import Iterable
from typing import Protocol

from defender_logging._pipeline.housekeeper import Housekeeper
from defender_logging._pipeline.pipeline import Pipeline
from defender_logging._pipeline.spool import abandon_locks
from defender_logging.clock import SYSTEM_CLOCK

__all__ = [
    "add_handler",
    "add_pipeline",
    "exit_seconds_left",
    "flush",
    "flush_all",
    "forget",
    "is_exiting",
    "take_over_closed",
]


class _ForkAware(Protocol):
    def start_anew_after_fork(self) -> None:
        """Forget the parent's pipeline; runs in the child, before anything else does."""
        ...


_pipelines: set[Pipeline] = set()
_handlers: weakref.WeakSet[_ForkAware] = weakref.WeakSet()
_housekeeper = Housekeeper()
_hooks_are_set = False
_hooked_celery_signal: object = None
_exit_deadline: float | None = None
_exit_began = 0.0
_told_at_exit: dict[Pipeline, int] = {}


def add_handler(handler: _ForkAware) -> None:
    """Remember a handler, for forks; sets the process hooks at the first one. Holds it weakly."""
    global _hooks_are_set  # noqa: PLW0603 - process hooks are global by nature, and live here only
    _handlers.add(handler)
    if not _hooks_are_set:
        _hooks_are_set = True
        atexit.register(_at_exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork_in_child)
        _hook_multiprocessing()
    _hook_celery()


def add_pipeline(pipeline: Pipeline) -> None:
    """Remember a pipeline until it is closed and empty."""
    global _exit_deadline  # noqa: PLW0603 - see add_handler
    if pipeline in _pipelines:
        return
    _forget_finished()
    _pipelines.add(pipeline)
    pipeline.when_late = add_pipeline
    if pipeline.has_spool:
        _housekeeper.watch(pipeline)
    if _exit_deadline is not None:  # The first record of a handler, in an exit hook that runs after ours.
        _exit_deadline = max(_exit_deadline, _exit_began + pipeline.shutdown_timeout_seconds)
        pipeline.rest()


def take_over_closed(pipeline: Pipeline) -> None:
    """Let ``pipeline`` serve what closed ones of its identity still hold."""
    for other in _snapshot():
        if other is not pipeline and other.identity == pipeline.identity and other.buffer.is_closed:
            pipeline.take_over(other)


def is_exiting() -> bool:
    """Tell whether the interpreter is on its way out."""
    return _exit_deadline is not None


def exit_seconds_left() -> float:
    """Seconds of the exit's budget that are left; 0 when not exiting."""
    return 0.0 if _exit_deadline is None else max(0.0, _exit_deadline - SYSTEM_CLOCK.monotonic())


def flush_all(timeout_seconds: float) -> bool:
    """Send what all handlers of this process hold, within one total deadline.

    Args:
        timeout_seconds: the longest wait, over all handlers together.

    Returns:
        True if all that was accepted before the call is settled.

    Threads: any but a handler's own; blocks.
    """
    return flush(_snapshot(), timeout_seconds)


def flush(pipelines: Iterable[Pipeline], timeout_seconds: float) -> bool:
    """Hurry some pipelines and wait for them within one total deadline; True if all is settled."""
    deadline = SYSTEM_CLOCK.monotonic() + timeout_seconds
    chosen = list(pipelines)
    for pipeline in chosen:
        if _exit_deadline is not None:  # So that no request is under way in the last instant of the process.
            pipeline.sender.finish_by(max(_exit_deadline, deadline))
        pipeline.sender.hurry()
    done = True
    for pipeline in chosen:
        if pipeline.buffer.pending and not pipeline.serve_again():
            # No thread can be started any more, so the loop runs in this one.
            pipeline.sender.run_until(deadline)
        done = pipeline.buffer.wait_settled(deadline) and done
        if not is_exiting():
            pipeline.reports.emit()
    return done


def finish(pipeline: Pipeline) -> None:
    """Give a pipeline that was closed at exit what is left of the budget, and tell what is still not delivered."""
    if pipeline in _told_at_exit and pipeline.buffer.is_chained:
        _told_at_exit[pipeline] += 1  # ``stopped``, which closing wrote: no reason to tell it all again.
    flush([pipeline], exit_seconds_left())
    pipeline.rest()
    _tell_undelivered(pipeline)


def forget(pipeline: Pipeline) -> None:
    """Give up what a pipeline holds: its thread ends after its request, and exit neither waits nor tells."""
    pipeline.close()
    pipeline.sender.leave()
    _let_go(pipeline)


def _let_go(pipeline: Pipeline) -> None:
    _pipelines.discard(pipeline)
    _housekeeper.forget(pipeline)
    pipeline.let_go()


def _snapshot() -> list[Pipeline]:
    return list(_pipelines)


def _forget_finished() -> None:
    for pipeline in _snapshot():
        if pipeline.is_finished:
            _let_go(pipeline)


def _at_exit() -> None:
    """Deliver what can be delivered within the budget, and account for the rest."""
    global _exit_deadline, _exit_began  # noqa: PLW0603 - see add_handler
    pipelines = _snapshot()
    if _exit_deadline is None:
        _exit_began = SYSTEM_CLOCK.monotonic()
        _exit_deadline = _exit_began + max((p.shutdown_timeout_seconds for p in pipelines), default=0.0)
    for pipeline in pipelines:
        pipeline.reports.emit()
    _housekeeper.end_search(_exit_deadline)
    flush(pipelines, exit_seconds_left())
    for pipeline in pipelines:
        pipeline.rest()  # First: it may bring to the disk what was in memory only.
        _tell_undelivered(pipeline)


def _at_end_of_child() -> None:
    """End streams first: in a child nothing is logged after this, and ``logging.shutdown`` closes no handler."""
    for pipeline in _snapshot():
        pipeline.buffer.end()
    _at_exit()


def _tell_undelivered(pipeline: Pipeline) -> None:
    stats = pipeline.stats(filtered=0)
    lost = pipeline.pending_in_memory_only  # What is in a spool is not lost: the next start sends it.
    if lost <= _told_at_exit.get(pipeline, 0):
        return
    _told_at_exit[pipeline] = lost
    why = stats.last_error or "the receiver did not answer in time"
    dropped = f", {stats.dropped} were dropped before" if stats.dropped else ""
    with contextlib.suppress(Exception):  # stderr may be closed, or None.
        sys.stderr.write(
            f"defender_logging: {pipeline.label}: {lost} of {stats.accepted} entries not delivered "
            f"at exit{dropped}: {why}\n"
        )
        sys.stderr.flush()


def _after_fork_in_child() -> None:
    """Start with empty hands: entries, threads and connections are the parent's."""
    global _exit_deadline, _housekeeper  # noqa: PLW0603 - see add_handler
    abandon_locks()  # First: a lock that this child still holds outlives its owner.
    _housekeeper = Housekeeper()
    for pipeline in _snapshot():
        with contextlib.suppress(OSError):  # Nothing may keep the child from the steps below.
            pipeline.abandon()
    _pipelines.clear()
    _told_at_exit.clear()
    _exit_deadline = None
    for handler in list(_handlers):
        handler.start_anew_after_fork()
    _hook_celery()


_FINALIZER_PRIORITY = -10
"""Below the usual ones (0 and up), so that what other finalizers log is sent as well."""


def _hook_multiprocessing() -> None:
    """See to the children of ``multiprocessing``: they leave by ``os._exit``, and run finalizers, not atexit hooks.

    Registered through ``register_after_fork``, because finalizers registered in an ``os`` fork hook are
    cleared again when the child starts.
    """
    from multiprocessing import (
        process,
        util,
    )  # Here, because only processes with a handler should pay for it.

    def prepare(_: object = None) -> None:
        util.Finalize(None, _at_end_of_child, exitpriority=_FINALIZER_PRIORITY)

    util.register_after_fork(_hook_multiprocessing, prepare)
    if process.parent_process() is not None:
        prepare()


def _hook_celery() -> None:
    """See to Celery's worker processes: they leave by ``os._exit``, with no hook but Celery's own signal.

    Looked for at each handler and after each fork, and never imported: who uses Celery has imported it by then.
    Plain processes of ``billiard`` run the finalizers of ``multiprocessing``, and need nothing.
    """
    global _hooked_celery_signal  # noqa: PLW0603 - see add_handler
    signal = getattr(sys.modules.get("celery.signals"), "worker_process_shutdown", None)
    # Once: connecting takes a lock, which in a forked child might be held by a thread that it does not have.
    if signal is not None and signal is not _hooked_celery_signal:
        _hooked_celery_signal = signal
        signal.connect(_at_celery_worker_exit, weak=False)


def _at_celery_worker_exit(**_: object) -> None:
    _at_end_of_child()
