"""The two processes of the demo, started and surely ended: the receiver and the example service under uvicorn.

The demo talks to them as anybody would: to the service by HTTP and a signal, to the receiver by its lines.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
START_SECONDS = 10.0
STOP_SECONDS = 8.0
"""More than the service's own bound for delivering the rest."""
REQUEST_SECONDS = 5.0
_POLL_SECONDS = 0.05
_LOG_BYTES = 4000
_UVICORN_VARIABLES = ("UVICORN_", "WEB_CONCURRENCY")

Arrival = Callable[[str, Any], None]
_P = TypeVar("_P", bound="_Process")


class DemoError(Exception):
    """The demo cannot go on; says why."""


class _Process:
    """A child process that does not outlive its ``with`` block. Its stderr is kept for explanations."""

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - because __exit__ closes it
        self._process = subprocess.Popen(  # noqa: S603 - because the command is our own
            [sys.executable, "-m", module, *arguments],
            cwd=EXAMPLES,
            env=_environment(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # Windows
        )

    def __enter__(self: _P) -> _P:  # noqa: PYI019 - because Self needs Python 3.11
        """Wait until it is ready; it is ended if it never is."""
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _wait_until_ready(self) -> None:
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, by force if need be."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with suppress(OSError):
                if stream is not None:
                    stream.close()

    def has_ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def last_words(self) -> str:
        """Return the end of what it wrote to stderr."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _LOG_BYTES))
        return self._log.read().decode("utf-8", "replace")


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment, fit for a child in another folder, with ``extra``."""
    # uvicorn takes options from these; two workers would have two accounts.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_UVICORN_VARIABLES)}
    environment = {**kept, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", **extra}
    if paths := environment.get("PYTHONPATH"):
        environment["PYTHONPATH"] = os.pathsep.join(
            str(Path(path).resolve()) for path in paths.split(os.pathsep) if path
        )
    return environment


class Receiver(_Process):
    """The receiver's process, and what it says has arrived.

    Args:
        on_arrival: called with kind and fields of each entry, in a thread of its own.
    """

    def __init__(self, on_arrival: Arrival) -> None:
        super().__init__("defender_logging.cli.demo_receiver")
        self.keys = {kind: secrets.token_urlsafe(24) for kind in ("splunk", "datadog", "generic")}
        self.urls: dict[str, str] = {}
        self._on_arrival = on_arrival
        self._changed = threading.Condition()
        self._ids: dict[str, Counter[str]] = {kind: Counter() for kind in self.keys}
        self._reader = threading.Thread(target=self._read, name="demo-receiver", daemon=True)

    def _wait_until_ready(self) -> None:
        """Hand the keys over and wait for the addresses."""
        assert self._process.stdin is not None
        self._reader.start()
        with suppress(OSError):
            self._process.stdin.write(json.dumps(self.keys) + "\n")
            self._process.stdin.flush()
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self.urls) or self.has_ended(), START_SECONDS):
                raise DemoError("the receiver did not start in time")
        if not self.urls:
            raise DemoError(f"the receiver did not start:\n{self.last_words()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it by the end of its input, then for sure."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        if self._process.poll() is None:
            self._process.kill()
        if self._reader.is_alive():
            self._reader.join(STOP_SECONDS)
        super().__exit__(kind, error, trace)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "kind" in said:
                with suppress(OSError):  # Nobody reads our output any more; the main thread will find out.
                    self._on_arrival(said["kind"], said["fields"])
            with self._changed:
                if "kind" in said:
                    self._ids[said["kind"]][str(said["fields"].get("id"))] += 1
                else:
                    self.urls = said
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def ids(self, kind: str) -> Counter[str]:
        """Return how often each id has arrived at an endpoint."""
        with self._changed:
            return self._ids[kind].copy()

    def wait_for(self, counts: Mapping[str, int], timeout_seconds: float) -> bool:
        """Wait until as many different entries have arrived at each endpoint."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(len(self._ids[kind]) >= count for kind, count in counts.items()), timeout_seconds
            )


class Service(_Process):
    """The example service under uvicorn, with the shipped logging.yaml.

    Args:
        environment: the addresses and keys that logging.yaml refers to.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.port = _free_port()
        self._session = ""
        super().__init__(
            "uvicorn",
            *("service:app", "--log-config", "logging.yaml", "--host", "127.0.0.1", "--port", str(self.port)),
            environment=environment,
        )

    def _wait_until_ready(self) -> None:
        """Ask until it answers."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.has_ended():
                raise DemoError(f"the service did not start:\n{self.last_words()}")
            with suppress(OSError, http.client.HTTPException):
                self.request("GET", "/stats")
                return
            time.sleep(_POLL_SECONDS)
        raise DemoError(f"the service did not answer in time:\n{self.last_words()}")

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Make one HTTP request as the user who signed in last; returns the status and the JSON of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_SECONDS)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"X-Session": self._session})
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        self._session = answer.get("session", self._session)
        return response.status, answer

    def stop(self) -> bool:
        """Tell it to stop, as an orchestrator does; True if it did in time."""
        self._process.send_signal(
            getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM)
        )  # Windows has the first
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port
