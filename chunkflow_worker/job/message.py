"""What travels on the queue: one JSON message per box.

It is data only, and names no code, no path and no plugin. The envelope is Celery's message
protocol 2 as kombu writes it to SQS. It is built by hand, so that a producer can send ten messages
in a request without loading Celery.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from chunkflow_worker.errors import MessageMalformed
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.stage import STAGE_NAME

TASK_NAME = "chunkflow.task"
MAX_ATTEMPTS = 1000
JOB_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
_NO_CALLBACKS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_PLACE = "\0"  # where a template takes a text; JSON writes it as no other text


class TaskMessage(BaseModel):
    """One box of a job.

    v: version of this format. job: the job's name. bbox: the box as text.
    pipeline: digest of the chain that the job was made for; empty when any will do.
    stage: that the job is of; empty for a pipeline file without stages.
    attempts: attempts already spent by earlier copies of this message.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    v: Literal[1] = 1
    job: str = Field(pattern=JOB_NAME)
    bbox: str = Field(max_length=200)
    pipeline: str = Field("", max_length=64, pattern=r"^[0-9a-f]*$")
    stage: str = Field("", pattern=rf"^({STAGE_NAME})?$")
    attempts: int = Field(0, ge=0, le=MAX_ATTEMPTS)

    @field_validator("bbox")
    @classmethod
    def _is_box(cls, text: str) -> str:
        return str(BoundingBox.parse(text))

    @property
    def box(self) -> BoundingBox:
        return BoundingBox.parse(self.bbox)


class Template:
    """The bodies of many messages that differ in box and task id alone.

    message: the others are like it. queue: its name.
    """

    def __init__(self, message: TaskMessage, queue: str):
        fields = message.model_dump(exclude_defaults=True) | {"bbox": _PLACE, "v": message.v}
        self._inner = _with_places([[], fields, _NO_CALLBACKS])
        self._envelope = _with_places(
            {
                "body": _PLACE,
                "content-type": "application/json",
                "content-encoding": "utf-8",
                "headers": {
                    "lang": "py",
                    "task": TASK_NAME,
                    "id": _PLACE,
                    "root_id": _PLACE,
                    "parent_id": None,
                    "group": None,
                    "retries": 0,
                    "timelimit": [None, None],
                    "eta": None,
                    "expires": None,
                    "argsrepr": "",
                    "kwargsrepr": _PLACE,
                    "ignore_result": True,
                },
                "properties": {
                    "correlation_id": _PLACE,
                    "delivery_mode": 2,
                    "priority": 0,
                    "body_encoding": "base64",
                    "delivery_tag": _PLACE,
                    "delivery_info": {"exchange": "", "routing_key": queue},
                },
            }
        )

    def body(self, bbox: str, task_id: str) -> str:
        """The body for a box. Neither text may need escapes in JSON; nothing is checked."""
        inner = binascii.b2a_base64((self._inner % bbox).encode(), newline=False).decode()
        return self._envelope % (inner, task_id, task_id, bbox, task_id, task_id)


def encode(message: TaskMessage, queue: str, task_id: str | None = None) -> str:
    """The body of the SQS message for `queue`."""
    escaped = json.dumps(task_id or str(uuid.uuid4()))[1:-1]
    return Template(message, queue).body(message.bbox, escaped)


def decode(kwargs: Mapping[str, Any]) -> TaskMessage:
    """The message inside a task's keyword arguments. Raises MessageMalformed."""
    try:
        return TaskMessage.model_validate(dict(kwargs))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'message'}: {e['msg']}" for e in error.errors()
        )
        raise MessageMalformed(f"not a task message of version 1: {faults}") from None


def open_envelope(body: str, queue: str) -> tuple[TaskMessage, str]:
    """Check a whole SQS body before anything acts on it; returns the message and its task id.

    Raises MessageMalformed for everything that a worker could not run, since such a message would
    end Celery's consumer.
    """
    envelope = _json(body)
    if envelope is None:
        raise MessageMalformed("the body is not JSON")
    headers, properties = (_mapping(envelope, key) for key in ("headers", "properties"))
    if headers.get("task") != TASK_NAME:
        raise MessageMalformed(f"headers.task is {headers.get('task')!r}, not {TASK_NAME!r}")
    task_id = headers.get("id")
    if not isinstance(task_id, str) or not 0 < len(task_id) <= 100 or not task_id.isprintable():
        raise MessageMalformed("headers.id is missing or not plain text of 1 to 100 characters")
    if (
        envelope.get("content-type") != "application/json"
        or envelope.get("content-encoding") != "utf-8"
    ):
        raise MessageMalformed("content-type must be application/json and content-encoding utf-8")
    if properties.get("body_encoding") != "base64":
        raise MessageMalformed("properties.body_encoding must be base64")
    if _mapping(properties, "delivery_info").get("routing_key") != queue:
        raise MessageMalformed(f"properties.delivery_info.routing_key must be the queue {queue!r}")
    for key in ("eta", "expires", "timelimit", "compression"):
        if headers.get(key) not in (None, [None, None]):
            raise MessageMalformed(f"headers.{key} is not supported")
    inner = _json(_from_base64(envelope.get("body")))
    if not (
        isinstance(inner, list)
        and len(inner) == 3
        and inner[0] == []
        and isinstance(inner[1], dict)
    ):
        raise MessageMalformed("the inner body is not [[], {...}, {...}]")
    if inner[2] != _NO_CALLBACKS:
        raise MessageMalformed("callbacks and chains are refused")
    return decode(inner[1]), task_id


def pipeline_digest(operators: list[Any]) -> str:
    """Digest of the configured operators, the same for producer and worker.

    Comments and the order of keys do not matter.
    """
    canonical = json.dumps(operators, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _with_places(content: object) -> str:
    """JSON as a format that takes the texts for its places by `%`."""
    text = json.dumps(content, separators=(",", ":")).replace("%", "%%")
    return text.replace(json.dumps(_PLACE)[1:-1], "%s")


def _json(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        decoded = _from_base64(text)
        try:
            return None if decoded is None else json.loads(decoded)
        except (ValueError, RecursionError):
            return None


def _from_base64(text: Any) -> str | None:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (TypeError, ValueError, binascii.Error):
        return None


def _mapping(parent: Any, key: str) -> Mapping[str, Any]:
    value = parent.get(key) if isinstance(parent, dict) else None
    if not isinstance(value, dict):
        raise MessageMalformed(f"{key} is missing or not a mapping")
    return value
