from __future__ import annotations

import threading

import pytest

from chunkflow_worker.task import Task


def test_waiting_for_the_device_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock goes on by a second at each look, and by 100 while another task has the device."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1
        return now

    class Busy:
        def __enter__(self) -> None:
            nonlocal now
            now += 100

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr("chunkflow_worker.task.perf_counter", clock)
    task = Task()
    with task.timed("inference"), task.waiting_for(Busy()):  # type: ignore[arg-type]
        now += 7
    assert task.waited == 101
    assert task.seconds == {"inference": 9}  # the work, and two looks at the clock
    assert task.measured()["waited"] == 101


def test_one_task_at_a_time_has_the_device() -> None:
    device = threading.Lock()
    with Task().waiting_for(device):
        assert device.locked()
    assert not device.locked()
