"""`Grid`: cuts a region of interest into the boxes of a job.

It reads no storage: the caller gives the bounds of the volume.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import field_validator

from chunkflow_worker.config.options import Options, field
from chunkflow_worker.config.places import volume_to_read
from chunkflow_worker.errors import ConfigError, Fault
from chunkflow_worker.image.bbox import BoundingBox, Vec3

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_BOXES = 1_000_000_000  # of one job


@dataclass(frozen=True)
class Boxes(Sequence[BoundingBox]):
    """The boxes of a job in z, y, x order. Each box is made on demand, so a million use no memory.

    start: first voxel of the first box. chunk_size: size of a box. grid_size: boxes per axis.
    stop: where the last box of each axis is cut; None keeps it at full size.
    first, last: the part of the list that belongs to the job, half-open.
    """

    start: Vec3
    chunk_size: Vec3
    grid_size: Vec3
    stop: Vec3 | None
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._box(self.first + index % len(self))

    def __iter__(self) -> Iterator[BoundingBox]:
        return (self._box(i) for i in range(self.first, self.last))

    def __contains__(self, box: object) -> bool:
        return isinstance(box, BoundingBox) and self.index_of(box) is not None

    def index_of(self, box: BoundingBox) -> int | None:
        """The index of a box in the list, from 0; None when the list does not have it.

        The time does not depend on the length of the list.
        """
        index = 0
        for axis, count in enumerate(self.grid_size):
            size = self.chunk_size[axis]
            place, rest = divmod(box.start[axis] - self.start[axis], size)
            stop = box.start[axis] + size
            if self.stop is not None:
                stop = min(stop, self.stop[axis])
            if rest or not 0 <= place < count or box.stop[axis] != stop:
                return None
            index = index * count + place
        return index - self.first if self.first <= index < self.last else None

    def whole_grid(self) -> Boxes:
        """All boxes of the grid from the first to the last, also those that the job leaves out."""
        return self

    def task_index(self, index: int) -> int:
        """The index in the grid of a box of this list."""
        return self.first + index

    def texts(self, first: int = 0, last: int | None = None) -> Iterator[str]:
        """The boxes from one index to before another as text, ten times as fast as `str` of each.

        last: the length of the list when not given.
        """
        index, end = self.first + first, self.last if last is None else self.first + last
        step, (_, height, width) = self.chunk_size.x, self.grid_size
        while index < end:
            zy, x = divmod(index, width)
            z, y = divmod(zy, height)
            row = f"{self.edges(0, z)}_{self.edges(1, y)}_"
            row_end = min(width, x + end - index)
            begin, final = (self.start.x + step * place for place in (x, row_end - 1))
            for start in range(begin, final, step):
                yield f"{row}{start}-{start + step}"
            yield f"{row}{self.edges(2, row_end - 1)}"
            index += row_end - x

    def has(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the job has the boxes with these indices in the grid."""
        return (indices >= self.first) & (indices < self.last)

    def marks(self, first: int, last: int) -> int:
        """A bit for each box of the grid that belongs to the job; the lowest for `first`.

        first, last: places in the grid, counted from the first box of the job; half-open.
        """
        return (1 << (last - first)) - 1

    def edges(self, axis: int, place: int) -> str:
        """What the name of a box says of an axis, at a place on this axis from 0."""
        start = self.start[axis] + self.chunk_size[axis] * place
        stop = start + self.chunk_size[axis]
        return f"{start}-{stop if self.stop is None else min(stop, self.stop[axis])}"

    def _box(self, index: int) -> BoundingBox:
        zy, x = divmod(index, self.grid_size.x)
        z, y = divmod(zy, self.grid_size.y)
        box = BoundingBox.sized(self.start + self.chunk_size * Vec3(z, y, x), self.chunk_size)
        return box if self.stop is None else BoundingBox(box.start, box.stop.min(self.stop))


