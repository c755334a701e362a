"""The whole service on one machine: a local AWS, a volume, a queue, two workers, and a look at what they made.

    python deploy/demo/run.py                    a made-up volume with known truth
    python deploy/demo/run.py --image em.h5      your own: uint8 grey, zyx

It uses the commands that you would use, and stops whatever it started, also on Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import boto3
import h5py
import numpy as np
import yaml
from em_volume import VOXEL_SIZE_NM, make_volume
from picture import write_picture
from rich.console import Console
from rich.table import Table
from sample import SEED, SHAPE, write_volumes
from score import best_threshold, score

from chunkflow_worker.errors import ChunkflowError, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.local_aws import local_aws
from chunkflow_worker.operators.load_h5 import LoadH5
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.precomputed import PrecomputedVolume

HERE = Path(__file__).parent
CHUNK = Vec3(16, 256, 256)
PATCH, OVERLAP = Vec3(16, 160, 160), Vec3(4, 32, 32)
WORKERS = 2
BUCKET, IMAGE, QUEUE, JOB = "chunkflow-demo", "s3://chunkflow-demo/em", "demo", "demo"

say = Console(highlight=False).print


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--image", type=Path, help="an HDF5 file with a uint8 image, zyx")
    parser.add_argument(
        "--output", type=Path, default=Path("demo-output"), help="folder to write to; emptied first"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with local_aws() as variables:
            os.environ.update(variables)
            return Demo(options.output.absolute(), options.image).run()
    except KeyboardInterrupt:
        say("stopped")
        return 130
    except ChunkflowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1


class Demo:
    """One run; everything that it leaves behind lies in `folder`."""

    def __init__(self, folder: Path, image: Path | None):
        self.folder, self.image_file = folder, image
        self.output = f"file://{folder}/membranes"
        self.pipeline = folder / "pipeline.yaml"

    def run(self) -> int:
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        say(f"local AWS on {os.environ['AWS_ENDPOINT_URL']}")
        box, truth = self._make_volumes()
        self._write_pipeline(PATCH.min(box.size))
        began = datetime.now(UTC)
        _producer("queue", "create", QUEUE)
        with _workers(self.folder, self.pipeline) as workers:
            started = monotonic()
            size = [str(n) for n in CHUNK]
            _producer(
                "enqueue",
                "--queue",
                QUEUE,
                "--job",
                JOB,
                "--pipeline",
                str(self.pipeline),
                "-v",
                IMAGE,
                "-c",
                *size,
            )
            if not self._wait(workers):
                return 1
            seconds = monotonic() - started
        self._report(box, seconds, began, truth)
        return 0

    def _make_volumes(self) -> tuple[BoundingBox, np.ndarray | None]:
        """Write the image to the local S3, and an empty volume for the membranes beside the picture."""
        image, truth, offset, voxel_size = self._image()
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        box = write_volumes(image, IMAGE, self.output, offset, voxel_size)
        say(f"image of {' x '.join(map(str, box.size))} voxels in {IMAGE}")
        return box, truth

    def _image(self) -> tuple[np.ndarray, np.ndarray | None, Vec3, tuple[float, float, float]]:
        if self.image_file is None:
            image, truth = make_volume(SHAPE, SEED)
            return image, truth, Vec3(0, 0, 0), VOXEL_SIZE_NM
        task = Task()
        with Pipeline(
            (
                LoadH5(
                    file_name=str(self.image_file.absolute()),
                    dataset_path=_grey_image(self.image_file),
                ),
            )
        ).open() as chain:
            chain.run(task)
        chunk = task.chunk("chunk")
        return chunk.array, None, chunk.voxel_offset, chunk.voxel_size

    def _write_pipeline(self, patch: Vec3) -> None:
        inference = {
            "op": "inference",
            "framework": "pytorch",
            "convnet_model": str(HERE / "membrane_net.py"),
            "convnet_weight_path": str(HERE / "membrane_weights.pt"),
            "input_patch_size": [*patch],
            "output_patch_overlap": [*OVERLAP.min(patch // 2)],
            "num_output_channels": 1,
        }
        load = {"op": "load-precomputed", "volume_path": IMAGE}
        save = {"op": "save-precomputed", "volume_path": self.output}
        self.pipeline.write_text(
            yaml.safe_dump(
                {"operators": [load, inference, save]}, sort_keys=False, default_flow_style=None
            )
        )

    def _wait(self, workers: list[subprocess.Popen[bytes]]) -> bool:
        """Show the progress until the ledger says that all is done. False when that will not happen."""
        watching = [
            "--queue",
            QUEUE,
            "--pipeline",
            str(self.pipeline),
            "--watch",
            "--interval",
            "1",
        ]
        watch = subprocess.Popen([sys.executable, "-m", "producer", "status", *watching])
        try:
            while watch.poll() is None:
                if all(worker.poll() is not None for worker in workers):
                    say("the workers have ended; the end of a log:")
                    say((self.folder / "worker-0.log").read_text()[-2000:], markup=False)
                    return False
                try:
                    watch.wait(1)
                except subprocess.TimeoutExpired:
                    continue
            return watch.returncode == 0
        finally:
            if watch.poll() is None:
                watch.terminate()
            watch.wait()

    def _report(
        self, box: BoundingBox, seconds: float, began: datetime, truth: np.ndarray | None
    ) -> None:
        done, _ = Ledger(f"{self.output}/log").boxes()
        table = Table(title="What the service did", title_justify="left", show_header=False)
        table.add_column()
        table.add_column(justify="right")
        table.add_row("tasks done, says the ledger", str(len(done)))
        table.add_row("tasks done, says CloudWatch", f"{_metric('TasksSucceeded', began)['']:.0f}")
        for operator, spent in _metric("OperatorSeconds", began).items():
            table.add_row(f"{operator}, seconds in all tasks", f"{spent:.1f}")
        table.add_row("seconds, from enqueuing to the end", f"{seconds:.1f}")
        table.add_row("voxels per second", f"{box.voxels / seconds:,.0f}")
        if truth is not None:
            image, probability = self._read(box)
            found, plain = score(probability, truth), best_threshold(image, truth)[1]
            table.add_row(
                "membranes found: F1, precision, recall",
                "  ".join(f"{v:.3f}" for v in found.values()),
            )
            table.add_row("F1 of the best plain threshold", f"{plain['f1']:.3f}")
        say(table)
        picture = self.folder / "picture.png"
        write_picture(*self._read(box), truth, picture)
        say(f"output  {self.output}\nledger  {self.output}/log\npicture {picture}", soft_wrap=True)

    def _read(self, box: BoundingBox) -> tuple[np.ndarray, np.ndarray]:
        return PrecomputedVolume(IMAGE).read(box), PrecomputedVolume(self.output).read(box).astype(
            np.float32
        ) / 255


@contextmanager
def _workers(folder: Path, pipeline: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two worker processes; they are stopped when the block ends, and send their last metrics then."""
    threads = str(max(1, (os.cpu_count() or 1) // WORKERS))
    environment = os.environ | {
        "OMP_NUM_THREADS": threads,
        "CHUNKFLOW_GRACE_SECONDS": "2",
        "CHUNKFLOW_POLL_SECONDS": "2",
    }
    command = [
        str(Path(sys.executable).with_name("chunkflow-worker")),
        "run",
        "--pipeline",
        str(pipeline),
        "--queue",
        QUEUE,
    ]
    started = []
    try:
        for i in range(WORKERS):
            with (folder / f"worker-{i}.log").open("wb") as log:
                # A session of its own: Ctrl-C reaches this process alone, which then stops them in order.
                worker = subprocess.Popen(
                    command, env=environment, stdout=log, stderr=log, start_new_session=True
                )
            started.append(worker)
        say(
            f"started {WORKERS} workers, processes {', '.join(str(w.pid) for w in started)}, logs in {folder}",
            soft_wrap=True,
        )
        yield started
    finally:
        for worker in started:
            worker.terminate()
        for worker in started:
            try:
                worker.wait(30)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


def _grey_image(path: Path) -> str:
    """Name of the first uint8 image, zyx, of an HDF5 file."""
    found: dict[str, str] = {}

    def look(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = f"{item.dtype} {item.shape}"
            if item.dtype == np.uint8 and item.ndim == 3:
                found.setdefault("", name)

    try:
        with h5py.File(path) as file:
            file.visititems(look)
    except OSError as error:
        raise ConfigError.one("IMAGE", str(path), f"cannot be read as HDF5: {error}") from None
    if "" not in found:
        held = ", ".join(f"{name} {kind}" for name, kind in found.items()) or "nothing"
        raise ConfigError.one(
            "IMAGE", str(path), f"holds {held}", "the demo takes a grey image: uint8, zyx"
        )
    return found[""]


def _producer(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "producer", *arguments], check=False)
    if done.returncode:
        raise ConfigError.one(
            "demo", " ".join(arguments[:2]), f"ended with status {done.returncode}"
        )


def _metric(name: str, began: datetime) -> dict[str, float]:
    """Sums of a metric of this job, by operator ("" where it has none), read back from CloudWatch."""
    cloudwatch: Any = boto3.client("cloudwatch")
    sums: dict[str, float] = {}
    span = {
        "StartTime": began - timedelta(minutes=1),
        "EndTime": datetime.now(UTC) + timedelta(minutes=1),
        "Period": 86_400,
    }
    kinds = {
        tuple((d["Name"], d["Value"]) for d in m["Dimensions"])
        for m in _all_metrics(cloudwatch, name)
    }
    for kind in kinds:
        dimensions = [{"Name": k, "Value": v} for k, v in kind]
        answer = cloudwatch.get_metric_statistics(
            Namespace="chunkflow",
            MetricName=name,
            Dimensions=dimensions,
            Statistics=["Sum"],
            **span,
        )
        operator = dict(kind).get("operator", "")
        sums[operator] = sums.get(operator, 0.0) + sum(
            point["Sum"] for point in answer["Datapoints"]
        )
    return dict(sorted(sums.items()))


def _all_metrics(cloudwatch: Any, name: str) -> Iterator[dict[str, Any]]:
    for page in cloudwatch.get_paginator("list_metrics").paginate(
        Namespace="chunkflow", MetricName=name
    ):
        yield from page["Metrics"]


if __name__ == "__main__":
    sys.exit(main())
