from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.box_index import BoxIndex
from chunkflow_worker.job.grid import Boxes

small = st.tuples(*[st.integers(1, 4)] * 3).map(Vec3.of)
anywhere = st.tuples(*[st.integers(-300, 300)] * 3).map(Vec3.of)


@st.composite
def jobs(draw: Any) -> Boxes:
    start, size, grid = draw(anywhere), draw(small), draw(small)
    cut = Vec3.of(draw(st.integers(0, n - 1)) for n in size)
    first = draw(st.integers(0, grid.product - 1))
    last = draw(st.integers(first + 1, grid.product))
    stop = start + grid * size - cut if draw(st.booleans()) else None
    return Boxes(start, size, grid, stop, first, last)


@given(jobs())
def test_names_lead_to_the_places_of_their_boxes(boxes: Boxes) -> None:
    index = BoxIndex(boxes)
    assert [index.of(str(box)) for box in boxes] == list(range(len(boxes)))
    assert [index.name(i) for i in range(len(boxes))] == [str(box) for box in boxes]


@given(jobs(), anywhere, small)
def test_other_boxes_have_no_place(boxes: Boxes, start: Vec3, size: Vec3) -> None:
    box = BoundingBox.sized(start, size)
    assert BoxIndex(boxes).of(str(box)) == boxes.index_of(box)


@given(st.text() | st.from_regex(r"\A-?\d-\d_\d-\d(_\d-\d){0,2}\Z"))
def test_other_names_have_no_place(name: str) -> None:
    index = BoxIndex(Boxes(Vec3(10, 10, 10), Vec3(1, 1, 1), Vec3(2, 2, 2), None, 0, 8))
    assert index.of(name) is None


@given(jobs(), st.integers(1, 100))
def test_each_box_is_in_the_part_that_its_name_begins_with(boxes: Boxes, most: int) -> None:
    parts = BoxIndex(boxes).parts(most)
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(len(boxes)))
    for part in parts:
        names = [str(boxes[i]) for i in range(part.start, part.stop)]
        assert names
        begin = [str(box) for box in boxes if str(box).startswith(part.prefix)]
        assert begin == names


def test_parts_are_layers_unless_these_are_too_large_or_tiny() -> None:
    def prefixes(*grid: int) -> list[str]:
        boxes = Boxes(Vec3(0, 0, 0), Vec3(1, 1, 1), Vec3.of(grid), None, 0, Vec3.of(grid).product)
        return [part.prefix for part in BoxIndex(boxes).parts(1000)]

    assert prefixes(2, 20, 50) == ["0-1_", "1-2_"]
    assert prefixes(2, 2, 501) == ["0-1_0-1_", "0-1_1-2_", "1-2_0-1_", "1-2_1-2_"]
    assert prefixes(2, 200, 6) == ["0-1_", "1-2_"]
    assert prefixes(50, 3, 3) == [""]
