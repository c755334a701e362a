"""Boxes that fail, malformed messages, jobs for another pipeline."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.message import TaskMessage, encode
from chunkflow_worker.job.sqs import find_queue
from tests.support.service import Service

pytestmark = pytest.mark.e2e

POISON = "0-16_64-128_0-64"
CELERY = (sys.executable, "-m", "celery", "-A", "chunkflow_worker", "worker")


@pytest.mark.parametrize(
    ("permanent", "attempts"), [pytest.param(True, 1, marks=pytest.mark.long), (False, 2)]
)
def test_failing_box_ends_in_the_dead_letters_and_all_others_complete(
    service: Service, permanent: bool, attempts: int
) -> None:
    """Named defect of the peer: one task's error ended the worker."""
    service.volumes(Vec3(16, 128, 128))
    service.chain({"op": "fail", "box": POISON, "permanent": permanent})
    service.create_queue(visibility=3, max_receives=2)
    service.enqueue()
    service.start_worker(in_flight=2)
    service.wait_done(3)
    service.wait(lambda: service.messages() == (0, 0, 1), "one dead letter")
    (failure,) = [r for r in service.records() if r.state == "failed"]
    assert failure.bbox == POISON
    assert f"fail on {POISON}" in failure.error
    assert "made to fail" in failure.error
    assert failure.final
    assert failure.attempts == attempts
    output, source = service.output_where_written(), service.input()
    poison = BoundingBox.parse(POISON).slices()
    assert not output[poison].any()
    output[poison] = source[poison]
    assert np.array_equal(output, source)


def test_code_that_asks_to_exit_fails_its_task_and_costs_the_worker_nothing(
    service: Service,
) -> None:
    service.volumes(Vec3(16, 64, 192))
    service.chain({"op": "fail", "box": "0-16_0-64_0-64", "leave": True})
    service.create_queue(max_receives=2)
    service.enqueue()
    service.start_worker()
    service.wait_done(2)
    service.wait(lambda: service.messages() == (0, 0, 1), "one dead letter")
    (failure,) = [r for r in service.records() if r.state == "failed"]
    assert "SystemExit: made to leave" in failure.error


def test_attempts_of_earlier_copies_count_to_the_dead_letters(service: Service) -> None:
    service.volumes(Vec3(16, 64, 64))
    service.chain({"op": "fail", "box": "0-16_0-64_0-64"})
    service.create_queue(max_receives=5)
    queue = find_queue(service.sqs, service.queue)
    message = TaskMessage(job="job", bbox="0-16_0-64_0-64", attempts=4)
    service.sqs.send_message(QueueUrl=queue.url, MessageBody=encode(message, service.queue))
    service.start_worker()
    service.wait(lambda: service.messages() == (0, 0, 1), "one dead letter")
    (failure,) = service.records()
    assert (failure.attempts, failure.final) == (5, True)


def test_failed_task_is_kept_when_the_redrive_policy_is_taken_away(service: Service) -> None:
    """kombu alone would delete the message."""
    service.volumes(Vec3(16, 64, 64))
    service.chain({"op": "fail", "box": "0-16_0-64_0-64"})
    service.create_queue(visibility=3)
    queue = find_queue(service.sqs, service.queue)
    service.start_worker(backoff_seconds=600)
    service.wait(lambda: "in flight" in service.logs(), "the start line")
    service.sqs.set_queue_attributes(QueueUrl=queue.url, Attributes={"RedrivePolicy": ""})
    body = encode(TaskMessage(job="job", bbox="0-16_0-64_0-64"), service.queue)
    service.sqs.send_message(QueueUrl=queue.url, MessageBody=body)
    service.wait(lambda: service.records(), "a failure recorded")
    worker = service.workers[-1]
    worker.terminate()
    assert worker.wait(20) == 0
    counts = service.sqs.get_queue_attributes(QueueUrl=queue.url, AttributeNames=["All"])[
        "Attributes"
    ]
    kinds = ("", "NotVisible", "Delayed")
    assert sum(int(counts[f"ApproximateNumberOfMessages{kind}"]) for kind in kinds) == 1


