"""`FlakyVolume`: a volume whose nth read or write fails."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from typing import Any

from numpy.typing import NDArray

from chunkflow_worker.errors import StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.volumes.volume import Take, Volume


class FlakyVolume:
    """A volume that passes all calls on to another one, and fails at some of them.

    reads, writes: the numbers of the calls that fail, counted from 1.
    halfway: a write that fails has written its first layer of blocks, as when a connection breaks.
    """

    def __init__(
        self,
        volume: Volume,
        reads: Collection[int] = (),
        writes: Collection[int] = (),
        halfway: bool = True,
    ):
        self._volume, self._halfway = volume, halfway
        self._failing = {"read": reads, "write": writes}
        self._lock = threading.Lock()
        self.counts = {"read": 0, "write": 0}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._volume, name)

    def read(self, bbox: BoundingBox) -> NDArray[Any]:
        if self._fails("read"):
            raise self._failure("read")
        return self._volume.read(bbox)

    def read_blocks(self, blocks: Iterable[BoundingBox], take: Take) -> None:
        if self._fails("read"):
            raise self._failure("read")
        self._volume.read_blocks(blocks, take)

    def write(self, bbox: BoundingBox, array: NDArray[Any]) -> list[str]:
        if not self._fails("write"):
            return self._volume.write(bbox, array)
        half, depth = self._volume.block_size.z, bbox.size.z
        if self._halfway and half < depth:
            upper = BoundingBox.sized(bbox.start, (half, bbox.size.y, bbox.size.x))
            self._volume.write(upper, array[..., :half, :, :])
        raise self._failure("write")

    def missing(self, bbox: BoundingBox) -> list[str]:
        return self._volume.missing(bbox)

    def _fails(self, kind: str) -> bool:
        with self._lock:
            self.counts[kind] += 1
            return self.counts[kind] in self._failing[kind]

    def _failure(self, kind: str) -> StorageUnavailable:
        place = f"{kind} {self.counts[kind]}"
        return StorageUnavailable(f"{self._volume.path}: made to fail at {place}")
