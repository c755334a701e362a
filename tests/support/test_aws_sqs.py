"""The served SQS answers boto3 as SQS does, and its faults do what their names say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chunkflow_worker.job.sqs import Queue, find_queue
from producer.send.queue import create_queue
from tests.support.aws_sqs import (
    AWAY,
    KMS_THROTTLED,
    OVER_LIMIT,
    THROTTLED,
    Answer,
    Fault,
    SqsServer,
    aws_sqs,
)


@pytest.fixture(scope="module")
def served() -> Iterator[SqsServer]:
    with aws_sqs() as server:
        yield server


@pytest.fixture
def client(served: SqsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in served.variables.items():
        monkeypatch.setenv(name, value)
    yield boto3.client("sqs", config=Config(retries={"total_max_attempts": 1}, read_timeout=2))
    served.clear()


@pytest.fixture
def queue(client: Any, unique_name: str) -> Queue:
    create_queue(client, unique_name, max_receives=2, visibility_seconds=30)
    return find_queue(client, unique_name)


def receive(client: Any, url: str, **options: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = client.receive_message(QueueUrl=url, **options).get(
        "Messages", []
    )
    return messages


def test_an_old_handle_neither_deletes_nor_hides(client: Any, queue: Queue) -> None:
    client.send_message(QueueUrl=queue.url, MessageBody="a")
    (first,) = receive(client, queue.url, VisibilityTimeout=0)
    (second,) = receive(client, queue.url)
    old = {"QueueUrl": queue.url, "ReceiptHandle": first["ReceiptHandle"]}
    client.delete_message(**old)
    with pytest.raises(ClientError, match="not available for visibility timeout") as raised:
        client.change_message_visibility(**old, VisibilityTimeout=60)
    assert raised.value.response["Error"]["Code"] == "InvalidParameterValue"
    new = {"QueueUrl": queue.url, "ReceiptHandle": second["ReceiptHandle"]}
    client.change_message_visibility(**new, VisibilityTimeout=0)
    with pytest.raises(client.exceptions.MessageNotInflight):
        client.change_message_visibility(**new, VisibilityTimeout=60)


def test_an_absent_queue_is_told_as_by_sqs(client: Any, queue: Queue) -> None:
    with pytest.raises(client.exceptions.QueueDoesNotExist):
        client.get_queue_url(QueueName="absent")


def test_a_long_poll_waits_for_a_message(client: Any, queue: Queue) -> None:
    client.send_message(QueueUrl=queue.url, MessageBody="a")
    assert len(receive(client, queue.url, VisibilityTimeout=1)) == 1
    (message,) = receive(client, queue.url, WaitTimeSeconds=20)
    assert message["Body"] == "a"


@pytest.mark.parametrize("answer", [AWAY, THROTTLED, KMS_THROTTLED, OVER_LIMIT])
def test_a_fault_answers_one_operation(
    served: SqsServer, client: Any, queue: Queue, answer: Answer
) -> None:
    served.set(answer, "SendMessage", count=1)
    with pytest.raises(ClientError) as raised:
        client.send_message(QueueUrl=queue.url, MessageBody="a")
    assert raised.value.response["Error"]["Code"] == answer.code
    assert receive(client, queue.url) == []
    client.send_message(QueueUrl=queue.url, MessageBody="a")
    assert len(receive(client, queue.url)) == 1


@pytest.mark.parametrize(("fault", "is_sent"), [("close", 0), ("hang", 0), ("lose", 1)])
def test_a_fault_gives_no_answer(
    served: SqsServer, client: Any, queue: Queue, fault: Fault, is_sent: int
) -> None:
    served.set(fault)
    with pytest.raises(BotoCoreError):
        client.send_message(QueueUrl=queue.url, MessageBody="a")
    served.clear()
    assert len(receive(client, queue.url)) == is_sent
