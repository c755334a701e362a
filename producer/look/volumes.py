"""`Volumes` opens each volume that `verify` reads once; `Source` is the image that a job read."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3

if TYPE_CHECKING:
    from chunkflow_worker.volumes.volume import CheckedVolume
    from producer.plan.pipeline_file import PipelineFile


class Volumes:
    """Opens volumes. Several threads may use it."""

    def __init__(self) -> None:
        self._opened: dict[tuple[str, int, bool, str, str], CheckedVolume] = {}
        self._lock = threading.Lock()

    def open(
        self, path: str, mip: int, fill_missing: bool = False, driver: str = "", order: str = ""
    ) -> CheckedVolume:
        """One level of a volume; driver, order: of an array of Zarr or N5.

        Raises ConfigError if there is no such volume, DataMissing if there is no such array, which
        tasks make themselves, and StorageUnavailable.
        """
        key = (path, mip, fill_missing, driver, order)
        with self._lock:
            if key not in self._opened:
                self._opened[key] = _open(*key)
            return self._opened[key]


def _open(path: str, mip: int, fill_missing: bool, driver: Any, order: Any) -> CheckedVolume:
    from chunkflow_worker.volumes.open_volume import open_volume
    from chunkflow_worker.volumes.zarr.volume import open_zarr

    if not driver:
        return open_volume(path, mip, fill_missing=fill_missing)
    found = open_zarr(path, driver=driver, order=order or None, fill_missing=fill_missing)
    if found is None:
        raise DataMissing(f"there is no array {path}")
    return found


@dataclass(frozen=True)
class Source:
    """The image that a job read. Where it is zero, the output may be zero too."""

    volume: str
    mip: int = 0

    def has_values(self, volumes: Volumes, block: BoundingBox, output: CheckedVolume) -> bool:
        """True when the image is not zero everywhere in the place of a block of the output.

        Raises BlockDamaged, StorageUnavailable, and ConfigError if the image does not exist.
        """
        image = volumes.open(self.volume, self.mip, fill_missing=True)
        ratios = [a / b for a, b in zip(output.voxel_size, image.voxel_size, strict=True)]
        start = Vec3.of(floor(n * ratio) for n, ratio in zip(block.start, ratios, strict=True))
        stop = Vec3.of(ceil(n * ratio) for n, ratio in zip(block.stop, ratios, strict=True))
        box = BoundingBox(start, stop).clip(image.bounds)
        return box is not None and bool(image.read(box).any())


def input_of(pipeline: PipelineFile | None) -> Source | None:
    """The first volume that the chain loads, or else the one that its grid is cut from.

    None without a pipeline file: the grid in the job's record may name any volume.
    """
    if pipeline is None:
        return None
    for operator in pipeline.chain:
        for volume in operator.loads():
            return Source(volume.path, volume.mip or 0)
    path, mip = pipeline.tasks.get("volume_path"), pipeline.tasks.get("mip")
    return Source(path, mip or 0) if isinstance(path, str) else None
