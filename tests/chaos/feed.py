"""Sends a job's messages little by little, some of them twice."""

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


class Feed:
    """The messages of one job of the service, recorded in its ledger when made.

    waiting: messages to keep visible in the queue. With a long queue, one that returns would wait behind the others, and
        that wait would pass for a cost of the kill.
    twice: share of the boxes that get a second message, half of them with the same task id, as when SQS delivers twice, and
        half with one of their own, as when a producer sends twice.
    """

    def __init__(
        self, service: Service, chance: random.Random, waiting: int = 2, twice: float = 0.08
    ):
        grid = Grid(volume_path=service.path("in"), chunk_size=BLOCK)
        plan = make_plan(service.queue, "job", grid, PipelineFile.load(service.pipeline))
        record_job(service.ledger, plan.record)
        self._client: Any = boto3.client("sqs")
        self._queue, self._waiting = find_queue(self._client, service.queue), waiting
        self.boxes = [str(box) for box in plan.boxes]
        bodies = []
        for place, box in enumerate(self.boxes):
            message = TaskMessage(job="job", bbox=box, pipeline=plan.record.pipeline)
            bodies.append((float(place), encode(message, service.queue)))
            if chance.random() < twice:
                body = chance.choice([bodies[-1][1], encode(message, service.queue)])
                bodies.append(
                    (place + chance.uniform(0, 12), body)
                )  # some meet the first at work, some find it done
        self.duplicates = len(bodies) - len(self.boxes)
        self._left = [body for _, body in sorted(bodies)]

    def turn(self) -> bool:
        """Send what the queue has room for; True when all was sent and no message is left, visible or hidden."""
        visible, hidden = self._counts()
        room = max(0, self._waiting - visible)
        batch, self._left = self._left[:room], self._left[room:]
        for body in batch:
            self._client.send_message(QueueUrl=self._queue.url, MessageBody=body)
        empty = not (batch or self._left or visible or hidden)
        return empty and not any(
            self._counts()
        )  # a message received between the two counts is in neither

    def _counts(self) -> tuple[int, int]:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self._client.get_queue_attributes(QueueUrl=self._queue.url, AttributeNames=names)[
            "Attributes"
        ]
        return int(found[names[0]]), int(found[names[1]])
