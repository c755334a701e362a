from __future__ import annotations

import threading

import numpy as np
import pytest

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.pipeline.task import Task


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

    monkeypatch.setattr("chunkflow_worker.pipeline.task.perf_counter", clock)
    task = Task()
    with task.timed("inference"), task.waiting_for(Busy()):  # type: ignore[arg-type]
        now += 7
    assert task.waited == 101
    assert task.seconds == {"inference": 9}  # the work, and two looks at the clock


def test_one_task_at_a_time_has_the_device() -> None:
    device = threading.Lock()
    with Task().waiting_for(device):
        assert device.locked()
    assert not device.locked()


@pytest.mark.parametrize(
    ("voxel_size", "known"),
    [
        ((40.0, 8.0, 8.0), "1-9_-3-5_0-8"),
        ((40.0, 16.0, 32.0), "1-9_-2-3_0-2"),
        ((40.0, 12.0, 12.0), None),
        ((1.0, 1.0, 1.0), None),
    ],
)
def test_the_box_is_told_in_a_chunks_voxels(
    voxel_size: tuple[float, float, float], known: str | None
) -> None:
    """Where voxel sizes do not say, as of a file without one, it counts the chunk's own voxels."""
    task = Task(bbox=BoundingBox.parse("1-9_-3-5_0-8"), voxel_size=(40.0, 8.0, 8.0))
    chunk = Chunk(np.zeros((1, 1, 1)), voxel_size=voxel_size)
    assert task.known_box_of(chunk) == (known and BoundingBox.parse(known))
    assert str(task.box_of(chunk)) == (known or "1-9_-3-5_0-8")
    task.voxel_size = None
    assert (task.known_box_of(chunk), str(task.box_of(chunk))) == (None, "1-9_-3-5_0-8")


def test_the_use_of_the_device_by_several_operators_adds_up() -> None:
    task = Task()
    assert task.device_utilization is None
    for use in ((2.0, 5, None), (1.0, 9, 0.5), (1.0, 7, 0.25)):
        task.note_device(*use)
    found = task.device_seconds, task.device_memory_peak, task.device_utilization
    assert found == (4, 9, 0.5)
