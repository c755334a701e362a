"""`Store`: keeps queues and messages in a file. `local_sqs`: an SQS with or without one."""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chunkflow_worker.local_aws.database import open_database
from chunkflow_worker.local_aws.sqs.message import Message
from chunkflow_worker.local_aws.sqs.queue import LocalQueue
from chunkflow_worker.local_aws.sqs.sqs import LocalSqs

_FILE, _VERSION = "sqs.sqlite", 1
_SCHEMA = """
CREATE TABLE queues (id TEXT PRIMARY KEY, region TEXT, name TEXT, content TEXT);
CREATE TABLE messages (
    queue TEXT, number INTEGER, content TEXT, state TEXT, PRIMARY KEY (queue, number)
);
"""
_STATE = ("visible_at", "receives", "received_at", "first_received_at")


class Store:
    """Keeps each change before its request is answered."""

    def __init__(self, folder: Path):
        """Raises ConfigError for a folder that cannot be used, or that another process uses."""
        self._database = open_database(folder, _FILE, _VERSION, _SCHEMA)

    def close(self) -> None:
        self._database.close()

    def queues(self, clock: Callable[[], float]) -> Iterator[LocalQueue]:
        """Yield the queues that were kept, with their messages."""
        select = "SELECT content, state FROM messages WHERE queue = ? ORDER BY number"
        for key, region, name, content in self._database.execute("SELECT * FROM queues").fetchall():
            queue = LocalQueue(region, name, self, clock, key)
            kept = json.loads(content)
            queue.attributes, queue.tags = kept["attributes"], kept["tags"]
            queue.created_at, queue.modified_at = kept["created_at"], kept["modified_at"]
            for fixed, state in self._database.execute(select, (key,)):
                queue.add(_message(json.loads(fixed) | json.loads(state)))
            yield queue

    def keep_queue(self, queue: LocalQueue) -> None:
        names = ("attributes", "tags", "created_at", "modified_at")
        content = json.dumps({name: getattr(queue, name) for name in names})
        row = (queue.id, queue.region, queue.name, content)
        self._database.execute("INSERT OR REPLACE INTO queues VALUES (?, ?, ?, ?)", row)

    def forget_queue(self, queue: LocalQueue) -> None:
        self.forget_messages(queue)
        self._database.execute("DELETE FROM queues WHERE id = ?", (queue.id,))

    def keep(self, queue: LocalQueue, message: Message) -> None:
        content = asdict(message)
        state = json.dumps({name: content.pop(name) for name in _STATE})
        row = (queue.id, message.number, json.dumps(content, default=_binary), state)
        self._database.execute(
            "INSERT INTO messages VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET state = excluded.state",
            row,
        )

    def forget(self, queue: LocalQueue, number: int) -> None:
        delete = "DELETE FROM messages WHERE queue = ? AND number = ?"
        self._database.execute(delete, (queue.id, number))

    def forget_messages(self, queue: LocalQueue) -> None:
        self._database.execute("DELETE FROM messages WHERE queue = ?", (queue.id,))

    def commit(self) -> None:
        self._database.commit()


def _binary(value: bytes) -> str:
    """How JSON holds the values of binary attributes."""
    return b64encode(value).decode()


def _message(content: dict[str, Any]) -> Message:
    for attribute in content["attributes"].values():
        if "BinaryValue" in attribute:
            attribute["BinaryValue"] = b64decode(attribute["BinaryValue"])
    return Message(**content)


@contextmanager
def local_sqs(folder: Path | None) -> Iterator[LocalSqs]:
    """An SQS with the queues of a folder, which it keeps there; with none, it begins empty.

    Raises ConfigError for a folder that cannot be used, or that another process uses.
    """
    if folder is None:
        with closing(LocalSqs()) as sqs:
            yield sqs
        return
    with closing(Store(folder)) as store, closing(LocalSqs(store)) as sqs:
        for queue in store.queues(time.time):
            sqs.add(queue)
        yield sqs
