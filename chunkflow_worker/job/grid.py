"""`Grid`: cuts a region of interest into the boxes of a job. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chunkflow_worker.config.options import Options, field
from chunkflow_worker.errors import ConfigError, Fault
from chunkflow_worker.image.bbox import BoundingBox, Vec3


@dataclass(frozen=True)
class Boxes(Sequence[BoundingBox]):
    """The boxes of a job in z, y, x order, made when asked for, so that a million cost nothing.

    start: first voxel of the first box. chunk_size: size of a box. grid_size: boxes per axis.
    stop: where the last boxes of each axis are cut off; None keeps them whole.
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
        if not isinstance(box, BoundingBox):
            return False
        offset = box.start - self.start
        z, y, x = offset // self.chunk_size
        if any(not 0 <= n < count for n, count in zip((z, y, x), self.grid_size, strict=True)):
            return False
        index = (z * self.grid_size.y + y) * self.grid_size.x + x
        return self.first <= index < self.last and self._box(index) == box

    def _box(self, index: int) -> BoundingBox:
        zy, x = divmod(index, self.grid_size.x)
        z, y = divmod(zy, self.grid_size.y)
        box = BoundingBox.sized(self.start + self.chunk_size * Vec3(z, y, x), self.chunk_size)
        return box if self.stop is None else BoundingBox(box.start, box.stop.min(self.stop))


class Grid(Options):
    """A region of interest and how to cut it."""

    volume_path: str | None = field(
        None, flag="-v", help="Volume whose bounds are the region, unless given below."
    )
    mip: int | None = field(
        None, flag="-m", help="Mip level of the volume; the boxes are in voxels of this level."
    )
    roi_start: Vec3 | None = field(None, flag="-s", help="First voxel of the region.")
    roi_stop: Vec3 | None = field(None, flag="-r", help="Voxel behind the last one of the region.")
    roi_size: Vec3 | None = field(None, flag="-z", help="Size of the region, instead of its stop.")
    chunk_size: Vec3 | None = field(
        None, flag="-c", help="Size of a box; the whole region when not given."
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
        help="Keep the last boxes of an axis whole, or cut them at the region's stop.",
    )
    aligned_block_size: Vec3 | None = field(
        None,
        flag="-a",
        help="Grow the region outwards to multiples of this block size, so that writers never share a file.",
    )
    task_index_start: int = field(0, flag="-i", help="First task of the list to take.")
    task_index_stop: int | None = field(
        None, flag="-p", help="Task behind the last one to take; all when not given."
    )

    def boxes(self, bounds: BoundingBox | None = None) -> Boxes:
        """Cut the region.

        bounds: the volume's box at the same mip; needed when `volume_path` is given.
        Raises ConfigError with all the faults of the options.
        """
        faults = [*self._faults()]
        if faults:
            raise ConfigError("grid", faults)
        origin = bounds.start if bounds else Vec3(0, 0, 0)
        region = self._region(bounds)
        if bounds and region.clip(bounds) is None:
            raise ConfigError.one(
                "grid",
                "region",
                f"{region} lies outside the volume",
                f"at this mip the volume is {bounds}",
            )
        block = self.aligned_block_size
        if block:
            low, high = region.start - origin, region.stop - origin
            region = BoundingBox(origin + low // block * block, origin + -(-high // block) * block)
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
                f"{self.task_index_start} leaves no task",
                f"the grid has {count} boxes",
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
                "each axis must start before it stops",
            )
        return BoundingBox(start, stop)

    def _faults(self) -> Iterator[Fault]:
        for name in ("roi_size", "chunk_size", "grid_size", "aligned_block_size"):
            value = getattr(self, name)
            if value is not None and min(value) < 1:
                yield Fault(
                    name, f"{list(value)} has a number below 1", "sizes are whole numbers from 1 on"
                )
        if self.roi_stop and self.roi_size:
            yield Fault("roi_size", "stands beside roi_stop", "give one of the two")
        if self.bounding_box:
            try:
                BoundingBox.parse(self.bounding_box)
            except ValueError as error:
                yield Fault("bounding_box", str(error))
            for name in ("roi_start", "roi_stop", "roi_size"):
                if getattr(self, name):
                    yield Fault(name, "stands beside bounding_box", "give the region in one way")
        if self.grid_size and not (self.chunk_size or self.bounding_box):
            yield Fault("grid_size", "needs a chunk size", "give chunk_size too")
        block, size = self.aligned_block_size, self.chunk_size
        if block and size and min(block) > 0 and any(size % block):
            multiples = -(-size // block) * block
            yield Fault(
                "chunk_size",
                f"{list(size)} is not a multiple of the block size {list(block)}",
                f"for example {list(multiples)}",
            )
        if self.task_index_start < 0:
            yield Fault(
                "task_index_start", f"{self.task_index_start} is negative", "indices count from 0"
            )
        if self.task_index_stop is not None and self.task_index_stop < 1:
            yield Fault(
                "task_index_stop",
                f"{self.task_index_stop} leaves no task",
                "give a number from 1 on",
            )
