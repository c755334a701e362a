"""The plan of a job on real voxels beside its real run: boxes, requests, bytes and memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import h5py
import numpy as np
import pytest

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume
from producer.cost.seconds import times_of
from tests.support.paths import DATA
from tests.support.s3_semantics import S3Semantics
from tests.support.service import Service

FILE = DATA / "fib25" / "training_sample2.h5"
COUNTS = {"total": 64, "empty_by_mask": 4, "empty_by_level": 15}
BLOCK, CHUNK = Vec3(32, 32, 32), ["64", "64", "64"]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.skipif(not FILE.exists(), reason="fib25 is not in CHUNKFLOW_TEST_DATA"),
]


@pytest.fixture
def service(
    tmp_path: Path, aws: dict[str, str], real_s3: S3Semantics, unique_name: str
) -> Iterator[Service]:
    """A service whose volumes are in S3: fib25 with an empty part, and a mask."""
    boto3.client("s3").create_bucket(Bucket=unique_name)
    made = Service(tmp_path, unique_name, aws | {"AWS_ENDPOINT_URL": real_s3.url})
    made.place = f"s3://{unique_name}"
    make_volumes(made)
    patches = {"input_patch_size": [32, 32, 32], "output_patch_overlap": [8, 8, 8]}
    made.chain({"op": "inference", "framework": "identity", "num_output_channels": 1} | patches)
    made.create_queue(visibility=60)
    try:
        yield made
    finally:
        made.close()


def make_volumes(service: Service) -> None:
    with h5py.File(FILE) as h5:
        image = h5["raw"][:]
    image[:, :, 192:] = 0
    bounds, coarse = BoundingBox.sized((0, 0, 0), image.shape), Vec3(4, 4, 4)
    shape: dict[str, Any] = {"voxel_size": (10, 10, 10), "block_size": BLOCK, "dtype": "uint8"}
    create_volume(service.path("in"), bounds=bounds, **shape, factor=coarse, max_mip=1)
    create_volume(service.path("out"), bounds=bounds, **shape)
    open_volume(service.path("in")).write(bounds, image)
    small = open_volume(service.path("in"), 1)
    small.write(small.bounds, np.ascontiguousarray(image[::4, ::4, ::4]))
    mask = np.ones(small.bounds.size, np.uint8)
    mask[:16, :16] = 0
    large = shape | {"voxel_size": (40, 40, 40)}
    create_volume(service.path("mask"), bounds=small.bounds, **large)
    open_volume(service.path("mask")).write(small.bounds, mask)


OF_A_WORKER = Counter(LIST=2)  # when it starts: whether the bucket is there, and the heartbeats


def totals(found: Counter[str], bucket: str, *names: str) -> Counter[str]:
    """Sums by method, of the objects of the volumes and their ledger; LIST for listings.

    POST is of what deletes several objects.
    """
    sums: Counter[str] = Counter()
    for request, count in found.items():
        method, _, path = request.partition(" ")
        key = path.removeprefix(f"/{bucket}").lstrip("/")
        if not key or key.startswith(names):
            sums["LIST" if method == "GET" and not key else method] += count
    return sums


def test_a_real_job_takes_what_its_plan_says(
    service: Service, real_s3: S3Semantics, unique_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = ["-v", service.path("in"), "-c", *CHUNK, "--mask-volume-path", service.path("mask")]
    boxes += ["--skip-empty", "--pipeline", str(service.pipeline), "--job", "job"]
    options = ["--measure", "12", "--scratch", service.place, "--workers", "1", "--json"]
    plan = json.loads(service.producer("plan", *boxes, *options))
    # Nothing was sent, and nothing is left in the bucket.
    assert service.messages() == (0, 0, 0)
    objects = boto3.client("s3").list_objects_v2(Bucket=unique_name)["Contents"]
    names = {found["Key"].partition("/")[0] for found in objects}
    assert names == {"in", "mask", "out"}
    assert [found["Key"] for found in objects if found["Key"].startswith("out")] == ["out/info"]

    service.producer("enqueue", "--queue", service.queue, *boxes)
    count = plan["boxes"]["to_do"]
    assert plan["boxes"] == COUNTS | {"done": 0, "to_do": 64 - 4 - 15}
    assert sum(service.messages()) == count
    before, bytes_before = Counter(real_s3.requests), Counter(real_s3.moved)
    service.start_command(in_flight=2)
    service.wait(lambda: sum(service.messages()) == 0, "an empty queue", 240, pause=0.5)
    service.close()
    requests = totals(real_s3.requests - before, unique_name, "in/", "out/")
    moved = totals(real_s3.moved - bytes_before, unique_name, "in/", "out/")
    records = service.records()
    assert [record.state for record in records] == ["done"] * count

    (option,) = plan["options"]
    planned = option["requests"]["S3"]
    for name in ("GET", "PUT", "HEAD", "LIST"):
        expected = planned[name] + OF_A_WORKER[name]
        assert requests[name] == pytest.approx(expected, rel=0.05), name
    assert moved["GET"] == pytest.approx(option["bytes_in"], rel=0.05)
    assert moved["PUT"] == pytest.approx(option["bytes_out"], rel=0.05)
    heartbeats = planned["PUT"] - count - sum(volume["blocks"] for volume in plan["volumes"][1:])
    assert 0 < heartbeats < 20  # of some minutes
    peak = max(record.memory_peak for record in records)
    assert peak == pytest.approx(plan["memory"]["worker"], rel=0.15)
    times = times_of(records, "the real run")
    assert times is not None
    with capsys.disabled():  # told, and not asserted: other tests run beside this one
        print()
        print(f"{'':10}{'planned':>12}{'real':>12}")
        for name in planned:
            print(f"{name:10}{planned[name]:12.0f}{requests[name]:12}")
        print(f"{'bytes in':10}{option['bytes_in']:12.0f}{moved['GET']:12}")
        print(f"{'bytes out':10}{option['bytes_out']:12.0f}{moved['PUT']:12}")
        print(f"{'memory':10}{plan['memory']['worker']:12}{peak:12}")
        print(f"{'s a task':10}{plan['times']['seconds']:12.3f}{times.seconds:12.3f}")

    again = json.loads(service.producer("plan", *boxes, "--from-job", "job", "--json"))
    assert again["boxes"]["done"] == count
    assert again["times"]["seconds"] == pytest.approx(times.seconds)
    assert again["memory"]["worker"] == peak
