from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chunkflow_worker.job.message import TaskMessage, encode
from chunkflow_worker.job.sqs import Queue, QueueUnavailable
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from producer.look.dead_letters import dead_letters

MESSAGES = [TaskMessage(job="j", bbox=f"{z}-{z + 1}_0-1_0-1") for z in range(12)]


@pytest.fixture
def client() -> StubSqs:
    return StubSqs()


@pytest.fixture
def dead(client: StubSqs, queue: Queue) -> None:
    """Twelve task messages and a malformed one, which do not fit in one answer of SQS."""
    bodies = [encode(message, queue.name, f"id-{message.bbox}") for message in MESSAGES]
    for body in [*bodies, "not a task"]:
        client.send_message(QueueUrl=queue.dead_letter_url, MessageBody=body)


def test_each_dead_letter_is_read_once(dead: None, client: StubSqs, queue: Queue) -> None:
    with dead_letters(client, queue) as letters:
        read = list(letters)
    deliveries = [letter.delivery for letter in read if letter.delivery]
    assert [delivery.message for delivery in deliveries] == MESSAGES
    assert [delivery.task_id for delivery in deliveries] == [f"id-{m.bbox}" for m in MESSAGES]
    (malformed,) = [letter for letter in read if letter.delivery is None]
    assert malformed.problem.endswith(": the body is not JSON")
    assert {letter.problem for letter in read if letter.delivery} == {""}


def test_others_see_them_only_after_the_block(dead: None, client: StubSqs, queue: Queue) -> None:
    with dead_letters(client, queue) as letters:
        list(letters)
        assert client.visible(queue.dead_letter_url) == []
    assert len(client.visible(queue.dead_letter_url)) == 13


def test_they_become_visible_after_an_error_too(dead: None, client: StubSqs, queue: Queue) -> None:
    def read_and_fail() -> None:
        with dead_letters(client, queue) as letters:
            next(letters)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        read_and_fail()
    assert len(client.visible(queue.dead_letter_url)) == 13


def test_a_letter_may_be_deleted_in_the_block(dead: None, client: StubSqs, queue: Queue) -> None:
    with dead_letters(client, queue) as letters:
        first = next(letters).delivery
        assert first is not None
        client.delete_message(queue.dead_letter_url, first.receipt)
    assert len(client.visible(queue.dead_letter_url)) == 12


def test_an_empty_queue_has_no_letters(client: StubSqs, queue: Queue) -> None:
    with dead_letters(client, queue) as letters:
        assert list(letters) == []


def test_sqs_that_does_not_answer_is_reported() -> None:
    class Gone:
        def receive_message(self, **_: Any) -> None:
            raise EndpointConnectionError(endpoint_url="http://gone")

    queue = Queue("q", "url", "dead-url", 3, 60)
    with (
        dead_letters(Gone(), queue) as letters,
        pytest.raises(QueueUnavailable, match="dead letters of queue q: gone cannot be reached"),
    ):
        next(letters)


def test_letters_that_may_not_be_shown_again_are_told_once(
    dead: None, client: StubSqs, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    denied = {"Error": {"Code": "AccessDenied", "Message": ""}}
    operation = "ChangeMessageVisibilityBatch"
    client.fail["change_message_visibility_batch"] = ClientError(denied, operation)
    with dead_letters(client, queue) as letters:
        assert len(list(letters)) == 13
    (record,) = caplog.records
    assert record.getMessage().startswith("the dead letters stay hidden for 15 minutes: access")
    assert "sqs:ChangeMessageVisibility" in record.getMessage()
    assert len(client.bodies(queue.dead_letter_url)) == 13


def test_a_letter_has_the_time_of_its_first_send(client: StubSqs, queue: Queue) -> None:
    client.clock.advance(86_400)
    client.send_message(QueueUrl=queue.dead_letter_url, MessageBody="not a task")
    client.clock.advance(86_400)
    with dead_letters(client, queue) as letters:
        (letter,) = letters
    assert letter.sent == "1970-01-02T00:00:00+00:00"
