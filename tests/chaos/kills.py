"""Scenario `kills`: workers are killed and replaced, messages come twice, connections break."""

from __future__ import annotations

import random
import signal
import time
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from chunkflow_worker.image.bbox import Vec3
from tests.chaos.calm import blocks, calm_run, place_on_s3
from tests.chaos.feed import Feed
from tests.chaos.history import cut_off, history, is_ready
from tests.chaos.report import Report, broken
from tests.support.forked import AnyWorker
from tests.support.killer import Kill, Killer
from tests.support.proxy import Fault, Proxy, fault_proxy
from tests.support.service import BLOCK, Service

LEASE_SECONDS, OVER_LEASE_SECONDS = 5, 10
# Every SIGKILL, and every answer that breaks off, costs a message one of its receives.
MAX_RECEIVES = 20
INFERENCE = {
    "op": "inference",
    "framework": "identity",
    "input_patch_size": list(BLOCK),
    "output_patch_overlap": [0, 0, 0],
    "num_output_channels": 1,
}
COLUMNS = (
    "seed",
    "tasks recorded done",
    "SIGKILL",
    "SIGTERM",
    "requests cut",
    "duplicates sent",
    "task starts",
    "done more than once",
    "dead letters",
    "output",
    "tasks cut off",
    "lost per kill, median",
    "lost per kill, max",
    "run",
)


