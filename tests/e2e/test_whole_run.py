"""Whole jobs: from the producer over SQS and workers to the output, its records and metrics."""

from __future__ import annotations

import uuid
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import boto3
import numpy as np
import pytest

from chunkflow_worker.image.bbox import Vec3
from tests.support.service import Service

pytestmark = pytest.mark.e2e

IDENTITY = {
    "op": "inference",
    "framework": "identity",
    "input_patch_size": [8, 32, 32],
    "output_patch_overlap": [2, 8, 8],
    "num_output_channels": 1,
}


def test_two_workers_give_what_one_box_on_the_command_line_gives(service: Service) -> None:
    service.volumes(Vec3(40, 160, 150), block=Vec3(8, 32, 32))
    service.chain({"op": "normalize-intensity"}, IDENTITY, {"op": "threshold", "threshold": 0.2})
    service.create_queue(visibility=30)
    service.enqueue(chunk=Vec3(16, 64, 64))
    for _ in range(2):
        service.start_worker(in_flight=2)
    service.wait_done(3 * 3 * 3)
    service.run_in_one_box()
    assert np.array_equal(service.output(), service.read("whole")), "byte for byte"
    assert np.array_equal(service.output(), service.input() / np.float32(127.5) - 1 > 0.2), (
        "and what the chain says"
    )


def test_metrics_of_cloudwatch_equal_the_sums_of_the_ledger(service: Service) -> None:
    namespace = f"test-{uuid.uuid4().hex[:8]}"
    service.volumes(Vec3(16, 128, 192))
    service.chain(IDENTITY, {"op": "fail", "box": "0-16_64-128_64-128"})
    service.create_queue(visibility=3, max_receives=2)
    service.enqueue()
    began = datetime.now(UTC) - timedelta(minutes=1)
    workers = [service.start_worker(in_flight=2, metrics_namespace=namespace) for _ in range(2)]
    service.wait_done(5)
    service.wait(lambda: service.messages() == (0, 0, 1), "one dead letter")
    for worker in workers:
        worker.terminate()
        assert worker.wait(20) == 0

    sums: dict[tuple[str, str], float] = defaultdict(float)
    client = boto3.client("cloudwatch")
    kinds = {
        (m["MetricName"], tuple((d["Name"], d["Value"]) for d in m["Dimensions"]))
        for m in all_metrics(client, namespace)
    }
    for name, dimensions in kinds:
        assert dict(dimensions).keys() >= {"job", "compute_device"}
        answer = client.get_metric_statistics(
            Namespace=namespace,
            MetricName=name,
            Dimensions=[{"Name": k, "Value": v} for k, v in dimensions],
            StartTime=began,
            EndTime=datetime.now(UTC) + timedelta(minutes=1),
            Period=86400,
            Statistics=["Sum"],
        )
        sums[name, dict(dimensions).get("operator", "")] += sum(
            p["Sum"] for p in answer["Datapoints"]
        )

    done = [r for r in service.records() if r.state == "done"]
    expected = {
        ("TasksSucceeded", ""): len(done),
        ("TasksRetried", ""): 1,
        ("TasksFailed", ""): 1,
        ("TaskSeconds", ""): sum(r.seconds for r in done),
        ("Voxels", ""): sum(r.voxels for r in done),
        ("VoxelsPerSecond", ""): sum(r.voxels / r.seconds for r in done),
    }
    for operator in ("load-precomputed", "inference", "fail", "save-precomputed"):
        expected["OperatorSeconds", operator] = sum(r.timer[operator] for r in done)
    assert len(done) == 5
    assert sums == pytest.approx(expected)


def all_metrics(client, namespace: str) -> list[dict]:  # type: ignore[no-untyped-def]
    pages = client.get_paginator("list_metrics").paginate(Namespace=namespace)
    return [metric for page in pages for metric in page["Metrics"]]


def test_work_goes_on_with_cloudwatch_away(service: Service) -> None:
    service.volumes(Vec3(16, 64, 128))
    service.chain()
    service.create_queue()
    service.enqueue()
    service.environment["AWS_ENDPOINT_URL_CLOUDWATCH"] = "http://127.0.0.1:9"
    worker = service.start_worker()
    service.wait_done(2)
    worker.terminate()
    assert worker.wait(40) == 0
    assert service.logs().count("CloudWatch does not answer") == 1
    assert "were not sent to CloudWatch" in service.logs()


def test_volumes_on_s3(service: Service) -> None:
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    service.place = f"s3://{bucket}"
    service.volumes(Vec3(16, 64, 128))
    service.chain(IDENTITY)
    service.create_queue()
    service.enqueue()
    service.start_worker(in_flight=2)
    service.wait_done(2)
    assert np.array_equal(service.output(), service.input())
    keys = [
        o["Key"]
        for o in boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix="out/log/")["Contents"]
    ]
    keys = [key for key in keys if not key.startswith("out/log/workers/")]  # of the one that runs
    assert sorted(keys) == [
        "out/log/0-16_0-64_0-64.json",
        "out/log/0-16_0-64_64-128.json",
        "out/log/jobs/job.0-2.sent",
        "out/log/jobs/job.json",
    ]
