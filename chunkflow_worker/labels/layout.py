"""`Layout`: what all tasks of one labelling share.

An id is the place of its first voxel: 1 + its index in the whole grid, in z, y, x order. So ids
need no counter, each tells the box that made it, and the lowest id of an object does not depend on
how the grid is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import VoxelSize
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.tree import Tree

Ids = NDArray[np.uint64]
Whole = NDArray[np.int64]
Linking = Literal["touching", "overlap"]
ShareOf = Literal["smaller", "union"]
_NONE = Vec3(0, 0, 0)


@dataclass(frozen=True)
class Links:
    """When objects of two boxes are one.

    by: `touching`: voxels are neighbours; `overlap`: both boxes gave ids to the same voxels.
    connectivity: 6, 18 or 26, for `touching`.
    overlap: voxels that a box reads around itself on each side, for `overlap`.
    min_share: of the voxels of the smaller object, or of both, that must be common to both.
    """

    by: Linking = "touching"
    connectivity: int = 6
    overlap: Vec3 = _NONE
    min_share: float = 0.5
    share_of: ShareOf = "smaller"


@dataclass(frozen=True)
class Layout:
    """The grid of a labelling, and its links.

    boxes: all boxes of the grid.
    voxel_size: in nanometres, zyx.
    """

    boxes: Boxes
    links: Links
    voxel_size: VoxelSize

    @cached_property
    def tree(self) -> Tree:
        return Tree(self.boxes)

    @cached_property
    def region(self) -> BoundingBox:
        """All voxels that have ids. Raises ConfigError when 63 bits do not count them."""
        region = self.tree.region
        if region.voxels >= 2**63:
            raise ConfigError.one(
                "labels", "region", f"{region} has {region.voxels} voxels", "at most 2^63 - 1"
            )
        return region

    def ids_at(self, places: Whole) -> Ids:
        """The ids of objects by their first voxels. places: shape (n, 3), global, zyx."""
        z, y, x = (places - np.array(self.region.start)).T
        _, height, width = self.region.size
        ids: Ids = ((z * height + y) * width + x + 1).astype(np.uint64)
        return ids

    def cells(self, ids: Ids) -> Whole:
        """Which box of the grid made each id: shape (n, 3), places along z, y, x from 0."""
        index = ids.astype(np.int64) - 1
        _, height, width = self.region.size
        zy, x = np.divmod(index, width)
        z, y = np.divmod(zy, height)
        cells: Whole = np.stack([z, y, x], axis=1) // np.array(self.boxes.chunk_size)
        return cells

    def cells_of(self, region: BoundingBox) -> tuple[Vec3, Vec3]:
        """The first box of a region along each axis, and the one after its last."""
        start, size = self.boxes.start, self.boxes.chunk_size
        return (region.start - start) // size, -(-(region.stop - start) // size)

    def are_in(self, ids: Ids, region: BoundingBox) -> NDArray[np.bool_]:
        """Whether a box of the region made each id."""
        first, last = map(np.array, self.cells_of(region))
        cells = self.cells(ids)
        inside: NDArray[np.bool_] = np.all((cells >= first) & (cells < last), axis=1)
        return inside

    def children(self, region: BoundingBox) -> list[BoundingBox]:
        """The boxes that a region joins. A grid of one box is a region with this one child.

        Raises ValueError for a box that is no region of the tree, as `Tree.children` does.
        """
        if len(self.boxes) == 1 and region == self.boxes[0]:
            return [region]
        return self.tree.children(region)

    def is_leaf(self, box: BoundingBox) -> bool:
        return box in self.boxes

    def path(self, box: BoundingBox) -> list[BoundingBox]:
        """A box or a region and all regions above it, without the last one, the whole grid.

        The only box of a grid is below a region that is the same.
        """
        region = self.tree.region
        if len(self.boxes) == 1:
            return [box]
        path = []
        while region != box:
            region = next(child for child in self.children(region) if child.contains(box))
            path.append(region)
        return path[::-1]

    def box_at(self, cell: Vec3) -> BoundingBox:
        """The box of the grid at these places along z, y and x."""
        _, height, width = self.boxes.grid_size
        box: BoundingBox = self.boxes[(cell.z * height + cell.y) * width + cell.x]
        return box

    def has_neighbour(self, cell: Vec3, axis: int, side: int) -> bool:
        """Whether the grid goes on beyond a face. side: -1 for the low face, 1 for the high one."""
        return 0 <= cell[axis] + side < self.boxes.grid_size[axis]

    def dump(self) -> dict[str, Any]:
        """Plain data, which `parse` reads back."""
        grid = {name: getattr(self.boxes, name) for name in ("start", "chunk_size", "grid_size")}
        return {
            "format": 1,
            "grid": grid | {"stop": self.boxes.stop},
            "links": asdict(self.links),
            "voxel_size": list(self.voxel_size),
        }

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Layout:
        """Raises KeyError, TypeError and ValueError for other data."""
        grid, links = content["grid"], content["links"]
        start, size, count = (Vec3.of(grid[n]) for n in ("start", "chunk_size", "grid_size"))
        stop = None if grid["stop"] is None else Vec3.of(grid["stop"])
        boxes = Boxes(start, size, count, stop, 0, count.product)
        z, y, x = content["voxel_size"]
        return cls(boxes, Links(**links | {"overlap": Vec3.of(links["overlap"])}), (z, y, x))
