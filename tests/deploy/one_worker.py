"""`Process`: a worker in this process, with a role of the stack, and what it has done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

import boto3
import numpy as np
import pytest
from cloudfiles.interfaces import reset_connection_pools

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.job.inbox import Inbox
from chunkflow_worker.job.sqs import find_queue, make_client
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.service.places import Places
from chunkflow_worker.service.poller import Poller
from chunkflow_worker.service.worker import Worker
from tests.deploy.role_service import RoleService
from tests.deploy.roles import Right

BOX = "0-16_0-64_0-64"
SECONDS = 60


@contextmanager
def new_credentials() -> Iterator[None]:
    """Forget connections and credentials that libraries keep for this process."""
    reset_connection_pools()
    with patch.object(boto3, "DEFAULT_SESSION", None):
        yield
    reset_connection_pools()


@dataclass
class Process:
    """A worker in this process. statuses: with which it would have ended the process."""

    service: RoleService
    worker: Worker
    poller: Poller
    statuses: list[int] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def start(cls, service: RoleService, lease_seconds: int | None = None) -> Process:
        """Do what a worker does before its first message. Raises ChunkflowError as it does."""
        settings = Settings(
            pipeline=service.pipeline,
            queue=service.queue,
            metrics_namespace=service.queue,
            health_folder=str(service.root),
            spot_notice=False,
            in_flight=1,
            grace_seconds=0,
            lease_seconds=lease_seconds,
        )
        client = make_client(settings.region)
        poller = Poller(Inbox(client, client, find_queue(client, service.queue), 1), Places(1))
        made = cls(service, Worker(settings, {"": Pipeline.load(service.pipeline)}, poller), poller)
        made.worker._exit_process = made._end
        made.worker.open()
        return made

    def _end(self, status: int) -> None:
        self.statuses.append(status)
        self.ended.set()

    def run(self) -> int:
        """Receive once and do the tasks; returns their number."""
        messages = [m for m in self.poller.poll(1) if self.poller.take(m)]
        for message in messages:
            self.worker.run(message["Delivery"])
        return len(messages)

    def run_until(self, said: str, log: pytest.LogCaptureFixture) -> None:
        """Work until the log has a text, then stop the worker as a signal does."""
        thread = threading.Thread(target=self.run)
        thread.start()
        self.service.wait(lambda: said in log.text, said, SECONDS)
        self.worker.stop()
        assert self.ended.wait(SECONDS)
        thread.join(SECONDS)
        assert not thread.is_alive()

    def close(self) -> None:
        self.poller.close()
        self.worker.close()


def right(action: str, resource: str, service: RoleService) -> Right:
    """resource: `queue`, `dead`, or a bucket with a pattern of keys, such as `out/*`."""
    name = service.queue
    if resource in ("queue", "dead"):
        return Right(action, f"arn:aws:sqs:*:{name}" + ("-dead" if resource == "dead" else ""))
    return Right(action, "*" if resource == "*" else f"arn:aws:s3:::{name}-{resource}")


def nothing_was_done(service: RoleService) -> bool:
    """No record, no voxel, and the message is where it was."""
    done, failed, *_ = service.ledger.listing()
    return not done and not failed and not service.output_where_written().any()


def everything_was_done(service: RoleService) -> bool:
    return service.ledger.listing().done == {BOX} and np.array_equal(
        service.output(), service.input()
    )
