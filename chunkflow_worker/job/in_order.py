"""`in_order`: runs work in threads and yields the results in the order of the items."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from itertools import islice
from math import inf
from time import perf_counter, thread_time
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_order(
    work: Callable[[_Item], _Result],
    items: Iterable[_Item],
    threads: int,
    *,
    window: int | None = None,
    stop: threading.Event | None = None,
    name: str = "in-order",
) -> Generator[_Result, None, None]:
    """Run `work` on every item in threads, and yield the results in the order of the items.

    window: how many items may be in flight: taken from `items`, with a result that was not yielded
        yet. As many as `threads` when not given. The caller's thread takes an item when the window
        has room for it. With a window of 1, it also does the work.
    stop: is set when this ends for any reason. `work` may look at it to end early.
    name: prefix for the names of the threads.

    Raises what `work` raises, when it is the turn of that item, and what `items` raises. After an
    error, or when the caller closes the iterator, work that has not begun is cancelled, and work
    that has begun is waited for.
    """
    stop = stop or threading.Event()
    window = window or threads
    if window == 1:
        yield from _one_by_one(work, items, stop)
        return
    failed = inf  # place of an item

    def begin(place: int, item: _Item) -> _Result:
        nonlocal failed
        if place > failed:  # nobody will ask for this result
            raise CancelledError
        try:
            return work(item)
        except BaseException:
            failed = min(failed, place)
            raise

    in_flight: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        for place, item in enumerate(items):
            in_flight.append(pool.submit(begin, place, item))
            if len(in_flight) == window:
                yield in_flight.popleft().result()
        while in_flight:
            yield in_flight.popleft().result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def in_order_if_waiting(
    work: Callable[[_Item], _Result],
    items: Iterable[_Item],
    threads: int,
    *,
    window: int | None = None,
    name: str = "in-order",
) -> Generator[_Result, None, None]:
    """The same as `in_order`, but without threads if `work` does not wait for storage.

    Threads that are all busy with Python take twice the time of one, since they wait for each
    other. The caller's thread does the first two items; the second shows what `work` does, as the
    first may have to open something.
    """
    items = iter(items)
    waits = True
    for item in islice(items, 2):
        began, busy = perf_counter(), thread_time()
        result = work(item)
        waits = perf_counter() - began > 2 * (thread_time() - busy)
        yield result
    yield from in_order(work, items, threads, window=window if waits else 1, name=name)


def _one_by_one(
    work: Callable[[_Item], _Result], items: Iterable[_Item], stop: threading.Event
) -> Iterator[_Result]:
    try:
        yield from map(work, items)
    finally:
        stop.set()
