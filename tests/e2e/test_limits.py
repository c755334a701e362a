"""Signals, spot notices, and tasks that hang or take too much memory, with real workers."""

from __future__ import annotations

import signal
import time

import pytest

from chunkflow_worker.cli.worker import main
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.message import TaskMessage, encode, open_envelope
from chunkflow_worker.job.sqs import find_queue
from tests.support.metadata import metadata_service
from tests.support.proxy import fault_proxy
from tests.support.run_command import run_command
from tests.support.service import Service

pytestmark = pytest.mark.e2e

FIRST, SECOND = "0-16_0-64_0-64", "0-16_0-64_64-128"


def hold(service: Service, tasks: int = 1, max_receives: int = 5) -> None:
    service.volumes(Vec3(16, 64, 64 * tasks))
    service.chain({"op": "hold", "folder": str(service.root)})
    service.create_queue(visibility=60, max_receives=max_receives)
    service.enqueue()


def receives(service: Service) -> dict[str, tuple[int, int]]:
    """The attempts in each visible message, and how often SQS delivered it, by box.

    It receives the messages, and counts this delivery.
    """
    queue = find_queue(service.sqs, service.queue)
    answer = service.sqs.receive_message(
        QueueUrl=queue.url,
        MaxNumberOfMessages=10,
        MessageSystemAttributeNames=["ApproximateReceiveCount"],
    )
    opened = [
        (open_envelope(m["Body"], service.queue)[0], m["Attributes"]) for m in answer["Messages"]
    ]
    return {
        message.bbox: (message.attempts, int(counts["ApproximateReceiveCount"]))
        for message, counts in opened
    }


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGQUIT, marks=pytest.mark.long),
        pytest.param(signal.SIGHUP, marks=pytest.mark.long),
    ],
)
def test_each_signal_drains_and_a_second_one_gives_back_at_once(
    service: Service, number: signal.Signals
) -> None:
    hold(service)
    worker = service.start_worker(grace_seconds=600)
    service.wait(lambda: service.starts(), "a task started")
    worker.send_signal(number)
    service.wait(lambda: "stopping: 1 tasks" in service.logs(), "the worker drains")
    worker.send_signal(number)
    assert service.wait(lambda: service.messages()[0] == 1, "the message visible again") < 2
    assert worker.wait(20) == 0
    idle = service.start_worker()
    service.wait(lambda: len(service.starts()) == 2, "the task started again")
    service.go()
    service.wait(lambda: service.messages() == (0, 0, 0), "an idle worker")
    idle.send_signal(number)
    assert idle.wait(20) == 0


