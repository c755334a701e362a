from __future__ import annotations

import os
from pathlib import Path

import boto3
import pytest

from chunkflow_worker.errors import TaskHeld
from chunkflow_worker.job.hold import Holds
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.storage.files import Files
from tests.support.queues import BOX


@pytest.fixture(params=["file", "s3"])
def files(
    request: pytest.FixtureRequest, tmp_path: Path, aws: dict[str, str], unique_name: str
) -> Files:
    """The files of a ledger on a local disk or in S3."""
    if request.param == "file":
        return Files(str(tmp_path))
    boto3.client("s3").create_bucket(Bucket=unique_name)
    return Files(f"s3://{unique_name}/log")


def test_others_look_again_when_a_hold_would_end(files: Files) -> None:
    Holds(files, "worker-1").write(BOX, 60)
    with pytest.raises(TaskHeld, match="worker-1") as caught:
        Holds(files, "worker-2").check(BOX)
    assert caught.value.seconds == 60
    assert files.list() == [f"{BOX}.held.json"], "the probe of the clock is gone"


def test_a_task_whose_hold_is_removed_is_free(files: Files) -> None:
    holds = Holds(files, "worker-1")
    holds.write(BOX, 60)
    holds.remove(BOX)
    holds.check(BOX)
    holds.check("0-4_0-4_8-16")


def test_the_hold_of_a_worker_that_died_ends(tmp_path: Path) -> None:
    holds = Holds(Files(str(tmp_path)), "worker-1")
    holds.write(BOX, 60)
    file = tmp_path / f"{BOX}.held.json"
    written = file.stat().st_mtime
    os.utime(file, (written - 59, written - 59))
    with pytest.raises(TaskHeld):
        holds.check(BOX)
    os.utime(file, (written - 63, written - 63))
    holds.check(BOX)


def test_the_clock_of_the_worker_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds = Holds(Files(str(tmp_path)), "worker-1")
    holds.write(BOX, 5)
    monkeypatch.setattr("time.time", lambda: 0.0)
    with pytest.raises(TaskHeld):
        holds.check(BOX)


@pytest.mark.parametrize(
    "content", [{}, [], {"seconds": 0}, {"seconds": 10**9}, {"seconds": "a"}, None]
)
def test_what_is_no_hold_holds_nothing(tmp_path: Path, content: object) -> None:
    files = Files(str(tmp_path))
    files.put_json(f"{BOX}.held.json", content)
    Holds(files, "worker-1").check(BOX)


def test_it_is_no_record(tmp_path: Path) -> None:
    Holds(Files(str(tmp_path)), "worker-1").write(BOX, 60)
    assert Ledger(str(tmp_path)).listing() == (set(), set(), set(), set())


def test_messages_are_put_back_for_as_long_as_sqs_allows(tmp_path: Path) -> None:
    holds = Holds(Files(str(tmp_path)), "worker-1")
    holds.write(BOX, 43_200)
    with pytest.raises(TaskHeld) as caught:
        holds.check(BOX)
    assert caught.value.seconds == 900
