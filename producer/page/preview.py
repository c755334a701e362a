"""`Previews`: pictures of the middle section of a box, in the input and in the output."""

from __future__ import annotations

import io
import threading
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkflow_worker.config.extras import needs
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from producer.look.box_voxels import saved
from producer.look.volumes import Volumes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from producer.plan.pipeline_file import PipelineFile

MOST = 512  # voxels of a section along y and x that are read: the middle of larger ones
_AT_ONCE = 2  # sections that are read


class Previews:
    """The first volume that a chain loads, and the last one that it saves.

    names: of these, input and output, or one of them.
    """

    def __init__(self, pipeline: PipelineFile):
        loads = [use for operator in pipeline.chain for use in operator.loads()]
        self._uses = {"input": loads[:1], "output": saved(pipeline.chain)[-1:]}
        self._volumes, self._slots = Volumes(), threading.Semaphore(_AT_ONCE)

    @property
    def names(self) -> list[str]:
        return [name for name, uses in self._uses.items() if uses]

    def png(self, name: str, box: BoundingBox) -> bytes | None:
        """The middle section of a box; None where the volume has none.

        box: in voxels of the output. Raises ConfigError, StorageUnavailable, and what a volume
        raises for blocks that are missing or damaged.
        """
        if not self._uses.get(name):
            return None
        with self._slots:
            volume = self._open(name)
            section = _section(self._in_voxels_of(volume, box)).clip(volume.bounds)
            return None if section is None else to_png(volume.read(section))

    def _open(self, name: str) -> Any:
        use = self._uses[name][0]
        return self._volumes.open(use.path, use.mip or 0, fill_missing=True)

    def _in_voxels_of(self, volume: Any, box: BoundingBox) -> BoundingBox:
        if not self._uses["output"]:
            return box
        size = self._open("output").voxel_size
        ratios = [a / b for a, b in zip(size, volume.voxel_size, strict=True)]
        start = Vec3.of(floor(n * ratio) for n, ratio in zip(box.start, ratios, strict=True))
        stop = Vec3.of(ceil(n * ratio) for n, ratio in zip(box.stop, ratios, strict=True))
        return BoundingBox(start, stop)


def _section(box: BoundingBox) -> BoundingBox:
    z = (box.start.z + box.stop.z) // 2
    z = min(z, box.stop.z - 1)
    start, stop = [z], [z + 1]
    for axis in (1, 2):
        middle = (box.start[axis] + box.stop[axis]) // 2
        start.append(max(box.start[axis], middle - MOST // 2))
        stop.append(min(box.stop[axis], middle + MOST // 2))
    return BoundingBox(Vec3(*start), Vec3(*stop))


def to_png(voxels: NDArray[Any]) -> bytes:
    """A picture of a section, zyx or czyx, of its first channel. Ids get colours."""
    image = needs("PIL.Image", extra="page", by="previews")
    plane = voxels.reshape(-1, *voxels.shape[-2:])[0]
    out = io.BytesIO()
    image.fromarray(_grey(plane)).save(out, "PNG", compress_level=3)
    return out.getvalue()


def _grey(plane: NDArray[Any]) -> NDArray[np.uint8]:
    if plane.dtype == np.uint8:
        return plane
    if plane.dtype.kind == "u" and plane.dtype.itemsize >= 4:
        return _coloured(plane)
    values = np.nan_to_num(plane.astype(np.float32))
    low, high = min(0.0, float(values.min())), float(values.max())
    if plane.dtype.kind == "f" and low >= 0 and high <= 1:
        high = 1.0
    return np.asarray((values - low) * (255 / ((high - low) or 1.0)), np.uint8)


def _coloured(ids: NDArray[Any]) -> NDArray[np.uint8]:
    """A colour for each id, black for 0: (height, width, 3)."""
    mixed = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    shades = [(mixed >> np.uint64(shift) & np.uint64(127)) + np.uint64(96) for shift in (8, 24, 40)]
    return np.asarray(np.stack(shades, -1) * (ids != 0)[..., None], np.uint8)
