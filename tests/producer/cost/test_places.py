"""Sums over boxes equal those of a look at each box."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.chosen_boxes import ChosenBoxes
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.volumes.volume import Level, chunks_of
from producer.cost.places import Places, blocks, box_at, covered, sizes

small = st.integers(1, 6)
vectors = st.builds(Vec3, small, small, small)


@st.composite
def some_boxes(draw: st.DrawFn) -> Boxes:
    start = draw(st.builds(Vec3, *[st.integers(-9, 9)] * 3))
    size, grid = draw(vectors), draw(st.builds(Vec3, *[st.integers(1, 3)] * 3))
    stop = start + size * grid
    cut = stop - draw(st.builds(Vec3, *[st.integers(0, n - 1) for n in size]))
    last = draw(st.integers(1, grid.product))
    first = draw(st.integers(0, last - 1))
    boxes = Boxes(start, size, grid, draw(st.sampled_from([None, cut])), first, last)
    marks = draw(st.lists(st.booleans(), min_size=len(boxes), max_size=len(boxes)))
    return ChosenBoxes.of(boxes, np.array(marks)) if any(marks) else boxes


@given(some_boxes(), st.builds(Vec3, *[st.integers(1, 9)] * 3), vectors, st.data())
def test_totals_are_those_of_the_boxes(
    boxes: Boxes, extent: Vec3, block: Vec3, data: st.DataObject
) -> None:
    bounds = BoundingBox.sized(boxes.start - 2, boxes.chunk_size + extent)
    done = data.draw(st.lists(st.integers(0, len(boxes) - 1), unique=True, max_size=3))
    places = Places.of(boxes, done)
    left = [box for n, box in enumerate(boxes) if n not in done]
    assert places.count == len(left)
    assert places.total(sizes(places.edges())) == sum(box.voxels for box in left)
    inside = [box.clip(bounds) for box in left]
    edges = places.edges(bounds)
    assert places.total(sizes(edges)) == sum(box.voxels for box in inside if box)
    volume = Level("mem://v", bounds, block, block, (1.0, 1.0, 1.0))
    found = [list(chunks_of(volume, box)) for box in inside if box]
    touched = blocks(edges, bounds, block)
    assert places.total(sizes(touched)) == sum(map(len, found))
    whole = covered(touched, bounds, block)
    assert places.total(sizes(whole)) == sum(one.voxels for of_box in found for one in of_box)


@given(some_boxes(), st.integers(1, 9))
def test_samples_are_boxes_of_the_job(boxes: Boxes, count: int) -> None:
    places = Places.of(boxes)
    for found in (places.some(count), places.begin(count), places.run(count, 3)):
        assert len(found) == min(count, len(boxes))
        assert {places.box(place) for place in found} <= set(boxes)
        assert len(set(found)) == len(found)
    assert [places.box(place) for place in places.begin(count)] == boxes[:count]


def test_the_sums_of_a_huge_grid_need_no_look_at_its_boxes() -> None:
    boxes = Boxes(Vec3(0, 0, 0), Vec3(10, 10, 10), Vec3(1000, 1000, 1000), None, 0, 10**9)
    places = Places.of(boxes)
    assert places.total(sizes(places.edges())) == 10**12
    assert box_at(places.edges(), (999, 0, 1)) == BoundingBox.parse("9990-10000_0-10_10-20")
