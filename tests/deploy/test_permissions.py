"""Each permission of the stack's roles taken away in turn: what is said, and that nothing is lost.

test_aws_permissions.py shows that the roles have exactly the permissions that are used.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import boto3
import numpy as np
import pytest
from cloudfiles.interfaces import reset_connection_pools

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import ChunkflowError, exit_status
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.inbox import Inbox
from chunkflow_worker.job.message import TaskMessage, encode
from chunkflow_worker.job.sqs import find_queue, make_client
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.service.poller import Poller
from chunkflow_worker.service.worker import Worker
from producer.cli import main as producer
from tests.deploy.role_service import RoleService, role_service
from tests.deploy.roles import Guard, Right, guarded
from tests.support.run_command import Finished, run_command

pytestmark = pytest.mark.e2e

BOX = "0-16_0-64_0-64"
OUTSIDE = "0-16_0-64_640-704"
SECONDS = 60


@pytest.fixture
def guard() -> Iterator[Guard]:
    with guarded() as made:
        yield made


@pytest.fixture
def service(tmp_path: Path, aws: dict[str, str]) -> Iterator[RoleService]:
    """A job of one box."""
    with role_service(tmp_path, aws) as made:
        made.volumes(Vec3(16, 64, 64))
        made.chain()
        yield made


@pytest.fixture
def role(service: RoleService, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process has the role of a worker. The clients of `service` keep all rights."""
    service.enqueue()
    service.come_as("worker")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    for name in ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.setenv(name, service.environment[name])
    with new_credentials():
        yield


@contextmanager
def new_credentials() -> Iterator[None]:
    """Forget connections and credentials that libraries keep for this process."""
    reset_connection_pools()
    with patch.object(boto3, "DEFAULT_SESSION", None):
        yield
    reset_connection_pools()


@dataclass
class Process:
    """A worker in this process. statuses: with which it would have ended the process."""

    service: RoleService
    worker: Worker
    poller: Poller
    statuses: list[int] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def start(cls, service: RoleService) -> Process:
        """Do what a worker does before its first message. Raises ChunkflowError as it does."""
        settings = Settings(
            pipeline=service.pipeline,
            queue=service.queue,
            metrics_namespace=service.queue,
            health_folder=str(service.root),
            spot_notice=False,
            in_flight=1,
            grace_seconds=0,
        )
        client = make_client(settings.region)
        poller = Poller(Inbox(client, client, find_queue(client, service.queue), 1))
        made = cls(service, Worker(settings, Pipeline.load(service.pipeline), poller), poller)
        made.worker._exit_process = made._end
        made.worker.open()
        return made

    def _end(self, status: int) -> None:
        self.statuses.append(status)
        self.ended.set()

    def run(self) -> int:
        """Receive once and do the tasks; returns their number."""
        messages = [m for m in self.poller.poll(1) if self.poller.take(m)]
        for message in messages:
            self.worker.run(message["Delivery"])
        return len(messages)

    def run_until(self, said: str, log: pytest.LogCaptureFixture) -> None:
        """Work until the log has a text, then stop the worker as a signal does."""
        thread = threading.Thread(target=self.run)
        thread.start()
        self.service.wait(lambda: said in log.text, said, SECONDS)
        self.worker.stop()
        assert self.ended.wait(SECONDS)
        thread.join(SECONDS)
        assert not thread.is_alive()

    def close(self) -> None:
        self.poller.close()
        self.worker.close()


def right(action: str, resource: str, service: RoleService) -> Right:
    """resource: `queue`, `dead`, or a bucket with a pattern of keys, such as `out/*`."""
    name = service.queue
    if resource in ("queue", "dead"):
        return Right(action, f"arn:aws:sqs:*:{name}" + ("-dead" if resource == "dead" else ""))
    return Right(action, "*" if resource == "*" else f"arn:aws:s3:::{name}-{resource}")


