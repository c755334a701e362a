"""The local AWS in a process of its own, which counts its requests."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chunkflow_worker.local_aws.serve import local_aws
from chunkflow_worker.local_aws.sqs.protocol import service_of
from chunkflow_worker.report.web_gate import Wsgi

_COUNTS = "/soak-counts"


class Counting:
    """A WSGI application in front of the local AWS. requests: their number by operation."""

    def __init__(self, app: Wsgi):
        self._app, self._lock = app, threading.Lock()
        self.requests: Counter[str] = Counter()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["PATH_INFO"] == _COUNTS:
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(self.requests).encode()]
        service = service_of(environ)
        with self._lock:
            self.requests[_operation(service, environ)] += 1
        answer = self._app(environ, start_response)
        if service == "monitoring":
            _forget_metrics()
        return answer


def _operation(service: str, environ: dict[str, Any]) -> str:
    """`ReceiveMessage`, `GET`, `LIST`..."""
    if service == "sqs":
        return str(environ.get("HTTP_X_AMZ_TARGET", "")).rpartition(".")[2]
    if service == "s3":
        is_list = "list-type=" in environ.get("QUERY_STRING", "")
        return "LIST" if is_list else str(environ["REQUEST_METHOD"])
    return service


def _forget_metrics() -> None:
    """moto keeps every metric for ever."""
    from moto.cloudwatch.models import cloudwatch_backends
    from moto.core import DEFAULT_ACCOUNT_ID

    for backend in cloudwatch_backends[DEFAULT_ACCOUNT_ID].values():
        backend.metric_data.clear()


class CountedAws:
    """variables: that lead to it. pid: of its process."""

    def __init__(self, variables: dict[str, str], pid: int):
        self.variables, self.pid = variables, pid

    def requests(self) -> Counter[str]:
        """The number of requests until now, by operation."""
        with urllib.request.urlopen(self.variables["AWS_ENDPOINT_URL"] + _COUNTS) as answer:
            return Counter(json.load(answer))


@contextmanager
def counted_aws(log: Path) -> Iterator[CountedAws]:
    """Serve until the block ends. log: the file of what the process prints as errors."""
    command = [sys.executable, "-m", "tests.soak.aws"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with log.open("w") as errors, subprocess.Popen(command, stderr=errors, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield CountedAws(json.loads(process.stdout.readline()), process.pid)
        finally:
            process.stdin.close()
            process.wait(30)


if __name__ == "__main__":
    with local_aws(around=Counting) as variables:
        print(json.dumps(variables), flush=True)
        sys.stdin.read()  # until whoever started it ends
