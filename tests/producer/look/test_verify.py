"""`verify`, `enqueue --skip-done`: jobs are done by the worker's own handler, then spoilt."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import yaml

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.ledger import Ledger, Record
from chunkflow_worker.job.message import open_envelope
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.service.handler import Handler
from chunkflow_worker.storage.precomputed import PrecomputedVolume
from chunkflow_worker.storage.precomputed_info import create_volume
from producer.cli import main

BOX = BoundingBox.parse("0-8_0-16_0-32")
BLOCK = Vec3(4, 8, 8)
CHUNK = ["-c", "8", "16", "16"]
FIRST, SECOND = "0-8_0-16_0-16", "0-8_0-16_16-32"
Take = Callable[[str], list[str]]
Spoil = Callable[[Path], None]


@dataclass
class Job:
    """A job of two boxes, each of 16 blocks of float32."""

    root: str
    queue: Queue
    pipeline: Path
    take: Take

    @property
    def ledger(self) -> Ledger:
        return Ledger(f"{self.root}/out/log")

    def write_pipeline(self, *middle: dict[str, Any]) -> None:
        load = {"op": "load-precomputed", "volume_path": f"{self.root}/in"}
        save = {"op": "save-precomputed", "volume_path": f"{self.root}/out"}
        self.pipeline.write_text(yaml.safe_dump({"operators": [load, *middle, save]}))

    def enqueue(self, *options: str, job: str = "j") -> int:
        line = [
            "enqueue",
            "--queue",
            self.queue.name,
            "--job",
            job,
            "--pipeline",
            str(self.pipeline),
            "-v",
            f"{self.root}/in",
        ]
        return main([*line, *CHUNK, *options])

    def work(self) -> list[str]:
        """Do what lies in the queue; returns the boxes."""
        pipeline = Pipeline.load(self.pipeline)
        tasks = [open_envelope(body, self.queue.name) for body in self.take(self.queue.url)]
        with pipeline.open(recorded=True) as chain:
            handler = Handler(chain, pipeline.digest, self.ledger, "worker", 3)
            for message, task_id in tasks:
                handler.handle(message.model_dump(), task_id, 1)
        return sorted(message.bbox for message, _ in tasks)

    def verify(self, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
        capsys.readouterr()
        status = main(["verify", "--pipeline", str(self.pipeline), "--json", *options])
        report: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert (status == 0) == (report["wrong"] == report["enqueued"])
        return report

    @property
    def blocks(self) -> Path:
        return Path(self.root.removeprefix("file://"), "out", "8_8_40")


@pytest.fixture(params=["file"])
def job(
    request: pytest.FixtureRequest, tmp_path: Path, queue: Queue, take_all: Take, unique_name: str
) -> Job:
    root = f"file://{tmp_path}"
    if request.param == "s3":
        boto3.client("s3").create_bucket(Bucket=unique_name)
        root = f"s3://{unique_name}"
    for name, dtype in (("in", "uint8"), ("out", "float32")):
        create_volume(
            f"{root}/{name}", bounds=BOX, voxel_size=(40, 8, 8), block_size=BLOCK, dtype=dtype
        )
    noise = np.random.default_rng(0).integers(1, 255, BOX.size, np.uint8)
    noise[:4, :8, 24:] = 0
    PrecomputedVolume(f"{root}/in").write(BOX, noise)
    made = Job(root, queue, tmp_path / "chain.yaml", take_all)
    made.write_pipeline()
    assert made.enqueue() == 0
    assert made.work() == [FIRST, SECOND]
    return made


@pytest.mark.parametrize("job", ["file", "s3"], indirect=True)
@pytest.mark.parametrize("options", [[], ["--quick"]])
def test_what_is_right_passes(
    job: Job, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert job.verify(capsys, *options) == {
        "job": "j",
        "boxes": 2,
        "wrong": 0,
        "enqueued": 0,
        "problems": [],
    }
    assert main(["verify", "--pipeline", str(job.pipeline), *options]) == 0
    assert "all 2 boxes of job j are done" in capsys.readouterr().out


def rewrite(block: Path, change: Callable[[bytearray], None]) -> None:
    voxels = bytearray(gzip.decompress(block.read_bytes()))
    change(voxels)
    block.write_bytes(gzip.compress(voxels))


def fill(value: float, count: int) -> Spoil:
    def change(voxels: bytearray) -> None:
        voxels[: 4 * count] = np.full(count, value, np.float32).tobytes()

    return lambda block: rewrite(block, change)


def truncate(share: float, inside: bool = False) -> Spoil:
    def cut(block: Path) -> None:
        if inside:
            rewrite(block, lambda voxels: voxels.__delitem__(slice(int(len(voxels) * share), None)))
        else:
            block.write_bytes(block.read_bytes()[: int(block.stat().st_size * share)])

    return cut


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("missing", Path.unlink),
        ("damaged", truncate(0)),
        ("damaged", truncate(0.01)),
        ("damaged", truncate(0.5)),
        ("damaged", truncate(0.5, inside=True)),
        ("nan", fill(np.nan, 1)),
        ("zero", fill(0, 256)),
        ("stale", fill(0.5, 1)),
    ],
    ids=["deleted", "empty", "two-bytes", "half", "fewer-voxels", "nan", "zeroed", "changed"],
)
def test_each_damage_is_found_and_its_box_alone_done_again(
    job: Job, kind: str, spoil: Spoil, capsys: pytest.CaptureFixture[str]
) -> None:
    before = PrecomputedVolume(f"{job.root}/out").read(BOX)
    spoil(job.blocks / "16-24_8-16_4-8.gz")
    (problem,) = job.verify(capsys)["problems"]
    assert (problem["box"], problem["kind"]) == (SECOND, kind)
    assert problem["blocks"] == ["8_8_40/16-24_8-16_4-8"]
    report = job.verify(capsys, "--enqueue")
    assert report["enqueued"] == 1
    assert not job.ledger.is_done(SECOND)
    assert job.work() == [SECOND]
    assert job.verify(capsys)["problems"] == []
    assert np.array_equal(PrecomputedVolume(f"{job.root}/out").read(BOX), before)


@pytest.mark.parametrize("with_times", [True, False])
def test_a_block_of_an_earlier_run_is_stale(
    job: Job, with_times: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "0-8_0-8_0-4.gz"
    shutil.copy2(job.blocks / name, tmp_path / name)
    job.write_pipeline({"op": "threshold", "threshold": 100.0})
    assert job.enqueue(job="second") == 0
    assert job.work() == [FIRST, SECOND]
    (shutil.copy2 if with_times else shutil.copyfile)(tmp_path / name, job.blocks / name)
    (problem,) = [p for p in job.verify(capsys, "--allow-zeros")["problems"] if p["kind"] != "zero"]
    assert (problem["box"], problem["kind"]) == (FIRST, "stale")
    assert problem["blocks"] in ([f"8_8_40/{name[:-3]}"], [])


def test_boxes_of_another_pipeline_are_stale(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.write_pipeline({"op": "threshold", "threshold": 100.0})
    assert job.enqueue("--task-index-start", "1", job="second") == 0
    (problem,) = job.verify(capsys)["problems"]
    assert (problem["box"], problem["kind"]) == (SECOND, "stale")
    assert "another pipeline" in problem["detail"]


def test_old_blocks_and_absent_ones_are_found_without_reading(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    os.utime(job.blocks / "0-8_0-8_0-4.gz", (1e9, 1e9))
    (job.blocks / "16-24_8-16_4-8.gz").unlink()
    found = [(p["box"], p["kind"], p["blocks"]) for p in job.verify(capsys, "--quick")["problems"]]
    assert found == [
        (FIRST, "stale", ["8_8_40/0-8_0-8_0-4"]),
        (SECOND, "missing", ["8_8_40/16-24_8-16_4-8"]),
    ]


def test_zeros_that_a_task_wrote_may_be_allowed(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.write_pipeline({"op": "threshold", "threshold": 255.0})
    assert job.enqueue(job="second") == 0
    job.work()
    report = job.verify(capsys)
    assert sum(len(p["blocks"]) for p in report["problems"]) == 15, "the input of one block is zero"
    assert {(p["kind"], p["detail"]) for p in report["problems"]} == {
        ("zero", "as the task wrote them")
    }
    assert job.verify(capsys, "--allow-zeros")["problems"] == []
    fill(0, 256)(job.blocks / "0-8_0-8_0-4.gz")
    assert job.verify(capsys, "--allow-zeros")["problems"] == [], "zero it was, and zero it is"


def test_not_a_number_that_became_an_integer_is_remembered(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    record = job.ledger.read(FIRST)
    assert record is not None
    (written,) = record.written
    spoilt = record.model_copy(
        update={"written": [written.__class__(**(vars(written) | {"nan": 3}))]}
    )
    job.ledger.write(spoilt)
    (problem,) = job.verify(capsys)["problems"]
    assert (problem["kind"], problem["detail"]) == (
        "nan",
        "3 voxels were NaN before they became integers",
    )


def test_boxes_that_are_not_done_are_told_and_sent_when_nothing_waits(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    for box in (FIRST, SECOND):
        job.ledger.remove(box)
    failed = {
        "bbox": SECOND,
        "job": "j",
        "task_id": "1",
        "state": "failed",
        "attempts": 1,
        "worker": "w",
        "error": "away",
    }
    job.ledger.write(Record.model_validate(failed))
    report = job.verify(capsys, "--enqueue")
    assert [(p["box"], p["kind"]) for p in report["problems"]] == [
        (FIRST, "no-record"),
        (SECOND, "failed"),
    ]
    assert report["enqueued"] == 2
    assert job.verify(capsys, "--enqueue")["enqueued"] == 0, "their messages wait"
    assert job.work() == [FIRST, SECOND]
    assert job.verify(capsys)["problems"] == []


def test_skip_done_sends_what_is_not_done_or_lost_its_blocks(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    """Named defect of the peer: enqueueing again doubled every task."""
    assert job.enqueue("--skip-done", job="again") == 0
    assert "enqueued 0 of 2 tasks of job again" in capsys.readouterr().out
    assert job.work() == []
    (job.blocks / "16-24_8-16_4-8.gz").unlink()
    assert job.enqueue("--skip-done", "--dry-run", job="again") == 0
    assert "2 tasks of job again, 1 of them done before" in capsys.readouterr().out
    assert job.ledger.is_done(SECOND)
    assert job.enqueue("--skip-done", job="again") == 0
    assert "enqueued 1 of 2 tasks of job again" in capsys.readouterr().out
    assert not job.ledger.is_done(SECOND)
    assert job.work() == [SECOND]
    job.write_pipeline({"op": "threshold", "threshold": 100.0})
    assert job.enqueue("--skip-done", job="other") == 0
    assert job.work() == [FIRST, SECOND], "another pipeline did them"


def test_needs_a_ledger_with_a_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 2
    assert "needs a ledger" in capsys.readouterr().err
    assert main(["verify", "--ledger", str(tmp_path)]) == 2
    assert "knows no job" in capsys.readouterr().err
    assert main(["enqueue", "--queue", "q", *CHUNK, "--skip-done"]) == 2
    assert "--skip-done needs a ledger" in capsys.readouterr().err
