"""Fixtures for the tests of the producer's commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.volumes.precomputed.info import create_volume
from tests.support.finished_job import FinishedJob


@pytest.fixture(autouse=True)
def no_long_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The local SQS hands out all its messages at once."""
    monkeypatch.setattr("producer.look.dead_letters.WAIT_SECONDS", 0)


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A pipeline file with a job of eight boxes; its ledger is the one of the fixture `ledger`."""
    path = tmp_path / "chain.yaml"
    create_volume(
        str(tmp_path),
        bounds=BoundingBox.parse("-2-4_0-4_0-4"),
        voxel_size=(1, 1, 1),
        block_size=Vec3(2, 2, 2),
        dtype="uint8",
    )
    path.write_text(
        "tasks: {op: generate-tasks, chunk_size: [2, 2, 2], roi_size: [4, 4, 4]}\n"
        "operators:\n"
        "- {op: create-chunk}\n"
        f"- {{op: save-precomputed, volume_path: {tmp_path}/}}\n"
    )
    return path


@pytest.fixture(params=["file"])
def finished_job(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    queue: Queue,
    take_all: Callable[[str], list[str]],
    unique_name: str,
) -> FinishedJob:
    """A job that is done. The parameter says where its volumes are: "file" or "s3"."""
    root = f"file://{tmp_path}"
    if request.param == "s3":
        boto3.client("s3").create_bucket(Bucket=unique_name)
        root = f"s3://{unique_name}"
    return FinishedJob(root, queue, tmp_path / "chain.yaml", take_all)
