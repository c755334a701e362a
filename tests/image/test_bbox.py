from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.image.bbox import BoundingBox, Vec3

numbers = st.integers(-(10**6), 10**6)
sizes = st.integers(1, 10**6)
vectors = st.builds(Vec3, numbers, numbers, numbers)
boxes = st.builds(
    lambda start, size: BoundingBox.sized(start, size),
    vectors,
    st.builds(Vec3, sizes, sizes, sizes),
)


@given(boxes)
def test_text_reads_back(box: BoundingBox) -> None:
    assert BoundingBox.parse(str(box)) == box


def test_text_with_negative_numbers() -> None:
    box = BoundingBox.parse("-8--4_-1-0_0-1")
    assert box == BoundingBox(Vec3(-8, -1, 0), Vec3(-4, 0, 1))
    assert str(box) == "-8--4_-1-0_0-1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0-1_0-1",
        "0-1_0-1_0-1_0-1",
        "0-1_0-1_0-1 ",
        " 0-1_0-1_0-1",
        "0-1_0-1_0-1\n",
        "a-b_0-1_0-1",
        "0-1_0-1_0-1.0",
        "\u0660-\u0661_0-1_0-1",
    ],
)
def test_other_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="z0-z1_y0-y1_x0-x1"):
        BoundingBox.parse(text)


@pytest.mark.parametrize("text", ["0-0_0-1_0-1", "0-1_5-4_0-1", "0-1_0-1_-1--2"])
def test_empty_and_inverted_boxes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        BoundingBox.parse(text)


@given(boxes, boxes)
def test_clip_is_the_part_in_both(a: BoundingBox, b: BoundingBox) -> None:
    part = a.clip(b)
    assert part == b.clip(a)
    if part is not None:
        assert a.contains(part)
        assert b.contains(part)
        assert part.voxels > 0


@given(boxes, vectors)
def test_shift_and_back(box: BoundingBox, offset: Vec3) -> None:
    assert box.shift(offset).shift(-offset) == box
    assert box.shift(offset).size == box.size


@given(boxes, st.integers(0, 100))
def test_grow_and_back(box: BoundingBox, margin: int) -> None:
    grown = box.grow(margin)
    assert grown.contains(box)
    assert grown.size == box.size + 2 * margin
    assert grown.grow(-margin) == box


@given(
    st.builds(BoundingBox.sized, vectors, st.builds(Vec3, *[st.integers(1, 12)] * 3)),
    st.builds(Vec3, *[st.integers(1, 5)] * 3),
)
def test_split_covers_without_overlap(box: BoundingBox, size: Vec3) -> None:
    parts = list(box.split(size))
    assert sum(part.voxels for part in parts) == box.voxels
    assert all(box.contains(part) and part.size.fits_in(size) for part in parts)
    assert len({part.start for part in parts}) == len(parts) == (-(-box.size // size)).product
    assert parts == sorted(parts)


@given(boxes, st.builds(Vec3, st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)))
def test_downsample_gives_the_smallest_box_of_large_voxels_that_covers_it(
    box: BoundingBox, factor: Vec3
) -> None:
    coarse = box.downsample(factor)
    assert coarse.upsample(factor).contains(box)
    for axis in range(3):
        assert coarse.start[axis] * factor[axis] > box.start[axis] - factor[axis]
        assert coarse.stop[axis] * factor[axis] < box.stop[axis] + factor[axis]
    assert box.upsample(factor).downsample(factor) == box


def test_slices_are_relative_to_an_origin() -> None:
    box = BoundingBox.parse("10-12_20-25_30-31")
    assert box.slices((10, 20, 30)) == (slice(0, 2), slice(0, 5), slice(0, 1))


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        (1, 2, 3, 4),
        "123",
        ("1", "2", "3"),
        (True, 1, 1),
        (1.5, 1, 1),
        (float("inf"), 1, 1),
        (float("nan"), 1, 1),
        (None,) * 3,
    ],
)
def test_vectors_are_three_whole_numbers(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Vec3.of(value)  # type: ignore[arg-type]


def test_vector_arithmetic() -> None:
    assert Vec3.of(2) == Vec3.of([2, 2, 2]) == Vec3(2, 2, 2)
    assert Vec3(5, 6, 7) - 1 == Vec3(4, 5, 6)
    assert Vec3(5, 6, 7) + Vec3(1, 2, 3) == Vec3(6, 8, 10)
    assert Vec3(1, 2, 3) * Vec3(2, 2, 2) == Vec3(2, 4, 6)
    assert -Vec3(-5, 5, 0) // 2 == Vec3(2, -3, 0)
    assert Vec3(-1, 5, 6) % 4 == Vec3(3, 1, 2)
    assert Vec3(1, 5, 3).min(Vec3(2, 4, 3)) == Vec3(1, 4, 3)
    assert Vec3(1, 5, 3).max(Vec3(2, 4, 3)) == Vec3(2, 5, 3)
    assert Vec3(2, 3, 4).product == 24


def test_a_box_that_stops_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="behind its stop"):
        BoundingBox(Vec3(0, 0, 1), Vec3(1, 1, 0))
