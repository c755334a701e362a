"""`RoleService`: a job whose workers and producers have the roles of the stack only."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

from tests.deploy.stack import Stack, deploy
from tests.support.service import Service


class RoleService(Service):
    """A service with separate buckets for input and output.

    Each process has only the token of its service account.
    """

    def __init__(self, root: Path, stack: Stack, environment: dict[str, str]):
        super().__init__(root, stack.queue, environment)
        self.token = root / "token"
        self.token.write_text("of the cluster's identity provider")
        self.roles = {
            name: stack.values[f"{name.title()}RoleArn"] for name in ("worker", "producer")
        }
        for name in ("in", "out"):
            boto3.client("s3").create_bucket(Bucket=f"{stack.queue}-{name}")

    def path(self, name: str) -> str:
        return f"s3://{self.queue}-{'in' if name == 'in' else 'out'}/{name}"

    def come_as(self, name: str) -> None:
        """Give this role, and no keys, to the processes that start from now on, as in a pod."""
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            self.environment.pop(variable, None)
        self.environment |= {
            "AWS_ROLE_ARN": self.roles[name],
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(self.token),
        }

    def produce(self, *arguments: str) -> str:
        return self.producer(*arguments, "--pipeline", str(self.pipeline))

    def producer(self, *arguments: str) -> str:
        """Run a producer with its role; return what it printed."""
        done = self._producer_process(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *arguments: str) -> str:
        """Run a producer that must fail; return its error message."""
        done = self._producer_process(*arguments)
        assert done.returncode == 2, done.stderr
        return done.stderr

    def _producer_process(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.come_as("producer")
        command = [sys.executable, "-m", "producer", *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def work_until(self, done: int, dead: int = 0) -> None:
        """Run a worker until the queue has no more work."""
        self.come_as("worker")
        worker = self.start_worker(metrics_namespace=self.queue)
        self.wait(
            lambda: (len(self.ledger.boxes()[0]), self.messages()) == (done, (0, 0, dead)),
            f"{done} done",
            90,
        )
        worker.terminate()
        assert worker.wait(20) == 0, self.logs()


@contextmanager
def role_service(
    root: Path, aws: dict[str, str], *, max_receives: int = 5, visibility_seconds: int = 5
) -> Iterator[RoleService]:
    """A service with a stack of its own; its processes end with the block."""
    name = f"q-{uuid.uuid4().hex[:8]}"
    stack = deploy(
        QueueName=name,
        InputBucket=f"{name}-in",
        InputPrefix="in",
        OutputBucket=f"{name}-out",
        OutputPrefix="out",
        OidcProvider="oidc.example.com/id/1",
        MetricsNamespace=name,
        MaxReceives=max_receives,
        VisibilitySeconds=visibility_seconds,
    )
    made = RoleService(root, stack, aws)
    try:
        yield made
    finally:
        made.close()
