from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.labels.layout import Layout, Links
from chunkflow_worker.labels.leaf import Leaf, label_box

BOXES = Grid(roi_start=(0, 0, 0), roi_stop=(1, 4, 8), chunk_size=(1, 4, 4)).boxes()


def leaf(rows: list[list[int]], classes: list[list[int]] | None = None, **links: int) -> Leaf:
    labels = np.array([rows])
    kinds = None if classes is None else np.array([classes])
    layout = Layout(BOXES, Links(**links), (1, 1, 1))
    return label_box(labels, Vec3(0, 0, 0), BOXES[0], layout, kinds)


def test_an_id_is_the_place_of_the_first_voxel_whatever_the_label_was() -> None:
    made = leaf([[0, 9, 9, 0], [0, 9, 0, 0], [2**40, 0, 0, 7], [0, 0, 0, 7]])
    assert made.ids.tolist() == [[[0, 2, 2, 0], [0, 2, 0, 0], [17, 0, 0, 20], [0, 0, 0, 20]]]
    assert made.objects.ids.tolist() == [2, 17, 20]
    assert made.faces.ids.tolist() == [20], "of objects at the face of the other box alone"
    assert made.objects.at_border.tolist() == [True, True, True]


@pytest.mark.parametrize(
    "kind", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
)
def test_labels_of_all_types_stay_apart(kind: str) -> None:
    """As many as the type holds, or those at its ends and above what floats hold."""
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    edges = [low, low + 1, high, high - 1, *(n for n in (2**53, 2**53 + 1) if n < high)]
    labels = np.array([*range(low, high + 1)] if high < 256 else edges, kind)
    row = labels[labels != 0].reshape(1, 1, -1)
    boxes = Grid(roi_start=(0, 0, 0), roi_size=row.shape).boxes()
    layout = Layout(boxes, Links(), (1, 1, 1))
    made = label_box(row, Vec3(0, 0, 0), boxes[0], layout, row)
    assert made.ids.ravel().tolist() == list(range(1, row.size + 1))
    assert made.objects.kinds.tolist() == row.ravel().astype(np.uint64).tolist()


def test_labels_around_the_box_become_background() -> None:
    layout = Layout(BOXES, Links("overlap", overlap=Vec3(0, 0, 2)), (1, 1, 1))
    labels = np.zeros((1, 4, 6), np.uint32)
    labels[0, 0], labels[0, 2, 4:] = 3, 4
    made = label_box(labels, Vec3(0, 0, 0), BOXES[0], layout)
    assert made.ids[0, 0].tolist() == [1] * 6
    assert not made.ids[0, 2].any()
    assert made.objects.voxels.tolist() == [4], "a voxel counts in one box only"


def test_touching_objects_that_would_be_joined_are_refused() -> None:
    rows = [[0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0]]
    with pytest.raises(ChunkMismatch, match=r"touch near \(0, 0, 3\).*--link-by overlap"):
        leaf(rows)
    assert len(leaf(rows, classes=rows).objects) == 2
    diagonal = [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 2]]
    assert len(leaf(diagonal, connectivity=26).objects) == 2


def test_an_object_of_two_classes_is_refused() -> None:
    rows = [[0, 1, 1, 0]] + [[0, 0, 0, 0]] * 3
    with pytest.raises(ChunkMismatch, match="several classes"):
        leaf(rows, classes=[[0, 1, 2, 0]] + [[5, 5, 5, 5]] * 3)


def test_a_segmentation_outside_the_box_is_refused() -> None:
    layout = Layout(BOXES, Links(), (1, 1, 1))
    with pytest.raises(ChunkMismatch, match="no voxel in the box"):
        label_box(np.ones((1, 1, 1), int), Vec3(9, 9, 9), BoundingBox.parse("0-1_0-4_0-4"), layout)
