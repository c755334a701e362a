from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from chunkflow_worker.errors import LeaseLost, StorageUnavailable
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.lease import Lease
from chunkflow_worker.job.message import TaskMessage, open_envelope
from chunkflow_worker.job.sqs import Queue, QueueUnavailable
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from tests.support.queues import BOX, receive

MakeLease = Callable[..., Lease]


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, "ChangeMessageVisibility")


AWAY = EndpointConnectionError(endpoint_url="http://127.0.0.1")


@pytest.fixture
def lease_on(sqs: StubSqs, queue: Queue) -> MakeLease:
    """Receive a message that is sent, and make a lease on it: `lease_on(seconds, **options)`."""

    def make(seconds: int = 60, **options: Any) -> Lease:
        delivery = receive(sqs, queue, BOX)
        return Lease(sqs, queue, delivery, seconds, clock=sqs.clock, **options)

    return make


def test_it_is_renewed_three_times_in_its_span(
    sqs: StubSqs, queue: Queue, lease_on: MakeLease
) -> None:
    lease = lease_on(30)
    for _ in range(10):
        assert lease.renew() == 10
        assert sqs.seconds_hidden(queue.url) == [30]
        sqs.clock.advance(10)
    assert not lease.lost.is_set()


def test_a_message_of_unknown_visibility_is_renewed_at_once_and_no_renewal_follows(
    sqs: StubSqs, queue: Queue, lease_on: MakeLease, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = threading.Semaphore(0)
    hide = sqs.change_message_visibility

    def note(**arguments: object) -> None:
        hide(**arguments)  # type: ignore[arg-type]
        renewed.release()

    monkeypatch.setattr(sqs, "change_message_visibility", note)
    with lease_on(60) as lease:
        assert renewed.acquire(timeout=5)
    assert not lease._thread.is_alive()
    assert sqs.called("change_message_visibility") == 1


def test_a_message_received_for_the_lease_is_not_renewed_at_once(
    sqs: StubSqs, queue: Queue, lease_on: MakeLease
) -> None:
    """A task of seconds needs no renewal."""
    delivery = replace(receive(sqs, queue, BOX), hidden_until=sqs.clock() + 30)
    sqs.clock.advance(4)
    assert Lease(sqs, queue, delivery, 30, clock=sqs.clock)._first_pause() == 6
    sqs.clock.advance(20)
    assert Lease(sqs, queue, delivery, 30, clock=sqs.clock)._first_pause() == 0
    with Lease(sqs, queue, delivery, 7, clock=sqs.clock) as lease:
        lease.acknowledge()
    assert sqs.called("change_message_visibility") == 0


def test_a_message_hidden_for_longer_than_the_lease_is_renewed_at_once(
    sqs: StubSqs, queue: Queue
) -> None:
    """Otherwise the task of a worker that dies would wait for so long."""
    delivery = replace(receive(sqs, queue, BOX), hidden_until=sqs.clock() + 3600)
    assert Lease(sqs, queue, delivery, 30, clock=sqs.clock)._first_pause() == 0


@pytest.mark.parametrize(
    "code",
    [
        "MessageNotInflight",
        "InvalidParameterValue",
        "ReceiptHandleIsInvalid",
        "AWS.SimpleQueueService.NonExistentQueue",
    ],
)
def test_it_is_lost_when_sqs_says_so(
    sqs: StubSqs, queue: Queue, lease_on: MakeLease, code: str
) -> None:
    lease = lease_on()
    sqs.clock.advance(7)
    sqs.fail["change_message_visibility"] = refusal(code)
    assert lease.renew() is None
    assert lease.lost_at == 7
    with pytest.raises(LeaseLost):
        lease.check()


def test_it_is_lost_when_another_worker_has_received_the_message(
    sqs: StubSqs, queue: Queue, lease_on: MakeLease
) -> None:
    lease = lease_on(30)
    sqs.clock.advance(30)
    other = receive(sqs, queue)
    assert lease.renew() is None
    sends = sqs.called("send_message")
    lease.set_delay(0)
    lease.give_back()
    lease.dead_letter()
    lease.acknowledge()
    assert sqs.called("send_message") == sends, "another worker's message is not touched"
    assert sqs.bodies(queue.url)
    assert sqs.seconds_hidden(queue.url) == [queue.visibility_seconds]
    assert other.receives == 2


def test_it_is_lost_when_no_renewal_succeeds_in_time(
    sqs: StubSqs, lease_on: MakeLease, caplog: pytest.LogCaptureFixture
) -> None:
    lease = lease_on(30)
    sqs.fail["change_message_visibility"] = AWAY
    for _ in range(3):
        assert lease.renew() == 2, "it tries again soon"
        sqs.clock.advance(9)
    sqs.clock.advance(3)
    assert lease.renew() is None
    assert "not renewed in time" in caplog.text
    assert caplog.text.count("does not answer") == 1


@pytest.mark.parametrize(
    "error",
    [
        refusal("ServiceUnavailable"),
        AWAY,
        ReadTimeoutError(endpoint_url="http://127.0.0.1"),
        ConnectionClosedError(endpoint_url="http://127.0.0.1"),
        RuntimeError("anything"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_one_failed_renewal_loses_nothing(
    sqs: StubSqs, queue: Queue, lease_on: MakeLease, error: Exception
) -> None:
    """Some of botocore's errors have a response that is None."""
    lease = lease_on(30)
    sqs.fail["change_message_visibility"] = error
    assert lease.renew() == 2
    sqs.clock.advance(2)
    del sqs.fail["change_message_visibility"]
    assert lease.renew() == 10
    assert sqs.seconds_hidden(queue.url) == [30]
    assert not lease.lost.is_set()


def test_the_clock_ends_it_before_the_renewals_notice(sqs: StubSqs, lease_on: MakeLease) -> None:
    """When a process that was paused goes on, the task may be faster than the renewals."""
    lease = lease_on(30)
    assert lease.renew() is not None
    sqs.clock.advance(29)
    lease.check()
    sqs.clock.advance(1)
    with pytest.raises(LeaseLost, match="stood still"):
        lease.check()
    asked = len(sqs.calls)
    assert lease.renew() is None, "lost for good, although nobody has taken the message"
    assert len(sqs.calls) == asked


def test_the_time_before_a_task_begins_counts(sqs: StubSqs, queue: Queue) -> None:
    delivery = replace(receive(sqs, queue, BOX), hidden_until=sqs.clock() + 30)
    sqs.clock.advance(31)
    lease = Lease(sqs, queue, delivery, 60, clock=sqs.clock)
    with pytest.raises(LeaseLost):
        lease.check()


class Hold:
    """What keeps a task from others while SQS is away."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.error: Exception | None = None

    def __call__(self, seconds: int) -> None:
        if self.error is not None:
            raise self.error
        self.times.append(seconds)


@pytest.fixture
def hold() -> Hold:
    return Hold()


def test_while_sqs_is_away_it_goes_on_by_its_hold(
    sqs: StubSqs, queue: Queue, lease_on: MakeLease, hold: Hold
) -> None:
    lease = lease_on(30, hold=hold)
    lease.renew()
    sqs.fail["change_message_visibility"] = AWAY
    for _ in range(30):
        sqs.clock.advance(2)
        assert lease.renew() == 2
        lease.check()
    assert hold.times, "the lease would have ended twice"
    assert len(hold.times) < 6, "it is renewed like a lease"
    assert lease.was_held
    del sqs.fail["change_message_visibility"]
    assert lease.renew() == 2, "SQS has shown the message to others meanwhile"
    lease.check()
    calls = len(sqs.calls)
    lease.acknowledge()
    lease.give_back()
    assert len(sqs.calls) == calls, "what others may have is not touched"
    assert sqs.visible(queue.url)


def test_a_short_outage_needs_no_hold(sqs: StubSqs, lease_on: MakeLease, hold: Hold) -> None:
    lease = lease_on(30, hold=hold)
    lease.renew()
    sqs.fail["change_message_visibility"] = AWAY
    sqs.clock.advance(10)
    lease.renew()
    del sqs.fail["change_message_visibility"]
    assert lease.renew() == 10
    assert not hold.times


def test_it_is_held_in_time_when_sqs_is_slow_to_fail(
    sqs: StubSqs, lease_on: MakeLease, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = lease_on(5, hold=hold)

    def hang(**_: object) -> None:
        sqs.clock.advance(1.25)
        raise ReadTimeoutError(endpoint_url="http://127.0.0.1")

    monkeypatch.setattr(sqs, "change_message_visibility", hang)
    sqs.clock.advance(2.3)  # less than half of the lease, and with the try more than that
    for _ in range(20):
        pause = lease.renew()
        assert pause is not None
        sqs.clock.advance(pause)
    lease.check()


def test_a_hold_expires_like_a_lease(sqs: StubSqs, lease_on: MakeLease, hold: Hold) -> None:
    lease = lease_on(30, hold=hold)
    sqs.fail["change_message_visibility"] = AWAY
    sqs.clock.advance(20)
    assert lease.renew() == 2
    sqs.clock.advance(30)
    with pytest.raises(LeaseLost):
        lease.check()
    assert lease.renew() is None


def test_without_storage_there_is_no_hold(sqs: StubSqs, lease_on: MakeLease, hold: Hold) -> None:
    hold.error = StorageUnavailable("away, too")
    lease = lease_on(30, hold=hold)
    sqs.fail["change_message_visibility"] = AWAY
    sqs.clock.advance(20)
    assert lease.renew() == 2
    sqs.clock.advance(10)
    assert lease.renew() is None
    assert not lease.was_held


def test_a_message_that_another_worker_has_is_lost_in_spite_of_a_hold_that_has_not_begun(
    sqs: StubSqs, queue: Queue, lease_on: MakeLease, hold: Hold
) -> None:
    lease = lease_on(60, hold=hold)
    sqs.clock.advance(40)
    receive(sqs, queue)
    assert lease.renew() is None
    assert not hold.times


def test_a_denied_renewal_is_told_at_once(sqs: StubSqs, lease_on: MakeLease) -> None:
    told: list[Exception] = []
    lease = lease_on(30, denied=told.append)
    sqs.fail["change_message_visibility"] = denial = refusal("AccessDenied")
    lease.renew()
    sqs.fail["change_message_visibility"] = refusal("ExpiredToken")
    lease.renew()
    assert told == [denial]


def test_the_twelve_hours_of_sqs_are_an_end_that_the_log_explains(
    sqs: StubSqs, queue: Queue, lease_on: MakeLease, caplog: pytest.LogCaptureFixture
) -> None:
    lease = lease_on(1000)
    while sqs.clock() < 43_200 - 100:
        assert lease.renew() is not None
        sqs.clock.advance(900)
    sqs.clock.now = 43_150
    assert lease.renew() is not None
    assert sqs.seconds_hidden(queue.url) == [50], "never beyond the limit"
    sqs.clock.now = 43_199.5
    assert lease.renew() is None
    assert "12 hours at most" in caplog.text


def test_giving_back_replaces_the_message_and_costs_no_attempt(
    sqs: StubSqs, queue: Queue, lease_on: MakeLease
) -> None:
    lease = lease_on()
    lease.give_back()
    lease.give_back()
    (body,) = sqs.visible(queue.url)
    assert sqs.bodies(queue.url) == [body], "once, and the first is gone"
    assert open_envelope(body, queue.name)[0].attempts == 0
    operations = [name for name, _ in sqs.calls[-2:]]
    assert operations == ["send_message", "delete_message"], "cut in between, nothing is lost"


def test_a_message_that_cannot_be_given_back_stays(
    sqs: StubSqs, queue: Queue, lease_on: MakeLease
) -> None:
    lease = lease_on()
    sqs.fail["send_message"] = AWAY
    with pytest.raises(QueueUnavailable, match="giving a message back"):
        lease.give_back()
    assert sqs.seconds_hidden(queue.url) == [queue.visibility_seconds]
    del sqs.fail["send_message"]
    lease.give_back()
    assert len(sqs.visible(queue.url)) == 1


def test_acknowledging_deletes_the_message_and_nothing_follows(
    sqs: StubSqs, queue: Queue, lease_on: MakeLease
) -> None:
    lease = lease_on()
    lease.acknowledge()
    lease.give_back()
    lease.set_delay(3)
    lease.acknowledge()
    assert sqs.bodies(queue.url) == []
    assert sqs.called("delete_message") == 1


def test_a_failed_acknowledgement_is_no_error(
    sqs: StubSqs, lease_on: MakeLease, caplog: pytest.LogCaptureFixture
) -> None:
    lease = lease_on()
    sqs.fail["delete_message"] = refusal("ServiceUnavailable")
    lease.acknowledge()
    assert "its task will count as done" in caplog.text


def test_a_dead_letter_has_all_its_attempts_before_it(sqs: StubSqs, queue: Queue) -> None:
    message = TaskMessage(job="job", bbox=BOX, attempts=3)
    sqs.send_message(queue.url, Delivery(message, "id").same_again(queue.name))
    lease = Lease(sqs, queue, receive(sqs, queue), 60, clock=sqs.clock)
    lease.dead_letter()
    lease.set_delay(5)
    assert sqs.bodies(queue.url) == []
    (body,) = sqs.visible(queue.dead_letter_url)
    assert open_envelope(body, queue.name) == (TaskMessage(job="job", bbox=BOX), "id")


def test_a_delay_counts_from_the_moment_it_is_set(
    sqs: StubSqs, queue: Queue, lease_on: MakeLease
) -> None:
    lease = lease_on(60)
    assert lease.renew() == 20
    sqs.clock.advance(59)
    lease.set_delay(40)
    assert sqs.seconds_hidden(queue.url) == [40]


def test_a_delay_that_cannot_be_set_is_no_error(
    sqs: StubSqs, queue: Queue, lease_on: MakeLease, caplog: pytest.LogCaptureFixture
) -> None:
    lease = lease_on()
    sqs.fail["change_message_visibility"] = AWAY
    lease.set_delay(40)
    assert "when its lease expires" in caplog.text


def test_a_long_wait_for_the_next_attempt_is_that_of_a_copy_which_is_not_in_flight(
    sqs: StubSqs, queue: Queue, lease_on: MakeLease
) -> None:
    lease_on().retry_later(600)
    (body,) = sqs.bodies(queue.url)
    assert open_envelope(body, queue.name)[0].attempts == 1, "the attempt is spent"
    assert sqs.seconds_hidden(queue.url) == [600]
    names = ["ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
    counts = sqs.get_queue_attributes(queue.url, names)["Attributes"]
    assert counts == {names[0]: "0", names[1]: "1"}


@pytest.mark.parametrize(("seconds", "is_away"), [(59, False), (600, True)])
def test_a_short_wait_and_one_without_a_copy_are_those_of_the_message(
    sqs: StubSqs, queue: Queue, lease_on: MakeLease, seconds: int, is_away: bool
) -> None:
    lease = lease_on()
    if is_away:
        sqs.fail["send_message"] = AWAY
    lease.retry_later(seconds)
    (body,) = sqs.bodies(queue.url)
    assert open_envelope(body, queue.name)[0].attempts == 0
    assert sqs.seconds_hidden(queue.url) == [seconds]
