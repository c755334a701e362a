from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_worker.job import in_order as module
from chunkflow_worker.job.in_order import in_order, in_order_if_waiting

SECONDS = 30  # no test waits this long unless it fails


@settings(max_examples=20)
@given(st.integers(0, 20), st.integers(1, 4), st.none() | st.integers(1, 10))
def test_results_have_the_order_of_the_items(count: int, threads: int, window: int | None) -> None:
    results = in_order(lambda n: n * n, range(count), threads, window=window)
    assert list(results) == [n * n for n in range(count)]


def test_a_result_waits_for_those_before_it() -> None:
    second_is_done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second_is_done.wait(SECONDS)
        elif item == 1:
            second_is_done.set()
        return item

    assert list(in_order(work, range(5), 2)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("threads", [2, 3])
def test_as_many_items_are_worked_on_at_once_as_there_are_threads(threads: int) -> None:
    together = threading.Barrier(threads)
    lock, running, most = threading.Lock(), 0, 0

    def work(item: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(SECONDS)
        with lock:
            running -= 1

    list(in_order(work, range(threads * 3), threads, window=threads * 3))
    assert most == threads


@pytest.mark.parametrize("window", [1, 2, 5])
def test_items_are_taken_only_when_the_window_has_room(window: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(20):
            taken += 1
            yield item

    results = in_order(lambda item: item, items(), 2, window=window)
    assert taken == 0, "nothing is taken before the first result is asked for"
    for yielded, _ in enumerate(results):
        assert taken - yielded <= window
    assert taken == 20


def test_a_window_of_one_works_in_the_thread_of_the_caller() -> None:
    threads = set(in_order(lambda _: threading.current_thread(), range(3), 4, window=1))
    assert threads == {threading.current_thread()}


def test_threads_bear_the_name() -> None:
    names = in_order(lambda _: threading.current_thread().name, range(3), 2, name="verify")
    assert all(name.startswith("verify") for name in names)


def fail_at_2(item: int) -> int:
    if item == 2:
        raise ValueError("broken")
    return item


@pytest.mark.parametrize("window", [1, 4])
def test_an_error_is_raised_at_its_turn(window: int) -> None:
    stop, results = threading.Event(), list[int]()
    with pytest.raises(ValueError, match="broken"):
        results.extend(in_order(fail_at_2, range(9), 2, window=window, stop=stop))
    assert results == [0, 1]
    assert stop.is_set()


@pytest.mark.parametrize("window", [1, 4])
def test_an_error_of_the_items_is_raised(window: int) -> None:
    def items() -> Iterator[int]:
        yield 0
        raise ValueError("no more")

    stop = threading.Event()
    with pytest.raises(ValueError, match="no more"):
        list(in_order(fail_at_2, items(), 2, window=window, stop=stop))
    assert stop.is_set()


def test_work_that_runs_may_end_early_and_work_that_waits_never_begins() -> None:
    stop, third_runs = threading.Event(), threading.Event()
    begun, ended = set[int](), set[int]()

    def work(item: int) -> int:
        begun.add(item)
        if item == 1:
            assert third_runs.wait(SECONDS)
            raise ValueError("broken")
        if item >= 2:
            third_runs.set()
            assert stop.wait(SECONDS)
        ended.add(item)
        return item

    with pytest.raises(ValueError, match="broken"):
        list(in_order(work, range(9), 2, window=9, stop=stop))
    assert {0, 1, 2} <= begun
    assert ended == begun - {1}, "what had begun was waited for"
    assert len(begun) < 9


def test_the_rest_ends_when_the_caller_stops() -> None:
    stop, begun = threading.Event(), set[int]()

    def work(item: int) -> int:
        begun.add(item)
        if item:
            assert stop.wait(SECONDS)
        return item

    with closing(in_order(work, range(100), 2, window=10, stop=stop)) as results:
        assert next(iter(results)) == 0
    assert stop.is_set()
    assert len(begun) <= 3
    assert not any(thread.name.startswith("in-order") for thread in threading.enumerate())


@pytest.mark.parametrize("window", [1, 4])
def test_stop_is_set_at_the_end(window: int) -> None:
    stop = threading.Event()
    assert list(in_order(str, range(3), 2, window=window, stop=stop)) == ["0", "1", "2"]
    assert stop.is_set()


class TestInOrderIfWaiting:
    """The clocks are the test's: each item takes a second, and some of it the processor."""

    @pytest.fixture(params=[0.1, 0.9], ids=["waits", "is busy"])
    def busy(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
        busy: float = request.param
        seconds = iter(range(100))
        monkeypatch.setattr(module, "perf_counter", lambda: next(seconds))
        used = iter(range(100))
        monkeypatch.setattr(module, "thread_time", lambda: next(used) * busy)
        return busy

    def test_threads_are_used_for_what_waits(self, busy: float) -> None:
        threads = list[threading.Thread]()

        def work(item: int) -> int:
            threads.append(threading.current_thread())
            return -item

        assert list(in_order_if_waiting(work, range(5), 2)) == [0, -1, -2, -3, -4]
        here = threading.current_thread()
        assert threads[:2] == [here, here]
        assert all((thread is here) == (busy > 0.5) for thread in threads[2:])

    def test_few_items_and_errors(self, busy: float) -> None:
        for count in range(3):
            assert list(in_order_if_waiting(str, range(count), 2)) == ["0", "1"][:count]
        with pytest.raises(ZeroDivisionError):
            list(in_order_if_waiting(lambda n: 1 // (3 - n), range(9), 2))
