"""Jobs of high priority beside others on one queue."""

from __future__ import annotations

import json

import pytest

from chunkflow_worker.image.bbox import Vec3
from producer.cli import main as run_producer
from tests.support.run_command import run_command
from tests.support.service import BLOCK, Service

pytestmark = pytest.mark.e2e

NORMAL, HIGH = 200, 20
SIZE = Vec3(16, 11 * 64, 20 * 64)


def enqueue(service: Service, job: str, first: int, last: int, *options: str) -> str:
    grid = ["-v", service.path("in"), "--chunk-size", *map(str, BLOCK)]
    part = ["-i", str(first), "-p", str(last), "--job", job, *options]
    chain = ["--queue", service.queue, "--pipeline", str(service.pipeline)]
    return service.producer("enqueue", *chain, *grid, *part)


def status(service: Service) -> dict[str, object]:
    printed = service.producer("status", "--queue", service.queue, "--json")
    found: dict[str, object] = json.loads(printed)
    return found


def test_what_is_sent_later_with_high_priority_is_done_first(service: Service) -> None:
    service.volumes(SIZE)
    service.chain()
    service.producer("queue", "create", service.queue, "--high")
    enqueue(service, "long", 0, NORMAL)
    printed = enqueue(service, "urgent", NORMAL, NORMAL + HIGH, "--priority", "high")
    assert f"{HIGH} tasks of job urgent to queue {service.queue}-high" in printed
    found = status(service)
    assert (found["waiting"], found["high"]) == (NORMAL + HIGH, HIGH)
    service.start_worker()
    urgent = range(HIGH + HIGH // 3 + 3)
    service.wait_done(len(urgent))
    records = sorted(service.records(), key=lambda record: record.finished)
    jobs = [records[place].job for place in urgent]
    assert jobs.count("urgent") == HIGH, "it is done while most of the other job waits"
    assert jobs[: HIGH // 2].count("long") >= 2, "which goes on all the same"
    assert {record.error for record in records} == {""}


def test_high_priority_needs_its_queue(service: Service) -> None:
    service.volumes(Vec3(16, 64, 64))
    service.chain()
    service.create_queue()
    place = ["--queue", service.queue, "-v", service.path("in"), "-c", *map(str, BLOCK)]
    done = run_command(
        *(run_producer, "enqueue", *place, "--pipeline", str(service.pipeline)),
        *("--priority", "high"),
        environment=service.environment,
    )
    assert done.status == 2
    assert f"queue create {service.queue} --high" in done.stderr
    assert not service.ledger.has_jobs()
