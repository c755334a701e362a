"""A job that the version before left half-way is read, resumed and verified by this one.

`files/` was made by the code of that version; `make_files.py` says how, and which box has which
fate. Each test works on a copy below `tmp_path`, with the job's messages in a queue.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from chunkflow_worker.cli.chunkflow import cli as chunkflow
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.sqs import find_queue
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from producer.cli import main
from producer.plan.pipeline_file import PipelineFile
from tests.compat.make_files import (
    JOB,
    LAST_DONE,
    MISSING,
    PLACE,
    PREEMPTED,
    QUEUE,
    ZERO,
    Messages,
    block_name,
    box_name,
)
from tests.support.service import Service

FILES = Path(__file__).parent / "files"
BOUNDS = BoundingBox.parse("3-11_10-42_20-68")
ALL = set(range(12))
WRITTEN = {0, 3, 4, 5, 6, 7}
NOT_STARTED = {9, 10, 11}
DONE = WRITTEN | {ZERO}

Producer = Callable[..., tuple[int, str]]


def raw_record(name: str) -> dict[str, Any]:
    """A record as the version before wrote it."""
    content: dict[str, Any] = json.loads(Path(f"out/log/{name}.json").read_text())
    return content


def voxels(boxes: set[int]) -> np.ndarray:
    """The whole volume, uint8 zyx, as the version before made it in these boxes; 0 elsewhere."""
    image: np.ndarray = np.load(FILES / "voxels.npy")
    inside = np.zeros_like(image)
    for box in boxes:
        place = BoundingBox.parse(box_name(box)).slices(BOUNDS.start)
        inside[place] = image[place]
    return inside


def read(*loading: str) -> np.ndarray:
    """What an operator loads of the whole volume; blocks that are missing are 0."""
    box = ["generate-tasks", "-b", str(BOUNDS)]
    command = [*box, *loading, "--fill-missing", "save-npy", "-f", "read.npy"]
    CliRunner().invoke(chunkflow, command, catch_exceptions=False)
    array: np.ndarray = np.load("read.npy")
    return array.reshape(BOUNDS.size)  # a channel comes first in what inference made


@pytest.fixture
def job(tmp_path: Path, aws: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The job of the version before, in the current folder and on a queue.

    The message of a task that is done comes first, and was received once: its worker was stopped
    before it could delete it.
    """
    for name in ("CHUNKFLOW_QUEUE", "CHUNKFLOW_PIPELINE", "CHUNKFLOW_LEDGER"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for record in Path("out/log").rglob("*.json"):
        record.write_text(record.read_text().replace(PLACE, str(tmp_path)))
    # Where a clock is behind, blocks of a new checkout would be older than their records.
    enqueued = datetime.fromisoformat(raw_record(f"jobs/{JOB}")["enqueued"]).timestamp()
    for file in tmp_path.rglob("*"):
        os.utime(file, (enqueued, enqueued))

    # Its pipeline has relative paths, which workers of that version wrote to without being told.
    service = Service(tmp_path, QUEUE, aws | {"CHUNKFLOW_SHARED_DISK": "true"})
    assert main(["queue", "create", QUEUE, "--visibility=30", "--max-receives=3"]) == 0
    queue = find_queue(service.sqs, QUEUE)
    messages: Messages = json.loads(Path("messages.json").read_text())

    def send(url: str, bodies: list[str]) -> None:
        for body in bodies:
            service.sqs.send_message(QueueUrl=url, MessageBody=body)

    send(queue.url, messages["done"])
    service.sqs.receive_message(QueueUrl=queue.url, VisibilityTimeout=0)
    send(queue.url, messages["waiting"])
    send(queue.dead_letter_url, messages["dead"])
    try:
        yield service
    finally:
        service.close()
        main(["queue", "delete", QUEUE, "--yes"])


@pytest.fixture
def producer(job: Service, capsys: pytest.CaptureFixture[str]) -> Producer:
    """Run a command of chunkflow-producer; returns its exit status and what it printed."""

    def run(command: str, *options: str) -> tuple[int, str]:
        capsys.readouterr()
        status = main([command, "--queue", QUEUE, "--pipeline", "pipeline.yaml", *options])
        return status, capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("loading", "boxes"),
    [
        ("load-precomputed -v in", ALL - {ZERO, MISSING}),
        ("load-precomputed -v out", WRITTEN),
        ("load-zarr -f out.zarr", WRITTEN),
        ("load-zarr -f out.zarr3", WRITTEN),
    ],
)
def test_volumes_hold_the_same_voxels(job: Service, loading: str, boxes: set[int]) -> None:
    assert np.array_equal(read(*loading.split()), voxels(boxes))


def test_the_frozen_chain_has_the_same_digest(job: Service) -> None:
    recorded = raw_record(f"jobs/{JOB}")["pipeline"]
    assert PipelineFile.load(Path("pipeline.yaml")).digest == recorded, "to the producer"
    assert Pipeline.load("pipeline.yaml").digest == recorded, "to the workers"


