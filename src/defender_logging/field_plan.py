"""Which names of a record go where, worked out once for each set of names.

A log call in the code always carries the same names, so ``formatting`` looks the whole plan up by them:
which are typed fields, under which name each extra is written (``extra_<name>`` where it collides), and
which are hidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from defender_logging.field_names import CALLER_NAMES, CIRCUMSTANCES, PARTIES
from defender_logging.plain import Snapshot, free_name
from defender_logging.redaction import Redactor

__all__ = ["MAX_EXTRAS", "Plan", "Planner"]

MAX_EXTRAS = 1000
"""Extras of one entry; the rest is left out and the entry says ``truncated``."""

_MAX_PLANS = 1024
_MAX_PLAN_NAMES = 64
_MAX_PLAN_CHARS = 2000
"""Larger sets of names are data, not code, and are planned anew each time."""


class Plan(NamedTuple):
    """Where the names of one record go.

    Attributes:
        is_code: the names are few and short, as those written in code are; the plan is remembered.
        parties: the names of subject and object that are there, in the order of the wire.
        circumstances: reason, user, src_ip, tenant, likewise.
        texts: parties and circumstances.
        hidden_texts: those of them whose values are redacted.
        extras: pairs of the name to write and the name to read.
        hidden: of the redacted extras the name to write, and the name to read.
        left_out: names beyond ``MAX_EXTRAS``.
    """

    is_code: bool
    parties: tuple[str, ...]
    circumstances: tuple[str, ...]
    texts: tuple[str, ...]
    hidden_texts: frozenset[str]
    extras: tuple[tuple[str, Any], ...]
    hidden: Mapping[str, Any]
    left_out: tuple[Any, ...]


def _is_code(names: tuple[Any, ...]) -> bool:
    if len(names) > _MAX_PLAN_NAMES or any(type(name) is not str for name in names):
        return False
    return sum(map(len, names)) <= _MAX_PLAN_CHARS


class Planner:
    """Makes and remembers plans. Safe to use from several threads."""

    __slots__ = ("_plans", "_redactor", "_taken")

    def __init__(self, redactor: Redactor, taken: frozenset[str]) -> None:
        self._redactor = redactor
        self._taken = taken
        self._plans: dict[tuple[Any, ...], Plan] = {}

    def plan(self, names: tuple[Any, ...]) -> Plan:
        """Return the plan for a record's extras, named in their order; names of any type."""
        plan = self._plans.get(names)
        return self._learn(names) if plan is None else plan

    def _learn(self, names: tuple[Any, ...]) -> Plan:
        plan = self._make(names)
        if plan.is_code:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            self._plans[names] = plan
        return plan

    def _make(self, names: tuple[Any, ...]) -> Plan:
        others = [name for name in names if name not in CALLER_NAMES]
        extras, hidden = self._named(others[:MAX_EXTRAS])
        parties = tuple(name for name in PARTIES if name in names)
        circumstances = tuple(name for name in CIRCUMSTANCES if name in names)
        return Plan(
            is_code=_is_code(names),
            parties=parties,
            circumstances=circumstances,
            texts=parties + circumstances,
            hidden_texts=frozenset(filter(self._redactor.hides_own, parties + circumstances)),
            extras=tuple(extras.items()),
            hidden=hidden,
            left_out=tuple(others[MAX_EXTRAS:]),
        )

    def _named(self, names: Iterable[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Give each extra the name to write: its own if that is free, else ``extra_<name>``."""
        snapshot = Snapshot(self._redactor)
        extras: dict[str, Any] = {}
        hidden: dict[str, Any] = {}
        colliding = []
        for name in names:
            text = snapshot.name_of(name)
            if text in self._taken or text in extras or text in hidden:
                colliding.append((text, name))
            elif self._redactor.hides(text):
                hidden[text] = name
            else:
                extras[text] = name
        last_numbers: dict[str, int] = {}
        for text, name in colliding:  # Last, so that a caller's own "extra_x" keeps its name.
            written = f"extra_{text}"
            if written in self._taken or written in extras or written in hidden:
                taken = self._taken | extras.keys() | hidden.keys()
                written = free_name(written, taken, last_numbers)
            if self._redactor.hides(text):
                hidden[written] = name
            else:
                extras[written] = name
        return extras, hidden
