"""Fragments: names, ids, and what belongs to a box."""

from __future__ import annotations

import pytest
from cloudvolume.lib import Bbox
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.fragments import by_object, parse_ids, with_overlap, xyz_name

corners = st.tuples(*[st.integers(-1000, 1000)] * 3)


@given(corners, st.tuples(*[st.integers(1, 500)] * 3))
def test_a_box_is_named_as_cloudvolume_names_it(start, size) -> None:
    box = BoundingBox.sized(start, size)
    assert xyz_name(box) == Bbox(box.start[::-1], box.stop[::-1]).to_filename()


def test_the_overlap_is_behind_the_box_and_ends_with_the_image() -> None:
    box = BoundingBox.sized((0, 0, 0), (4, 4, 4))
    assert str(with_overlap(box, None)) == "0-5_0-5_0-5"
    assert (
        str(with_overlap(box, BoundingBox.sized(Vec3(-9, -9, -9), (13, 99, 99)))) == "0-4_0-5_0-5"
    )


def test_fragments_are_told_from_manifests_and_other_files() -> None:
    names = ["info", "7:0", "7:0:b", "7:0:a", "71:0:a", "7_0:0:a", "0-4_0-4_0-4.frags"]
    assert by_object(names, ":0:") == {7: ["7:0:a", "7:0:b"], 71: ["71:0:a"]}
    assert by_object(["7", "7:a", "info"], ":") == {7: ["7:a"]}


@pytest.mark.parametrize("text", ["1,2,3", "1 2\n3\n", "[1, 2, 3]", "1;2;3"])
def test_ids_are_read_however_they_are_parted(text: str) -> None:
    assert parse_ids(text) == [1, 2, 3]


@pytest.mark.parametrize("text", ["", "1.5", "-1", "a", "1,x", "²"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="object ids"):
        parse_ids(text)
