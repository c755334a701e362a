"""`send_tasks`: sends the messages of a job block by block, in one process or in several.

What a block covers is noted before it is sent, and that it was sent is noted afterwards. So after a
kill it is known which boxes were sent, which were not, and for which few thousand both is possible.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from chunkflow_worker.job.in_order import in_order
from chunkflow_worker.job.sqs import make_client
from producer.send.batches import BATCH_ENTRIES, SendingFailed, send
from producer.send.direct import Direct
from producer.send.tasks import Tasks

BLOCK = 20_000  # messages: about a second's
_READ_SECONDS = 5.0


class Block(NamedTuple):
    """Tasks from one place to before another."""

    first: int
    last: int


@dataclass(frozen=True)
class Target:
    """Where the messages go. threads: requests at the same time, of each process."""

    region: str
    url: str
    threads: int = 32


def send_tasks(
    target: Target,
    tasks: Tasks,
    start: int = 0,
    *,
    processes: int = 1,
    fewest_blocks: int = 1,
    note: Callable[[int, int], None] = lambda sent, until: None,
    sent: Callable[[int], None] = lambda place: None,
) -> None:
    """Send the tasks from place `start` on.

    fewest_blocks: more of them are smaller, so that less is in doubt after a kill.
    note: is called with two places before each block and at the end: all tasks before the first
        were sent, and none from the second on.
    sent: is called with a growing place when all tasks before it were sent.
    Raises SendingFailed; its `first_unsent` is a place.
    """
    done, until = start, max(start, tasks.doubtful)
    size = min(BLOCK, max(BATCH_ENTRIES, len(tasks) // fewest_blocks))

    def blocks() -> Iterator[Block]:
        nonlocal until
        for first in range(start, len(tasks), size):
            block = Block(first, min(first + size, len(tasks)))
            until = max(until, block.last)
            note(done, until)
            yield block

    window = 1 if processes == 1 else processes + 1
    with _Senders(target, tasks, processes, sent) as senders:
        outcomes = in_order(senders.send, blocks(), processes, window=window, name="send-blocks")
        try:
            with closing(outcomes):
                for block in outcomes:
                    done = block.last
                    sent(done)
        except SendingFailed as error:
            note(error.first_unsent, until)
            raise
    note(len(tasks), len(tasks))


class _Senders:
    """Sends blocks in this process, or in as many as asked for."""

    def __init__(self, target: Target, tasks: Tasks, processes: int, show: Callable[[int], None]):
        self._pool: ProcessPoolExecutor | None = None
        if processes == 1:
            self._here = _Sender(target, tasks, show)
        else:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(processes, context, _begin, (target, tasks))

    def __enter__(self) -> _Senders:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is None:
            self._here.close()
        else:
            self._pool.shutdown(cancel_futures=True)

    def send(self, block: Block) -> Block:
        if self._pool is None:
            self._here.send(block)
        else:
            self._pool.submit(_send, block).result()
        return block


class _Sender:
    """Sends blocks over connections that stay open between them."""

    def __init__(self, target: Target, tasks: Tasks, show: Callable[[int], None]):
        self._target, self._tasks, self._show = target, tasks, show
        client = make_client(target.region, _READ_SECONDS, connections=target.threads)
        self._direct = Direct(client)

    def close(self) -> None:
        self._direct.close()

    def send(self, block: Block) -> None:
        """Raises SendingFailed."""
        tasks, target = self._tasks, self._target
        for part in tasks.parts(*block):
            try:
                send(
                    self._direct,
                    target.url,
                    part.bodies,
                    group=tasks.job,
                    delay_seconds=part.delay_seconds,
                    threads=target.threads,
                    sent=partial(self._sent, part.first),
                )
            except SendingFailed as error:
                raise error.after(part.first) from None

    def _sent(self, first: int, count: int) -> None:
        self._show(first + count)


_sender: Any = None  # of a process of the pool


def _begin(target: Target, tasks: Tasks) -> None:
    """Prepare a process of the pool. It ends with its parent, which alone hears Ctrl-C."""
    global _sender
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _sender = _Sender(target, tasks, lambda place: None)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _send(block: Block) -> None:
    _sender.send(block)
