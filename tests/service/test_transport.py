"""The transport over SQS in memory, with kombu's connection and an event loop that tests turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from kombu import Connection
from kombu.asynchronous import Hub as KombuHub
from kombu.entity import Queue as KombuQueue
from kombu.message import Message

from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from chunkflow_worker.service import poller as poller_module
from chunkflow_worker.service.poller import Messages, Poller
from chunkflow_worker.service.transport import POLLER, Channel
from tests.support.queues import BOX, send


class Hub:
    """Stands for kombu's event loop: what is to be called soon or later waits in `due`."""

    def __init__(self) -> None:
        self.due: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()

    def call_soon(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.due.append((call, arguments))

    def call_later(self, seconds: float, call: Callable[..., Any], *arguments: Any) -> None:
        self.due.append((call, arguments))

    def turn(self) -> None:
        call, arguments = self.due.popleft()
        call(*arguments)


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def channel(poller: Poller, queue: Queue, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Channel:
    """A channel of a connection as Celery makes it; polls run at once, in the test's thread."""

    def start(deliver: Callable[[Messages], None]) -> None:
        deliver(poller._fill_places())

    monkeypatch.setattr(poller, "start", start)
    monkeypatch.setattr(poller_module, "_TURN_SECONDS", 0)
    options = {POLLER: poller, "predefined_queues": {queue.name: {"url": queue.url}}}
    connection = Connection(
        "sqs://",
        transport="chunkflow_worker.service.transport:Transport",
        transport_options=options,
    )
    made: Channel = connection.channel()
    made.hub = hub
    return made


@pytest.fixture
def received(channel: Channel, queue: Queue) -> list[Message]:
    """The messages that a consumer on the channel gets."""
    messages: list[Message] = []
    KombuQueue(queue.name, channel=channel).consume(callback=messages.append, no_ack=False)
    return messages


def test_messages_reach_the_consumer_with_their_delivery(
    channel: Channel, received: list[Message], hub: Hub, sqs: StubSqs, queue: Queue
) -> None:
    send(sqs, queue)
    hub.turn()  # polls
    assert received == []
    hub.turn()  # hands over what was received
    (message,) = received
    delivery = message.delivery_info["sqs_message"]["Delivery"]
    assert (delivery.message.bbox, delivery.task_id) == (BOX, "id")
    assert message.headers["id"] == "id"
    assert message.content_type == "application/json"


def test_no_more_is_asked_for_than_there_are_places(
    channel: Channel,
    received: list[Message],
    hub: Hub,
    sqs: StubSqs,
    queue: Queue,
    poller: Poller,
) -> None:
    for i in range(4):
        send(sqs, queue, task_id=f"id-{i}")
    for _ in range(10):
        hub.turn()
    assert [message.headers["id"] for message in received] == ["id-0", "id-1"]
    assert sqs.called("receive_message") == 1, "both at once"
    with poller.places.taken():
        pass  # a task that ends
    for _ in range(10):
        hub.turn()
    assert [message.headers["id"] for message in received] == ["id-0", "id-1", "id-2"]
    assert len(sqs.visible(queue.url)) == 1


def test_an_acknowledgement_changes_nothing_in_the_queue(
    received: list[Message], hub: Hub, sqs: StubSqs, queue: Queue
) -> None:
    """The worker settles each message itself, under its lease."""
    for i in range(2):
        send(sqs, queue, task_id=f"id-{i}")
    hub.turn()
    hub.turn()
    before = [name for name, _ in sqs.calls if name != "receive_message"]
    received[0].ack()
    received[1].reject(requeue=True)
    assert [name for name, _ in sqs.calls if name != "receive_message"] == before
    assert len(sqs.bodies(queue.url)) == 2


def test_a_message_that_was_released_meanwhile_is_not_handed_over(
    channel: Channel,
    received: list[Message],
    hub: Hub,
    sqs: StubSqs,
    queue: Queue,
    poller: Poller,
) -> None:
    send(sqs, queue)
    hub.turn()
    poller.close()
    assert len(sqs.visible(queue.url)) == 1
    hub.turn()
    assert received == []


def test_a_message_that_nobody_consumes_any_more_is_released_with_its_place(
    channel: Channel,
    received: list[Message],
    hub: Hub,
    sqs: StubSqs,
    queue: Queue,
    poller: Poller,
) -> None:
    send(sqs, queue)
    hub.turn()
    (tag,) = channel._consumers
    channel.basic_cancel(tag)
    hub.turn()
    assert received == []
    assert len(sqs.visible(queue.url)) == 1
    assert poller.places.free == 2
    assert not hub.due, "nothing is received any more"


def test_the_event_loop_waits_so_that_other_threads_can_wake_it(channel: Channel) -> None:
    """kombu's loop sleeps while it has nothing to read."""

    def sleep(seconds: float) -> None:
        raise AssertionError("nothing can wake it")

    hub = KombuHub()
    transport = channel.connection
    transport.register_with_event_loop(transport, hub)
    transport.register_with_event_loop(transport, hub)  # as when Celery connects again
    loop = hub.create_loop(sleep=sleep)
    woken = threading.Event()
    waking = threading.Thread(target=hub.call_soon, args=(woken.set,))
    waking.start()
    while not woken.is_set():
        next(loop)
    waking.join(10)
    hub.close()


def test_a_shutdown_of_kombu_changes_nothing_in_the_queue(
    channel: Channel, received: list[Message], hub: Hub, sqs: StubSqs, queue: Queue
) -> None:
    send(sqs, queue)
    hub.turn()
    hub.turn()
    calls = len(sqs.calls)
    channel.connection.client.close()
    assert len(received) == 1
    assert len(sqs.calls) == calls


def test_every_turn_of_the_loop_is_noted(
    channel: Channel, received: list[Message], hub: Hub, sqs: StubSqs, poller: Poller
) -> None:
    """Also while no message may be received, since all places are taken."""
    poller.places.reserve(2, 0)
    hub.turn()
    for second in (50, 60):
        sqs.clock.now = second
        hub.turn()
        assert poller.last_turn == second
    assert sqs.called("receive_message") == 0


def test_kombu_uses_the_client_of_the_poller(channel: Channel, sqs: StubSqs) -> None:
    assert channel.sqs() is sqs
    assert channel.sqs("q") is sqs
