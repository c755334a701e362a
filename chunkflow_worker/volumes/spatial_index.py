"""The spatial index of meshes or skeletons: which objects lie in each cell of a grid, and where.

igneous writes it, and CloudVolume reads it. A cell is a file of JSON, ``{id: [x0, y0, z0, x1, y1,
z1]}`` in nanometres, and its name is its own box in nanometres. Here the cells are the boxes of the
tasks: each writes its own cell beside its fragments, and `Cells` checks and copies them all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

from chunkflow_worker.errors import ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import VoxelSize
from chunkflow_worker.storage.cloud import cloud_volume, storage_errors
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.precomputed.info import read_info

SUFFIX = ".spatial"
_AT_ONCE = 1000  # cells that are held in memory


def cell_name(box: BoundingBox, voxel_size: VoxelSize) -> str:
    """The name of a cell's file. box: in voxels. voxel_size: in nanometres, zyx.

    Numbers have as many decimals as the size of a voxel, as CloudVolume expects.
    """
    size = _xyz(voxel_size)
    digits = _digits(size)
    starts, stops = (
        [f"{n * s:.{digits}f}" for n, s in zip(corner[::-1], size, strict=True)]
        for corner in (box.start, box.stop)
    )
    return "_".join(f"{a}-{b}" for a, b in zip(starts, stops, strict=True)) + SUFFIX


def cell_content(vertices: Mapping[int, Any]) -> bytes:
    """The content of a cell's file.

    vertices: of each object in the cell, by id: x, y, z in nanometres, shape (n, 3). An object's
        box in whole nanometres holds them all, and is never flat, since readers look for common
        volume.
    """
    boxes = {}
    for object_id, places in sorted(vertices.items()):
        start = [floor(n) for n in places.min(axis=0)]
        stop = [max(ceil(n), a + 1) for n, a in zip(places.max(axis=0), start, strict=True)]
        boxes[str(object_id)] = start + stop
    return json.dumps(boxes).encode()


@dataclass(frozen=True)
class Cells:
    """The cells of a volume, and those of them that tasks have written beside their fragments.

    written: their names; None if it is not known. names: of all cells, for which CloudVolume asks;
        those that are not written are empty.
    """

    source: Files
    written: frozenset[str] | None
    names: tuple[str, ...]
    mip: int
    voxel_size: VoxelSize
    chunk_size: Vec3

    @classmethod
    def of_fragments(
        cls, source: Files, written: Iterable[str], parts: Mapping[str, set[int]], volume: str
    ) -> Cells:
        """Find the cells that belong to fragments, and check that they know of each fragment.

        written: names in `source`; those of cells are taken.
        parts: the ids of the fragments of each box, which is written as x, y, z.
        volume: that the objects belong to.
        Raises ConfigError if the boxes are no grid that begins at the volume's first voxel,
        DataMissing if a box has no cell or its cell lacks an object, and StorageUnavailable.
        """
        known = frozenset(name for name in written if name.endswith(SUFFIX))
        boxes = {_parsed(source, text): ids for text, ids in parts.items()}
        mip, voxel_size = _level_of(volume, source, next(iter(boxes)), known)
        chunk_size = Vec3(1, 1, 1)
        for box in boxes:
            chunk_size = chunk_size.max(box.size)
        names = _names_of_volume(volume, mip, voxel_size, chunk_size)
        cells = cls(source, known, names, mip, voxel_size, chunk_size)
        if foreign := sorted(known - {*names}):
            raise ConfigError.one(
                source.path,
                "spatial_index",
                f"{foreign[0]} is no cell of a grid of {'_'.join(map(str, chunk_size))} voxels "
                f"(zyx) from the first voxel of {volume}, in which CloudVolume looks for objects",
                "make the fragments in one grid over the volume, without --roi-start",
            )
        cells._check({cell_name(box, voxel_size): ids for box, ids in boxes.items()})
        return cells

    @classmethod
    def of_info(cls, source: Files, info: Mapping[str, Any], volume: str) -> Cells | None:
        """The cells that the info of a folder describes; None if it describes none.

        Raises ConfigError if it does so in another way than `info` here, and StorageUnavailable.
        """
        if not info.get("spatial_index"):
            return None
        try:
            mip, index = int(info["mip"]), info["spatial_index"]
            x, y, z = map(float, index["resolution"])
            lengths = zip(index["chunk_size"], (x, y, z), strict=True)
            chunk_size = Vec3(*[round(n / size) for n, size in lengths][::-1])
        except (KeyError, TypeError, ValueError, ArithmeticError):
            problem = "describes no cells, or in a way that is not known"
            cure = "run the operator with --prepare --spatial-index again"
            raise ConfigError.one(volume, "spatial_index", problem, cure) from None
        names = _names_of_volume(volume, mip, (z, y, x), chunk_size)
        return cls(source, None, names, mip, (z, y, x), chunk_size)

    @property
    def info(self) -> dict[str, Any]:
        """What the info of the folder says of the cells. The mip gives the volume's bounds."""
        size = _xyz(self.voxel_size)
        extent = [
            round(n * s, _digits(size)) for n, s in zip(self.chunk_size[::-1], size, strict=True)
        ]
        return {"mip": self.mip, "spatial_index": {"resolution": size, "chunk_size": extent}}

    def _check(self, fragments: Mapping[str, set[int]]) -> None:
        """Raise DataMissing unless the cells know the ids of all fragments, by the cells' names."""
        names = sorted(fragments)
        for name, content in zip(names, self.source.get_jsons(names), strict=True):
            place = f"{self.source.path}/{name}"
            cure = "make the fragments of this box again, with --spatial-index"
            if not isinstance(content, dict):
                raise DataMissing(f"{place} is missing or damaged, but the box has objects: {cure}")
            if lacking := {*map(str, fragments[name])} - {*content}:
                raise DataMissing(f"{place} lacks the object {min(lacking)}: {cure}")

    def share(self, number: int, count: int) -> tuple[str, ...]:
        """The names of one of `count` equal shares of the cells."""
        return self.names[number::count]

    def copy_to(self, target: Files, names: Sequence[str]) -> None:
        """Write cells of the volume to another folder. Raises StorageUnavailable."""
        known = {*names} if self.written is None else self.written
        for first in range(0, len(names), _AT_ONCE):
            part = names[first : first + _AT_ONCE]
            found = self.source.get_all([name for name in part if name in known])
            contents = {name: found.get(name) or b"{}" for name in part}
            target.put_all(contents, "application/json")


