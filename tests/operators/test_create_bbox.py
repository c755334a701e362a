from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from chunkflow_worker.operators.create_bbox import CreateBbox


@pytest.mark.parametrize("end", [{"stop": (4, 5, 6)}, {"size": (5, 5, 3)}])
def test_generates_one_task_with_the_box(end: dict[str, Any]) -> None:
    assert [str(task.bbox) for task in CreateBbox(start=(-1, 0, 3), **end).tasks()] == [
        "-1-4_0-5_3-6"
    ]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "a stop or a size, and not both"),
        ({"stop": (1, 1, 1), "size": (1, 1, 1)}, "a stop or a size, and not both"),
        ({"stop": (1, 1, 0)}, "must be larger on each axis"),
        ({"size": (1, 1, 0)}, "above 0"),
    ],
)
def test_options_that_give_no_box_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        CreateBbox(start=(0, 0, 0), **options)