def test_missing_input_is_an_error_and_not_zeros(service: Service) -> None:
    service.volumes(Vec3(16, 64, 128))
    (block,) = Path(service.root, "in").glob("*/64-128_0-64_0-16*")
    block.unlink()
    service.chain()
    service.create_queue()
    service.enqueue()
    service.start_worker()
    service.wait(lambda: service.messages() == (0, 0, 1), "one dead letter")
    (failure,) = [r for r in service.records() if r.state == "failed"]
    assert "lacks the block" in failure.error


def test_malformed_messages_go_to_the_dead_letters_and_the_worker_lives(service: Service) -> None:
    service.volumes(Vec3(16, 64, 64))
    service.chain()
    service.create_queue()
    queue = find_queue(service.sqs, service.queue)
    good = json.loads(encode(TaskMessage(job="job", bbox="0-16_0-64_0-64"), service.queue))
    no_id = json.loads(json.dumps(good))
    del no_id["headers"]["id"]
    no_type = {k: v for k, v in good.items() if k != "content-type"}
    pickled = good | {"content-type": "application/x-python-serialize"}
    # Fields that only Celery and kombu read are dropped, whatever they hold.
    odd = good | {
        "headers": good["headers"] | {"stamps": 5, "shadow": [1]},
        "properties": good["properties"] | {"priority": "x"},
    }
    service.sqs.send_message(QueueUrl=queue.url, MessageBody=json.dumps(odd))
    for body in (no_id, no_type, pickled, {"headers": []}, "not json"):
        service.sqs.send_message(
            QueueUrl=queue.url, MessageBody=body if isinstance(body, str) else json.dumps(body)
        )
    worker = service.start_worker()
    service.wait(lambda: service.messages() == (0, 0, 5), "five dead letters")
    service.wait_done(1)
    assert worker.poll() is None


def test_job_for_another_pipeline_stops_the_worker_and_is_left_to_others(service: Service) -> None:
    service.volumes(Vec3(16, 64, 64))
    service.chain()
    service.create_queue()
    service.enqueue()
    right = service.pipeline.read_text()
    service.chain({"op": "hold", "folder": str(service.root)})
    wrong = service.start_worker()
    assert wrong.wait(30) == 0
    assert "is for pipeline" in service.logs()
    service.pipeline.write_text(right)
    service.start_worker()
    service.wait_done(1)


def test_missing_queue_is_reported_and_not_created(service: Service) -> None:
    service.volumes(Vec3(16, 64, 64))
    service.chain()
    worker = service.start_worker()
    assert worker.wait(30) == 2
    assert f"chunkflow-producer queue create {service.queue}" in service.logs()
    assert "Traceback" not in service.logs()


def test_absent_output_volume_ends_the_worker_before_it_takes_a_task(service: Service) -> None:
    service.volumes(Vec3(16, 64, 64))
    service.chain()
    service.pipeline.write_text(service.pipeline.read_text().replace("/out", "/nowhere"))
    service.create_queue()
    worker = service.start_worker(ledger=service.path("log"))
    assert worker.wait(30) == 2
    assert "no volume here" in service.logs()
    assert "Traceback" not in service.logs()


@pytest.mark.long  # each worker that a test starts calls the same `main`, with `--app`
def test_celery_command_is_the_same_worker(service: Service) -> None:
    service.volumes(Vec3(16, 64, 64))
    service.chain()
    service.create_queue()
    service.enqueue()
    service.start_command(*CELERY)
    service.wait_done(1)


@pytest.mark.long  # tests/service/test_app.py has the same without a process
def test_other_pools_are_refused(service: Service) -> None:
    service.volumes(Vec3(16, 64, 64))
    service.chain()
    service.create_queue()
    worker = service.start_command(*CELERY, "--pool", "solo")
    assert worker.wait(60) != 0
    assert "only in Celery's threads pool" in service.logs()
