"""Scenario `update`: workers with an old net are paused while others with a new net do their boxes.

Each net writes a value of its own, so the volume itself tells which net wrote a block. At the end,
no block is of the old net. Until then, `verify` names exactly the boxes that hold one.

Cases: `one path`, where the new net took the place of the old one in the same file, the job goes
on, and `verify --net` sends the boxes of the old net again; and `two pipelines`, where a second job
with another net does all boxes again.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from chunkflow_worker.image.bbox import Vec3
from tests.chaos.constant_net import digest, inference, write_net
from tests.chaos.crew import AT_A_TIME, BLOCK, Crew, Lost
from tests.chaos.report import Report, broken
from tests.chaos.verified import Verified, verify
from tests.support.aws_sqs import aws_sqs
from tests.support.pauser import Pauser
from tests.support.service import Service

Case = Literal["one path", "two pipelines"]
CASES: tuple[Case, ...] = ("one path", "two pipelines")
LEASE_SECONDS, MAX_RECEIVES, IN_FLIGHT = 5, 20, 2
OLD, NEW = 0.25, 0.75  # what the nets write
MOST_ROUNDS = 5
LOOK = 0.3
COLUMNS = (
    "seed",
    "case",
    "tasks",
    "tasks of the paused workers",
    "of these, their blocks written late",
    "boxes with blocks of the old net after the update",
    "of these, of both nets",
    "named by verify",
    "written late, not named by status",
    "wrongly named, or not named",
    "boxes with blocks of the old net in the end",
    "verify ends with",
    "run",
)


@dataclass(frozen=True)
class Look:
    """What the volume holds, and what verify says, at one time.

    old: boxes with blocks of the old net. mixed: those of them with blocks of both nets.
    silent: boxes that an old worker had just written to late, and that status did not name.
    """

    old: frozenset[str]
    mixed: frozenset[str]
    silent: frozenset[str]
    verified: Verified

    @property
    def differ(self) -> int:
        return len(self.old ^ self.verified.wrong)


@dataclass(frozen=True)
class Outcome:
    """What one update left. lost: the tasks that the paused workers held. looks: oldest first."""

    seed: int
    case: Case
    tasks: int
    lost: Sequence[Lost]
    looks: Sequence[Look]
    done: int
    dead: int
    seconds: float

    def broken(self) -> list[str]:
        """The promises that were not kept."""
        late = [lost.blocks for lost in self.lost]
        promises = {
            "every task is done": self.done == self.tasks,
            "no message is dead": not self.dead,
            "workers with the old net were paused at work": bool(self.lost),
            "after its lease, a worker writes only what it had begun": max(late, default=0)
            <= AT_A_TIME,
            "after its lease, a worker records only what it was recording": all(
                lost.records <= 1 for lost in self.lost
            ),
            "verify names exactly the boxes with blocks of the old net": not any(
                look.differ for look in self.looks
            ),
            "status names the boxes that an old worker wrote to late": not any(
                look.silent for look in self.looks
            ),
            "no block of the old net is in the finished volume": not self.looks[-1].old,
            "verify ends with 0": self.looks[-1].verified.status == 0,
        }
        return [f"{promise} ({self.case})" for promise in broken(promises)]

    def row(self) -> Sequence[object]:
        late = sum(lost.blocks for lost in self.lost)
        first, last = self.looks[0], self.looks[-1]
        named = (len(first.old), len(first.mixed), len(first.verified.wrong), len(first.silent))
        differ = sum(look.differ for look in self.looks)
        end = (differ, len(last.old), last.verified.status, f"{self.seconds:.0f} s")
        return (self.seed, self.case, self.tasks, len(self.lost), late, *named, *end)


def scenario(
    folder: Path,
    aws: dict[str, str],
    seed: int,
    cases: Sequence[Case] = CASES,
    tasks: int = 12,
    blocks: Vec3 = Vec3(1, 6, 6),
) -> Report:
    """blocks: of each box, zyx."""
    outcomes = []
    for number, case in enumerate(cases):
        root = folder / f"case-{number}"
        root.mkdir()
        with aws_sqs() as sqs, ExitStack() as stack:
            service = Service(root, f"update-{uuid.uuid4().hex[:8]}", aws | sqs.variables)
            stack.callback(service.close)
            crew = Crew(service, aws["AWS_ENDPOINT_URL"], stack)
            update = _Update(service, crew, case, seed, tasks, blocks * BLOCK)
            outcomes.append(update.run())
    promises = [promise for outcome in outcomes for promise in outcome.broken()]
    return Report("update", COLUMNS, [outcome.row() for outcome in outcomes], promises)


class _Update:
    """One update of the net while a job runs."""

    def __init__(self, service: Service, crew: Crew, case: Case, seed: int, tasks: int, box: Vec3):
        self.service, self.crew, self.case, self.seed = service, crew, case, seed
        self.tasks, self.box = tasks, box
        self.chance, self.pauser = random.Random(seed), Pauser()
        self.whole = service.volumes(Vec3(1, 1, tasks) * box, block=BLOCK, out_dtype="float32")
        self.looks: list[Look] = []

    def run(self) -> Outcome:
        service, began = self.service, time.monotonic()
        with self.pauser.awake_at_the_end():
            self._start_old_job()
            old = self._pause_old_workers()
            self._put_new_net()
            self._wait_until_done()
            first, *others = old
            self._let_end(first)
            self._look("--enqueue", ended=first)
            for number in others:  # in the middle of the repair
                self._let_end(number)
            self._wait_until_done()
            while self._look("--enqueue").verified.wrong and len(self.looks) < MOST_ROUNDS:
                self._wait_until_done()
        done, _ = service.ledger.boxes()
        return Outcome(
            seed=self.seed,
            case=self.case,
            tasks=self.tasks,
            lost=self.crew.lost(self.pauser.pauses),
            looks=self.looks,
            done=len(done),
            dead=service.messages()[2],
            seconds=time.monotonic() - began,
        )

    def _start_old_job(self) -> None:
        """Two workers with the old net do a part of the job."""
        self._use_net("net.py", OLD)
        self._make_queue("job")
        for _ in range(2):
            self.crew.start(in_flight=IN_FLIGHT)
        part = self.chance.randint(1, self.tasks // 3)
        self.service.wait_done(part, 600, LOOK)

    def _put_new_net(self) -> None:
        """Two workers with the new net start."""
        if self.case == "one path":
            write_net(self.service.root / "net.py", NEW)
        else:
            self.service.queue += "-new"
            self.service.pipeline = self.service.root / "new.yaml"
            self._use_net("new.py", NEW)
            self._make_queue("new")
        for _ in range(2):
            self.crew.start(in_flight=IN_FLIGHT)

    def _pause_old_workers(self) -> list[int]:
        """Pause them while they write; the signal to end waits until they go on."""
        for number in (0, 1):
            self.crew.wait_for_block(number, 20)
            self.pauser.pause(number, self.crew.members[number])
            self.crew.members[number].terminate()
        return self.chance.sample((0, 1), 2)

    def _let_end(self, number: int) -> None:
        """Let an old worker go on, and wait until it has ended."""
        self.pauser.resume(number)
        self.crew.members[number].wait(120)

    def _wait_until_done(self) -> None:
        self.service.wait(lambda: not any(self.service.messages()[:2]), "an empty queue", 900, LOOK)

    def _look(self, *options: str, ended: int | None = None) -> Look:
        """Compare what is stored with what status and verify say.

        ended: an old worker that has just ended; all boxes are done.
        """
        silent = self._written_late_by(ended) - self._named_by_status()
        if self.case == "one path":
            options = ("--net", digest(self.service.root / "net.py"), *options)
        voxels = self.service.output_where_written()
        values = {
            str(box): set(np.unique(voxels[box.slices()])) for box in self.whole.split(self.box)
        }
        old = frozenset(box for box, found in values.items() if OLD in found)
        mixed = frozenset(box for box in old if NEW in values[box])
        self.looks.append(Look(old, mixed, silent, verify(self.service, *options)))
        return self.looks[-1]

    def _written_late_by(self, number: int | None) -> frozenset[str]:
        """The boxes that a worker wrote to after its pause."""
        pauses = [pause for pause in self.pauser.pauses if pause.victim == number]
        return frozenset(lost.box for lost in self.crew.lost(pauses) if lost.blocks)

    def _named_by_status(self) -> frozenset[str]:
        queue, pipeline = f"--queue={self.service.queue}", f"--pipeline={self.service.pipeline}"
        return frozenset(
            json.loads(self.service.producer("status", queue, pipeline, "--json"))["late"]
        )

    def _use_net(self, name: str, value: float) -> None:
        """Write a net, and a pipeline with it."""
        file = self.service.root / name
        write_net(file, value)
        hold = {"op": "hold", "folder": str(self.service.root), "seconds": 0.5}
        self.service.chain(hold, inference(file, self.box))

    def _make_queue(self, job: str) -> None:
        self.service.create_queue(visibility=LEASE_SECONDS, max_receives=MAX_RECEIVES)
        self.service.enqueue(job=job, chunk=self.box)
