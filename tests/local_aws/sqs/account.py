"""`Account`: an SQS in memory whose clock tests turn by hand."""

from __future__ import annotations

import json
from typing import Any

from chunkflow_worker.local_aws.sqs.call import Call
from chunkflow_worker.local_aws.sqs.queue import LocalQueue
from chunkflow_worker.local_aws.sqs.sqs import LocalSqs

ADDRESS = "http://127.0.0.1:5000"


class Account:
    """Call operations by their names: `account("SendMessage", QueueUrl=..., ...)`.

    now: seconds of the clock. url: of its queue `q`; `dead` is that of the dead letters.
    """

    def __init__(self, max_receives: int = 2, **attributes: str):
        self.now = 1_000_000.0
        self.sqs = LocalSqs(clock=lambda: self.now)
        self.dead = self("CreateQueue", QueueName="dead")["QueueUrl"]
        policy = {"deadLetterTargetArn": self.arn("dead"), "maxReceiveCount": max_receives}
        attributes = {"RedrivePolicy": json.dumps(policy), **attributes}
        self.url = self("CreateQueue", QueueName="q", Attributes=attributes)["QueueUrl"]

    def __call__(self, operation: str, **given: Any) -> dict[str, Any]:
        return self.sqs.do(Call(operation, given, "us-east-1", ADDRESS))

    @property
    def queue(self) -> LocalQueue:
        return self.sqs.find("us-east-1", "q")

    def arn(self, name: str) -> str:
        return self.sqs.find("us-east-1", name).arn

    def send(self, body: str, **given: Any) -> dict[str, Any]:
        return self("SendMessage", QueueUrl=self.url, MessageBody=body, **given)

    def receive(self, url: str = "", **given: Any) -> list[dict[str, Any]]:
        """Up to ten messages."""
        given = {"MaxNumberOfMessages": 10, "AttributeNames": ["All"], **given}
        found: list[dict[str, Any]] = self("ReceiveMessage", QueueUrl=url or self.url, **given).get(
            "Messages", []
        )
        return found

    def bodies(self, url: str = "", **given: Any) -> list[str]:
        return [message["Body"] for message in self.receive(url, **given)]

    def counts(self, url: str = "") -> list[int]:
        """The numbers of messages that are visible, in flight, and delayed."""
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        answer = self("GetQueueAttributes", QueueUrl=url or self.url, AttributeNames=names)
        return [int(answer["Attributes"][name]) for name in names]
