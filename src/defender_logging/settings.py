"""Every setting of the handlers: its name, its default, how it is read, and what it may not be together with.

``read_settings`` takes the keywords of a handler (which are the keys of its dictConfig block) and returns
frozen ``Settings``, or raises one ``ConfigurationError`` that names all problems, each with its value (never
a secret) and the remedy. Pure but for ``env:`` and ``file:`` references, which are followed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from defender_logging import parsers
from defender_logging._pipeline.buffer import Overflow
from defender_logging._pipeline.compression import COMPRESSIONS, has_zstd
from defender_logging._pipeline.in_flight import HIGHEST_FIXED
from defender_logging._pipeline.integrity import Integrity
from defender_logging._pipeline.spool import Fsync, SpoolDirectory
from defender_logging.destinations import datadog, generic, splunk
from defender_logging.destinations.base import Limits
from defender_logging.errors import ConfigurationError
from defender_logging.field_names import CALLER_NAMES, RESERVED_NAMES
from defender_logging.proxies import environment_proxy
from defender_logging.redaction import Redactor
from defender_logging.secret import Secret, SecretText, Url, is_open_to_all, resolve_reference
from defender_logging.selection import parse_log_levels, parse_log_types
from defender_logging.vocabulary import Vocabulary

if TYPE_CHECKING:
    from defender_logging.severity import Severity

__all__ = ["Kind", "Settings", "read_settings"]

LATER = frozenset(
    {
        "preset",
    }
)
"""Names of the contract that this version does not have yet: refused rather than accepted and ignored."""


MIN_SPOOL_BYTES = 65_536
"""Less does not hold a handful of entries."""


class CommonKeywords(TypedDict, total=False):
    """The keywords that every handler takes; docs/configuration.md tells what they mean."""

    level: int | str
    url: str
    api_header_name: str
    api_key: str
    log_types: Iterable[str] | str | None
    log_levels: Iterable[str] | str
    service: str
    environment: str
    host: str
    tags: Iterable[str] | Mapping[str, str]
    static_fields: Mapping[str, Any]
    vocabulary: Vocabulary | Mapping[str, Any]
    max_queue_bytes: int
    overflow: str
    block_timeout_seconds: float
    max_batch_entries: int
    max_batch_bytes: int
    flush_interval_seconds: float
    compression: str
    connect_timeout_seconds: float
    request_timeout_seconds: float
    max_in_flight: int | Literal["auto"]
    retry_initial_seconds: float
    retry_max_seconds: float
    retry_after_max_seconds: float
    hold_retry_seconds: float
    shutdown_timeout_seconds: float
    spool_dir: str
    max_spool_bytes: int
    fsync: str
    ca_file: str
    client_cert_file: str
    client_key_file: str
    server_fingerprint: str
    proxy_url: str
    allow_plaintext: bool
    redact: Iterable[str] | Mapping[str, Iterable[str]]
    integrity: str
    integrity_key: str


class SplunkKeywords(CommonKeywords, total=False):
    """The keywords of ``SplunkHandler``."""

    index: str
    source: str
    sourcetype: str
    indexed_fields: Iterable[str]
    use_ack: bool
    ack_timeout_seconds: float


class DatadogKeywords(CommonKeywords, total=False):
    """The keywords of ``DatadogHandler``."""

    site: str
    ddsource: str


class ApiKeyKeywords(CommonKeywords, total=False):
    """The keywords of ``ApiKeyHandler``."""

    body: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one handler, read and checked.

    ``vendor`` has those of the destination alone; ``headers`` among them may be secret, so it is not printed.
    ``open_key_files`` are the files with keys that every user of this machine may read.
    """

    url: Url
    api_header_name: str | None
    api_key: Secret | None
    log_types: frozenset[str] | None
    log_levels: frozenset[Severity]
    service: str | None
    environment: str | None
    host: str
    tags: tuple[str, ...]
    static_fields: Mapping[str, Any]
    vocabulary: Vocabulary
    max_queue_bytes: int
    overflow: Overflow
    block_timeout_seconds: float
    max_batch_entries: int
    max_batch_bytes: int
    flush_interval_seconds: float
    compression: str
    connect_timeout_seconds: float
    request_timeout_seconds: float
    max_in_flight: int | Literal["auto"]
    retry_initial_seconds: float
    retry_max_seconds: float
    retry_after_max_seconds: float
    hold_retry_seconds: float
    shutdown_timeout_seconds: float
    spool_dir: str | None
    max_spool_bytes: int
    fsync: Fsync
    ca_file: str | None
    client_cert_file: str | None
    client_key_file: str | None
    server_fingerprint: str | None
    proxy_url: Url | None
    redactor: Redactor
    integrity: Integrity
    integrity_key: Secret | None
    level: int
    open_key_files: tuple[str, ...]
    vendor: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Setting:
    """How one setting is read: a function of ``parsers``, and the default (not read again)."""

    read: Callable[[Any], Any]
    default: Any = None


