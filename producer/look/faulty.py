"""`fault_of`: what a record says that no task of its job can have done.

Whoever may write to the ledger may write any record. What such a record names is not opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chunkflow_worker.image.bbox import BoundingBox
from producer.look.problem import Problem

if TYPE_CHECKING:
    from chunkflow_worker.job.record import Record
    from chunkflow_worker.job.written_paths import WrittenPaths

UNREADABLE = "its record cannot be read: no JSON, too large, or of another box or version"

_MOST_VOXELS = 2**38  # more than the memory of a machine holds
_MOST_TIMES = 64  # as many voxels as the task's box has; operators may enlarge a box a little


def fault_of(record: Record, paths: WrittenPaths) -> Problem | None:
    """Why the output that a record names is not looked at; None if it may be.

    paths: that the job writes.
    """
    most = min(_MOST_VOXELS, _MOST_TIMES * BoundingBox.parse(record.bbox).voxels)
    for written in record.written:
        if why := paths.refusal(written.volume):
            # Without the pipeline, nothing says that the record is wrong.
            return Problem(record.bbox, "no-record" if paths.are_all else "not-checked", detail=why)
        if BoundingBox.parse(written.bbox).voxels > most:
            why = f"its record names a box that is too large for this task, {written.bbox}"
            return Problem(record.bbox, "no-record", detail=why)
    return None
