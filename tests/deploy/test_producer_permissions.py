"""Each permission of a producer's role taken away in turn: what is said, and that nothing is lost.

test_aws_permissions.py shows that the roles have exactly the permissions that are used.
"""

from __future__ import annotations

import sys
from contextlib import closing

import boto3
import pytest

from chunkflow_worker.job.message import TaskMessage, encode
from producer.cli import main as producer
from tests.deploy.one_worker import (
    BOX,
    Process,
    new_credentials,
    right,
)
from tests.deploy.role_service import RoleService
from tests.deploy.roles import Guard
from tests.support.run_command import Finished, run_command

pytestmark = pytest.mark.e2e


def produce(service: RoleService, *line: str) -> Finished:
    service.come_as("producer")
    with new_credentials():
        return run_command(producer_main, *line, environment=service.environment)


def producer_main() -> int:
    return producer(sys.argv[1:])


QUEUE, LEDGER = "--queue={queue}", "--pipeline={pipeline}"
ENQUEUE = ("enqueue", QUEUE, LEDGER, "--job=more", "-v", "{in}", "-c", "16", "64", "64")
STATUS, FAILURES = ("status", QUEUE, LEDGER), ("failures", QUEUE, LEDGER)
REDRIVE, VERIFY = ("redrive", QUEUE, LEDGER), ("verify", LEDGER, "--job=job")
PRODUCER = [
    (ENQUEUE, "sqs:GetQueueUrl", "queue"),
    (ENQUEUE, "sqs:GetQueueUrl", "dead"),
    (ENQUEUE, "sqs:GetQueueAttributes", "queue"),
    (ENQUEUE, "sqs:SendMessage", "queue"),
    (ENQUEUE, "s3:GetObject", "in/*"),
    (ENQUEUE, "s3:ListBucket", "out"),
    (ENQUEUE, "s3:PutObject", "out/out/log/*"),
    (ENQUEUE, "s3:PutObjectAcl", "out/out/log/*"),
    (STATUS, "sqs:GetQueueAttributes", "queue"),
    (STATUS, "sqs:GetQueueAttributes", "dead"),
    (STATUS, "s3:ListBucket", "out"),
    (STATUS, "s3:GetObject", "out/*"),
    (FAILURES, "sqs:ReceiveMessage", "dead"),
    (FAILURES, "s3:GetObject", "out/*"),
    (REDRIVE, "sqs:ReceiveMessage", "dead"),
    (REDRIVE, "sqs:SendMessage", "queue"),
    (REDRIVE, "sqs:DeleteMessage", "dead"),
    (VERIFY, "s3:ListBucket", "out"),
    (VERIFY, "s3:GetObject", "out/*"),
]


@pytest.mark.long
@pytest.mark.parametrize(("line", "action", "resource"), PRODUCER)
def test_a_producer_names_what_it_may_not_and_loses_nothing(
    service: RoleService, guard: Guard, line: tuple[str, ...], action: str, resource: str
) -> None:
    service.enqueue()
    body = encode(TaskMessage(job="job", bbox=BOX), service.queue)
    dead = service.sqs.get_queue_url(QueueName=f"{service.queue}-dead")["QueueUrl"]
    url = service.sqs.get_queue_url(QueueName=service.queue)["QueueUrl"]
    if line[0] == "verify":
        service.sqs.purge_queue(QueueUrl=url)
    else:
        service.sqs.send_message(QueueUrl=dead, MessageBody=body)
    before = service.messages()
    guard.denied = {right(action, resource, service)}
    names = {"queue": service.queue, "pipeline": service.pipeline, "in": service.path("in")}
    done = produce(service, *(word.format(**names) for word in line))
    guard.denied = set()
    assert done.status == 2, done.stderr
    assert f"may not {action}" in done.stderr
    assert f"allow {action}" in done.stderr, "the cure"
    assert "Traceback" not in done.stderr
    waiting, hidden, letters = service.messages()
    assert (waiting + hidden) >= sum(before[:2])
    assert letters + hidden + waiting >= sum(before)


@pytest.mark.long
@pytest.mark.parametrize(
    ("action", "resource"), [("s3:DeleteObject", "out/out/log/*"), ("sqs:SendMessage", "queue")]
)
def test_a_repair_that_may_not_go_on_names_the_action_and_can_be_repeated(
    service: RoleService, guard: Guard, action: str, resource: str
) -> None:
    """`verify --enqueue` removes the record of a wrong box, then sends the box again."""
    service.enqueue()
    with closing(Process.start(service)) as process:
        assert process.run() == 1
    objects = boto3.resource("s3").Bucket(f"{service.queue}-out").objects.all()
    [block] = (found for found in objects if found.key.endswith("/0-64_0-64_0-16"))
    block.delete()
    repair = ("verify", f"--pipeline={service.pipeline}", "--job=job", "--enqueue")
    guard.denied = {right(action, resource, service)}
    denied = produce(service, *repair)
    guard.denied = set()
    assert denied.status == 2, denied.stderr
    assert f"may not {action}" in denied.stderr
    assert f"allow {action}" in denied.stderr, "the cure"
    assert service.messages() == (0, 0, 0)
    done = produce(service, *repair)
    assert done.status == 0, done.stderr
    assert service.messages() == (1, 0, 0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("line", "action"),
    [
        (("create", "{queue}-more"), "sqs:GetQueueUrl"),  # to see whether it exists
        (("create", "{queue}", "--visibility=77"), "sqs:SetQueueAttributes"),
        (("delete", "{queue}", "--yes"), "sqs:DeleteQueue"),
    ],
)
def test_who_may_not_manage_queues_is_told_which_action(
    service: RoleService, guard: Guard, line: tuple[str, ...], action: str
) -> None:
    """A producer's role may not: the stack makes the queue."""
    service.enqueue()
    done = produce(service, "queue", *(word.format(queue=service.queue) for word in line))
    assert done.status == 2, done.stderr
    assert f"may not {action}" in done.stderr
    assert service.messages() == (1, 0, 0)
