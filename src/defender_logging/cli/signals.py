"""Lets SIGTERM end a command as Ctrl-C does: by unwinding, so that what was begun is ended too."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unwinding_on_sigterm() -> Iterator[None]:
    """Raise ``SystemExit`` (143, as shells expect) inside the block when the process is told to end.

    Does nothing outside the main thread, where Python sets no signal handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
