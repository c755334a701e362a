from __future__ import annotations

import pytest

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.job.message import TaskMessage, open_envelope
from producer.send.tasks import DOUBT_SECONDS, Tasks

GRID = Grid(chunk_size=Vec3(2, 2, 2), grid_size=Vec3(2, 2, 3), task_index_start=1).boxes()


def opened(tasks: Tasks, first: int, last: int) -> list[tuple[TaskMessage, str]]:
    parts = tasks.parts(first, last)
    return [open_envelope(body, "q") for part in parts for body in part.bodies]


@pytest.mark.parametrize("boxes", [GRID, [str(box) for box in GRID]])
def test_each_box_is_a_message_that_a_worker_accepts(boxes: Boxes | list[str]) -> None:
    tasks = Tasks(boxes, "j", "abc", "q", "run")
    assert len(tasks) == 11
    assert opened(tasks, 0, 11) == [
        (TaskMessage(job="j", bbox=str(box), pipeline="abc"), f"run-{place}")
        for place, box in enumerate(GRID)
    ]
    assert opened(tasks, 3, 5) == opened(tasks, 0, 11)[3:5]


def test_what_may_have_been_sent_before_has_the_same_id_and_an_attempt_less() -> None:
    tasks = Tasks(GRID, "j", "", "q", "run", doubtful=6)
    found = opened(tasks, 4, 8)
    assert [message.attempts for message, _ in found] == [1, 1, 0, 0]
    assert [task_id for _, task_id in found] == ["run-4", "run-5", "run-6", "run-7"]
    assert [message.attempts for message, _ in opened(tasks, 8, 11)] == [0, 0, 0]


def test_what_may_have_been_sent_before_comes_later() -> None:
    tasks = Tasks(GRID, "j", "", "q", "run", doubtful=6)
    delays = [(part.first, part.delay_seconds) for part in tasks.parts(4, 8)]
    assert delays == [(4, DOUBT_SECONDS), (6, 0)]
    assert [part.first for part in tasks.parts(2, 6)] == [2]
    assert [part.delay_seconds for part in tasks.parts(8, 11)] == [0]
