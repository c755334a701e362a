"""The SQS calls of worker and producer, without Celery."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from chunkflow_worker.config.queue_name import QueueName
from chunkflow_worker.errors import AccessRefused, ConfigError, Mistake, RetryableError
from chunkflow_worker.report.access import meaning
from chunkflow_worker.report.aws_session import aws_session

MAX_VISIBILITY_SECONDS = 43_200  # SQS's limit, counted from the receive
MOST_MESSAGES = 10  # SQS's limit for one request
MAX_DELAY_SECONDS = 900  # SQS's limit for a message that is sent
MIN_LEASE_SECONDS, MAX_DEFAULT_LEASE_SECONDS = 3, 120
DAY_SECONDS = 86_400
_RETENTION = "MessageRetentionPeriod"


class QueueUnavailable(RetryableError):
    """SQS could not be reached, or it answered with an error."""


class QueueRefused(QueueUnavailable, AccessRefused):
    """SQS refused the credentials, or there are none."""


@dataclass(frozen=True)
class Queue:
    """A queue and its dead-letter queue, and maybe a queue for messages of high priority.

    The latter has the same dead letters, and its messages name this queue as theirs.

    max_receives: receives before SQS moves a message to the dead letters.
    visibility_seconds: how long SQS hides a message that is received.
    retention_seconds, dead_letter_retention_seconds: after which SQS deletes a message, counted
        from its first send, also when it was moved to the dead letters; SQS's default is 4 days.
        The latter is None when these credentials may not ask.
    high_url: of the queue for high priority; empty when there is none.
    """

    name: str
    url: str
    dead_letter_url: str
    max_receives: int
    visibility_seconds: int
    retention_seconds: int = 4 * DAY_SECONDS
    dead_letter_retention_seconds: int | None = None
    high_url: str = ""

    @property
    def urls(self) -> tuple[str, ...]:
        """Those of the queues that workers take messages from."""
        return (self.url, self.high_url) if self.high_url else (self.url,)

    @property
    def place(self) -> str:
        """The name of the queue at `url`: of high priority, it differs from `name`."""
        return self.url.rsplit("/", 1)[-1]

    def at(self, url: str) -> Queue:
        """The same, with the one of `urls` at which its messages are sent and settled."""
        return replace(self, url=url)

    @property
    def expiry_warning(self) -> str:
        """What is wrong with the retention of the dead letters; empty when nothing is."""
        cure = f"run: chunkflow-producer queue create {self.name}"
        if self.dead_letter_retention_seconds is None:
            return (
                f"queue {self.name}: whether SQS keeps its dead letters for longer than its "
                "messages was not checked; allow sqs:GetQueueAttributes on the dead-letter queue"
            )
        if self.dead_letter_retention_seconds > self.retention_seconds:
            return ""
        kept, dead = (
            f"{seconds / DAY_SECONDS:g} days"
            for seconds in (self.retention_seconds, self.dead_letter_retention_seconds)
        )
        return (
            f"queue {self.name}: SQS keeps messages for {kept} and dead letters for {dead}, both "
            f"from the first send: a task that fails late is deleted before anybody sees it; {cure}"
        )

    @property
    def lease_seconds(self) -> int:
        """The lease on its messages unless a user sets one: the visibility timeout, in limits.

        A renewal needs some seconds, and a task of a dead worker should not wait for long.
        """
        return min(max(self.visibility_seconds, MIN_LEASE_SECONDS), MAX_DEFAULT_LEASE_SECONDS)


def make_client(
    region: str, read_seconds: float = 10, connections: int = 10, attempts: int = 3
) -> Any:
    """An SQS client with short timeouts and adaptive retries.

    Endpoint and credentials come from the environment.
    connections: how many threads can use it at the same time.
    attempts: number of requests, the first included; 1 for no retry.
    Raises ConfigError for an environment that boto3 refuses.
    """
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(
        connect_timeout=5,
        read_timeout=read_seconds,
        retries={
            "total_max_attempts": attempts,
            "mode": "adaptive" if attempts > 1 else "standard",
        },
        tcp_keepalive=True,
        max_pool_connections=connections,
    )
    try:
        client = aws_session().client("sqs", region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        found = meaning(error)
        cure = found.cure or "see the AWS_* variables and the files below ~/.aws"
        raise ConfigError.one("AWS", "environment", found.problem, cure) from None
    _refuse_torn_answers(client, attempts)
    return client


def _refuse_torn_answers(client: Any, limit: int) -> None:
    """Retry when an answer was cut off, then raise ResponseStreamingError.

    botocore takes an answer that was cut off for an empty one. Only the operations whose answers
    matter are retried: messages that were lost with an answer to ReceiveMessage become visible
    again after their visibility timeout.
    """
    from botocore.exceptions import ResponseStreamingError

    def check(response: Any, attempts: int, **_: Any) -> float | None:
        if response is None:
            return None
        answer = response[0]
        received = len(answer.content)
        expected = int(answer.headers.get("content-length", 0))
        if received >= expected:
            return None
        if attempts >= limit:
            raise ResponseStreamingError(
                error=f"the answer was cut off after {received} of {expected} bytes"
            )
        return 0.5 * attempts  # seconds until the next attempt

    for operation in ("GetQueueUrl", "GetQueueAttributes", "SendMessageBatch"):
        client.meta.events.register_first(f"needs-retry.sqs.{operation}", check)


@contextmanager
def sqs_errors(subject: str) -> Iterator[None]:
    """Translate what boto3 raises into QueueUnavailable, or QueueRefused."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, OSError) as error:
        found = meaning(error)
        kind = QueueRefused if found.is_refused else QueueUnavailable
        raise kind(f"{subject}: {found}") from error


