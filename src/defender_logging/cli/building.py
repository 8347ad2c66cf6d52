"""Makes our handlers of a configuration through the standard library's own converters, and nothing else.

``ext://``, ``cfg://``, ``()`` factories, formatters and filters work as in ``dictConfig``; but no logger is
touched, and handlers of others are looked up and not made (they would open files). Construction of ours only
validates, so no network is touched either.

Guaranteed: every problem of every handler is collected, none hides another; no problem shows a key.
"""

from __future__ import annotations

import copy
import importlib
import logging
import logging.config
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import TracebackType
from typing import Any

from defender_logging.cli.display import masked
from defender_logging.cli.findings import Finding
from defender_logging.cli.secrets_known import secrets_in
from defender_logging.errors import ConfigurationError
from defender_logging.handlers import ForwardingHandler

_SECTIONS = ("formatters", "filters", "handlers", "loggers")


@dataclass(slots=True)
class Built:
    """Our handlers of one configuration; closes them at the end of a ``with`` block.

    Attributes:
        handlers: by name, those that could be made.
        ours: the names of all our handlers, the broken ones too.
        findings: what stood in the way, and what is wrong with handlers, formatters and filters.
        secrets: the keys of the configuration, to be masked in whatever is printed.
    """

    handlers: dict[str, ForwardingHandler] = field(default_factory=dict)
    ours: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    secrets: frozenset[str] = frozenset()

    def __enter__(self) -> Built:  # noqa: PYI034 - because Self needs Python 3.11
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the handlers."""
        for handler in self.handlers.values():
            handler.close()


def build(config: Mapping[str, Any]) -> Built:
    """Make every handler of ours that the dictConfig mapping describes."""
    return _Builder(config).build()


class _Builder:
    def __init__(self, config: Mapping[str, Any]) -> None:
        sections = {name: _section(config, name) for name in _SECTIONS}
        self._blocks = sections["handlers"]
        self._built = Built(secrets=frozenset(secrets_in(self._blocks)))
        # Deep copies of the containers: the configurator takes blocks apart.
        self._configurator = logging.config.DictConfigurator(_copied({**config, **sections}))

    def build(self) -> Built:
        for section, make in (
            ("formatters", self._configurator.configure_formatter),
            ("filters", self._configurator.configure_filter),
        ):
            self._make_all(section, make)
        for name, block in self._blocks.items():
            with self._collecting(("handlers", str(name))):
                self._build_handler(name, block)
        return self._built

    def _make_all(self, section: str, make: Any) -> None:
        """Put the ready objects in the place of their blocks, where handlers look for them."""
        config = self._configurator.config
        for name in list(config[section]):
            with self._collecting((section, str(name))):
                made: Any = logging.Formatter() if section == "formatters" else logging.Filter()
                try:
                    made = make(config[section][name])
                finally:
                    config[section][name] = made

    @contextmanager
    def _collecting(self, where: tuple[str, ...]) -> Iterator[None]:
        try:
            yield
        except ConfigurationError as error:
            for problem in error.problems:
                # The first word is the setting's name, for the line in the file.
                self._find((*where, problem.partition(" ")[0]), problem)
        except KeyError as error:
            self._find(where, f"the key {error} is missing")
        except Exception as error:  # noqa: BLE001 - whatever a factory raises
            self._find(where, f"cannot be made: {type(error).__name__}: {error}")

    def _find(self, where: tuple[str, ...], sentence: str) -> None:
        self._built.findings.append(Finding(where, masked(sentence, self._built.secrets)))

    def _build_handler(self, name: Any, block: Any) -> None:
        where = ("handlers", str(name))
        if not isinstance(block, Mapping):
            self._find(where, "is no mapping; give at least its class")
            return
        converting = self._configurator.config["handlers"][name]
        factory = self._factory(where, block, converting)
        if factory is None:
            return
        is_ours = isinstance(factory, type) and issubclass(factory, ForwardingHandler)
        if is_ours:
            self._built.ours.append(str(name))
        self._refuse_unusable(where, converting)
        # A function may return one of ours; there is no way to tell but calling it.
        if is_ours or ("()" in block and not isinstance(factory, type)):
            self._keep(str(name), self._configurator.configure_handler(converting))

    def _keep(self, name: str, handler: Any) -> None:
        if isinstance(handler, ForwardingHandler):
            self._built.handlers[name] = handler
            if name not in self._built.ours:
                self._built.ours.append(name)
        elif isinstance(handler, logging.Handler):
            handler.close()

    def _factory(self, where: tuple[str, ...], block: Mapping[str, Any], converting: Any) -> Any:
        """Return what ``()`` or ``class`` names, None if it cannot be had."""
        if "()" not in block and "class" not in block:
            self._find(where, "has no class; name one, for instance class: defender_logging.SplunkHandler")
            return None
        factory = converting["()" if "()" in block else "class"]
        if not isinstance(factory, str):
            return factory
        try:
            return self._configurator.resolve(factory)
        except (ValueError, AttributeError) as error:
            self._find(
                where, f"{factory!r} cannot be imported ({error.__cause__ or error}){_nearest_class(factory)}"
            )
            return None

    def _refuse_unusable(self, where: tuple[str, ...], converting: dict[str, Any]) -> None:
        """Take out a formatter, filter or level that would fail, so that what else is wrong comes to light."""
        config = self._configurator.config
        formatter, level = converting.get("formatter"), converting.get("level")
        if formatter and formatter not in config["formatters"]:
            self._find(where, f"formatter {_unknown(formatter, config['formatters'])}")
            del converting["formatter"]
        filters = converting.get("filters")
        if filters and not isinstance(filters, (list, tuple)):
            self._find(where, f"filters is {filters!r}; give a list")
            del converting["filters"]
        for name in [name for name in converting.get("filters") or () if isinstance(name, str)]:
            if name not in config["filters"]:
                self._find(where, f"filter {_unknown(name, config['filters'])}")
                converting["filters"] = [kept for kept in converting["filters"] if kept != name]
        if level is not None and level_number(level) is None:
            self._find(
                where,
                f"level is {level!r}, which the logging module does not know; give INFO, say, or a number",
            )
            del converting["level"]


def level_number(level: object) -> int | None:
    """Return the number of a level as ``dictConfig`` reads it, None where it would fail."""
    if isinstance(level, int):
        return level
    number: object = logging.getLevelName(level) if isinstance(level, str) else None
    return number if isinstance(number, int) else None


def _section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = config.get(name)
    return dict(section) if isinstance(section, Mapping) else {}


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return copy.copy(value) if isinstance(value, (set, bytearray)) else value


def _unknown(name: object, known: Mapping[str, Any]) -> str:
    return f"{name!r} is not defined{nearest(str(name), known)}"


def nearest(word: str, known: Any) -> str:
    """Return ``; did you mean 'x'?`` or what there is to choose from."""
    names = [str(name) for name in known]
    close = get_close_matches(word, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there is {', '.join(map(repr, names))}" if names else "; none is"


def _nearest_class(name: str) -> str:
    module, _, attribute = name.rpartition(".")
    if not module:
        return "; name it with its module, such as defender_logging.SplunkHandler"
    try:
        close = get_close_matches(attribute, dir(importlib.import_module(module)), n=1)
    except Exception:  # noqa: BLE001 - whatever an import raises
        close = get_close_matches(module, ["defender_logging"], n=1)
        return (
            f"; did you mean {f'{close[0]}.{attribute}'!r}?" if close else "; is its package installed here?"
        )
    return f"; did you mean {f'{module}.{close[0]}'!r}?" if close else "; correct the name"
