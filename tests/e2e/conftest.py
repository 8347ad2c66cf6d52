"""Runs small programs that log to a receiver of the test, and checks their account against what arrived.

A program is a script of its own process, because exit, fork, signals and ``dictConfig`` concern whole processes. It
begins with ``from app import *`` (``APP`` below). Each process tells the account of its handlers on stdout when it
ends, after all other exit hooks; a process that leaves by ``os._exit`` tells it by hand.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import defender_logging
from defender_logging.testing import LocalReceiver

PROGRAM_SECONDS = 25
"""No program may take longer, unless a heavy test says so; it dumps its threads a little earlier."""

APP = '''
import atexit, dataclasses, faulthandler, json, os, sys, time, warnings

ENDS = time.monotonic() + float(os.environ["E2E_SECONDS"]) - 5

def watch():
    """Dump all threads and end, shortly before the test would kill the program; forks do not put that off."""
    faulthandler.dump_traceback_later(max(0.01, ENDS - time.monotonic()), exit=True)

watch()
if hasattr(os, "register_at_fork"):
    # A child that inherits the watchdog waits at its end, for ever, for a thread that it does not have.
    os.register_at_fork(before=faulthandler.cancel_dump_traceback_later, after_in_parent=watch, after_in_child=watch)
warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning)

def tell(kind, value):
    """One line in one system call: lines of several processes do not mix."""
    os.write(1, (kind + " " + json.dumps(value) + "\\n").encode())

def tell_accounts():
    for handler in HANDLERS:
        stats = dataclasses.asdict(dataclasses.replace(handler.stats(), dropped_by_reason={}, rejected_by_reason={}))
        stats["dropped_by_reason"] = dict(handler.stats().dropped_by_reason)
        pipeline = handler._pipeline
        tell("ACCOUNT", {**stats, "pid": os.getpid(), "stream": pipeline and pipeline.buffer.stream,
                         "name": handler.name})

HANDLERS = []
VERY_LAST = []
atexit.register(lambda: [call() for call in VERY_LAST])
atexit.register(tell_accounts)  # Before logging is imported, so it runs after logging.shutdown.

import logging
import threading
from defender_logging import ApiKeyHandler, DatadogHandler, SplunkHandler, flush_all

URL = os.environ.get("E2E_URL", "")
FAST = {"flush_interval_seconds": 0.05, "retry_initial_seconds": 0.05, "retry_max_seconds": 0.2,
        "hold_retry_seconds": 0.2, "shutdown_timeout_seconds": 10}

def make(name="trail", url=URL, kind=ApiKeyHandler, **settings):
    """A handler on the root logger that is counted in the account."""
    handler = kind(url=url, **{**FAST, **settings})
    handler.name = name
    HANDLERS.append(handler)
    logging.getLogger().addHandler(handler)
    return handler

def wait_for_test():
    """Block until the test says so."""
    sys.stdin.readline()

def own_threads():
    return sorted(t.name for t in threading.enumerate() if t.name.startswith("defender-logging-"))

def wait_until(holds, seconds=15):
    """Look again and again; for what gives no sign of itself."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True

def hold(lock, may_take, is_taken):
    """For a thread that takes a lock and never lets go of it."""
    may_take.wait()
    with lock:
        is_taken.set()
        threading.Event().wait()

