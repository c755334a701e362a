"""The stub and the local AWS answer alike, and the stub does what only tests ask for."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from chunkflow_worker.job.sqs import Queue, find_queue, make_client
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from producer.send.queue import create_queue, delete_queue

COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")


def receive(client: Any, url: str, **options: Any) -> list[dict[str, Any]]:
    asked = {"AttributeNames": ["ApproximateReceiveCount"], "MaxNumberOfMessages": 10} | options
    messages: list[dict[str, Any]] = client.receive_message(QueueUrl=url, **asked).get(
        "Messages", []
    )
    return messages


def counts(client: Any, url: str) -> list[int]:
    answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=list(COUNTS))
    return [int(answer["Attributes"][name]) for name in COUNTS]


@pytest.fixture(params=["stub", "local AWS"])
def client(request: pytest.FixtureRequest) -> Any:
    if request.param == "stub":
        return StubSqs()
    request.getfixturevalue("aws")
    return make_client("us-east-1")


@pytest.fixture
def either(client: Any, unique_name: str) -> Queue:
    """A queue of two receives, of the stub and of the local AWS in turn."""
    create_queue(client, unique_name, max_receives=2, visibility_seconds=30)
    return find_queue(client, unique_name)


def test_a_received_message_is_hidden_until_it_is_released(client: Any, either: Queue) -> None:
    client.send_message(QueueUrl=either.url, MessageBody="a")
    assert counts(client, either.url) == [1, 0]
    (message,) = receive(client, either.url)
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert counts(client, either.url) == [0, 1]
    assert receive(client, either.url) == []
    receipt = message["ReceiptHandle"]
    client.change_message_visibility(
        QueueUrl=either.url, ReceiptHandle=receipt, VisibilityTimeout=0
    )
    (again,) = receive(client, either.url)
    assert (again["MessageId"], again["Body"]) == (message["MessageId"], "a")
    assert again["ReceiptHandle"] != receipt
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"
    client.delete_message(QueueUrl=either.url, ReceiptHandle=again["ReceiptHandle"])
    assert counts(client, either.url) == [0, 0]


def test_what_was_received_too_often_moves_at_the_next_receive(client: Any, either: Queue) -> None:
    client.send_message(QueueUrl=either.url, MessageBody="a")
    for _ in range(2):
        assert len(receive(client, either.url, VisibilityTimeout=0)) == 1
    assert counts(client, either.url) == [1, 0]
    assert receive(client, either.url) == []
    assert counts(client, either.url) == [0, 0]
    assert [m["Body"] for m in receive(client, either.dead_letter_url)] == ["a"]


def test_a_batch_is_checked(client: Any, either: Queue) -> None:
    def send(*ids: str) -> Any:
        entries = [{"Id": i, "MessageBody": i} for i in ids]
        return client.send_message_batch(QueueUrl=either.url, Entries=entries)

    assert [e["Id"] for e in send("0", "1")["Successful"]] == ["0", "1"]
    for ids in (["0", "0"], [str(i) for i in range(11)]):
        with pytest.raises(ClientError, match=r"NotDistinct|TooManyEntries"):
            send(*ids)
    assert counts(client, either.url) == [2, 0]


def test_an_absent_queue_is_an_error_of_its_own(client: Any, either: Queue) -> None:
    assert delete_queue(client, either.name) == [either.name, f"{either.name}-dead"]
    with pytest.raises(client.exceptions.QueueDoesNotExist):
        client.get_queue_url(QueueName=either.name)
    assert delete_queue(client, either.name) == []


# With a clock that is turned by hand.


def test_the_receipt_of_an_earlier_receive_is_of_no_use(sqs: StubSqs, queue: Queue) -> None:
    sqs.send_message(queue.url, "a")
    (first,) = receive(sqs, queue.url)
    sqs.clock.advance(30)
    (second,) = receive(sqs, queue.url)
    sqs.delete_message(queue.url, first["ReceiptHandle"])
    assert sqs.bodies(queue.url) == ["a"]
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        sqs.change_message_visibility(queue.url, first["ReceiptHandle"], 60)
    assert sqs.seconds_hidden(queue.url) == [30]
    sqs.delete_message(queue.url, second["ReceiptHandle"])
    assert sqs.bodies(queue.url) == []


def test_a_visible_message_cannot_be_hidden_again(sqs: StubSqs, queue: Queue) -> None:
    sqs.send_message(queue.url, "a")
    (message,) = receive(sqs, queue.url)
    sqs.clock.advance(29.9)
    sqs.change_message_visibility(queue.url, message["ReceiptHandle"], 30)
    sqs.clock.advance(30)
    with pytest.raises(ClientError, match="MessageNotInflight"):
        sqs.change_message_visibility(queue.url, message["ReceiptHandle"], 30)


def test_a_message_is_hidden_for_twelve_hours_from_the_receive_at_most(
    sqs: StubSqs, queue: Queue
) -> None:
    sqs.send_message(queue.url, "a")
    sqs.clock.advance(100_000)  # waiting in the queue does not count
    (message,) = receive(sqs, queue.url)
    receipt = message["ReceiptHandle"]
    sqs.change_message_visibility(queue.url, receipt, 43_200)
    sqs.clock.advance(1)
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        sqs.change_message_visibility(queue.url, receipt, 43_200)
    sqs.change_message_visibility(queue.url, receipt, 43_199)


def test_a_delayed_message_appears_when_its_delay_is_over(sqs: StubSqs, queue: Queue) -> None:
    sqs.send_message(queue.url, "a", DelaySeconds=5)
    assert receive(sqs, queue.url) == []
    names = ["ApproximateNumberOfMessagesDelayed"]
    answer = sqs.get_queue_attributes(queue.url, names)["Attributes"]
    assert answer == {"ApproximateNumberOfMessagesDelayed": "1"}
    sqs.clock.advance(5)
    assert len(receive(sqs, queue.url)) == 1


def test_a_message_expires_by_the_time_of_its_sending(sqs: StubSqs, queue: Queue) -> None:
    for url, seconds in ((queue.url, 400), (queue.dead_letter_url, 500)):
        sqs.set_queue_attributes(url, {"MessageRetentionPeriod": str(seconds)})
    sqs.send_message(queue.url, "a")
    sqs.send_message(queue.url, "b")
    for _ in range(queue.max_receives):
        receive(sqs, queue.url, MaxNumberOfMessages=1, VisibilityTimeout=0)
    sqs.clock.advance(399)
    assert len(receive(sqs, queue.url)) == 1  # a moves to the dead letters
    sqs.clock.advance(1)
    assert sqs.bodies(queue.url) == []
    asked = ["SentTimestamp", "ApproximateFirstReceiveTimestamp"]
    (letter,) = receive(sqs, queue.dead_letter_url, AttributeNames=asked, VisibilityTimeout=0)
    assert letter["Attributes"]["SentTimestamp"] == "0"
    sqs.clock.advance(100)
    assert sqs.bodies(queue.dead_letter_url) == []


def test_a_message_may_come_twice(sqs: StubSqs, queue: Queue) -> None:
    sqs.send_message(queue.url, "a")
    sqs.duplicates = 1
    (first,), (second,) = receive(sqs, queue.url), receive(sqs, queue.url)
    assert (first["MessageId"], receive(sqs, queue.url)) == (second["MessageId"], [])
    sqs.delete_message(queue.url, first["ReceiptHandle"])
    assert sqs.bodies(queue.url) == ["a"]


def test_a_deleted_message_may_return(sqs: StubSqs, queue: Queue) -> None:
    sqs.send_message(queue.url, "a")
    sqs.lost_deletes = 1
    for expected in (["a"], []):
        (message,) = receive(sqs, queue.url)
        sqs.delete_message(queue.url, message["ReceiptHandle"])
        assert sqs.bodies(queue.url) == expected
        sqs.clock.advance(30)


def test_no_message_is_received_while_too_many_are_in_flight(sqs: StubSqs, queue: Queue) -> None:
    sqs.most_in_flight = 1
    sqs.send_message(queue.url, "a")
    sqs.send_message(queue.url, "b")
    (message,) = receive(sqs, queue.url, MaxNumberOfMessages=1)
    with pytest.raises(ClientError, match="OverLimit"):
        receive(sqs, queue.url)
    assert receive(sqs, queue.url, WaitTimeSeconds=1) == []
    sqs.delete_message(queue.url, message["ReceiptHandle"])
    assert len(receive(sqs, queue.url)) == 1


def test_a_handle_that_sqs_never_gave_is_an_error(sqs: StubSqs, queue: Queue) -> None:
    with pytest.raises(ClientError, match="ReceiptHandleIsInvalid"):
        sqs.delete_message(queue.url, "mine")


def test_faults_are_raised_until_they_are_removed(sqs: StubSqs, queue: Queue) -> None:
    sqs.fail["send_message"] = OSError("reset")
    for _ in range(2):
        with pytest.raises(OSError, match="reset"):
            sqs.send_message(queue.url, "a")
    del sqs.fail["send_message"]
    sqs.send_message(queue.url, "a")
    assert sqs.called("send_message") == 3
    assert sqs.bodies(queue.url) == ["a"]


def test_one_receive_takes_at_most_ten(sqs: StubSqs, queue: Queue) -> None:
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        receive(sqs, queue.url, MaxNumberOfMessages=11)
