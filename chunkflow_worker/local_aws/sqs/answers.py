"""What clients get: attributes that they asked for, pages of queues, received messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from chunkflow_worker.local_aws.sqs.message import Message, digest, digest_of_attributes
from chunkflow_worker.local_aws.sqs.queue import LocalQueue
from chunkflow_worker.local_aws.sqs.refused import Refused

_LISTED = 1000
_OPTIONAL = """
    Policy RedrivePolicy RedriveAllowPolicy KmsMasterKeyId KmsDataKeyReusePeriodSeconds FifoQueue
    ContentBasedDeduplication DeduplicationScope FifoThroughputLimit SequenceNumber
    MessageDeduplicationId MessageGroupId AWSTraceHeader DeadLetterQueueSourceArn
"""
"""Attributes that not every queue or message has."""


def asked(known: dict[str, str], names: Iterable[str]) -> dict[str, str]:
    wanted = set(names)
    unknown = wanted - known.keys() - {"All", *_OPTIONAL.split()}
    if unknown:
        raise Refused("InvalidAttributeName", f"Unknown Attribute {min(unknown)}.")
    return {name: value for name, value in known.items() if name in wanted or "All" in wanted}


def page(
    member: str,
    given: Mapping[str, Any],
    queues: Iterable[LocalQueue],
    url: Callable[[LocalQueue], str],
) -> dict[str, Any]:
    """Queues by their URLs; the token of the next page is the last name of this one."""
    limit, after = given.get("MaxResults"), given.get("NextToken", "")
    rest = [queue for queue in sorted(queues, key=lambda q: q.name) if queue.name > after]
    listed = rest[: limit or _LISTED]
    result: dict[str, Any] = {member: [url(queue) for queue in listed]} if listed else {}
    if limit and len(rest) > len(listed):
        result["NextToken"] = listed[-1].name
    return result


def shown(message: Message, handle: str, names: set[str], wanted: Iterable[str]) -> dict[str, Any]:
    """A message as its receiver gets it."""
    content: dict[str, Any] = {
        "MessageId": message.id,
        "ReceiptHandle": handle,
        "MD5OfBody": digest(message.body),
        "Body": message.body,
    }
    system = asked(message.system_attributes(), names)
    if system:
        content["Attributes"] = system
    chosen = {name: value for name, value in message.attributes.items() if _is_wanted(name, wanted)}
    if chosen:
        content["MessageAttributes"] = chosen
        content["MD5OfMessageAttributes"] = digest_of_attributes(chosen)
    return content


def _is_wanted(name: str, wanted: Iterable[str]) -> bool:
    """By its name, `All`, or a prefix such as `bar.*`."""
    return any(
        each in (name, "All", ".*") or (each.endswith(".*") and name.startswith(each[:-1]))
        for each in wanted
    )
