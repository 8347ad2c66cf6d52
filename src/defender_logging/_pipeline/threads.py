"""The only module that starts threads, and knows which threads are ours.

Our threads are daemons: they never keep a process from ending; ``lifecycle`` gives them their time at exit.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

__all__ = ["is_ours", "start"]

_mark = threading.local()


def is_ours() -> bool:
    """Tell whether the calling thread was started by this module."""
    return getattr(_mark, "is_ours", False)


def start(name: str, run: Callable[[], None]) -> threading.Thread | None:
    """Start a daemon thread; None if the interpreter refuses (at exit, or at the limit of threads)."""

    def marked() -> None:
        _mark.is_ours = True
        run()

    if sys.is_finalizing():
        return None  # Up to Python 3.11 the thread would be made, never run, and be waited for without end.
    thread = threading.Thread(target=marked, name=f"defender-logging-{name}", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread
