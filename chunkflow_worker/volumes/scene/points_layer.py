"""`annotations_in`: the points or synapses of a file; `points_layer`: the layer of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.chunk import UNKNOWN_SIZE
from chunkflow_worker.image.points import Points
from chunkflow_worker.image.synapses import Synapses
from chunkflow_worker.storage.formats.table_file import read_table
from chunkflow_worker.storage.local_file import reading
from chunkflow_worker.volumes.scene.annotations import IN_A_STATE, Annotations, local_source
from chunkflow_worker.volumes.scene.layers import Shown
from chunkflow_worker.volumes.scene.page import Region

ENDINGS = (".h5", ".hdf5", ".json")
_YELLOW = "#ffff00"


def annotations_in(path: Path) -> list[Annotations]:
    """The points of a file of points or synapses that an operator wrote; synapses are also lines.

    Raises ConfigError for another file, ChunkMismatch for points that are none, and the errors of
    `reading`.
    """
    with reading(path, "points"):
        content = read_table(path)
    if "points" in content:
        return _points(content)
    if "pre" not in content:
        problem = "holds neither `points` nor `pre`, as files of points and synapses do"
        cure = "give a volume, a folder of meshes or skeletons, or such a file"
        raise ConfigError.one(str(path), "path", problem, cure)
    try:
        return _synapses(Synapses.from_mapping(content))
    except ChunkMismatch as error:
        raise ChunkMismatch(f"{path}: {error}") from None


def points_layer(
    annotations: Sequence[Annotations], name: str, serve: Callable[[Annotations], str]
) -> Shown:
    """The layer of annotations. serve: gives the source of those that are too many for a link."""
    size = annotations[0].voxel_size
    layer: dict[str, Any] = {"type": "annotation", "name": name, "annotationColor": _YELLOW}
    if sum(map(len, annotations)) <= IN_A_STATE:
        listed = [each for some in annotations for each in some.in_state()]
        layer |= {"source": local_source(size), "annotations": listed}
    else:
        layer["source"] = [serve(some) for some in annotations]
    return Shown("points", layer, _region(annotations))


def _points(content: Mapping[str, Any]) -> list[Annotations]:
    size = content.get("voxel_size")
    z, y, x = UNKNOWN_SIZE if size is None else map(float, size)
    points = Points(np.asarray(content["points"]), (z, y, x))
    return [Annotations("point", _centres(points.array), points.voxel_size)]


def _synapses(synapses: Synapses) -> list[Annotations]:
    size = synapses.voxel_size or UNKNOWN_SIZE
    pre, post = _centres(synapses.pre), _centres(synapses.post)
    lines = np.concatenate([pre[synapses.parents], post], axis=1)
    return [Annotations("point", pre, size), Annotations("line", lines, size)]


def _centres(zyx: NDArray[Any]) -> NDArray[np.float32]:
    """Centres of voxels, xyz; for the page, whole numbers are the corners of voxels."""
    centres: NDArray[np.float32] = (zyx[:, ::-1] + 0.5).astype(np.float32)
    return centres


def _region(annotations: Sequence[Annotations]) -> Region | None:
    ends = [some.places.reshape(-1, 3) for some in annotations if len(some)]
    if not ends:
        return None
    size = annotations[0].voxel_size
    zyx = np.concatenate(ends)[:, ::-1].astype(np.float64)
    return Region.around(zyx * size, size)
