"""All scenarios, in the order of the report."""

from __future__ import annotations

from benchmarks.caller_scenarios import about_calls
from benchmarks.delivery_scenarios import about_delivery
from benchmarks.peer_scenarios import about_peers
from benchmarks.scenario import Scenario, Size

__all__ = ["scenarios"]


def scenarios(size: Size) -> dict[str, Scenario]:
    """All scenarios by name, with runs of this size."""
    found = [*about_calls(size), *about_delivery(size), *about_peers(size)]
    return {scenario.name: scenario for scenario in found}
