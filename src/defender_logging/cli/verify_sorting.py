"""Sorts any number of short byte lines in bounded memory: in runs, on temporary files where one run is not enough."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import IO

RUN_LINES = 200_000
"""Lines in memory at once, some 35 MB of the 120 bytes that ``verify_streams`` writes."""

MAX_RUNS = 64
"""Files open at once; so many are merged into one."""


def sorted_lines(lines: Iterable[bytes], *, run_lines: int = RUN_LINES) -> Iterator[bytes]:
    """Yield lines (each ends in a newline) in the order of their bytes. Reads all before the first comes out."""
    with ExitStack() as files:
        runs: list[IO[bytes]] = []
        run: list[bytes] = []
        for line in lines:
            run.append(line)
            if len(run) >= run_lines:
                runs.append(_written(files, sorted(run)))
                run = []
                if len(runs) >= MAX_RUNS:
                    merged = _written(files, heapq.merge(*runs))
                    for each in runs:
                        each.close()
                    runs = [merged]
        run.sort()
        yield from heapq.merge(*runs, run) if runs else run


def _written(files: ExitStack, lines: Iterable[bytes]) -> IO[bytes]:
    file: IO[bytes] = files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    file.writelines(lines)
    file.seek(0)
    return file
