"""Does `simulate` foretell what real workers do? Kills at known times, against the local SQS.

An earlier job tells the times of tasks and of the start of a worker, as a user would
have them. Then each job is done by real workers, and on paper.
"""

from __future__ import annotations

import signal
import tempfile
import time
import uuid
from dataclasses import dataclass
from itertools import chain, repeat
from math import inf
from pathlib import Path

import numpy as np
import yaml

from benchmarks.options import options
from benchmarks.table import markdown, record
from chunkflow_worker.local_aws.serve import local_aws
from producer.simulate.assumptions import Assumptions
from producer.simulate.durations import log_normal
from producer.simulate.run import run
from tests.chaos.history import Event, history
from tests.support.service import Service

PLACES = 2
LEASE_SECONDS, GRACE_SECONDS = 9, 2
LAUNCH_SECONDS, REPLACEMENT_SECONDS = 4.0, 3.0
"""Workers of one machine that start at the same time would delay each other."""

MAX_RECEIVES = 10
MEAN_SECONDS, SPREAD = 3.0, 0.4
_SETTINGS = {
    "in_flight": PLACES,
    "grace_seconds": GRACE_SECONDS,
    "metrics": "none",
    "spot_notice": "false",
}
_BLOCK = ("4", "4", "8")
_KINDS = 97  # of tasks, by their times
_PLUGIN = """
import time

SECONDS = {seconds}

def execute(chunk):
    time.sleep(SECONDS[chunk.voxel_offset.x // 8 % len(SECONDS)])
    return chunk
"""


@dataclass(frozen=True)
class Case:
    """kills: seconds after the start of the job at which one worker after another is signalled."""

    title: str
    workers: int
    tasks: int
    kills: tuple[float, ...] = ()
    signal: signal.Signals = signal.SIGKILL

    @property
    def drains(self) -> bool:
        return self.signal == signal.SIGTERM

    @property
    def notice(self) -> float:
        """Seconds from the signal to the end of the machine."""
        return GRACE_SECONDS if self.drains else 0.0


_EARLY, _MANY, _LATE = (20, 24, 28), (20, 24, 28, 32, 36, 40, 44, 48), (46, 47)
CASES = (
    Case("no interruptions", 4, 150),
    Case("3 killed", 4, 150, _EARLY),
    Case("8 killed", 4, 150, _MANY),
    Case("2 killed near the end", 4, 120, _LATE),
    Case("8 told to stop, drained", 4, 150, _MANY, signal.SIGTERM),
)


@dataclass(frozen=True)
class Launch:
    """at: seconds after the start of the job. life: until it is signalled."""

    at: float
    life: float = inf

    @property
    def signalled(self) -> float:
        return self.at + self.life


@dataclass(frozen=True)
class Figures:
    """Seconds of the job (makespan), of places (useful, lost), and of machines (paid).

    cut: attempts that were cut off.
    """

    makespan: float
    useful: float
    lost: float
    cut: int
    paid: float

    @property
    def waste(self) -> float:
        """Share of the paid time of places without a task that was done in the end."""
        return 1 - self.useful / (PLACES * self.paid)


@dataclass(frozen=True)
class Earlier:
    """What an earlier job tells. seconds: of its tasks. startup: from launch until it receives."""

    seconds: tuple[float, ...]
    startup: float


def main() -> None:
    given = options(__doc__, repeats=1)
    rows = []
    with local_aws() as aws:
        known = earlier(aws)
        print(f"a worker starts in {known.startup:.1f} s", flush=True)
        for case in CASES:
            for _ in range(given.repeats):
                rows.append(row(case, real(case, aws), on_paper(case, known)))
                print(rows[-1], flush=True)
    head = ["Job", "makespan, s", "simulated", "off by", "work cut off, s", "simulated"]
    head += ["waste", "simulated"]
    text = (
        f"4 workers of {PLACES} places, tasks of {MEAN_SECONDS:g} s (log-normal, spread "
        f"{SPREAD:.0%}), leases of {LEASE_SECONDS} s, grace of {GRACE_SECONDS} s; workers "
        f"are launched every {LAUNCH_SECONDS:g} s at first, and {REPLACEMENT_SECONDS:g} s after "
        "the loss of another one. The simulation draws from the "
        "records of an earlier job of 48 tasks, whose workers took their first task after "
        f"{known.startup:.1f} s, on average. In brackets: attempts that were cut off."
        f"\n\n{markdown(head, rows)}"
    )
    record("Simulation beside real workers", text, [], given.write)


def row(case: Case, found: Figures, foretold: Figures) -> list[str]:
    return [
        case.title,
        f"{found.makespan:.1f}",
        f"{foretold.makespan:.1f}",
        f"{foretold.makespan / found.makespan - 1:+.0%}",
        f"{found.lost:.1f} ({found.cut})",
        f"{foretold.lost:.1f} ({foretold.cut})",
        f"{found.waste:.0%}",
        f"{foretold.waste:.0%}",
    ]


def earlier(aws: dict[str, str]) -> Earlier:
    """A small job without interruptions, after one that has loaded the libraries for all others."""
    case = Case("earlier", 4, 48)
    _warm_up(aws)
    with tempfile.TemporaryDirectory() as folder:
        service = _service(Path(folder), aws, case)
        try:
            began = time.time()
            _play(service, launches(case), case, began)
        finally:
            service.close()
        events = history(service.root, case.workers)
        starts = [
            min(event.at for event in events if event.worker == number) - began - launch.at
            for number, launch in enumerate(launches(case))
        ]
        seconds = tuple(record.seconds for record in service.records())
        return Earlier(seconds, float(np.mean(starts)))