def nothing_was_done(service: RoleService) -> bool:
    """No record, no voxel, and the message is where it was."""
    done, failed, *_ = service.ledger.listing()
    return not done and not failed and not service.output_where_written().any()


def everything_was_done(service: RoleService) -> bool:
    return service.ledger.listing().done == {BOX} and np.array_equal(
        service.output(), service.input()
    )


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("sqs:GetQueueUrl", "queue"),
        ("sqs:GetQueueUrl", "dead"),
        ("sqs:GetQueueAttributes", "queue"),
        ("s3:GetObject", "in/*"),
        ("s3:GetObject", "out/*"),
    ],
)
def test_a_worker_that_cannot_start_ends_with_status_2(
    service: RoleService, role: None, guard: Guard, action: str, resource: str
) -> None:
    guard.denied = {right(action, resource, service)}
    with pytest.raises(ChunkflowError) as refusal:
        Process.start(service)
    assert exit_status(refusal.value) == 2
    assert f"access denied: the credentials in use may not {action}" in str(refusal.value)
    assert f"allow {action}" in str(refusal.value), "the cure"
    guard.denied = set()
    assert service.messages() == (1, 0, 0)
    assert nothing_was_done(service)


@pytest.mark.long
@pytest.mark.parametrize(
    ("action", "resource", "said"),
    [
        ("sqs:GetQueueAttributes", "dead", ""),
        ("cloudwatch:PutMetricData", "*", "cloudwatch:PutMetricData"),
        ("sqs:SendMessage", "queue", ""),
        ("sqs:SendMessage", "dead", ""),
    ],
)
def test_a_task_is_done_without_the_permissions_that_it_does_not_need(
    service: RoleService,
    role: None,
    guard: Guard,
    caplog: pytest.LogCaptureFixture,
    action: str,
    resource: str,
    said: str,
) -> None:
    guard.denied = {right(action, resource, service)}
    with closing(Process.start(service)) as process:
        assert process.run() == 1
    assert said in caplog.text
    assert process.statuses == []
    assert service.messages() == (0, 0, 0)
    assert everything_was_done(service)


