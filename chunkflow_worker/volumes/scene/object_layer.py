"""`object_layer`: the layer of a folder of meshes or skeletons."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, Literal

import numpy as np

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.path import normal_path
from chunkflow_worker.volumes.mesh import MULTIRES, MeshSource
from chunkflow_worker.volumes.scene.layers import Shown, SourceOf, segmentation_layer
from chunkflow_worker.volumes.scene.page import Region
from chunkflow_worker.volumes.skeletons import SkeletonSource

Objects = Literal["mesh", "skeleton"]

_TYPES = {
    MULTIRES: "mesh",
    "neuroglancer_legacy_mesh": "mesh",
    "neuroglancer_skeletons": "skeleton",
}
"""What the info of a folder says, and what the folder holds."""
_OBJECT = {
    "mesh": re.compile(r"(\d+)(?::0|\.index)(?:\.gz)?", re.ASCII),
    "skeleton": re.compile(r"(\d+)(?:\.gz)?", re.ASCII),
}
_LISTED = 10_000  # names, of which the objects are taken
_CHOSEN = 100
_MEASURED = 5  # objects that are read to know where they lie


def objects_in(path: str) -> Objects | None:
    """What a folder holds, as its info or the names in it tell. Raises StorageUnavailable."""
    files = Files(path)
    info = files.get_json("info")
    kind = _TYPES.get(str(info.get("@type"))) if isinstance(info, dict) else None
    if kind is None and info is None and next(_objects(files, "mesh"), None) is not None:
        kind = "mesh"  # of the oldest format, whose folders need no info
    return kind  # type: ignore[return-value]


def object_layer(path: str, name: str, source_of: SourceOf, kind: Objects) -> Shown | None:
    """The layer of a folder of meshes or skeletons; None if no browser reads it.

    The first objects are drawn; those in shards have no names, and users choose them on the page.
    Raises ConfigError and StorageUnavailable.
    """
    files = Files(path)
    source: Any = source_of(normal_path(path), "")
    if not source:
        return None
    if files.get("info") is None:
        source = f"{source}#type={'mesh' if kind == 'mesh' else 'skeletons'}"
    chosen = list(islice(_objects(files, kind), _CHOSEN))
    layer = segmentation_layer(name, source, chosen)
    return Shown(kind, layer, _region(path, kind, chosen))


def _objects(files: Files, kind: Objects) -> Iterator[int]:
    """The ids of the objects among the first names of a folder."""
    seen = set[int]()
    for name in islice(files.names(), _LISTED):
        found = _OBJECT[kind].fullmatch(name)
        if found and int(found[1]) not in seen:
            seen.add(int(found[1]))
            yield int(found[1])


def _region(path: str, kind: Objects, chosen: list[int]) -> Region | None:
    """Where the first objects lie."""
    corners = []
    with suppress(ChunkflowError):
        source = MeshSource(path) if kind == "mesh" else SkeletonSource(path)
        for number in chosen[:_MEASURED]:
            vertices = np.asarray(source.read(number).vertices, np.float64)
            corners += [vertices.min(axis=0)[::-1], vertices.max(axis=0)[::-1]]
    return Region.around(corners) if corners else None
