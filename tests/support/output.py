"""`Output`: a volume of two blocks, the record of the task that wrote it, and its input."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk, LayerType
from chunkflow_worker.job.record import Record, Written
from chunkflow_worker.operators.save_precomputed import SavePrecomputed
from chunkflow_worker.pipeline.saving import write_verified
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from chunkflow_worker.volumes.volume import checksum
from producer.look.problem import Problem
from producer.look.verify import Verifier
from producer.look.volumes import Source
from tests.support.records import task_record

BOX = BoundingBox.parse("0-4_0-8_0-16")
BLOCK = Vec3(4, 8, 8)
LEFT, RIGHT = "1_1_1/0-8_0-8_0-4", "1_1_1/8-16_0-8_0-4"
LEFT_BOX, RIGHT_BOX = "0-4_0-8_0-8", "0-4_0-8_8-16"


class Output:
    """The volumes `out` and `in` in a folder or in memory, both full of ones.

    written: what the task noted for its record.
    """

    def __init__(
        self,
        root: Path | str,
        layer_type: LayerType = "image",
        dtype: str = "float32",
        encoding: str = "raw",
    ):
        root = str(root) if "://" in str(root) else f"file://{root}"
        self.path, self.source = f"{root}/out", f"{root}/in"
        self.folder = Path(self.path.removeprefix("file://"))
        shape: dict[str, Any] = {"bounds": BOX, "voxel_size": (1, 1, 1), "block_size": BLOCK}
        create_volume(self.source, dtype="uint8", **shape)
        PrecomputedVolume(self.source).write(BOX, np.ones(BOX.size, np.uint8))
        create_volume(self.path, dtype=dtype, layer_type=layer_type, encoding=encoding, **shape)
        self.written: list[Written] = []
        self.write(1)

    def write(self, value: float, box: str = str(BOX), *, more: bool = False) -> None:
        """Write a box of one value, as a task does that runs now.

        more: in the same task as what was written before.
        """
        volume, parsed = PrecomputedVolume(self.path), BoundingBox.parse(box)
        array = np.full(parsed.size, value, volume.dtype)
        chunk = Chunk(array, parsed.start, layer_type=volume.layer_type)
        task = Task(written=self.written if more else [])
        write_verified(chunk, volume, task, SavePrecomputed(volume_path=self.path))
        self.written = task.written
        now = datetime.now(UTC)
        self.started, self.finished = now - timedelta(seconds=5), now + timedelta(seconds=5)

    def record(self, **written: Any) -> Record:
        """The record of the task; `written` replaces what it wrote first."""
        first, *others = self.written
        return task_record(
            str(BOX),
            pipeline="digest",
            started=self.started.isoformat(),
            finished=self.finished.isoformat(),
            written=[replace(first, **written), *others],
        )

    def old_record(self) -> Record:
        """The same, as versions wrote it that took one checksum of all voxels, and no times."""
        is_lossless = not self.written[0].of_bytes
        voxels = PrecomputedVolume(self.path).read(BOX)
        return self.record(
            blocks="", stored=(), of_bytes=False, crc32=checksum(voxels) if is_lossless else ""
        )

    def check(self, record: Record | None = None, **options: Any) -> list[Problem]:
        """options: of `Verifier`."""
        verifier = Verifier("digest", Source(self.source), **options)
        return verifier.check(record or self.record())

    def block(self, name: str) -> Path:
        (path,) = self.folder.glob(f"{name}*")
        return path
