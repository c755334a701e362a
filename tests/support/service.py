"""A queue, volumes and worker processes for one test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import yaml

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.ledger import Ledger, Record
from chunkflow_worker.job.sqs import find_queue
from chunkflow_worker.storage.precomputed import PrecomputedVolume
from chunkflow_worker.storage.precomputed_info import create_volume
from tests.support.paths import PLUGIN_PACKAGE

BLOCK = Vec3(16, 64, 64)


# A test run in the background may have been started to ignore some signals, which workers would take over.
_RUN = """
import signal
from chunkflow_worker.cli.worker import main
from chunkflow_worker.machine.signals import STOP_SIGNALS
for number in STOP_SIGNALS:
    signal.signal(number, signal.SIG_DFL)
main()
"""


class Service:
    """Everything lies below `root`; worker processes end with `close`."""

    def __init__(self, root: Path, queue: str, environment: dict[str, str]):
        self.root, self.queue = root, queue
        path = os.pathsep.join([str(PLUGIN_PACKAGE), os.environ.get("PYTHONPATH", "")])
        self.environment = (
            os.environ | environment | {"PYTHONPATH": path, "CHUNKFLOW_POLL_SECONDS": "1"}
        )
        self.sqs = boto3.client("sqs", region_name="us-east-1")
        self.pipeline = root / "pipeline.yaml"
        self.place = f"file://{root}"
        self.workers: list[subprocess.Popen[bytes]] = []

    def volumes(self, size: Vec3, block: Vec3 = BLOCK, out_dtype: str = "uint8") -> BoundingBox:
        """Make an input of noise, and empty outputs `out` and `whole`; returns their box."""
        box = BoundingBox.sized((0, 0, 0), size)
        for name, dtype in (("in", "uint8"), ("out", out_dtype), ("whole", out_dtype)):
            create_volume(
                self.path(name), bounds=box, voxel_size=(40, 8, 8), block_size=block, dtype=dtype
            )
        noise = np.random.default_rng(1).integers(1, 255, size, np.uint8)
        PrecomputedVolume(self.path("in")).write(box, noise)
        return box

    def path(self, name: str) -> str:
        return f"{self.place}/{name}"

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.path("out/log"))

    def chain(self, *middle: dict[str, Any]) -> None:
        """Write a pipeline that loads from `in`, does what is in the middle, and saves to `out`."""
        load = {"op": "load-precomputed", "volume_path": self.path("in")}
        save = {"op": "save-precomputed", "volume_path": self.path("out")}
        self.pipeline.write_text(yaml.safe_dump({"operators": [load, *middle, save]}))

    def producer(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "producer", *arguments]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def create_queue(self, visibility: int = 5, max_receives: int = 5) -> None:
        self.producer(
            "queue",
            "create",
            self.queue,
            f"--visibility={visibility}",
            f"--max-receives={max_receives}",
        )

    def enqueue(self, job: str = "job", chunk: Vec3 = BLOCK, **options: str) -> None:
        extra = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        place = ["--volume-path", self.path("in"), "--chunk-size", *map(str, chunk)]
        self.producer(
            "enqueue",
            "--queue",
            self.queue,
            "--job",
            job,
            "--pipeline",
            str(self.pipeline),
            *place,
            *extra,
        )

    def start_worker(self, **settings: object) -> subprocess.Popen[bytes]:
        """A worker process, ready or not yet; settings as in Settings, in_flight 1 and no backoff unless told otherwise."""
        given = {"in_flight": 1, "backoff_seconds": 0} | settings
        variables = {f"CHUNKFLOW_{name.upper()}": str(value) for name, value in given.items()}
        command = [sys.executable, "-c", _RUN, "run"]
        command += ["--pipeline", str(self.pipeline), "--queue", self.queue]
        with (self.root / f"worker-{len(self.workers)}.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=self.environment | variables, stdout=log, stderr=subprocess.STDOUT
            )
        self.workers.append(process)
        return process

    def starts(self) -> list[str]:
        """Boxes started in `hold`, one entry for each start."""
        file = self.root / "starts"
        return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []

    def go(self) -> None:
        """Let all tasks in `hold` run on."""
        (self.root / "go").touch()

    def messages(self) -> tuple[int, int, int]:
        """Messages that are visible, hidden and dead."""
        queue = find_queue(self.sqs, self.queue)
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        counts = self.sqs.get_queue_attributes(QueueUrl=queue.url, AttributeNames=names)[
            "Attributes"
        ]
        dead = self.sqs.get_queue_attributes(QueueUrl=queue.dead_letter_url, AttributeNames=names)[
            "Attributes"
        ]
        return int(counts[names[0]]), int(counts[names[1]]), int(dead[names[0]])

    def records(self) -> list[Record]:
        done, failed = self.ledger.boxes()
        return [*self.ledger.records(done), *self.ledger.records(failed, failed=True)]

    def wait_done(self, count: int, seconds: float = 60, pause: float = 0.02) -> None:
        self.wait(
            lambda: len(self.ledger.boxes()[0]) >= count, f"{count} tasks done", seconds, pause
        )

    def wait(
        self, condition: Callable[[], Any], what: str, seconds: float = 30, pause: float = 0.02
    ) -> float:
        """Seconds until the condition held. pause: seconds between two looks."""
        start = time.monotonic()
        while not condition():
            if time.monotonic() - start > seconds:
                raise AssertionError(f"waited {seconds} s in vain for: {what}\n{self.logs()}")
            time.sleep(pause)
        return time.monotonic() - start

    def logs(self) -> str:
        return "\n".join(
            f"--- {p.name}\n{p.read_text()[-3000:]}" for p in sorted(self.root.glob("worker-*.log"))
        )

    def read(self, name: str) -> np.ndarray:
        volume = PrecomputedVolume(self.path(name))
        return volume.read(volume.bounds)

    def output(self) -> np.ndarray:
        return self.read("out")

    def output_where_written(self) -> np.ndarray:
        """The output, with zeros where nothing was written."""
        volume = PrecomputedVolume(self.path("out"), fill_missing=True)
        return volume.read(volume.bounds)

    def input(self) -> np.ndarray:
        return self.read("in")

    def run_in_one_box(self) -> None:
        """Run the pipeline on the whole volume by the command line, here; it writes to `whole`."""
        chain = yaml.safe_load(self.pipeline.read_text())
        chain["operators"][-1]["volume_path"] = self.path("whole")
        file = self.root / "one_box.yaml"
        file.write_text(yaml.safe_dump(chain))
        code = "from chunkflow_worker.cli.chunkflow import main; main()"
        command = [
            sys.executable,
            "-c",
            code,
            "--pipeline",
            str(file),
            "generate-tasks",
            "-v",
            self.path("in"),
        ]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        self.go()
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(10)
            if worker.poll() is None:
                worker.kill()
                worker.wait()
