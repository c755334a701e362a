"""`SkeletonSource`: finished skeletons of a precomputed volume, read by CloudVolume."""

from __future__ import annotations

import struct
from typing import Any

from chunkflow_worker.errors import DataMissing
from chunkflow_worker.storage.cloud import cloud_volume, storage_errors
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.mesh import check_shards, info_of_any_volume, skeleton_folder

_WITHOUT_INFO: dict[str, Any] = {
    "@type": "neuroglancer_skeletons",
    "transform": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
    "vertex_attributes": [],
}
"""What the info of a folder says where it says nothing, as the format has it."""


class SkeletonSource:
    """Reads skeletons in Neuroglancer's format, sharded or not.

    path: a volume, or a folder of skeletons.
    Raises ConfigError when a volume names no folder of skeletons or its info is wrong, and
    StorageUnavailable.
    """

    def __init__(self, path: str):
        from cloudvolume.datasource.precomputed.skeleton import PrecomputedSkeletonSource

        self.path = skeleton_folder(path)
        own = Files(self.path).get_json("info")
        own = own if isinstance(own, dict) else {}
        if own.get("sharding"):
            check_shards(own, self.path)
        around, _, name = self.path.rpartition("/")
        with storage_errors(self.path):
            opened = cloud_volume(around, info=info_of_any_volume(), cache=False)
            opened.meta.info["skeletons"] = name
            shown = {key: value for key, value in own.items() if key != "spatial_index"}
            self._source = PrecomputedSkeletonSource(
                opened.meta, opened.cache, opened.config, readonly=True, info=_WITHOUT_INFO | shown
            )

    def read(self, object_id: int) -> Any:
        """The skeleton of an object, of osteoid; positions are x, y, z in nanometres.

        Raises DataMissing when there is none or it is damaged, and StorageUnavailable.
        """
        from cloudfiles.exceptions import DecompressionError
        from cloudvolume.exceptions import EmptyFileException, SkeletonDecodeError, SpecViolation

        damage = (
            ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error,
            DecompressionError, EmptyFileException, SkeletonDecodeError, SpecViolation,
        )  # fmt: skip
        try:
            with storage_errors(self.path):
                return self._source.get(object_id)
        except damage as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataMissing(
                f"{self.path} has no whole skeleton of object {object_id}: {reason}"
            ) from error
