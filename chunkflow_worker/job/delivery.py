"""`Delivery`: one receive of a task message, and the arithmetic of its attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chunkflow_worker.errors import PipelineMismatch
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.message import MAX_ATTEMPTS, TaskMessage, encode, open_envelope

LOCAL_JOB = "local"
"""The job of messages that are only a box, and of boxes that came with no message."""


@dataclass(frozen=True)
class Delivery:
    """A message that was received and found to be well formed.

    receives: how often SQS has handed out this copy of the message, this time included.
    receipt: the handle by which SQS knows this receive.
    message_id: SQS's id of this copy.
    plain_body: the body, where it is a box as text instead of an envelope.
    source: the URL of the queue that it came from; empty when that is not known.
    hidden_until: when SQS shows it to others unless its lease is renewed, by the clock of leases;
        None when that is not known.
    """

    message: TaskMessage
    task_id: str
    receives: int = 1
    receipt: str = ""
    message_id: str = ""
    plain_body: str = ""
    source: str = ""
    hidden_until: float | None = None

    @classmethod
    def open(
        cls, received: Mapping[str, Any], queue: str, *, plain_boxes: bool = False
    ) -> Delivery:
        """Check a message as boto3 returns it from `queue`.

        plain_boxes: also accept a body that is only a bounding box, ``z0-z1_y0-y1_x0-x1``.
        Raises MessageMalformed.
        """
        body, receipt = received["Body"], received["ReceiptHandle"]
        receives = int(received.get("Attributes", {}).get("ApproximateReceiveCount", 1))
        message_id = received["MessageId"]
        if plain_boxes and (box := _plain_box(body)) is not None:
            message = TaskMessage(job=LOCAL_JOB, bbox=str(box))
            return cls(message, message_id, receives, receipt, message_id, plain_body=body)
        message, task_id = open_envelope(body, queue)
        return cls(message, task_id, receives, receipt, message_id)

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1, over all copies of the message."""
        return self.message.attempts + self.receives

    @property
    def is_copy(self) -> bool:
        """True when earlier copies of the message had attempts, which SQS does not count."""
        return self.message.attempts > 0

    def is_last(self, max_receives: int) -> bool:
        """True when no attempt is left after this one."""
        return self.attempt >= max_receives

    def check_pipeline(self, digest: str) -> None:
        """Raises PipelineMismatch unless the message is for the chain with this digest, or any."""
        message = self.message
        if message.pipeline and message.pipeline != digest:
            raise PipelineMismatch(
                f"job {message.job} is for pipeline {message.pipeline}, and this chain is {digest}"
            )

    def same_again(self, queue: str) -> str:
        """The body of a copy that replaces this message, so that this receive costs no attempt."""
        return self.plain_body or self._copy(queue, min(self.attempt - 1, MAX_ATTEMPTS))

    def next_attempt(self, queue: str) -> str:
        """The body of a copy that counts this attempt as spent. A plain body has no such copy."""
        return self._copy(queue, min(self.attempt, MAX_ATTEMPTS))

    def fresh(self, queue: str) -> str:
        """The body of a copy that has all its attempts before it."""
        return self.plain_body or self._copy(queue, 0)

    def _copy(self, queue: str, attempts: int) -> str:
        copy = self.message.model_copy(update={"attempts": attempts})
        return encode(copy, queue, self.task_id)


def _plain_box(body: str) -> BoundingBox | None:
    try:
        return BoundingBox.parse(body.strip())
    except ValueError:
        return None
