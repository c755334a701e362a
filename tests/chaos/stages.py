"""Scenario `stages`: a job of four stages, whose workers and whose `run` are killed.

Objects are labelled by boxes, merged in a tree, relabelled and listed in a table. Every few seconds
a worker is killed and replaced, and so is `chunkflow-producer run`, half of the times while it
sends. Now and then two of them run at once.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chunkflow_worker.image.bbox import Vec3
from producer.send.tasks import DOUBT_SECONDS
from tests.chaos.history import is_ready, starts
from tests.chaos.report import Report, broken
from tests.chaos.runs import Runs
from tests.chaos.stage_files import calm_output, ledgers, output, prepare, tasks_of
from tests.support.forked import AnyWorker
from tests.support.killer import Killer
from tests.support.proxy import fault_proxy
from tests.support.service import Service

LEASE_SECONDS, MAX_RECEIVES, IN_FLIGHT = 5, 20, 2
COLUMNS = (
    "seed",
    "tasks recorded done",
    "workers killed",
    "`run` killed",
    "of these, while it sent",
    "messages in doubt, sent again",
    "tasks cut off",
    "started again",
    "of these, only since they were in doubt",
    "dead letters",
    "output",
    "run",
)


@dataclass(frozen=True)
class Outcome:
    """What one job left.

    tasks, done: of all stages and waves. doubtful: messages that a killed `run` had perhaps sent.
    cut: starts of tasks that did not end, since the worker was killed or lost the lease.
    again: starts of tasks that had started before.
    sent_twice: of these, those that only a message in doubt explains.
    unexplained: of these, those that nothing explains.
    statuses: with which `run` ended by itself. left: messages in the queue at the end.
    """

    seed: int
    tasks: int
    done: int
    kills: int
    run_kills: int
    while_sending: int
    doubtful: int
    cut: int
    again: int
    sent_twice: int
    unexplained: Sequence[str]
    statuses: Sequence[int]
    left: int
    dead: int
    equal: bool
    seconds: float

    def broken(self) -> list[str]:
        """The promises that were not kept."""
        promises = {
            "every task of every stage is done": self.done == self.tasks,
            "run ends by itself, with status 0": set(self.statuses) == {0},
            "the output equals that of a calm run": self.equal,
            "a task starts again only if it was not done, or in doubt when run was killed": (
                not self.unexplained
            ),
            "no message is left or dead": not self.left and not self.dead,
        }
        return broken(promises)

    def row(self) -> list[object]:
        done = f"{self.done} of {self.tasks}"
        kills = (self.kills, self.run_kills, self.while_sending, self.doubtful)
        output = "equal" if self.equal else "**differs**"
        again = (self.cut, self.again, self.sent_twice, self.dead)
        return [self.seed, done, *kills, *again, output, f"{self.seconds:.0f} s"]


def scenario(folder: Path, aws: dict[str, str], seed: int, **options: Any) -> Report:
    """options: of `run`."""
    outcome = run(folder, aws, seed, **options)
    if outcome.broken():
        print(outcome, flush=True)
    return Report("stages", COLUMNS, [outcome.row()], outcome.broken())


def run(
    folder: Path,
    aws: dict[str, str],
    seed: int,
    boxes: Vec3 = Vec3(3, 3, 3),
    workers: int = 3,
    task_seconds: float = 1.5,
    every: tuple[float, float] = (3.0, 6.0),
    limit: float = 400,
) -> Outcome:
    """boxes: of the grid, along each axis. every: the least and the most seconds between kills.

    task_seconds: that a task takes at least. limit: seconds after which the run is stuck.
    """
    calm, chance = calm_output(aws, boxes), random.Random(seed)
    with fault_proxy(aws["AWS_ENDPOINT_URL"], seed) as (address, proxy):
        service = Service(folder, f"stages-{uuid.uuid4().hex[:8]}", aws)
        try:
            prepare(service, boxes, task_seconds)
            service.create_queue(visibility=LEASE_SECONDS, max_receives=MAX_RECEIVES)
            killer, began = Killer(chance), time.monotonic()
            with Runs(service, address, proxy, chance) as runs:
                _disturb(service, runs, killer, workers, every, began + limit)
            seconds = time.monotonic() - began
            # Messages that were in doubt come later, and are acknowledged then.
            end = time.monotonic() + DOUBT_SECONDS + 3 * LEASE_SECONDS
            while sum(service.messages()[:2]) and time.monotonic() < end:
                time.sleep(0.5)
            visible, hidden, dead = service.messages()
        finally:
            service.close()
    made, cut = starts(folder, len(service.workers))
    extra = {task: count - 1 - cut[task] for task, count in made.items() if count - 1 > cut[task]}
    return Outcome(
        seed=seed,
        tasks=tasks_of(boxes),
        done=sum(len(ledger.listing().done) for ledger in ledgers(service)),
        kills=len(killer.kills),
        run_kills=runs.kills,
        while_sending=runs.while_sending,
        doubtful=len(runs.doubtful),
        cut=cut.total(),
        again=made.total() - len(made),
        sent_twice=sum(count for task, count in extra.items() if task in runs.doubtful),
        unexplained=[" ".join(task) for task in extra if task not in runs.doubtful],
        statuses=runs.statuses,
        left=visible + hidden,
        dead=dead,
        equal=output(service) == calm,
        seconds=seconds,
    )


def _disturb(
    service: Service,
    runs: Runs,
    killer: Killer,
    workers: int,
    every: tuple[float, float],
    until: float,
) -> None:
    """Kill workers and `run`, and replace them, until `run` ends by itself or the time is up.

    Between two kills of workers some tasks have begun, also where workers start slowly.
    """
    chance, crew, begun = killer.random, dict[int, AnyWorker](), 0
    next_kill, next_strike = (time.monotonic() + chance.uniform(*every) for _ in range(2))
    while not runs.ended() and time.monotonic() < until:
        while len(crew) < workers:
            process = service.start_worker(in_flight=IN_FLIGHT, metrics="none")
            crew[service.workers.index(process)] = process
        time.sleep(0.1)
        ready = {number: p for number, p in crew.items() if is_ready(service.root, number)}
        is_due = time.monotonic() >= next_kill and len(service.starts()) >= begun + workers
        if is_due and len(ready) > 1 and (kill := killer.strike(ready)):
            next_kill, begun = time.monotonic() + chance.uniform(*every), len(service.starts())
            del crew[kill.victim]
        if time.monotonic() >= next_strike and runs.is_ready():
            runs.strike()
            next_strike = time.monotonic() + chance.uniform(*every)
