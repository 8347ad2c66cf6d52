"""Translates a ``fileConfig`` INI text into the mapping that ``dictConfig`` takes, so that one check serves both.

``loading`` hands the text over. Arguments of handlers are evaluated, because ``fileConfig`` evaluates them too;
those of the standard library's own handlers are left alone.
"""

from __future__ import annotations

import configparser
import functools
import logging
import logging.handlers
from collections.abc import Callable, Mapping
from typing import Any

from defender_logging.cli.findings import Finding


class BrokenIniError(Exception):
    """The text is no INI; the message has the line, and nothing of the text."""


def translate(text: str) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Read an INI text.

    Returns:
        The dictConfig mapping, and what ``fileConfig`` would stumble over.

    Raises:
        BrokenIniError: it cannot be parsed.
    """
    parser = configparser.ConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise BrokenIniError(_words(error)) from None
    translation = _Translation(parser)
    config = {
        "version": 1,
        "disable_existing_loggers": False,  # An argument of fileConfig, not known here.
        "formatters": translation.sections("formatter", translation.formatter),
        "handlers": translation.sections("handler", translation.handler),
    }
    loggers = translation.sections("logger", translation.logger)
    if "root" in loggers:
        config["root"] = loggers.pop("root")
    else:
        translation.find(("loggers",), "fileConfig needs 'root' among the keys, and a section [logger_root]")
    config["loggers"] = {block.pop("qualname", name): block for name, block in loggers.items()}
    return config, tuple(translation.findings)


def _words(error: configparser.Error) -> str:
    """Say what is wrong without str(error), which quotes the line."""
    line = getattr(error, "lineno", None)
    if line is None:
        line = next((number for number, _ in getattr(error, "errors", ())), None)
    kinds: Mapping[type, str] = {
        configparser.DuplicateSectionError: "a section stands twice",
        configparser.DuplicateOptionError: "a key stands twice in a section",
        configparser.MissingSectionHeaderError: "a line stands before the first [section]",
    }
    what = kinds.get(type(error), "a line is neither [section], 'key = value' nor a comment")
    return f"{what}, in line {line}" if line else what


class _Translation:
    """Takes sections one by one, and notes what is wrong with them."""

    def __init__(self, parser: configparser.ConfigParser) -> None:
        self._parser = parser
        self.findings: list[Finding] = []

    def find(self, where: tuple[str, ...], sentence: str) -> None:
        self.findings.append(Finding(where, sentence))

    def sections(self, kind: str, read: Callable[[str, configparser.SectionProxy], Any]) -> dict[str, Any]:
        """Read what ``[formatters]``, ``[handlers]`` or ``[loggers]`` lists."""
        listing = f"{kind}s"
        keys = self._parser.get(listing, "keys", raw=True, fallback=None)
        if keys is None:
            self.find((listing,), f"fileConfig needs a section [{listing}] with keys = ...")
            return {}
        blocks = {}
        for name in _names(keys):
            section = f"{kind}_{name}"
            if self._parser.has_section(section):
                try:
                    blocks[name] = read(name, self._parser[section])
                except configparser.InterpolationError:
                    self.find((section,), "a value has a single %; write %% for it")
            else:
                self.find((listing,), f"names {name!r}, but there is no section [{section}]")
        return blocks

    def formatter(self, _name: str, section: configparser.SectionProxy) -> dict[str, Any]:
        texts = {key: section.get(key, raw=True) for key in ("format", "datefmt", "style", "class")}
        return {key: text for key, text in texts.items() if text}

    def handler(self, name: str, section: configparser.SectionProxy) -> dict[str, Any]:
        block: dict[str, Any] = {key: section[key] for key in ("level", "formatter") if section.get(key)}
        if "class" not in section:
            self.find((f"handler_{name}",), "has no class; name the handler's class")
            return {**block, "class": "logging.NullHandler"}
        block["class"] = _dotted(section["class"])
        if block["class"].endswith("MemoryHandler") and section.get("target"):
            block["target"] = section["target"]
        if not block["class"].startswith("logging."):
            self._add_arguments(name, section, block)
        return block

    def _add_arguments(self, name: str, section: configparser.SectionProxy, block: dict[str, Any]) -> None:
        where = (f"handler_{name}",)
        args = self._evaluate(where, "args", section.get("args", "()"))
        kwargs = self._evaluate(where, "kwargs", section.get("kwargs", "{}"))
        if args:
            self.find(where, "args has values; the settings are keywords, write kwargs={'url': ..., ...}")
        if isinstance(kwargs, dict):
            block.update(kwargs)

    def _evaluate(self, where: tuple[str, ...], key: str, text: str) -> Any:
        try:
            return eval(text, dict(vars(logging)))  # noqa: S307 - because that is what fileConfig does with it
        except Exception as error:  # noqa: BLE001 - whatever the expression raises
            # Not the text: a key may stand in it.
            self.find(where, f"{key} is no Python expression that works ({type(error).__name__}); correct it")
            return None

    def logger(self, name: str, section: configparser.SectionProxy) -> dict[str, Any]:
        where = (f"logger_{name}",)
        block: dict[str, Any] = {"handlers": _names(section.get("handlers", ""))}
        if "handlers" not in section:
            self.find(where, "has no handlers; fileConfig needs the key, if only 'handlers ='")
        if section.get("level"):
            block["level"] = section["level"]
        if name != "root":
            if "qualname" not in section:
                self.find(where, "has no qualname; name the logger as the program does")
            block["qualname"] = section.get("qualname", name)
            block["propagate"] = section.get("propagate", "1").strip() != "0"
        return block


def _names(keys: str) -> list[str]:
    return [name.strip() for name in keys.split(",") if name.strip()]


def _dotted(name: str) -> str:
    """Return the full name of a class: fileConfig looks into the logging module first."""
    try:
        found = functools.reduce(getattr, name.split("."), logging)
    except AttributeError:
        return name
    return f"logging.{name}" if isinstance(found, type) else name
