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

from chunkflow_worker.cli import chunkflow
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.record import Record
from chunkflow_worker.job.sqs import Queue, find_queue
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from producer.cli import main as run_producer
from tests.support.forked import AnyWorker, ForkedWorker
from tests.support.paths import PLUGIN_PACKAGE
from tests.support.run_command import run_command

BLOCK = Vec3(16, 64, 64)
_WORKER = "from chunkflow_worker.cli.worker import main; main()"


class Service:
    """Everything lies below `root`; worker processes end with `close`.

    place: that of the volumes. elsewhere: the places of volumes that are not there, by their names.
    """

    def __init__(self, root: Path, queue: str, environment: dict[str, str]):
        self.root, self.queue = root, queue
        path = os.pathsep.join([str(PLUGIN_PACKAGE), os.environ.get("PYTHONPATH", "")])
        self.environment = (
            os.environ | environment | {"PYTHONPATH": path, "CHUNKFLOW_POLL_SECONDS": "1"}
        )
        endpoint = environment.get("AWS_ENDPOINT_URL_SQS")
        self.sqs = boto3.client("sqs", region_name="us-east-1", endpoint_url=endpoint)
        self.pipeline = root / "pipeline.yaml"
        self.place = f"file://{root}"
        self.elsewhere: dict[str, str] = {}
        self.workers: list[AnyWorker] = []
        self._queues: dict[str, Queue] = {}

    def volumes(
        self,
        size: Vec3,
        block: Vec3 = BLOCK,
        out_dtype: str = "uint8",
        out_format: str = "precomputed",
        shard_size: Vec3 | None = None,
    ) -> BoundingBox:
        """Make an input of noise, and empty outputs `out` and `whole`; returns their box.

        shard_size: of the outputs.
        """
        box = BoundingBox.sized((0, 0, 0), size)
        shape: dict[str, Any] = {"bounds": box, "voxel_size": (40, 8, 8), "block_size": block}
        create_volume(self.path("in"), **shape, dtype="uint8")
        for name in ("out", "whole"):
            address = f"{out_format}://{self.path(name)}"
            create_volume(address, **shape, dtype=out_dtype, shard_size=shard_size)
        noise = np.random.default_rng(1).integers(1, 255, size, np.uint8)
        PrecomputedVolume(self.path("in")).write(box, noise)
        return box

    def path(self, name: str) -> str:
        return f"{self.elsewhere.get(name, self.place)}/{name}"

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.path("out/log"))

    def chain(self, *middle: dict[str, Any]) -> None:
        """Write a pipeline that loads from `in`, does what is in the middle, and saves to `out`."""
        load = {"op": "load-precomputed", "volume_path": self.path("in")}
        save = {"op": "save-precomputed", "volume_path": self.path("out")}
        self.pipeline.write_text(yaml.safe_dump({"operators": [load, *middle, save]}))

    def producer(self, *arguments: str) -> str:
        """Run `chunkflow-producer` in this process; returns what it printed."""
        return self._run(run_producer, *arguments)

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

    def start_worker(self, **settings: object) -> AnyWorker:
        """Start a worker process, and do not wait until it is ready.

        settings: as in Settings; in_flight is 1 and there is no backoff unless given.
        """
        log = self._next_log()
        self.workers.append(ForkedWorker(self._worker_environment(settings), log))
        return self.workers[-1]

    def start_command(self, *command: str, **settings: object) -> subprocess.Popen[bytes]:
        """Start a worker by a command of its own, `chunkflow-worker run` when none is given.

        It starts slowly: for tests of the command, of its exit status, or of what it starts.
        """
        words = command or (sys.executable, "-c", _WORKER, "run")
        with self._next_log().open("wb") as log:
            environment = self._worker_environment(settings)
            process = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
        self.workers.append(process)
        return process

    def _worker_environment(self, settings: dict[str, object]) -> dict[str, str]:
        places = {"pipeline": self.pipeline, "queue": self.queue}
        given = {"in_flight": 1, "backoff_seconds": 0} | places | settings
        return self.environment | {
            f"CHUNKFLOW_{name.upper()}": str(value) for name, value in given.items()
        }

    def _next_log(self) -> Path:
        return self.root / f"worker-{len(self.workers)}.log"

    def starts(self) -> list[str]:
        """Boxes started in `hold`, one entry for each start."""
        file = self.root / "starts"
        return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []

    def go(self) -> None:
        """Let all tasks in `hold` run on."""
        (self.root / "go").touch()

    def messages(self) -> tuple[int, int, int]:
        """Messages that are visible, hidden and dead."""
        visible, hidden = self._counts(self._found_queue.url)
        dead, _ = self._counts(self._found_queue.dead_letter_url)
        return visible, hidden, dead

    @property
    def _found_queue(self) -> Queue:
        if self.queue not in self._queues:
            self._queues[self.queue] = find_queue(self.sqs, self.queue)
        return self._queues[self.queue]

    def _counts(self, url: str) -> tuple[int, int]:
        """Messages of a queue that are visible, and that are hidden or delayed."""
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
        visible, hidden, delayed = (int(answer["Attributes"][name]) for name in names)
        return visible, hidden + delayed

    def records(self) -> list[Record]:
        done, failed = self.ledger.boxes()
        return [*self.ledger.records(done), *self.ledger.records(failed, failed=True)]

    def wait_done(self, count: int, seconds: float = 60, pause: float = 0.2) -> None:
        """Wait until so many tasks are recorded done."""
        done = self.ledger.boxes
        self.wait(lambda: len(done()[0]) >= count, f"{count} tasks done", seconds, pause)

    def wait(
        self, condition: Callable[[], Any], what: str, seconds: float = 60, pause: float = 0.2
    ) -> float:
        """Wait until the condition holds; returns the seconds that it took.

        seconds: after which the test fails. pause: seconds between two looks, each of which
        costs the local AWS some time.
        """
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

    def lines(self) -> list[str]:
        """All lines of the workers' logs."""
        logs = sorted(self.root.glob("worker-*.log"))
        return [line for log in logs for line in log.read_text().splitlines()]

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

    def run_in_one_box(self, *options: str) -> None:
        """Run the pipeline on the whole volume by `chunkflow`, in this process.

        It writes to `whole`. The operator `hold`, which only takes time, is left out.
        options: of `generate-tasks`.
        """
        chain = yaml.safe_load(self.pipeline.read_text())
        chain["operators"] = [step for step in chain["operators"] if step["op"] != "hold"]
        chain["operators"][-1]["volume_path"] = self.path("whole")
        file = self.root / "one_box.yaml"
        file.write_text(yaml.safe_dump(chain))
        tasks = ("generate-tasks", "-v", self.path("in"), *options)
        self._run(chunkflow.main, "--pipeline", str(file), *tasks)

    def _run(self, main: Callable[[], object], *arguments: str) -> str:
        done = run_command(main, *arguments, environment=self.environment)
        assert done.status == 0, done.stderr
        return done.stdout

    def close(self) -> None:
        self.go()
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(30)
            if worker.poll() is None:
                worker.kill()
                worker.wait()
