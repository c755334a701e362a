"""Each permission of a worker's role taken away in turn: what is said, and that nothing is lost.

test_aws_permissions.py shows that the roles have exactly the permissions that are used.
"""

from __future__ import annotations

import logging
from contextlib import closing

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkflowError, exit_status
from chunkflow_worker.job.message import TaskMessage, encode
from tests.deploy.one_worker import (
    BOX,
    SECONDS,
    Process,
    everything_was_done,
    new_credentials,
    nothing_was_done,
    right,
)
from tests.deploy.role_service import RoleService
from tests.deploy.roles import Guard
from tests.support.records import task_record

pytestmark = pytest.mark.e2e

OUTSIDE = "0-16_0-64_640-704"


def test_a_worker_that_cannot_start_ends_with_status_2(
    service: RoleService, role: None, guard: Guard
) -> None:
    for action, resource in (
        ("sqs:GetQueueUrl", "queue"),
        ("sqs:GetQueueUrl", "dead"),
        ("sqs:GetQueueAttributes", "queue"),
        ("s3:GetObject", "in/*"),
        ("s3:GetObject", "out/*"),
    ):
        guard.denied = {right(action, resource, service)}
        with pytest.raises(ChunkflowError) as refusal, new_credentials():
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
    service.ledger.write(task_record(BOX, "failed"))
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
    """Its lease is longer than the queue's timeout, so that it is to be renewed at once."""
    guard.denied = {right("sqs:ChangeMessageVisibility", "queue", service)}
    with closing(Process.start(service, lease_seconds=3600)) as process:
        process.run()
        assert process.ended.wait(SECONDS)
    assert process.statuses[0] == 2
    assert "sqs:ChangeMessageVisibility" in caplog.text
    guard.denied = set()
    assert sum(service.messages()) == 1 - len(service.ledger.listing().done)
