from __future__ import annotations

from typing import Any

import pytest

from chunkflow_worker.local_aws.sqs.refused import Refused
from tests.local_aws.sqs.account import Account


def entries(*ids: str, body: str = "a") -> list[dict[str, Any]]:
    return [{"Id": each, "MessageBody": body} for each in ids]


@pytest.mark.parametrize(
    ("batch", "code"),
    [
        (entries(), "EmptyBatchRequest"),
        (entries(*map(str, range(11))), "TooManyEntriesInBatchRequest"),
        (entries("a", "b", "a"), "BatchEntryIdsNotDistinct: Id a repeated"),
        (entries("a b"), "InvalidBatchEntryId"),
        (entries("a", "b", body="x" * 600_000), "BatchRequestTooLong"),
    ],
)
def test_a_batch_is_refused_as_a_whole(
    account: Account, batch: list[dict[str, Any]], code: str
) -> None:
    with pytest.raises(Refused, match=code):
        account("SendMessageBatch", QueueUrl=account.url, Entries=batch)
    assert account.counts() == [0, 0, 0]


def test_an_entry_fails_alone(account: Account) -> None:
    batch = entries("good") + entries("bad", body="\0")
    answer = account("SendMessageBatch", QueueUrl=account.url, Entries=batch)
    assert [entry["Id"] for entry in answer["Successful"]] == ["good"]
    (failed,) = answer["Failed"]
    assert (failed["Id"], failed["Code"]) == ("bad", "InvalidMessageContents")
    (message,) = account.receive()
    handles = [
        {"Id": "a", "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0},
        {"Id": "b", "ReceiptHandle": "mine", "VisibilityTimeout": 0},
    ]
    for operation in ("ChangeMessageVisibilityBatch", "DeleteMessageBatch"):
        answer = account(operation, QueueUrl=account.url, Entries=handles)
        assert answer["Successful"] == [{"Id": "a"}]
        assert answer["Failed"][0]["Code"] == "ReceiptHandleIsInvalid"
    assert account.counts() == [0, 0, 0]
