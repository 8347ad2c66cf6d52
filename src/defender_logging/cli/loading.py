"""Reads a file of logging configuration as the mapping that ``logging.config.dictConfig`` takes.

YAML, JSON and INI (``fileConfig``) are told apart by suffix, or by content. The commands get a ``LoadedFile``
from here; ``building`` makes handlers of it. Nothing is configured, and no text of the file is quoted in a
message: a key may stand in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from defender_logging.cli import ini
from defender_logging.cli.exits import UsageError
from defender_logging.cli.findings import Finding

MAX_FILE_BYTES = 1_000_000
"""No logging configuration is larger; a wrong file name must not fill the memory."""

_YAML = "yaml"
_JSON = "json"
_INI = "ini"
_BY_SUFFIX = {".yaml": _YAML, ".yml": _YAML, ".json": _JSON, ".ini": _INI, ".cfg": _INI, ".conf": _INI}

Where = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """What a file says.

    Attributes:
        path: as the user gave it.
        config: the dictConfig mapping; that of an INI file is translated. Empty when ``is_broken``.
        is_ini: it is for ``fileConfig``.
        is_broken: it cannot be parsed; ``findings`` says where.
        findings: what is wrong with the text as such.
        lines: keys from the top down, to their line; for YAML only.
    """

    path: str
    config: Mapping[str, Any] = field(default_factory=dict)
    is_ini: bool = False
    is_broken: bool = False
    findings: tuple[Finding, ...] = ()
    lines: Mapping[Where, int] = field(default_factory=dict)

    def line_of(self, where: Where) -> int | None:
        """Return the line of a key, or of the nearest one above it that is in the file."""
        while where:
            if where in self.lines:
                return self.lines[where]
            where = where[:-1]
        return None


class _BrokenTextError(Exception):
    """The text is not what its form asks for; the message has the place, and nothing of the text."""


class _Parsed(NamedTuple):
    content: Any
    findings: tuple[Finding, ...] = ()
    lines: Mapping[Where, int] = {}


def load(path: str) -> LoadedFile:
    """Read a configuration.

    Raises:
        UsageError: there is no such file, it cannot be read, or a package for it is missing.
    """
    text = _read(path)
    form = _form_of(path, text)
    readers: Mapping[str, Callable[[str], _Parsed]] = {_YAML: _read_yaml, _JSON: _read_json, _INI: _read_ini}
    try:
        content, findings, lines = readers[form](text)
    except _BrokenTextError as error:
        return LoadedFile(path, is_broken=True, findings=(Finding((), f"{form.upper()}: {error}"),))
    if not isinstance(content, Mapping):
        sentence = f"the file holds {_kind_of(content)}; a mapping with version, handlers and root is needed"
        return LoadedFile(path, is_broken=True, findings=(Finding((), sentence),))
    return LoadedFile(path, content, is_ini=form == _INI, findings=findings, lines=lines)


def _read(path: str) -> str:
    file = Path(path)
    try:
        if file.is_dir():
            raise UsageError(f"{path!r} is a folder; name the configuration file in it")
        with file.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path!r}; check the name and the current folder") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name.
        raise UsageError(
            f"{path!r} cannot be read ({type(error).__name__}); check it and its permissions"
        ) from None
    if len(raw) > MAX_FILE_BYTES:
        raise UsageError(f"{path!r} has more than {MAX_FILE_BYTES} bytes; is it a logging configuration?")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path!r} is not UTF-8 (byte {error.start}); save it as UTF-8") from None


def _form_of(path: str, text: str) -> str:
    suffix = Path(path).suffix.lower()
    if suffix == ".toml":
        raise UsageError(f"{path!r} is TOML, which the logging module does not read; use YAML, JSON or INI")
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    start = text.lstrip()
    if start.startswith("{"):
        return _JSON
    return _INI if any(line.strip() in ("[loggers]", "[handlers]") for line in text.splitlines()) else _YAML


def _kind_of(content: Any) -> str:
    return "nothing" if content is None else f"a {type(content).__name__}"


def _read_json(text: str) -> _Parsed:
    doubles: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        doubles.extend(dict.fromkeys(name for name in names if names.count(name) > 1))
        return dict(pairs)

    try:
        content = json.loads(text, object_pairs_hook=collect)
    except json.JSONDecodeError as error:
        raise _BrokenTextError(f"{error.msg}, in line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise _BrokenTextError("it is nested too deep") from None
    return _Parsed(content, tuple(Finding((), _double(name)) for name in doubles))


def _double(name: str) -> str:
    return f"the key {name!r} stands twice in one mapping, and the first one is ignored; remove or rename one"


def _read_ini(text: str) -> _Parsed:
    try:
        config, findings = ini.translate(text)
    except ini.BrokenIniError as error:
        raise _BrokenTextError(str(error)) from None
    return _Parsed(config, findings)


def _read_yaml(text: str) -> _Parsed:
    try:
        import yaml  # Here, because it is optional (extra «yaml»).
    except ModuleNotFoundError:
        raise UsageError(
            'PyYAML is needed to read YAML and is not installed; pip install "defender-logging[yaml]"'
        ) from None
    findings: list[Finding] = []
    lines: dict[Where, int] = {}
    try:
        _walk(yaml.compose(text, Loader=yaml.SafeLoader), (), lines, findings)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        # Not str(error): it quotes the lines around the place, and a key may stand in one.
        mark = getattr(error, "problem_mark", None)
        place = f", in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise _BrokenTextError(f"{getattr(error, 'problem', None) or 'it cannot be read'}{place}") from None
    except (RecursionError, ValueError):  # ValueError: a date such as 2026-99-99.
        raise _BrokenTextError("it is nested too deep, or has a value that is none") from None
    return _Parsed(content, tuple(findings), lines)


_MAX_DEPTH = 100
"""Deeper than any configuration; YAML can write a list that contains itself."""


def _walk(node: Any, where: Where, lines: dict[Where, int], findings: list[Finding], depth: int = 0) -> None:
    """Note the line of every key, and what YAML passes over in silence: a key that stands twice."""
    if depth > _MAX_DEPTH:
        raise RecursionError
    if getattr(node, "id", None) == "sequence":
        for item in node.value:  # Also so that a list inside itself shows as nested without end.
            _walk(item, where, {}, findings, depth + 1)
        return
    if getattr(node, "id", None) != "mapping":
        return
    seen: set[str] = set()
    for key, value in node.value:
        if not isinstance(key.value, str):
            continue
        path = (*where, key.value)
        lines[path] = key.start_mark.line + 1
        if key.value in seen:
            findings.append(Finding(path, _double(key.value)))
        seen.add(key.value)
        _walk(value, path, lines, findings, depth + 1)
