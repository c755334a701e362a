"""`Runs`: the processes of `chunkflow-producer run`, which are killed and started again."""

from __future__ import annotations

import random
import time
from pathlib import Path

from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.order import in_order
from tests.chaos.stage_files import ledgers
from tests.support.forked import Forked
from tests.support.proxy import Proxy
from tests.support.service import Service

Task = tuple[str, str]
"""A job and a box."""
_BOTH = 0.3  # share of the kills before which the next one is started


class Runs:
    """One `run` of the service's file, or two for a while.

    They reach AWS through a proxy that delays half of the requests to SQS by a second, so that some
    are killed while they send.

    kills: so far. while_sending: of these, those that left messages of which nobody knows whether
    they were sent; doubtful: the tasks of these. statuses: with which others ended.
    """

    def __init__(self, service: Service, address: str, proxy: Proxy, chance: random.Random):
        self._service, self._proxy, self._chance = service, proxy, chance
        self._environment = service.environment | {"AWS_ENDPOINT_URL": address}
        self._all: list[Forked] = []
        self._alive: list[Forked] = []
        self.kills = self.while_sending = 0
        self.doubtful: set[Task] = set()
        self.statuses: list[int] = []
        proxy.set("sqs", "delay", 0.5)

    def __enter__(self) -> Runs:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._alive:
            process.kill()
            process.wait()

    def start(self) -> None:
        options = ("--queue", self._service.queue, "--interval", "0.3", "--settle", "20")
        words = ("chunkflow-producer", "run", str(self._service.pipeline), *options)
        self._all.append(Forked(self._environment, self._log(len(self._all)), *words))
        self._alive.append(self._all[-1])

    def is_ready(self) -> bool:
        """Whether the latest one has told anything of a stage."""
        log = self._log(len(self._all) - 1)
        return log.exists() and "stage" in log.read_text()

    def _log(self, number: int) -> Path:
        return self._service.root / f"run-{number}.log"

    def ended(self) -> bool:
        """Whether all have ended by themselves."""
        for process in self._alive[:]:
            if process.poll() is not None:
                self.statuses.append(process.wait())
                self._alive.remove(process)
        return not self._alive

    def strike(self) -> None:
        """Kill the oldest one, at once or when it has begun to send, and start another one."""
        if self._chance.random() < 0.5:
            self._wait_until_it_sends(10)
        first = self._chance.random() < _BOTH
        if first:
            self.start()
            self._service.wait(lambda: self.is_ready() or self.ended(), "run is ready", 60)
        if self.ended():
            return
        doubtful = self._in_doubt()
        victim = self._alive.pop(0)
        victim.kill()
        victim.wait()
        self.kills += 1
        doubtful |= self._in_doubt()
        self.while_sending += bool(doubtful - self.doubtful)
        self.doubtful |= doubtful
        if not first:
            self.start()

    def _in_doubt(self) -> set[Task]:
        return {task for ledger in ledgers(self._service) for task in _in_doubt(ledger)}

    def _wait_until_it_sends(self, seconds: float) -> None:
        sent, until = self._sent(), time.monotonic() + seconds
        while self._sent() == sent and time.monotonic() < until and not self.ended():
            time.sleep(0.01)
        time.sleep(self._chance.uniform(0, 1))

    def _sent(self) -> int:
        return self._proxy.requests["SendMessageBatch"] + self._proxy.requests["SendMessage"]


def _in_doubt(ledger: Ledger) -> set[Task]:
    """Tasks of which a killed `run` could not note whether they were sent."""
    found: set[Task] = set()
    for job in ledger.jobs():
        boxes = job.boxes()
        note = ledger.sent_note(job.job, boxes)
        if note is not None and not note.is_complete:
            places = range(note.sent, note.until)
            ordered = in_order(boxes, note.order)
            found.update((job.job, str(ordered[place])) for place in places)
    return found
