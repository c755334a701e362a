"""Run the whole service on this machine: a local AWS, a volume, a queue, and two workers.

    python deploy/demo/run.py                    a synthetic volume with known membranes
    python deploy/demo/run.py --image em.h5      your own image, HDF5 or TIFF: uint8, zyx

The demo uses the same commands as you would. It stops everything that it started, also on Ctrl-C.
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

from chunkflow_worker.api import BoundingBox, ConfigError, Task, Vec3
from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.local_aws.serve import local_aws
from chunkflow_worker.operators.load_h5 import LoadH5
from chunkflow_worker.operators.load_tif import LoadTif
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.file_reader import ChunkReader
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

HERE = Path(__file__).parent
CHUNK = Vec3(16, 256, 256)
PATCH, OVERLAP = Vec3(16, 160, 160), Vec3(4, 32, 32)
WORKERS = 2
BUCKET, IMAGE, QUEUE, JOB = "chunkflow-demo", "s3://chunkflow-demo/em", "demo", "demo"

say = Console(highlight=False).print


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--image", type=Path, help="an HDF5 or TIFF file with a uint8 image, zyx")
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
    """One run. Everything that remains after it is in `folder`."""

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
            options = ["--queue", QUEUE, "--job", JOB, "--pipeline", str(self.pipeline)]
            boxes = ["--volume-path", IMAGE, "--chunk-size", *map(str, CHUNK)]
            _producer("enqueue", *options, *boxes)
            with _page(self.folder, self.pipeline):
                if not self._wait(workers):
                    return 1
                seconds = monotonic() - started
        self._report(box, seconds, began, truth)
        _producer("report", "--pipeline", str(self.pipeline), "--verify")
        return 0

    def _make_volumes(self) -> tuple[BoundingBox, np.ndarray | None]:
        """Write the image to the local S3, and make an empty volume for the membranes on disk."""
        image, truth, offset, voxel_size = self._image()
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        box = write_volumes(image, IMAGE, self.output, offset, voxel_size)
        size, edges = " x ".join(map(str, box.size)), " x ".join(f"{nm:g}" for nm in voxel_size)
        say(f"image of {size} voxels of {edges} nm (z, y, x) in {IMAGE}", soft_wrap=True)
        return box, truth

    def _image(self) -> tuple[np.ndarray, np.ndarray | None, Vec3, tuple[float, float, float]]:
        if self.image_file is None:
            image, truth = make_volume(SHAPE, SEED)
            return image, truth, Vec3(0, 0, 0), VOXEL_SIZE_NM
        task = Task()
        with Pipeline((_reader(self.image_file),)).open() as chain:
            chain.run(task)
        chunk = task.chunk("chunk")
        if chunk.dtype != np.uint8 or chunk.array.ndim != 3:
            raise _not_grey(self.image_file, f"{chunk.dtype} {chunk.array.shape}")
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
        chain = {"operators": [load, inference, save]}
        text = yaml.safe_dump(chain, sort_keys=False, default_flow_style=None)
        self.pipeline.write_text(text)

    def _wait(self, workers: list[subprocess.Popen[bytes]]) -> bool:
        """Show the progress until the job is done. Return False if the job failed."""
        options = ["--queue", QUEUE, "--pipeline", str(self.pipeline), "--watch", "--interval", "1"]
        watch = subprocess.Popen([sys.executable, "-m", "producer", "status", *options])
        try:
            while watch.poll() is None:
                if all(worker.poll() is not None for worker in workers):
                    say("all workers have exited; the end of one log:")
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
        table.add_row("tasks done, in the ledger", str(len(done)))
        table.add_row("tasks done, in CloudWatch", f"{_metric('TasksSucceeded', began)['']:.0f}")
        for operator, spent in _metric("OperatorSeconds", began).items():
            table.add_row(f"{operator}, seconds in all tasks", f"{spent:.1f}")
        table.add_row("seconds, from enqueuing to the end", f"{seconds:.1f}")
        table.add_row("voxels per second", f"{box.voxels / seconds:,.0f}")
        image, probability = self._read(box)
        if truth is not None:
            scores = "  ".join(f"{value:.3f}" for value in score(probability, truth).values())
            table.add_row("membranes found: F1, precision, recall", scores)
            plain = best_threshold(image, truth)[1]
            table.add_row("F1 of the best plain threshold", f"{plain['f1']:.3f}")
        say(table)
        picture = self.folder / "picture.png"
        write_picture(image, probability, truth, picture)
        say(f"output  {self.output}\nledger  {self.output}/log\npicture {picture}", soft_wrap=True)
        if truth is None:
            say("next    your own net: docs/tutorials/own-data.md")

    def _read(self, box: BoundingBox) -> tuple[np.ndarray, np.ndarray]:
        """Return the image (uint8) and the probability of membrane (float32, 0 to 1)."""
        image = PrecomputedVolume(IMAGE).read(box)
        membranes = PrecomputedVolume(self.output).read(box)
        return image, membranes.astype(np.float32) / 255


@contextmanager
def _workers(folder: Path, pipeline: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start two worker processes; stop them when the block ends, which sends their last metrics."""
    threads = str(max(1, (os.cpu_count() or 1) // WORKERS))
    environment = os.environ | {
        "OMP_NUM_THREADS": threads,
        "CHUNKFLOW_GRACE_SECONDS": "2",
        "CHUNKFLOW_POLL_SECONDS": "2",
    }
    program = str(Path(sys.executable).with_name("chunkflow-worker"))
    command = [program, "run", "--pipeline", str(pipeline), "--queue", QUEUE]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for i in range(WORKERS):
            with (folder / f"worker-{i}.log").open("wb") as log:
                # In its own session Ctrl-C does not reach it; this process stops the workers.
                worker = subprocess.Popen(
                    command, env=environment, stdout=log, stderr=log, start_new_session=True
                )
            started.append(worker)
        pids = ", ".join(str(worker.pid) for worker in started)
        say(f"started {WORKERS} workers, processes {pids}, logs in {folder}", soft_wrap=True)
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


@contextmanager
def _page(folder: Path, pipeline: Path) -> Iterator[None]:
    """Serve the page of the job until the block ends, and print its address."""
    options = ["--pipeline", str(pipeline), "--queue", QUEUE, "--port", "0", "--interval", "1"]
    with (folder / "page.log").open("wb") as log:
        page = subprocess.Popen(
            [sys.executable, "-m", "producer", "page", *options],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    assert page.stdout is not None
    try:
        address = page.stdout.readline().partition(": ")[2].strip()
        if address:
            say(f"watch it in a browser while it runs: {address}", soft_wrap=True)
        yield
    finally:
        page.terminate()
        page.stdout.close()
        page.wait()


def _reader(path: Path) -> ChunkReader:
    """The operator that reads the image file of the user. Raises ConfigError."""
    name = str(path.absolute())
    if path.suffix.lower() in LoadTif.endings:
        return LoadTif(file_name=name)
    dataset = _grey_image(path)
    say(f"reading the dataset {dataset} of {path}", soft_wrap=True)
    return LoadH5(file_name=name, dataset_path=dataset)


def _not_grey(path: Path, held: str) -> ConfigError:
    cure = "the demo needs a grey image: uint8, zyx"
    return ConfigError.one("IMAGE", str(path), f"contains {held}", cure)


def _grey_image(path: Path) -> str:
    """Return the name of the first uint8 image (zyx) of an HDF5 file. Raises ConfigError."""
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
        raise _not_grey(path, held)
    return found[""]


def _producer(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "producer", *arguments], check=False)
    if done.returncode:
        raise ConfigError.one(
            "demo", " ".join(arguments[:2]), f"ended with status {done.returncode}"
        )


def _metric(name: str, began: datetime) -> dict[str, float]:
    """Return the sums of a metric of this job in CloudWatch, by operator ("" if it has none)."""
    cloudwatch: Any = boto3.client("cloudwatch")
    sums: dict[str, float] = {}
    span = {
        "StartTime": began - timedelta(minutes=1),
        "EndTime": datetime.now(UTC) + timedelta(minutes=1),
        "Period": 86_400,
    }
    metric = {"Namespace": "chunkflow", "MetricName": name}
    pages = cloudwatch.get_paginator("list_metrics").paginate(**metric)
    # The local AWS lists a metric once per value.
    kinds = {
        tuple((dimension["Name"], dimension["Value"]) for dimension in found["Dimensions"])
        for page in pages
        for found in page["Metrics"]
    }
    for kind in kinds:
        dimensions = [{"Name": key, "Value": value} for key, value in kind]
        answer = cloudwatch.get_metric_statistics(
            **metric, Dimensions=dimensions, Statistics=["Sum"], **span
        )
        operator = dict(kind).get("operator", "")
        total = sum(point["Sum"] for point in answer["Datapoints"])
        sums[operator] = sums.get(operator, 0.0) + total
    return dict(sorted(sums.items()))


if __name__ == "__main__":
    sys.exit(main())
