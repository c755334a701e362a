"""`Call`: one request to SQS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chunkflow_worker.local_aws.sqs.queue import ACCOUNT, LocalQueue


@dataclass(frozen=True)
class Call:
    """A request. region: of its queues. address: that queue URLs begin with."""

    operation: str
    given: dict[str, Any]
    region: str
    address: str

    def url(self, queue: LocalQueue) -> str:
        return f"{self.address}/{ACCOUNT}/{queue.name}"
