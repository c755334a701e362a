"""Records of a whole job, as its workers would have written them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.job.record import Record
from tests.support.records import task_record

BEGAN = datetime(2026, 3, 1, 8, tzinfo=UTC)
GRID = Grid(chunk_size=Vec3(4, 8, 8), grid_size=Vec3(2, 3, 4))
ERROR = "ValueError: no <b>membrane</b> at 12 \x1b[31mred\x1b[0m <script>alert(1)</script>"


def job_boxes() -> Boxes:
    """24 boxes."""
    return GRID.boxes()


def job_records() -> Iterator[Record]:
    """Records of 21 of the boxes: 17 done, 2 skipped, 2 failed; of 2 workers on one host.

    A worker does one task of 8 s after another, with a task of 80 s among them.
    """
    clocks = [0.0, 0.0]
    for index, box in enumerate(map(str, job_boxes())):
        worker = index % 2
        if index in (7, 8, 9):
            continue
        seconds = 80.0 if index == 12 else 8.0
        start, clocks[worker] = clocks[worker], clocks[worker] + seconds
        yield task_record(box, **_fields(index, worker, start, seconds))


def _fields(index: int, worker: int, start: float, seconds: float) -> dict[str, Any]:
    times = (BEGAN + timedelta(seconds=at) for at in (start, start + seconds))
    started, finished = (time.isoformat() for time in times)
    common = {
        "worker": f"host-gpu{worker}",
        "seconds": seconds,
        "voxels": 256,
        "started": started,
        "finished": finished,
        "pipeline": "abc",
        "versions": {"chunkflow-worker": "0.1.0"},
        "attempts": 3 if index in (3, 20, 21) else 1,
    }
    if index in (20, 21):
        return common | {"state": "failed", "error": ERROR, "final": index == 20, "log": ["a"]}
    if index in (0, 1):
        return common | {"state": "skipped", "skipped": "zero"}
    return common | {
        "compute_device": "NVIDIA L4",
        "models": {"inference.convnet_model": "9b"},
        "patches": 6,
        "patches_skipped": 2,
        "waited": 0.5,
        "bytes_read": 1000,
        "bytes_written": 300,
        "device_seconds": seconds / 2,
        "timer": {"load": seconds / 4, "inference": seconds / 2},
    }