@dataclass(frozen=True)
class Outcome:
    """The figures of one run.

    cut: requests that the proxy broke off. duplicates: second messages of a box. starts: of tasks.
    twice: boxes that were recorded done more than once. left: messages in the queue at the end.
    deserted: workers that ended without a signal, or not with status 0 after SIGTERM, each with
        its status.
    equal: the output has the blocks of a calm run.
    cut_off: tasks that ran in a worker when it was killed.
    lost: seconds until another worker started each of these tasks that had to run again.
    """

    seed: int
    tasks: int
    done: int
    kills: int
    terms: int
    cut: int
    duplicates: int
    starts: int
    twice: int
    dead: int
    left: int
    deserted: tuple[str, ...]
    equal: bool
    cut_off: int
    lost: tuple[float, ...]
    seconds: float

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept."""
        limit = LEASE_SECONDS + OVER_LEASE_SECONDS
        promises = {
            "every task is recorded done": self.done == self.tasks,
            "the output equals that of a calm run": self.equal,
            "no message is dead": self.dead == 0,
            "no message is left": self.left == 0,
            "workers end only by a signal, with status 0 on SIGTERM": not self.deserted,
            f"a kill costs less than {limit} s": max(self.lost, default=0.0) < limit,
        }
        return broken(promises)

    def row(self) -> list[object]:
        done = f"{self.done} of {self.tasks}"
        output = "equal" if self.equal else "**differs**"
        lost = ["-", "-"]
        if self.lost:
            lost = [f"{seconds:.1f} s" for seconds in (median(self.lost), max(self.lost))]
        signals = (self.kills, self.terms)
        messages = (self.cut, self.duplicates, self.starts, self.twice, self.dead)
        run = f"{self.seconds:.0f} s"
        return [self.seed, done, *signals, *messages, output, self.cut_off, *lost, run]


def scenario(folder: Path, aws: dict[str, str], seed: int) -> Report:
    """One run of the full size."""
    outcome = run(folder, aws, seed)
    if outcome.broken:
        print(outcome, flush=True)
    return Report("kills", COLUMNS, [outcome.row()], outcome.broken)


def run(
    folder: Path,
    aws: dict[str, str],
    seed: int,
    tasks: int = 200,
    workers: int = 4,
    task_seconds: float = 1.5,
    every: tuple[float, float] = (3.0, 6.0),
    limit: float = 400,
    **outputs: Any,
) -> Outcome:
    """Do a job of `tasks` boxes on workers of two tasks each, and kill some of them meanwhile.

    outputs: how the output is stored, see `Service.volumes`.
    task_seconds: that a task takes at least. every: the least and the most seconds between kills.
    limit: seconds after which the run is stuck; the outcome tells what is done by then.
    """
    calm = _calm_blocks(tasks, tuple(sorted(aws.items())), tuple(outputs.items()))
    chance = random.Random(seed)
    with fault_proxy(aws["AWS_ENDPOINT_URL"], seed) as (address, proxy):
        service = Service(folder, f"q-{uuid.uuid4().hex[:8]}", aws)
        try:
            _prepare(service, tasks, task_seconds, **outputs)
            feed, killer = Feed(service, chance), Killer(chance)
            service.environment["AWS_ENDPOINT_URL"] = address  # of the workers only
            began = time.monotonic()
            deserted = _disturb(service, feed, killer, proxy, workers, every, began + limit)
            seconds = time.monotonic() - began
            visible, hidden, dead = service.messages()
        finally:
            service.close()
        deserted += _badly_ended(service, killer)
    done, _, twice, _ = service.ledger.listing()
    events = history(folder, len(service.workers))
    cuts = [cut for kill in killer.kills for cut in cut_off(events, kill)]
    return Outcome(
        seed=seed,
        tasks=tasks,
        done=len(done & set(feed.boxes)),
        kills=killer.count(signal.SIGKILL),
        terms=killer.count(signal.SIGTERM),
        cut=proxy.faults.total(),
        duplicates=feed.duplicates,
        starts=sum(event.starts for event in events),
        twice=len(twice),
        dead=dead,
        left=visible + hidden,
        deserted=tuple(sorted(set(deserted))),
        equal=blocks(service, "out") == calm,
        cut_off=len(cuts),
        lost=tuple(cut.lost for cut in cuts if cut.lost is not None),
        seconds=seconds,
    )


def _prepare(service: Service, tasks: int, task_seconds: float, **outputs: Any) -> None:
    place_on_s3(service, f"bucket-{uuid.uuid4().hex[:8]}")
    service.volumes(Vec3(BLOCK.z, BLOCK.y, BLOCK.x * tasks), **outputs)
    hold = {"op": "hold", "folder": str(service.root), "seconds": task_seconds}
    service.chain(hold, INFERENCE)
    service.create_queue(visibility=LEASE_SECONDS, max_receives=MAX_RECEIVES)


@cache
def _calm_blocks(
    tasks: int, aws: tuple[tuple[str, str], ...], outputs: tuple[tuple[str, Any], ...]
) -> dict[str, bytes]:
    with TemporaryDirectory() as folder:
        service = Service(Path(folder), "q-calm", dict(aws))
        _prepare(service, tasks, 0, **dict(outputs))
        calm_run(service)
        return blocks(service, "whole")


def _disturb(
    service: Service,
    feed: Feed,
    killer: Killer,
    proxy: Proxy,
    workers: int,
    every: tuple[float, float],
    until: float,
) -> list[str]:
    """Feed the queue, kill workers and replace them, until no message is left or the time is up.

    Returns the workers that ended by themselves, each with its status.
    """
    deserted = []
    crew: dict[int, AnyWorker] = {}
    next_kill = time.monotonic() + killer.random.uniform(*every)
    _spoil(proxy, killer.random)
    while not feed.turn() and time.monotonic() < until:
        while len(crew) < workers:
            process = service.start_worker(in_flight=2)
            crew[service.workers.index(process)] = process
        time.sleep(0.1)
        if time.monotonic() >= next_kill and (kill := _strike(service, killer, crew)) is not None:
            next_kill = time.monotonic() + killer.random.uniform(*every)
            _spoil(proxy, killer.random)
            del crew[kill.victim]
        for number in [number for number, process in crew.items() if process.poll() is not None]:
            deserted.append(f"worker {number}: status {crew.pop(number).returncode}")
    return deserted


def _badly_ended(service: Service, killer: Killer) -> list[str]:
    """Workers that did not end as their signal asks.

    Before it is ready, a worker may end by the SIGTERM itself.
    """
    killed = {kill.victim for kill in killer.kills if kill.signal == signal.SIGKILL}
    return [
        f"worker {number}: status {process.returncode}"
        for number, process in enumerate(service.workers)
        if process.returncode != (-signal.SIGKILL if number in killed else 0)
        and is_ready(service.root, number)
    ]


def _strike(service: Service, killer: Killer, crew: dict[int, AnyWorker]) -> Kill | None:
    """Kill a worker that receives tasks, if more than half of the crew do.

    The others are still starting, and this scenario does not count how long that takes.
    """
    ready = {number: process for number, process in crew.items() if is_ready(service.root, number)}
    return killer.strike(ready) if len(ready) > len(crew) / 2 else None


def _spoil(proxy: Proxy, chance: random.Random) -> None:
    """Break some requests of each service, as connections break when machines vanish."""
    faults: tuple[Fault, ...] = ("close", "cut")
    proxy.set("sqs", chance.choice(faults), chance.uniform(0.02, 0.05))
    proxy.set("s3", chance.choice(faults), chance.uniform(0.005, 0.02))
    proxy.set("monitoring", chance.choice(faults), chance.uniform(0.02, 0.05))