def _parsed(source: Files, text: str) -> BoundingBox:
    try:
        box = BoundingBox.parse(text)
    except ValueError:
        raise DataMissing(
            f"{source.path} has a fragment of {text[:60]!r}, which is no box: a spatial index "
            "needs names as 42:0-512_0-512_0-64"
        ) from None
    return BoundingBox(Vec3(*box.start[::-1]), Vec3(*box.stop[::-1]))


def _level_of(
    volume: str, source: Files, box: BoundingBox, names: frozenset[str]
) -> tuple[int, VoxelSize]:
    """The mip whose voxels the box of a fragment counts, and their size: there is such a cell."""
    for mip, scale in enumerate(read_info(volume, output=True)["scales"]):
        x, y, z = scale["resolution"]
        if cell_name(box, (z, y, x)) in names:
            return mip, (z, y, x)
    raise DataMissing(
        f"{source.path} has no cell of a spatial index for the box {box}, at any mip of {volume}: "
        "make the fragments with --spatial-index"
    )


def _names_of_volume(
    volume: str, mip: int, voxel_size: VoxelSize, chunk_size: Vec3
) -> tuple[str, ...]:
    """The names of all the cells that CloudVolume looks for."""
    from cloudvolume.datasource.precomputed.spatial_index import SpatialIndex

    size = _xyz(voxel_size)
    extent = [n * s for n, s in zip(chunk_size[::-1], size, strict=True)]
    with storage_errors(volume):
        opened = cloud_volume(volume, mip=mip)
        index = SpatialIndex(volume, opened.meta.bounds(mip), extent, opened.config, None, size)
    return tuple(index.index_file_paths_for_bbox(index.physical_bounds))


def _xyz(voxel_size: VoxelSize) -> list[float]:
    """x, y, z; whole numbers without a decimal point, since names of cells depend on it."""
    return [int(n) if n == int(n) else float(n) for n in voxel_size[::-1]]


def _digits(size: Iterable[float]) -> int:
    return max(len(str(n).partition(".")[2]) for n in size)
