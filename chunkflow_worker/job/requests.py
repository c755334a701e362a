"""`REQUESTS`: what a worker asks of AWS for a task that is done at its first delivery.

docs/service.md has the same table, and tests count the requests. Plans count with it.
"""

from __future__ import annotations

from typing import NamedTuple

from chunkflow_worker.job.heartbeat import HEARTBEAT_SECONDS
from chunkflow_worker.report.cloudwatch import INTERVAL_SECONDS

TASK = "task"
BLOCK_READ, BLOCK_WRITTEN = "block that is read", "block that is written"
INTERVAL, HEARTBEAT = f"{INTERVAL_SECONDS:.0f} seconds", f"{HEARTBEAT_SECONDS:.0f} seconds"


class Request(NamedTuple):
    """service: S3, SQS or CloudWatch. name: of the request, or its HTTP method.

    number: of requests for each `of`.
    """

    service: str
    name: str
    number: int
    of: str


REQUESTS = (
    Request("SQS", "ReceiveMessage", 1, TASK),
    Request("SQS", "DeleteMessage", 1, TASK),
    Request("S3", "GET", 1, BLOCK_READ),
    Request("S3", "PUT", 1, BLOCK_WRITTEN),
    Request("S3", "HEAD", 1, BLOCK_WRITTEN),
    Request("S3", "LIST", 1, TASK),
    Request("S3", "PUT", 1, TASK),
    Request("S3", "PUT", 1, HEARTBEAT),
    Request("CloudWatch", "PutMetricData", 1, INTERVAL),
)
