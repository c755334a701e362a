"""`Faces`: the labels at the faces of a box, for its neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.labels.layout import Ids

SIDES = tuple((axis, side) for axis in range(3) for side in (-1, 1))
"""The faces of a box: an axis, and -1 for the low face or 1 for the high one."""


def bit(axis: int, side: int) -> int:
    """What stands for a face in numbers of 8 bits."""
    return 1 << SIDES.index((axis, side))


@dataclass(frozen=True)
class Slab:
    """The labels near one face: one layer of voxels, or those that two boxes have in common.

    labels: zyx; 0 for background, else 1 + a row of `Faces`.
    """

    start: Vec3
    labels: NDArray[Any]

    @property
    def box(self) -> BoundingBox:
        return BoundingBox.sized(self.start, self.labels.shape)


@dataclass(frozen=True)
class Faces:
    """The objects at the faces of a box that have a neighbour in the grid, by their ids.

    kinds: the class of each object.
    touches: the bits of the faces that it touches.
    slabs: by axis and side.
    """

    ids: Ids
    kinds: Ids
    touches: NDArray[np.uint8]
    slabs: Mapping[tuple[int, int], Slab]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, from which `of` makes the same."""
        slabs = {f"{axis}{'+' if side > 0 else '-'}": s for (axis, side), s in self.slabs.items()}
        return {
            "ids": self.ids,
            "kinds": self.kinds,
            "touches": self.touches,
            **{f"labels{name}": slab.labels for name, slab in slabs.items()},
            **{f"start{name}": np.array(slab.start) for name, slab in slabs.items()},
        }

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Faces:
        """Raises KeyError when an array is missing."""
        slabs = {}
        for axis, side in SIDES:
            name = f"{axis}{'+' if side > 0 else '-'}"
            if f"labels{name}" in arrays:
                start = Vec3.of(arrays[f"start{name}"].tolist())
                slabs[axis, side] = Slab(start, arrays[f"labels{name}"])
        return cls(arrays["ids"], arrays["kinds"], arrays["touches"], slabs)
