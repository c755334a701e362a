"""The same work on many things at the same time."""

from __future__ import annotations

import os
from contextvars import ContextVar
from threading import Barrier, Event

import pytest

from chunkflow_worker.storage.at_once import at_once

CURRENT: ContextVar[str] = ContextVar("current", default="none")


def test_results_come_in_the_order_of_the_items() -> None:
    together = Barrier(8, timeout=30)  # of all, so they work at the same time

    def work(item: int) -> int:
        together.wait()
        return item * item

    assert at_once(work, range(8)) == [n * n for n in range(8)]
    assert at_once(work, []) == []


def test_threads_have_the_context_of_the_caller() -> None:
    token = CURRENT.set("a task")
    assert at_once(lambda _: CURRENT.get(), range(3)) == ["a task"] * 3
    CURRENT.reset(token)


def test_after_an_error_nothing_begins_and_nothing_goes_on() -> None:
    begun, never = [], Event()

    def work(item: int) -> None:
        begun.append(item)
        if item == 0:
            raise KeyError("boom")
        never.wait(0.01)  # the work takes its time

    with pytest.raises(KeyError, match="boom"):
        at_once(work, range(1000))
    assert len(begun) < 1000
    count = len(begun)
    at_once(lambda _: None, range(100))
    assert len(begun) == count


def test_a_fork_has_threads_of_its_own() -> None:
    at_once(lambda n: n, range(3))
    child = os.fork()
    if child == 0:
        os._exit(sum(at_once(lambda n: n, range(4))))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 6
