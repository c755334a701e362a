"""The spatial index, read by CloudVolume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cloudvolume import CloudVolume
from cloudvolume.lib import Bbox

from chunkflow_worker.errors import ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.fragments import xyz_name
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.spatial_index import Cells, cell_content, cell_name

BOUNDS = BoundingBox.sized((3, 5, 7), (24, 48, 40))
CHUNK = Vec3(13, 20, 20)
ONE, TWO, LARGE = 7, 70, 2**64 - 1
PLACES = {ONE: (4, 6, 8), TWO: (25, 50, 46), LARGE: (4, 50, 8)}
"""A voxel of each object, zyx, in a box of its own."""


def corner(object_id: int, size: tuple[float, float, float]) -> np.ndarray:
    """A voxel's first corner, x, y, z in nanometres."""
    return np.array(PLACES[object_id][::-1]) * size[::-1]


class Made:
    """A volume with cells beside fragments of three objects; most boxes hold no object.

    skipped: boxes without objects write no cell, as those of a chain that skips them.
    """

    def __init__(self, folder: Path, size: tuple[float, float, float], skipped: bool = True):
        self.volume, self.size = f"file://{folder}/seg", size
        create_volume(
            self.volume,
            bounds=BOUNDS,
            voxel_size=size,
            block_size=Vec3(8, 16, 16),
            dtype="uint64",
            layer_type="segmentation",
        )
        self.source = Files(f"{self.volume}/fragments")
        self.target = Files(f"{self.volume}/meshes")
        self.parts: dict[str, set[int]] = {}
        for box in BOUNDS.split(CHUNK):
            inside = {
                i
                for i, place in PLACES.items()
                if box.contains(BoundingBox.sized(place, (1, 1, 1)))
            }
            vertices = {
                i: np.array([corner(i, size), corner(i, size) + size[::-1]]) for i in inside
            }
            if inside or not skipped:
                self.source.put(cell_name(box, size), cell_content(vertices), "application/json")
            if inside:
                self.parts[xyz_name(box)] = inside

    def cells(self) -> Cells:
        return Cells.of_fragments(self.source, self.source.list(), self.parts, self.volume)

    def read(self) -> Any:
        """CloudVolume's index of the copied cells."""
        cells = self.cells()
        cells.copy_to(self.target, cells.names)
        info = {"@type": "neuroglancer_legacy_mesh"} | cells.info
        self.target.put_json("info", info)
        own = Files(self.volume)
        own.put_json("info", own.get_json("info") | {"mesh": "meshes"})
        self.opened = CloudVolume(self.volume, progress=False)
        return self.opened.mesh.spatial_index


@pytest.mark.parametrize("skipped", [True, False])
def test_cloudvolume_finds_the_objects_of_a_box(tmp_path: Path, skipped: bool) -> None:
    size = (40.0, 8.0, 8.0)
    made = Made(tmp_path, size, skipped)
    index = made.read()
    assert index.query(made.opened.bounds * made.opened.resolution) == set(PLACES)
    for object_id in PLACES:
        start = corner(object_id, size).astype(int)
        voxel = Bbox(start, start + size[::-1], dtype=int)
        assert index.query(voxel) == {object_id}, "no others of the same cell, or of its neighbours"
        assert index.get_bbox(object_id) == voxel
        assert index.query(voxel - Bbox((8, 8, 40), (8, 8, 40)).minpt) == set()


def test_cells_of_voxels_of_broken_nanometres_are_the_files_that_cloudvolume_reads(
    tmp_path: Path,
) -> None:
    """CloudVolume rounds the box of a query to whole nanometres, and then misses such cells. It
    finds them when it goes through all.
    """
    size = (33.3, 7.16, 7.16)
    index = Made(tmp_path, size).read()
    found = index.file_locations_per_label()
    assert {label: len(names) for label, names in found.items()} == dict.fromkeys(PLACES, 1)
    for object_id in PLACES:
        start = corner(object_id, size)
        assert index.get_bbox(object_id).minpt.tolist() == np.floor(start).tolist()
        assert index.get_bbox(object_id).maxpt.tolist() == np.ceil(start + size[::-1]).tolist()


def test_a_flat_object_has_a_box_that_a_query_can_meet() -> None:
    content = json.loads(cell_content({5: np.array([[1.5, 2, -3], [9.2, 2, -3]])}))
    assert content == {"5": [1, 2, -3, 10, 3, -2]}


def test_an_index_that_does_not_know_all_fragments_is_refused(tmp_path: Path) -> None:
    made = Made(tmp_path, (40.0, 8.0, 8.0))
    first, *_ = made.parts
    made.parts[first] = made.parts[first] | {99}
    with pytest.raises(DataMissing, match=r"lacks the object 99: make .* --spatial-index"):
        made.cells()
    made.parts[first] = made.parts[first] - {99}
    lost = cell_name(BoundingBox(BOUNDS.start, BOUNDS.start + CHUNK), made.size)
    made.source.delete(lost)
    with pytest.raises(DataMissing, match=r"make .* with --spatial-index"):
        made.cells()


def test_boxes_that_are_no_grid_of_the_volume_are_refused(tmp_path: Path) -> None:
    made = Made(tmp_path, (40.0, 8.0, 8.0))
    box = BoundingBox.sized(BOUNDS.start + 1, (4, 4, 4))
    made.source.put(cell_name(box, made.size), cell_content({}), "application/json")
    with pytest.raises(ConfigError, match=r"is no cell of a grid of 13_20_20 voxels"):
        made.cells()


def test_names_that_are_no_boxes_are_refused(tmp_path: Path) -> None:
    made = Made(tmp_path, (40.0, 8.0, 8.0))
    made.parts["a"] = {1}
    with pytest.raises(DataMissing, match="a fragment of 'a', which is no box"):
        made.cells()
