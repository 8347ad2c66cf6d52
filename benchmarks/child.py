"""The measured process: hides the fast packages if asked to, makes one subject, measures it, prints the figures.

Its one argument is the JSON that ``running`` writes. A setting that this version refuses is an answer too.
"""

from __future__ import annotations

import json
import sys
from typing import Any, cast

from benchmarks.measures import MEASURES
from benchmarks.subjects import Wish, make

__all__ = ["main"]

_FAST_PACKAGES = ("orjson", "isal")


def main() -> None:
    """Run what the argument says."""
    run: dict[str, Any] = json.loads(sys.argv[1])
    if not run["is_fast"]:
        for name in _FAST_PACKAGES:
            cast("dict[str, Any]", sys.modules)[name] = (
                None  # What an import of it then meets is ImportError.
            )
    try:
        subject = make(Wish(**run["wish"]))
    except (ImportError, ValueError) as error:
        print(json.dumps({"refused": " ".join(f"{type(error).__name__}: {error}".split())}))
        return
    print(json.dumps(MEASURES[run["measure"]](subject, **run["numbers"])), flush=True)


if __name__ == "__main__":
    main()
