from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest

from chunkflow_worker.job.claim import LEASE_SECONDS, Claim, ClaimLost
from chunkflow_worker.storage.create_once import create_once
from chunkflow_worker.storage.files import Files


@pytest.fixture(params=["disk", "s3", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path, unique_name: str) -> Files:
    if request.param == "disk":
        return Files(str(tmp_path / "jobs"))
    if request.param == "memory":
        return Files(f"mem://{unique_name}/jobs")
    request.getfixturevalue("real_s3")
    boto3.client("s3").create_bucket(Bucket=unique_name)
    return Files(f"s3://{unique_name}/log/jobs")


def test_an_object_is_created_once(files: Files) -> None:
    assert create_once(files, "a", b"first")
    assert not create_once(files, "a", b"second")
    assert files.get("a") == b"first"
    assert files.list() == ["a"]


def test_one_of_many_who_try_at_once_has_the_claim(tmp_path: Path) -> None:
    files, start = Files(str(tmp_path)), threading.Barrier(8)

    def take(_: int) -> Claim | None:
        start.wait()
        return Claim.take(files, "job.sender")

    with ThreadPoolExecutor(8) as pool:
        assert len([claim for claim in pool.map(take, range(8)) if claim]) == 1


def test_a_claim_is_taken_over_when_its_process_died(tmp_path: Path) -> None:
    now = [100.0]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    files = Files(str(tmp_path))
    first = Claim.take(files, "job.sender", clock)
    assert first is not None
    first.check()
    assert Claim.take(files, "job.sender") is None
    long_ago = time.time() - LEASE_SECONDS - 1
    os.utime(tmp_path / "job.sender-1", (long_ago, long_ago))
    second = Claim.take(files, "job.sender")
    assert second is not None
    assert second.number == 2
    now[0] += LEASE_SECONDS / 3
    with pytest.raises(ClaimLost):
        first.check()
    second.release()
    third = Claim.take(files, "job.sender")
    assert third is not None, "the first object is still old"
    assert third.number == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells that a process has ended")
def test_a_claim_is_taken_over_at_once_when_its_process_on_this_machine_ended(
    tmp_path: Path,
) -> None:
    files, file = Files(str(tmp_path)), tmp_path / "job.sender-1"
    assert Claim.take(files, "job.sender") is not None
    who = json.loads(file.read_text())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        file.write_text(json.dumps(who | {"process": other.pid}))
        assert Claim.take(files, "job.sender") is None, "it still runs"
    for elsewhere in ({"machine": "another"}, {"machine": ""}):
        file.write_text(json.dumps(who | {"process": other.pid} | elsewhere))
        assert Claim.take(files, "job.sender") is None, "nobody knows of a process there"
    file.write_text(json.dumps(who | {"process": other.pid}))
    assert Claim.take(files, "job.sender") is not None


def test_a_process_that_stood_still_has_lost_its_claim_whatever_is_stored(tmp_path: Path) -> None:
    now = [100.0]
    claim = Claim.take(Files(str(tmp_path)), "job.sender", lambda: now[0])
    assert claim is not None
    now[0] += LEASE_SECONDS / 3
    claim.check()
    now[0] += LEASE_SECONDS
    with pytest.raises(ClaimLost):
        claim.check()
