"""mask"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import PermanentError
from chunkflow_worker.pipeline.operator import Operator, Run, Step, split_names
from chunkflow_worker.pipeline.task import Task


class Mask(Operator):
    """Set voxels to zero where a coarser volume is zero.

    Chunk and mask are matched by voxel size, so the chunk's edges need not be aligned, and any
    ratio of voxel sizes works: a voxel takes the mask's value at its centre. Outside its volume the
    mask counts as zero.
    """

    group: ClassVar[str] = "Image"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -v file://em -c 64 512 512 \
            load-precomputed -v file://em \
            mask -v file://tissue -m 5 \
            save-precomputed -v file://masked
    """
    differs: ClassVar[str] = (
        "Chunks that are not aligned with the mask's voxels are not shifted. Missing blocks of "
        "the mask are an error."
    )
    other_volumes: ClassVar[tuple[str, ...]] = ("volume_path",)
    renamed: ClassVar[Mapping[str, str]] = {
        "--mask-mip": "--mip",
        "--input-chunk-name, --input_names": "--input-names",
        "--output-chunk-name, --output_names": "--output-names",
    }
    removed: ClassVar[Mapping[str, str]] = {
        "--check-all-zero, --skip-to": (
            "give `--mask-volume-path`, `--mask-mip` and `--mask-inverse` to `inference`, "
            "which then runs no patch where the mask is zero"
        ),
        "--maskout": "leave it out: `mask` does nothing else",
    }
    op: Literal["mask"] = "mask"
    input_names: str = field("chunk", flag="-i", help="Chunks to mask, separated by commas.")
    output_names: str | None = field(
        None,
        flag="-o",
        help="Chunks to make, separated by commas; default: the input's names.",
    )
    volume_path: str = field(flag="-v", help="Path of the mask's volume.")
    mip: int = field(5, flag="-m", ge=0, help="Mip level of the mask.")
    inverse: bool = field(False, help="Keep the voxels where the mask is zero instead.")
    fill_missing: bool = field(False, help="Read missing blocks of the mask as zeros.")

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        import numpy as np

        from chunkflow_worker.volumes.mask import CoarseMask
        from chunkflow_worker.volumes.open_volume import open_volume

        inputs, outputs = (
            split_names(self.input_names),
            split_names(self.output_names or self.input_names),
        )
        if len(inputs) != len(outputs):
            raise PermanentError(
                f"{len(inputs)} input_names and {len(outputs)} output_names: give equally many"
            )
        volume = open_volume(self.volume_path, self.mip, fill_missing=self.fill_missing)

        def step(task: Task) -> None:
            for source, target in zip(inputs, outputs, strict=True):
                chunk = task.chunk(source)
                keep = CoarseMask.read(volume, chunk.bbox, chunk.voxel_size, self.inverse).at(
                    chunk.bbox
                )
                task.values[target] = chunk.with_array(
                    np.where(keep, chunk.array, chunk.dtype.type(0))
                )

        yield step
