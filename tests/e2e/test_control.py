"""Jobs that are paused, resumed, cancelled and purged while workers work on them."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from chunkflow_worker.image.bbox import Vec3
from producer.cli import main as run_producer
from tests.support.run_command import run_command
from tests.support.service import Service

pytestmark = pytest.mark.e2e

SIZE, BOXES = Vec3(16, 256, 256), 16
LIMIT = 4
LOOK = {"control_seconds": 0.2}


def enqueue(service: Service, job: str, start: Vec3, size: Vec3) -> None:
    """Enqueue the boxes of a region."""
    place = ["-v", service.path("in"), "--chunk-size", "16", "64", "64"]
    region = ["--roi-start", *map(str, start), "--roi-size", *map(str, size)]
    queue = ["--queue", service.queue, "--job", job, "--pipeline", str(service.pipeline)]
    service.producer("enqueue", *queue, *place, *region)


def of_job(service: Service, job: str = "job") -> list[str]:
    return ["--pipeline", str(service.pipeline), "--job", job]


def attempts(service: Service, job: str) -> int:
    """How many attempts of a job were started."""
    return sum(f"of job {job}, attempt" in line for line in service.lines())


def test_a_job_that_always_fails_is_paused_and_another_goes_on(service: Service) -> None:
    service.volumes(SIZE)
    failing = service.root / "failing"
    poor = [f"0-16_{y}-{y + 64}_{x}-{x + 64}" for y in (0, 64) for x in range(0, 256, 64)]
    failing.write_text("\n".join(poor))
    service.chain({"op": "fail", "file": str(failing)})
    service.create_queue(visibility=5, max_receives=10)
    half = Vec3(16, 128, 256)
    enqueue(service, "poor", Vec3(0, 0, 0), half)
    enqueue(service, "good", Vec3(0, 128, 0), half)
    for _ in range(2):
        service.start_worker(breaker_failures=LIMIT, backoff_seconds=1, **LOOK)
    service.wait_done(BOXES // 2)
    service.wait(lambda: "job poor is paused: " in service.logs(), "the job paused")
    service.wait(lambda: service.ledger.boxes()[0].isdisjoint(poor), "nothing of it done")
    waited = run_command(
        *(run_producer, "wait", "--queue", service.queue, *of_job(service, "poor")),
        environment=service.environment,
    )
    assert waited.status == 3, waited
    assert re.search(r"paused by worker .*boxes failed for one cause.*made to fail", waited.stderr)
    service.wait(lambda: service.messages()[:2] == (0, len(poor)), "its messages put aside")
    tried = attempts(service, "poor")
    assert LIMIT <= tried <= 2 * LIMIT, tried
    tripped = [line for line in service.lines() if "then run: chunkflow-producer resume" in line]
    assert len(tripped) == 1, "one worker says so, once"

    failing.write_text("")
    said = service.producer("resume", *of_job(service, "poor"))
    assert "come back within about" in said
    service.wait_done(BOXES)
    service.wait(lambda: service.messages() == (0, 0, 0), "empty queues")
    assert np.array_equal(service.output(), service.input())


def test_pause_and_resume_under_load_do_every_box_once(service: Service) -> None:
    service.volumes(SIZE)
    service.chain({"op": "hold", "folder": str(service.root), "seconds": 0.3})
    service.create_queue()
    service.enqueue()
    for _ in range(2):
        service.start_worker(in_flight=2, **LOOK)
    service.wait_done(3)
    service.producer("pause", *of_job(service), "--why", "a look at the net")
    service.wait(lambda: service.messages()[0] == 0, "messages taken or put aside")
    service.wait(
        lambda: sum(service.messages()) == BOXES - len(service.ledger.boxes()[0]),
        "tasks in progress done",
    )
    started = service.starts()
    assert len(started) < BOXES
    status = service.producer("status", "--queue", service.queue, *of_job(service))
    assert "a look at the net; mend it, then run: chunkflow-producer resume --job job" in status
    jobs = service.producer("jobs", "--pipeline", str(service.pipeline))
    assert f"job, paused, {len(started)}/{BOXES} done, 0 failed" in jobs
    service.producer("resume", *of_job(service))
    service.wait_done(BOXES)
    service.wait(lambda: service.messages() == (0, 0, 0), "empty queues")
    assert Counter(service.starts()) == Counter({r.bbox: 1 for r in service.records()})
    assert {record.attempts for record in service.records()} == {1}
    assert np.array_equal(service.output(), service.input())


def test_a_cancelled_job_is_dropped_and_counted(service: Service) -> None:
    service.volumes(SIZE)
    service.chain({"op": "hold", "folder": str(service.root)})
    service.create_queue()
    service.enqueue()
    service.start_worker(in_flight=2, log_level="DEBUG", **LOOK)
    service.wait(lambda: len(service.starts()) == 2, "two tasks in progress")
    said = service.producer("cancel", *of_job(service), "--yes", "--why", "wrong region")
    assert "is cancelled" in said
    service.go()
    service.wait(lambda: service.messages() == (0, 0, 0), "empty queues")
    done = len(service.ledger.boxes()[0])
    assert done == len(service.starts()) < BOXES
    dropped = [line for line in service.lines() if " dropped 0-16" in line]
    assert len(dropped) == BOXES - done
    assert any("messages dropped by this worker: 1" in line for line in service.lines())
    status = service.producer("status", "--queue", service.queue, *of_job(service))
    assert re.search(rf"cancelled by .* wrong region; {BOXES - done} boxes were not done", status)
    assert service.records()[0].state == "done", "no box has a record of being dropped"


def test_a_purge_leaves_the_tasks_in_progress(service: Service) -> None:
    service.volumes(SIZE)
    service.chain({"op": "hold", "folder": str(service.root)})
    service.create_queue()
    service.enqueue()
    service.start_worker(in_flight=2, **LOOK)
    service.wait(lambda: len(service.starts()) == 2, "two tasks in progress")
    said = service.producer("queue", "purge", service.queue, "--yes")
    assert f"deleted the messages of queue {service.queue}: {BOXES}, approximately" in said
    again = run_command(
        *(run_producer, "queue", "purge", service.queue, "--yes"),
        environment=service.environment,
    )
    assert again.status == 2
    assert "SQS allows one purge in 60 seconds" in again.stderr
    service.go()
    service.wait_done(2)
    assert len(service.starts()) == 2
    service.producer("verify", "--enqueue", "--queue", service.queue, *of_job(service))
    service.wait_done(BOXES)
    assert Counter(service.starts()) == Counter({r.bbox: 1 for r in service.records()})
