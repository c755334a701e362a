"""The attributes of a queue, with their defaults and limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from chunkflow_worker.job.sqs import DAY_SECONDS, MAX_DELAY_SECONDS, MAX_VISIBILITY_SECONDS
from chunkflow_worker.local_aws.sqs.message import MAX_BYTES
from chunkflow_worker.local_aws.sqs.refused import Refused


class _Range(NamedTuple):
    lowest: int
    highest: int


_RANGES = {
    "VisibilityTimeout": _Range(0, MAX_VISIBILITY_SECONDS),
    "MessageRetentionPeriod": _Range(60, 14 * DAY_SECONDS),
    "DelaySeconds": _Range(0, MAX_DELAY_SECONDS),
    "MaximumMessageSize": _Range(1024, MAX_BYTES),
    "ReceiveMessageWaitTimeSeconds": _Range(0, 20),
    "KmsDataKeyReusePeriodSeconds": _Range(60, DAY_SECONDS),
}
DEFAULTS = {
    "VisibilityTimeout": "30",
    "MessageRetentionPeriod": str(4 * DAY_SECONDS),
    "DelaySeconds": "0",
    "MaximumMessageSize": str(MAX_BYTES),
    "ReceiveMessageWaitTimeSeconds": "0",
    "SqsManagedSseEnabled": "true",
}
_JSON = frozenset({"Policy", "RedrivePolicy", "RedriveAllowPolicy"})
_TEXTS = frozenset({"KmsMasterKeyId", "SqsManagedSseEnabled"})
_FIFO = frozenset(
    {"FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"}
)
_MAX_RECEIVES = 1000


class RedrivePolicy(NamedTuple):
    """target: the ARN of the dead-letter queue."""

    target: str
    max_receives: int


def no_fifo() -> Refused:
    return Refused(
        "UnsupportedOperation",
        "local-aws has standard queues only: create it without FifoQueue, and with a name that "
        "does not end in .fifo",
    )


def check_attributes(given: Mapping[str, str]) -> None:
    """Raises Refused for an attribute that cannot be set, or not to this value."""
    for name, value in given.items():
        if name in _FIFO:
            raise no_fifo()
        if name in _RANGES:
            _check_number(name, value)
        elif name in _JSON:
            _check_json(name, value)
        elif name not in _TEXTS:
            known = ", ".join(sorted({*_RANGES, *_JSON, *_TEXTS}))
            raise Refused("InvalidAttributeName", f"Unknown Attribute {name}. Known: {known}")
    redrive_policy(given)


def redrive_policy(attributes: Mapping[str, str]) -> RedrivePolicy | None:
    """Raises Refused for a policy that is not one; SQS takes its number with or without quotes."""
    text = attributes.get("RedrivePolicy")
    if not text:
        return None
    policy = json.loads(text)
    if not isinstance(policy, dict) or {"deadLetterTargetArn", "maxReceiveCount"} - policy.keys():
        raise _invalid("RedrivePolicy", text, "it must have deadLetterTargetArn, maxReceiveCount")
    count = str(policy["maxReceiveCount"])
    if not count.isdecimal() or not 1 <= int(count) <= _MAX_RECEIVES:
        raise _invalid("RedrivePolicy", text, f"maxReceiveCount must be 1 to {_MAX_RECEIVES}")
    return RedrivePolicy(str(policy["deadLetterTargetArn"]), int(count))


def _check_number(name: str, value: str) -> None:
    limits = _RANGES[name]
    if not value.isdecimal() or not limits.lowest <= int(value) <= limits.highest:
        raise _invalid(name, value, f"it must be {limits.lowest} to {limits.highest}")


def _check_json(name: str, value: str) -> None:
    try:
        content: Any = json.loads(value) if value else {}
    except ValueError:
        raise _invalid(name, value, "it is not JSON") from None
    if not isinstance(content, dict):
        raise _invalid(name, value, "it must be a JSON object")


def _invalid(name: str, value: str, reason: str) -> Refused:
    text = f"Invalid value for the parameter {name}: {value}. Reason: {reason}"
    return Refused("InvalidAttributeValue", text)
