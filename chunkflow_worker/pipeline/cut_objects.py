"""`warn_of_cut_objects`: fragments of a cutout do not meet those of the next cutout."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report.once import warn_once

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk

log = logging.getLogger(__name__)


def warn_of_cut_objects(task: Task, chunk: Chunk) -> None:
    """Warn once if a task has no box, and its chunk is a part of an image.

    Only for a task with a box are the voxels read where its fragments meet those of the next box.
    """
    if task.bbox is None and chunk.bounds is not None and not chunk.bbox.contains(chunk.bounds):
        warn_once(
            log,
            f"objects end where the cutout {chunk.bbox} ends, and their fragments do not meet "
            f"those of other cutouts: give the task a box by {operator_with('is_grid')}, or by "
            "--set-bbox of the loader if it has it",
        )
