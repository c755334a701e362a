from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Grid

vectors = st.builds(Vec3, *[st.integers(-50, 50)] * 3)
sizes = st.builds(Vec3, *[st.integers(1, 20)] * 3)
chunks = st.builds(Vec3, *[st.integers(3, 12)] * 3)
blocks = st.builds(Vec3, *[st.integers(1, 4)] * 3)
regions = st.builds(BoundingBox.sized, vectors, sizes)


def cover_once(region: BoundingBox, boxes: list[BoundingBox]) -> bool:
    """True when each voxel of the region is in exactly one box, and no voxel elsewhere in two."""
    low = Vec3(*(min(box.start[i] for box in [region, *boxes]) for i in range(3)))
    high = Vec3(*(max(box.stop[i] for box in [region, *boxes]) for i in range(3)))
    count = np.zeros(high - low, np.uint8)
    for box in boxes:
        count[box.slices(low)] += 1
    return bool((count[region.slices(low)] == 1).all() and (count <= 1).all())


@given(regions, chunks, st.booleans())
def test_boxes_cover_the_region_and_never_overlap(
    region: BoundingBox, chunk: Vec3, whole: bool
) -> None:
    boxes = list(
        Grid(
            roi_start=region.start, roi_stop=region.stop, chunk_size=chunk, respect_chunk_size=whole
        ).boxes()
    )
    assert cover_once(region, boxes)
    assert boxes == sorted(boxes)
    if whole:
        assert all(box.size == chunk for box in boxes)
    else:
        assert all(region.contains(box) and box.voxels for box in boxes)


@given(regions, chunks, blocks, vectors, st.booleans())
def test_aligned_boxes_are_whole_blocks(
    region: BoundingBox, chunk: Vec3, block: Vec3, first: Vec3, whole: bool
) -> None:
    bounds = BoundingBox(region.start.min(first), region.stop)
    grid = Grid(
        roi_start=region.start,
        roi_stop=region.stop,
        chunk_size=chunk * block,
        aligned_block_size=block,
        respect_chunk_size=whole,
    )
    boxes = list(grid.boxes(bounds))
    assert cover_once(region, boxes)
    for box in boxes:
        assert not any((box.start - bounds.start) % block)
        assert not any((box.stop - bounds.start) % block)


@given(vectors, chunks, st.builds(Vec3, *[st.integers(1, 4)] * 3), regions, st.booleans())
def test_a_grid_size_never_makes_boxes_outside_a_region_that_cuts(
    start: Vec3, chunk: Vec3, grid: Vec3, region: BoundingBox, whole: bool
) -> None:
    free = list(
        Grid(roi_start=start, chunk_size=chunk, grid_size=grid, respect_chunk_size=whole).boxes()
    )
    assert len(free) == grid.product
    assert cover_once(BoundingBox.sized(start, grid * chunk), free)
    cut = list(
        Grid(
            bounding_box=str(region), chunk_size=chunk, grid_size=grid, respect_chunk_size=False
        ).boxes()
    )
    assert all(region.contains(box) and box.voxels for box in cut)
    assert sum(box.voxels for box in cut) <= region.voxels


@given(regions, chunks, st.data())
def test_task_indices_cut_the_list_into_parts(
    region: BoundingBox, chunk: Vec3, data: st.DataObject
) -> None:
    options: dict[str, Any] = {"bounding_box": str(region), "chunk_size": chunk}
    boxes = Grid(**options).boxes()
    start = data.draw(st.integers(0, len(boxes) - 1))
    stop = data.draw(st.integers(start + 1, len(boxes) + 3))
    part = Grid(**options, task_index_start=start, task_index_stop=stop).boxes()
    assert list(part) == boxes[start:stop]
    assert len(part) == len(list(part))


def test_boxes_are_a_sequence() -> None:
    boxes = Grid(bounding_box="0-4_0-4_0-4", chunk_size=(2, 2, 2)).boxes()
    assert str(boxes[0]) == "0-2_0-2_0-2"
    assert boxes[-1] == boxes[7]
    assert boxes[1:3] == [boxes[1], boxes[2]]
    assert boxes[3] in boxes
    assert BoundingBox.parse("0-2_0-2_1-3") not in boxes
    text: object = "0-2_0-2_0-2"
    assert text not in boxes
    for outside in (8, -9):
        with pytest.raises(IndexError):
            boxes[outside]


@given(vectors, sizes, chunks, st.booleans(), st.data())
def test_the_index_of_a_box_is_its_place_in_the_list(
    start: Vec3, size: Vec3, chunk: Vec3, whole: bool, data: st.DataObject
) -> None:
    grid = Grid(roi_start=start, roi_size=size, chunk_size=chunk, respect_chunk_size=whole)
    boxes = list(grid.boxes())
    first = data.draw(st.integers(0, len(boxes) - 1))
    last = data.draw(st.integers(first + 1, len(boxes)))
    part = grid.model_copy(update={"task_index_start": first, "task_index_stop": last}).boxes()
    places = [part.index_of(box) for box in boxes]
    assert places == [None] * first + list(range(last - first)) + [None] * (len(boxes) - last)


