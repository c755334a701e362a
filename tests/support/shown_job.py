"""`ShownJob`: a job with boxes in every state, without workers, for the page of a job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.heartbeat import GpuUse, Heartbeat, Heartbeats, InHandBox
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import TaskMessage, encode
from chunkflow_worker.job.sqs import Queue, find_queue
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from producer.page.job_watch import Target
from producer.plan.job import make_plan
from producer.plan.pipeline_file import PipelineFile
from producer.send.queue import create_queue
from tests.support.records import task_record

SIZE = Vec3(16, 64, 64)  # of a box
HTML = "<img src=x onerror=\"document.title='hacked'\"> \x1b[31mred\x1b[0m & <b>bold</b>"
"""An error as a stranger could write it."""

_ERRORS = (
    "operator 3 inference, box {box}: CUDA out of memory. Tried to allocate 11.25 GiB. GPU 0 has a "
    "total capacity of 22.06 GiB of which 9.4 GiB is free",
    "operator 1 load-precomputed, box {box}: s3://lab/em/8_8_40: 503 Slow Down after 5 attempts",
    f"operator 4 plugin, box {{box}}: {HTML}",
)
_RARE = ("dead", "failed", "dead", "slow")


class ShownJob:
    """A job of `counts` boxes below a folder, most of which are done.

    boxes: all of them, in order. states: the boxes by the state in which the map shows them.
    """

    def __init__(self, folder: Path, counts: Vec3 = Vec3(6, 10, 12), job: str = "membranes-v3"):
        self.folder, self.job, self.counts = folder, job, counts
        self._chance = np.random.default_rng(7)
        self.client = StubSqs()
        create_queue(self.client, "em")
        self.queue: Queue = find_queue(self.client, "em")
        self.bounds = BoundingBox(Vec3(0, 0, 0), counts * SIZE)
        self.pipeline = folder / "pipeline.yaml"
        load = {"op": "load-precomputed", "volume_path": f"{folder}/em"}
        save = {"op": "save-precomputed", "volume_path": f"{folder}/membranes"}
        self.pipeline.write_text(yaml.safe_dump({"operators": [load, {"op": "inference"}, save]}))
        self.ledger = Ledger(f"{folder}/membranes/log")
        grid = Grid(chunk_size=SIZE, roi_size=self.bounds.size)
        plan = make_plan("em", job, grid, PipelineFile.load(self.pipeline))
        self.ledger.write_job(plan.record)
        fleet = {"machine": "g6.xlarge", "market": "spot", "machine_hours": 8.0, "dollars": 2.8}
        planned: dict[str, Any] = {"boxes": {"to_do": len(plan.boxes)}, "times": {"seconds": 40.0}}
        planned["options"] = [{"fleets": [fleet]}]
        self.ledger.files.put_json(f"plans/{job}.json", planned)
        self.boxes = [str(box) for box in plan.boxes]
        self.states: dict[str, list[str]] = {}
        self._write(counts)

    @property
    def target(self) -> Target:
        place = str(self.ledger.path)
        return Target(self.ledger, self.job, self.client, self.queue, self.pipeline, place)

    def state(self, name: str) -> list[str]:
        return self.states.setdefault(name, [])

    def write_volumes(self) -> None:
        """An input that looks like cells, and an output that looks like their membranes."""
        z, y, x = np.indices(self.bounds.size, np.float32, sparse=True)
        waves = (
            np.sin(x / 17 + np.sin(y / 23) * 2 + z / 9)
            + np.sin(y / 13 + np.cos(x / 29) * 2)
            + np.sin((x + y) / 21 - z / 7)
        )
        edges = np.exp(-((waves / 0.16) ** 2))
        noise = self._chance.normal(0, 12, self.bounds.size)
        image = np.clip(170 - 110 * edges + noise + 8 * np.sin(waves * 9), 0, 255)
        for name, voxels in (("em", image), ("membranes", edges * 255)):
            path = f"{self.folder}/{name}"
            create_volume(
                path, bounds=self.bounds, voxel_size=(40, 8, 8), block_size=SIZE, dtype="uint8"
            )
            PrecomputedVolume(path).write(self.bounds, voxels.astype(np.uint8))

    def _write(self, counts: Vec3) -> None:
        now, total = datetime.now(UTC), len(self.boxes)
        frontier = int(total * 0.62)
        for place, name in enumerate(self.boxes):
            _, y, x = np.unravel_index(place, counts)
            ago = timedelta(seconds=14.0 * max(1, frontier - place))
            if place >= frontier + int(self._chance.integers(-4, 5)):
                kind = "running" if place < frontier + 10 else "waiting"
            elif place % 11 == place // 11 * 4 % 11:
                kind = _RARE[place // 11 % len(_RARE)]
            elif (y - counts.y / 2) ** 2 + (x - counts.x / 2) ** 2 > (counts.x / 1.9) ** 2:
                kind = "skipped"
            else:
                kind = "done"
            self.state(kind).append(name)
            self._record(kind, name, now - ago)
        self._write_workers(now)

    def _record(self, kind: str, name: str, finished: datetime) -> None:
        seconds = float(self._chance.gamma(40, 1.1)) * (5 if kind == "slow" else 1)
        timer = {"load-precomputed": 0.2 * seconds, "inference": 0.68 * seconds}
        facts: dict[str, Any] = {
            "job": self.job,
            "started": (finished - timedelta(seconds=seconds)).isoformat(timespec="seconds"),
            "finished": finished.isoformat(timespec="seconds"),
            "worker": f"gpu-{self._chance.integers(1, 6)}",
            "compute_device": "NVIDIA L4",
        }
        if kind in ("done", "slow"):
            facts |= {"seconds": seconds, "voxels": SIZE.product, "memory_peak": 3 << 30}
            facts |= {"timer": timer | {"save-precomputed": 0.12 * seconds}, "patches": 9}
            facts |= {"device_seconds": 0.66 * seconds}
            facts |= {"attempts": 1 + (kind == "slow"), "bytes_read": 900_000}
            self.ledger.write(task_record(name, **facts, bytes_written=400_000))
        elif kind == "skipped":
            self.ledger.write(task_record(name, "skipped", skipped="the mask is empty", **facts))
        elif kind in ("failed", "dead"):
            error = _ERRORS[int(self._chance.integers(len(_ERRORS)))]
            facts |= {"error": error.format(box=name), "final": kind == "dead", "attempts": 3}
            log = [f"INFO box {name}: attempt 3 of 3", "WARNING device memory: 12.6 of 22.1 GiB"]
            self.ledger.write(task_record(name, "failed", log=log, **facts))
            if kind == "dead":
                body = encode(TaskMessage(job=self.job, bbox=name), "em")
                self.client.send_message(QueueUrl=self.queue.dead_letter_url, MessageBody=body)

    def _write_workers(self, now: datetime) -> None:
        beats = Heartbeats(self.ledger.path)
        hands = [self.state("running")[n::5] for n in range(5)]
        for number, names in enumerate(hands, 1):
            in_hand = [
                InHandBox(
                    job=self.job,
                    bbox=name,
                    seconds=7.0 * number + n,
                    operator="inference" if n == 0 else "load-precomputed",
                    operator_seconds=3.0,
                    lease=240.0 - 9 * number,
                )
                for n, name in enumerate(names)
            ]
            beat = Heartbeat(
                worker=f"gpu-{number}",
                host=f"ip-10-0-1-{number}",
                zone="us-east-1a",
                device="NVIDIA L4",
                in_hand=tuple(in_hand),
                done=70 + number,
                failed=number % 3,
                memory=(5 << 30) + (number << 28),
                gpu=GpuUse(
                    name="NVIDIA L4", memory=12 << 30, memory_total=22 << 30, utilization=0.9
                ),
                started=now - timedelta(hours=2),
                at=now,
            )
            beats.write(beat)
