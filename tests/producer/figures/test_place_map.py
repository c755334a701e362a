from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.chosen_boxes import ChosenBoxes
from chunkflow_worker.job.grid import Grid
from producer.figures.place_map import CELLS, PlaceMap
from tests.support.job_records import job_boxes, job_records


def test_each_view_counts_all_boxes_at_their_places() -> None:
    boxes, states = job_boxes(), np.full((2, 3, 4), "missing")
    place_map = PlaceMap(boxes)
    for record in job_records():
        place_map.add(record)
        index = [str(box) for box in boxes].index(record.bbox)
        states[np.unravel_index(index, states.shape)] = record.state
    for axis, view in enumerate(place_map.found()):
        for name in ("skipped", "failed", "missing"):
            expected = (states == name).sum(axis)
            assert np.array_equal(getattr(view, name), expected), (view.axis, name)
        done = np.isin(states, ["done", "skipped"]).sum(axis)
        assert np.array_equal(view.done, done)
        assert view.boxes.shape == done.shape
        assert view.seconds.sum() == pytest.approx(16 * 8 + 80)


def test_a_large_grid_has_few_cells() -> None:
    boxes = Grid(chunk_size=Vec3(1, 1, 1), grid_size=Vec3(3, 200, 130)).boxes()
    along_z, *_ = PlaceMap(boxes).found()
    assert max(along_z.boxes.shape) <= CELLS
    assert along_z.step == (4, 3)
    assert along_z.boxes.sum() == len(boxes)


def test_boxes_that_the_job_leaves_out_are_not_missing() -> None:
    grid = Grid(chunk_size=Vec3(4, 8, 8), grid_size=Vec3(2, 3, 4), task_index_start=4)
    assert PlaceMap(grid.boxes()).found()[0].missing.sum() == 20
    marks = np.zeros(24, bool)
    marks[[0, 5, 23]] = True
    some = ChosenBoxes.of(job_boxes(), marks)
    views = PlaceMap(some).found()
    assert [int(view.boxes.sum()) for view in views] == [3, 3, 3]


def test_a_record_of_another_grid_counts_nowhere() -> None:
    record = next(job_records()).model_copy(update={"bbox": "1-5_0-8_0-8"})
    place_map = PlaceMap(job_boxes())
    place_map.add(record)
    assert not any(view.done.sum() for view in place_map.found())
