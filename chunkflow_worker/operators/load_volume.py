"""load-volume"""

from __future__ import annotations

from typing import ClassVar, Literal

from chunkflow_worker.config.facts import VolumeOptions
from chunkflow_worker.pipeline.volume_reader import VolumeReader


class LoadVolume(VolumeReader):
    """Read the task's box, with the margin that later operators need, from a volume of any format.

    Precomputed, OME-Zarr, other Zarr and N5 are read alike. The box is cut at the volume's bounds.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -b 0-64_0-512_0-512 \
            load-volume -v s3://lab/em.zarr -m 1 \
            save-h5 -f cutout.h5
    """
    loads: ClassVar[VolumeOptions] = {"volume_path": "mip"}
    op: Literal["load-volume"] = "load-volume"
