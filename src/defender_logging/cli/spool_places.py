"""Finds the spools that a command is about: those of a configuration's handlers, or one directory.

The commands of ``spool`` get a ``Spools`` from here, and the streams in it from ``described`` or ``chosen``. Nothing
is changed, made or connected to. A handler that cannot be made here, for want of its key say, is a finding; its
spool is found all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from defender_logging._pipeline.pipeline import SpoolPlan
from defender_logging._pipeline.spool import SpoolDirectory, SpoolError, StreamInfo, describe_streams
from defender_logging.cli.building import Built, build, nearest
from defender_logging.cli.exits import UsageError
from defender_logging.cli.findings import Finding
from defender_logging.cli.imports import user_modules
from defender_logging.cli.inside import spool_plan_of
from defender_logging.cli.loading import LoadedFile, load

_ANY_BYTES = 1 << 30
"""A bound for those who only read and remove."""


@dataclass(frozen=True, slots=True)
class Place:
    """One spool directory.

    Attributes:
        directory: the spool.
        handlers: names of the configured handlers, by the digest of their identity there.
        is_configured: a configuration names it, so that ``handlers`` says whose each stream is.
    """

    directory: SpoolDirectory
    handlers: Mapping[str, str]
    is_configured: bool


class Found(NamedTuple):
    """One stream and where it is."""

    place: Place
    info: StreamInfo

    @property
    def owner(self) -> str:
        """``alive`` or ``orphan``."""
        return "alive" if self.info.is_owned else "orphan"

    @property
    def handler_name(self) -> str | None:
        """The configured handler that would take it over."""
        return self.place.handlers.get(self.info.identity or "")

    @property
    def described_handler(self) -> Mapping[str, Any]:
        """What its owner wrote about its handler; empty if that is not known."""
        handler = self.info.meta.get("handler")
        return handler if isinstance(handler, dict) else {}


class Spools(NamedTuple):
    """What the argument ``CONFIG | DIR`` names."""

    where: str
    places: Sequence[Place]
    findings: Sequence[Finding] = ()


def find_spools(where: str) -> Spools:
    """Find the spools that a configuration or a directory names.

    Raises:
        UsageError: there is none.
    """
    if Path(where).is_dir():
        return Spools(where, [_place_of_directory(where)])
    with user_modules():
        file = load(where)
        with build(file.config) as built:
            places = places_of(file, built)
            findings = [*file.findings, *built.findings]
    if not places and not file.is_broken:
        raise UsageError(
            f"no handler of defender_logging in {where!r} has a spool_dir, so nothing is on disk"
        )
    return Spools(where, places, findings)


def _place_of_directory(where: str) -> Place:
    path = Path(where)
    try:
        names = [each.name for each in path.iterdir()]
        # A stream has a lock and the spool a salt; without either, it is somebody else's folder.
        is_spool = not names or "salt" in names or any((path / name / "lock").is_file() for name in names)
    except OSError as error:
        raise UsageError(f"{where!r} cannot be read ({error.strerror}); check its permissions") from None
    if not is_spool:
        raise UsageError(
            f"{where!r} is not a spool: name what a handler has as spool_dir, or its configuration"
        )
    return Place(SpoolDirectory(path, _ANY_BYTES), {}, is_configured=False)


def places_of(file: LoadedFile, built: Built) -> list[Place]:
    """Return the spools of a configuration's handlers, each once."""
    handlers: dict[Path, dict[str, str]] = {}
    for name in built.ours:
        plan = _plan_of(name, built)
        path = plan.directory.path if plan else _written_path(file.config["handlers"][name])
        if path is not None:
            known = handlers.setdefault(path, {})
            if plan is not None and (digest := digest_of(plan)):
                known[digest] = name
    return [
        Place(SpoolDirectory(path, _ANY_BYTES), known, is_configured=True) for path, known in handlers.items()
    ]


def _plan_of(name: str, built: Built) -> SpoolPlan | None:
    handler = built.handlers.get(name)
    return None if handler is None else spool_plan_of(handler, name)


def _written_path(block: Mapping[str, Any]) -> Path | None:
    """Return the ``spool_dir`` of a handler that cannot be made here."""
    written = block.get("spool_dir")
    return Path(written).expanduser().absolute() if isinstance(written, str) and written.strip() else None


def digest_of(plan: SpoolPlan) -> str | None:
    """Return what streams of this handler have as ``identity``; None if its spool has no salt yet. Makes none."""
    try:
        salt = bytes.fromhex((plan.directory.path / "salt").read_text("ascii").strip())
    except (OSError, ValueError):
        return None
    return plan.identity.seal(salt).digest


def described(spools: Spools) -> Iterator[Found]:
    """Yield all streams, read whole."""
    for place in spools.places:
        yield from streams_in(place)


def streams_in(place: Place) -> Iterator[Found]:
    """Yield the streams of one spool.

    Raises:
        UsageError: it cannot be listed.
    """
    try:
        paths = place.directory.stream_paths()
    except SpoolError as error:
        raise UsageError(str(error)) from None
    for path in paths:
        for info in describe_streams([path]):
            yield Found(place, info)


def chosen(spools: Spools, streams: Sequence[str]) -> list[Found]:
    """Return the streams of these names, or all if none is given.

    Raises:
        UsageError: there is no such stream.
    """
    found = list(described(spools))
    names = [each.info.stream for each in found]
    for stream in streams:
        if stream not in names:
            raise UsageError(f"{spools.where!r} has no stream {stream!r}{nearest(stream, names)}")
    return [each for each in found if not streams or each.info.stream in streams]