@pytest.mark.parametrize(
    "number", [signal.SIGHUP, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_a_worker_that_is_still_opening_ends_without_an_error(
    service: Service, number: signal.Signals
) -> None:
    service.volumes(Vec3(16, 64, 64))
    service.chain({"op": "hold", "folder": str(service.root), "opening": True})
    service.create_queue(visibility=60)
    worker = service.start_worker()
    service.wait((service.root / "opening").exists, "volumes and models being opened")
    worker.send_signal(number)
    assert worker.wait(10) == 0
    assert "error" not in service.logs()


def test_hung_task_fails_and_will_be_retried_and_the_worker_ends(service: Service) -> None:
    hold(service, tasks=2, max_receives=2)
    worker = service.start_worker(in_flight=1, task_time_limit=2)
    assert worker.wait(40) == 71
    assert "exceeds the limit of 2 s" in service.logs()
    (failure,) = service.records()
    assert (failure.state, failure.attempts, failure.final) == ("failed", 1, False)
    assert "ended after 2 s" in failure.error
    assert service.messages() == (2, 0, 0)


def test_tasks_beside_a_hung_one_go_back_without_an_attempt(service: Service) -> None:
    hold(service, tasks=3)
    worker = service.start_worker(in_flight=2, task_time_limit=6)
    service.wait(lambda: len(service.starts()) == 2, "two tasks started")
    hung, passes = service.starts()
    began = time.monotonic()
    service.wait(
        lambda: time.monotonic() - began > 2,
        "a head start of the hung task, so that it alone is over the limit",
    )
    (service.root / f"go-{passes}").touch()
    service.wait(lambda: len(service.starts()) == 3, "a third one started later")
    beside = service.starts()[2]
    assert worker.wait(40) == 71
    assert {r.bbox: (r.state, r.attempts) for r in service.records()} == {
        hung: ("failed", 1),
        passes: ("done", 1),
    }
    assert receives(service) == {hung: (0, 2), beside: (0, 1)}


def test_a_spot_notice_drains_a_worker(service: Service) -> None:
    hold(service)
    with metadata_service() as metadata:
        service.environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.address
        service.environment.pop("AWS_EC2_METADATA_DISABLED", None)
        worker = service.start_worker()
        service.wait(service.starts, "a task started")
        assert metadata.turns.acquire(timeout=20), "the worker asks"
        assert worker.poll() is None
        metadata.notice = '{"action": "terminate", "time": "2026-01-01T00:02:00Z"}'
        assert worker.wait(20) == 0
    assert (
        "EC2 will interrupt this spot machine (terminate at 2026-01-01T00:02:00Z): draining"
        in service.logs()
    )
    assert receives(service) == {FIRST: (0, 1)}
    assert not service.records()


def test_a_hanging_cloudwatch_delays_the_end_of_a_worker_by_seconds_only(
    service: Service, aws: dict[str, str]
) -> None:
    hold(service)
    service.go()
    with fault_proxy(aws["AWS_ENDPOINT_URL"]) as (address, proxy):
        proxy.set("monitoring", "hang")
        service.environment["AWS_ENDPOINT_URL_CLOUDWATCH"] = address
        worker = service.start_worker()
        service.wait_done(1)
        service.wait(lambda: proxy.faults["monitoring"], "a request that hangs")
        worker.terminate()
        assert service.wait(lambda: worker.poll() is not None, "the worker's end") < 8
    assert worker.returncode == 0
    assert "metric values were not sent to CloudWatch" in service.logs()


def test_memory_over_the_limit_ends_the_task_before_the_kernel_does(service: Service) -> None:
    service.volumes(Vec3(16, 64, 128))
    service.chain({"op": "hoard", "box": FIRST, "megabytes": 100_000})
    service.create_queue(visibility=60, max_receives=2)
    service.enqueue()
    worker = service.start_worker(memory_limit="700MiB")
    assert worker.wait(60) == 72
    failure = next(r for r in service.records() if r.state == "failed")
    assert failure.bbox == FIRST
    assert "MiB are used and the limit is 700 MiB" in failure.error
    assert not failure.final


def test_box_outside_the_job_is_refused(service: Service) -> None:
    hold(service)
    service.go()
    queue = find_queue(service.sqs, service.queue)
    odd = TaskMessage(job="job", bbox=str(BoundingBox.parse("0-16_0-64_0-32")))
    service.sqs.send_message(QueueUrl=queue.url, MessageBody=encode(odd, service.queue))
    service.start_worker()
    service.wait_done(1)
    service.wait(lambda: service.messages() == (0, 0, 1), "one dead letter")
    assert service.starts() == [FIRST]
    (failure,) = [r for r in service.records() if r.state == "failed"]
    assert "is not a box of job job" in failure.error


def test_health_follows_a_worker(service: Service) -> None:
    hold(service)
    service.environment["CHUNKFLOW_HEALTH_FOLDER"] = str(service.root)

    def health(*options: str) -> tuple[int, str]:
        done = run_command(main, "health", *options, environment=service.environment)
        return done.status, done.stdout + done.stderr

    assert health("--live")[0] == 1
    worker = service.start_worker()
    service.wait(lambda: health("--ready") == (0, "1 ready\n"), "a ready worker")
    assert health("--live") == (0, "1 alive\n")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert health("--live")[0] == 1
