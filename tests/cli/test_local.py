"""Tasks of a local run overlap, stay in order, and end together when one fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from chunkflow_worker.cli.local import in_order
from chunkflow_worker.cli.summary import show_summary
from chunkflow_worker.errors import Preempted
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.pipeline.task import Task

Check = Callable[[], None]


def tasks(count: int) -> list[Task]:
    return [Task(bbox=BoundingBox.sized((i, 0, 0), (1, 100, 100))) for i in range(count)]


@pytest.mark.parametrize("in_flight", [1, 2, 3])
def test_tasks_come_out_in_order_and_no_more_run_than_allowed(in_flight: int) -> None:
    """Named defect of the peer: load, compute and save were strictly in turn."""
    lock, now, most = threading.Lock(), 0, 0
    together = threading.Barrier(in_flight)

    def run(task: Task, check: Check) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait(30)  # only passed when so many run at the same time
        with lock:
            now -= 1

    given = tasks(6)
    assert list(in_order(run, given, in_flight)) == given
    assert most == in_flight


def test_a_failure_is_raised_and_ends_the_tasks_beside_it() -> None:
    ended: list[str] = []
    begun = threading.Event()

    def run(task: Task, check: Check) -> None:
        assert task.bbox is not None
        if task.bbox.start.z == 0:
            begun.wait(30)
            raise ValueError("broken")
        begun.set()
        try:
            while True:
                check()
                time.sleep(0.001)
        except Preempted:
            ended.append(str(task.bbox))
            raise

    with pytest.raises(ValueError, match="broken"):
        list(in_order(run, tasks(5), 2))
    assert ended == ["1-2_0-100_0-100"], "the third was never begun"


def test_summary_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    done = tasks(3)
    for task, seconds in zip(done, (1.0, 2.0, 6.0), strict=True):
        task.seconds = {"load": seconds, "save": 1.0}
    show_summary(done, 2.0)
    lines = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert lines[1] == ["load", "3", "9.00", "3.00", "2.00", "75%", f"{0.03 / 9:.3g}"]
    assert lines[2] == ["save", "3", "3.00", "1.00", "1.00", "25%", "0.01"]
    assert lines[3] == ["whole", "task", "3", "12.00", "4.00", "3.00", "100%", "0.0025"]
    assert " ".join(lines[4]) == "3 tasks in 2 s, 0.0 Mvoxel, 0.01 Mvoxel/s"
