"""Messages and queues in memory, for unit tests of the service."""

from __future__ import annotations

from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.message import TaskMessage, encode
from chunkflow_worker.job.sqs import Queue, find_queue
from chunkflow_worker.job.sqs import receive as receive_messages
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from producer.send.queue import create_queue

BOX = "0-4_0-4_0-8"


def make_queue(sqs: StubSqs, name: str = "q", max_receives: int = 3) -> Queue:
    """A queue with a visibility timeout of 30 s, and its dead-letter queue."""
    create_queue(sqs, name, max_receives=max_receives, visibility_seconds=30)
    return find_queue(sqs, name)


def send(sqs: StubSqs, queue: Queue, box: str = BOX, task_id: str = "id", **fields: object) -> None:
    """Send the message of a box, as a producer does."""
    message = TaskMessage.model_validate({"job": "job", "bbox": box} | fields)
    sqs.send_message(queue.url, encode(message, queue.name, task_id))


def receive(sqs: StubSqs, queue: Queue, box: str | None = None) -> Delivery:
    """The next message; with `box`, the message of that box is sent first."""
    if box is not None:
        send(sqs, queue, box)
    (message,) = receive_messages(sqs, queue.url, 1, 0)
    return Delivery.open(message, queue.name)
