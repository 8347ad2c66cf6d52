"""The one place where the command line looks inside a handler: its settings, its connection, its entries."""

from __future__ import annotations

from dataclasses import replace

from defender_logging import lifecycle
from defender_logging._pipeline.pipeline import Pipeline, SpoolPlan
from defender_logging.handlers import ForwardingHandler
from defender_logging.settings import Settings

# ruff: noqa: SLF001 - because what stands here is nobody else's business, and so no public method of a handler.


def settings_of(handler: ForwardingHandler) -> Settings:
    """Return the settings, read and checked."""
    return handler._settings


def connect(handler: ForwardingHandler) -> str | None:
    """Open the handler's connection, TLS and all, and close it again; nothing is sent.

    Returns:
        The TLS version, None for a plain connection.

    Raises:
        TransportError: it cannot be opened; says why.
    """
    version: str | None = handler._make_transport().probe()  # type: ignore[attr-defined] # HttpTransport has it
    return version


def id_of_first_entry(handler: ForwardingHandler) -> str | None:
    """Return the ``id`` of the first entry that a handler took, None if it has taken none."""
    pipeline = handler._pipeline
    if pipeline is None:
        return None
    return f"{pipeline.buffer.stream}-{2 if pipeline.buffer.is_chained else 1}"  # After ``started``.


def end_stream(handler: ForwardingHandler) -> None:
    """End the hash chain, if there is one, with what the handler has taken so far."""
    if handler._pipeline is not None:
        handler._pipeline.buffer.end()


def give_up(handler: ForwardingHandler) -> None:
    """Close a handler and forget what it could not send: the command has told of it, exit shall not wait for it."""
    handler.close()
    if handler._pipeline is not None:
        lifecycle.forget(handler._pipeline)


def spool_plan_of(handler: ForwardingHandler, name: str) -> SpoolPlan | None:
    """Return where a handler of this name spools, None if nowhere; touches nothing."""
    plan = handler._spool_plan()
    # The name is a part of the identity, and ``dictConfig`` gives it only after making the handler.
    return plan and replace(plan, identity=replace(plan.identity, name=name))


def pipeline_apart(handler: ForwardingHandler, name: str) -> Pipeline:
    """Make a pipeline of the handler's settings that nobody else knows: no thread, and no search for orphans."""
    handler.name = name  # What it spools of its own is then found by the handler of this name.
    return handler._make_pipeline()
