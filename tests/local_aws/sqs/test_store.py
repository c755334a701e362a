from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.local_aws.sqs.call import Call
from chunkflow_worker.local_aws.sqs.sqs import LocalSqs
from chunkflow_worker.local_aws.sqs.store import Store, local_sqs


def do(sqs: LocalSqs, operation: str, **given: object) -> dict[str, object]:
    return sqs.do(Call(operation, given, "us-east-1", "http://127.0.0.1"))


def test_each_state_of_a_message_is_kept(tmp_path: Path) -> None:
    with local_sqs(tmp_path) as sqs:
        do(sqs, "CreateQueue", QueueName="q", tags={"a": "b"})
        attributes = {"x": {"DataType": "Binary", "BinaryValue": b"\0"}}
        for body in ("deleted", "flying", "visible"):
            do(sqs, "SendMessage", QueueUrl="q", MessageBody=body, MessageAttributes=attributes)
        do(sqs, "SendMessage", QueueUrl="q", MessageBody="delayed", DelaySeconds=900)
        queue = sqs.find("us-east-1", "q")
        (_, handle), _ = list(queue.receive(2, 600, None))
        do(sqs, "DeleteMessage", QueueUrl="q", ReceiptHandle=handle)
        before, identity = list(queue.messages()), vars(queue)["id"]
    with local_sqs(tmp_path) as sqs:
        queue = sqs.find("us-east-1", "q")
        assert (queue.id, queue.tags, queue.counts()) == (identity, {"a": "b"}, (1, 1, 1))
        assert list(queue.messages()) == before
        do(sqs, "SendMessage", QueueUrl="q", MessageBody="new")
        assert max(message.number for message in before) < list(queue.messages())[-1].number
        do(sqs, "PurgeQueue", QueueUrl="q")
    with local_sqs(tmp_path) as sqs:
        assert sqs.find("us-east-1", "q").counts() == (0, 0, 0)
        sqs.reset()
    with local_sqs(tmp_path) as sqs:
        assert do(sqs, "ListQueues") == {}


def test_a_folder_is_for_one_process_at_a_time(tmp_path: Path) -> None:
    with closing(Store(tmp_path)), pytest.raises(ConfigError, match="another local-aws uses"):
        Store(tmp_path)
    Store(tmp_path).close()


def test_without_a_folder_nothing_is_kept() -> None:
    for _ in range(2):
        with local_sqs(None) as sqs:
            assert do(sqs, "ListQueues") == {}
            do(sqs, "CreateQueue", QueueName="q")
