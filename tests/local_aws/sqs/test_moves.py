from __future__ import annotations

import pytest

from chunkflow_worker.local_aws.sqs.refused import Refused
from tests.local_aws.sqs.account import Account


def with_dead_letters(*bodies: str) -> Account:
    account = Account(max_receives=1)
    for body in bodies:
        account.send(body)
    account.receive(VisibilityTimeout=0)
    assert account.receive() == []
    return account


def test_dead_letters_go_back_to_where_they_came_from_as_new_messages() -> None:
    account = with_dead_letters("a", "b")
    dead = account.arn("dead")
    account.now += 5
    assert account("StartMessageMoveTask", SourceArn=dead)["TaskHandle"]
    assert account.counts(account.dead) == [0, 0, 0]
    messages = account.receive()
    assert [message["Body"] for message in messages] == ["a", "b"]
    for message in messages:
        assert message["Attributes"]["ApproximateReceiveCount"] == "1"
        assert message["Attributes"]["SentTimestamp"] == "1000005000"
        assert "DeadLetterQueueSourceArn" not in message["Attributes"]
    (task,) = account("ListMessageMoveTasks", SourceArn=dead)["Results"]
    assert (task["Status"], task["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", 2)


def test_dead_letters_go_to_the_queue_that_is_named() -> None:
    account = with_dead_letters("a")
    other = account("CreateQueue", QueueName="other")["QueueUrl"]
    move = {"SourceArn": account.arn("dead"), "DestinationArn": account.arn("other")}
    account("StartMessageMoveTask", **move)
    assert account.bodies(other) == ["a"]


def test_a_message_without_a_source_stays() -> None:
    account = with_dead_letters("a")
    account("SendMessage", QueueUrl=account.dead, MessageBody="sent here")
    account("StartMessageMoveTask", SourceArn=account.arn("dead"))
    assert account.bodies(account.dead) == ["sent here"]
    (task,) = account("ListMessageMoveTasks", SourceArn=account.arn("dead"))["Results"]
    assert (task["Status"], task["FailureReason"]) == ("FAILED", "CouldNotDetermineMessageSource")


def test_only_dead_letters_are_moved(account: Account) -> None:
    with pytest.raises(Refused, match="must be configured as a Dead Letter Queue"):
        account("StartMessageMoveTask", SourceArn=account.arn("q"))
