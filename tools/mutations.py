"""Show that the tests notice the defects that lose or repeat entries: plant each of them, and see a test fail.

    python tools/mutations.py [WORDS OF A NAME]

Each ``Mutation`` is a small change of the source text. It is made in a copy of ``src`` in a temporary folder, and the
few tests that should notice run against that copy. «killed» names the test that failed. A mutation that no test
notices has «survived»; one whose text is no longer in the source, or whose tests do not run, is an error, so that
this list cannot rot in silence. Exit code 0: all were killed.

The tests are run once on an unchanged copy first: a test that fails anyway proves nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("src") / "defender_logging"

TESTS_SECONDS = 120
"""A mutated program may hang; the tests have bounds of their own, and this is the last one."""

FAILED, PASSED = 1, 0
"""pytest's exit codes; every other one means that the tests did not run."""


class StaleMutationError(Exception):
    """The source has changed, and the mutation with it has to be written anew."""


@dataclass(frozen=True)
class Mutation:
    """One defect, and who should notice it.

    Attributes:
        name: what the defect is.
        file: below the package.
        before: the text that is replaced; it stands in the file exactly once.
        after: the text in its place.
        tests: files of tests.
        select: pytest's ``-k``.
    """

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]
    select: str

    def apply(self, copy: Path) -> None:
        """Make the change in a copy of the project."""
        path = copy / PACKAGE / self.file
        text = path.read_text("utf-8")
        if text.count(self.before) != 1:
            raise StaleMutationError(
                f"'{self.name}': its text stands {text.count(self.before)} times in {self.file}, not once; "
                "write the mutation anew for the code as it is now"
            )
        path.write_text(text.replace(self.before, self.after), "utf-8")


MUTATIONS = (
    Mutation(
        "skip the CRC check",
        "_pipeline/spool/frames.py",
        "if crc32(line, crc32(data[start + _CRC_BYTES : first])) != int(checksum, 16):",
        "if False:",
        ("tests/spool/test_frames.py",),
        "",
    ),
    Mutation(
        "count as delivered what is not acknowledged yet",
        "destinations/splunk_replies.py",
        "return replace(verdict, receipt=ack_id)",
        "return verdict",
        ("tests/faults/test_acknowledgments.py",),
        "never_come",
    ),
    Mutation(
        "return from a log call before the entry is on the disk (fsync: always)",
        "_pipeline/spool/writing.py",
        "                        self._fs.sync(active.fd)  # type: ignore[arg-type]  # as above\n",
        "",
        ("tests/spool/test_writing.py",),
        "",
    ),
    Mutation(
        "drop on 401",
        "destinations/http_status.py",
        'return Hold(f"{said}: {key_remedy}.", is_about_the_key=True)',
        'return __import__("defender_logging").destinations.base.Rejected(said, "key")',
        ("tests/faults/test_answers.py",),
        "case_49",
    ),
    Mutation(
        "ignore invalid-event-number",
        "destinations/splunk_replies.py",
        "number=number if type(number) is int else None,",
        "number=None,",
        ("tests/faults/test_answers.py",),
        "number_says",
    ),
    Mutation(
        "resend the whole batch on code 6",
        "destinations/splunk_replies.py",
        "    before = frozenset(range(said.number))\n",
        "    return Retry(said.sentence)\n",
        ("tests/faults/test_answers.py",),
        "number_says and 400-6",
    ),
    Mutation(
        "treat any 2xx as success",
        "destinations/http_status.py",
        "    status = response.status\n    said = ",
        "    status = response.status\n"
        "    if 200 <= status < 300:\n"
        '        return __import__("defender_logging").destinations.base.Delivered("")\n'
        "    said = ",
        ("tests/faults/test_answers.py",),
        "case_43 or case_44",
    ),
    Mutation(
        # We notice a fork by a hook rather than by comparing process ids.
        "forget in a forked child whose entries they are",
        "lifecycle.py",
        "            os.register_at_fork(after_in_child=_after_fork_in_child)\n",
        "            pass\n",
        ("tests/e2e/test_fork.py",),
        "pending_entries",
    ),
    Mutation(
        "remove a segment before the cursor says that it is settled",
        "_pipeline/spool/settling.py",
        "            content = self._catalogue.cursor().encode()\n",
        "            for segment in finished:\n"
        "                self._remove(segment)\n"
        "            content = self._catalogue.cursor().encode()\n",
        ("tests/spool/test_stream.py",),
        "cursor",
    ),
)


def run_tests(copy: Path, tests: tuple[str, ...], select: str) -> tuple[int, str]:
    """Run tests against the sources of a copy; pytest's exit code, and the first test that failed."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--tb=no",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
    ]
    try:
        done = subprocess.run(  # noqa: S603 - the command is ours
            [*command, *(["-k", select] if select else []), *tests],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"},
            capture_output=True,
            text=True,
            timeout=TESTS_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return FAILED, f"(no end within {TESTS_SECONDS} s)"
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if done.returncode not in (PASSED, FAILED):
        return done.returncode, done.stdout[-500:] + done.stderr[-500:]
    return done.returncode, failed[1] if failed else ""


def make_copy(folder: Path) -> Path:
    """Copy what the tests need: the sources, the tests and their settings."""
    for name in ("src", "tests", "docs", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    return folder


def judge(mutation: Mutation) -> tuple[str, str]:
    """Plant one defect; ``killed``, ``SURVIVED`` or ``ERROR``, and by which test or why."""
    with tempfile.TemporaryDirectory() as folder:
        copy = make_copy(Path(folder))
        try:
            mutation.apply(copy)
        except StaleMutationError as error:
            return "ERROR", str(error)
        code, said = run_tests(copy, mutation.tests, mutation.select)
    return {FAILED: "killed", PASSED: "SURVIVED"}.get(code, "ERROR"), said


def judge_unchanged(mutations: tuple[Mutation, ...]) -> str:
    """Run the same tests without a defect; what failed, nothing if none did."""
    with tempfile.TemporaryDirectory() as folder:
        copy = make_copy(Path(folder))
        for tests, select in dict.fromkeys((mutation.tests, mutation.select) for mutation in mutations):
            code, said = run_tests(copy, tests, select)
            if code != PASSED:
                return said or f"pytest ended with {code}"
    return ""


def main(words: list[str]) -> int:
    """Judge all mutations, or those whose name has the given words."""
    chosen = tuple(mutation for mutation in MUTATIONS if " ".join(words) in mutation.name)
    if not chosen:
        print(f"no mutation is called {' '.join(words)!r}")
        return 2
    failure = judge_unchanged(chosen)
    if failure:
        print(f"ERROR: without any mutation: {failure}")
        return 1
    is_good = True
    for mutation in chosen:
        began = time.monotonic()
        verdict, said = judge(mutation)
        is_good = is_good and verdict == "killed"
        print(f"{verdict:9}{time.monotonic() - began:5.1f} s  {mutation.name}: {said}", flush=True)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