log = logging.getLogger("service")
log.setLevel(logging.INFO)
'''


@dataclass
class Outcome:
    """What is left of a program.

    Attributes:
        code: its exit code.
        told: pairs of kind and value, in the order in which its processes told them.
        stderr: all of it.
        ended: monotonic time at which its end was seen.
    """

    code: int
    told: list
    stderr: str
    ended: float

    def values(self, kind):
        return [value for name, value in self.told if name == kind]

    def value(self, kind):
        values = self.values(kind)
        assert 1 == len(values), f"{kind} was told {len(values)} times; exit code {self.code}: {self.stderr}"
        return values[0]

    @property
    def accounts(self):
        """Accounts of handlers that accepted anything."""
        return [account for account in self.values("ACCOUNT") if account["accepted"]]


@dataclass
class Program:
    process: subprocess.Popen
    seconds: float = PROGRAM_SECONDS
    _lines: list = field(default_factory=list)

    def go_on(self):
        """Let the program's ``wait_for_test`` return."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def wait_for(self, kind):
        """Read what the program tells until ``kind`` comes, and return its value."""
        for line in self.process.stdout:
            self._lines.append(line)
            if line.startswith(kind + " "):
                return json.loads(line.partition(" ")[2])
        raise AssertionError(f"the program ended without {kind}: {self.process.stderr.read()}")

    def finish(self):
        stdout, stderr = self.process.communicate(timeout=self.seconds)
        ended = time.monotonic()
        told = []
        for line in [*self._lines, *stdout.splitlines()]:
            kind, _, value = line.strip().partition(" ")
            if kind.isupper():  # Servers print lines of their own.
                told.append((kind, json.loads(value)))
        return Outcome(self.process.returncode, told, stderr, ended)


class Programs:
    """Starts programs in a folder of their own."""

    def __init__(self, folder):
        self.folder = folder
        self._running = []
        # The package under test, also where it is not installed and PYTHONPATH is a relative path.
        source = Path(defender_logging.__file__).parents[1]
        self.environment = {"PYTHONPATH": str(source)}
        (folder / "app.py").write_text(APP)

    def start(self, source, *, url="", options=("-W", "error"), **environment):
        path = self.folder / "program.py"
        text = "from app import *\n" + textwrap.dedent(source)
        if not path.exists() or path.read_text() != text:  # Another process may be reading the same one now.
            path.write_text(text)
        return self.start_command([sys.executable, *options, str(path)], url=url, **environment)

    def start_command(self, command, *, url="", pass_fds=(), seconds=PROGRAM_SECONDS, **environment):
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={
                **os.environ,
                **self.environment,
                "E2E_SECONDS": str(seconds),
                "E2E_URL": url,
                **environment,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            pass_fds=pass_fds,
        )
        # Its children keep the pipes open: when they hang, only the end of all of them ends the test.
        guard = threading.Timer(seconds, self._kill, [process])
        guard.daemon = True
        guard.start()
        self._running.append((process, guard))
        return Program(process, seconds)

    def run(self, source, **options):
        return self.start(source, **options).finish()

    @staticmethod
    def _kill(process):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def stop(self):
        for process, guard in self._running:
            guard.cancel()
            self._kill(process)
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                with suppress(BrokenPipeError):
                    pipe.close()


@pytest.fixture
def programs(tmp_path):
    """Start programs; what is left of them at the end of the test is killed."""
    made = Programs(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def receiver():
    """A receiver that behaves."""
    with LocalReceiver() as running:
        yield running


@pytest.fixture
def refused_url():
    """An address at which nobody listens, for as long as the test runs."""
    with LocalReceiver() as closed:
        closed.refuse()
        yield closed.generic_url


@pytest.fixture
def check_account():
    """Compare accounts (of the processes of a program) with what a receiver has."""

    def check(accounts, receiver, *, delivered=None, duplicates=False):
        for account in accounts:
            classes = [account[name] for name in ("delivered", "rejected", "dropped", "pending")]
            assert account["accepted"] == sum(classes), account
        assert duplicates or {} == receiver.duplicates()
        arrived = Counter(entry_id.rpartition("-")[0] for entry_id in receiver.ids)
        if all(account["accepted"] == account["delivered"] for account in accounts):
            accepted = {f"{a['stream']}-{n}" for a in accounts for n in range(1, a["accepted"] + 1)}
            assert accepted == set(receiver.ids)
        for account in accounts:
            # An entry may have arrived whose confirmation is still on its way.
            in_doubt = account["pending"]
            assert account["delivered"] <= arrived[account["stream"]] <= account["delivered"] + in_doubt
        if delivered is not None:
            assert delivered == sum(account["delivered"] for account in accounts)

    return check


@pytest.fixture
def within():
    """Assert an upper bound of time; a busy machine gets two more tries."""

    def measure(seconds, attempt):
        taken = []
        for _ in range(3):
            taken.append(attempt())
            if taken[-1] <= seconds:
                return
        raise AssertionError(f"took {taken} seconds, not {seconds}")

    return measure


@pytest.fixture
def attached():
    """Attach handlers to a logger of the test's own, in this process, and close them at its end."""
    cleanup = []

    def attach(*handlers, level=logging.DEBUG):
        logger = logging.getLogger(
            f"e2e.{uuid.uuid4().hex}"
        )  # New: pytest adds its own handler to known ones.
        logger.setLevel(level)
        logger.propagate = False
        for handler in handlers:
            logger.addHandler(handler)
            cleanup.append((logger, handler))
        return logger

    yield attach
    for logger, handler in cleanup:
        logger.removeHandler(handler)
        handler.close()
