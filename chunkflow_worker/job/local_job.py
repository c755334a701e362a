"""`record_local_job`: records a job that no producer has enqueued, so that its status can be shown.

The boxes of a list, too, are a part of a grid: of the one in which their largest box fits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.chosen_boxes import ChosenBoxes
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import JOB_NAME

_MOST_IN_GRID = 1 << 28  # boxes, of which each takes a bit of memory


def check_job_name(job: str) -> None:
    """Raises ConfigError."""
    if not re.fullmatch(JOB_NAME, job):
        raise ConfigError.one(
            "job",
            job,
            "is not a job name",
            "use up to 80 letters, digits, dots, hyphens and underscores; "
            "start with a letter or digit",
        )


def record_local_job(ledger: Ledger, job: str, boxes: Sequence[BoundingBox], pipeline: str) -> bool:
    """Record a job without a queue. Returns False when the boxes do not lie in one grid.

    Nothing is recorded when the latest job of the ledger has all these boxes: they are then done
    again, or by several processes.
    pipeline: digest of the chain. Raises StorageUnavailable.
    """
    grid = boxes if isinstance(boxes, Boxes) else grid_around(boxes)
    if grid is None:
        return False
    if not _has_all(ledger, boxes):
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        ledger.write_job(
            JobRecord(
                job=job,
                tasks=len(grid),
                pipeline=pipeline,
                grid=grid_options(grid),
                chosen=grid.text() if isinstance(grid, ChosenBoxes) else "",
                enqueued=now,
                began=now,
            )
        )
    return True


def grid_around(boxes: Sequence[BoundingBox]) -> Boxes | None:
    """The boxes as a part of a grid; None when they do not lie in one. A repeated box counts once.

    Boxes at the end of an axis may be cut.
    """
    start = Vec3(*map(min, zip(*(box.start for box in boxes), strict=True)))
    stop = Vec3(*map(max, zip(*(box.stop for box in boxes), strict=True)))
    size = Vec3(*map(max, zip(*(box.size for box in boxes), strict=True)))
    count = -(-(stop - start) // size)
    if count.product > _MOST_IN_GRID:
        return None
    is_cut = any((stop - start) % size)
    grid = Boxes(start, size, count, stop if is_cut else None, 0, count.product)
    places = [grid.index_of(box) for box in boxes]
    inside = [place for place in places if place is not None]
    if len(inside) < len(places):
        return None
    chosen = np.zeros(count.product, bool)
    chosen[inside] = True
    return grid if chosen.all() else ChosenBoxes.of(grid, chosen)


def _has_all(ledger: Ledger, boxes: Sequence[BoundingBox]) -> bool:
    jobs = ledger.jobs()
    try:
        known = jobs[-1].boxes() if jobs else ()
    except ConfigError:  # of a later version
        return False
    return boxes == known or all(box in known for box in boxes)


def grid_options(boxes: Boxes) -> dict[str, Any]:
    """The options of a grid with these boxes, which no volume has to be read for."""
    cut = {} if boxes.stop is None else {"roi_stop": [*boxes.stop], "respect_chunk_size": False}
    return {
        "roi_start": [*boxes.start],
        "chunk_size": [*boxes.chunk_size],
        "grid_size": [*boxes.grid_size],
        "task_index_start": boxes.first,
        "task_index_stop": boxes.last,
    } | cut
