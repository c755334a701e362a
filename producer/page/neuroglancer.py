"""`BoxesInNeuroglancer`: the boxes of a look over the volumes of the chain, as one link."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from chunkflow_worker.report.scrub import scrub
from producer.look.box_layer import ShownBox, chosen
from producer.look.job_link import JobScene
from producer.page.box_states import OUTSIDE, STATES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from producer.page.snapshot import Snapshot
    from producer.plan.pipeline_file import PipelineFile


class BoxesInNeuroglancer:
    """Opens the volumes at the first link, since their contrast takes a look at voxels.

    Several threads may use it.
    """

    def __init__(self, pipeline: PipelineFile):
        self._pipeline = pipeline
        self._lock = threading.Lock()
        self._scene: JobScene | None = None

    def link(self, snapshot: Snapshot) -> str:
        """The address of a page. Raises ConfigError and StorageUnavailable."""
        with self._lock:
            self._scene = self._scene or JobScene.of(self._pipeline)
        of_job = np.flatnonzero(snapshot.states != OUTSIDE)
        names = [STATES[state] for state in snapshot.states[of_job]]
        causes = _causes(snapshot)
        grid, shown = snapshot.boxes.whole_grid(), []
        for place in chosen(names):
            box = grid[int(of_job[place])]
            shown.append(ShownBox(box, names[place], causes.get(str(box), "")))
        return self._scene.link(shown, len(names))


def _causes(snapshot: Snapshot) -> Mapping[str, str]:
    """Why boxes failed, as far as the page tells it."""
    groups = snapshot.facts.get("failures", ())
    return {box: scrub(group["cause"]) for group in groups for box in group["boxes"]}
