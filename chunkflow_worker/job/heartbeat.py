"""`Heartbeat`: what a worker tells of itself every few seconds, in a small object of the ledger.

    <ledger>/workers/<worker>.json      written while the worker runs, deleted when it ends

That of a worker that was killed stays, and is told by its age. Whoever may write to the bucket may
write any: what is read is bounded, and what is no heartbeat counts for none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.storage.files import Files

HEARTBEAT_SECONDS = 15.0
MISSED_BEATS = 10
"""After so many intervals without a new heartbeat, a worker counts as gone."""
FORGOTTEN = timedelta(days=1)
"""The age at which the heartbeats of killed workers are deleted."""

_MOST_BYTES = 100_000  # of an object that is one
_MOST_WORKERS = 10_000  # of one ledger that are read
_MOST_IN_HAND = 128
_MOST_TEXT = 500  # characters
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")

Phase = Literal["opening", "running", "stopping"]


def _clipped(text: str) -> str:
    return text[:_MOST_TEXT]


def _box(text: str) -> str:
    BoundingBox.parse(text)
    return text


_Text = Annotated[str, AfterValidator(_clipped)]
_Count = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(ge=0)]


class InHandBox(BaseModel):
    """A box that a worker is working on.

    attempt: counts from 1. seconds: for which the worker has had it.
    operator: that runs now; empty before the first, between two, and while the box is recorded.
    operator_seconds: for which the operator has run.
    lease: seconds until the lease ends.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    job: _Text
    bbox: Annotated[str, AfterValidator(_box)]
    attempt: _Count = 1
    seconds: _Seconds = 0.0
    operator: _Text = ""
    operator_seconds: _Seconds = 0.0
    lease: _Seconds = 0.0


class GpuUse(BaseModel):
    """How a GPU is used, by all processes on it. Memory is bytes, utilization a share from 0 to 1.

    utilization: None where the driver does not tell it, as for MIG instances.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    name: _Text = ""
    memory: _Count = 0
    memory_total: _Count = 0
    utilization: Annotated[float, Field(ge=0, le=1)] | None = None


class Heartbeat(BaseModel):
    """What one worker process is doing.

    zone: of the cloud, for example us-east-1a; empty where it is not known.
    device: that computes; the processor where no operator names one.
    pipeline: digest of the chain.
    in_flight: how many boxes it works on at once at most.
    done, skipped, failed: boxes since it started; failed counts attempts.
    memory: resident bytes of the process and its children.
    gpu: None without one, and where its driver does not answer.
    interval: seconds between two heartbeats. started, at: when the worker started, and wrote this.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    worker: Annotated[str, Field(min_length=1, max_length=_MOST_TEXT)]
    host: _Text = ""
    zone: _Text = ""
    device: _Text = ""
    queue: _Text = ""
    pipeline: _Text = ""
    version: _Text = ""
    phase: Phase = "running"
    in_flight: _Count = 0
    in_hand: Annotated[tuple[InHandBox, ...], Field(max_length=_MOST_IN_HAND)] = ()
    done: _Count = 0
    skipped: _Count = 0
    failed: _Count = 0
    memory: _Count = 0
    gpu: GpuUse | None = None
    interval: Annotated[float, Field(gt=0, le=3600)] = HEARTBEAT_SECONDS
    started: AwareDatetime
    at: AwareDatetime


class Beat(NamedTuple):
    """A heartbeat and its age in seconds, by the storage's clock where it keeps times."""

    heartbeat: Heartbeat
    age: float

    @property
    def is_alive(self) -> bool:
        return self.age <= MISSED_BEATS * self.heartbeat.interval


class Heartbeats:
    """The heartbeats of one ledger. Several threads may share it.

    ledger: its path. Methods raise StorageUnavailable.
    """

    def __init__(self, ledger: str):
        self._files = Files(f"{ledger}/workers")

    def write(self, heartbeat: Heartbeat) -> None:
        self._files.put_json(_file(heartbeat.worker), heartbeat.model_dump(mode="json"))

    def delete(self, worker: str) -> None:
        """Delete that of a worker, if there is one."""
        self._files.delete(_file(worker))

    def all(self, now: datetime | None = None) -> list[Beat]:
        """The heartbeats of all workers by name, those of the dead included: see `is_alive`.

        now: that ages are counted from; the present when not given.
        """
        times = dict(self._listed())
        contents = self._files.get_jsons(times, _MOST_BYTES)
        beats = []
        for (name, time), content in zip(times.items(), contents, strict=True):
            try:
                heartbeat = Heartbeat.model_validate(content)
            except ValidationError:
                continue
            if _file(heartbeat.worker) == name:
                beats.append(Beat(heartbeat, _age(time or heartbeat.at, now)))
        return sorted(beats, key=lambda beat: beat.heartbeat.worker)

    def forget_old(self, now: datetime | None = None) -> int:
        """Delete those that no worker has written for a day; returns how many."""
        found = list(self._listed())
        old = [n for n, time in found if time and _age(time, now) > FORGOTTEN.total_seconds()]
        if old:
            self._files.delete_all(old)
        return len(old)

    def _listed(self) -> Iterator[tuple[str, datetime | None]]:
        """Names of the objects, and when they were stored; None where storage keeps no times."""
        found = (one for one in self._files.listed() if one.name.endswith(".json"))
        for one in islice(found, _MOST_WORKERS):
            if _SAFE_NAME.fullmatch(one.name.removesuffix(".json")):
                yield one.name, datetime.fromisoformat(one.time) if one.time else None


def _file(worker: str) -> str:
    """The object's name: that of the worker, and where storage could mistake it, a digest."""
    if _SAFE_NAME.fullmatch(worker):
        return f"{worker}.json"
    digest = hashlib.sha256(worker.encode(errors="replace")).hexdigest()[:16]
    return f"w-{_UNSAFE.sub('_', worker)[:100]}-{digest}.json"


def _age(time: datetime, now: datetime | None) -> float:
    return max(0.0, ((now or datetime.now(UTC)) - time).total_seconds())
