"""The ids of the span that the calling thread or task is in.

Read from OpenTelemetry or ddtrace where the process itself has imported one of them; neither is imported
here, so that a process without tracing pays two dictionary look-ups.
"""

from __future__ import annotations

import sys
from typing import Any

from defender_logging._pipeline.entry import Trace

__all__ = ["current_trace"]


def current_trace() -> Trace | None:
    """Return the current span's ids, None outside of any span. Never raises an Exception."""
    opentelemetry = sys.modules.get("opentelemetry.trace")
    ddtrace = sys.modules.get("ddtrace")
    if opentelemetry is None and ddtrace is None:
        return None
    return _of_opentelemetry(opentelemetry) or _of_ddtrace(ddtrace)


def _of_opentelemetry(module: Any) -> Trace | None:
    try:
        context = module.get_current_span().get_span_context()
        return _checked(context.trace_id, context.span_id)
    except Exception:  # noqa: BLE001 - absent, half imported, or another version
        return None


def _of_ddtrace(module: Any) -> Trace | None:
    try:
        # ddtrace 3 has moved the tracer; the module of the new place comes along with the package.
        tracer = getattr(sys.modules.get("ddtrace.trace"), "tracer", None) or module.tracer
        context = tracer.current_trace_context()
        return _checked(context.trace_id, context.span_id)
    except Exception:  # noqa: BLE001 - absent, half imported, another version, or no span
        return None


def _checked(trace_id: Any, span_id: Any) -> Trace | None:
    if type(trace_id) is int and type(span_id) is int and 0 < trace_id < 1 << 128 and 0 < span_id < 1 << 64:
        return Trace(trace_id, span_id)
    return None
