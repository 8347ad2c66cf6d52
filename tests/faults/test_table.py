"""The table of cases in README.md and the tests of this folder name the same cases."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent


def cases_of_the_table():
    """Pairs of case number and file, as the table has them; a row may name several numbers."""
    rows = re.findall(
        r"^\| ([\d, ]+) \| `(test_\w+\.py)` \|", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE
    )
    return {(int(number), file) for numbers, file in rows for number in numbers.split(", ")}


def cases_of_the_tests():
    """The same pairs, from the names of the tests."""
    return {
        (int(number), path.name)
        for path in FOLDER.glob("test_*.py")
        for number in re.findall(r"^def test_case_(\d\d)_", path.read_text("utf-8"), re.MULTILINE)
    }


def test_every_case_of_the_table_has_its_test():
    """And every test named after a case is in the table."""
    assert cases_of_the_table() == cases_of_the_tests()