@dataclass(frozen=True, slots=True)
class Kind:
    """What one handler class brings along.

    Attributes:
        handler: its class name, for messages.
        limits: of its destination.
        vendor: its own settings.
        api_header_name: its default.
        needs_key: whether ``api_key`` must be given.
        normalise_key: makes the header's value of a key.
        full_target: completes the path of a bare URL.
    """

    handler: str
    limits: Limits
    vendor: Mapping[str, Setting]
    api_header_name: str | None = None
    needs_key: bool = False
    normalise_key: Callable[[str], str] = parsers.header_value
    full_target: Callable[[str], str] = str


def _field_names(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"is {value!r}; give a list of field names, [] for none")
    return tuple(map(str, value))


def _static_fields(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"is {value!r}; give a mapping of names to values")
    taken = sorted(name for name in value if name in RESERVED_NAMES - CALLER_NAMES)
    if taken:
        raise ValueError(
            f"has {', '.join(map(repr, taken))}, reserved for the entry itself; choose other names"
        )
    return MappingProxyType(dict(value))


def _headers(value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError(f"is of type {type(value).__name__}; give a mapping of header names to values")
    read: dict[str, str] = {}
    for name, item in value.items():
        checked, content = generic.check_header(
            name, resolve_reference(item) if isinstance(item, str) else item
        )
        if checked.lower() in map(str.lower, read):
            raise ValueError(f"the header {checked!r} is there twice; leave one of them out")
        read[checked] = SecretText(content)
    return MappingProxyType(read)


def _key_header(value: object) -> str:
    name, _ = generic.check_header(parsers.token(value), "checked apart")
    return name


def _spool_dir(value: object) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"is {value!r}; give the path of a directory that is this service's own")
    path = str(Path(value).expanduser())
    problem = SpoolDirectory(path, MIN_SPOOL_BYTES).check()
    if problem:
        raise ValueError(f"is {value!r}: {problem}")
    return path


def _integrity(value: object) -> Integrity:
    if value is False:  # What YAML makes of a bare «off».
        return Integrity.OFF
    return Integrity(parsers.choice(*(each.value for each in Integrity))(value))


def _in_flight(value: object) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= HIGHEST_FIXED:
        return value
    raise ValueError(
        f"is {value!r}; give a whole number of requests from 1 to {HIGHEST_FIXED}, or 'auto' to let it adapt"
    )


def _metadata(name: str, default: str | None = None) -> Setting:
    return Setting(lambda value: splunk.check_metadata(name, value), default)


def _host_name() -> str:
    return socket.gethostname() or "localhost"


def _common(limits: Limits) -> dict[str, Setting]:
    """Make the table of the settings that all handlers share, in the order of docs/configuration.md."""
    wait, wait_or_none = parsers.seconds(), parsers.seconds(may_be_zero=True)
    return {
        "url": Setting(parsers.url),
        "api_header_name": Setting(_key_header),
        "log_levels": Setting(parse_log_levels, parse_log_levels(None)),
        "service": Setting(parsers.text),
        "environment": Setting(parsers.text),
        "host": Setting(parsers.text),
        "tags": Setting(parsers.tags, ()),
        "static_fields": Setting(_static_fields, MappingProxyType({})),
        "max_queue_bytes": Setting(parsers.byte_count(), 33_554_432),
        "overflow": Setting(
            lambda value: Overflow(parsers.choice(*(o.value for o in Overflow))(value)), Overflow.DROP_NEWEST
        ),
        "block_timeout_seconds": Setting(wait_or_none, 1.0),
        "max_batch_entries": Setting(
            parsers.count("entries", limits.max_batch_entries),
            limits.default_batch_entries or limits.max_batch_entries,
        ),
        "max_batch_bytes": Setting(parsers.byte_count(limits.max_batch_bytes), limits.default_batch_bytes),
        "flush_interval_seconds": Setting(wait_or_none, 1.0),
        "compression": Setting(parsers.choice(*COMPRESSIONS), "gzip"),
        "connect_timeout_seconds": Setting(wait, 5.0),
        "request_timeout_seconds": Setting(wait, 15.0),
        "max_in_flight": Setting(_in_flight, 1),
        "retry_initial_seconds": Setting(wait, 1.0),
        "retry_max_seconds": Setting(wait, 60.0),
        "retry_after_max_seconds": Setting(wait_or_none, 600.0),
        "hold_retry_seconds": Setting(wait, 300.0),
        "shutdown_timeout_seconds": Setting(wait_or_none, 5.0),
        "spool_dir": Setting(_spool_dir),
        "max_spool_bytes": Setting(parsers.byte_count(), 1_073_741_824),
        "fsync": Setting(
            lambda value: Fsync(parsers.choice(*(f.value for f in Fsync))(value)), Fsync.INTERVAL
        ),
        "ca_file": Setting(parsers.existing_file),
        "client_cert_file": Setting(parsers.existing_file),
        "client_key_file": Setting(parsers.existing_file),
        "server_fingerprint": Setting(parsers.fingerprint),
        "proxy_url": Setting(parsers.proxy_url),
        "allow_plaintext": Setting(parsers.flag, default=False),
        "redact": Setting(Redactor.from_setting, Redactor.from_setting(None)),
        "integrity": Setting(_integrity, Integrity.OFF),
        "integrity_key": Setting(parsers.secret()),
        "level": Setting(parsers.level, 0),
    }


