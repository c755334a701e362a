"""load-nrrd"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.local_file import file_to_read, local_name, reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.image.chunk import VoxelSize

_NANOMETRES = {"nm": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "microns": 1e3, "mm": 1e6, "m": 1e9}
_SPATIAL = ("domain", "space")


class LoadNrrd(Operator):
    """Read the task's box, and what later operators need around it, from an NRRD file.

    Without a task's box it reads the whole file. Place and voxel size are the header's unless given; where it tells the
    directions of the axes in space, they are turned to zyx, and else the file's first axis is x. An axis of channels becomes
    the first. Not in chunkflow 1.2.0, which could not read what save-nrrd should write.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = "chunkflow load-nrrd -f seg.nrrd -l segmentation save-h5 -f seg.h5"
    op: Literal["load-nrrd"] = "load-nrrd"
    file_name: str = field(
        flag="-f",
        help="File; where there is none, a name that does not end in .nrrd or .nhdr is a prefix: the box and .nrrd are appended.",
    )
    voxel_offset: Vec3 | None = field(
        None,
        flag="-v",
        help="Global position of the file's first voxel; the file's when not given, else 0 0 0.",
    )
    voxel_size: tuple[float, float, float] | None = field(
        None,
        flag="-s",
        help="Size of a voxel in nanometres; the file's when not given, else 1 1 1.",
    )
    layer_type: Literal["image", "segmentation"] | None = field(
        None, flag="-l", help="What the values mean; the file's when not given, else image."
    )
    dtype: (
        Literal["uint8", "uint16", "uint32", "uint64", "float32", "float64", "float16"] | None
    ) = field(None, flag="-d", help="Type to convert to; the file's when not given.")
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")

    _local = field_validator("file_name")(local_name)

    _sizes = field_validator("voxel_size")(above_zero)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        import numpy as np

        from chunkflow_worker.image.chunk import Chunk

        nrrd = needs("nrrd", extra="files")

        def step(task: Task) -> None:
            path = file_to_read(self.file_name, task.bbox, ".nrrd", ".nhdr")
            with reading(path, "NRRD"):
                header = nrrd.read_header(str(path))
                order, size, origin = _geometry(
                    header, path, given=bool(self.voxel_size and self.voxel_offset)
                )
                size = self.voxel_size or size
                offset = self.voxel_offset or Vec3.of(
                    round(o / s) for o, s in zip(origin, size, strict=True)
                )
                shape = [int(header["sizes"][axis]) for axis in order]
            bounds = BoundingBox.sized(offset, shape[-3:])
            box = run.box_in(bounds, task.bbox, path)
            with reading(path, "NRRD"):
                array: NDArray[Any] = nrrd.read(str(path), index_order="F")[0].transpose(order)
            array = array[(..., *box.slices(offset))]
            array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
            task.bytes_read += array.nbytes
            layer_type = self.layer_type or (
                "segmentation" if header.get("layer_type") == "segmentation" else "image"
            )
            chunk = Chunk(array, box.start, size, layer_type, bounds)
            task.values[self.output_chunk_name] = (
                chunk.as_dtype(self.dtype) if self.dtype else chunk
            )

        yield step


def _geometry(
    header: Mapping[str, Any], path: Path, given: bool
) -> tuple[list[int], VoxelSize, VoxelSize]:
    """Positions of the file's axes in the order (c)zyx; voxel size and origin in nanometres, zyx.

    given: the user told size and place, so that a header that tells none that we understand does no harm.
    """
    import numpy as np

    axes = _spatial_axes(header, path)
    order = [a for a in range(int(header["dimension"])) if a not in axes] + axes[::-1]
    directions = header.get("space directions")
    if directions is None or given:
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
            f"{path} has the space directions {steps.tolist()}, which are not along x, y and z: "
            "give --voxel-size and --voxel-offset to take its axes as x, y, z"
        )
    turned = [axes[int(np.argmax(steps[:, space]))] for space in range(3)]
    order[-3:] = turned[::-1]
    unit = _unit(header.get("space units"), 0)
    x, y, z = (float(s) * unit for s in steps.max(axis=0))
    ox, oy, oz = (float(o) * unit for o in header.get("space origin", np.zeros(3)))
    return order, (z, y, x), (oz, oy, ox)


def _spatial_axes(header: Mapping[str, Any], path: Path) -> list[int]:
    """The file's three axes in space. Raises ChunkMismatch unless there are three, and at most one more."""
    import numpy as np

    dimension, directions = int(header["dimension"]), header.get("space directions")
    if directions is not None:
        axes = [a for a, step in enumerate(directions) if np.isfinite(step).all()]
    else:
        axes = [a for a, kind in enumerate(header.get("kinds", [])) if kind in _SPATIAL]
    if len(axes) != 3:
        axes = list(range(3))  # where nothing is told, the fourth and slowest axis is of channels
    if dimension not in (3, 4) or header["type"] == "block":
        raise ChunkMismatch(
            f"{path} has {dimension} axes of type {header['type']}; a chunk is numbers in zyx or czyx"
        )
    return axes


def _unit(units: Any, axis: int) -> float:
    """Nanometres of the unit of an axis; 1 when it is not told or unknown."""
    return (
        _NANOMETRES.get(str(units[axis]).strip(), 1.0)
        if units is not None and len(units) > axis
        else 1.0
    )