def queue_name(client: Any, given: str) -> QueueName:
    """A queue by its name, URL or ARN.

    Raises ConfigError for what is none of them, for a FIFO queue, and for a queue of another region
    or endpoint than the client's.
    """
    try:
        queue = QueueName.parse(given)
        queue.check_reached(client.meta.region_name, client.meta.endpoint_url)
    except Mistake as mistake:
        raise mistake.at("queue", given) from None
    return queue


def find_queue(client: Any, given: str) -> Queue:
    """Look up a queue that must have a dead-letter queue.

    given: its name, URL or ARN.
    Raises ConfigError when there is no such queue, when it is itself one of dead letters, or when
    it has no redrive policy: without one, Celery would delete failed messages. Raises
    QueueUnavailable when SQS can't be reached.
    """
    queue = queue_name(client, given)
    name = queue.name
    create = f"chunkflow-producer queue create {queue.main_name}"
    with sqs_errors(f"queue {name}"):
        try:
            url = client.get_queue_url(QueueName=name)["QueueUrl"]
        except client.exceptions.QueueDoesNotExist:
            problem = f"there is no such queue in {client.meta.region_name}"
            if queue.account:
                problem += f", or these credentials are not of account {queue.account}"
            cure = f"set AWS_REGION if it is in another region, or create it with: {create}"
            raise ConfigError.one("queue", name, problem, cure) from None
        try:
            queue.check_account(url)
        except Mistake as mistake:
            raise mistake.at("queue", given) from None
        answer = client.get_queue_attributes(
            QueueUrl=url, AttributeNames=["RedrivePolicy", "VisibilityTimeout", _RETENTION]
        )["Attributes"]
        policy = json.loads(answer.get("RedrivePolicy", "{}"))
        if not policy:
            raise _without_dead_letters(client, queue, url, create)
        dead_name = _dead_name(policy)
        if queue.normal_name and dead_name == QueueName(queue.normal_name).dead_name:
            problem = f"is the queue for the messages of high priority of {queue.normal_name}"
            cure = f"give {queue.normal_name}: workers take from both"
            raise ConfigError.one("queue", name, problem, cure)
        try:
            dead_url = client.get_queue_url(QueueName=dead_name)["QueueUrl"]
        except client.exceptions.QueueDoesNotExist:
            problem = f"its dead-letter queue {dead_name} does not exist"
            raise ConfigError.one("queue", name, problem, f"create it with: {create}") from None
        dead_retention = _dead_letter_retention(client, dead_url)
        high_url = find_high(client, queue, dead_name)
    return Queue(
        name,
        url,
        dead_url,
        int(policy["maxReceiveCount"]),
        int(answer["VisibilityTimeout"]),
        int(answer[_RETENTION]),
        dead_retention,
        high_url,
    )


