"""A poller on a queue in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chunkflow_worker.job.inbox import Inbox
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.job.stub_sqs import StubSqs
from chunkflow_worker.service.poller import Poller


@pytest.fixture
def poller(sqs: StubSqs, queue: Queue) -> Iterator[Poller]:
    made = Poller(Inbox(sqs, sqs, queue, wait_seconds=5), clock=sqs.clock)
    yield made
    made.close()
