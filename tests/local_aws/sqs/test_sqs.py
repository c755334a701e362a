"""The operations follow the developer guide and API reference of SQS (standard queues)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from chunkflow_worker.local_aws.sqs.refused import Refused
from tests.local_aws.sqs.account import ADDRESS, Account


def test_deleting_by_an_old_handle_succeeds_and_deletes_nothing(account: Account) -> None:
    account.send("a")
    (first,) = account.receive()
    account.now += 30
    (second,) = account.receive()
    account("DeleteMessage", QueueUrl=account.url, ReceiptHandle=first["ReceiptHandle"])
    assert account.counts() == [0, 1, 0]
    with pytest.raises(Refused, match=r"InvalidParameterValue.*not available for visibility"):
        account.queue.hide(first["ReceiptHandle"], 60)
    account("DeleteMessage", QueueUrl=account.url, ReceiptHandle=second["ReceiptHandle"])
    assert account.counts() == [0, 0, 0]


def test_the_last_handle_deletes_a_message_that_is_visible_again(account: Account) -> None:
    account.send("a")
    (message,) = account.receive()
    account.now += 30
    with pytest.raises(Refused, match="MessageNotInflight"):
        account.queue.hide(message["ReceiptHandle"], 30)
    account("DeleteMessage", QueueUrl=account.url, ReceiptHandle=message["ReceiptHandle"])
    assert account.counts() == [0, 0, 0]


def test_a_message_is_hidden_for_twelve_hours_from_its_receive_at_most(account: Account) -> None:
    account.send("a")
    account.now += 100_000  # waiting in the queue does not count
    (message,) = account.receive()
    account.queue.hide(message["ReceiptHandle"], 43_200)
    account.now += 1
    with pytest.raises(Refused, match="beyond the limit"):
        account.queue.hide(message["ReceiptHandle"], 43_200)
    account.queue.hide(message["ReceiptHandle"], 43_199)


def test_a_dead_letter_keeps_its_time_and_its_receives_and_names_its_source(
    account: Account,
) -> None:
    account("SetQueueAttributes", QueueUrl=account.url, Attributes={"MessageRetentionPeriod": "90"})
    sent = account.send("a")
    for _ in range(2):
        account.now += 1
        assert account.bodies(VisibilityTimeout=0) == ["a"]
    assert account.bodies() == []
    (letter,) = account.receive(account.dead)
    assert letter["MessageId"] == sent["MessageId"]
    assert letter["Attributes"] == {
        "SenderId": "AIDALOCAL",
        "SentTimestamp": "1000000000",
        "ApproximateFirstReceiveTimestamp": "1000001000",
        "ApproximateReceiveCount": "3",
        "DeadLetterQueueSourceArn": account.arn("q"),
    }


def test_messages_expire_by_the_time_of_their_sending(account: Account) -> None:
    account("SetQueueAttributes", QueueUrl=account.url, Attributes={"MessageRetentionPeriod": "90"})
    account.send("old")
    account.now += 80
    account.send("new")
    account.send("later", DelaySeconds=20)
    assert account.bodies() == ["old", "new"]
    account.now += 10
    assert account.counts() == [0, 1, 1]


def test_a_queue_can_be_the_dead_letter_queue_of_itself(account: Account) -> None:
    policy = f'{{"deadLetterTargetArn": "{account.arn("q")}", "maxReceiveCount": "1"}}'
    account("SetQueueAttributes", QueueUrl=account.url, Attributes={"RedrivePolicy": policy})
    account.send("a")
    for _ in range(3):
        assert account.bodies(VisibilityTimeout=0) == ["a"]


def test_messages_stay_where_the_dead_letter_queue_is_gone(account: Account) -> None:
    account("DeleteQueue", QueueUrl=account.dead)
    account.send("a")
    for _ in range(4):
        assert account.bodies(VisibilityTimeout=0) == ["a"]


def test_what_a_sender_gives_comes_back(account: Account) -> None:
    text = {"DataType": "String.x", "StringValue": "ä"}
    binary = {"DataType": "Binary", "BinaryValue": b"\0"}
    sent = account.send(
        "a",
        MessageGroupId="tenant",
        MessageAttributes={"job.a": text, "job.b": binary, "other": text},
        MessageSystemAttributes={"AWSTraceHeader": text},
    )
    for wanted, names in [
        ([], set()),
        (["All"], {"job.a", "job.b", "other"}),
        (["job.*"], {"job.a", "job.b"}),
        (["other", "absent"], {"other"}),
    ]:
        (got,) = account.receive(MessageAttributeNames=wanted, VisibilityTimeout=0)
        assert got.get("MessageAttributes", {}).keys() == names
        account("SetQueueAttributes", QueueUrl=account.url, Attributes={"RedrivePolicy": ""})
    assert got["Attributes"]["MessageGroupId"] == "tenant"
    assert got["Attributes"]["AWSTraceHeader"] == "ä"
    assert sent["MD5OfMessageBody"] == got["MD5OfBody"] == "0cc175b9c0f1b6a831c399e269772661"


@pytest.mark.parametrize(
    "wake",
    [
        lambda account, held: account.send("b"),
        lambda account, held: account("ChangeMessageVisibility", **held, VisibilityTimeout=0),
        lambda account, held: account("DeleteQueue", QueueUrl=account.url),
        lambda account, held: account.sqs.reset(),
        lambda account, held: account.sqs.close(),
    ],
    ids=["send", "release", "delete", "reset", "close"],
)
def test_a_long_poll_ends_when_something_happens(wake: Callable[..., object]) -> None:
    account = Account()
    account.send("a")
    (message,) = account.receive()
    waits, ended = threading.Event(), threading.Event()

    class Watched(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            waits.set()
            return super().wait(timeout)

    account.sqs._changed[account.queue.id] = Watched(account.sqs._lock)

    def poll() -> None:
        with suppress(Refused):
            account.receive(WaitTimeSeconds=20)
        ended.set()

    threading.Thread(target=poll, daemon=True).start()
    assert waits.wait(10)
    with account.sqs._lock:
        wake(account, {"QueueUrl": account.url, "ReceiptHandle": message["ReceiptHandle"]})
    assert ended.wait(10)


def test_while_too_many_messages_are_in_flight_none_is_received(account: Account) -> None:
    account.sqs.most_in_flight = 1
    account.send("a")
    account.send("b")
    assert account.bodies(MaxNumberOfMessages=1) == ["a"]
    with pytest.raises(Refused, match="OverLimit"):
        account.receive()
    account.sqs.close()  # a long poll does not wait
    assert account.receive(WaitTimeSeconds=1) == []


def test_queues_are_listed_in_pages(account: Account) -> None:
    for number in range(5):
        account("CreateQueue", QueueName=f"p{number}")
    urls, token = [], {}
    while True:
        page = account("ListQueues", QueueNamePrefix="p", MaxResults=2, **token)
        urls += page["QueueUrls"]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert urls == [f"{ADDRESS}/123456789012/p{number}" for number in range(5)]
    assert account("ListQueues", QueueNamePrefix="absent") == {}
    sources = account("ListDeadLetterSourceQueues", QueueUrl=account.dead)
    assert sources == {"queueUrls": [account.url]}


def test_tags_are_kept(account: Account) -> None:
    assert account("ListQueueTags", QueueUrl=account.url) == {}
    account("TagQueue", QueueUrl=account.url, Tags={"a": "1", "b": "2"})
    account("UntagQueue", QueueUrl=account.url, TagKeys=["a", "absent"])
    assert account("ListQueueTags", QueueUrl=account.url) == {"Tags": {"b": "2"}}


def test_a_queue_is_purged_once_a_minute(account: Account) -> None:
    for _ in range(3):
        account.send("a")
    account.receive(MaxNumberOfMessages=1)
    account("PurgeQueue", QueueUrl=account.url)
    assert account.counts() == [0, 0, 0]
    account.now += 59
    with pytest.raises(Refused, match="PurgeQueueInProgress"):
        account("PurgeQueue", QueueUrl=account.url)
    account.now += 1
    account("PurgeQueue", QueueUrl=account.url)


Q = {"QueueUrl": "q"}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "QueueDoesNotExist": ("SendMessage", {"QueueUrl": "absent", "MessageBody": "a"}),
    "ReceiptHandleIsInvalid": ("DeleteMessage", {**Q, "ReceiptHandle": "mine"}),
    "InvalidMessageContents": ("SendMessage", {**Q, "MessageBody": "\0"}),
    "MissingParameter": ("SendMessage", {**Q, "MessageBody": ""}),
    "InvalidAttributeName": ("GetQueueAttributes", {**Q, "AttributeNames": ["Mine"]}),
    "InvalidAttributeValue": (
        "SetQueueAttributes",
        {**Q, "Attributes": {"VisibilityTimeout": "43201"}},
    ),
    "QueueNameExists": (
        "CreateQueue",
        {"QueueName": "q", "Attributes": {"VisibilityTimeout": "31"}},
    ),
    "UnsupportedOperation": ("CreateQueue", {"QueueName": "q.fifo"}),
    "UnsupportedOperation: local-aws has no": ("AddPermission", Q),
    "InvalidParameterValue.*QueueName": ("CreateQueue", {"QueueName": "a b"}),
    "InvalidParameterValue.*between 1 and 10": (
        "ReceiveMessage",
        {**Q, "MaxNumberOfMessages": 11},
    ),
    "InvalidParameterValue.*between 0 and 900": (
        "SendMessage",
        {**Q, "MessageBody": "a", "DelaySeconds": 901},
    ),
    "InvalidParameterValue.*takes up to 1048576": (
        "SendMessage",
        {**Q, "MessageBody": "a" * 1_048_577},
    ),
    "InvalidParameterValue.*target does not exist": (
        "SetQueueAttributes",
        {**Q, "Attributes": {"RedrivePolicy": '{"deadLetterTargetArn":"x","maxReceiveCount":1}'}},
    ),
    "ResourceNotFoundException": ("StartMessageMoveTask", {"SourceArn": "arn:aws:sqs:::absent"}),
    "ResourceNotFoundException.*not running": ("CancelMessageMoveTask", {"TaskHandle": "a"}),
}


@pytest.mark.parametrize("error", REFUSED)
def test_what_sqs_refuses_is_refused_with_its_code(account: Account, error: str) -> None:
    operation, given = REFUSED[error]
    with pytest.raises(Refused, match=f"^{error}"):
        account(operation, **given)


def test_a_queue_of_the_same_attributes_may_be_created_again(account: Account) -> None:
    again = account("CreateQueue", QueueName="q", Attributes={"VisibilityTimeout": "30"})
    assert again["QueueUrl"] == account.url
    with pytest.raises(Refused, match=r"QueueDoesNotExist.*123456789012"):
        account("GetQueueUrl", QueueName="q", QueueOwnerAWSAccountId="1")


def test_a_handle_of_a_queue_that_was_created_anew_is_invalid(account: Account) -> None:
    account.send("a")
    (message,) = account.receive()
    account("DeleteQueue", QueueUrl=account.url)
    account("CreateQueue", QueueName="q")
    with pytest.raises(Refused, match="ReceiptHandleIsInvalid"):
        account("DeleteMessage", QueueUrl=account.url, ReceiptHandle=message["ReceiptHandle"])
