"""A whole job, from the first message to the last repair, with the roles of the stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.exceptions import ClientError

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.sqs import find_queue
from tests.deploy.role_service import RoleService, role_service
from tests.deploy.roles import Guard, guarded

pytestmark = pytest.mark.e2e

ABSENT, FAILING, HEALTHY = "0-16_0-64_64-128", "0-16_64-128_0-64", "0-16_64-128_64-128"


@pytest.fixture
def guard() -> Iterator[Guard]:
    with guarded() as made:
        yield made


@pytest.fixture
def service(tmp_path: Path, aws: dict[str, str]) -> Iterator[RoleService]:
    with role_service(tmp_path, aws, max_receives=2) as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_needs_exactly_the_permissions_of_its_roles(
    service: RoleService, guard: Guard
) -> None:
    service.volumes(Vec3(16, 128, 128))
    failing = service.root / "failing"
    failing.write_text(FAILING)
    service.chain({"op": "hold", "folder": str(service.root)}, {"op": "fail", "file": str(failing)})
    lost = take_away(service, "in", "64-128_0-64_0-16")
    enqueue, size = ["enqueue", "--queue", service.queue], ["-c", "16", "64", "64"]
    error = service.refused(*enqueue, "-v", f"{service.path('in')}/nowhere", *size)
    assert "Forbidden" not in error, "the error says that the volume does not exist"
    service.enqueue()
    service.produce("pause", "--why", "a look")
    assert "job, paused" in service.produce("jobs")
    service.produce("resume")

    service.come_as("worker")  # is stopped during a task, and gives it back
    stopped = service.start_worker(metrics_namespace=service.queue)
    service.wait(lambda: service.starts(), "a task to start")
    stopped.terminate()
    assert stopped.wait(20) == 0, service.logs()
    assert "gave 1 unfinished tasks back" in service.logs()

    service.go()  # the input of one box is missing, another box always fails
    service.work_until(done=2, dead=2)
    service.produce("status", "--queue", service.queue)
    failures = service.produce("failures", "--queue", service.queue)
    assert "made to fail" in failures
    assert "AccessDenied" not in failures
    assert "Forbidden" not in failures

    put_back(service, lost)
    failing.write_text("")
    service.produce("redrive", "--queue", service.queue)
    service.work_until(done=4)

    take_away(service, "out", "64-128_64-128_0-16")
    service.produce("verify", "--enqueue")
    service.work_until(done=4)
    service.produce("verify")
    service.produce("wait", "--queue", service.queue)
    service.produce("drop", "--queue", service.queue, "--job", "job", "--yes")
    service.produce(*enqueue, "-v", service.path("in"), *size, "--skip-done")
    assert np.array_equal(service.output(), service.input())

    # All look whether there is a queue for high priority, and do without one.
    high = f"{service.queue}-high"
    refused = [right for _, right in guard.refused if not right.resource.endswith(high)]
    assert refused == []
    assert {right.action for _, right in guard.refused} <= {"sqs:GetQueueUrl"}
    assert set(guard.granted) == {"WorkerRole", "ProducerRole"}
    unused = {name: sorted(rights - guard.used[name]) for name, rights in guard.granted.items()}
    assert unused == {"WorkerRole": [], "ProducerRole": []}, "every permission is used"


def test_what_a_role_may_not_do_is_refused(service: RoleService, guard: Guard) -> None:
    found = find_queue(service.sqs, service.queue)
    queue, dead = found.url, found.dead_letter_url
    inside, outside = f"{service.queue}-in", f"{service.queue}-out"
    boto3.client("s3").put_object(Bucket=outside, Key="other/log/a.json", Body=b"")
    worker, producer = clients(service, "worker"), clients(service, "producer")
    datum = {"MetricName": "m", "Value": 1.0}
    refusals: dict[str, Callable[[], object]] = {
        "worker writes its input": lambda: worker("s3").put_object(
            Bucket=inside, Key="in/0", Body=b""
        ),
        "worker reads beside its output": lambda: worker("s3").get_object(
            Bucket=outside, Key="other/log/a.json"
        ),
        "worker deletes beside its output": lambda: worker("s3").delete_object(
            Bucket=outside, Key="other/log/a.json"
        ),
        "worker takes dead letters": lambda: worker("sqs").receive_message(QueueUrl=dead),
        "worker changes its queue": lambda: worker("sqs").set_queue_attributes(
            QueueUrl=queue, Attributes={"DelaySeconds": "1"}
        ),
        "worker speaks for another": lambda: worker("cloudwatch").put_metric_data(
            Namespace="another", MetricData=[datum]
        ),
        "producer takes tasks": lambda: producer("sqs").receive_message(QueueUrl=queue),
        "producer deletes the queue": lambda: producer("sqs").delete_queue(QueueUrl=queue),
        "producer writes voxels": lambda: producer("s3").put_object(
            Bucket=outside, Key="out/8_8_40/0", Body=b""
        ),
        "producer writes voxels of a volume named like a ledger": lambda: producer("s3").put_object(
            Bucket=outside, Key="out/catalog/8_8_40/0", Body=b""
        ),
        "worker makes its output public": lambda: worker("s3").put_object(
            Bucket=outside, Key="out/8_8_40/0", Body=b"", ACL="public-read"
        ),
        "producer sends times": lambda: producer("cloudwatch").put_metric_data(
            Namespace=service.queue, MetricData=[datum]
        ),
    }
    for what, attempt in refusals.items():
        with pytest.raises(ClientError) as refusal:
            attempt()
        assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, what
    assert len(guard.refused) == len(refusals)
    worker("cloudwatch").put_metric_data(Namespace=service.queue, MetricData=[datum])
    producer("s3").put_object(Bucket=outside, Key="out/log/jobs/a.json", Body=b"")


def clients(service: RoleService, role: str) -> Callable[[str], Any]:
    """Return a function that makes clients with the role."""
    answer = boto3.client("sts").assume_role_with_web_identity(
        RoleArn=service.roles[role],
        RoleSessionName="test",
        WebIdentityToken="of the cluster's identity provider",
    )
    keys = answer["Credentials"]
    session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
    return lambda name: session.client(name)


def take_away(service: RoleService, volume: str, block: str) -> tuple[str, str, bytes, str]:
    """Delete a block, named in xyz; return its bucket, key, content and encoding."""
    bucket, s3 = f"{service.queue}-{volume}", boto3.client("s3")
    (key,) = [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"] if block in o["Key"]]
    found = s3.get_object(Bucket=bucket, Key=key)
    s3.delete_object(Bucket=bucket, Key=key)
    return bucket, key, found["Body"].read(), found.get("ContentEncoding", "")


def put_back(service: RoleService, block: tuple[str, str, bytes, str]) -> None:
    bucket, key, body, encoding = block
    boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=body, ContentEncoding=encoding)
