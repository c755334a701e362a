"""`view_link`: a page of Neuroglancer with the volumes of a chain as its layers."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from chunkflow_worker.config.facts import GRAPHENE
from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.report.scrub import scrub
from chunkflow_worker.storage.path import named_format, normal_path

if TYPE_CHECKING:
    from chunkflow_worker.image.bbox import BoundingBox
    from chunkflow_worker.image.chunk import VoxelSize
    from producer.plan.pipeline_file import PipelineFile

_PAGE = "https://neuroglancer-demo.appspot.com/#!"
_FORMATS = {"": "neuroglancer-precomputed", "zarr": "zarr2"}  # others have their driver's name


def view_link(pipeline: PipelineFile) -> str:
    """The address of a page that shows what a chain loads and saves; see `Scene`."""
    return Scene.of(pipeline).link()


@dataclass(frozen=True)
class Scene:
    """The layers of a chain in Neuroglancer.

    Volumes that a browser can't read, such as those on a local disk, are left out, and those that
    can't be opened.
    voxel_size: in nanometres, zyx, of the volume that is saved last; None without one.
    """

    layers: tuple[dict[str, Any], ...]
    voxel_size: VoxelSize | None = None

    @classmethod
    def of(cls, pipeline: PipelineFile) -> Scene:
        """Opens the volumes of the chain."""
        return _scene(pipeline)

    def link(self, box: BoundingBox | None = None) -> str:
        """The address of a page; empty without layers.

        box: in voxels of the volume that is saved last; the page opens at its centre.
        """
        if not self.layers:
            return ""
        state: dict[str, Any] = {"layers": [*self.layers]}
        if box is not None and self.voxel_size is not None:
            sizes = reversed([*self.voxel_size])
            state["dimensions"] = {n: [s * 1e-9, "m"] for n, s in zip("xyz", sizes, strict=True)}
            state["position"] = [(a + b) / 2 for a, b in zip(box.start, box.stop, strict=True)][
                ::-1
            ]
        return _PAGE + quote(json.dumps(state), safe="/:,")


def _scene(pipeline: PipelineFile) -> Scene:
    from chunkflow_worker.volumes.open_volume import open_volume

    layers: dict[str, dict[str, Any]] = {}
    voxel_size = None
    for operator in pipeline.chain:
        saves = [*operator.saves()]
        for use in (*operator.loads(), *saves):
            with suppress(ChunkflowError):
                volume = open_volume(use.path, use.mip or 0)
                voxel_size = volume.voxel_size if use in saves else voxel_size
                place = normal_path(use.path)
                if named_format(use.path) == GRAPHENE:
                    source = f"graphene://middleauth+{place}"
                else:
                    source = source_of(place, volume.driver)
                if source:
                    name = place.rpartition("/")[2]
                    layers[source] = {"name": name, "type": volume.layer_type, "source": source}
    return Scene((*layers.values(),), voxel_size)


def source_of(place: str, driver: str) -> str:
    """What Neuroglancer calls a volume; empty for one at a place that no browser reads.

    place: path of the volume in normal form. driver: of its arrays.
    """
    protocol, _, rest = place.partition("://")
    if protocol not in ("s3", "gs", "http", "https"):
        return ""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if protocol == "s3" and endpoint:
        place = f"s3+{endpoint.rstrip('/')}/{rest}"
    return (
        f"{scrub(place)}|{_FORMATS.get(driver, driver)}:"  # scrubbed, since a quoted secret hides
    )
