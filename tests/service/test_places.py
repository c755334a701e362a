from __future__ import annotations

import threading

import pytest

from chunkflow_worker.errors import Preempted
from chunkflow_worker.service.places import Places


def test_no_more_can_be_reserved_than_are_free() -> None:
    places = Places(3)
    assert places.reserve(2, 0) == 2
    assert places.reserve(10, 0) == 1
    assert places.reserve(10, 0) == 0
    places.release(2)
    assert places.reserve(10, 0) == 2


def test_a_task_that_ends_frees_its_place() -> None:
    places = Places(1)
    places.reserve(1, 0)
    with places.taken():
        assert places.free == 0
    assert places.free == 1


def test_while_a_task_is_recorded_another_one_may_have_its_place() -> None:
    places = Places(1)
    places.reserve(1, 0)
    with places.taken() as place:
        with place.working():
            assert places.free == 0
        assert places.reserve(1, 0) == 1
    assert places.free == 0, "that of the other task"
    places.release()
    assert places.free == 1


def test_as_many_tasks_are_recorded_as_there_are_places() -> None:
    """If records can't be written, no further tasks are received."""
    places = Places(1)
    places.reserve(1, 0)
    with places.taken() as first:
        with first.working():
            pass
        places.reserve(1, 0)
        with places.taken() as second:
            with second.working():
                pass
            assert places.free == 0
        assert places.free == 1


def test_a_task_that_fails_keeps_its_place_until_it_is_settled() -> None:
    places = Places(1)
    places.reserve(1, 0)
    with places.taken() as place:
        with pytest.raises(ValueError, match="x"), place.working():
            raise ValueError("x")
        assert places.free == 0
        with place.working():
            pass
        assert places.free == 1


def test_a_task_that_must_work_again_waits_for_a_place() -> None:
    places = Places(1)
    places.reserve(1, 0)
    waits, works = threading.Event(), threading.Event()

    def work_again() -> None:
        with places.taken(waits.set) as place:
            with place.working():
                pass
            assert places.reserve(1, 0) == 1  # another task comes
            with place.working():
                works.set()

    thread = threading.Thread(target=work_again)
    thread.start()
    assert waits.wait(10)
    assert not works.is_set()
    places.release()
    assert works.wait(10)
    thread.join(10)
    assert places.free == 1


def test_a_task_that_must_stop_does_not_wait_for_a_place() -> None:
    places = Places(1)
    places.reserve(1, 0)

    def check() -> None:
        raise Preempted("the worker is being stopped")

    with places.taken(check) as place:
        with place.working():
            pass
        places.reserve(1, 0)
        with pytest.raises(Preempted), place.working():
            raise AssertionError("it has no place")
    places.release()
    assert places.free == 1
