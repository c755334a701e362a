"""`Annotations`: points, lines or boxes over an image, in a state or as files of Neuroglancer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.image.chunk import VoxelSize
from chunkflow_worker.volumes.scene.page import dimensions

Form = Literal["point", "line", "axis_aligned_bounding_box"]

IN_A_STATE = 2000
"""So many annotations fit into the address of a page."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """places: shape (n, 3) for points, (n, 6) for others; xyz, in voxels of `voxel_size`.

    voxel_size: in nanometres, zyx.
    """

    form: Form
    places: NDArray[np.float32]
    voxel_size: VoxelSize

    def __len__(self) -> int:
        return len(self.places)

    def in_state(self) -> list[dict[str, Any]]:
        """The annotations of a layer with the source `local_source`."""
        keys = ("point",) if self.form == "point" else ("pointA", "pointB")
        return [
            {"type": self.form, "id": f"{self.form} {number}"}
            | {key: place[3 * i : 3 * i + 3] for i, key in enumerate(keys)}
            for number, place in enumerate(self.places.tolist())
        ]

    def file(self, name: str) -> bytes | None:
        """A file of the precomputed format, in which one cell holds all; None if there is none."""
        if name == "info":
            return json.dumps(self._info()).encode()
        if name == "spatial0/0_0_0":
            numbers = np.arange(len(self), dtype="<u8")
            return len(self).to_bytes(8, "little") + self._bytes() + numbers.tobytes()
        folder, _, number = name.partition("/")
        if folder == "by_id" and number.isdecimal() and int(number) < len(self):
            return bytes(self.places[int(number)].astype("<f4").tobytes())
        return None

    def _bytes(self) -> bytes:
        return bytes(self.places.astype("<f4").tobytes())

    def _info(self) -> dict[str, Any]:
        ends = self.places.reshape(-1, 3) if len(self) else np.zeros((1, 3), np.float32)
        low, high = np.floor(ends.min(axis=0)).tolist(), (ends.max(axis=0) + 1).tolist()
        size = [b - a for a, b in zip(low, high, strict=True)]
        cell = {"key": "spatial0", "grid_shape": [1, 1, 1], "chunk_size": size}
        return {
            "@type": "neuroglancer_annotations_v1",
            "dimensions": dimensions(self.voxel_size),
            "lower_bound": low,
            "upper_bound": high,
            "annotation_type": self.form,
            "properties": [],
            "relationships": [],
            "by_id": {"key": "by_id"},
            "spatial": [cell | {"limit": max(len(self), 1)}],
        }


def local_source(voxel_size: VoxelSize) -> dict[str, Any]:
    """The source of a layer whose annotations are in the state of the page."""
    transform = {"outputDimensions": dimensions(voxel_size)}
    return {"url": "local://annotations", "transform": transform}
