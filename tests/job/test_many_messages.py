from __future__ import annotations

from chunkflow_worker.job.many_messages import delete_messages, show_messages
from chunkflow_worker.job.sqs import Queue, receive
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from tests.support.queues import send


def received(sqs: StubSqs, queue: Queue, count: int) -> list[str]:
    for _ in range(count):
        send(sqs, queue)
    found = list[str]()
    while len(found) < count:
        found += [one["ReceiptHandle"] for one in receive(sqs, queue.url, 10, 0)]
    return found


def test_messages_are_deleted_ten_by_a_request(sqs: StubSqs, queue: Queue) -> None:
    receipts = received(sqs, queue, 23)
    assert list(delete_messages(sqs, queue.url, receipts[:21])) == []
    assert len(sqs.bodies(queue.url)) == 2
    assert sqs.called("delete_message") == 21


def test_messages_become_visible_but_for_those_that_are_gone(sqs: StubSqs, queue: Queue) -> None:
    receipts = received(sqs, queue, 23)
    sqs.delete_message(queue.url, receipts[3])
    assert sqs.visible(queue.url) == []
    list(show_messages(sqs, queue.url, receipts))
    assert len(sqs.visible(queue.url)) == 22
    assert sqs.called("change_message_visibility_batch") == 3
    assert list(show_messages(sqs, queue.url, [])) == []
