"""Builds sdist and wheel twice, and checks that they are the same bytes, whole, and nothing but ours.

Run by ``.ci/run`` with the folder of the source tree, in an environment that has ``build`` and ``twine``.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

RELEASE_UNIX_SECONDS = "1700000000"
"""Any fixed moment: the build writes it where it would write the time of the files."""


def build(tree: Path, folder: Path) -> dict[str, str]:
    """Build into ``folder``; returns the digest of each file by its name."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": RELEASE_UNIX_SECONDS}
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(tree)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def missing_from_wheel(tree: Path, wheel: Path) -> set[str]:
    """Return the differences between the package's files and those in the wheel, metadata left out."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = {
        path.relative_to(tree / "src").as_posix()
        for path in (tree / "src").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return packed ^ sources


def strange_in_sdist(sdist: Path) -> list[str]:
    """Return what has no business in a source archive: caches, hidden files but ours, keys."""
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    allowed_hidden = (".ci", ".gitignore")
    return [
        name
        for name in names
        if "__pycache__" in name
        or name.endswith((".pyc", ".pem", ".key"))
        or (name.startswith(".") and not name.startswith(allowed_hidden))
    ]


def main() -> None:
    """Complain by the exit code."""
    tree = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        first, second = build(tree, Path(one)), build(tree, Path(two))
        print("\n".join(f"{digest}  {name}" for name, digest in first.items()))
        files = [Path(one) / name for name in first]
        subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *map(str, files)], check=True)
        (wheel,) = (file for file in files if file.suffix == ".whl")
        (sdist,) = (file for file in files if file.suffix == ".gz")
        problems = {
            "two builds differ": first != second,
            "the wheel is not the package": missing_from_wheel(tree, wheel),
            "the sdist has strange files": strange_in_sdist(sdist),
        }
    told = [f"{problem}: {found}" for problem, found in problems.items() if found]
    raise SystemExit("\n".join(told) or 0)


main()
