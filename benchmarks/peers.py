"""Other handlers from the package index, with their defaults and with their best settings.

They run in an environment of their own (``requirements-peers.txt``). Each is used as its documentation says and
ended by whatever it offers for that; where it offers nothing that delivers the rest, it is given time first, so that
a rate is that of its sending and not of its exit.

«Best» is what delivers most of a burst: large batches, unbounded or blocking queues, compression where it has one,
and a formatter that sends the fields where it would send the text only. Where a URL cannot be given, the client's own
configuration object is used; constants are changed only where there are no settings for a batch (Logstash, Sentry).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from importlib import import_module
from urllib.parse import urlsplit

from benchmarks.subjects import DRAIN_SECONDS, Subject, Wish, logging_subject
from benchmarks.workload import FIELD_NAMES

__all__ = ["NAMES", "make"]

_POLL_SECONDS = 0.01
_IDLE_SECONDS = 0.2
_IDLE_CPU_SECONDS = 0.005
_UNBOUNDED = 10_000_000


def _wait_until(is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    while not is_done() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _wait_until_idle() -> None:
    """Wait until this process hardly computes any more: for those that do not tell when they are done."""
    before = -1.0
    deadline = time.monotonic() + DRAIN_SECONDS
    while (now := time.process_time()) - before > _IDLE_CPU_SECONDS and time.monotonic() < deadline:
        before = now
        time.sleep(_IDLE_SECONDS)


def _json_formatter() -> logging.Formatter:
    """For those that send the formatted text only: the fields of the record as well, as one JSON text."""
    module = import_module("pythonjsonlogger.json")
    fields = "%(levelname)s %(name)s %(process)d %(threadName)s %(message)s"
    formatter: logging.Formatter = module.JsonFormatter(fields, timestamp=True)
    return formatter


def _splunk_handler(wish: Wish, *, is_best: bool) -> Subject:
    module = import_module("splunk_handler")
    address = urlsplit(wish.url)
    best = {"queue_size": 0, "flush_interval": 0.1} if is_best else {}
    handler = module.SplunkHandler(
        host=address.hostname,
        port=address.port,
        token="a-token",  # noqa: S106 - the sink takes any
        index="main",
        protocol="http",
        verify=False,
        **best,
    )
    if is_best:
        handler.setFormatter(_json_formatter())
    return logging_subject(wish, handler, finish=handler.close)


def _python_splunk_logging(wish: Wish, *, is_best: bool) -> Subject:
    module = import_module("splunk_logging.handlers")
    address = urlsplit(wish.url)
    best = {
        "batch_enabled": True,
        "batch_size": 2000,
        "max_queue_size": _UNBOUNDED,
        "max_queue_bytes": 1 << 30,
        "flush_interval": 0.5,
    }
    handler = module.HecHandler(
        host=address.hostname,
        port=address.port,
        token="a-token",  # noqa: S106 - the sink takes any
        use_ssl=False,
        **(best if is_best else {}),
    )
    if is_best:  # Its own formatter sends what it is told to, and by default nothing of a text message.
        formatter = import_module("splunk_logging.formatters").JsonFormatter
        keys = ("levelname", "name", "process", "threadName", "message", *FIELD_NAMES)
        handler.setFormatter(formatter(**{key: f"%({key})s" for key in keys}))
    return logging_subject(wish, handler, finish=handler.close)


def _logstash_async(wish: Wish, *, is_best: bool) -> Subject:
    handlers = import_module("logstash_async.handler")
    constants = import_module("logstash_async.constants").constants
    address = urlsplit(wish.url)
    transport = "logstash_async.transport.HttpTransport"
    if is_best:  # Its HTTP transport encodes a batch once for every entry in it; bare TCP does not.
        transport = "logstash_async.transport.TcpTransport"
        constants.QUEUED_EVENTS_BATCH_SIZE = constants.QUEUED_EVENTS_FLUSH_COUNT = 1000
        constants.QUEUE_CHECK_INTERVAL = 0.1
    handler = handlers.AsynchronousLogstashHandler(
        address.hostname, address.port, transport=transport, ssl_enable=False, database_path=None
    )
    return logging_subject(wish, handler, finish=handler.close)


def _datadog_async(wish: Wish, *, is_best: bool) -> Subject:
    module = import_module("datadog_http_handler")
    best = {"batch_size": 1000, "flush_interval_seconds": 0.5} if is_best else {}
    handler = module.DatadogHTTPHandler(api_key="a-key", service="payments", **best)
    if is_best:
        handler.setFormatter(_json_formatter())
    configuration = handler.api_client.configuration
    address = urlsplit(wish.url)
    configuration.server_index = 1  # The client's second form of address: protocol and name are variables.
    configuration.server_variables |= {"protocol": "http", "name": address.netloc}

    def finish() -> None:
        # Its close drops what is queued; what the worker holds is sent after the flush interval.
        _wait_until(lambda: handler.get_queue_size() == 0)
        _wait_until_idle()
        handler.close()

    return logging_subject(wish, handler, finish=finish)


def _logtail(wish: Wish, *, is_best: bool) -> Subject:
    module = import_module("logtail")
    best = {"buffer_capacity": 5000, "drop_extra_events": False} if is_best else {}
    handler = module.LogtailHandler(source_token="a-token", host=wish.url, **best)  # noqa: S106 - the sink takes any
    return logging_subject(wish, handler, finish=handler.flush)


def _logzio(wish: Wish, *, is_best: bool) -> Subject:
    module = import_module("logzio.handler")
    best = {"logs_drain_timeout": 1, "backup_logs": False} if is_best else {"backup_logs": False}
    handler = module.LogzioHandler("a-token", url=wish.url, **best)
    return logging_subject(wish, handler, finish=handler.flush)


def _seqlog(wish: Wish, *, is_best: bool) -> Subject:
    module = import_module("seqlog.structured_logging")
    best = {"batch_size": 1000, "auto_flush_timeout": 0.5} if is_best else {}
    handler = module.SeqLogHandler(wish.url, **best)

    def finish() -> None:
        _wait_until(handler.log_queue.empty)
        handler.flush()
        _wait_until_idle()

    return logging_subject(wish, handler, finish=finish)


def _opentelemetry(wish: Wish, *, is_best: bool) -> Subject:
    sdk = import_module("opentelemetry.sdk._logs")
    export = import_module("opentelemetry.sdk._logs.export")
    otlp = import_module("opentelemetry.exporter.otlp.proto.http._log_exporter")
    http = import_module("opentelemetry.exporter.otlp.proto.http")
    compression = http.Compression.Gzip if is_best else http.Compression.NoCompression
    exporter = otlp.OTLPLogExporter(endpoint=f"{wish.url}/v1/logs", compression=compression)
    best = {"max_queue_size": 200_000, "max_export_batch_size": 2000, "schedule_delay_millis": 500}
    provider = sdk.LoggerProvider()
    provider.add_log_record_processor(export.BatchLogRecordProcessor(exporter, **(best if is_best else {})))

    def finish() -> None:
        provider.force_flush(int(DRAIN_SECONDS * 1000))
        provider.shutdown()

    return logging_subject(wish, sdk.LoggingHandler(logger_provider=provider), finish=finish)


def _loki(wish: Wish, *, is_best: bool) -> Subject:
    module = import_module("loki_logger_handler.loki_logger_handler")
    handler = module.LokiLoggerHandler(
        url=f"{wish.url}/loki/api/v1/push", labels={"application": "payments"}, timeout=1 if is_best else 10
    )

    def finish() -> None:
        handler.flush_event.set()
        _wait_until_idle()
        handler._send()  # noqa: SLF001 - what it registers with atexit, here so that the clock still runs

    return logging_subject(wish, handler, finish=finish)


def _sentry(wish: Wish, *, is_best: bool) -> Subject:
    sentry = import_module("sentry_sdk")
    handlers: list[logging.Handler] = []
    settings: dict[str, object] = {}
    if (
        is_best
    ):  # It has no settings for its batches; and without its default integrations it makes no breadcrumbs.
        batcher = import_module("sentry_sdk._log_batcher").LogBatcher
        batcher.MAX_BEFORE_FLUSH, batcher.MAX_BEFORE_DROP, batcher.FLUSH_WAIT_TIME = 1000, _UNBOUNDED, 0.5
        settings = {"default_integrations": False, "transport_queue_size": 10_000}
        handlers = [import_module("sentry_sdk.integrations.logging").SentryLogsHandler(level=logging.INFO)]
    sentry.init(dsn=f"http://key@{urlsplit(wish.url).netloc}/1", enable_logs=True, **settings)

    def finish() -> None:
        sentry.flush(timeout=DRAIN_SECONDS)

    return logging_subject(wish, *handlers, finish=finish)


_MAKERS: dict[str, Callable[..., Subject]] = {
    "splunk-handler": _splunk_handler,
    "python-splunk-logging": _python_splunk_logging,
    "python-logstash-async": _logstash_async,
    "datadog-async-handler": _datadog_async,
    "logtail-python": _logtail,
    "logzio-python-handler": _logzio,
    "seqlog": _seqlog,
    "opentelemetry": _opentelemetry,
    "loki-logger-handler": _loki,
    "sentry-sdk": _sentry,
}


NAMES = tuple(_MAKERS)


def make(wish: Wish) -> Subject:
    """Make the peer that a wish names as ``peer:NAME:default`` or ``peer:NAME:best``."""
    _, name, settings = wish.subject.split(":")
    return _MAKERS[name](wish, is_best=settings == "best")
