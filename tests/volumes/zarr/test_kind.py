"""How stores say that an array is a segmentation."""

from __future__ import annotations

from typing import Any

import pytest

from chunkflow_worker.volumes.zarr.kind import kind_of
from chunkflow_worker.volumes.zarr.metadata import Group, StoredArray

CELLMAP = {"annotation": {"annotation_type": {"type": "instance_segmentation"}}}


def array(own: dict[str, Any], *groups: Group) -> StoredArray:
    return StoredArray("file:///a/0", "zarr", {}, own, groups)


def group(attributes: dict[str, Any], place: str = "file:///a", is_group: bool = True) -> Group:
    return Group(place, "0", attributes, is_group)


@pytest.mark.parametrize(
    "attributes",
    [
        {"image-label": {"version": "0.4"}},
        {"ome": {"version": "0.5", "image-label": {}}},
        {"layer_type": "segmentation"},
        {"painteraData": {"type": "label"}},
        {"maxId": 12},
        {"cellmap": CELLMAP},
    ],
)
def test_a_segmentation_says_so_itself_or_its_group_does(attributes: dict[str, Any]) -> None:
    assert kind_of(array(attributes), is_integer=True) == "segmentation"
    assert kind_of(array({}, group(attributes)), is_integer=True) == "segmentation"


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"layer_type": "image"},
        {"layer_type": 3},
        {"painteraData": {"type": "raw"}},
        {"painteraData": "label"},
        {"ome": {"multiscales": []}},
        {"cellmap": {"annotation": {"annotation_type": "x"}}},
    ],
)
def test_everything_else_is_an_image(attributes: dict[str, Any]) -> None:
    assert kind_of(array(attributes), is_integer=True) == "image"


@pytest.mark.parametrize(
    ("place", "is_group", "kind"),
    [
        ("file:///i.zarr/labels", False, "segmentation"),
        ("file:///i.ome.zarr/labels", True, "segmentation"),
        ("s3://lab/i/labels", True, "segmentation"),
        ("file:///data/labels", False, "image"),  # a folder on the way to the store
        ("file:///i.zarr/nolabels", True, "image"),
    ],
)
def test_arrays_in_the_group_labels_are_segmentations(
    place: str, is_group: bool, kind: str
) -> None:
    below = array({}, group({}, f"{place}/cells"), group({}, place, is_group))
    assert kind_of(below, is_integer=True) == kind


def test_floats_are_no_ids_and_a_plain_word_comes_first() -> None:
    labels = group({"image-label": {}}, "file:///i.zarr/labels/cells")
    assert kind_of(array({}, labels), is_integer=False) == "image"
    assert kind_of(array({"layer_type": "image"}, labels), is_integer=True) == "image"
    assert kind_of(array({"layer_type": "segmentation"}), is_integer=False) == "segmentation"
