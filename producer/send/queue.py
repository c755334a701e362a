"""The queue: made and deleted together with its dead letters."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.sqs import sqs_errors

DAY = 86_400


def check_name(name: str) -> None:
    """Raises ConfigError for a name that can't be a task queue."""
    if name.endswith(".fifo"):
        raise ConfigError.one(
            "queue",
            name,
            "is a FIFO queue",
            "tasks need no order: take a standard queue, which is faster and cheaper",
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,75}", name):
        raise ConfigError.one(
            "queue", name, "is no queue name", "up to 75 letters, digits, hyphens and underscores"
        )


@dataclass(frozen=True)
class Made:
    """What `create_queue` found or did. `changed`: attributes that were set, with the value before and after."""

    name: str
    url: str
    created: bool
    changed: dict[str, tuple[str, str]] = field(default_factory=dict)


def dead_name(name: str) -> str:
    return f"{name}-dead"


def create_queue(
    client: Any,
    name: str,
    max_receives: int = 5,
    visibility_seconds: int = 60,
    retention_days: int = 14,
) -> tuple[Made, Made]:
    """Make a queue and the one for its dead letters, or give the existing ones these attributes.

    Raises ConfigError for the name, QueueUnavailable when SQS can't be reached or refuses.
    """
    check_name(name)
    with sqs_errors(f"queue {name}"):
        dead = _make(client, dead_name(name), {"MessageRetentionPeriod": str(14 * DAY)})
        answer = client.get_queue_attributes(QueueUrl=dead.url, AttributeNames=["QueueArn"])
        policy = {
            "deadLetterTargetArn": answer["Attributes"]["QueueArn"],
            "maxReceiveCount": max_receives,
        }
        attributes = {
            "VisibilityTimeout": str(visibility_seconds),
            "MessageRetentionPeriod": str(retention_days * DAY),
            "RedrivePolicy": json.dumps(policy),
        }
        return _make(client, name, attributes), dead


def delete_queue(client: Any, name: str) -> list[str]:
    """Delete a queue and its dead letters, with what is in them; returns the names of those that were there."""
    check_name(name)
    deleted = []
    with sqs_errors(f"queue {name}"):
        for each in (name, dead_name(name)):
            url = _url(client, each)
            if url is not None:
                client.delete_queue(QueueUrl=url)
                deleted.append(each)
    return deleted


def _url(client: Any, name: str) -> str | None:
    try:
        return str(client.get_queue_url(QueueName=name)["QueueUrl"])
    except client.exceptions.QueueDoesNotExist:
        return None


def _make(client: Any, name: str, wanted: dict[str, str]) -> Made:
    url = _url(client, name)
    if url is None:
        return Made(
            name, client.create_queue(QueueName=name, Attributes=wanted)["QueueUrl"], created=True
        )
    found = client.get_queue_attributes(QueueUrl=url, AttributeNames=list(wanted)).get(
        "Attributes", {}
    )
    changed = {
        k: (found.get(k, "none"), v) for k, v in wanted.items() if not _same(found.get(k), v)
    }
    if changed:
        client.set_queue_attributes(QueueUrl=url, Attributes={k: wanted[k] for k in changed})
    return Made(name, url, created=False, changed=changed)


def _same(found: str | None, wanted: str) -> bool:
    """Equal as JSON; SQS writes the numbers inside a policy now with quotes, now without."""

    def plain(text: str) -> Any:
        value = json.loads(text)
        return {k: str(v) for k, v in value.items()} if isinstance(value, dict) else value

    return found is not None and plain(found) == plain(wanted)
