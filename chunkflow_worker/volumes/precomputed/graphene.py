"""Volumes of graphene: segmentations that people proofread, from a server of PyChunkedGraph.

The server tells where the supervoxels are, which is a precomputed volume, and which of them are one
object at a time. Both are read by CloudVolume, with the token of the server that it finds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.storage.cloud import cloud_volume, storage_errors
from chunkflow_worker.volumes.precomputed.info import scale_of
from chunkflow_worker.volumes.precomputed.reading import parse_info
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from chunkflow_worker.volumes.volume import Take

_STORED_AT = ("gs://", "s3://", "https://", "http://")


class AgglomeratedVolume(PrecomputedVolume):
    """The objects at a time. graph: a CloudVolume of the server."""

    def __init__(self, graph: Any, time: datetime, path: str, *args: Any, **options: Any):
        super().__init__(path, *args, **options)
        self._graph, self._time = graph, time

    def read(self, bbox: BoundingBox) -> NDArray[Any]:
        """The ids of objects; see `Volume`."""
        return self._objects(super().read(bbox))

    def read_blocks(self, blocks: Iterable[BoundingBox], take: Take) -> None:
        """The ids of objects; see `Volume`. The server is asked once for all blocks."""
        parts: dict[BoundingBox, NDArray[Any]] = {}
        super().read_blocks(blocks, parts.__setitem__)
        if not parts:
            return
        objects = self._objects(np.concatenate([voxels.ravel() for voxels in parts.values()]))
        ends = np.cumsum([voxels.size for voxels in parts.values()])
        for (block, voxels), ids in zip(parts.items(), np.split(objects, ends[:-1]), strict=True):
            take(block, ids.reshape(voxels.shape).copy())

    def _objects(self, supervoxels: NDArray[Any]) -> NDArray[Any]:
        with _errors(self.path):
            objects: NDArray[Any] = self._graph.agglomerate_cutout(
                supervoxels, timestamp=int(self._time.timestamp()), in_place=True
            )
        return objects


def open_graphene(
    server: str, mip: int, fill_missing: bool, use_https: bool, time: datetime | None
) -> PrecomputedVolume:
    """A level of the supervoxels, or of the objects at a time, which is UTC unless it says.

    server: the address of a table. Raises as `open_volume` does.
    """
    graph = _graph(server)
    stored = _info(graph, server)
    path, info = stored["data_dir"], scale_of(stored, server, mip)[0]
    options: dict[str, Any] = {"fill_missing": fill_missing, "use_https": use_https, "info": info}
    if time is None:
        return PrecomputedVolume(path, mip, **options)
    utc = time if time.tzinfo else time.replace(tzinfo=UTC)
    return AgglomeratedVolume(graph, utc, path, mip, **options)


def graphene_info(server: str) -> dict[str, Any]:
    """The info of the supervoxels, as `find_info` returns it. Raises as `open_volume` does."""
    return _info(_graph(server), server)


def _info(graph: Any, server: str) -> dict[str, Any]:
    info = parse_info(json.dumps(graph.meta.info).encode(), f"{server}/info")
    path = info.get("data_dir")
    if not isinstance(path, str) or not path.startswith(_STORED_AT):
        problem = f"{path!r} is no place that a server may name"
        legal = f"legal: {', '.join(_STORED_AT)}"
        raise ConfigError.one(f"{server}/info", "data_dir", problem, legal)
    return info


def _graph(server: str) -> Any:
    with _errors(server):
        return cloud_volume(f"graphene://{server}")


@contextmanager
def _errors(server: str) -> Iterator[None]:
    """Translate the errors of CloudVolume, and those of requests."""
    from cloudvolume import exceptions

    try:
        with storage_errors(server):
            yield
    except exceptions.AuthenticationError as error:
        cure = (
            'get one from the server, and save it as {"token": "..."} in '
            "~/.cloudvolume/secrets/cave-secret.json"
        )
        raise ConfigError.one(server, "token", str(error).partition(". ")[0], cure) from None
    except exceptions.UnsupportedFormatError:
        cure = "for example graphene://https://server/segmentation/table/name"
        raise ConfigError.one(server, "path", "names no table of a server", cure) from None