class Grid(Options):
    """A region of interest and how to cut it."""

    volume_path: str | None = field(
        None,
        flag="-v",
        help="Volume whose bounds are the region, unless the options below give one.",
    )
    mip: int | None = field(
        None, flag="-m", help="Mip level of the volume; the boxes are in voxels of this level."
    )
    roi_start: Vec3 | None = field(None, flag="-s", help="First voxel of the region.")
    roi_stop: Vec3 | None = field(None, flag="-r", help="Voxel after the last voxel of the region.")
    roi_size: Vec3 | None = field(None, flag="-z", help="Size of the region, instead of its stop.")
    chunk_size: Vec3 | None = field(
        None, flag="-c", help="Size of a box; by default, the whole region."
    )
    bounding_box: str | None = field(
        None,
        flag="-b",
        help="The region as text, z0-z1_y0-y1_x0-x1; one box unless a chunk size is given.",
    )
    grid_size: Vec3 | None = field(
        None, flag="-g", help="Number of boxes per axis, instead of the region's stop."
    )
    respect_chunk_size: bool = field(
        True,
        off="--respect-stop",
        help="Keep the last box of each axis at full size, or cut it at the region's stop.",
    )
    aligned_block_size: Vec3 | None = field(
        None,
        flag="-a",
        help="Grow the region to multiples of this block size, so that writers never share a file.",
    )
    task_index_start: int = field(0, flag="-i", help="Index of the first task, from 0.")
    task_index_stop: int | None = field(
        None, flag="-p", help="Index after the last task; by default, the number of boxes."
    )

    _path = field_validator("volume_path")(volume_to_read)

    def boxes(self, bounds: BoundingBox | None = None) -> Boxes:
        """Cut the region.

        bounds: the bounds of the volume at `mip`; needed when `volume_path` is given.
        Raises ConfigError with all faults of the options.
        """
        faults = list(self._faults())
        if faults:
            raise ConfigError("grid", faults)
        origin = bounds.start if bounds else Vec3(0, 0, 0)
        region = self._region(bounds)
        if bounds and region.clip(bounds) is None:
            raise ConfigError.one(
                "grid",
                "region",
                f"{region} is outside the volume",
                f"choose a region inside the volume, which is {bounds} at this mip",
            )
        if self.aligned_block_size:
            region = _aligned(region, origin, self.aligned_block_size)
        size = self.chunk_size or region.size
        fitting = -(-region.size // size)
        grid = self.grid_size or fitting
        stop = None if self.respect_chunk_size else region.stop
        if stop is not None:
            grid = grid.min(fitting)
        count = grid.product
        last = count if self.task_index_stop is None else min(self.task_index_stop, count)
        if self.task_index_start >= last:
            raise ConfigError.one(
                "grid",
                "task_index_start",
                f"{self.task_index_start} leaves no task, because the tasks stop at index {last}",
                f"the grid has {count} boxes; indices count from 0",
            )
        if last - self.task_index_start > MOST_BOXES:
            raise ConfigError.one(
                "grid",
                "chunk_size",
                f"the region has {last - self.task_index_start} boxes, and a job has at most "
                f"{MOST_BOXES:,}",
                "give a larger chunk_size, or a part: task_index_start and task_index_stop",
            )
        return Boxes(region.start, size, grid, stop, self.task_index_start, last)

    def _region(self, bounds: BoundingBox | None) -> BoundingBox:
        if self.bounding_box:
            return BoundingBox.parse(self.bounding_box)
        start = self.roi_start or (bounds.start if bounds else Vec3(0, 0, 0))
        if self.roi_stop:
            stop = self.roi_stop
        elif self.roi_size:
            stop = start + self.roi_size
        elif self.grid_size and self.chunk_size:
            stop = start + self.grid_size * self.chunk_size
        elif bounds:
            stop = bounds.stop
        elif self.chunk_size:
            stop = start + self.chunk_size
        else:
            raise ConfigError.one(
                "grid",
                "region",
                "nothing says which region to cut",
                "give a volume path, a bounding box, or a chunk size",
            )
        if any(a >= b for a, b in zip(start, stop, strict=True)):
            raise ConfigError.one(
                "grid",
                "region",
                f"starts at {tuple(start)} and stops at {tuple(stop)}",
                "on each axis, the start must be below the stop",
            )
        return BoundingBox(start, stop)

    def _faults(self) -> Iterator[Fault]:
        for name in ("roi_size", "chunk_size", "grid_size", "aligned_block_size"):
            value = getattr(self, name)
            if value is not None and min(value) < 1:
                yield Fault(
                    name, f"{list(value)} has a number below 1", "give whole numbers of at least 1"
                )
        if self.roi_stop and self.roi_size:
            yield Fault("roi_size", "is given together with roi_stop", "give only one of the two")
        if self.bounding_box:
            try:
                BoundingBox.parse(self.bounding_box)
            except ValueError as error:
                yield Fault("bounding_box", str(error))
            for name in ("roi_start", "roi_stop", "roi_size"):
                if getattr(self, name):
                    yield Fault(
                        name, "is given together with bounding_box", "give the region in one way"
                    )
        if self.grid_size and not (self.chunk_size or self.bounding_box):
            yield Fault("grid_size", "needs a chunk size", "give chunk_size too")
        block, size = self.aligned_block_size, self.chunk_size
        if block and size and min(block) > 0 and any(size % block):
            multiples = -(-size // block) * block
            yield Fault(
                "chunk_size",
                f"{list(size)} is not a multiple of the block size {list(block)}",
                f"give a multiple, for example {list(multiples)}",
            )
        if self.task_index_start < 0:
            yield Fault(
                "task_index_start", f"{self.task_index_start} is negative", "indices count from 0"
            )
        if self.task_index_stop is not None and self.task_index_stop < 1:
            yield Fault(
                "task_index_stop",
                f"{self.task_index_stop} leaves no task",
                "give a number of at least 1",
            )


def _aligned(region: BoundingBox, origin: Vec3, block: Vec3) -> BoundingBox:
    """The smallest box of whole blocks around `region`. A block starts at `origin`."""
    start, stop = region.start - origin, region.stop - origin
    stop_rounded_up = -(-stop // block) * block
    return BoundingBox(origin + start // block * block, origin + stop_rounded_up)
