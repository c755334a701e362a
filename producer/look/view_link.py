"""`view_link`: a page of Neuroglancer with the volumes of a chain as its layers."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from chunkflow_worker.config.facts import GRAPHENE
from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.storage.path import named_format, normal_path

if TYPE_CHECKING:
    from producer.plan.pipeline_file import PipelineFile


def view_link(pipeline: PipelineFile) -> str:
    """The address of a page that shows what a chain loads and saves.

    Volumes that a browser can't read, such as those on a local disk, are left out, and those that
    can't be opened. Empty if none is left.
    """
    from chunkflow_worker.volumes.open_volume import open_volume
    from chunkflow_worker.volumes.scene.page import link
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
    if not layers:
        return ""
    return link({"layers": [*layers.values()]})
