"""Serves `StubSqs` over HTTP, in the JSON protocol of SQS, so that processes run against it.

Faults are programmed by operation; apart from them, it answers as the local AWS does.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.session import get_session

from chunkflow_worker.local_aws.stub_sqs import StubSqs

_OPERATIONS = {
    name: xform_name(name) for name in get_session().get_service_model("sqs").operation_names
}
_KINDS = {  # of errors whose code is not that of the protocol
    "AWS.SimpleQueueService.NonExistentQueue": "QueueDoesNotExist",
    "KMS.ThrottlingException": "KmsThrottled",
    "KMS.AccessDeniedException": "KmsAccessDenied",
}
_LOOK_SECONDS, _HANG_SECONDS, _DELAY_SECONDS = 0.02, 60.0, 1.0


@dataclass(frozen=True)
class Answer:
    """An answer instead of that of SQS. code: as boto3 has it in the error."""

    status: int
    code: str
    text: str = "injected"


AWAY = Answer(503, "ServiceUnavailable")
THROTTLED = Answer(400, "RequestThrottled")
KMS_THROTTLED = Answer(400, "KMS.ThrottlingException")
KMS_DENIED = Answer(400, "KMS.AccessDeniedException")
OVER_LIMIT = Answer(400, "OverLimit")
DENIED = Answer(400, "AccessDeniedException")

Fault = Answer | Literal["close", "hang", "delay", "lose"]
"""What happens to a request.

close: the connection closes without an answer. hang: there is no answer. delay: it is done after a
second. lose: it is done, and the connection closes without an answer.
"""


class SqsServer:
    """Controls of the served SQS.

    stub: what is served; its clock is that of the machine. url: for AWS_ENDPOINT_URL_SQS.
    requests: their number by operation. faults: of those, the ones that a fault was applied to.
    latency: seconds until a request is answered, at the least.
    """

    def __init__(self, url: str):
        self.url = url
        self.stub = StubSqs(time.time, url)
        self.requests: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.latency = 0.0
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._rules: dict[str, tuple[Fault, float]] = {}

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that point SQS clients, and no others, to it."""
        return {
            "AWS_ENDPOINT_URL_SQS": self.url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_SESSION_TOKEN": "local",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def set(self, fault: Fault, *operations: str, count: float = float("inf")) -> None:
        """Apply a fault to the next `count` requests of each operation (`DeleteMessage`...).

        Without an operation, to those of all. A later fault of an operation replaces it.
        """
        with self._lock:
            self._rules |= dict.fromkeys(operations or _OPERATIONS, (fault, count))

    def clear(self, *operations: str) -> None:
        """End the faults of these operations; without an operation, of all."""
        with self._lock:
            for operation in operations or tuple(self._rules):
                self._rules.pop(operation, None)

    def fault_for(self, operation: str) -> Fault | None:
        with self._lock:
            self.requests[operation] += 1
            fault, left = self._rules.get(operation, (None, 0))
            if fault is None or left <= 0:
                return None
            self._rules[operation] = (fault, left - 1)
            self.faults[operation] += 1
            return fault

    def do(self, operation: str, arguments: dict[str, Any]) -> Any:
        """Do a request. Raises ClientError as boto3 does."""
        method = getattr(self.stub, _OPERATIONS.get(operation, ""), None)
        if method is None:
            raise ClientError({"Error": {"Code": "UnsupportedOperation"}}, operation)
        if operation == "ReceiveMessage":
            self._wait_for_messages(arguments)
        return method(**arguments) or {}

    def _wait_for_messages(self, arguments: dict[str, Any]) -> None:
        """A long poll. Two that wait for the same message may still return none."""
        url = arguments["QueueUrl"]
        end = time.monotonic() + arguments.get("WaitTimeSeconds", 0)
        while time.monotonic() < end and not self.stub.answers_at_once(url):
            if self.stopped.wait(_LOOK_SECONDS):
                return


@contextmanager
def aws_sqs() -> Iterator[SqsServer]:
    """Serve on a free port of 127.0.0.1 until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    sqs = SqsServer(f"http://127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass = type("Handler", (_Handler,), {"sqs": sqs})
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients may hang up
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield sqs
    finally:
        sqs.stopped.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    sqs: SqsServer

    def do_POST(self) -> None:
        self.due = time.monotonic() + self.sqs.latency
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        operation = self.headers.get("x-amz-target", "").rpartition(".")[2]
        fault = self.sqs.fault_for(operation)
        if isinstance(fault, Answer):
            self._refuse(fault)
            return
        if fault in ("hang", "delay"):
            self.sqs.stopped.wait(_HANG_SECONDS if fault == "hang" else _DELAY_SECONDS)
        self.close_connection = fault in ("close", "hang", "lose")
        if fault in ("close", "hang"):
            return
        try:
            result = self.sqs.do(operation, body)
        except ClientError as error:
            found = error.response["Error"]
            self._refuse(Answer(400, found["Code"], found.get("Message", "")))
        else:
            if fault != "lose":
                self._send(200, result, {})

    def _refuse(self, answer: Answer) -> None:
        kind = _KINDS.get(answer.code, answer.code.rpartition(".")[2])
        query_error = {"x-amzn-query-error": f"{answer.code};Sender"} if answer.status < 500 else {}
        error = {"__type": f"com.amazonaws.sqs#{kind}", "message": answer.text}
        self._send(answer.status, error, query_error)

    def _send(self, status: int, content: object, headers: dict[str, str]) -> None:
        body = json.dumps(content).encode()
        self.sqs.stopped.wait(max(0.0, self.due - time.monotonic()))
        self.send_response(status)
        lengths = {"Content-Type": "application/x-amz-json-1.0", "Content-Length": str(len(body))}
        for name, value in (lengths | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
