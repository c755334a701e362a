"""Scenario `clock`: the clocks of workers are wrong by a quarter of an hour, in both directions.

SQS is away for longer than the lease meanwhile, so that workers must agree by storage who holds a
task. The job completes, each task runs once, and `verify` and `verify --quick` find nothing wrong.
Then blocks are replaced by others, which they must find.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.record import Record
from chunkflow_worker.storage.files import Files
from tests.chaos.calm import place_on_s3
from tests.chaos.report import Report, broken
from tests.chaos.verified import verify
from tests.support.aws_sqs import AWAY, SqsServer, aws_sqs
from tests.support.service import BLOCK, Service

Place = Literal["disk", "S3"]
PLACES: tuple[Place, ...] = ("disk", "S3")
WRONG_BY = (-900, 0, 900)  # seconds, of one worker each
WRONG_CLOCK = Path(__file__).parents[1] / "support" / "wrong_clock"
LEASE_SECONDS, MAX_RECEIVES, IN_FLIGHT = 6, 3, 2
OLDER = 150  # seconds by which a block is older that an earlier run wrote
COLUMNS = (
    "seed",
    "volumes on",
    "clocks wrong by, min",
    "tasks",
    "done",
    "task starts",
    "most attempts",
    "dead letters",
    "output",
    "verify finds wrong",
    "verify --quick finds wrong",
    "blocks replaced",
    "found by verify",
    "found by verify --quick",
)


@dataclass(frozen=True)
class Outcome:
    """What one job left.

    wrong, quick: boxes that verify named before blocks were replaced. replaced: boxes with such a
    block. found, found_quick: what verify named then.
    """

    seed: int
    place: Place
    tasks: int
    records: Sequence[Record]
    starts: int
    dead: int
    exited: int
    equal: bool
    wrong: set[str]
    quick: set[str]
    replaced: set[str]
    found: set[str]
    found_quick: set[str]

    @property
    def attempts(self) -> int:
        return max(record.attempts for record in self.records)

    def broken(self) -> list[str]:
        """The promises that were not kept."""
        promises = {
            "every task is done": len(self.records) == self.tasks,
            "each worker did tasks": len({r.worker for r in self.records}) == len(WRONG_BY),
            "each task runs once": self.starts == self.tasks and self.attempts == 1,
            "no message is dead": not self.dead,
            "no worker exits": not self.exited,
            "the output is right": self.equal,
            "verify finds nothing wrong": not self.wrong,
            "verify --quick finds nothing wrong": not self.quick,
            "verify finds what was replaced, and no more": self.found == self.replaced,
            # Times tell nothing of a block that was written later.
            "verify --quick finds what is old, and no more": self.found_quick
            == (self.replaced if self.place == "disk" else set()),
        }
        return [f"{promise} ({self.place})" for promise in broken(promises)]

    def row(self) -> Sequence[object]:
        clocks = ", ".join(f"{seconds // 60:+d}" for seconds in WRONG_BY)
        job = (self.seed, self.place, clocks, self.tasks, len(self.records), self.starts)
        output = "equal" if self.equal else "**differs**"
        wrong = (len(self.wrong), len(self.quick), len(self.replaced))
        return (*job, self.attempts, self.dead, output, *wrong, *self._found())

    def _found(self) -> Sequence[object]:
        return (len(self.found), len(self.found_quick) if self.place == "disk" else "-")


def scenario(
    folder: Path,
    aws: dict[str, str],
    seed: int,
    places: Sequence[Place] = PLACES,
    tasks: int = 24,
    task_seconds: float = 8,
) -> Report:
    outcomes = []
    for place in places:
        root = folder / place
        root.mkdir()
        with aws_sqs() as sqs:
            service = Service(root, f"clock-{uuid.uuid4().hex[:8]}", aws | sqs.variables)
            try:
                outcomes.append(_run(service, sqs, place, seed, tasks, task_seconds))
            finally:
                sqs.clear()
                service.close()
    promises = [promise for outcome in outcomes for promise in outcome.broken()]
    return Report("clock", COLUMNS, [outcome.row() for outcome in outcomes], promises)


def _run(
    service: Service, sqs: SqsServer, place: Place, seed: int, tasks: int, task_seconds: float
) -> Outcome:
    if place == "S3":
        place_on_s3(service, service.queue)
    service.volumes(Vec3(1, 1, tasks) * BLOCK)
    service.chain({"op": "hold", "folder": str(service.root), "seconds": task_seconds})
    service.create_queue(visibility=LEASE_SECONDS, max_receives=MAX_RECEIVES)
    service.enqueue()
    chance = random.Random(seed)
    _start_workers(service)
    workers = len(WRONG_BY) * IN_FLIGHT
    service.wait(lambda: len(service.starts()) >= workers, "all workers at work", 300)
    while len(service.ledger.boxes()[0]) < tasks - workers:
        sqs.set(AWAY)
        threading.Event().wait(chance.uniform(1.5, 2.5) * LEASE_SECONDS)
        sqs.clear()
        threading.Event().wait(chance.uniform(1, 3) * LEASE_SECONDS)
    service.wait_done(tasks, 300)
    service.wait(lambda: service.messages()[:2] == (0, 0), "no message left", 120)
    done, _ = service.ledger.boxes()
    equal = np.array_equal(service.output_where_written(), service.input())
    wrong, quick = verify(service).wrong, verify(service, "--quick").wrong
    replaced = _replace(service, place, chance.sample(sorted(done), tasks // 4))
    return Outcome(
        seed=seed,
        place=place,
        tasks=tasks,
        records=list(service.ledger.records(done)),
        starts=len(service.starts()),
        dead=service.messages()[2],
        exited=sum(process.poll() is not None for process in service.workers),
        equal=equal,
        wrong=wrong,
        quick=quick,
        replaced=replaced,
        found=verify(service).wrong,
        found_quick=verify(service, "--quick").wrong,
    )


def _start_workers(service: Service) -> None:
    """Each is a new interpreter, since a clock can't be changed in one that runs."""
    right = service.environment["PYTHONPATH"]
    for number, wrong_by in enumerate(WRONG_BY):
        service.environment["PYTHONPATH"] = os.pathsep.join([str(WRONG_CLOCK), right])
        service.environment["CLOCK_IS_WRONG_BY"] = str(wrong_by)
        name = f"worker-{number}"
        service.start_command(in_flight=IN_FLIGHT, metrics="none", worker_name=name)
    service.environment["PYTHONPATH"] = right
    del service.environment["CLOCK_IS_WRONG_BY"]


def _replace(service: Service, place: Place, boxes: Sequence[str]) -> set[str]:
    """Replace blocks by that of another box; on disk, by one that is older than the task."""
    names = [f"8_8_40/{'_'.join(reversed(box.split('_')))}" for box in boxes]
    if place == "S3":
        files = Files(service.path("out"))
        voxels = files.get(names[0])
        assert voxels is not None
        for name in names[1:]:
            files.put(name, voxels, "application/octet-stream")
        return set(boxes[1:])
    first, *others = (service.root / "out" / name for name in names)
    for file in others:
        began = file.stat().st_mtime
        shutil.copyfile(first, file)
        os.utime(file, (began - OLDER, began - OLDER))
    return set(boxes[1:])
