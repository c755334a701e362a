"""create-chunk"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE, OFFSET = Vec3(64, 64, 64), Vec3(0, 0, 0)
WAVELENGTHS = Vec3(
    32, 48, 64
)  # whole numbers, different on each axis so that swapped axes are visible


class CreateChunk(Operator):
    """Make a chunk of synthetic voxels, zyx, to try out a chain.

    It fills the task's box and the margin that later operators need. If the task has no box, or if
    --size or --voxel-offset is not the default, it makes the box that these options give.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = (
        "chunkflow create-chunk -s 32 256 256 -p random -d float32 save-h5 -f random.h5"
    )
    differs: ClassVar[str] = (
        "The value of a voxel depends only on its global position, so neighbouring and "
        "overlapping boxes agree. All types work. The waves of integers of more than 8 bits, and "
        "random integers, are values; chunkflow made labels of connected components of them."
    )
    renamed: ClassVar[Mapping[str, str]] = {
        "--all-zero": "--pattern zero",
        "--not-all-zero": "--pattern sin",
    }
    op: Literal["create-chunk"] = "create-chunk"
    size: Vec3 = field(
        SIZE,
        flag="-s",
        help="Size in voxels; a value other than the default overrides the task's box.",
    )
    dtype: Literal["uint8", "uint32", "uint16", "uint64", "float32", "float64"] = field(
        "uint8", flag="-d", help="Type of the voxels."
    )
    pattern: Literal["sin", "zero", "random"] = field(
        "sin",
        flag="-p",
        help="sin: smooth waves, 0 to 255, or 0 to 1 as float; random: the full range of the type, "
        "or [0, 1) as float.",
    )
    voxel_offset: Vec3 = field(
        OFFSET,
        flag="-t",
        help="Global position of the first voxel; a value other than the default overrides the "
        "task's box.",
    )
    voxel_size: tuple[float, float, float] = field(
        (1.0, 1.0, 1.0), flag="-e", help="Size of a voxel in nanometres."
    )
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")

    _sizes = field_validator("size", "voxel_size")(above_zero)

    def size_without_box(self) -> Vec3:
        return self.size

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.image.chunk import Chunk

        make = {"sin": _sin, "zero": _zero, "random": _random}[self.pattern]

        def step(task: Task) -> None:
            if task.bbox is None or (self.size, self.voxel_offset) != (SIZE, OFFSET):
                box = BoundingBox.sized(self.voxel_offset, self.size)
            else:
                box = run.needed_box(task.bbox, None)
            task.values[self.output_chunk_name] = Chunk(
                make(box, self.dtype), box.start, self.voxel_size
            )

        yield step


def _positions(box: BoundingBox) -> list[NDArray[Any]]:
    """Global positions along z, y and x, shaped so that they broadcast to the box."""
    import numpy as np

    return list(np.ogrid[box.slices()])


def _zero(box: BoundingBox, dtype: str) -> NDArray[Any]:
    import numpy as np

    return np.zeros(box.size, dtype)


def _sin(box: BoundingBox, dtype: str) -> NDArray[Any]:
    import numpy as np

    z, y, x = (
        np.sin(p % w * (2 * np.pi / w)) for p, w in zip(_positions(box), WAVELENGTHS, strict=True)
    )
    wave: NDArray[Any] = (z + y + x + 3) / 6
    return wave.astype(dtype) if dtype.startswith("float") else np.rint(wave * 255).astype(dtype)


def _random(box: BoundingBox, dtype: str) -> NDArray[Any]:
    import numpy as np

    bits: NDArray[Any] = np.zeros((1, 1, 1), np.uint64)
    for positions in _positions(box):
        bits = _scramble(bits + positions.astype(np.uint64))
    kind = np.dtype(dtype)
    floating = kind.kind == "f"
    kept = np.finfo(kind).nmant + 1 if floating else 8 * kind.itemsize
    values: NDArray[Any] = (bits >> (64 - kept)).astype(kind)
    return values * kind.type(2.0**-kept) if floating else values


def _scramble(bits: NDArray[Any]) -> NDArray[Any]:
    """Splitmix64: maps 64-bit numbers one to one to numbers that look random."""
    bits = bits + 0x9E3779B97F4A7C15
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB
    scrambled: NDArray[Any] = bits ^ (bits >> 31)
    return scrambled
