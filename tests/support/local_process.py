"""`local_aws_process`: the command `local-aws` in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

MAIN = "from chunkflow_worker.cli.worker import main; main()"
_VARIABLES = 6


class LocalProcess:
    """variables: that it printed."""

    def __init__(self, process: subprocess.Popen[str], variables: dict[str, str]):
        self.process, self.variables = process, variables

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.variables["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        assert self.process.wait(20) == (0 if number != signal.SIGKILL else -number)


@contextmanager
def local_aws_process(data: Path, *options: str) -> Iterator[LocalProcess]:
    """Serve a folder until the block ends, or until it is stopped."""
    command = [sys.executable, "-c", MAIN, "local-aws", f"--data={data}", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(_VARIABLES)]
        pairs = (line.removeprefix("export ").strip().split("=", 1) for line in lines)
        try:
            yield LocalProcess(process, dict(pairs))
        finally:
            process.kill()
