from __future__ import annotations

import numpy as np
import pytest
from cloudvolume.lib import Bbox
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.image.fragments import (
    by_object,
    object_voxels,
    parse_ids,
    with_overlap,
    xyz_name,
)

corners = st.tuples(*[st.integers(-1000, 1000)] * 3)


@given(corners, st.tuples(*[st.integers(1, 500)] * 3))
def test_a_box_is_named_as_cloudvolume_names_it(start, size) -> None:
    box = BoundingBox.sized(start, size)
    assert xyz_name(box) == Bbox(box.start[::-1], box.stop[::-1]).to_filename()


def test_the_overlap_lies_behind_the_box_and_ends_with_the_image() -> None:
    box = BoundingBox.sized((0, 0, 0), (4, 4, 4))
    assert str(with_overlap(box, None)) == "0-5_0-5_0-5"
    image = BoundingBox.sized((-9, -9, -9), (13, 99, 99))
    assert str(with_overlap(box, image)) == "0-4_0-5_0-5"


def test_fragments_are_made_of_the_box_and_its_overlap_inside_the_image() -> None:
    image = BoundingBox.parse("0-9_0-9_0-6")
    array = np.arange(9 * 9 * 6, dtype=np.uint32).reshape(9, 9, 6)
    chunk = Chunk(array, bounds=image)
    voxels, inside = object_voxels(chunk, BoundingBox.parse("2-5_4-9_3-8"), "ids")
    assert str(inside) == "2-5_4-9_3-6", "the box ends where the image ends"
    assert str(voxels.bbox) == "2-6_4-9_3-6", "one voxel behind the box, unless the image ends"
    assert np.array_equal(voxels.array, array[2:6, 4:9, 3:6])


def test_without_a_box_fragments_are_made_of_the_whole_chunk() -> None:
    chunk = Chunk(np.ones((1, 2, 3, 4), np.uint8), Vec3(5, 5, 5))
    voxels, inside = object_voxels(chunk, None, "ids")
    assert voxels.bbox == inside == BoundingBox.parse("5-7_5-8_5-9")
    assert voxels.array.shape == (2, 3, 4), "the axis of channels is dropped"


@pytest.mark.parametrize(
    ("chunk", "text"),
    [
        (
            Chunk(np.ones((4, 4, 4), np.uint8), bounds=BoundingBox.parse("0-5_0-4_0-4")),
            "'ids' is 0-4_0-4_0-4. Voxels of the box 0-4_0-4_0-4 are missing, or the first voxels",
        ),
        (Chunk(np.ones((4, 4, 4), np.uint8), Vec3(9, 0, 0)), "Voxels of the box 0-4"),
        (
            Chunk(np.full((4, 4, 4), -2, np.int32)),
            "'ids' holds -2, and object ids are not negative",
        ),
        (Chunk(np.ones((4, 4, 4), np.float32)), "'ids' is float32 of 1 channels"),
    ],
    ids=["no overlap", "elsewhere", "negative", "floats"],
)
def test_a_chunk_that_cannot_give_whole_fragments_is_refused(chunk: Chunk, text: str) -> None:
    with pytest.raises(ChunkMismatch, match=text):
        object_voxels(chunk, BoundingBox.parse("0-4_0-4_0-4"), "ids")


def test_only_names_of_fragments_are_grouped_by_object() -> None:
    names = ["info", "7:0", "7:0:b", "7:0:a", "71:0:a", "7_0:0:a", "0-4_0-4_0-4.frags"]
    assert by_object(names, ":0:") == {7: ["7:0:a", "7:0:b"], 71: ["71:0:a"]}
    assert by_object(["7", "7:a", "info"], ":") == {7: ["7:a"]}


@pytest.mark.parametrize("text", ["1,2,3", "1 2\n3\n", "[1, 2, 3]", "1;2;3"])
def test_ids_may_be_separated_in_several_ways(text: str) -> None:
    assert parse_ids(text) == [1, 2, 3]


@pytest.mark.parametrize("text", ["", "1.5", "-1", "a", "1,x", "²"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="object ids"):
        parse_ids(text)
