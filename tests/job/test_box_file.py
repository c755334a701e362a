"""A file of boxes chooses those of a job; all faults of it are told."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.box_file import listed_boxes, read_boxes
from chunkflow_worker.job.chosen_boxes import ChosenBoxes
from chunkflow_worker.job.grid import Boxes, Grid

GRID = Grid(grid_size=Vec3(2, 3, 4), chunk_size=Vec3(2, 2, 2), task_index_start=3)


def listed(boxes: Boxes, path: Path) -> list[str]:
    return list(listed_boxes(boxes, path, "enqueue", "--boxes").texts())


@given(st.data())
def test_the_listed_boxes_come_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    boxes = GRID.boxes()
    chosen = data.draw(st.lists(st.booleans(), min_size=len(boxes), max_size=len(boxes)))
    if any(chosen) and data.draw(st.booleans()):
        boxes = ChosenBoxes.of(boxes, np.array(chosen))
    names = list(boxes.texts())
    lines = data.draw(st.lists(st.sampled_from(names), min_size=1))
    path = tmp_path_factory.getbasetemp() / "chosen.txt"
    path.write_text("\n".join(lines))
    assert listed(boxes, path) == [name for name in names if name in lines]


def test_all_boxes_that_the_job_lacks_are_told(tmp_path: Path) -> None:
    path = tmp_path / "boxes.txt"
    path.write_text("0-2_0-2_6-8\n0-2_0-2_0-2\n# note\n0-2_0-2_7-9\n9-11_0-2_0-2\n")
    with pytest.raises(ConfigError) as error:
        listed(GRID.boxes(), path)
    places = [(fault.place, fault.problem) for fault in error.value.faults]
    assert places == [
        (f"{path}, line 2", "0-2_0-2_0-2 is not a box of the job"),
        (f"{path}, line 4", "0-2_0-2_7-9 is not a box of the job"),
        (f"{path}, line 5", "9-11_0-2_0-2 is not a box of the job"),
    ]
    assert error.value.faults[-1].cure.startswith("its boxes are 2x2x2, from 0-2_0-2_6-8 to 2-4")


def test_of_very_many_faults_some_are_told(tmp_path: Path) -> None:
    path = tmp_path / "boxes.txt"
    path.write_text("nothing\n" * 1000)
    with pytest.raises(ConfigError, match="980 more are wrong") as error:
        read_boxes(path, "enqueue", "--boxes")
    assert len(error.value.faults) == 21


def test_a_hyphen_is_the_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("0-2_0-2_6-8\n"))
    assert listed(GRID.boxes(), Path("-")) == ["0-2_0-2_6-8"]
