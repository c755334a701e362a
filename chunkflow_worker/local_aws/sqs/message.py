"""`Message`: one message, its digests and its receipt handles."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any
from uuid import uuid4

from chunkflow_worker.local_aws.sqs.refused import Refused

MAX_BYTES = 1_048_576
_UNALLOWED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DATA_TYPE = re.compile(r"(String|Number|Binary)(\..+)?")
_TRANSPORT = {"String": 1, "Number": 1, "Binary": 2}
_HANDLE = re.compile(r"([0-9a-f]{32}) (\d+) (\d+)", re.ASCII)

MessageAttributes = dict[str, dict[str, Any]]


@dataclass
class Message:
    """Times are seconds of the clock.

    number: in the order of sending, over all queues. visible_at: until then, it is hidden.
    attributes: those of its sender. system: those that SQS keeps for its sender.
    receives: over all queues that it was in. received_at: the last time.
    source: the ARN of the queue whose dead letter it is.
    """

    number: int
    body: str
    sent_at: float
    visible_at: float
    id: str = field(default_factory=lambda: str(uuid4()))
    attributes: MessageAttributes = field(default_factory=dict)
    system: dict[str, str] = field(default_factory=dict)
    receives: int = 0
    received_at: float = 0.0
    first_received_at: float = 0.0
    source: str = ""

    def system_attributes(self) -> dict[str, str]:
        """Those of a received message; times are milliseconds."""
        source = {"DeadLetterQueueSourceArn": self.source} if self.source else {}
        return {
            "SenderId": "AIDALOCAL",
            "SentTimestamp": str(round(self.sent_at * 1000)),
            "ApproximateReceiveCount": str(self.receives),
            "ApproximateFirstReceiveTimestamp": str(round(self.first_received_at * 1000)),
            **self.system,
            **source,
        }


@dataclass(frozen=True)
class Handle:
    """What a receipt handle holds: a message of a queue, and the number of its receive."""

    queue_id: str
    number: int
    receives: int

    def __str__(self) -> str:
        text = f"{self.queue_id} {self.number} {self.receives}"
        return urlsafe_b64encode(text.encode()).decode()

    @classmethod
    def parse(cls, text: str, queue_id: str) -> Handle:
        """Raises Refused for a text that is not a handle of this queue."""
        try:
            found = _HANDLE.fullmatch(urlsafe_b64decode(text.encode()).decode())
        except (NotBase64, ValueError):
            found = None
        if found is None or found[1] != queue_id:
            raise Refused(
                "ReceiptHandleIsInvalid",
                f'The input receipt handle "{text}" is not a valid receipt handle.',
            )
        return cls(found[1], int(found[2]), int(found[3]))


def check_content(body: str, attributes: MessageAttributes, most_bytes: int) -> int:
    """The size of a message in bytes. Raises Refused for content that SQS does not take."""
    if not body:
        raise Refused("MissingParameter", "The request must contain the parameter MessageBody.")
    found = _UNALLOWED.search(body)
    if found:
        text = f"Invalid character {found[0]!r} in the message body: XML does not allow it."
        raise Refused("InvalidMessageContents", text)
    size = len(body.encode())
    for name, attribute in attributes.items():
        size += len(name.encode()) + _attribute_size(name, attribute)
    if size > most_bytes:
        text = f"The message has {size} bytes; this queue takes up to {most_bytes}."
        raise Refused("InvalidParameterValue", text)
    return size


def _attribute_size(name: str, attribute: Mapping[str, Any]) -> int:
    kind = str(attribute.get("DataType", ""))
    if not _DATA_TYPE.fullmatch(kind):
        rule = "String, Number or Binary, with or without a suffix after a point"
        text = f"The type of message attribute {name} is {kind!r}; it must be {rule}."
        raise Refused("InvalidParameterValue", text)
    value = _value(attribute)
    if not value:
        text = f"The message attribute {name} must have a value of its type {kind}."
        raise Refused("InvalidParameterValue", text)
    return len(kind.encode()) + len(value)


def _value(attribute: Mapping[str, Any]) -> bytes:
    if attribute["DataType"].startswith("Binary"):
        return bytes(attribute.get("BinaryValue", b""))
    return str(attribute.get("StringValue", "")).encode()


def digest(body: str) -> str:
    """The MD5 that clients compare."""
    return md5(body.encode(), usedforsecurity=False).hexdigest()


def digest_of_attributes(attributes: MessageAttributes) -> str:
    """By the rule of the SQS developer guide: names, types and values, each with its length."""
    found = md5(usedforsecurity=False)

    def add(part: bytes) -> None:
        found.update(len(part).to_bytes(4, "big") + part)

    for name, attribute in sorted(attributes.items()):
        kind = str(attribute["DataType"])
        add(name.encode())
        add(kind.encode())
        found.update(bytes([_TRANSPORT[kind.partition(".")[0]]]))
        add(_value(attribute))
    return found.hexdigest()