@pytest.mark.long
def test_a_worker_that_may_not_receive_stops_at_once(
    service: RoleService, role: None, guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    guard.denied = {right("sqs:ReceiveMessage", "queue", service)}
    with closing(Process.start(service)) as process:
        assert process.run() == 0
        assert process.ended.wait(SECONDS)
        assert process.statuses == [2]
    assert "the credentials in use may not sqs:ReceiveMessage" in caplog.text
    guard.denied = set()
    assert service.messages() == (1, 0, 0)
    assert nothing_was_done(service)


@pytest.mark.long
def test_a_task_that_may_not_be_deleted_is_done_once_and_not_lost(
    service: RoleService, role: None, guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    guard.denied = {right("sqs:DeleteMessage", "queue", service)}
    with closing(Process.start(service)) as process:
        assert process.run() == 1
        assert "message not deleted" in caplog.text
        assert "sqs:deletemessage" in caplog.text.lower()
        assert everything_was_done(service)
        assert sum(service.messages()) == 1, "the message is still there"
        assert process.ended.wait(SECONDS)
        assert process.statuses == [2]
    record = service.ledger.read(BOX)
    guard.denied = set()
    service.wait(lambda: service.messages() == (1, 0, 0), "the lease to end", SECONDS)
    with closing(Process.start(service)) as process:
        assert process.run() == 1
    assert service.ledger.read(BOX) == record, "it was not done again"
    assert service.messages() == (0, 0, 0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:PutObject", "out/*"),
        ("s3:PutObjectAcl", "out/*"),
    ],
)
def test_a_worker_that_may_not_write_keeps_its_task_and_gives_it_back(
    service: RoleService,
    role: None,
    guard: Guard,
    caplog: pytest.LogCaptureFixture,
    action: str,
    resource: str,
) -> None:
    guard.denied = {right(action, resource, service)}
    with closing(Process.start(service)) as process:
        process.run_until(f"the credentials in use may not {action}", caplog)
    assert process.statuses == [0]
    guard.denied = set()
    assert service.messages() == (1, 0, 0), "a copy without a lost attempt"
    assert nothing_was_done(service)


@pytest.mark.long
def test_a_task_that_may_not_be_given_back_is_not_lost(
    service: RoleService, role: None, guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    guard.denied = {
        right("s3:PutObject", "out/*", service),
        right("sqs:SendMessage", "queue", service),
    }
    with closing(Process.start(service)) as process:
        process.run_until("the credentials in use may not s3:PutObject", caplog)
    assert "the credentials in use may not sqs:SendMessage" in caplog.text
    assert process.statuses == [0]
    guard.denied = set()
    service.wait(lambda: service.messages() == (1, 0, 0), "the lease to end", SECONDS)
    assert nothing_was_done(service)


@pytest.mark.long
@pytest.mark.parametrize("body", ["no task", encode(TaskMessage(job="job", bbox=OUTSIDE), "q")])
def test_what_may_not_be_a_dead_letter_stays_a_message(
    service: RoleService,
    role: None,
    guard: Guard,
    caplog: pytest.LogCaptureFixture,
    body: str,
) -> None:
    url = service.sqs.get_queue_url(QueueName=service.queue)["QueueUrl"]
    service.sqs.purge_queue(QueueUrl=url)
    service.sqs.send_message(QueueUrl=url, MessageBody=body)
    guard.denied = {right("sqs:SendMessage", "dead", service)}
    with closing(Process.start(service)) as process:
        process.run()
    assert "sqs:sendmessage" in caplog.text.lower()
    assert process.statuses == []
    guard.denied = set()
    service.wait(lambda: service.messages() == (1, 0, 0), "the lease to end", SECONDS)


@pytest.mark.long
@pytest.mark.parametrize("resource", ["in", "out"])
def test_a_worker_that_may_not_list_does_its_tasks_or_names_the_action(
    service: RoleService,
    role: None,
    guard: Guard,
    caplog: pytest.LogCaptureFixture,
    resource: str,
) -> None:
    """Only objects that do not exist are refused then, and S3 names this action for them."""
    guard.denied = {right("s3:ListBucket", resource, service)}
    with closing(Process.start(service)) as process:
        if resource == "in":
            assert process.run() == 1
        else:
            process.run_until("the credentials in use may not s3:ListBucket", caplog)
    guard.denied = set()
    if resource == "out":
        assert process.statuses == [0]
        assert service.messages() == (1, 0, 0)
        assert service.ledger.boxes() == (set(), set()), "what has no record is done again"
        with closing(Process.start(service)) as process:
            assert process.run() == 1
    assert everything_was_done(service)
    assert service.messages() == (0, 0, 0)


@pytest.mark.long
def test_a_worker_that_may_not_delete_objects_loses_no_task(
    service: RoleService, role: None, guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot remove the record of an earlier failure, so its success is not complete."""
    guard.denied = {right("s3:DeleteObject", "out/*", service)}
    with closing(Process.start(service)) as process:
        process.run_until("the credentials in use may not s3:DeleteObject", caplog)
    assert process.statuses == [0]
    guard.denied = set()
    assert service.messages() == (1, 0, 0)
    assert np.array_equal(service.output(), service.input())


@pytest.mark.long
def test_a_worker_that_may_not_renew_stops_at_once(
    service: RoleService, role: None, guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    guard.denied = {right("sqs:ChangeMessageVisibility", "queue", service)}
    with closing(Process.start(service)) as process:
        process.run()
        assert process.ended.wait(SECONDS)
    assert process.statuses[0] == 2
    assert "sqs:ChangeMessageVisibility" in caplog.text
    guard.denied = set()
    assert sum(service.messages()) == 1 - len(service.ledger.listing().done)


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
