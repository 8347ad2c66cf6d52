"""Modules of the current folder can be named in a configuration, during the check only."""

import importlib
import sys

import pytest

from defender_logging.cli.imports import user_modules


def test_the_current_folder_is_searched_inside_the_block_only(tmp_path):
    """What is importable after the block is what was before."""
    (tmp_path / "only_here_for_a_test.py").write_text("x = 1")
    before = list(sys.path)

    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("only_here_for_a_test")
    importlib.invalidate_caches()
    with user_modules():
        assert 1 == importlib.import_module("only_here_for_a_test").x
    del sys.modules["only_here_for_a_test"]

    assert before == sys.path


def test_survives_a_module_that_takes_the_folder_out():
    """A module of the user may change the path as it likes."""
    with user_modules():
        del sys.path[-1]

    assert sys.path
