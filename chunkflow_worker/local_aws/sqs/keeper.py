"""`Keeper`: is told of each change of queues and messages. `KeptNowhere` lets them go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from chunkflow_worker.local_aws.sqs.message import Message

if TYPE_CHECKING:
    from chunkflow_worker.local_aws.sqs.queue import LocalQueue


class Keeper(Protocol):
    """commit: is called before a request is answered."""

    def keep_queue(self, queue: LocalQueue) -> None: ...
    def forget_queue(self, queue: LocalQueue) -> None: ...
    def keep(self, queue: LocalQueue, message: Message) -> None: ...
    def forget(self, queue: LocalQueue, number: int) -> None: ...
    def forget_messages(self, queue: LocalQueue) -> None: ...
    def commit(self) -> None: ...


class KeptNowhere:
    """All is gone when the process ends."""

    def keep_queue(self, queue: LocalQueue) -> None:
        pass

    def forget_queue(self, queue: LocalQueue) -> None:
        pass

    def keep(self, queue: LocalQueue, message: Message) -> None:
        pass

    def forget(self, queue: LocalQueue, number: int) -> None:
        pass

    def forget_messages(self, queue: LocalQueue) -> None:
        pass

    def commit(self) -> None:
        pass
