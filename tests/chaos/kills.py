"""Scenario `kills`: workers are killed and replaced all the time, messages come twice, and connections break."""

from __future__ import annotations

import random
import signal
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from chunkflow_worker.image.bbox import Vec3
from tests.chaos.calm import blocks, calm_run, place_on_s3
from tests.chaos.feed import Feed
from tests.chaos.history import cut_off, history, is_ready
from tests.chaos.report import Report
from tests.support.forked import AnyWorker
from tests.support.killer import Kill, Killer
from tests.support.proxy import Fault, Proxy, fault_proxy
from tests.support.service import BLOCK, Service

LEASE_SECONDS, OVER_LEASE_SECONDS = 5, 10
MAX_RECEIVES = (
    20  # every SIGKILL and every answer that breaks off costs a message one of its receives
)
CHAIN = (
    {"op": "inference", "framework": "identity", "input_patch_size": list(BLOCK), "output_patch_overlap": [0, 0, 0],
     "num_output_channels": 1},
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What one run came to.

    cut: requests that the proxy broke off. duplicates: messages sent beside the first of their box. starts: of tasks.
    twice: boxes that were recorded done more than once. left: messages that no run had settled at the end.
    deserted: workers that ended though nobody signalled them, or with another status than 0 after SIGTERM, with that status.
    cut_off: tasks that ran in a worker when it was killed. lost: seconds until others started them again, each that had to.
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
            "workers end only when they are killed, and with status 0 on SIGTERM": not self.deserted,
            f"a kill costs less than {limit} s": max(self.lost, default=0.0) < limit,
        }
        return [promise for promise, kept in promises.items() if not kept]


def scenario(folder: Path, aws: dict[str, str], seed: int) -> Report:
    """One run of the full size, with the promises that it broke, if any, printed."""
    outcome = run(folder, aws, seed)
    for promise in outcome.broken:
        print(f"broken with seed {seed}: {promise}: {outcome}", flush=True)
    return report([outcome])


def report(outcomes: Sequence[Outcome]) -> Report:
    columns = (
        "seed", "tasks recorded done", "SIGKILL", "SIGTERM", "requests cut", "duplicates sent", "task starts",
        "done more than once", "dead letters", "output", "tasks cut off", "lost per kill, median", "lost per kill, max",
        "run",
    )  # fmt: skip
    return Report(
        "kills",
        columns,
        [_row(outcome) for outcome in outcomes],
        not any(outcome.broken for outcome in outcomes),
    )


def _row(o: Outcome) -> list[object]:
    lost = (
        [f"{seconds:.1f} s" for seconds in (median(o.lost), max(o.lost))] if o.lost else ["-", "-"]
    )
    done, output = f"{o.done} of {o.tasks}", "equal" if o.equal else "**differs**"
    figures = [o.kills, o.terms, o.cut, o.duplicates, o.starts, o.twice, o.dead, output, o.cut_off]
    return [o.seed, done, *figures, *lost, f"{o.seconds:.0f} s"]


def run(
    folder: Path,
    aws: dict[str, str],
    seed: int,
    tasks: int = 200,
    workers: int = 4,
    task_seconds: float = 1.5,
    every: tuple[float, float] = (3.0, 6.0),
    limit: float = 400,
) -> Outcome:
    """Do a job of `tasks` boxes on workers of two tasks each, one of which is killed and replaced now and then.

    task_seconds: how long a task takes at least. every: least and most seconds between kills.
    limit: seconds after which the run is taken for stuck; what is done by then is reported.
    """
    calm = _calm_blocks(tasks, tuple(sorted(aws.items())))
    chance = random.Random(seed)
    with fault_proxy(aws["AWS_ENDPOINT_URL"], seed) as (address, proxy):
        service = Service(folder, f"q-{uuid.uuid4().hex[:8]}", aws)
        try:
            _prepare(service, tasks, task_seconds)
            feed, killer = Feed(service, chance), Killer(chance)
            service.environment["AWS_ENDPOINT_URL"] = address  # of the workers alone
            began = time.monotonic()
            deserted = _disturb(service, feed, killer, proxy, workers, every, began + limit)
            seconds = time.monotonic() - began
            visible, hidden, dead = service.messages()
        finally:
            service.close()
        deserted += _badly_ended(service, killer)
    done, _, twice = service.ledger.listing()
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


def _prepare(service: Service, tasks: int, task_seconds: float) -> None:
    place_on_s3(service, f"bucket-{uuid.uuid4().hex[:8]}")
    service.volumes(Vec3(BLOCK.z, BLOCK.y, BLOCK.x * tasks))
    service.chain({"op": "hold", "folder": str(service.root), "seconds": task_seconds}, *CHAIN)
    service.create_queue(visibility=LEASE_SECONDS, max_receives=MAX_RECEIVES)


@cache
def _calm_blocks(tasks: int, aws: tuple[tuple[str, str], ...]) -> dict[str, bytes]:
    with TemporaryDirectory() as folder:
        service = Service(Path(folder), "q-calm", dict(aws))
        _prepare(service, tasks, 0)
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
    """Feed the queue, kill and replace, until no message is left or the time is over; the workers that deserted."""
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
    """Workers that were told to end and did not do so well. Python ends by SIGTERM until a worker has its own way of ending."""
    killed = {kill.victim for kill in killer.kills if kill.signal == signal.SIGKILL}
    return [
        f"worker {number}: status {process.returncode}"
        for number, process in enumerate(service.workers)
        if process.returncode != (-signal.SIGKILL if number in killed else 0)
        and is_ready(service.root, number)
    ]


def _strike(service: Service, killer: Killer, crew: dict[int, AnyWorker]) -> Kill | None:
    """Kill a worker that receives tasks, when more than half of them do; the others start, and how long that takes is no matter
    of this scenario."""
    ready = {number: process for number, process in crew.items() if is_ready(service.root, number)}
    return killer.strike(ready) if len(ready) > len(crew) / 2 else None


def _spoil(proxy: Proxy, chance: random.Random) -> None:
    """Another way and another share for each service's requests to break, as connections break when machines vanish."""
    faults: tuple[Fault, ...] = ("close", "cut")
    proxy.set("sqs", chance.choice(faults), chance.uniform(0.02, 0.05))
    proxy.set("s3", chance.choice(faults), chance.uniform(0.005, 0.02))
    proxy.set("monitoring", chance.choice(faults), chance.uniform(0.02, 0.05))