SPLUNK = Kind(
    "SplunkHandler",
    splunk.SplunkDestination.limits,
    {
        "index": _metadata("index"),
        "source": _metadata("source"),
        "sourcetype": _metadata("sourcetype", splunk.DEFAULT_SOURCETYPE),
        "indexed_fields": Setting(_field_names, splunk.DEFAULT_INDEXED_FIELDS),
        "use_ack": Setting(parsers.flag, default=False),
        "ack_timeout_seconds": Setting(parsers.seconds(), 300.0),
    },
    api_header_name="Authorization",
    needs_key=True,
    normalise_key=lambda key: splunk.normalise_token(parsers.header_value(key)),
    full_target=splunk.full_target,
)
DATADOG = Kind(
    "DatadogHandler",
    datadog.DatadogDestination.limits,
    {"site": Setting(datadog.site_url), "ddsource": Setting(parsers.text, "defender")},
    api_header_name="DD-API-KEY",
    needs_key=True,
    full_target=datadog.full_target,
)
GENERIC = Kind(
    "ApiKeyHandler",
    generic.GenericDestination.limits,
    {
        "body": Setting(parsers.choice(*generic.BODIES), "json_array"),
        "headers": Setting(_headers, MappingProxyType({})),
    },
)


class _Reader:
    """Reads one handler's keywords, collecting every problem instead of stopping at the first."""

    def __init__(self, kind: Kind, given: Mapping[str, Any]) -> None:
        self.kind = kind
        self.given = {name: value for name, value in given.items() if value is not None}
        self.problems: list[str] = []

    def read(self, name: str, setting: Setting) -> Any:
        if name not in self.given:
            return setting.default
        try:
            return setting.read(self.given[name])
        except ValueError as error:
            self.problems.append(_sentence(name, str(error)))
            return setting.default

    def refuse_unknown(self, known: Iterable[str]) -> None:
        for name in self.given:
            if name in LATER:
                self.problems.append(f"{name} is not available in this version; leave it out")
            elif name not in known:
                remedy = parsers.nearest(name, known) or "; leave it out"
                self.problems.append(f"{name} is not a setting of {self.kind.handler}{remedy}")


def _sentence(name: str, problem: str) -> str:
    """Begin a problem with its setting's name, unless it does."""
    if problem.startswith(name):
        return problem
    return f"{name}: {problem}" if problem.startswith("the ") else f"{name} {problem}"


def read_settings(kind: Kind, given: dict[str, Any]) -> Settings:
    """Read and check the keywords of a handler; None means «not given».

    Raises:
        ConfigurationError: with every problem.
    """
    reader = _Reader(kind, given)
    table = _common(kind.limits)
    values = {name: reader.read(name, setting) for name, setting in table.items()}
    vendor = {name: reader.read(name, setting) for name, setting in kind.vendor.items()}
    values["vocabulary"] = reader.read("vocabulary", Setting(Vocabulary.from_config, Vocabulary.default()))
    values["log_types"] = reader.read(
        "log_types", Setting(lambda value: parse_log_types(value, values["vocabulary"]))
    )
    values["api_key"] = reader.read("api_key", Setting(parsers.secret(kind.normalise_key)))
    reader.refuse_unknown([*table, *kind.vendor, "vocabulary", "log_types", "api_key"])
    _check_address(reader, values, vendor)
    _check_proxy(reader, values)
    _check_key(reader, values, vendor)
    _check_together(reader, values)
    if reader.problems:
        given.clear()  # Error trackers record the locals of every frame, and a key may stand in here.
        raise ConfigurationError(kind.handler, reader.problems)
    values["redactor"] = values.pop("redact")
    values["open_key_files"] = tuple(filter(is_open_to_all, _key_files(reader.given)))
    values["host"] = values["host"] or _host_name()
    names = {field.name for field in fields(Settings)}
    return Settings(
        **{name: value for name, value in values.items() if name in names}, vendor=MappingProxyType(vendor)
    )


