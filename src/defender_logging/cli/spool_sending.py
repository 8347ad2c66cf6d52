"""The command ``spool send``: delivers what dead processes left, now, through the handlers of a configuration.

Orphans are adopted as a starting service adopts them, and a sender made of the handler's settings runs in this
thread; dead letters join in on request. What is not delivered when it gives up stays in the spool.

Guaranteed: a stream that a living process owns is not taken from it (its dead letters may go: striking them out is
safe beside their owner); an entry goes to another handler than its own only if a person names stream and handler.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from defender_logging._pipeline.adopted_buffer import AdoptedBuffer
from defender_logging._pipeline.pipeline import Pipeline, SpoolPlan
from defender_logging._pipeline.spool import SpoolError, StreamStore
from defender_logging._pipeline.spooled_buffer import SpooledBuffer
from defender_logging.cli.building import Built, build, nearest
from defender_logging.cli.display import Screen, escaped, masked
from defender_logging.cli.exits import GOOD, NOT_GOOD, UsageError
from defender_logging.cli.imports import user_modules
from defender_logging.cli.inside import pipeline_apart, settings_of, spool_plan_of
from defender_logging.cli.loading import LoadedFile, load
from defender_logging.cli.signals import unwinding_on_sigterm
from defender_logging.cli.spool_letters import LetterSource
from defender_logging.cli.spool_places import Found, Place, digest_of, streams_in
from defender_logging.cli.spool_progress import Progress
from defender_logging.handlers import ForwardingHandler
from defender_logging.metrics import Stats

_STEP_SECONDS = 0.1
"""How often the bar moves while nothing can be sent."""


@dataclass(frozen=True, slots=True)
class _Task:
    """What to deliver through one handler; ``stream`` is the only one, whosever it is, or None for its own."""

    name: str
    handler: ForwardingHandler
    plan: SpoolPlan
    stream: Found | None
    with_dead_letters: bool


@dataclass(frozen=True, slots=True)
class _Result:
    stats: Stats
    problems: Sequence[str]

    @property
    def is_good(self) -> bool:
        return not (self.stats.pending or self.stats.rejected or self.stats.dropped or self.problems)


def run(arguments: argparse.Namespace) -> int:
    """Deliver what the spools of one configuration hold."""
    if arguments.stream and not arguments.handler:
        raise UsageError("--stream needs --handler NAME: say through which handler the stream shall go")
    screen = Screen(sys.stdout)
    with user_modules(), unwinding_on_sigterm():
        file = load(arguments.config)
        with build(file.config) as built:
            is_good = _print_findings(screen, file, built, arguments.handler)
            for task in _tasks(arguments, file, built):
                result = _deliver(task, arguments.timeout)
                _print(screen, task, result, built.secrets)
                is_good = is_good and result.is_good
    return GOOD if is_good else NOT_GOOD


def _print_findings(screen: Screen, file: LoadedFile, built: Built, wanted: str | None) -> bool:
    """Tell why handlers cannot be used; True if there is nothing to tell."""
    findings = [f for f in (*file.findings, *built.findings) if not f.is_note]
    if wanted is not None:
        findings = [f for f in findings if f.is_about(wanted) or f.where[:1] != ("handlers",)]
    for finding in findings:
        said = ": ".join(part for part in (".".join(finding.where), finding.sentence) if part)
        screen.line(f"{screen.paint('problem', 'red')}  {escaped(said)}")
    return not findings


def _tasks(arguments: argparse.Namespace, file: LoadedFile, built: Built) -> list[_Task]:
    wanted: str | None = arguments.handler
    if wanted is not None and wanted not in built.ours:
        raise UsageError(
            f"{file.path!r} has no handler of defender_logging named {wanted!r}{nearest(wanted, built.ours)}"
        )
    tasks = []
    for name, handler in built.handlers.items():
        plan = spool_plan_of(handler, name)
        if plan is not None and wanted in (None, name):
            stream = _named_stream(plan, name, arguments.stream) if arguments.stream else None
            tasks.append(_Task(name, handler, plan, stream, arguments.dead_letters))
    if not tasks and not built.findings and not file.is_broken:
        who = f"the handler {wanted!r} has" if wanted else "its handlers of defender_logging have"
        raise UsageError(f"{file.path!r}: {who} no spool_dir, so there is nothing to send")
    return tasks


def _named_stream(plan: SpoolPlan, name: str, stream: str) -> Found:
    streams = _streams(plan)
    found = next((each for each in streams if each.info.stream == stream), None)
    if found is None:
        known = [each.info.stream for each in streams]
        raise UsageError(
            f"the spool '{plan.directory.path}' has no stream {stream!r}{nearest(stream, known)}"
        )
    kind = found.described_handler.get("kind")
    if kind not in (None, plan.identity.kind):
        raise UsageError(
            f"the stream {stream} was written for a {kind}, and {name!r} is a {plan.identity.kind}: its entries have "
            "another form; name a handler of that kind"
        )
    return found


def _streams(plan: SpoolPlan) -> list[Found]:
    return list(streams_in(Place(plan.directory, {}, is_configured=True)))


def _deliver(task: _Task, timeout_seconds: float) -> _Result:
    pipeline = pipeline_apart(task.handler, task.name)
    buffer, sender = pipeline.buffer, pipeline.sender
    assert isinstance(buffer, SpooledBuffer)
    progress = Progress(sys.stderr)
    with _sources(task, pipeline, buffer) as (sources, problems):
        for source in sources:
            sender.add_buffer(source)
        sender.hurry()
        try:
            pending, give_up_at = -1, 0.0
            while buffer.pending and sender.state != "held":
                now = time.monotonic()
                if buffer.pending != pending:
                    pending, give_up_at = buffer.pending, now + timeout_seconds
                if now >= give_up_at:
                    break
                sender.loop.limit(give_up_at)
                sender.loop.step(min(now + _STEP_SECONDS, give_up_at))
                stats = pipeline.stats(filtered=0)
                progress.show(task.name, stats.accepted - stats.pending, stats.accepted)
        finally:
            progress.clear()
            sender.loop.close()
            pipeline.let_go()
        return _Result(pipeline.stats(filtered=0), problems)


@contextmanager
def _sources(
    task: _Task, pipeline: Pipeline, buffer: SpooledBuffer
) -> Iterator[tuple[list[AdoptedBuffer | LetterSource], list[str]]]:
    """Take over the orphans and read the dead letters; at the end let go of what is left of them."""
    stores, problems = _adopt(task, pipeline)
    buffer.end()  # Of the stream that tells where the others end.
    adopted = [AdoptedBuffer(store, buffer) for store in stores]
    shelves = list(_shelves(task)) if task.with_dead_letters else []
    letters = []
    for found in shelves:
        shelf = task.plan.directory.dead_letters(found.info.stream)
        try:
            letters.append(LetterSource(shelf, shelf.read(), buffer))
        except OSError as error:
            problems.append(f"the dead letters of {found.info.stream} cannot be read: {error}")
    try:
        yield [*adopted, *letters], problems
    finally:
        for each in adopted:
            each.let_go()
        for found in shelves:
            clear_away(found)


def _adopt(task: _Task, pipeline: Pipeline) -> tuple[list[StreamStore], list[str]]:
    directory, close = task.plan.directory, pipeline.close_stream_of
    try:
        if task.stream is None:
            return directory.adopt_orphans(task.plan.identity, before_use=close)
        store = directory.adopt_stream(task.stream.info.stream, before_use=close)
    except SpoolError as error:
        return [], [str(error)]
    if store is not None:
        return [store], []
    if task.stream.info.is_owned and not task.with_dead_letters:
        return [], [f"a living process has the stream {task.stream.info.stream}, and delivers it itself"]
    return [], []


def _shelves(task: _Task) -> Iterator[Found]:
    """Yield the streams whose dead letters shall go: the one named, or all of this handler's identity."""
    digest = digest_of(task.plan)
    for found in _streams(task.plan):
        is_meant = (
            found.info.stream == task.stream.info.stream
            if task.stream
            else digest is not None and found.info.identity == digest
        )
        if is_meant and found.info.dead_letters:
            yield found


