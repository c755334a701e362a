"""load-nrrd"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.pipeline.file_reader import ChunkReader, StoredChunk, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.image.chunk import VoxelSize

_NANOMETRES = {"nm": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "microns": 1e3, "mm": 1e6, "m": 1e9}
_SPATIAL = ("domain", "space")


class LoadNrrd(ChunkReader):
    """Read the task's box, with the margin that later operators need, from an NRRD file.

    If the task has no box, it reads the whole file. Position and voxel size come from the header
    unless given. If the header gives the directions of the axes in space, the axes are turned to
    zyx; otherwise the file's first axis is x. An axis of channels becomes the first axis.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = "chunkflow load-nrrd -f seg.nrrd -l segmentation save-h5 -f seg.h5"
    differs: ClassVar[str] = "This operator is new."
    format: ClassVar[str] = "NRRD"
    reads_files: ClassVar[tuple[str, ...]] = ("file_name",)
    endings: ClassVar[tuple[str, ...]] = (".nrrd", ".nhdr")
    op: Literal["load-nrrd"] = "load-nrrd"

    def opener(self) -> Callable[[Path], AbstractContextManager[StoredChunk]]:
        import numpy as np

        nrrd = needs("nrrd", extra="files")

        @contextmanager
        def open_file(path: Path) -> Iterator[StoredChunk]:
            header = nrrd.read_header(str(path))
            is_placed = bool(self.voxel_size and self.voxel_offset)
            order, size, origin = _geometry(header, path, is_placed)
            size = self.voxel_size or size

            def read(window: Window) -> NDArray[Any]:
                array: NDArray[Any] = nrrd.read(str(path), index_order="F")[0].transpose(order)
                array = array[(..., *window)]
                return np.ascontiguousarray(array, array.dtype.newbyteorder("="))

            is_segmentation = header.get("layer_type") == "segmentation"
            yield StoredChunk(
                tuple(int(header["sizes"][axis]) for axis in order[-3:]),
                read,
                voxel_offset=Vec3.of(round(o / s) for o, s in zip(origin, size, strict=True)),
                voxel_size=size,
                layer_type="segmentation" if is_segmentation else "image",
            )

        return open_file


def _geometry(
    header: Mapping[str, Any], path: Path, is_placed: bool
) -> tuple[list[int], VoxelSize, VoxelSize]:
    """The indices of the file's axes in the order (c)zyx; voxel size and origin in nanometres, zyx.

    is_placed: the user gave size and place, so the header need not make sense.
    """
    import numpy as np

    axes = _spatial_axes(header, path)
    order = [a for a in range(int(header["dimension"])) if a not in axes] + axes[::-1]
    directions = header.get("space directions")
    if directions is None or is_placed:
        unit = _unit(header.get("units"), axes[0])
        spacings = [float(s) * unit for s in header.get("spacings", [np.nan] * (axes[-1] + 1))]
        x, y, z = (spacings[a] if spacings[a] > 0 else 1.0 for a in axes)
        return order, (z, y, x), (0.0, 0.0, 0.0)
    # A row for each axis of the file, a column for each of space: x, y, z.
    steps = np.array([directions[a] for a in axes], float)
    if (
        steps.shape != (3, 3)
        or np.count_nonzero(steps) != 3
        or not (steps.any(axis=0).all() and (steps >= 0).all())
    ):
        raise ChunkMismatch(
            f"{path} has the space directions {steps.tolist()}, not along x, y and z: "
            "give --voxel-size and --voxel-offset to take its axes as x, y, z"
        )
    turned = [axes[int(np.argmax(steps[:, space]))] for space in range(3)]
    order[-3:] = turned[::-1]
    unit = _unit(header.get("space units"), 0)
    x, y, z = (float(s) * unit for s in steps.max(axis=0))
    ox, oy, oz = (float(o) * unit for o in header.get("space origin", np.zeros(3)))
    return order, (z, y, x), (oz, oy, ox)


def _spatial_axes(header: Mapping[str, Any], path: Path) -> list[int]:
    """The file's three axes in space. Raises ChunkMismatch unless it has three, or one more."""
    import numpy as np

    dimension, directions = int(header["dimension"]), header.get("space directions")
    if directions is not None:
        axes = [a for a, step in enumerate(directions) if np.isfinite(step).all()]
    else:
        axes = [a for a, kind in enumerate(header.get("kinds", [])) if kind in _SPATIAL]
    if len(axes) != 3:
        axes = list(range(3))  # without a hint, the fourth and slowest axis is of channels
    if dimension not in (3, 4) or header["type"] == "block":
        raise ChunkMismatch(
            f"{path} has {dimension} axes of type {header['type']}; "
            "a chunk is numbers in zyx or czyx"
        )
    return axes


def _unit(units: Any, axis: int) -> float:
    """Nanometres of the unit of an axis; 1 if it is missing or unknown."""
    return (
        _NANOMETRES.get(str(units[axis]).strip(), 1.0)
        if units is not None and len(units) > axis
        else 1.0
    )
