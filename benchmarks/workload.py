"""What every case logs: one typed record, about 400 bytes on the wire, numbered so that the sink can count it."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable
from typing import Any

__all__ = [
    "FIELD_NAMES",
    "LOGGER_NAME",
    "MARK",
    "OBJECT",
    "SHARES",
    "WARM_UP",
    "Call",
    "calls_to",
    "debug_calls_to",
    "ideal_entry",
    "stamped_calls_to",
]

Call = Callable[[int], None]
"""Makes the log call with the given number."""

LOGGER_NAME = "payments.relay"

MARK = re.compile(rb"transfer bench-(\d{8})(?:@(\d+))? of")
"""The number of a record in whatever form it travels, and the monotonic nanosecond of its call if it has one."""

OBJECT = re.compile(rb"relayer-[0-9a-f]{12}")
"""What the field ``object`` of each record holds."""

WARM_UP = 90_000_000
"""Numbers from here on are calls before the clock starts, which the sink leaves out."""

SHARES = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
"""Of a distribution: the names of the figures, and the share of values that lies below."""

FIELD_NAMES = ("component", "category", "subject", "object", "gas")
"""What every call hands over as ``extra``: typed fields, and one of the application's own."""

_SENTENCE = "transfer bench-%08d of %s approved"
_STAMPED_SENTENCE = "transfer bench-%08d@%d of %s approved"

_VARIANTS = 1024
_random = random.Random(42)  # noqa: S311 - the same texts in every run
VARIED = tuple(
    (
        f"{_random.randrange(1, 10**6) / 100:.2f} USDC",
        f"user-{_random.randrange(300)}",
        f"relayer-{_random.getrandbits(48):012x}",
    )
    for _ in range(_VARIANTS)
)
"""Amounts, subjects and objects: without any variety compression would be a game."""


def calls_to(logger: logging.Logger) -> Call:
    """Log calls as an application makes them: arguments to format and a fresh ``extra``."""
    return _calls(logger.info)


def debug_calls_to(logger: logging.Logger) -> Call:
    """The same at a level that is not forwarded."""
    return _calls(logger.debug)


def _calls(log: Callable[..., None]) -> Call:
    def call(number: int) -> None:
        amount, subject, target = VARIED[number % _VARIANTS]
        log(
            _SENTENCE,
            number,
            amount,
            extra={
                "component": "relay",
                "category": "paused",
                "subject": subject,
                "object": target,
                "gas": 21_000,
            },
        )

    return call


def stamped_calls_to(logger: logging.Logger) -> Call:
    """The same, with the time of the call in the message, from which the sink reads the latency."""
    log = logger.info

    def call(number: int) -> None:
        amount, subject, target = VARIED[number % _VARIANTS]
        log(
            _STAMPED_SENTENCE,
            number,
            time.monotonic_ns(),
            amount,
            extra={
                "component": "relay",
                "category": "paused",
                "subject": subject,
                "object": target,
                "gas": 21_000,
            },
        )

    return call


def ideal_entry(number: int) -> dict[str, Any]:
    """The entry that such a call becomes, made with no more work than it takes to write it down."""
    amount, subject, target = VARIED[number % _VARIANTS]
    return {
        "time": "2026-11-26T03:24:49.417791Z",
        "level": "info",
        "component": "relay",
        "category": "paused",
        "subject": subject,
        "object": target,
        "outcome": "success",
        "message": _SENTENCE % (number, amount),
        "logger": LOGGER_NAME,
        "levelname": "INFO",
        "host": "vm",
        "process": 2753,
        "thread": "MainThread",
        "gas": 21_000,
        "schema": "1",
        "id": f"92e9b9062995ad60-{number}",
        "stream": "92e9b9062995ad60",
        "seq": number,
    }
