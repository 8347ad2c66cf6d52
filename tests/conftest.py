"""What holds for every test: the same examples for a change whenever CI judges it, and nothing left running."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from defender_logging import lifecycle

# CI judges a change and not its luck; every other run looks for new examples.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(autouse=True)
def _no_pipeline_is_left_behind():
    """Have whatever a test left pending end with it, as it would with its process."""
    yield
    for pipeline in list(lifecycle._pipelines):
        lifecycle.forget(pipeline)
