"""`view_link`: a page of Neuroglancer with the volumes of a chain as its layers."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chunkflow_worker.config.facts import GRAPHENE
from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.storage.path import named_format, normal_path
from producer.look.box_voxels import box_voxel_size

if TYPE_CHECKING:
    from chunkflow_worker.image.bbox import BoundingBox
    from chunkflow_worker.image.chunk import VoxelSize
    from producer.plan.pipeline_file import PipelineFile


def view_link(pipeline: PipelineFile) -> str:
    """The address of a page that shows what a chain loads and saves; see `Scene`."""
    return Scene.of(pipeline).link()


@dataclass(frozen=True)
class Scene:
    """The layers of a chain in Neuroglancer.

    Volumes that a browser can't read, such as those on a local disk, are left out, and those that
    can't be opened.
    voxel_size: of those in which boxes are counted, in nanometres, zyx; None if it is not known.
    """

    layers: tuple[dict[str, Any], ...]
    voxel_size: VoxelSize | None = None

    @classmethod
    def of(cls, pipeline: PipelineFile) -> Scene:
        """Opens the volumes of the chain."""
        return _scene(pipeline)

    def link(self, box: BoundingBox | None = None) -> str:
        """The address of a page; empty without layers.

        box: of the chain; the page opens at its centre.
        """
        from chunkflow_worker.volumes.scene.page import dimensions, link

        if not self.layers:
            return ""
        state: dict[str, Any] = {"layers": [*self.layers]}
        if box is not None and self.voxel_size is not None:
            state["dimensions"] = dimensions(self.voxel_size)
            edges = zip(box.start[::-1], box.stop[::-1], strict=True)
            state["position"] = [(start + stop) / 2 for start, stop in edges]
        return link(state)


def _scene(pipeline: PipelineFile) -> Scene:
    from chunkflow_worker.volumes.open_volume import open_volume
    from chunkflow_worker.volumes.scene.source import source_of

    layers: dict[str, dict[str, Any]] = {}
    for operator in pipeline.chain:
        for use in (*operator.loads(), *operator.saves()):
            with suppress(ChunkflowError):
                volume = open_volume(use.path, use.mip or 0)
                place = normal_path(use.path)
                if named_format(use.path) == GRAPHENE:
                    source = f"graphene://middleauth+{place}"
                else:
                    source = source_of(place, volume.driver)
                if source:
                    name = place.rpartition("/")[2]
                    layers[source] = {"name": name, "type": volume.layer_type, "source": source}
    return Scene((*layers.values(),), box_voxel_size(pipeline.chain))
