"""`STORES`: the formats of volumes, each of which does all that the others do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chunkflow_worker.image.bbox import Vec3


@dataclass(frozen=True)
class Store:
    """A format of volumes.

    name: in the addresses of its volumes.
    source: of its volumes in Neuroglancer and TensorStore.
    is_sharded: the blocks are packed in shards.
    encoding: of the blocks.
    """

    name: str
    source: str
    is_sharded: bool = False
    encoding: str = "raw"

    @property
    def holds_ids_only(self) -> bool:
        return self.encoding == "compressed_segmentation"

    def address(self, path: str) -> str:
        return f"{self.name}://{path}"

    def options(self, shard_size: Vec3) -> dict[str, Any]:
        """Options of `create_volume`, with shards of that size if it has shards."""
        options: dict[str, Any] = {"encoding": self.encoding}
        return options | ({"shard_size": shard_size} if self.is_sharded else {})


STORES = {
    "precomputed": Store("precomputed", "neuroglancer-precomputed"),
    "precomputed in shards": Store("precomputed", "neuroglancer-precomputed", is_sharded=True),
    "compressed_segmentation": Store(
        "precomputed", "neuroglancer-precomputed", encoding="compressed_segmentation"
    ),
    "OME-Zarr 0.4": Store("zarr2", "zarr2"),
    "OME-Zarr 0.5": Store("zarr3", "zarr3"),
    "OME-Zarr 0.5 in shards": Store("zarr3", "zarr3", is_sharded=True),
    "N5": Store("n5", "n5"),
}
