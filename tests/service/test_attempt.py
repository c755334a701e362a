from __future__ import annotations

import logging

import pytest

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.clipped import Clipped
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.message import TaskMessage
from chunkflow_worker.job.record import Written
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report.events import TaskFailed, TaskFinished
from chunkflow_worker.service.attempt import Attempt, failed_event, finished_event

BOX = BoundingBox.parse("0-4_0-4_0-8")
DELIVERY = Delivery(TaskMessage(job="job", bbox=str(BOX), attempts=1), "id", receives=2)


def test_a_success_is_recorded_with_what_the_task_measured() -> None:
    with Attempt(Task(bbox=BOX, delivery=DELIVERY), "d1", "worker-1") as attempt:
        task = attempt.task
        task.device, task.precision, task.patches, task.patches_skipped = "gpu", "float16", 5, 2
        task.seconds, task.waited = {"load": 1.0}, 0.5
        task.models = {"inference.convnet_model": "0a1b"}
        task.bytes_read, task.bytes_written = 10, 20
        task.written.append(Written("v", 0, str(BOX), "00000000"))
        task.clipped.append(Clipped("save", 3, 128))
        record = attempt.done()
    assert record.clipped == [Clipped("save", 3, 128)]
    assert (record.bbox, record.job, record.task_id, record.state) == (
        str(BOX),
        "job",
        "id",
        "done",
    )
    assert (record.attempts, record.worker, record.pipeline) == (3, "worker-1", "d1")
    assert (record.compute_device, record.precision) == ("gpu", "float16")
    assert record.models == {"inference.convnet_model": "0a1b"}
    assert (record.patches, record.patches_skipped) == (5, 2)
    assert (record.timer, record.waited, record.voxels) == ({"load": 1.0}, 0.5, 128)
    assert (record.bytes_read, record.bytes_written) == (10, 20)
    assert record.written == [Written("v", 0, str(BOX), "00000000")]
    assert (record.error, record.skipped, record.log, record.final) == ("", "", [], False)


@pytest.mark.parametrize(("why", "recorded"), [("all black", "all black"), ("", "nothing to do")])
def test_a_skipped_task_is_recorded_with_its_reason(why: str, recorded: str) -> None:
    with Attempt(Task(bbox=BOX), "", "w") as attempt:
        record = attempt.skipped(why)
    assert (record.state, record.skipped) == ("skipped", recorded)


def test_a_failure_is_recorded_without_secrets_and_with_the_log_of_its_thread() -> None:
    with Attempt(Task(bbox=BOX), "", "w") as attempt:
        logging.getLogger("net").warning("aws_secret_access_key=abcdefgh")
        try:
            raise ValueError("token aws_secret_access_key=abcdefgh")
        except ValueError as error:
            record = attempt.failed(error, final=True)
    logging.getLogger("net").warning("after the attempt")
    assert (record.state, record.final) == ("failed", True)
    assert record.error == "token aws_secret_access_key=***"
    assert record.log[0].endswith("WARNING net: aws_secret_access_key=***")
    assert record.log[-1] == "ValueError: token aws_secret_access_key=***"
    assert "abcdefgh" not in record.model_dump_json()


def test_a_local_task_has_a_job_of_that_name_and_one_attempt() -> None:
    with Attempt(Task(bbox=BOX), "d1", "w") as attempt:
        record = attempt.done()
    assert (record.job, record.task_id, record.attempts) == ("local", "", 1)


def test_a_task_without_a_box_takes_that_of_its_volume() -> None:
    with Attempt(Task(), "d1", "w") as attempt:
        assert attempt.box is None
        with pytest.raises(ValueError, match="without a box"):
            attempt.done()
        attempt.task.bbox = BOX
        assert attempt.done().bbox == str(BOX)


def test_the_box_that_was_asked_for_is_recorded_though_an_operator_moved_it() -> None:
    with Attempt(Task(bbox=BOX), "", "w") as attempt:
        attempt.task.bbox = BoundingBox.parse("0-2_0-2_0-4")
        record = attempt.done()
    assert (record.bbox, record.voxels) == (str(BOX), 128)


def test_a_restart_forgets_what_was_measured_and_keeps_the_log() -> None:
    with Attempt(Task(bbox=BOX, delivery=DELIVERY), "", "w", elapsed=100) as attempt:
        attempt.task.patches = 7
        logging.getLogger("storage").warning("away")
        assert attempt.done().seconds > 100
        attempt.restart()
        record = attempt.failed(ValueError("x"))
    assert (record.patches, record.task_id) == (0, "id")
    assert record.seconds < 100
    assert record.log[0].endswith("storage: away")


def test_events_follow_from_records() -> None:
    with Attempt(Task(bbox=BOX, delivery=DELIVERY), "", "w") as attempt:
        attempt.task.device = "gpu"
        done, failed = attempt.done(), attempt.failed(ValueError("bad"), final=True)
    assert finished_event(done) == TaskFinished("job", BOX, "done", done.seconds, 128, {}, "gpu")
    assert finished_event(attempt.skipped("x")).state == "skipped"
    assert failed_event(failed) == TaskFailed("job", BOX, 3, True, "bad", "gpu")
