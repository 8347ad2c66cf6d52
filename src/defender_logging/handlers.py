"""The forwarding handlers: where a record of the logging module enters.

A record comes from a logger (or a ``QueueListener``). In the caller's thread the handler selects it, turns it
into fields, has its destination encode them, and puts the draft on the pipeline's buffer; from there the
sender's thread takes over. Settings are checked at construction; nothing starts before the first record.

Each handler owns a small ``QueueHandler`` rather than being one: from Python 3.12 on ``dictConfig`` treats
every subclass of ``QueueHandler`` named by ``class:`` specially, and breaks those with arguments of their own.

Guaranteed: a logging call never raises (but ``KeyboardInterrupt`` and ``SystemExit``, which are not ours), and
takes no lock of the logging module; records of our own loggers never enter, nor those that urllib3 makes in
our threads, so sending never causes sending.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import logging
import logging.handlers
import threading
import uuid
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from defender_logging import lifecycle, settings
from defender_logging._pipeline import threads
from defender_logging._pipeline.buffer import Bounds
from defender_logging._pipeline.chain import SEAL_BYTES, ChainPlan, Sealing
from defender_logging._pipeline.compression import compressor
from defender_logging._pipeline.entry import Draft
from defender_logging._pipeline.integrity import HASHED, Integrity, Seal
from defender_logging._pipeline.pipeline import Pipeline, SpoolPlan
from defender_logging._pipeline.policy import Policy
from defender_logging._pipeline.reports import Reports
from defender_logging._pipeline.spool import Identity, SpoolDirectory
from defender_logging._pipeline.wire import Transport
from defender_logging.clock import SYSTEM_CLOCK
from defender_logging.destinations.base import Destination, Encoder
from defender_logging.destinations.datadog import DatadogDestination
from defender_logging.destinations.generic import GenericDestination
from defender_logging.destinations.splunk import WARN_BATCH_BYTES, SplunkDestination
from defender_logging.fitting import encode_to_fit
from defender_logging.formatting import FieldsBuilder
from defender_logging.metrics import Stats
from defender_logging.secret import Secret, SecretText
from defender_logging.selection import SelectionFilter
from defender_logging.severity import Severity
from defender_logging.templates import Templates

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["ApiKeyHandler", "DatadogHandler", "ForwardingHandler", "SplunkHandler"]

_OWN_LOGGERS = "defender_logging"
_TRANSPORT_LOGGERS = "urllib3"
_MAX_DECIDED = 4096
"""Pairs of level and logger whose selection is remembered; loggers may be named after data."""


class _EntryQueueHandler(logging.handlers.QueueHandler):
    """Prepares a record to its finished draft, and enqueues that on the buffer."""

    def __init__(
        self,
        prepare: Callable[[logging.LogRecord], Draft],
        enqueue: Callable[[Draft], None],
        handle_error: Callable[[logging.LogRecord], None],
    ) -> None:
        super().__init__(None)  # type: ignore[arg-type]  # no method that touches the queue is left
        # Attributes rather than methods that call them: two frames less for every record.
        self.prepare = prepare  # type: ignore[method-assign, assignment]
        self.enqueue = enqueue  # type: ignore[method-assign, assignment]
        self.handleError = handle_error  # type: ignore[method-assign, assignment]


class _Selection(SelectionFilter):
    """A selection that leaves its reports for others to log: a record may be made in one of our own threads."""

    def __init__(self, chosen: settings.Settings, reports: Reports) -> None:
        super().__init__(chosen.log_types, chosen.log_levels, chosen.vocabulary)
        self._default_component = chosen.static_fields.get("component")
        self._reports = reports

    def report(self, sentence: str) -> None:
        self._reports.add(logging.WARNING, sentence)


class ForwardingHandler(logging.Handler):
    """What the three handlers share. Not for direct use.

    Threads: every method may be called from any thread.
    """

    _kind: ClassVar[settings.Kind]

    def __init__(self, given: dict[str, Any]) -> None:
        self._settings = settings.read_settings(self._kind, given)
        super().__init__(self._settings.level)
        self._reports = Reports()
        for path in self._settings.open_key_files:
            self._reports.add(
                logging.WARNING,
                f"{self._label()}: every user of this machine can read {path!r}, which holds a key; chmod 600 it",
            )
        self._selection = _Selection(self._settings, self._reports)
        # A subclass may filter itself, as with any handler.
        self._has_own_filter = type(self).filter is not logging.Handler.filter
        self._decided: dict[tuple[int, str], bool | None] = {}
        self._destination = self._make_destination()
        self._encoder: Encoder = self._destination
        self._max_line_bytes = self._destination.limits.max_entry_bytes
        reserved_names = self._destination.reserved_names
        if self._settings.integrity is not Integrity.OFF:
            self._encoder = Sealing(self._destination)
            self._max_line_bytes -= SEAL_BYTES
            reserved_names |= {HASHED}
        self._builder = FieldsBuilder(
            vocabulary=self._settings.vocabulary,
            redactor=self._settings.redactor,
            reserved_names=reserved_names,
            service=self._settings.service,
            environment=self._settings.environment,
            host=self._settings.host,
            tags=self._settings.tags,
            static_fields=self._settings.static_fields,
        )
        self._templates = Templates(
            self._builder,
            self._encoder,
            inspected_names=self._destination.inspected_names,
            max_line_bytes=self._max_line_bytes,
            redactor=self._settings.redactor,
        )
        self._queue_handler = _EntryQueueHandler(self._prepare, self._enqueue, self.handleError)
        self._start_lock = threading.RLock()  # A signal handler may log while this thread starts.
        self._pipeline: Pipeline | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None
        self._is_closed = False
        self._filtered = itertools.count()
        self._transport_module = _import_ahead(self._settings.compression)
        lifecycle.add_handler(self)

    def _make_destination(self) -> Destination:
        raise NotImplementedError

    def _identity_details(self) -> tuple[Hashable, ...]:
        return ()

    def __repr__(self) -> str:
        if "_filtered" not in vars(self):  # Its settings are wrong, and somebody prints the error's locals.
            return f"<{type(self).__name__} without settings>"
        stats = self.stats()
        return (
            f"<{self._label()} level={logging.getLevelName(self.level)} state={stats.state} "
            f"accepted={stats.accepted} delivered={stats.delivered} rejected={stats.rejected} "
            f"dropped={stats.dropped} pending={stats.pending}>"
        )

    def _label(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"{type(self).__name__}{name} ({self._settings.url.origin})"

    # A record's way in.

    def handle(self, record: logging.LogRecord) -> Any:
        """Select a record and put it on its way; takes no lock of the logging module.

        Returns:
            True if the record was selected, as ``logging.Handler.handle`` does.
        """
        try:
            is_selected = None if self.filters else self._decided[record.levelno, record.name]
        except Exception:  # noqa: BLE001 - not seen before, or an odd record's missing or unhashable one
            self._remember(record)
            is_selected = None
        if is_selected is None:
            return self._handle_undecided(record)
        if is_selected:
            self.emit(record)
            return True
        return self._leave_out()

    def _handle_undecided(self, record: logging.LogRecord) -> bool:
        if _is_feedback(record):
            return False
        if self.filters or self._has_own_filter:
            kept = self._ask_filters(record)
            if not kept:
                return self._leave_out()
            if isinstance(kept, logging.LogRecord):  # From Python 3.12 on a filter may replace the record.
                record = kept
        if not self._selection.filter(record):
            return self._leave_out()
        self.emit(record)
        return True

    def _remember(self, record: logging.LogRecord) -> None:
        """Remember what level and logger alone decide; own and transport loggers are asked about each time."""
        name = getattr(record, "name", None)
        if (
            type(name) is not str
            or name.startswith((_OWN_LOGGERS, _TRANSPORT_LOGGERS))
            or self._has_own_filter
        ):
            return
        if len(self._decided) < _MAX_DECIDED:
            with contextlib.suppress(Exception):
                self._decided[record.levelno, name] = self._selection.decide_by_level(record.levelno)

    def _leave_out(self) -> bool:
        next(self._filtered)
        if self._reports.waiting:
            self._emit_reports()
        return False

    def _ask_filters(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        """Ask the user's filters; one that raises lets nothing out, and does not raise into the caller."""
        try:
            return self.filter(record)
        except Exception:  # noqa: BLE001 - any code can stand in a filter
            self.handleError(record)
            return False

    def emit(self, record: logging.LogRecord) -> None:
        """Encode a record and queue it, whatever the selection says; errors go to ``handleError``."""
        entrance = self._queue_handler
        try:  # As QueueHandler.emit does, a frame less.
            draft = entrance.prepare(record)  # First: a fork in here gives the child another queue.
            entrance.enqueue(draft)
        except Exception:  # noqa: BLE001 - a log call does not raise
            self.handleError(record)
        if self._reports.waiting:
            self._emit_reports()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the logging module's name
        """Tell of an error as the logging module does, and never raise: stderr may be closed, the stack full."""
        with contextlib.suppress(Exception):
            super().handleError(record)

    def _emit_reports(self) -> None:
        if not threads.is_ours():
            self._reports.emit()

    def _prepare(self, record: logging.LogRecord) -> Draft:
        if self.formatter is None:
            try:
                common = self._templates.draft(record)
            except Exception:  # noqa: BLE001 - an odd record, for which the long way is made
                common = None
            if common is not None:
                return common
        fields = self._builder.build(record, self.formatter)
        draft = encode_to_fit(self._encoder, fields, max_line_bytes=self._max_line_bytes)
        if "vocabulary_errors" in fields.values:
            (self._pipeline or self._start()).buffer.count_vocabulary_error()
        return draft

    def _enqueue(self, draft: Draft) -> None:
        (self._pipeline or self._start()).append(draft)

    # Life.

    def start(self) -> None:
        """Start the sending thread now instead of at the first record. Calling it twice changes nothing."""
        (self._pipeline or self._start()).begin()

    def _start(self) -> Pipeline:
        with self._start_lock:
            if self._pipeline is None:
                pipeline = self._make_pipeline()
                if self._pipeline is None:  # A signal handler of this thread may have been quicker.
                    self._pipeline = pipeline  # First, so that such a one finds it during the steps below.
                    self._register(pipeline)
            return self._pipeline

    def _register(self, pipeline: Pipeline) -> None:
        if self._pipeline is pipeline:  # Else this is a child that was forked a moment ago.
            self._queue_handler.enqueue = pipeline.append  # type: ignore[method-assign, assignment]  # a frame less
        if not self._is_closed:
            lifecycle.add_pipeline(pipeline)
            lifecycle.take_over_closed(pipeline)
            self._finalizer = weakref.finalize(self, pipeline.close)
            self._finalizer.atexit = False
        if self._is_closed:  # Since before, or by another thread that did not see the pipeline yet.
            pipeline.close()

    def _make_pipeline(self) -> Pipeline:
        chosen = self._settings
        encoder, builder, max_line_bytes = self._encoder, self._builder, self._max_line_bytes
        # Otherwise a small queue would be full, and lose entries, before the sender found a batch worth sending.
        max_batch_bytes = min(chosen.max_batch_bytes, max(1, chosen.max_queue_bytes // 2))

        def describe(trail: str, severity: Severity, message: str, values: Mapping[str, Any]) -> Draft:
            now = SYSTEM_CLOCK.time()
            fields = builder.build_own(trail, severity, message, values, unix_seconds=now)
            return encode_to_fit(encoder, fields, max_line_bytes=max_line_bytes)

        def describe_drops(reason: str, ranges: Sequence[Sequence[Any]], count: int) -> Draft:
            message = f"{count} entries of this stream were lost ({reason})"
            return describe("dropped", Severity.WARN, message, _dropped_values(reason, ranges, count))

        def describe_mark(trail: str, message: str, values: Mapping[str, Any]) -> Draft:
            return describe(trail, Severity.INFO, message, values)

        key = chosen.integrity_key.reveal() if chosen.integrity_key else None
        is_chained = chosen.integrity is not Integrity.OFF
        return Pipeline(
            self._label(),
            self._identity(),
            self._destination,
            self._make_transport(),
            policy=Policy(
                max_batch_entries=chosen.max_batch_entries,
                max_batch_bytes=max_batch_bytes,
                flush_interval_seconds=chosen.flush_interval_seconds,
                compression=chosen.compression,
                retry_initial_seconds=chosen.retry_initial_seconds,
                retry_max_seconds=chosen.retry_max_seconds,
                retry_after_max_seconds=chosen.retry_after_max_seconds,
                hold_retry_seconds=chosen.hold_retry_seconds,
                max_in_flight=chosen.max_in_flight,
                ack_timeout_seconds=chosen.vendor.get("ack_timeout_seconds", 0.0),
                max_unacknowledged_bytes=chosen.max_queue_bytes,
            ),
            bounds=Bounds(
                max_queue_bytes=chosen.max_queue_bytes,
                overflow=chosen.overflow,
                block_timeout_seconds=chosen.block_timeout_seconds,
                wake_entries=chosen.max_batch_entries,
                wake_bytes=max_batch_bytes,
            ),
            reports=self._reports,
            describe_drops=describe_drops,
            spool=self._spool_plan(),
            chain=ChainPlan(Seal(key), describe_mark) if is_chained else None,
            shutdown_timeout_seconds=chosen.shutdown_timeout_seconds,
        )

    def _spool_plan(self) -> SpoolPlan | None:
        chosen = self._settings
        if chosen.spool_dir is None:
            return None
        return SpoolPlan(
            SpoolDirectory(chosen.spool_dir, chosen.max_spool_bytes), self._spool_identity(), chosen.fsync
        )

    def _spool_identity(self) -> Identity:
        """What a handler must share to adopt the orphans of a dead process's one."""
        chosen = self._settings
        key = chosen.api_key
        # The headers may name the tenant, or carry the key; like the target they are only written as a digest.
        headers = sorted((name.lower(), value) for name, value in chosen.vendor.get("headers", {}).items())
        target = self._kind.full_target(chosen.url.target)
        return Identity(
            kind=self._kind.handler,
            origin=chosen.url.origin,
            target=SecretText("\n".join([target, *(f"{name}: {value}" for name, value in headers)])),
            name=self.name,
            key_reference=key.reference if key else None,
            key=key.reveal() if key and not key.is_reference else None,
            index=chosen.vendor.get("index"),
        )

    def _make_transport(self) -> Transport:
        chosen = self._settings
        module = self._transport_module
        transport: Transport = module.HttpTransport(
            module.Peer(
                url=chosen.url,
                key_header=chosen.api_header_name,
                key=chosen.api_key,
                header_secrets=tuple(map(Secret, chosen.vendor.get("headers", {}).values())),
                connect_timeout_seconds=chosen.connect_timeout_seconds,
                request_timeout_seconds=chosen.request_timeout_seconds,
                ca_file=chosen.ca_file,
                client_cert_file=chosen.client_cert_file,
                client_key_file=chosen.client_key_file,
                server_fingerprint=chosen.server_fingerprint,
                proxy_url=chosen.proxy_url,
            )
        )
        return transport

    def _identity(self) -> Hashable:
        """What a handler must share with a closed one to take its entries over: nobody's trail goes to another."""
        chosen = self._settings
        key = chosen.api_key.identity if chosen.api_key else None
        # The path may be a key, and an identity is compared, not read.
        address = (chosen.url.origin, Secret(self._kind.full_target(chosen.url.target)).identity)
        return (self._kind.handler, address, self.name, key, self._identity_details())

    def flush(self, timeout_seconds: float | None = None) -> bool:  # type: ignore[override]  # says more than None
        """Send what waits, and wait until all accepted before the call is delivered or rejected.

        Args:
            timeout_seconds: longest wait; None: ``shutdown_timeout_seconds``, but no wait at all where
                ``logging.shutdown`` or ``dictConfig`` call this while they hold the logging module's locks.

        Returns:
            True if nothing of it is pending.
        """
        pipeline = self._pipeline
        if pipeline is None or threads.is_ours():
            return True
        if timeout_seconds is None:
            is_locked = self._holds_own_lock()
            timeout_seconds = (
                lifecycle.exit_seconds_left()
                if is_locked or lifecycle.is_exiting()
                else self._settings.shutdown_timeout_seconds
            )
            if is_locked and not lifecycle.is_exiting():
                pipeline.sender.hurry()
                return pipeline.buffer.pending == 0
        return lifecycle.flush([pipeline], timeout_seconds)

    def _holds_own_lock(self) -> bool:
        """Tell whether this thread holds this handler's lock, as it does inside ``logging.shutdown``."""
        is_owned = getattr(self.lock, "_is_owned", None)
        return bool(is_owned and is_owned())

    def close(self) -> None:
        """Take no more records; what waits is sent in the background until the process ends. Does not wait.

        At interpreter exit it waits for what is left of the exit's budget instead. Records logged afterwards
        count as accepted and dropped (``closed``).
        """
        self._is_closed = True
        pipeline = self._pipeline
        if pipeline is not None and not pipeline.buffer.is_closed:
            pipeline.close()
            if lifecycle.is_exiting():
                lifecycle.finish(pipeline)
        super().close()

    def start_anew_after_fork(self) -> None:
        """Forget the parent's pipeline, in a forked child; the first record makes a new one."""
        if self._finalizer is not None:
            self._finalizer.detach()
            self._finalizer = None
        self._start_lock = threading.RLock()
        self._queue_handler.enqueue = self._enqueue  # type: ignore[method-assign, assignment]
        self._pipeline = None
        self._reports.forget()
        self._filtered = itertools.count()
        self._destination = self._make_destination()

    def stats(self) -> Stats:
        """Take a snapshot of the account of this process; see ``Stats``."""
        # A counter that steps in one C call needs no lock in the callers; its repr, «count(7)», is the only
        # way to read it without a step.
        filtered = int(repr(self._filtered)[6:-1])
        pipeline = self._pipeline
        if pipeline is None:
            return Stats(filtered=filtered, state="closed" if self._is_closed else "idle")
        return pipeline.stats(filtered=filtered)


def _import_ahead(compression: str) -> Any:
    """Import what sending needs, urllib3 above all, when a handler is made; returns the transport's module.

    Not with the package, for start-up time; and neither at the first record nor in a worker: an import that is half
    done in another thread at a fork never ends in the child, and at interpreter shutdown nothing can be imported.
    """
    compressor(compression)
    return importlib.import_module("defender_logging._pipeline.transport")


def _is_feedback(record: logging.LogRecord) -> bool:
    """Tell whether a record comes from our own machinery."""
    name = getattr(record, "name", None)  # A record factory may leave it out.
    if not isinstance(name, str):
        return False
    if name.startswith(_OWN_LOGGERS):
        return name == _OWN_LOGGERS or name.startswith(_OWN_LOGGERS + ".")
    return name.startswith(_TRANSPORT_LOGGERS) and threads.is_ours()


def _dropped_values(reason: str, ranges: Sequence[Sequence[Any]], count: int) -> dict[str, Any]:
    """Return what a ``dropped`` entry says; a range is first, last and, with integrity, the hashes around it."""
    values = {"dropped": count, "ranges": [[first, last] for first, last, *_ in ranges], "reason": reason}
    hashes = [list(around) for _, _, *around in ranges]
    return values | ({"range_hashes": hashes} if any(hashes) else {})


class SplunkHandler(ForwardingHandler):
    """Forwards the trail to Splunk's HTTP Event Collector; for ``class:`` in dictConfig.

    All settings are keywords, named and explained in docs/configuration.md and docs/splunk.md. ``url`` may be the
    base (``https://http-inputs-acme.splunkcloud.com``) or a full path; one that ends in ``/raw`` uses the raw
    endpoint. ``api_key`` is the HEC token, with or without the ``Splunk `` prefix.

    Raises:
        ConfigurationError: settings are wrong; names all problems at once.
    """

    _kind = settings.SPLUNK

    def __init__(self, **given: Unpack[settings.SplunkKeywords]) -> None:
        super().__init__(cast("dict[str, Any]", given))
        if self._settings.max_batch_bytes > WARN_BATCH_BYTES:
            self._reports.add(
                logging.WARNING,
                f"{self._label()}: max_batch_bytes is {self._settings.max_batch_bytes}; Splunk Cloud refuses "
                f"requests above {WARN_BATCH_BYTES} bytes, so choose that or less unless the server is your own",
            )

    def _make_destination(self) -> Destination:
        chosen = self._settings
        vendor = {name: value for name, value in chosen.vendor.items() if name != "ack_timeout_seconds"}
        return SplunkDestination(
            target=chosen.url.target, channel=str(uuid.uuid4()), host=chosen.host, **vendor
        )

    def _identity_details(self) -> tuple[Hashable, ...]:
        return (self._settings.vendor["index"],)


class DatadogHandler(ForwardingHandler):
    """Forwards the trail to Datadog's log intake (API v2); for ``class:`` in dictConfig.

    All settings are keywords, named and explained in docs/configuration.md and docs/datadog.md. The address comes from
    ``site`` (``datadoghq.com``, ``datadoghq.eu``, …) unless ``url`` is given.

    Raises:
        ConfigurationError: settings are wrong; names all problems at once.
    """

    _kind = settings.DATADOG

    def __init__(self, **given: Unpack[settings.DatadogKeywords]) -> None:
        super().__init__(cast("dict[str, Any]", given))

    def _make_destination(self) -> Destination:
        chosen = self._settings
        return DatadogDestination(
            target=chosen.url.target,
            ddsource=chosen.vendor["ddsource"],
            tags=chosen.tags,
            environment=chosen.environment,
        )


class ApiKeyHandler(ForwardingHandler):
    """Forwards the trail to any endpoint that takes JSON by POST; for ``class:`` in dictConfig.

    All settings are keywords, named and explained in docs/configuration.md and docs/generic.md. The key is
    optional; with ``api_key`` goes ``api_header_name``.

    Raises:
        ConfigurationError: settings are wrong; names all problems at once.
    """

    _kind = settings.GENERIC

    def __init__(self, **given: Unpack[settings.ApiKeyKeywords]) -> None:
        super().__init__(cast("dict[str, Any]", given))

    def _make_destination(self) -> Destination:
        chosen = self._settings
        return GenericDestination(target=chosen.url.target, **chosen.vendor)

    def _identity_details(self) -> tuple[Hashable, ...]:
        # The headers may name the tenant, or carry the key.
        headers: dict[str, str] = dict(self._settings.vendor["headers"])
        return tuple(sorted((name.lower(), Secret(value).identity) for name, value in headers.items()))
