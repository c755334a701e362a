from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.inbox import Inbox, Received
from chunkflow_worker.job.lease import Lease
from chunkflow_worker.job.sqs import Queue, QueueUnavailable, find_queue
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from producer.send.queue import create_queue
from tests.support.queues import BOX, send

AWAY = EndpointConnectionError(endpoint_url="http://127.0.0.1")


@pytest.fixture
def inbox(sqs: StubSqs, queue: Queue) -> Inbox:
    return Inbox(sqs, sqs, queue, wait_seconds=5)


def test_messages_are_received_and_opened(inbox: Inbox, sqs: StubSqs, queue: Queue) -> None:
    for i in range(3):
        send(sqs, queue, task_id=f"id-{i}")
    first = inbox.receive(2)
    assert [d.task_id for d in first.deliveries] == ["id-0", "id-1"]
    assert [d.task_id for d in inbox.receive(10).deliveries] == ["id-2"]
    assert inbox.receive(10) == Received([])
    assert sqs.seconds_hidden(queue.url) == [30] * 3


def test_a_visibility_timeout_of_ones_own(sqs: StubSqs, queue: Queue) -> None:
    send(sqs, queue)
    Inbox(sqs, sqs, queue, 5, visibility_seconds=7).receive()
    assert sqs.seconds_hidden(queue.url) == [7]


def test_malformed_messages_go_to_the_dead_letters_unchanged(
    inbox: Inbox, sqs: StubSqs, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    for body in ("junk", '{"headers": {"task": "os.system"}}'):
        sqs.send_message(queue.url, body)
    send(sqs, queue)
    received = inbox.receive(10)
    assert [d.message.bbox for d in received.deliveries] == [BOX]
    assert received.refused == 2
    assert sqs.visible(queue.dead_letter_url) == ["junk", '{"headers": {"task": "os.system"}}']
    assert len(sqs.bodies(queue.url)) == 1
    assert caplog.text.count("refused message") == 2


@pytest.mark.parametrize("error", [AWAY, RuntimeError("anything")])
def test_a_message_that_cannot_be_refused_stays(
    inbox: Inbox,
    sqs: StubSqs,
    queue: Queue,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    sqs.send_message(queue.url, "junk")
    send(sqs, queue)
    sqs.fail["send_message"] = error
    received = inbox.receive(10)
    assert [d.message.bbox for d in received.deliveries] == [BOX], "the others are not lost"
    assert received.refused == 1
    assert sqs.bodies(queue.url)[0] == "junk"
    assert "stays in the queue" in caplog.text


def test_plain_boxes_are_malformed_unless_the_caller_allows_them(
    inbox: Inbox, sqs: StubSqs, queue: Queue
) -> None:
    sqs.send_message(queue.url, BOX)
    allowing = Inbox(sqs, sqs, queue, 5, plain_boxes=True)
    (delivery,) = allowing.receive().deliveries
    assert delivery.plain_body == BOX
    sqs.clock.advance(30)
    assert inbox.receive() == Received([], refused=1)


def test_an_outage_is_one_kind_of_error(inbox: Inbox, sqs: StubSqs) -> None:
    sqs.fail["receive_message"] = AWAY
    with pytest.raises(QueueUnavailable, match=r"queue q: 127\.0\.0\.1 cannot be reached"):
        inbox.receive()


def test_a_released_message_is_visible_at_once(inbox: Inbox, sqs: StubSqs, queue: Queue) -> None:
    send(sqs, queue)
    (delivery,) = inbox.receive().deliveries
    assert sqs.visible(queue.url) == []
    inbox.release(delivery)
    assert len(sqs.visible(queue.url)) == 1


def test_a_message_that_cannot_be_released_is_only_logged(
    inbox: Inbox, sqs: StubSqs, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    send(sqs, queue)
    (delivery,) = inbox.receive().deliveries
    sqs.fail["change_message_visibility"] = AWAY
    inbox.release(delivery)
    assert "visible only when its visibility timeout expires" in caplog.text


@pytest.fixture
def both(sqs: StubSqs) -> Queue:
    create_queue(sqs, "q", max_receives=3, visibility_seconds=30, high=True)
    return find_queue(sqs, "q")


def test_high_priority_comes_first_and_the_others_are_not_stopped(
    sqs: StubSqs, both: Queue
) -> None:
    for i in range(8):
        send(sqs, both, task_id=f"normal-{i}")
        send(sqs, both.at(both.high_url), task_id=f"high-{i}")
    inbox = Inbox(sqs, sqs, both, wait_seconds=5)
    found = [inbox.receive(1).deliveries[0] for _ in range(16)]
    assert [d.task_id.split("-")[0] for d in found[:8]] == [*["high"] * 3, "normal"] * 2
    assert len({d.task_id for d in found}) == 16
    assert {d.source for d in found} == set(both.urls)


def test_each_queue_is_waited_for_in_turn_and_the_other_is_asked_before(
    sqs: StubSqs, both: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def receive(**given: Any) -> dict[str, Any]:
        asked.append((given["QueueUrl"], given["WaitTimeSeconds"]))
        return {}

    monkeypatch.setattr(sqs, "receive_message", receive)
    inbox = Inbox(sqs, sqs, both, wait_seconds=5)
    for _ in range(4):
        assert inbox.receive() == Received([])
    assert asked == [*[(both.high_url, 0), (both.url, 5)] * 3, (both.url, 0), (both.high_url, 5)]


def test_what_came_from_the_queue_of_high_priority_goes_back_there(
    sqs: StubSqs, both: Queue
) -> None:
    high = both.at(both.high_url)
    send(sqs, high)
    sqs.send_message(both.high_url, "junk")
    inbox = Inbox(sqs, sqs, both, wait_seconds=5)
    received = inbox.receive(2)
    assert received.refused == 1
    assert sqs.visible(both.dead_letter_url) == ["junk"]
    inbox.release(received.deliveries[0])
    assert len(sqs.visible(both.high_url)) == 1
    (again,) = inbox.receive().deliveries
    Lease(sqs, both, again, 30).give_back(60)
    assert len(sqs.bodies(both.high_url)) == 1
    assert sqs.bodies(both.url) == []


def test_a_queue_of_that_name_with_other_dead_letters_is_left_alone(sqs: StubSqs) -> None:
    create_queue(sqs, "q")
    create_queue(sqs, "q-high")
    assert find_queue(sqs, "q").urls == (find_queue(sqs, "q").url,)
    assert find_queue(sqs, "q-high").high_url == ""
    with pytest.raises(ConfigError, match="in use for something else"):
        create_queue(sqs, "q", high=True)


def test_the_queue_of_high_priority_is_not_a_queue_of_its_own(sqs: StubSqs, both: Queue) -> None:
    with pytest.raises(ConfigError, match="give q: workers take from both"):
        find_queue(sqs, "q-high")


def test_a_role_that_may_not_see_it_takes_from_the_other(
    sqs: StubSqs, both: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sqs.get_queue_url
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetQueueUrl")

    def get(QueueName: str) -> dict[str, Any]:
        if QueueName.endswith("-high"):
            raise denied
        return real(QueueName)

    monkeypatch.setattr(sqs, "get_queue_url", get)
    assert find_queue(sqs, "q").urls == (both.url,)
