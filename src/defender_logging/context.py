"""Fields that every record made inside a ``with`` block carries, in this thread or task.

A request handler enters ``audit_context(user=..., src_ip=...)``; the formatter (and ``SelectionFilter``)
reads ``current_fields()`` in the thread of the log call. The record's own fields win over those of the
context. Where a ``QueueListener`` formats in another thread, ``ContextFilter`` writes them onto the record.

Guaranteed: a block takes exactly its own fields away when it ends, by an exception too, in whatever order
blocks end (generators) and in whatever context (a dependency closed in another thread). Tokens of
``ContextVar.reset`` guarantee neither: ended out of order they bring fields of a finished block back.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import NamedTuple

__all__ = ["ContextFilter", "audit_context", "current_fields"]

RECORD_ATTRIBUTES = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {
    "message",
    "asctime",
    "taskName",
}
"""What a log record owns, on any Python (``taskName`` came with 3.12): no field can be put there."""


class _State(NamedTuple):
    """The open blocks from outer to inner, and their fields merged."""

    blocks: tuple[_Block, ...]
    merged: Mapping[str, object]


_NO_BLOCKS = _State((), MappingProxyType({}))
_current: ContextVar[_State] = ContextVar("defender_logging.context", default=_NO_BLOCKS)


open_context = _current.get
"""The state itself, in one step; its second part is what ``current_fields`` returns."""


def audit_context(**fields: object) -> AbstractContextManager[None]:
    """A context manager: every record made inside (this thread or task) carries the fields.

    Blocks nest; the inner one wins. Tasks started inside inherit the fields, threads do not (as with all
    context variables). Use ``with`` in async code too.

    Args:
        fields: any names and values, as in ``extra``; None means "not given".
    """
    return _Block({name: value for name, value in fields.items() if value is not None})


def current_fields() -> Mapping[str, object]:
    """The fields of all blocks around the caller, the innermost winning; read-only, empty outside of any."""
    return _current.get().merged


class _Block:
    """One ``audit_context``; may be entered more than once, also by several threads."""

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, object]) -> None:
        self._fields = fields

    def __repr__(self) -> str:
        return f"<audit_context of {', '.join(self._fields) or 'no fields'}>"

    def __enter__(self) -> None:
        blocks, merged = _current.get()
        _current.set(_State((*blocks, self), MappingProxyType({**merged, **self._fields})))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        blocks = _current.get().blocks
        last = max((index for index, block in enumerate(blocks) if block is self), default=None)
        if last is None:
            return  # Left in another context than it was entered in: nothing of it is here.
        rest = blocks[:last] + blocks[last + 1 :]
        merged = {name: value for block in rest for name, value in block._fields.items()}
        _current.set(_State(rest, MappingProxyType(merged)) if rest else _NO_BLOCKS)


class ContextFilter(logging.Filter):
    """Writes the context's fields onto the record, for a ``QueueHandler`` in front of a ``QueueListener``.

    Lets every record pass. Never overwrites what the record has; a field named like one of the record's own
    attributes becomes ``extra_<name>``.
    """

    def __init__(self) -> None:
        super().__init__()

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields of the calling thread's context to ``record``; always True."""
        attributes = record.__dict__
        for name, value in current_fields().items():
            attributes.setdefault(f"extra_{name}" if name in RECORD_ATTRIBUTES else name, value)
        return True
