"""Sends the messages of a job little by little, and some of them twice."""

from __future__ import annotations

import random
from typing import Any

import boto3

from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.message import TaskMessage, encode
from chunkflow_worker.job.sqs import find_queue
from producer.plan.job import make_plan
from producer.plan.pipeline_file import PipelineFile
from producer.plan.record import record_job
from tests.support.service import BLOCK, Service

_LATEST_COPY = 12  # boxes after its own, behind which a second message is sent


class Feed:
    """The messages of one job of the service, which is recorded in the ledger.

    waiting: messages to keep visible in the queue. In a long queue, a message that returns would
        wait behind the others, and that wait would be counted as a cost of the kill.
    twice: share of the boxes with a second message. Half of these have the same task id, as when
        SQS delivers twice, and half another one, as when a producer sends twice.
    """

    def __init__(
        self, service: Service, chance: random.Random, waiting: int = 2, twice: float = 0.08
    ):
        grid = Grid(volume_path=service.path("in"), chunk_size=BLOCK)
        plan = make_plan(service.queue, "job", grid, PipelineFile.load(service.pipeline))
        record_job(service.ledger, plan.record)
        self._client: Any = boto3.client("sqs")
        self._queue, self._waiting = find_queue(self._client, service.queue), waiting
        self._service = service
        self.boxes = [str(box) for box in plan.boxes]
        bodies = []
        for place, box in enumerate(self.boxes):
            message = TaskMessage(job="job", bbox=box, pipeline=plan.record.pipeline)
            body = encode(message, service.queue)
            bodies.append((float(place), body))
            if chance.random() < twice:
                copy = chance.choice([body, encode(message, service.queue)])
                # Some copies meet the first message at work, others find the box done.
                bodies.append((place + chance.uniform(0, _LATEST_COPY), copy))
        self.duplicates = len(bodies) - len(self.boxes)
        self._left = [body for _, body in sorted(bodies)]

    def turn(self) -> bool:
        """Send what the queue has room for; True when all were sent and no message is left."""
        visible, hidden, _ = self._service.messages()
        room = max(0, self._waiting - visible)
        batch, self._left = self._left[:room], self._left[room:]
        for body in batch:
            self._client.send_message(QueueUrl=self._queue.url, MessageBody=body)
        if batch or self._left or visible or hidden:
            return False
        # A message that was received between the two counts is in neither of them.
        return not any(self._service.messages()[:2])
