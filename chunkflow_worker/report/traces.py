"""Traces for OpenTelemetry: a span of each task, and in it one of each operator's step.

They go to the place that the standard variables name (`OTEL_EXPORTER_OTLP_ENDPOINT`...), by OTLP
over HTTP. Needs the extra `opentelemetry`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, StatusCode, set_span_in_context

from chunkflow_worker.report.events import (
    Event,
    OperatorFinished,
    OperatorStarted,
    TaskDropped,
    TaskFailed,
    TaskFinished,
    TaskStarted,
)

_SERVICE = "chunkflow-worker"
_CLOSING_SECONDS = 3.0  # to send the last spans
_MOST_TEXT = 2000  # characters of an error


def otlp_traces(about: Mapping[str, str]) -> tuple[Traces, Callable[[], None]]:
    """Traces that are exported as the variables say, and what to call at the end.

    about: attributes of this worker.
    """
    named = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: _SERVICE}
    provider = TracerProvider(resource=Resource.create({**about, **named}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))

    def close() -> None:
        ending = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        ending.start()  # where the collector is away, it tries again for long
        ending.join(_CLOSING_SECONDS)

    return Traces(provider), close


class _Spans(threading.local):
    """Those that are open, of the task that this thread does."""

    task: Span | None = None
    operator: Span | None = None


class Traces:
    """A subscriber. What a task does is told in its own thread."""

    def __init__(self, provider: TracerProvider):
        self._tracer = provider.get_tracer(_SERVICE)
        self._open = _Spans()

    def __call__(self, event: Event) -> None:
        match event:
            case TaskStarted():
                self._end("another task began")  # a task that was given back tells nothing more
                facts = {"job": event.job, "bbox": str(event.bbox), "attempt": event.attempt}
                self._open.task = self._tracer.start_span("task", attributes=_named(facts))
            case OperatorStarted():
                self._open.operator = self._begin_operator(event)
            case OperatorFinished() if self._open.operator:
                self._open.operator.end()
                self._open.operator = None
            case TaskFinished() if self._open.task:
                facts = {"state": event.state, "voxels": event.voxels, "patches": event.patches}
                self._open.task.set_attributes(_named(facts | {"device": event.device}))
                self._end()
            case TaskFailed() if self._open.task:
                self._open.task.set_attributes(_named({"state": "failed", "final": event.final}))
                self._end(event.error[:_MOST_TEXT])
            case TaskDropped():
                self._end("the job is cancelled")

    def _begin_operator(self, event: OperatorStarted) -> Span:
        if self._open.operator:  # a task that begins anew after an outage
            self._open.operator.set_status(StatusCode.ERROR, "it did not finish")
            self._open.operator.end()
        task = self._open.task
        within = set_span_in_context(task) if task else None
        facts = {"operator": event.name, "bbox": str(event.bbox or "")}
        return self._tracer.start_span(event.name, context=within, attributes=_named(facts))

    def _end(self, error: str = "") -> None:
        """End the spans of this thread. error: why they did not succeed."""
        for span in (self._open.operator, self._open.task):
            if span is not None:
                if error:
                    span.set_status(StatusCode.ERROR, error)
                span.end()
        self._open.task = self._open.operator = None


def _named(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {f"chunkflow.{name}": value for name, value in facts.items()}
