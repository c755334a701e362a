"""crop-margin"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk

Margin = tuple[int, int, int, int, int, int]


class CropMargin(Operator):
    """Cut off a chunk's margin, except the voxels that later operators need around the task's box.

    With --margin-size, it cuts that many voxels, and the loading operators read that many more
    around the task's box. At the border of the image these voxels do not exist, so less is cut.
    """

    group: ClassVar[str] = "Image"
    example: ClassVar[str] = (
        "chunkflow load-h5 -f large.h5 crop-margin -m 4 64 64 4 64 64 save-h5 -f small.h5"
    )
    differs: ClassVar[str] = (
        "A margin of 0 leaves that side unchanged. --crop-bbox shrinks the task's box; chunkflow "
        "computed the smaller box but did not use it."
    )
    renamed: ClassVar[Mapping[str, str]] = {
        "-m Z Y X, --margin-size Z Y X": "--margin-size Z Y X Z Y X",
    }
    removed: ClassVar[Mapping[str, str]] = {
        "-c, --chunk-name": "give `--input-chunk-name` and `--output-chunk-name`",
    }
    op: Literal["crop-margin"] = "crop-margin"
    margin_size: Margin | None = field(
        None,
        flag="-m",
        help="Voxels to cut: z y x before, then z y x after; default: down to the task's box.",
    )
    crop_bbox: bool = field(
        False, help="Shrink the task's box by the margin, instead of reading more around it."
    )
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to read.")
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")

    @field_validator("margin_size")
    @classmethod
    def _not_negative(cls, value: Margin | None) -> Margin | None:
        if value is not None and min(value) < 0:
            raise ValueError("takes six numbers from 0 on")
        return value

    def input_box(self, box: BoundingBox, bounds: BoundingBox | None) -> BoundingBox:
        if self.margin_size is None or self.crop_bbox:
            return box
        before, after = self._margins()
        grown = BoundingBox(box.start - before, box.stop + after)
        return grown if bounds is None else grown.clip(bounds) or grown

    def box_after(self, box: BoundingBox) -> BoundingBox | None:
        try:
            return self._cut(box, "the task's box") if self.crop_bbox else box
        except ChunkMismatch:
            return None

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        def step(task: Task) -> None:
            chunk = task.chunk(self.input_chunk_name)
            if task.bbox is not None and self.crop_bbox:
                task.bbox = self._cut(task.bbox, "the task's box")
            asked = task.box_of(chunk)
            if asked is None:
                if self.margin_size is None:
                    raise ChunkMismatch(
                        "the task has no box to crop to; give --margin-size, or make boxes with "
                        "generate-tasks"
                    )
                box = self._cut(chunk.bbox, "chunk")
            else:
                box = self._box(chunk, asked, run.needed_box(asked, chunk.bounds))
            task.values[self.output_chunk_name] = chunk.cutout(box)

        yield step

    def _margins(self) -> tuple[Vec3, Vec3]:
        margin = self.margin_size or (0, 0, 0, 0, 0, 0)
        return Vec3(*margin[:3]), Vec3(*margin[3:])

    def _box(self, chunk: Chunk, wanted: BoundingBox, needed: BoundingBox) -> BoundingBox:
        """The part of `chunk` to keep. Raises ChunkMismatch if it does not cover `wanted`."""
        kept = needed.clip(chunk.bbox)
        if kept is not None and self.margin_size is not None:
            kept = self._cut(chunk.bbox, "chunk", chunk.bounds, kept)
        must = wanted if chunk.bounds is None else wanted.clip(chunk.bounds)
        if kept is None or must is None or not kept.contains(must):
            cut = f" without the margin {list(self.margin_size)}" if self.margin_size else ""
            raise ChunkMismatch(f"chunk {chunk.bbox}{cut} does not cover the task's box {wanted}")
        return kept

    def _cut(
        self,
        box: BoundingBox,
        what: str,
        bounds: BoundingBox | None = None,
        needed: BoundingBox | None = None,
    ) -> BoundingBox:
        """`box` without the margin; at the border of the image's `bounds`, at least `needed`."""
        before, after = self._margins()
        start, stop = list(box.start + before), list(box.stop - after)
        if bounds is not None and needed is not None:
            for axis in range(3):
                if box.start[axis] == bounds.start[axis]:
                    start[axis] = min(start[axis], needed.start[axis])
                if box.stop[axis] == bounds.stop[axis]:
                    stop[axis] = max(stop[axis], needed.stop[axis])
        if not all(a < b for a, b in zip(start, stop, strict=True)):
            raise ChunkMismatch(
                f"{what} {box} has nothing left without the margin {[*before, *after]}"
            )
        return BoundingBox(Vec3(*start), Vec3(*stop))
