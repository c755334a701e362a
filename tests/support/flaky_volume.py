"""`FlakyVolume`: a volume whose nth read or write fails."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any

from numpy.typing import NDArray

from chunkflow_worker.errors import StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.storage.volume import Volume


class FlakyVolume:
    """Like the volume that it wraps, but for the reads and writes whose numbers are given, counted from 1.

    halfway: a write that fails has written its first layer of blocks already, as when a connection breaks.
    """

    def __init__(
        self,
        volume: Volume,
        reads: Collection[int] = (),
        writes: Collection[int] = (),
        halfway: bool = True,
    ):
        self._volume, self._failing, self._halfway = (
            volume,
            {"read": reads, "write": writes},
            halfway,
        )
        self._lock = threading.Lock()
        self.counts = {"read": 0, "write": 0}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._volume, name)

    def read(self, bbox: BoundingBox) -> NDArray[Any]:
        if self._fails("read"):
            raise StorageUnavailable(
                f"{self._volume.path}: made to fail at read {self.counts['read']}"
            )
        return self._volume.read(bbox)

    def write(self, bbox: BoundingBox, array: NDArray[Any]) -> None:
        if not self._fails("write"):
            self._volume.write(bbox, array)
            return
        half, depth = self._volume.block_size.z, bbox.size.z
        if self._halfway and half < depth:
            upper = BoundingBox.sized(bbox.start, (half, bbox.size.y, bbox.size.x))
            self._volume.write(upper, array[..., :half, :, :])
        raise StorageUnavailable(
            f"{self._volume.path}: made to fail at write {self.counts['write']}"
        )

    def missing(self, bbox: BoundingBox) -> list[str]:
        return self._volume.missing(bbox)

    def _fails(self, kind: str) -> bool:
        with self._lock:
            self.counts[kind] += 1
            return self.counts[kind] in self._failing[kind]
