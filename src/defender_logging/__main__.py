"""Runs the command line as ``python -m defender_logging``."""

from __future__ import annotations

import sys

from defender_logging.cli import main

if __name__ == "__main__":
    sys.exit(main())
