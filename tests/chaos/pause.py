"""Scenario `pause`: workers are stopped (SIGSTOP) for longer than the lease, also during writes.

The others do their tasks meanwhile. A worker that goes on after its lease writes only what it had
begun, and tells that the lease is lost. SQS is a stand-in that keeps the rules of AWS for receipt
handles: a late worker can neither delete nor hide a message that was delivered again.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.record import Record
from tests.chaos.crew import AT_A_TIME, BLOCK, Crew, Lost
from tests.chaos.report import Report, broken
from tests.support.aws_sqs import aws_sqs
from tests.support.pauser import Pauser
from tests.support.service import Service

LEASE_SECONDS, MAX_RECEIVES = 5, 20
IN_FLIGHT = 2
COLUMNS = (
    "seed",
    "tasks",
    "done",
    "pauses longer than the lease",
    "of these, while a block was written",
    "tasks whose lease ended",
    "of these, told",
    "blocks written late, begun before",
    "records written late, all noted",
    "done more than once",
    "dead letters",
    "output",
    "run",
)


@dataclass(frozen=True)
class Outcome:
    """What one job left.

    writing: pauses at the moment when a block was written. lost: the tasks that a paused worker
    held. noted: boxes of which the ledger tells that a worker wrote to them late. again: boxes done
    more than once. left: messages in the queue at the end.
    """

    seed: int
    tasks: int
    pauses: int
    writing: int
    lost: Sequence[Lost]
    records: Sequence[Record]
    noted: frozenset[str]
    again: int
    left: int
    dead: int
    exited: int
    equal: bool
    seconds: float

    @property
    def late(self) -> list[int]:
        """Blocks that were written late, of each task."""
        return [lost.blocks for lost in self.lost]

    @property
    def late_records(self) -> int:
        return sum(lost.records for lost in self.lost)

    def broken(self) -> list[str]:
        """The promises that were not kept."""
        promises = {
            "every task is done": len(self.records) == self.tasks,
            "the output is right": self.equal,
            "no message is left or dead": not self.left and not self.dead,
            "no worker exits": not self.exited,
            "after its lease, a worker writes only what it had begun": max(self.late, default=0)
            <= AT_A_TIME,
            "a record that arrives after the lease is noted": all(
                lost.records <= int(lost.box in self.noted) for lost in self.lost
            ),
            "each lost lease is told": all(lost.told for lost in self.lost),
            "leases were lost": bool(self.lost),
        }
        return broken(promises)

    def row(self) -> Sequence[object]:
        job = (self.seed, self.tasks, len(self.records), self.pauses, self.writing)
        told = sum(lost.told for lost in self.lost)
        tasks = (len(self.lost), told, sum(self.late), self.late_records, self.again, self.dead)
        output = "equal" if self.equal else "**differs**"
        return (*job, *tasks, output, f"{self.seconds:.0f} s")


def scenario(
    folder: Path,
    aws: dict[str, str],
    seed: int,
    tasks: int = 30,
    workers: int = 3,
    task_seconds: float = 1.5,
    blocks: Vec3 = Vec3(1, 6, 6),
) -> Report:
    """blocks: of each box, zyx. task_seconds: that a task takes at least before it writes."""
    with aws_sqs() as sqs, ExitStack() as stack:
        service = Service(folder, f"pause-{uuid.uuid4().hex[:8]}", aws | sqs.variables)
        try:
            crew = Crew(service, aws["AWS_ENDPOINT_URL"], stack)
            outcome = _run(service, crew, seed, tasks, workers, task_seconds, blocks * BLOCK)
        finally:
            service.close()
    return Report("pause", COLUMNS, [outcome.row()], outcome.broken())


def _run(
    service: Service,
    crew: Crew,
    seed: int,
    tasks: int,
    workers: int,
    task_seconds: float,
    box: Vec3,
) -> Outcome:
    service.volumes(Vec3(1, 1, tasks) * box, block=BLOCK)
    service.chain({"op": "hold", "folder": str(service.root), "seconds": task_seconds})
    service.create_queue(visibility=LEASE_SECONDS, max_receives=MAX_RECEIVES)
    service.enqueue(chunk=box)
    for _ in range(workers):
        crew.start(in_flight=IN_FLIGHT)
    service.wait(lambda: len(crew.ready()) == workers, "all workers ready")
    began = time.monotonic()
    pauser, chance = Pauser(), random.Random(seed)
    with pauser.awake_at_the_end():
        writing = _disturb(service, crew, pauser, chance, began + 60 + 20 * tasks)
    seconds = time.monotonic() - began
    visible, hidden, dead = service.messages()
    exited = sum(process.poll() is not None for process in service.workers)
    service.close()  # what late workers still do is done
    done, _, again, noted = service.ledger.listing()
    return Outcome(
        seed=seed,
        tasks=tasks,
        pauses=len(pauser.pauses),
        writing=writing,
        lost=crew.lost(pauser.pauses),
        records=list(service.ledger.records(done)),
        noted=frozenset(noted),
        again=len(again),
        left=visible + hidden,
        dead=dead,
        exited=exited,
        equal=np.array_equal(service.output_where_written(), service.input()),
        seconds=seconds,
    )


def _disturb(
    service: Service, crew: Crew, pauser: Pauser, chance: random.Random, until: float
) -> int:
    """Pause workers until no message is left; half of the times while a worker writes a block.

    One worker is always awake. Returns how often a worker wrote.
    """
    writing = 0
    next_pause = time.monotonic() + chance.uniform(0, 2)
    while any(service.messages()[:2]) and time.monotonic() < until:
        pauser.turn()
        time.sleep(0.1)
        awake = pauser.awake(crew.members)
        if time.monotonic() < next_pause or len(awake) < 2:
            continue
        victim = chance.choice(sorted(awake))
        is_writing = chance.random() < 0.5 and crew.wait_for_block(victim, 3)
        pauser.pause(victim, awake[victim], chance.uniform(1.3, 2.5) * LEASE_SECONDS)
        writing += is_writing
        next_pause = time.monotonic() + chance.uniform(1, 4)
    return writing
