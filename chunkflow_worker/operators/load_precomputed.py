"""load-precomputed"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from chunkflow_worker.config.facts import VolumeOptions
from chunkflow_worker.pipeline.volume_reader import VolumeReader


class LoadPrecomputed(VolumeReader):
    """Read the task's box, with the margin that later operators need, from a volume.

    The same as load-volume, by its name in chunkflow.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -b 0-64_0-512_0-512 \
            load-precomputed -v s3://lab/em -m 1 \
            save-h5 -f cutout.h5
    """
    differs: ClassVar[str] = (
        "Missing blocks are an error, not zeros. A box that reaches out of the volume is cut at "
        "its border; chunkflow filled the rest with zeros."
    )
    loads: ClassVar[VolumeOptions] = {"volume_path": "mip"}
    same_as: ClassVar[str] = "load-volume"
    formerly: ClassVar[tuple[str, ...]] = ("cutout", "read-precomputed")
    renamed: ClassVar[Mapping[str, str]] = {
        "--start": "--chunk-start",
        "--chunk-name": "--output-chunk-name",
    }
    removed: ClassVar[Mapping[str, str]] = {
        "-p, --stop, --chunk-stop": "give `--chunk-size`, which is the stop minus the start",
        "-d, --expand-direction": (
            "leave it out: later operators say how many voxels they need on each side"
        ),
    }
    op: Literal["load-precomputed"] = "load-precomputed"
