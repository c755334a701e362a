"""`Requests`: what workers and the producer ask of AWS for a job, by the table of requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from chunkflow_worker.job.heartbeat import HEARTBEAT_SECONDS
from chunkflow_worker.job.requests import (
    BLOCK_READ,
    BLOCK_WRITTEN,
    HEARTBEAT,
    INTERVAL,
    REQUESTS,
    TASK,
)
from chunkflow_worker.report.cloudwatch import INTERVAL_SECONDS
from producer.cost.places import Places
from producer.cost.reuse import fetched
from producer.cost.traffic import VolumeTraffic
from producer.send.batches import BATCH_ENTRIES

_RENEWALS = 3  # of a lease in its length
_RECORD, _IN_RECORD = 2000, 10  # bytes of a task's record, and of each block in it


@dataclass(frozen=True)
class Requests:
    """counts: by service and request. bytes_in, bytes_out: of S3, from and to it."""

    counts: dict[str, dict[str, float]]
    bytes_in: float
    bytes_out: float

    def of(self, service: str, *names: str) -> float:
        """The number of requests of a service, of all kinds when no name is given."""
        found = self.counts.get(service, {})
        return sum(count for name, count in found.items() if not names or name in names)


def requests_of(
    places: Places,
    reads: Sequence[VolumeTraffic],
    writes: Sequence[VolumeTraffic],
    *,
    workers: int,
    cache_bytes: int,
    seconds: float | None,
    lease_seconds: float,
    in_flight: int,
) -> Requests:
    """The requests of a job whose tasks are all done at their first delivery.

    seconds: that a worker takes for a task; None if unknown.
    cache_bytes: of a worker, for blocks that boxes share; an equal part is for each input.
    """
    tasks = places.count
    found = [fetched(places, read, cache_bytes // len(reads), workers) for read in reads]
    written = sum(write.blocks for write in writes)
    busy = tasks * (seconds or 0.0)
    number = {
        TASK: tasks,
        BLOCK_READ: sum(volume.blocks for volume in found),
        BLOCK_WRITTEN: written,
        INTERVAL: min(tasks, busy / INTERVAL_SECONDS),
        HEARTBEAT: busy / HEARTBEAT_SECONDS,
    }
    counts: dict[str, Counter[str]] = {}
    for request in REQUESTS:
        of_service: Counter[str] = counts.setdefault(request.service, Counter())
        of_service[request.name] += request.number * number[request.of]  # type: ignore[assignment]
    counts["SQS"]["SendMessageBatch"] = -(-tasks // BATCH_ENTRIES)
    renewals = int((seconds or 0.0) * in_flight // (lease_seconds / _RENEWALS))
    if renewals:
        counts["SQS"]["ChangeMessageVisibility"] = tasks * renewals
    records = tasks * _RECORD + written * _IN_RECORD
    bytes_out = sum(write.stored_bytes for write in writes) + records
    bytes_in = sum(volume.bytes for volume in found)
    return Requests({name: dict(c) for name, c in counts.items()}, bytes_in, bytes_out)
