from __future__ import annotations

from itertools import pairwise, product
from math import dist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.chosen_boxes import ChosenBoxes
from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.job.z_curve import ZCurve

SIDES = st.integers(1, 11)


@pytest.fixture(autouse=True)
def small_cubes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkflow_worker.job.z_curve._CUBE", 8)


def grid_of(size: Vec3, first: int = 0, last: int | None = None) -> Boxes:
    grid = Grid(chunk_size=Vec3(1, 2, 3), grid_size=size, task_index_start=first)
    return grid.model_copy(update={"task_index_stop": last}).boxes()


def along_the_curve(size: Vec3) -> list[Vec3]:
    """All places of a grid, sorted by the bits of their numbers in turn."""

    def code(place: Vec3) -> str:
        return "".join(
            bit for bits in zip(*(f"{n:08b}" for n in place), strict=True) for bit in bits
        )

    return sorted((Vec3(*place) for place in product(*map(range, size))), key=code)


def mean_step(places: list[Vec3]) -> float:
    return float(np.mean([dist(a, b) for a, b in pairwise(places)]))


@given(st.builds(Vec3, SIDES, SIDES, SIDES))
def test_each_box_of_a_grid_of_any_shape_has_one_place_on_the_curve(size: Vec3) -> None:
    boxes = grid_of(size)
    size_of_box = Vec3(1, 2, 3)
    wanted = [str(BoundingBox.sized(at * size_of_box, size_of_box)) for at in along_the_curve(size)]
    assert list(ZCurve(boxes).texts()) == wanted
    assert sorted(wanted) == sorted(map(str, boxes))


@given(st.builds(Vec3, SIDES, SIDES, SIDES), st.data())
def test_a_part_of_the_tasks_and_a_mask_leave_the_others_out(
    size: Vec3, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, size.product - 1))
    last = data.draw(st.integers(first + 1, size.product))
    part = grid_of(size, first, last)
    assert sorted(ZCurve(part).texts()) == sorted(map(str, part))
    marks = data.draw(st.lists(st.booleans(), min_size=len(part), max_size=len(part)))
    chosen = ChosenBoxes.of(part, np.array(marks))
    assert len(ZCurve(chosen)) == sum(marks)
    assert sorted(ZCurve(chosen).texts()) == sorted(map(str, chosen))
    kept = set(map(str, chosen))
    assert list(ZCurve(chosen).texts()) == [box for box in ZCurve(part).texts() if box in kept]


@given(st.builds(Vec3, SIDES, SIDES, SIDES), st.data())
def test_however_the_sending_is_split_each_box_is_sent_once(
    size: Vec3, data: st.DataObject
) -> None:
    curve = ZCurve(grid_of(size))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(curve)), max_size=5)))
    parts = [curve.texts(*part) for part in pairwise([0, *cuts, len(curve)])]
    assert [box for part in parts for box in part] == list(curve.texts())


@pytest.mark.parametrize("side", range(3, 14))
def test_boxes_that_follow_each_other_are_nearer_than_in_plain_order(side: int) -> None:
    size = Vec3.of(side)
    places = [
        BoundingBox.parse(box).start // Vec3(1, 2, 3) for box in ZCurve(grid_of(size)).texts()
    ]
    plain = [Vec3(*place) for place in product(*map(range, size))]
    assert mean_step(places) < mean_step(plain)


def test_the_last_boxes_may_be_cut() -> None:
    boxes = Grid(roi_stop=Vec3(3, 3, 3), chunk_size=Vec3(2, 2, 2), respect_chunk_size=False).boxes()
    assert sorted(ZCurve(boxes).texts()) == sorted(map(str, boxes))


def test_a_billion_boxes_begin_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkflow_worker.job.z_curve._CUBE", 1 << 13)
    curve = ZCurve(grid_of(Vec3(1000, 1000, 1000)))
    assert list(curve.texts(0, 3)) == ["0-1_0-2_0-3", "0-1_0-2_3-6", "0-1_2-4_0-3"]
    assert list(curve.texts(10**9 - 1)) == ["999-1000_1998-2000_2997-3000"]