def _check_address(reader: _Reader, values: dict[str, Any], vendor: dict[str, Any]) -> None:
    problems = reader.problems
    if "site" in reader.kind.vendor:
        if "site" in reader.given and "url" in reader.given:
            problems.append("site and url are both given; leave one of them out")
        elif "url" not in reader.given:
            values["url"] = Url(vendor["site"] or datadog.site_url(datadog.SITES["US1"]))
    url = values["url"]
    if url is None:
        if "url" not in reader.given:
            problems.append(
                "url is missing; give the receiver's address, or 'env:NAME' for one in the environment"
            )
    elif url.scheme == "http" and not url.is_loopback and not values["allow_plaintext"]:
        problems.append(
            f"url is {url.origin}, which would send key and trail unencrypted; use https://, or set "
            "allow_plaintext: true if the network in between is yours"
        )


def _check_proxy(reader: _Reader, values: dict[str, Any]) -> None:
    url, proxy = values["url"], values["proxy_url"]
    if url is None:
        return
    if "proxy_url" not in reader.given:
        try:
            values["proxy_url"] = environment_proxy(url, os.environ)
        except ValueError as error:
            reader.problems.append(str(error))
    elif proxy and url.scheme == "http" and not proxy.is_loopback and not values["allow_plaintext"]:
        reader.problems.append(
            f"proxy_url is {proxy.origin} and url is {url.origin}, so key and trail would reach the proxy "
            "unencrypted; leave proxy_url out, use https://, or set allow_plaintext: true"
        )


def _key_files(given: Mapping[str, Any]) -> Iterable[str]:
    """Return the paths of the files that hold keys, each once."""
    headers, redact = given.get("headers"), given.get("redact")
    references = [given.get(name) for name in ("api_key", "url", "proxy_url", "integrity_key")]
    references += headers.values() if isinstance(headers, Mapping) else []
    references += [redact.get("digest_key")] if isinstance(redact, Mapping) else []
    paths = [
        each[len("file:") :] for each in references if isinstance(each, str) and each.startswith("file:")
    ]
    paths.append(given.get("client_key_file") or given.get("client_cert_file") or "")
    return dict.fromkeys(filter(None, paths))


def _check_key(reader: _Reader, values: dict[str, Any], vendor: dict[str, Any]) -> None:
    kind, problems = reader.kind, reader.problems
    if "api_key" not in reader.given:
        if kind.needs_key:
            problems.append("api_key is missing; give 'env:NAME' or 'file:PATH' (or the key itself)")
        elif "api_header_name" in reader.given:
            problems.append("api_header_name is given without api_key; give both or none")
    elif kind.api_header_name is None and "api_header_name" not in reader.given:
        problems.append("api_key is given without api_header_name; name the header that carries the key")
    values["api_header_name"] = values["api_header_name"] or kind.api_header_name
    if "api_key" not in reader.given:
        values["api_header_name"] = None
    elif str(values["api_header_name"]).lower() in map(str.lower, vendor.get("headers", ())):
        problems.append(
            f"api_header_name is {values['api_header_name']!r}, which headers has too; leave one of them out"
        )


def _check_together(reader: _Reader, values: dict[str, Any]) -> None:
    problems = reader.problems
    if values["client_key_file"] and not values["client_cert_file"]:
        problems.append("client_key_file is given without client_cert_file; give both")
    for name in ("max_spool_bytes", "fsync"):
        if name in reader.given and values["spool_dir"] is None and "spool_dir" not in reader.given:
            problems.append(f"{name} is given without spool_dir; give the directory, or leave {name} out")
    is_known = not any(problem.startswith("integrity ") for problem in problems)
    is_keyed = values["integrity"] is Integrity.HMAC_SHA256
    if is_keyed and "integrity_key" not in reader.given:
        problems.append(
            "integrity_key is missing; give 'env:NAME' or 'file:PATH' (or choose integrity: sha256)"
        )
    if "integrity_key" in reader.given and not is_keyed and is_known:
        problems.append(
            f"integrity_key is given, but integrity is {values['integrity'].value!r}; choose hmac-sha256, or "
            "leave the key out"
        )
    is_given = "retry_initial_seconds" in reader.given
    if is_given and values["retry_initial_seconds"] > values["retry_max_seconds"]:
        problems.append(
            f"retry_initial_seconds is {values['retry_initial_seconds']:g}, above retry_max_seconds "
            f"({values['retry_max_seconds']:g}); choose it smaller"
        )
    if values["compression"] == "zstd":
        if reader.kind is not GENERIC:
            problems.append(
                f"compression is 'zstd', which {reader.kind.handler}'s receiver is not known to take; choose 'gzip'"
            )
        elif not has_zstd():
            problems.append("compression is 'zstd', but no zstd library is installed; pip install zstandard")