def find_high(client: Any, queue: QueueName, dead_name: str) -> str:
    """The URL of the queue for messages of high priority.

    Empty when there is none, when these credentials may not see it, or when the queue of that name
    has other dead letters: then it is somebody's for something else. Raises what boto3 raises.
    """
    from botocore.exceptions import ClientError

    try:
        url = str(client.get_queue_url(QueueName=queue.high_name)["QueueUrl"])
        answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
    except client.exceptions.QueueDoesNotExist:
        return ""
    except ClientError as error:
        if meaning(error).is_refused:
            return ""
        raise
    policy = json.loads(answer.get("Attributes", {}).get("RedrivePolicy", "{}"))
    return url if policy and _dead_name(policy) == dead_name else ""


def _dead_name(policy: dict[str, Any]) -> str:
    return str(policy["deadLetterTargetArn"]).rsplit(":", 1)[-1]


def _dead_letter_retention(client: Any, url: str) -> int | None:
    """In seconds; None for credentials that may send dead letters and not ask about them."""
    from botocore.exceptions import ClientError

    try:
        answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=[_RETENTION])
    except ClientError as error:
        if meaning(error).is_refused:
            return None
        raise
    return int(answer["Attributes"][_RETENTION])


def _without_dead_letters(client: Any, queue: QueueName, url: str, create: str) -> ConfigError:
    """The error for a queue without a redrive policy, which may be the end of another one's."""
    from botocore.exceptions import ClientError

    sources = []
    with suppress(ClientError):  # workers may not ask
        answer = client.list_dead_letter_source_queues(QueueUrl=url)
        sources = [source.rsplit("/", 1)[-1] for source in answer.get("queueUrls", [])]
    if sources:
        problem = f"is the dead-letter queue of {' and '.join(sources)}"
        return ConfigError.one("queue", queue.name, problem, f"give {sources[0]} as the queue")
    if queue.main_name != queue.name:
        problem = f"has no dead-letter queue, and is named like that of {queue.main_name}"
        return ConfigError.one("queue", queue.name, problem, f"give {queue.main_name} as the queue")
    problem = "has no dead-letter queue"
    return ConfigError.one("queue", queue.name, problem, f"create one with: {create}")


def receive(
    client: Any, url: str, count: int, wait_seconds: int, visibility_seconds: int | None = None
) -> list[dict[str, Any]]:
    """Wait for messages, at most `count`, up to MOST_MESSAGES; raises what boto3 raises.

    visibility_seconds: how long they are hidden; None for the queue's own timeout.
    """
    hidden = {} if visibility_seconds is None else {"VisibilityTimeout": visibility_seconds}
    answer = client.receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=count,
        WaitTimeSeconds=wait_seconds,
        MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
        **hidden,
    )
    messages: list[dict[str, Any]] = answer.get("Messages", [])
    return messages


def move(
    client: Any, body: str, source_url: str, receipt: str, target_url: str, delay_seconds: int = 0
) -> None:
    """Send `body` to `target_url`, then delete the message from `source_url`.

    delay_seconds: until it can be received there; at most MAX_DELAY_SECONDS.

    In this order nothing can be lost. If it is interrupted in between, the message is there twice,
    which tasks allow for.
    """
    client.send_message(QueueUrl=target_url, MessageBody=body, DelaySeconds=delay_seconds)
    client.delete_message(QueueUrl=source_url, ReceiptHandle=receipt)
