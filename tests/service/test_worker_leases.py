"""What a worker does when its lease ends, or SQS refuses it, while a task runs."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError

from chunkflow_worker.errors import LeaseLost
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.service.poller import Poller
from chunkflow_worker.service.worker import Worker
from chunkflow_worker.storage.fence import before_write
from tests.service.stand_ins import AWAY, Chain, Check, Process, failing_with
from tests.support.queues import BOX, receive
from tests.support.records import task_record


def test_a_lost_lease_leaves_the_message_to_the_other_worker(
    make_worker: Callable[..., Worker], chain: Chain, sqs: StubSqs, queue: Queue
) -> None:
    worker = make_worker()
    sends = 0

    def work(task: Task, check: Check) -> None:
        nonlocal sends
        sqs.clock.advance(60)
        receive(sqs, queue)
        (held,) = worker.in_hand.all()
        assert held.lease.renew() is None
        sends = sqs.called("send_message")
        with pytest.raises(LeaseLost):
            check()
        check()

    chain.work = work
    worker.run(receive(sqs, queue, BOX))
    assert sqs.called("send_message") == sends
    assert len(sqs.bodies(queue.url)) == 1
    record = worker.ledger.read(BOX)
    assert record is not None
    assert record.state == "failed"
    assert "lease lost" in record.error


def test_a_task_outlives_an_outage_of_sqs_that_is_longer_than_its_lease(
    make_worker: Callable[..., Worker], chain: Chain, sqs: StubSqs, queue: Queue
) -> None:
    """SQS then delivers the message again, twice: while the task runs, and when it is done."""
    worker = make_worker(lease_seconds=30)
    again: list[Delivery] = []

    def work(task: Task, check: Check) -> None:
        (held,) = worker.in_hand.all()
        sqs.fail["change_message_visibility"] = AWAY
        for _ in range(10):
            sqs.clock.advance(9)
            assert held.lease.renew() is not None
            check()
        sqs.fail.clear()
        again.append(receive(sqs, queue))
        worker.run(again[0])
        assert len(sqs.bodies(queue.url)) == 1
        assert held.lease.renew() is not None, "the message is another's, the task is not"
        check()

    chain.work = work
    worker.run(receive(sqs, queue, BOX))
    assert again[0].attempt == 2
    record = worker.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.attempts) == ("done", 1)
    assert sqs.visible(queue.url) == [], "it was put back with a delay"
    sqs.clock.advance(30)
    last = receive(sqs, queue)
    assert last.attempt == 2, "the receive that SQS lost counts once"
    chain.work = failing_with(AssertionError("it must not run again"))
    worker.run(last)
    assert sqs.bodies(queue.url) == []
    assert [f for f in worker.ledger.files.list() if "held" in f] == []


def denied(action: str) -> ClientError:
    text = f"User: arn:aws:iam::1:user/u is not authorized to perform: sqs:{action} on resource: q"
    return ClientError({"Error": {"Code": "AccessDenied", "Message": text}}, action)


@pytest.mark.parametrize(
    ("method", "action"),
    [
        ("change_message_visibility", "ChangeMessageVisibility"),
        ("delete_message", "DeleteMessage"),
        ("receive_message", "ReceiveMessage"),
    ],
)
def test_a_role_that_lacks_a_permission_stops_the_worker_with_its_name(
    make_worker: Callable[..., Worker],
    chain: Chain,
    sqs: StubSqs,
    queue: Queue,
    poller: Poller,
    process: Process,
    caplog: pytest.LogCaptureFixture,
    method: str,
    action: str,
) -> None:
    worker = make_worker()

    def work(task: Task, check: Check) -> None:
        sqs.fail[method] = denied(action)
        (held,) = worker.in_hand.all()
        held.lease.renew()
        if method == "receive_message":
            assert poller.poll(1) == []

    chain.work = work
    worker.run(receive(sqs, queue, BOX))
    assert process.ended.wait(10)
    assert process.status == 2
    assert f"allow sqs:{action}" in caplog.text
    assert sqs.bodies(queue.url) or worker.ledger.is_done(BOX), "nothing is lost"


def test_what_a_process_that_ends_wrote_late_is_noted(
    make_worker: Callable[..., Worker],
    chain: Chain,
    sqs: StubSqs,
    queue: Queue,
    process: Process,
) -> None:
    """It was paused in the middle of a write, and told to stop meanwhile."""
    worker = make_worker()
    worker.ledger.write(task_record(BOX, pipeline="another"))
    chain.models = {"inference.model": "abc"}

    def work(task: Task, check: Check) -> None:
        before_write()
        sqs.clock.advance(60)
        worker.stop()
        assert process.ended.wait(10)

    chain.work = work
    thread = threading.Thread(target=worker.run, args=(receive(sqs, queue, BOX),))
    thread.start()
    assert process.ended.wait(10)
    thread.join(10)
    assert worker.ledger.listing().late == {BOX}
