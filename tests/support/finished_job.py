"""`FinishedJob`: a small job that the worker's own handler has done, for tests of its output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import open_envelope
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.service.handler import Handler
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from producer.cli import main

BOUNDS = BoundingBox.parse("0-8_0-16_0-32")
BLOCK = Vec3(4, 8, 8)
CHUNK = ["-c", "8", "16", "16"]
FIRST, SECOND = "0-8_0-16_0-16", "0-8_0-16_16-32"


@dataclass
class FinishedJob:
    """A job of two boxes, each of 16 blocks of float32.

    root: path of the folder or bucket with the volumes `in` and `out`.
    take: receives and deletes all messages of the queue at a URL.
    """

    root: str
    queue: Queue
    pipeline: Path
    take: Callable[[str], list[str]]

    def __post_init__(self) -> None:
        for name, dtype in (("in", "uint8"), ("out", "float32")):
            create_volume(
                f"{self.root}/{name}",
                bounds=BOUNDS,
                voxel_size=(40, 8, 8),
                block_size=BLOCK,
                dtype=dtype,
            )
        noise = np.random.default_rng(0).integers(1, 255, BOUNDS.size, np.uint8)
        noise[:4, :8, 24:] = 0
        PrecomputedVolume(f"{self.root}/in").write(BOUNDS, noise)
        self.write_pipeline()
        assert self.enqueue() == 0
        assert self.work() == [FIRST, SECOND]

    @property
    def ledger(self) -> Ledger:
        return Ledger(f"{self.root}/out/log")

    @property
    def blocks(self) -> Path:
        """The folder with the blocks of the output."""
        return Path(self.root.removeprefix("file://"), "out", "8_8_40")

    def write_pipeline(self, *middle: dict[str, Any], save: dict[str, Any] | None = None) -> None:
        """save: the last operator; by default, it saves the volume `out`."""
        load = {"op": "load-precomputed", "volume_path": f"{self.root}/in"}
        save = save or {"op": "save-precomputed", "volume_path": f"{self.root}/out"}
        self.pipeline.write_text(yaml.safe_dump({"operators": [load, *middle, save]}))

    def enqueue(self, *options: str, job: str = "j") -> int:
        """Run `chunkflow-producer enqueue`; returns its exit status."""
        line = ["enqueue", "--queue", self.queue.name, "--job", job]
        place = ["--pipeline", str(self.pipeline), "-v", f"{self.root}/in"]
        return main([*line, *place, *CHUNK, *options])

    def work(self) -> list[str]:
        """Do all tasks in the queue; returns their boxes."""
        pipeline = Pipeline.load(self.pipeline)
        opened = [open_envelope(body, self.queue.name) for body in self.take(self.queue.url)]
        with pipeline.open(recorded=True) as chain:
            handler = Handler(chain, pipeline.digest, self.ledger, "worker", 3)
            for message, task_id in opened:
                handler.handle(Delivery(message, task_id))
        return sorted(message.bbox for message, _ in opened)
