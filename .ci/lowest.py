"""Prints the lowest version of each dependency that pyproject.toml allows, as pip's requirements.

``.ci/run`` installs them and runs the tests with them, so that the bounds stay true.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

EXTRAS = ("fast", "yaml", "tls")
"""Optional packages that the code imports; the other extras are for development."""


def main() -> None:
    """Read the file named first."""
    text = Path(sys.argv[1]).read_text("utf-8")  # tomllib came with Python 3.11.
    lists = [re.search(r"^dependencies = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)]
    lists += [re.search(rf"^{extra} = \[(.*?)\]", text, re.MULTILINE) for extra in EXTRAS]
    for found in lists:
        if found is None:
            raise SystemExit(
                "a list of dependencies is not where it was in pyproject.toml; mend .ci/lowest.py"
            )
        print("\n".join(re.findall(r'"([^"]+)"', found[1])).replace(">=", "=="))


main()
