"""`better_sizes`: chunk sizes of whole blocks, by what the job costs with each.

Compared are jobs over the whole region, without masks and without blocks that workers keep. The
seconds of an operator follow the voxels that it works on: those that a net returns for its patches,
those of the blocks that are read, or those of the boxes. Each task takes some time beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.output import output_blocks
from producer.cost.bill import s3_dollars
from producer.cost.estimate import Known, Traffic, Wanted, computed_voxels, memory_of
from producer.cost.places import Places
from producer.cost.requests import requests_of
from producer.cost.traffic import read_edges
from producer.cost.worker import Needs, ask_worker

_STEPS = (0.5, 0.75, 1, 1.5, 2, 3)  # of the present size, along each axis
_BESIDE = 0.1
"""Seconds of a task that do not depend on its size: its message and its record."""


@dataclass(frozen=True)
class Candidate:
    """A chunk size, zyx.

    memory: bytes of a worker. of_computed: voxels of the output for each that a net returns.
    machine_hours: without interruptions. dollars: of the cheapest machine that has the memory, on
    demand, and of S3; None if no machine has it.
    """

    chunk_size: Vec3
    tasks: int
    memory: int
    of_computed: float
    machine_hours: float
    dollars: float | None


def better_sizes(
    known: Known,
    wanted: Wanted,
    traffic: Traffic,
    pipeline: Path,
    *,
    memory_limit: int | None,
    count: int = 5,
) -> list[Candidate]:
    """The present size, and the best others, cheapest first.

    memory_limit: bytes of a worker. Raises ConfigError as `ask_worker` does.
    """
    present = known.boxes.chunk_size
    region = _region(known, traffic)
    sizes = [present, *_sizes(present, output_blocks(known.chain), region)]
    found = ask_worker(pipeline, sizes, region)
    search = _Search(known, wanted, traffic, region, found[0])
    first, *others = (search.candidate(needs) for needs in found)
    fitting = [
        other
        for other in others
        if other.dollars is not None and (memory_limit is None or other.memory <= memory_limit)
    ]
    fitting.sort(key=lambda candidate: candidate.dollars or 0.0)
    return [first, *fitting[:count]]


def _region(known: Known, traffic: Traffic) -> BoundingBox:
    whole = known.places.region
    bounds = next((volume.bounds for volume in (*traffic.reads, *traffic.writes)), None)
    return (whole.clip(bounds) or whole) if bounds else whole


def _sizes(present: Vec3, unit: Vec3, region: BoundingBox) -> Iterator[Vec3]:
    axes = []
    for size, step, whole in zip(present, unit, region.size, strict=True):
        most = -(-whole // step)
        axes.append(sorted({min(most, max(1, round(size * n / step))) * step for n in _STEPS}))
    for found in map(Vec3.of, product(*axes)):
        if found != present:
            yield found


@dataclass(frozen=True)
class _Search:
    """present: needs of the present size, over the whole region."""

    known: Known
    wanted: Wanted
    traffic: Traffic
    region: BoundingBox
    present: Needs

    def candidate(self, needs: Needs) -> Candidate:
        places, now = self._places(needs.chunk_size), self._places(self.present.chunk_size)
        seconds = self._seconds(now, places, needs)
        memory = self._memory(needs)
        computed = computed_voxels(places, needs)
        return Candidate(
            needs.chunk_size,
            places.count,
            memory,
            self.region.voxels / computed if computed else 1.0,
            seconds / 3600,
            self._dollars(places, needs, seconds, memory),
        )

    def _places(self, size: Vec3) -> Places:
        grid = -(-self.region.size // size)
        boxes = Boxes(self.region.start, size, grid, self.region.stop, 0, grid.product)
        return Places.of(boxes)

    def _traffic(self, places: Places, needs: Needs) -> Traffic:
        reads = zip(self.traffic.reads, needs.reads, strict=True)
        return Traffic(
            [volume.by(places, read_edges(found)) for volume, found in reads],
            [
                volume.by(places, places.edges(volume.bounds, volume.factor))
                for volume in self.traffic.writes
            ],
        )

    def _seconds(self, now: Places, places: Places, needs: Needs) -> float:
        """Of all workers, for the whole region."""
        times = self.known.times
        if times is None:
            return 0.0
        each = max(0.0, times.seconds - _BESIDE)
        total = sum(times.operators.values())
        shares = {name: part / total for name, part in times.operators.items()} if total else {}
        grown = 0.0
        for name, share in (shares or {"": 1.0}).items():
            grown += share * self._growth(name, now, places, needs)
        return now.count * each * grown + places.count * min(_BESIDE, times.seconds)

    def _growth(self, name: str, now: Places, places: Places, needs: Needs) -> float:
        """How many times as many voxels an operator works on as with the present size."""
        nets = {found.label for found in needs.computes}
        if name in nets or (not name and nets):
            return computed_voxels(places, needs) / max(1, computed_voxels(now, self.present))
        if name in {found.label for found in needs.reads}:
            old, new = (
                sum(volume.block_voxels for volume in self._traffic(*of).reads)
                for of in ((now, self.present), (places, needs))
            )
            return new / max(1, old)
        return 1.0

    def _memory(self, needs: Needs) -> int:
        further = self.wanted.in_flight - 1
        known = memory_of(self.known, self.traffic.reads, self.wanted.in_flight).worker
        now = self.present.task_bytes + further * self.present.further_bytes
        return known - now + needs.task_bytes + further * needs.further_bytes

    def _dollars(self, places: Places, needs: Needs, seconds: float, memory: int) -> float | None:
        prices, wanted = self.known.prices, self.wanted
        machines = [prices.machine(name) for name in wanted.machines] or prices.machines
        rates = [
            prices.an_hour(machine, spot=False) / machine.speed
            for machine in machines
            if machine.memory_bytes >= memory
        ]
        if not rates:
            return None
        moved = self._traffic(places, needs)
        requests = requests_of(
            places,
            moved.reads,
            moved.writes,
            workers=1,
            cache_bytes=0,
            seconds=None,
            lease_seconds=wanted.lease_seconds,
            in_flight=wanted.in_flight,
        )
        return min(rates) * seconds / 3600 + s3_dollars(requests, prices)
