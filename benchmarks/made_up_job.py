"""`MadeUpJob`: the records and blocks of a job of any size, as its tasks would have left them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.record import Record, Written

RECORD_BYTES, BLOCK_BYTES = 1400, 1
STORED = "2026-01-01T00:00:00.000Z"
LEDGER, _KEY, _CHUNK = "log", "8_8_40", Vec3(64, 512, 512)


class MadeUpJob:
    """A job of `side`^3 boxes, each of one block of a volume at `path`; all are done.

    Names are those of objects below the path.
    """

    def __init__(self, side: int, path: str):
        self.path, self.side = path, side
        size = Vec3(side, side, side)
        grid = Grid(chunk_size=_CHUNK, grid_size=size)
        self.boxes: Boxes = grid.boxes()
        self.record = JobRecord(
            job="job", queue="q", tasks=len(self.boxes), grid=grid.model_dump(mode="json")
        )

    def names(self) -> Iterator[str]:
        """Of all records and blocks."""
        for text in self.boxes.texts():
            yield f"{LEDGER}/{text}.json"
            yield f"{_KEY}/{'_'.join(reversed(text.split('_')))}"

    def content(self, name: str) -> bytes:
        """A record; of a block, a byte stands for its content."""
        if name.startswith(_KEY):
            return b"\0"
        return self.task(name.removeprefix(f"{LEDGER}/").removesuffix(".json"))

    def others(self) -> Iterator[tuple[str, bytes]]:
        """The names and contents of the objects beside these: the volume's info, and the job."""
        bounds = [n * self.side for n in reversed(_CHUNK)]
        scale = {
            "key": _KEY,
            "size": bounds,
            "voxel_offset": [0, 0, 0],
            "resolution": [8, 8, 40],
            "chunk_sizes": [list(reversed(_CHUNK))],
            "encoding": "raw",
        }
        info = {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": [scale]}
        yield "info", json.dumps(info).encode()
        yield f"{LEDGER}/jobs/job.json", self.record.model_dump_json().encode()

    def task(self, box: str) -> bytes:
        """The record of a box, all of one size, so that a listing can tell it."""
        number = hash(BoundingBox.parse(box))
        time = "2026-01-01T00:00:00+00:00"
        written = Written(self.path, 0, box, blocks=f"{number % 2**32:08x}", stored=(time, time))
        seconds = number % 5000 / 1000
        record = Record(
            bbox=box,
            job="job",
            task_id=f"{number % 2**64:016x}",
            state="done",
            attempts=1,
            worker=f"worker-{number % 64}",
            compute_device="NVIDIA H200",
            precision="float16",
            models={"inference.convnet_weight_path": "5f" * 32},
            timer={"load-precomputed": 1 + seconds, "inference": 5.0, "save-precomputed": 0.5},
            seconds=6.5 + seconds,
            voxels=_CHUNK.product,
            bytes_read=_CHUNK.product,
            bytes_written=_CHUNK.product,
            written=[written],
            pipeline="0123456789abcdef",
            versions={"chunkflow-worker": "0.1.0", "torch": "2.9.1"},
            started=time,
            finished=time,
        )
        content = json.dumps(record.model_dump(exclude={"error", "final", "log"}), indent=1)
        assert len(content) <= RECORD_BYTES, len(content)
        return content.ljust(RECORD_BYTES).encode()

    def write(self, folder: Path) -> None:
        """Write the objects to a folder."""
        for name, content in self.others():
            _write(folder / name, content)
        (folder / _KEY).mkdir()
        stored = datetime.fromisoformat(STORED).timestamp()
        for name in self.names():
            (folder / name).write_bytes(self.content(name))
            os.utime(folder / name, (stored, stored))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
