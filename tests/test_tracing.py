"""Trace ids: read from a tracer that the process has imported, in any state it may be in."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from defender_logging._pipeline.entry import Trace
from defender_logging.tracing import current_trace


def opentelemetry(trace_id, span_id):
    """A stand-in for ``opentelemetry.trace`` with one current span."""
    context = SimpleNamespace(trace_id=trace_id, span_id=span_id)
    return SimpleNamespace(get_current_span=lambda: SimpleNamespace(get_span_context=lambda: context))


def tracer(trace_id, span_id):
    """A stand-in for ddtrace's tracer with one active span."""
    context = SimpleNamespace(trace_id=trace_id, span_id=span_id)
    return SimpleNamespace(tracer=SimpleNamespace(current_trace_context=lambda: context))


@pytest.fixture(autouse=True)
def _no_tracer(monkeypatch):
    for name in ("opentelemetry.trace", "ddtrace", "ddtrace.trace"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_without_a_tracer_there_is_none():
    """Nothing is imported to find that out."""
    assert current_trace() is None
    assert "ddtrace" not in sys.modules


def test_it_reads_the_span_of_opentelemetry(monkeypatch):
    """The ids are the span's own, 128 and 64 bits."""
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", opentelemetry(2**127 + 1, 2**63 + 1))

    assert Trace(2**127 + 1, 2**63 + 1) == current_trace()


@pytest.mark.parametrize("names", [("ddtrace",), ("ddtrace", "ddtrace.trace")])
def test_it_reads_the_span_of_ddtrace(monkeypatch, names):
    """Both the old and the new place of the tracer work."""
    for name in names:
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, names[-1], tracer(5, 6))

    assert Trace(5, 6) == current_trace()


def test_it_asks_ddtrace_where_opentelemetry_has_no_span(monkeypatch):
    """OpenTelemetry's interface is imported by many who do not use it."""
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", opentelemetry(0, 0))
    monkeypatch.setitem(sys.modules, "ddtrace", tracer(5, 6))

    assert Trace(5, 6) == current_trace()


def failing():
    """A tracer's function that raises."""
    raise LookupError


@pytest.mark.parametrize(
    "module",
    [
        None,
        SimpleNamespace(),
        SimpleNamespace(get_current_span=failing, tracer=SimpleNamespace(current_trace_context=failing)),
        SimpleNamespace(
            get_current_span=lambda: None, tracer=SimpleNamespace(current_trace_context=lambda: None)
        ),
        opentelemetry(0, 0),
        opentelemetry("1", "2"),
        opentelemetry(2**128, 1),
        opentelemetry(1, 2**64),
        tracer(-1, 1),
        tracer(1, None),
    ],
)
@pytest.mark.parametrize("name", ["opentelemetry.trace", "ddtrace"])
def test_a_tracer_in_an_odd_state_gives_none(monkeypatch, name, module):
    """Half imported, without a span, raising, or with ids out of range: no trace, and no error."""
    monkeypatch.setitem(sys.modules, name, module)

    assert current_trace() is None