def test_records_keep_all_that_they_said(job: Service) -> None:
    names = {box_name(box): box_name(box) for box in DONE}
    names |= {box_name(box): f"{box_name(box)}.failed" for box in (MISSING, PREEMPTED)}
    for box, name in names.items():
        record = job.ledger.read(box)
        assert record is not None, box
        said, known = raw_record(name), record.model_dump(mode="json")
        pairs = zip(said.pop("written", []), known.pop("written"), strict=True)
        assert all(old.items() <= new.items() for old, new in pairs)
        assert said.items() <= known.items()
    [job_record] = job.ledger.jobs()
    assert raw_record(f"jobs/{JOB}").items() <= job_record.model_dump(mode="json").items()


def test_status_counts_the_job(producer: Producer) -> None:
    status, out = producer("status", "--json")
    expected = {
        "job": JOB,
        "total": len(ALL),
        "done": len(DONE),
        "failed": 2,
        "missing": len(NOT_STARTED),
        "twice": 1,
        "waiting": 5,
        "in_flight": 0,
        "dead": 1,
    }
    assert status == 0
    assert expected.items() <= json.loads(out).items()


def test_failures_explain_the_dead_letter(producer: Producer) -> None:
    status, out = producer("failures", "--json")
    [cause] = json.loads(out)["causes"]
    [failure] = cause["failures"]
    record = raw_record(f"{box_name(MISSING)}.failed")
    assert status == 0
    assert "lacks the block" in failure["error"]
    assert failure["box"] == box_name(MISSING)
    assert failure["job"] == JOB
    assert {name: failure[name] for name in ("error", "attempts", "worker", "finished", "log")} == {
        name: record[name] for name in ("error", "attempts", "worker", "finished", "log")
    }


def test_enqueue_leaves_out_what_is_done(producer: Producer, job: Service) -> None:
    status, out = producer("enqueue", "--job", JOB, "--skip-done")
    undone = len((ALL - DONE) | {ZERO})  # of a skipped task, nothing said what must be empty
    assert status == 0
    assert f"enqueued {undone} of {len(ALL)} tasks of job {JOB}" in out
    assert job.messages() == (5 + undone, 0, 1)


def test_redrive_sends_the_dead_letter_back(producer: Producer, job: Service) -> None:
    status, out = producer("redrive", "--cause", "lacks the block")
    assert status == 0
    assert "sent 1 dead letters back" in out
    assert job.messages() == (6, 0, 0)


def test_verify_finds_what_is_spoilt(producer: Producer) -> None:
    def problems() -> dict[str, set[str]]:
        status, out = producer("verify", "--json")
        assert status == 1
        found: dict[str, set[str]] = {}
        for problem in json.loads(out)["problems"]:
            found.setdefault(problem["kind"], set()).add(problem["box"])
        return found

    undone = {
        "failed": {box_name(MISSING), box_name(PREEMPTED)},
        "no-record": set(map(box_name, NOT_STARTED)),
        "not-checked": {box_name(ZERO)},
    }
    assert problems() == undone
    other, short, gone = 0, 3, 7
    Path("out", block_name(other)).write_bytes(Path("out", block_name(4)).read_bytes())
    Path("out", block_name(short)).write_bytes(gzip.compress(b"too few voxels"))
    Path("out", block_name(gone)).unlink()
    assert problems() == undone | {
        "stale": {box_name(other)},
        "damaged": {box_name(short)},
        "missing": {box_name(gone)},
    }


@pytest.mark.e2e
def test_a_worker_does_the_rest_of_the_job(producer: Producer, job: Service) -> None:
    block_times = {n: Path("out", block_name(n)).stat().st_mtime_ns for n in WRITTEN}
    box = BoundingBox.parse(box_name(MISSING))
    PrecomputedVolume("in").write(box, voxels({MISSING})[box.slices(BOUNDS.start)])
    assert producer("redrive")[0] == 0
    job.start_worker(worker_name="worker-of-today")
    job.wait_done(len(ALL))
    job.wait(lambda: job.messages() == (0, 0, 0), "empty queues")

    done = {record.bbox: record for record in job.records()}
    assert len(done) == len(ALL)
    for number in ALL:
        record = done[box_name(number)]
        assert record.state == ("skipped" if number == ZERO else "done")
        assert record.worker == ("worker-before" if number in DONE else "worker-of-today")
        assert record.attempts == (2 if number == PREEMPTED else 1)
    assert {n: Path("out", block_name(n)).stat().st_mtime_ns for n in WRITTEN} == block_times
    assert not Path("out/log", f"{box_name(LAST_DONE)}.again.json").exists()

    for loading in ("load-precomputed -v out", "load-zarr -f out.zarr", "load-zarr -f out.zarr3"):
        assert np.array_equal(read(*loading.split()), voxels(ALL - {ZERO})), loading
    status, out = producer("verify")
    assert status == 3, out
    assert f"0 of {len(ALL)} boxes of job {JOB} are wrong" in out
    assert f"{box_name(ZERO)}  skipped: all voxels of 'chunk' are zero" in out