@given(regions, regions, chunks, st.booleans())
def test_a_box_that_is_not_in_the_list_has_no_index(
    region: BoundingBox, other: BoundingBox, chunk: Vec3, whole: bool
) -> None:
    boxes = Grid(
        roi_start=region.start, roi_stop=region.stop, chunk_size=chunk, respect_chunk_size=whole
    ).boxes()
    near = [other.shift(box.start - other.start) for box in boxes]
    for box in [other, *near, *(box.shift((0, 1, 0)) for box in boxes)]:
        assert (boxes.index_of(box) is None) == (box not in list(boxes))


def test_a_million_boxes_cost_nothing_before_they_are_asked_for() -> None:
    boxes = Grid(chunk_size=(64, 512, 512), roi_size=(6400, 51200, 51200)).boxes()
    assert len(boxes) == 1_000_000
    assert str(boxes[999_999]) == "6336-6400_50688-51200_50688-51200"


@pytest.mark.parametrize(
    ("options", "boxes"),
    [
        ({"volume_path": "v", "chunk_size": (10, 10, 10)}, 8),
        ({"volume_path": "v"}, 1),
        ({"volume_path": "v", "roi_start": (10, 10, 10), "chunk_size": (10, 10, 10)}, 1),
        ({"volume_path": "v", "roi_size": (20, 20, 10), "chunk_size": (10, 10, 10)}, 4),
        ({"volume_path": "v", "chunk_size": (10, 10, 10), "grid_size": (1, 1, 2)}, 2),
        ({"volume_path": "v", "bounding_box": "0-5_0-5_0-5"}, 1),
    ],
)
def test_regions_of_a_volume(options: dict[str, Any], boxes: int) -> None:
    bounds = BoundingBox.parse("0-20_0-20_0-20")
    assert len(Grid(**options).boxes(bounds)) == boxes


def test_without_a_volume_the_stop_and_both_indices_count() -> None:
    """Named defect of the peer: without a volume, it overwrote --roi-stop, and it ignored
    --task-index-stop alone.
    """
    options: dict[str, Any] = {"chunk_size": (10, 10, 10), "roi_stop": (100, 100, 100)}
    assert len(Grid(**options).boxes()) == 1000
    assert len(Grid(**options, task_index_stop=7).boxes()) == 7


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({}, "region"),
        ({"chunk_size": (0, 1, 1)}, "chunk_size"),
        ({"roi_stop": (1, 1, 1), "roi_size": (1, 1, 1)}, "roi_size"),
        ({"bounding_box": "nonsense"}, "bounding_box"),
        ({"bounding_box": "0-1_0-1_0-1", "roi_start": (0, 0, 0)}, "roi_start"),
        ({"grid_size": (1, 1, 1)}, "grid_size"),
        ({"chunk_size": (5, 4, 4), "aligned_block_size": (4, 4, 4)}, "chunk_size"),
        ({"chunk_size": (4, 4, 4), "task_index_start": -1}, "task_index_start"),
        ({"chunk_size": (4, 4, 4), "task_index_start": 1}, "task_index_start"),
        ({"chunk_size": (4, 4, 4), "task_index_stop": 0}, "task_index_stop"),
        ({"chunk_size": (4, 4, 4), "roi_start": (9, 9, 9), "roi_stop": (9, 10, 10)}, "region"),
    ],
)
def test_faults_name_the_option(options: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Grid(**options).boxes()
    assert place in [fault.place for fault in caught.value.faults]


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(ConfigError, match="3 errors"):
        Grid(
            chunk_size=(0, 1, 1), roi_stop=(1, 1, 1), roi_size=(1, 1, 1), task_index_start=-1
        ).boxes()


def test_a_region_outside_the_volume_is_refused() -> None:
    with pytest.raises(ConfigError, match="outside the volume"):
        Grid(volume_path="v", bounding_box="0-10_0-10_0-10").boxes(
            BoundingBox.parse("10-20_0-10_0-10")
        )


@given(regions, chunks, st.booleans(), st.data())
def test_boxes_as_text_are_those_of_the_list(
    region: BoundingBox, chunk: Vec3, whole: bool, data: st.DataObject
) -> None:
    boxes = Grid(bounding_box=str(region), chunk_size=chunk, respect_chunk_size=whole).boxes()
    part = boxes.__class__(**{**vars(boxes), "first": data.draw(st.integers(0, len(boxes) - 1))})
    assert list(part.texts()) == [str(box) for box in part]
    first = data.draw(st.integers(0, len(part)))
    last = data.draw(st.integers(first, len(part)))
    assert list(part.texts(first, last)) == [str(box) for box in part[first:last]]


def test_a_thousand_million_boxes_take_no_memory() -> None:
    size = Vec3(1000, 1000, 1000)
    boxes = Grid(chunk_size=Vec3(64, 64, 64), grid_size=size).boxes()
    assert len(boxes) == size.product
    assert next(boxes.texts(len(boxes) - 1)) == str(boxes[-1])
    tracemalloc.start()
    texts = boxes.texts()
    for _ in range(10_000):
        next(texts)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()
