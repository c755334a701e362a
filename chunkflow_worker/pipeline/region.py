"""`region_of`: the region of a labelling that a task joins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.pipeline.task import SkipTask, Task

if TYPE_CHECKING:
    from chunkflow_worker.labels.folder import Folder


def region_of(task: Task, folder: Folder, label: str, what: str) -> BoundingBox:
    """The box of a task, which is a region of the tree over the boxes of a labelling.

    label: of the operator. what: the tasks that it takes, for errors.
    Raises ConfigError for a task without a box and for other boxes; SkipTask for a box of the grid,
    which a region above it joins; DataMissing and StorageUnavailable.
    """
    if task.bbox is None:
        raise ConfigError.one(label, "tasks", "have no boxes", f"give it the {what}")
    layout = folder.layout()
    try:
        children = layout.children(task.bbox)
    except ValueError as error:
        size, start = list(layout.boxes.chunk_size), list(layout.boxes.start)
        cure = f"give it the {what}: 2, 4, 8 ... times {size} from {start}, cut at the end"
        raise ConfigError.one(label, "tasks", str(error), cure) from None
    if not children:
        raise SkipTask("it is a single box, which a larger region joins")
    return task.bbox
