"""A soak: a long job of tiny tasks, whose workers are killed and replaced, and looked at."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import boto3
import numpy as np

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from tests.chaos.history import history
from tests.soak.aws import CountedAws, counted_aws
from tests.soak.crew import Crew
from tests.soak.outcome import SERVER, Outcome
from tests.soak.repeats import repeated, unexplained
from tests.soak.samples import Samples
from tests.support.service import Service

BLOCK = Vec3(4, 4, 8)
LEASE_SECONDS, MAX_RECEIVES = 20, 20
_RECORDS_READ = 200  # beside those of boxes that were tried more than once
_START_SECONDS = 200
_LOOK_SECONDS = 0.2
_PROGRESS_SECONDS = 30


@dataclass(frozen=True)
class Size:
    """kill_every: mean seconds between kills. sample_every: seconds between two samples."""

    tasks: int = 100_000
    workers: int = 4
    in_flight: int = 16
    seed: int = 1
    kill_every: float = 40.0
    sample_every: float = 2.0

    @property
    def longest_seconds(self) -> float:
        """After which the run is stuck."""
        return 300 + self.tasks * 0.5


def run(folder: Path, size: Size) -> Outcome:
    """Do a job. folder: of all files, which stay."""
    with counted_aws(folder / "aws.log") as aws, patch.dict(os.environ, aws.variables):
        service = _prepared(folder, aws, size.tasks)
        crew = Crew(service, size.workers, size.in_flight, size.seed, size.kill_every)
        try:
            crew.fill()
            service.wait(crew.is_ready, "workers that are ready", _START_SECONDS)
            samples, before = Samples(), aws.requests()
            began, began_at = time.monotonic(), time.time()
            service.enqueue(chunk=BLOCK, ledger=service.ledger.path)
            seconds = _work(service, crew, samples, aws, size, began)
            requests = aws.requests() - before
            return _outcome(service, crew, samples, requests, size, seconds, began_at)
        finally:
            service.close()


def _outcome(
    service: Service,
    crew: Crew,
    samples: Samples,
    requests: Counter[str],
    size: Size,
    seconds: float,
    began_at: float,
) -> Outcome:
    """Let the workers end, and look at what they have done."""
    visible, hidden, dead = service.messages()
    crew.stop()
    done, _, again, _ = service.ledger.listing()
    boxes = {str(box) for box in _box(size.tasks).split(BLOCK)}
    events, kills = history(service.root, len(service.workers)), crew.killer.kills
    twice = repeated(events, service.lines(), again)
    sample = {*twice, *sorted(done)[:: max(1, len(done) // _RECORDS_READ)]} & done
    states = Counter(record.state for record in service.ledger.records(sample))
    return Outcome(
        tasks=size.tasks,
        workers=size.workers,
        done=len(done & boxes),
        others=len(done - boxes),
        not_done=len(sample) - states["done"],
        sigkills=crew.killer.count(signal.SIGKILL),
        sigterms=crew.killer.count(signal.SIGTERM),
        repeated=len(twice),
        unexplained=tuple(sorted(unexplained(twice, events, kills, size.in_flight))),
        twice=len(again),
        left=visible + hidden,
        dead=dead,
        deserted=tuple(crew.deserted),
        equal=np.array_equal(service.output_where_written(), service.input()),
        seconds=seconds,
        samples=samples,
        requests=requests,
        kills=tuple(kill.at - began_at for kill in kills),
    )


def _prepared(folder: Path, aws: CountedAws, tasks: int) -> Service:
    """Make volumes on the disk, a ledger in S3 and a queue."""
    name = f"soak-{uuid.uuid4().hex[:8]}"
    boto3.client("s3").create_bucket(Bucket=name)
    endpoint = {"AWS_ENDPOINT_URL_SQS": aws.variables["AWS_ENDPOINT_URL"]}
    service = Service(folder, name, aws.variables | endpoint)
    service.elsewhere["out/log"] = f"s3://{name}"
    service.environment["CHUNKFLOW_LEDGER"] = service.ledger.path
    service.volumes(_box(tasks).size, BLOCK)
    service.chain()
    service.create_queue(LEASE_SECONDS, MAX_RECEIVES)
    return service


def _box(tasks: int) -> BoundingBox:
    return BoundingBox.sized((0, 0, 0), Vec3(1, 1, tasks) * BLOCK)


def _work(
    service: Service, crew: Crew, samples: Samples, aws: CountedAws, size: Size, began: float
) -> float:
    """Kill workers, replace them and look at all, until no message is left.

    Returns the seconds that it took.
    """
    next_sample = next_line = began
    while (now := time.monotonic()) < began + size.longest_seconds:
        crew.fill()
        if now >= next_sample:
            next_sample = now + size.sample_every
            visible, hidden, _ = service.messages()
            pids = crew.pids() | {SERVER: aws.pid}
            samples.take(now - began, pids, aws.requests, visible + hidden)
            if visible + hidden == 0:
                break
            if now >= next_line:
                next_line = now + _PROGRESS_SECONDS
                print(f"{now - began:6.0f} s: {visible + hidden} tasks left", flush=True)
            if visible:  # towards the end, nothing would be left but waiting for leases
                crew.strike()
        time.sleep(_LOOK_SECONDS)
    return time.monotonic() - began