def _warm_up(aws: dict[str, str]) -> None:
    case = Case("first", 1, 1)
    with tempfile.TemporaryDirectory() as folder:
        service = _service(Path(folder), aws, case)
        try:
            service.start_worker(**_SETTINGS)
            _wait(service, case)
        finally:
            service.close()


def on_paper(case: Case, known: Earlier, seeds: int = 5) -> Figures:
    """The means of a few runs with other draws of the tasks' times."""
    assumed = Assumptions(
        tasks=case.tasks,
        in_flight=PLACES,
        startup_seconds=known.startup,
        launches_a_minute=60 / LAUNCH_SECONDS,
        replacement_seconds=REPLACEMENT_SECONDS,
        notice_seconds=case.notice,
        drain=case.drains,
        grace_seconds=GRACE_SECONDS,
        lease_seconds=LEASE_SECONDS,
        max_receives=MAX_RECEIVES,
    )
    runs = []
    for seed in range(seeds):
        drawn = np.random.default_rng(seed).choice(known.seconds, case.tasks)
        lives = chain((launch.life for launch in launches(case)), repeat(inf))
        runs.append(run(assumed, case.workers, drawn, lives))
    return Figures(
        makespan=float(np.mean([r.makespan_seconds for r in runs])),
        useful=float(np.mean([r.useful_seconds for r in runs])),
        lost=float(np.mean([r.lost_seconds for r in runs])),
        cut=round(np.mean([r.cut for r in runs])),
        paid=float(np.mean([r.machine_seconds for r in runs])),
    )


def launches(case: Case) -> list[Launch]:
    """All workers in the order of their launches. The kills go round; each ends one worker."""
    found: list[Launch] = []
    for slot in range(case.workers):
        at = slot * LAUNCH_SECONDS
        for kill in case.kills[slot :: case.workers]:
            found.append(Launch(at, kill - at))
            at = kill + case.notice + REPLACEMENT_SECONDS
        found.append(Launch(at))
    return sorted(found, key=lambda launch: launch.at)


def real(case: Case, aws: dict[str, str]) -> Figures:
    """Let real workers do the job, and signal them as planned."""
    plan = launches(case)
    with tempfile.TemporaryDirectory() as folder:
        service = _service(Path(folder), aws, case)
        try:
            began = time.time()
            _play(service, plan, case, began)
        finally:
            service.close()
        events = history(service.root, len(service.workers))
        useful = sum(record.seconds for record in service.records())
    makespan = max(event.at for event in events if event.kind == "done") - began
    cut = [
        began + launch.signalled + case.notice - at
        for number, launch in enumerate(plan)
        if launch.signalled < makespan
        for at in _unfinished([event for event in events if event.worker == number])
    ]
    ends = [min(makespan, launch.signalled + case.notice) for launch in plan]
    paid = sum(max(0.0, end - launch.at) for end, launch in zip(ends, plan, strict=True))
    return Figures(makespan, useful, sum(cut), len(cut), paid)


def _play(service: Service, plan: list[Launch], case: Case, began: float) -> None:
    """Start and signal the workers at their times, until the job is done."""
    steps = [(launch.at, number, True) for number, launch in enumerate(plan)]
    steps += [(one.signalled, number, False) for number, one in enumerate(plan) if one.life < inf]
    for at, number, starts in sorted(steps, key=lambda step: (step[0], step[1])):
        while (left := began + at - time.time()) > 0:
            if len(service.ledger.boxes()[0]) == case.tasks:
                return
            time.sleep(min(left, 0.2))
        if starts:
            service.start_worker(**_SETTINGS)
        else:
            service.workers[number].send_signal(case.signal)
    _wait(service, case)


def _unfinished(events: list[Event]) -> list[float]:
    """When the tasks were started that a worker did not end."""
    open_tasks: dict[str, float] = {}
    for event in events:
        if event.starts:
            open_tasks[event.box] = event.at
        elif event.kind != "failed":
            open_tasks.pop(event.box, None)
    return list(open_tasks.values())


def _service(folder: Path, aws: dict[str, str], case: Case) -> Service:
    """A queue with the messages of a job whose tasks take known times."""
    service = Service(folder, f"q-{uuid.uuid4().hex[:8]}", aws)
    seconds = log_normal(MEAN_SECONDS, SPREAD, _KINDS, np.random.default_rng(7))
    plugin = folder / "sleep.py"
    plugin.write_text(_PLUGIN.format(seconds=[round(s, 3) for s in seconds.tolist()]))
    step = {"op": "plugin", "file": str(plugin), "input_names": "chunk", "output_names": "chunk"}
    service.pipeline.write_text(yaml.safe_dump({"operators": [{"op": "create-chunk"}, step]}))
    ledger = f"file://{folder}/out/log"
    service.environment["CHUNKFLOW_LEDGER"] = ledger
    service.create_queue(visibility=LEASE_SECONDS, max_receives=MAX_RECEIVES)
    place = ["--roi-start", "0", "0", "0", "--chunk-size", *_BLOCK]
    place += ["--grid-size", "1", "1", str(case.tasks), "--ledger", ledger]
    service.producer("enqueue", "--queue", service.queue, "--job", "job",
                     "--pipeline", str(service.pipeline), *place)  # fmt: skip
    return service


def _wait(service: Service, case: Case) -> None:
    service.wait_done(case.tasks, 300, 0.2)


if __name__ == "__main__":
    main()
