"""The list of mutations fits the source and the tests as they are; whether they are noticed, the tool itself shows."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def load():
    """The tool, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("mutations_tool", ROOT / "tools" / "mutations.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # A dataclass with postponed annotations looks its module up.
    spec.loader.exec_module(module)
    return module


TOOL = load()


@pytest.mark.parametrize("mutation", TOOL.MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_can_be_made(mutation, tmp_path):
    """Its text stands in the source once, the outcome is Python, and its tests are there."""
    path = tmp_path / TOOL.PACKAGE / mutation.file
    path.parent.mkdir(parents=True)
    shutil.copy(ROOT / TOOL.PACKAGE / mutation.file, path)
    mutation.apply(tmp_path)

    compile(path.read_text("utf-8"), path, "exec")
    assert all((ROOT / name).exists() for name in mutation.tests)


def test_a_stale_mutation_is_an_error(tmp_path):
    """Text that is no longer there is told, not passed over."""
    path = tmp_path / TOOL.PACKAGE / "clock.py"
    path.parent.mkdir(parents=True)
    path.write_text("pass\n")
    stale = TOOL.Mutation("x", "clock.py", "no such text", "", ("tests",), "")

    with pytest.raises(TOOL.StaleMutationError, match="0 times"):
        stale.apply(tmp_path)
