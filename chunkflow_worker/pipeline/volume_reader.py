"""`VolumeReader`: the options and the step of the operators that read a volume of any format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator

from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import BoxOutsideVolume, ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk, LayerType
    from chunkflow_worker.volumes.volume import Volume


class VolumeReader(Operator):
    """Base of the operators that read the task's box from a volume."""

    volume_path: str = field(
        flag="-v",
        help="Path of the volume: file://, s3://, gs:// or mem://. Its format is detected, or may "
        "be named, as in zarr3://s3://lab/em.",
    )
    mip: int | None = field(None, flag="-m", help="Mip level to read; default: 0.")
    expand_margin_size: Vec3 | None = field(
        None,
        flag="-e",
        help="Voxels to read around the box; default: as many as later operators need.",
    )
    chunk_start: Vec3 | None = field(
        None,
        flag="-s",
        help="First voxel to read. If the task has no box, its box starts here; otherwise exactly "
        "this region is read.",
    )
    chunk_size: Vec3 | None = field(
        None,
        flag="-z",
        help="Size to read; default: up to the volume's end. Without chunk_start it counts from "
        "the volume's start.",
    )
    fill_missing: bool = field(
        False, help="Read missing blocks as zeros, or as the fill value of a Zarr array."
    )
    validate_mip: int | None = field(
        None,
        help="Coarser mip level to compare with; it is an error if all voxels that were read are "
        "zero but this level has image there.",
    )
    blackout_sections: bool = field(
        False, help="Set the sections in the volume's blackout_section_ids.json to zero."
    )
    layer_type: Literal["image", "segmentation"] | None = field(
        None,
        flag="-l",
        help="What the values mean; default: as the volume says. But integers of 32 or 64 bits are "
        "ids unless image is given here.",
    )
    agglomerate: datetime | None = field(
        None,
        help="Of a graphene volume, read the objects as they were at this time, such as "
        "2026-01-31T12:00:00Z; default: its supervoxels.",
    )
    use_https: bool = field(
        False, off="--use-credential", help="Read through public https links, without credentials."
    )
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")

    _sizes = field_validator("chunk_size")(above_zero)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.volumes.open_volume import open_volume

        mip = self.mip or 0
        volume = open_volume(
            self.volume_path,
            mip,
            fill_missing=self.fill_missing,
            use_https=self.use_https,
            agglomerate=self.agglomerate,
        )
        coarse = None
        if self.validate_mip is not None:
            if self.validate_mip <= mip:
                problem = f"{self.validate_mip} is not coarser than mip {mip}"
                raise ConfigError.one(self.label, "validate_mip", problem)
            coarse = open_volume(
                self.volume_path, self.validate_mip, fill_missing=True, use_https=self.use_https
            )
        black = self._black_sections() if self.blackout_sections else []

        def step(task: Task) -> None:
            box = self._box(task, run, volume.bounds)
            chunk = read_chunk(
                volume, box, task, self.layer_type, "zeros", fill_missing=self.fill_missing
            )
            if coarse is not None:
                _check_against_coarse(chunk, coarse)
            for z in black:
                if box.start.z <= z < box.stop.z:
                    chunk.array[..., z - box.start.z, :, :] = 0
            task.values[self.output_chunk_name] = chunk

        yield step

    def _box(self, task: Task, run: Run, bounds: BoundingBox) -> BoundingBox:
        asked = self._asked(bounds)
        if task.bbox is None:
            task.bbox = asked or bounds
            asked = None
        box = asked or task.bbox
        if box.clip(bounds) is None:
            raise BoxOutsideVolume(f"box {box} is outside {self.volume_path}, which is {bounds}")
        if self.expand_margin_size is not None:
            box = box.grow(self.expand_margin_size)
        elif asked is None:
            box = run.needed_box(box, bounds)
        inside = box.clip(bounds)
        if inside is None:
            raise BoxOutsideVolume(f"box {box} is outside {self.volume_path}, which is {bounds}")
        return inside

    def _asked(self, bounds: BoundingBox) -> BoundingBox | None:
        """The box that the options give; None if they give none. Raises BoxOutsideVolume."""
        if self.chunk_start is None and self.chunk_size is None:
            return None
        start = self.chunk_start or bounds.start
        stop = start + self.chunk_size if self.chunk_size else bounds.stop
        if not (start + 1).fits_in(stop):
            raise BoxOutsideVolume(
                f"chunk_start {list(start)} is outside {self.volume_path}, which is {bounds}"
            )
        return BoundingBox(start, stop)

    def _black_sections(self) -> list[int]:
        from chunkflow_worker.storage.files import Files

        content: Any = Files(self.volume_path).get_json("blackout_section_ids.json")
        if not isinstance(content, dict) or not isinstance(content.get("section_ids"), list):
            raise ConfigError.one(
                self.volume_path,
                "blackout_section_ids.json",
                "is missing or not valid",
                'it holds {"section_ids": [z, ...]}',
            )
        return [int(z) for z in content["section_ids"]]


def read_chunk(
    volume: Volume,
    box: BoundingBox,
    task: Task,
    layer_type: LayerType | None,
    absent: str,
    *,
    fill_missing: bool,
) -> Chunk:
    """The chunk of a box of a volume; the task gets its voxel size, and counts its bytes.

    Blocks that this process read before come from its memory, unless missing ones are filled: they
    may be written any time.

    layer_type: instead of the volume's; None for that.
    absent: what --fill-missing reads missing blocks as.
    Raises the errors of `Volume.read`.
    """
    from chunkflow_worker.config.cache_size import cache_size
    from chunkflow_worker.image.chunk import Chunk
    from chunkflow_worker.volumes.block_cache import block_cache, read_cached

    try:
        if fill_missing or not cache_size():
            array = volume.read(box)
        else:
            array, reuse = read_cached(volume, box, block_cache())
            task.blocks_reused += reuse.blocks
            task.bytes_reused += reuse.bytes
    except DataMissing as error:
        cure = f"--fill-missing reads missing blocks as {absent}"
        raise DataMissing(f"{error}; {cure}") from None
    task.voxel_size = task.voxel_size or volume.voxel_size
    task.bytes_read += array.nbytes
    kind, is_image = layer_type or volume.layer_type, layer_type == "image"
    return Chunk(array, box.start, volume.voxel_size, kind, volume.bounds, is_image)


def _check_against_coarse(chunk: Chunk, coarse: Volume) -> None:
    """Raises DataMissing if a coarse voxel has image and all fine voxels in it are zero."""
    import numpy as np

    factor = Vec3.of(round(c / f) for c, f in zip(coarse.voxel_size, chunk.voxel_size, strict=True))
    box = BoundingBox((-(-chunk.bbox.start // factor)), chunk.bbox.stop // factor).clip(
        coarse.bounds
    )
    if box is None:
        return
    fine = chunk.cutout(BoundingBox(box.start * factor, box.stop * factor)).czyx
    z, y, x = box.size
    blocks = fine.reshape(fine.shape[0], z, factor.z, y, factor.y, x, factor.x)
    empty = ~blocks.any(axis=(0, 2, 4, 6))
    # Averaging can leave a trace of a bright neighbour, so only values above 1 count.
    lost = int(np.count_nonzero(empty & (coarse.read(box).reshape(-1, z, y, x).max(axis=0) > 1)))
    if lost:
        raise DataMissing(
            f"box {chunk.bbox} is zero at {lost} places where the coarser level {coarse.path} has "
            "image"
        )
