"""`job_link`, `result_link`: pages of Neuroglancer with volumes and with the boxes of a job."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.chunk import UNKNOWN_SIZE, VoxelSize
from chunkflow_worker.report.scrub import scrub
from chunkflow_worker.storage.path import normal_path
from producer.look.box_layer import ShownBox, box_layer, chosen
from producer.look.box_voxels import box_voxel_size
from producer.look.job import require_job
from producer.look.survey import places_of

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import Ledger
    from chunkflow_worker.job.volumes import Configured
    from chunkflow_worker.volumes.scene.layers import Shown
    from producer.plan.pipeline_file import PipelineFile

_MOST_READ = 200  # records of failures


def job_link(pipeline: PipelineFile, ledger: Ledger, job: str | None) -> str:
    """The address of the page. Boxes are coloured by their state in the ledger.

    Volumes that a browser can't read, or that can't be opened, are left out. Of very many boxes,
    the failed ones are shown, and as many others as fit.
    Raises ConfigError for a ledger without a job, StorageUnavailable.
    """
    record = require_job(ledger, job)
    boxes = record.boxes()
    places = places_of(ledger, boxes)
    states = []
    for box in boxes:
        has = places.of(str(box))
        states.append("done" if has.done else "failed" if has.failed else "waiting")
    kept = chosen(states)
    failed = [str(boxes[place]) for place in kept if states[place] == "failed"][:_MOST_READ]
    failures = {one.bbox: one for one in ledger.records(failed, failed=True)}
    shown = []
    for place in kept:
        box, state, words = boxes[place], states[place], ""
        if failure := failures.get(str(box)):
            state = "dead" if failure.final else "failed"
            words = scrub(failure.error)
        shown.append(ShownBox(box, state, words))
    return JobScene.of(pipeline).link(shown, len(states))


def result_link(stages: Iterable[PipelineFile]) -> str:
    """The address of a page with all that the stages of a file load and save.

    It is empty if no browser reads any of these volumes. Of several segmentations, the last one is
    seen; the page lists the others.
    """
    from chunkflow_worker.volumes.scene.page import link, page_state, smallest

    shown = _shown(operator for stage in stages for operator in stage.chain)
    earlier = [one for one in shown if one.kind == "segmentation"][:-1]
    layers = [one.layer | ({"visible": False} if one in earlier else {}) for one in shown]
    return link(page_state(layers, smallest(one.region for one in shown))) if shown else ""


def look_command(stages: Iterable[PipelineFile]) -> str:
    """The command that shows what the stages of a file keep on this machine; empty for nothing.

    Of several segmentations, it shows the last one.
    """
    from chunkflow_worker.volumes.open_volume import open_volume

    kinds: dict[str, str] = {}
    for operator in (operator for stage in stages for operator in stage.chain):
        for use in (*operator.loads(), *operator.saves()):
            if normal_path(use.path).startswith("file://"):
                with suppress(ChunkflowError):
                    kinds.setdefault(use.path, open_volume(use.path, use.mip or 0).layer_type)
    objects = [path for path, kind in kinds.items() if kind == "segmentation"]
    paths = [shlex.quote(path) for path in kinds if path not in objects[:-1]]
    return " ".join(["chunkflow look", *paths]) if paths else ""


@dataclass(frozen=True)
class JobScene:
    """The layers of what a chain loads and saves, and where the page begins.

    voxel_size: of those in which boxes are counted, in nanometres, zyx.
    """

    layers: tuple[Shown, ...]
    voxel_size: VoxelSize

    @classmethod
    def of(cls, pipeline: PipelineFile) -> JobScene:
        """Opens the volumes; leaves out those that no browser can read, or that can't be opened."""
        return cls(_shown(pipeline.chain), box_voxel_size(pipeline.chain) or UNKNOWN_SIZE)

    def link(self, boxes: Iterable[ShownBox], total: int) -> str:
        """The address of a page with boxes over the volumes. total: boxes of the job."""
        from chunkflow_worker.volumes.scene.page import link, page_state, smallest

        layers = [one.layer for one in self.layers]
        layers.append(box_layer(boxes, self.voxel_size, total))
        return link(page_state(layers, smallest(one.region for one in self.layers)))


def _shown(chain: Iterable[Configured]) -> tuple[Shown, ...]:
    """The layers of what operators load and save."""
    from chunkflow_worker.volumes.scene.source import source_of
    from chunkflow_worker.volumes.scene.volume_layer import volume_layer

    shown: dict[str, Shown] = {}
    for operator in chain:
        for use in (*operator.loads(), *operator.saves()):
            place = normal_path(use.path)
            if place in shown:
                continue
            with suppress(ChunkflowError):
                over = any(each.kind == "image" for each in shown.values())
                found = volume_layer(use.path, place.rpartition("/")[2], source_of, over=over)
                if found is not None:
                    shown[place] = found
    return (*shown.values(),)
