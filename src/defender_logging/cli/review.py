"""Finds what people trip over in a configuration that is valid by itself: records that never reach a handler.

``check`` brings the dictConfig mapping and the handlers that ``building`` made of it. Pure: it asks the
configuration, not the process's loggers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

from defender_logging.cli.building import Built, level_number, nearest
from defender_logging.cli.findings import Finding
from defender_logging.cli.inside import settings_of
from defender_logging.severity import Severity

_TOP_KEYS = (
    "version",
    "formatters",
    "filters",
    "handlers",
    "loggers",
    "root",
    "incremental",
    "disable_existing_loggers",
)
_LOGGER_KEYS = ("level", "propagate", "filters", "handlers")
_ROOT = "root"
_CLOSE = 0.8
"""How like a known key another one must be to count as a slip; YAML files keep anchors under keys of their own."""


class Source(NamedTuple):
    """A logger whose records reach a handler, with the lowest level that does."""

    name: str
    levelno: int


@dataclass(frozen=True, slots=True)
class _Logger:
    name: str
    levelno: int
    handlers: tuple[str, ...]
    propagates: bool
    has_own_level: bool


def review(config: Mapping[str, Any], built: Built, *, is_ini: bool = False) -> list[Finding]:
    """Return what is wrong around the handlers, and what is worth a note."""
    findings = [*_about_top(config, is_ini=is_ini), *_about_loggers(config)]
    if not built.ours:
        findings.append(
            Finding(
                (), "no handler of defender_logging is in this file; add one, see docs/getting-started.md"
            )
        )
    routes = Routes(config)
    for name in built.ours:
        findings += _about_route(name, routes, built)
        findings += [
            Finding(
                ("handlers", name),
                f"every user of this machine can read {path!r}; chmod 600 it",
                is_note=True,
            )
            for path in _open_key_files(built, name)
        ]
    return findings


def _open_key_files(built: Built, name: str) -> tuple[str, ...]:
    handler = built.handlers.get(name)
    return settings_of(handler).open_key_files if handler is not None else ()


class Routes:
    """Which loggers feed a handler, directly or through a ``MemoryHandler`` or ``QueueHandler`` before it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._blocks = _mapping(config.get("handlers"))
        self._loggers = _loggers(config)

    def sources(self, handler: str) -> list[Source]:
        """Return the loggers that have the handler, and those below them that have a level of their own."""
        entrances = self._entrances(handler)
        found = {}
        for name, logger in self._loggers.items():
            ways = [entrances[h] for above in self._way_up(name) for h in self._held(above, entrances)]
            if ways and (self._held(name, entrances) or logger.has_own_level):
                found[name] = Source(name, max(logger.levelno, min(ways)))
        return list(found.values())

    def doubled(self, handler: str) -> Iterator[tuple[str, str]]:
        """Yield pairs of loggers that both have the handler, though the first passes its records to the second."""
        entrances = self._entrances(handler)
        names = [name for name in self._loggers if self._held(name, entrances)]
        for name in names:
            above = next((other for other in self._way_up(name) if other != name and other in names), None)
            if above is not None:
                yield name, above

    def _held(self, name: str, entrances: Mapping[str, int]) -> list[str]:
        return [handler for handler in self._loggers[name].handlers if handler in entrances]

    def _entrances(self, handler: str, seen: frozenset[str] = frozenset()) -> dict[str, int]:
        """Return the handlers that lead to a handler, itself included, with the levels on the way."""
        found = {handler: 0}
        for name, block in self._blocks.items():
            if not isinstance(block, Mapping) or name in seen | {handler}:
                continue
            behind = block.get("handlers")
            if block.get("target") == handler or (isinstance(behind, (list, tuple)) and handler in behind):
                own = level_number(block.get("level")) or 0
                further = self._entrances(name, seen | {handler})
                found.update({entrance: max(own, levelno) for entrance, levelno in further.items()})
        return found

    def _way_up(self, name: str) -> Iterator[str]:
        """Yield the configured loggers that a record of ``name`` passes, itself first."""
        while True:
            logger = self._loggers.get(name)
            if logger is not None:
                yield name
                if not logger.propagates:
                    return
            if name == _ROOT:
                return
            name = name.rpartition(".")[0] or _ROOT


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _blocks(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the blocks of all loggers by name, the root's always among them."""
    blocks = {_ROOT: _mapping(config.get("root"))}
    for name, block in _mapping(config.get("loggers")).items():
        # getLogger("") and, from Python 3.9 on, getLogger("root") are the root as well.
        blocks[str(name) or _ROOT] = _mapping(block)
    return blocks


def _loggers(config: Mapping[str, Any]) -> dict[str, _Logger]:
    blocks = _blocks(config)
    return {
        name: _Logger(
            name,
            _effective_level(name, blocks),
            _handler_names(block),
            propagates=bool(block.get("propagate", True)),
            has_own_level=bool(level_number(block.get("level"))),
        )
        for name, block in blocks.items()
    }


def _handler_names(block: Mapping[str, Any]) -> tuple[str, ...]:
    handlers = block.get("handlers")
    return tuple(map(str, handlers)) if isinstance(handlers, (list, tuple)) else ()


def _effective_level(name: str, blocks: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the level that holds for a logger; a root that is told none has WARNING, as a process begins."""
    while True:
        own = level_number(blocks.get(name, {}).get("level")) or 0
        if own or name == _ROOT:
            return own if own or "level" in blocks[_ROOT] else logging.WARNING
        name = name.rpartition(".")[0] or _ROOT


def _about_top(config: Mapping[str, Any], *, is_ini: bool) -> Iterator[Finding]:
    version = config.get("version")
    if version != 1:
        said = "is missing" if "version" not in config else f"is {version!r}"
        yield Finding(("version",), f"version {said}; dictConfig needs version: 1 at the top of the mapping")
    if config.get("incremental"):
        yield Finding(("incremental",), "with incremental: true no handler is made; leave it out")
    elif not is_ini and config.get("disable_existing_loggers", True):
        yield Finding(
            ("disable_existing_loggers",),
            "loggers that were made before this file is loaded, and are not named in it, fall silent; "
            "disable_existing_loggers: false keeps them",
            is_note=True,
        )
    for section in ("formatters", "filters", "handlers", "loggers"):
        if not isinstance(config.get(section, {}), Mapping):
            yield Finding(
                (section,), f"{section} is no mapping; give names and their settings, or leave it out"
            )
    yield from _slips((), config, _TOP_KEYS)


def _slips(where: tuple[str, ...], block: Mapping[Any, Any], known: tuple[str, ...]) -> Iterator[Finding]:
    """Find keys that the logging module passes over in silence though they look like one of its own."""
    for key in map(str, block):
        close = get_close_matches(key, known, n=1, cutoff=_CLOSE) if key not in known else []
        if close:
            yield Finding((*where, key), f"{key!r} is ignored by dictConfig; did you mean {close[0]!r}?")


def _about_loggers(config: Mapping[str, Any]) -> Iterator[Finding]:
    defined = _mapping(config.get("handlers"))
    places: list[tuple[tuple[str, ...], Any]] = [((_ROOT,), config.get(_ROOT))]
    places += [(("loggers", str(name)), block) for name, block in _mapping(config.get("loggers")).items()]
    for where, block in places:
        if block is None and where == (_ROOT,):
            continue
        if not isinstance(block, Mapping):
            yield Finding(where, "is no mapping; give level, handlers or both")
            continue
        yield from _slips(where, block, _LOGGER_KEYS)
        yield from _about_names(where, block, "handlers", defined)
        yield from _about_names(where, block, "filters", _mapping(config.get("filters")))
        level = block.get("level")
        if level is not None and level_number(level) is None:
            known = nearest(str(level).upper(), ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
            yield Finding(
                (*where, "level"), f"level is {level!r}, which the logging module does not know{known}"
            )


def _about_names(
    where: tuple[str, ...], block: Mapping[str, Any], key: str, defined: Mapping[Any, Any]
) -> Iterator[Finding]:
    names = block.get(key)
    if names is None:
        return
    if not isinstance(names, (list, tuple)):
        yield Finding((*where, key), f"{key} is {names!r}; give a list, such as [{names}]")
        return
    for name in names:
        if isinstance(name, str) and name not in defined:
            yield Finding(
                (*where, key), f"{key} names {name!r}, which is not defined{nearest(name, defined)}"
            )


def _about_route(name: str, routes: Routes, built: Built) -> Iterator[Finding]:
    where = ("handlers", name)
    sources = routes.sources(name)
    if not sources:
        yield Finding(
            where,
            f"is attached to no logger, so nothing reaches it; add {name!r} to the handlers of root, say",
        )
    for logger, above in routes.doubled(name):
        yield Finding(
            where,
            f"gets each record of {logger!r} twice, from {logger!r} and from {above!r} above it; take it from "
            f"one of the two, or set propagate: false for {logger!r}",
        )
    handler = built.handlers.get(name)
    if handler is not None and sources:
        yield from _about_levels(where, handler.level, sources, settings_of(handler).log_levels)


def _about_levels(
    where: tuple[str, ...], own: int, sources: list[Source], selected: frozenset[Severity]
) -> Iterator[Finding]:
    """Find levels that are selected and can never arrive."""
    levels = [level for level in Severity if level in selected]
    by_handler = [level for level in levels if _is_below(level, own)]
    if by_handler:
        yield Finding(
            where,
            f"level is {level_name(own)}, which holds back {', '.join(by_handler)} of its log_levels; "
            "leave level out, since log_levels selects",
        )
    lowest = min(source.levelno for source in sources)
    by_logger = [level for level in levels if _is_below(level, lowest) and level not in by_handler]
    # «all» means whatever there is, and hardly anybody logs at trace.
    if by_logger and not (by_logger == [Severity.TRACE] and len(levels) == len(Severity)):
        names = " and ".join(f"{source.name!r}" for source in sources)
        levels_left = ", ".join(level for level in levels if level not in by_logger)
        yield Finding(
            where,
            f"selects {', '.join(by_logger)}, which never come: {names} let through "
            f"{level_name(lowest)} and above; set level: {level_name(by_logger[0].levelno)} there, "
            f"or log_levels: [{levels_left}] here",
        )


def level_name(levelno: int) -> str:
    """Return how a level is written in a configuration: by name, or by number where it has no name."""
    name = str(logging.getLevelName(levelno))
    return str(levelno) if name.startswith("Level ") else name


def _is_below(level: Severity, levelno: int) -> bool:
    """Whether no record of this severity reaches ``levelno``."""
    return level.levelno < Severity.from_levelno(levelno).levelno
