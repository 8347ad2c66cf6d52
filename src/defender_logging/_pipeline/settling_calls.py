"""What both buffers with a store ask of it when entries are settled, with a sentence where it fails.

A spool that fails never raises into the sender: what went wrong is told, and tried again.
"""

from __future__ import annotations

from collections.abc import Sequence

from defender_logging._pipeline.entry import Entry
from defender_logging._pipeline.spool.stream import StreamStore
from defender_logging._pipeline.spool.system import SpoolError

__all__ = ["keep_dead_letters", "write_cursor"]


def keep_dead_letters(store: StreamStore, rejected: Sequence[tuple[Entry, str]], answer: str) -> str:
    """Keep rejected entries as dead letters; returns what went wrong, in a sentence."""
    problem = ""
    for entry, reason in rejected:
        try:
            store.set_aside(entry, reason, answer)
        except SpoolError as error:
            problem = f"a refused entry cannot be kept as a dead letter: {error}"
    return problem


def write_cursor(store: StreamStore) -> str:
    """Write down what is settled; returns what went wrong, in a sentence."""
    try:
        store.write_cursor()
    except SpoolError as error:
        return f"the spool's cursor cannot be written: {error}"
    return ""
