"""`create_queue`, `delete_queue` and `purge_queue`: a queue and those that belong to it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from chunkflow_worker.config.queue_name import QueueName
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.sqs import DAY_SECONDS, find_high, queue_name, sqs_errors

DAY = DAY_SECONDS
RETENTION_DAYS = 10
DEAD_LETTER_DAYS = 14  # SQS's limit
_RETENTION = "MessageRetentionPeriod"
_COUNTS = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]


@dataclass(frozen=True)
class CreatedQueue:
    """A queue after `create_queue`.

    created: False when the queue existed.
    changed: the attributes that were changed, with the values before and after.
    kept: why an attribute was not changed; empty when all are as wanted.
    """

    name: str
    url: str
    created: bool
    changed: dict[str, tuple[str, str]] = field(default_factory=dict)
    kept: str = ""


def create_queue(
    client: Any,
    given: str,
    max_receives: int = 5,
    visibility_seconds: int = 60,
    retention_days: int = RETENTION_DAYS,
    *,
    high: bool = False,
) -> tuple[CreatedQueue, ...]:
    """Create a queue and its dead-letter queue. If they exist, change their attributes to these.

    given: its name, URL or ARN.
    retention_days: fewer than the 14 days of the dead letters. A message that SQS moves to them
        keeps the time of its first send, so the rest is the time to look at a task that failed.
        It is not shortened while the queue holds messages, since SQS would delete the older ones.
    high: also create the queue for messages of high priority, which has the same dead letters.
    Returns the queue, its dead-letter queue and, if there is one, the queue for high priority.
    Raises ConfigError for a wrong name, or one that is in use for something else, and
        QueueUnavailable when SQS cannot be reached or refuses.
    """
    queue = _main_queue(client, given)
    name = queue.name
    with sqs_errors(f"queue {name}"):
        dead = _create(client, queue.dead_name, {_RETENTION: str(DEAD_LETTER_DAYS * DAY)})
        answer = client.get_queue_attributes(QueueUrl=dead.url, AttributeNames=["QueueArn"])
        policy = {
            "deadLetterTargetArn": answer["Attributes"]["QueueArn"],
            "maxReceiveCount": max_receives,
        }
        attributes = {
            "VisibilityTimeout": str(visibility_seconds),
            _RETENTION: str(retention_days * DAY),
            "RedrivePolicy": json.dumps(policy),
        }
        has_high = find_high(client, queue, queue.dead_name) != ""
        if high and not has_high and _find_url(client, queue.high_name) is not None:
            problem = f"is in use for something else: its dead letters are not in {queue.dead_name}"
            raise ConfigError.one("queue", queue.high_name, problem, "choose another name")
        made = [_create(client, name, attributes), dead]
        if high or has_high:
            made.append(_create(client, queue.high_name, attributes))
        return tuple(made)


def delete_queue(client: Any, given: str) -> list[str]:
    """Delete a queue, its dead-letter queue and that for high priority, with all messages.

    given: its name, URL or ARN.
    Returns the names of those that existed. Raises ConfigError for a wrong name, and
    QueueUnavailable when SQS cannot be reached or refuses.
    """
    queue = _main_queue(client, given)
    deleted = []
    with sqs_errors(f"queue {queue.name}"):
        found = {each: _find_url(client, each) for each in (queue.name, queue.dead_name)}
        found[queue.high_name] = find_high(client, queue, queue.dead_name)
        for each, url in found.items():
            if url:
                client.delete_queue(QueueUrl=url)
                deleted.append(each)
    return deleted


def purge_queue(client: Any, url: str) -> int:
    """Delete all messages of the queue at a URL. Returns how many there were, approximately.

    Raises ConfigError when SQS refuses a second purge within a minute, and QueueUnavailable.
    """
    name = url.rsplit("/", 1)[-1]
    with sqs_errors(f"queue {name}"):
        count = message_count(client, url)
        try:
            client.purge_queue(QueueUrl=url)
        except client.exceptions.PurgeQueueInProgress:
            problem = "was purged less than a minute ago, and SQS allows one purge in 60 seconds"
            raise ConfigError.one("queue", name, problem, "run it again in a minute") from None
    return count


def message_count(client: Any, url: str) -> int:
    """The messages of a queue: visible, hidden and delayed, approximately."""
    answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=_COUNTS)["Attributes"]
    return sum(int(answer[name]) for name in _COUNTS)


def _main_queue(client: Any, given: str) -> QueueName:
    """Raises ConfigError for a name that is wrong, or the one of a dead-letter queue."""
    queue = queue_name(client, given)
    if queue.main_name != queue.name:
        problem = "is the name of a dead-letter queue"
        cure = f"give {queue.main_name}: both queues are made and deleted together"
        raise ConfigError.one("queue", queue.name, problem, cure)
    return queue


def _find_url(client: Any, name: str) -> str | None:
    try:
        return str(client.get_queue_url(QueueName=name)["QueueUrl"])
    except client.exceptions.QueueDoesNotExist:
        return None


def _create(client: Any, name: str, wanted: dict[str, str]) -> CreatedQueue:
    url = _find_url(client, name)
    if url is None:
        url = client.create_queue(QueueName=name, Attributes=wanted)["QueueUrl"]
        return CreatedQueue(name, url, created=True)
    answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=list(wanted))
    present = answer.get("Attributes", {})
    changed = {
        attribute: (present.get(attribute, "none"), value)
        for attribute, value in wanted.items()
        if not _is_same(present.get(attribute), value)
    }
    kept = _keep_retention(client, url, changed)
    if changed:
        attributes = {attribute: wanted[attribute] for attribute in changed}
        client.set_queue_attributes(QueueUrl=url, Attributes=attributes)
    return CreatedQueue(name, url, created=False, changed=changed, kept=kept)


def _keep_retention(client: Any, url: str, changed: dict[str, tuple[str, str]]) -> str:
    """Take a shorter retention out of `changed` when it would delete messages; says why."""
    before, after = changed.get(_RETENTION, ("0", "0"))
    if int(after) >= int(before):
        return ""
    if message_count(client, url) == 0:
        return ""
    del changed[_RETENTION]
    wanted = f"{int(after) / DAY:g} days"
    return (
        f"{_RETENTION}: kept at {before}, since SQS would delete the messages that are older than "
        f"{wanted}; run this again when the queue is empty"
    )


def _is_same(present: str | None, wanted: str) -> bool:
    """Compare two JSON texts. SQS may write the numbers inside a policy with or without quotes."""

    def plain(text: str) -> Any:
        value = json.loads(text)
        return {k: str(v) for k, v in value.items()} if isinstance(value, dict) else value

    return present is not None and plain(present) == plain(wanted)
