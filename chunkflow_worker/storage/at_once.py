"""`at_once`: the same work on many things at the same time, for storage that answers late."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_THREADS = 32
"""That all tasks of a process share: 1,600 requests a second at 20 ms each. One holds a block."""


def at_once(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The results of `work` for each item, in their order.

    The threads have the context variables of the caller, such as its fence. When one raises, what
    has not begun is left out, what has is waited for, and the error is raised. `work` must not call
    `at_once`.
    """
    futures = [_threads().submit(copy_context().run, work, item) for item in items]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
        wait(futures)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="storage")


os.register_at_fork(after_in_child=_threads.cache_clear)  # a fork has no threads
