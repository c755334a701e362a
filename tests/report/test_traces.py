from __future__ import annotations

import gzip
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs the extra opentelemetry")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.report.events import (
    Event,
    OperatorFinished,
    OperatorStarted,
    TaskFailed,
    TaskFinished,
    TaskStarted,
)
from chunkflow_worker.report.traces import Traces, otlp_traces

BOX = BoundingBox.parse("0-16_0-64_0-64")
LOAD = (OperatorStarted("load", BOX), OperatorFinished("load", BOX, 1.0))
DONE = TaskFinished("job", BOX, "done", 3.0, BOX.voxels, {}, "cpu", patches=4)


class Traced:
    def __init__(self) -> None:
        self.memory, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.memory))
        self.traces = Traces(provider)

    def tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self.traces(event)

    def spans(self) -> list[ReadableSpan]:
        return list(self.memory.get_finished_spans())


def test_operators_lie_within_their_task() -> None:
    traced = Traced()
    save = (OperatorStarted("save", None), OperatorFinished("save", None, 1.0))
    traced.tell([TaskStarted("job", BOX, 2), *LOAD, *save, DONE])
    load, second, task = traced.spans()
    assert [load.name, second.name, task.name] == ["load", "save", "task"]
    for operator in (load, second):
        assert operator.parent is not None
        assert operator.parent.span_id == task.context.span_id
        assert operator.status.is_ok or operator.status.is_unset
    facts = dict(task.attributes or {})
    assert facts["chunkflow.bbox"] == str(BOX)
    assert (facts["chunkflow.attempt"], facts["chunkflow.patches"]) == (2, 4)
    assert facts["chunkflow.state"] == "done"


def test_a_failure_ends_its_operator_and_its_task_with_the_error() -> None:
    traced = Traced()
    failed = TaskFailed("job", BOX, 1, False, "no memory", "cpu")
    traced.tell([TaskStarted("job", BOX, 1), OperatorStarted("inference", BOX), failed])
    for span in traced.spans():
        assert (span.status.is_ok, span.status.description) == (False, "no memory")
    assert [span.name for span in traced.spans()] == ["inference", "task"]


def test_a_task_that_was_given_back_does_not_get_the_operators_of_the_next() -> None:
    traced = Traced()
    traced.tell([TaskStarted("job", BOX, 1), OperatorStarted("inference", BOX)])
    traced.tell([TaskStarted("job", BOX, 2), *LOAD, DONE])
    inference, first, load, second = traced.spans()
    assert load.parent is not None
    assert load.parent.span_id == second.context.span_id != first.context.span_id
    assert inference.status.description == "another task began"


def test_an_operator_that_runs_anew_leaves_no_open_span() -> None:
    traced = Traced()
    traced.tell([TaskStarted("job", BOX, 1), OperatorStarted("load", BOX), *LOAD, DONE])
    assert [span.name for span in traced.spans()] == ["load", "load", "task"]
    assert traced.spans()[0].status.description == "it did not finish"


def test_traces_go_where_the_standard_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    with posts() as (address, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "lab=ours")
        traces, close = otlp_traces({"service.instance.id": "w-1"})
        for event in (TaskStarted("job", BOX, 1), *LOAD, DONE):
            traces(event)
        close()
    ((path, body),) = received
    assert path == "/v1/traces"
    (of_worker,) = ExportTraceServiceRequest.FromString(body).resource_spans
    facts = {one.key: one.value.string_value for one in of_worker.resource.attributes}
    wanted = {"service.name": "chunkflow-worker", "service.instance.id": "w-1", "lab": "ours"}
    assert wanted.items() <= facts.items()
    assert [span.name for span in of_worker.scope_spans[0].spans] == ["load", "task"]


@contextmanager
def posts() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A server of this machine, and what is posted to it: paths and unpacked bodies."""
    received: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            received.append((self.path, gzip.decompress(body) if packed else body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


def test_tasks_of_several_threads_stay_apart() -> None:
    traced, both = Traced(), threading.Barrier(2)

    def do(job: str) -> None:
        traced.tell([TaskStarted(job, BOX, 1), OperatorStarted(job, BOX)])
        both.wait(10)
        traced.tell([OperatorFinished(job, BOX, 1.0), DONE])

    threads = [threading.Thread(target=do, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tasks = {s.context.span_id: s for s in traced.spans() if s.name == "task"}
    for span in traced.spans():
        if span.parent is not None:
            parent = tasks[span.parent.span_id]
            assert dict(parent.attributes or {})["chunkflow.job"] == span.name
