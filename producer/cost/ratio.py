"""`Ratio`: how many bytes a voxel takes in storage, by a sample of blocks or by an assumption."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.storage.files import ENDINGS, Files
from chunkflow_worker.storage.gzipped import gzipped
from chunkflow_worker.storage.path import local_folder
from chunkflow_worker.volumes.volume import CheckedVolume

SAMPLE = 256  # blocks of a volume that are looked at
_ASSUMED = 0.6  # gzip of images and probability maps


@dataclass(frozen=True)
class Ratio:
    """stored: bytes in storage for each byte of voxels. source: where that is from, for people."""

    stored: float
    source: str


def sampled(volume: CheckedVolume, blocks: Iterable[BoundingBox]) -> Ratio | None:
    """The ratio of blocks of a volume, of which absent ones take no bytes; None if all are absent.

    Raises StorageUnavailable.
    """
    voxels = {volume.block_name(block): block.voxels for block in islice(blocks, SAMPLE)}
    endings = ENDINGS.values() if local_folder(volume.path) else [""]
    names = [f"{name}{ending}" for name in voxels for ending in endings]
    sizes = [stored.size for stored in Files(volume.path).stored(names).values() if stored]
    if not sizes:
        return None
    plain = sum(voxels.values()) * volume.dtype.itemsize * volume.channels
    return Ratio(sum(sizes) / plain, f"{len(voxels)} blocks of {volume.path} were looked at")


def measured(volume: CheckedVolume, blocks: Iterable[BoundingBox], *, gzip: bool) -> Ratio | None:
    """The ratio of blocks that a sample task wrote to this machine; None if there are none.

    gzip: compress them as workers do in an object store.
    """
    folder, size, voxels, count = local_folder(volume.path), 0, 0, 0
    for block in islice(blocks, SAMPLE):
        for ending in ENDINGS.values():
            file = Path(f"{folder}/{volume.block_name(block)}{ending}")
            if file.is_file():
                content = file.read_bytes()
                size += len(gzipped(content) if gzip and not ending else content)
                voxels, count = voxels + block.voxels, count + 1
    if not voxels:
        return None
    plain = voxels * volume.dtype.itemsize * volume.channels
    return Ratio(size / plain, f"{count} blocks of {volume.path} were looked at")


def gains_gzip(path: str, mip: int) -> bool:
    """Whether workers compress blocks of a volume that they would not compress on a local disk."""
    from chunkflow_worker.volumes.open_volume import find_info_at
    from chunkflow_worker.volumes.precomputed.compression import Compression

    info = None if local_folder(path) else find_info_at(path)
    if info is None:
        return False
    scale = info["scales"][min(mip, len(info["scales"]) - 1)]
    return Compression().chosen(path, scale["encoding"]) == "gzip" and "sharding" not in scale


def assumed(volume: CheckedVolume) -> Ratio:
    """What is taken where nothing is known of a volume."""
    if not volume.driver and local_folder(volume.path) is not None:
        return Ratio(1.0, "assumed: not compressed on a local disk")
    return Ratio(_ASSUMED, f"assumed: {_ASSUMED} bytes are stored for each byte of voxels")
