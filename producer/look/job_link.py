"""`job_link`: a page of Neuroglancer with the volumes of a chain and the boxes of a job."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import ChunkflowError, ConfigError
from chunkflow_worker.image.chunk import UNKNOWN_SIZE, VoxelSize
from chunkflow_worker.storage.path import normal_path
from producer.look.job import require_job
from producer.look.survey import places_of

if TYPE_CHECKING:
    from chunkflow_worker.image.bbox import BoundingBox
    from chunkflow_worker.job.ledger import Ledger
    from producer.plan.pipeline_file import PipelineFile

MOST_BOXES = 5000
"""So many boxes fit into the address of a page."""
_COLOURS = {"waiting": "0.6, 0.6, 0.6", "done": "0.0, 0.62, 0.45", "failed": "0.84, 0.37, 0.0"}


def job_link(pipeline: PipelineFile, ledger: Ledger, job: str | None) -> str:
    """The address of the page. Boxes are coloured by their state in the ledger.

    Volumes that a browser can't read, or that can't be opened, are left out.
    Raises ConfigError for a ledger without a job, or a job of too many boxes, StorageUnavailable.
    """
    from chunkflow_worker.volumes.scene.page import link, page_state, smallest

    record = require_job(ledger, job)
    if record.tasks > MOST_BOXES:
        problem = f"has {record.tasks} boxes, and a link holds {MOST_BOXES}"
        raise ConfigError.one(
            "--link", f"job {record.job}", problem, "leave --link out to see its volumes"
        )
    boxes = record.boxes()
    places = places_of(ledger, boxes)
    states = []
    for box in boxes:
        place = places.of(str(box))
        states.append((box, "done" if place.done else "failed" if place.failed else "waiting"))
    shown, size = _volumes(pipeline)
    layers = [each.layer for each in shown] + [box_layer(states, size)]
    return link(page_state(layers, smallest(each.region for each in shown)))


def box_layer(states: Iterable[tuple[BoundingBox, str]], voxel_size: VoxelSize) -> dict[str, Any]:
    """The layer of boxes with their states: waiting, done or failed. voxel_size: nanometres."""
    from chunkflow_worker.volumes.scene.annotations import local_source

    names = list(_COLOURS)
    cases = "".join(
        f"  if (prop_state() == uint({i})) {{ setColor(vec3({colour})); }}\n"
        for i, colour in enumerate(_COLOURS.values())
    )
    labels = {"enum_values": list(range(len(names))), "enum_labels": names}
    return {
        "type": "annotation",
        "name": "boxes",
        "source": local_source(voxel_size),
        "annotationProperties": [{"id": "state", "type": "uint8", "default": 0} | labels],
        "annotations": [
            {
                "type": "axis_aligned_bounding_box",
                "id": str(box),
                "description": f"{box} {state}",
                "pointA": list(box.start[::-1]),
                "pointB": list(box.stop[::-1]),
                "props": [names.index(state)],
            }
            for box, state in states
        ],
        "shader": f"void main() {{\n{cases}}}\n",
    }


def _volumes(pipeline: PipelineFile) -> tuple[list[Any], VoxelSize]:
    """The layers of what a chain loads and saves, and the voxel size of the last volume."""
    from chunkflow_worker.volumes.open_volume import open_volume
    from chunkflow_worker.volumes.scene.source import source_of
    from chunkflow_worker.volumes.scene.volume_layer import volume_layer

    shown: dict[str, Any] = {}
    size = UNKNOWN_SIZE
    for operator in pipeline.chain:
        for use in (*operator.loads(), *operator.saves()):
            place = normal_path(use.path)
            with suppress(ChunkflowError):
                size = open_volume(use.path, use.mip or 0).voxel_size
                over = any(each.kind == "image" for each in shown.values())
                found = volume_layer(use.path, place.rpartition("/")[2], source_of, over=over)
                if found is not None and place not in shown:
                    shown[place] = found
    return list(shown.values()), size