def clear_away(found: Found) -> None:
    """Remove the directory of an orphan that has neither entries nor dead letters any more."""
    try:
        store = found.place.directory.adopt_stream(found.info.stream)
        if store is not None:
            store.close()
    except SpoolError:
        pass  # It is still there, and `list` tells what is wrong with it.


def _print(screen: Screen, task: _Task, result: _Result, secrets: frozenset[str]) -> None:
    stats = result.stats
    name = f"{screen.paint(escaped(task.name), 'bold')} to {settings_of(task.handler).url.origin}"
    if stats.accepted:
        words = f"delivered {stats.delivered:,} of {stats.accepted:,} entries"
        screen.line(f"{name}: {screen.paint(words, 'green' if result.is_good else 'red')}")
    else:
        screen.line(f"{name}: nothing to send")
    why = f": {stats.last_error}" if stats.last_error else ""
    told = list(result.problems)
    if stats.rejected:
        told.append(f"{stats.rejected:,} refused for good, kept as dead letters{why}")
    if stats.dropped:
        told.append(f"{stats.dropped:,} damaged on the disk, what is left of them is kept as dead letters")
    if stats.pending:
        told.append(f"{stats.pending:,} not delivered, still in the spool{why or '; no answer came in time'}")
    for sentence in told:
        screen.line(f"  {escaped(masked(sentence, secrets))}")
