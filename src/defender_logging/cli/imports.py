"""Lets a configuration name classes of the program in the current folder, as it does when the program runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def user_modules() -> Iterator[None]:
    """Make modules in the current folder importable inside the block; installed ones come first."""
    folder = str(Path.cwd())
    sys.path.append(folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # A module of theirs may have made a new path.
            sys.path.remove(folder)
