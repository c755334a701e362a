"""`make_forecast`: puts together what a job will take, for numbers and kinds of machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.volumes import Configured
from producer.cost.alignment import Alignment, input_alignment, output_alignment
from producer.cost.bill import bill_of
from producer.cost.fleet import Fleet, Work, fleet_of
from producer.cost.forecast import Counts, Forecast, Memory, Option, Volume, Voxels
from producer.cost.measure import Measured
from producer.cost.places import Numbers, Places, sizes
from producer.cost.prices import Machine, Prices
from producer.cost.requests import Requests, requests_of
from producer.cost.seconds import TaskTimes
from producer.cost.traffic import VolumeTraffic, read_traffic, written_traffic
from producer.cost.worker import Needs

_PROCESS = 400_000_000
"""Bytes of a worker's process without nets and tasks, where it was not measured."""
STARTUP = 180.0
"""Seconds from the start of a machine to its first task, where users say nothing."""


@dataclass(frozen=True)
class Wanted:
    """What users choose.

    workers: numbers of machines. machines: names in the price table; when empty, all that have the
    memory. startup: seconds of a machine.
    """

    workers: tuple[int, ...] = (10, 100, 1000)
    machines: tuple[str, ...] = ()
    in_flight: int = 2
    lease_seconds: float = 120.0
    startup: float = STARTUP
    nat: bool = False


@dataclass(frozen=True)
class Known:
    """What a forecast is made from. pipeline: digest. measured: by a sample run, if there was one.

    times: None if nothing tells them.
    """

    job: str
    pipeline: str
    chain: list[Configured]
    boxes: Boxes
    counts: Counts
    places: Places
    needs: Needs
    prices: Prices
    times: TaskTimes | None = None
    measured: Measured | None = None


@dataclass(frozen=True)
class Traffic:
    """What a job reads and writes."""

    reads: list[VolumeTraffic]
    writes: list[VolumeTraffic]


def traffic_of(known: Known) -> Traffic:
    """Looks at blocks of the volumes. Raises ConfigError and StorageUnavailable."""
    ratios = known.measured.ratios if known.measured else {}
    return Traffic(
        [read_traffic(known.places, found) for found in known.needs.reads],
        list(written_traffic(known.places, known.chain, lambda path, mip: ratios.get((path, mip)))),
    )


def make_forecast(known: Known, wanted: Wanted, traffic: Traffic) -> Forecast:
    """Raises ConfigError for a machine that the price table lacks."""
    reads, writes = traffic.reads, traffic.writes
    memory = memory_of(known, reads, wanted.in_flight)
    machines = _machines(known.prices, wanted.machines, memory.worker)
    volumes = [*_volumes(reads, "input"), *_volumes(writes, "output")]
    files = known.measured.files if known.measured else 0.0
    return Forecast(
        known.job,
        known.pipeline,
        known.boxes.chunk_size,
        known.counts,
        tuple(_alignments(known, reads)),
        _voxels(known, [*reads, *writes]),
        memory,
        tuple(volumes),
        sum(write.blocks for write in writes) + ceil(known.places.count * (1 + files)) + 1,
        known.times,
        tuple(_option(known, wanted, traffic, machines, n) for n in wanted.workers),
        f"{known.prices.region}, {known.prices.date}",
        tuple(_assumptions(known, wanted, volumes, memory)),
    )


def _option(
    known: Known,
    wanted: Wanted,
    traffic: Traffic,
    machines: Sequence[Machine],
    workers: int,
) -> Option:
    """What a number of machines takes."""
    requests = _requests(known, wanted, traffic, workers)
    fleets = tuple(_fleets(known, wanted, machines, workers))
    hours = max((fleet.wall_seconds for fleet in fleets), default=0.0) / 3600
    bill = bill_of(
        requests,
        traffic.writes,
        known.prices,
        operators=len(known.chain),
        hours=hours,
        nat=wanted.nat,
    )
    return Option(workers, requests.counts, requests.bytes_in, requests.bytes_out, bill, fleets)


def _requests(known: Known, wanted: Wanted, traffic: Traffic, workers: int) -> Requests:
    return requests_of(
        known.places,
        traffic.reads,
        traffic.writes,
        workers=workers,
        cache_bytes=known.needs.cache_bytes,
        seconds=known.times.seconds if known.times else None,
        lease_seconds=wanted.lease_seconds,
        in_flight=wanted.in_flight,
    )


def _fleets(
    known: Known, wanted: Wanted, machines: Sequence[Machine], workers: int
) -> Iterator[Fleet]:
    if known.times is None:
        return
    work = Work(known.places.count, known.times.seconds, wanted.in_flight, wanted.startup)
    beside = known.prices.beside_machines.an_hour
    for machine in machines:
        for spot in (False, True):
            yield fleet_of(work, machine, workers, spot=spot, beside=beside)


def _machines(prices: Prices, names: Sequence[str], needed: int) -> list[Machine]:
    """Those of these names, or else all that have the memory."""
    if names:
        return [prices.machine(name) for name in names]
    return [machine for machine in prices.machines if machine.memory_bytes >= needed]


def memory_of(known: Known, reads: Sequence[VolumeTraffic], in_flight: int) -> Memory:
    """Memory of a task and of a worker, measured if something was."""
    needs, times = known.needs, known.times
    whole = sum(read.block_voxels * read.voxel_bytes for read in reads)
    kept = min(needs.cache_bytes, whole)
    if known.measured and known.measured.times.memory_peak:
        before = min(needs.cache_bytes, known.measured.bytes_read)
        peak = known.measured.times.memory_peak + max(0, kept - before)
        return Memory(needs.task_bytes, peak, "measured on this machine")
    if times and times.memory_peak:
        return Memory(needs.task_bytes, times.memory_peak, times.source)
    tasks = needs.task_bytes + (in_flight - 1) * needs.further_bytes
    source = f"assumed: {_PROCESS / 1e9} GB for the process, without its net"
    return Memory(needs.task_bytes, _PROCESS + tasks + kept, source)


def _volumes(found: Sequence[VolumeTraffic], use: str) -> Iterator[Volume]:
    for one in found:
        plain = one.block_voxels * one.voxel_bytes
        ratio = one.ratio
        yield Volume(
            one.path,
            one.mip,
            use,
            one.voxels,
            one.blocks,
            plain,
            one.stored_bytes,
            ratio.stored,
            ratio.source,
        )


def _alignments(known: Known, reads: Sequence[VolumeTraffic]) -> Iterator[Alignment]:
    for read in reads:
        yield input_alignment(known.boxes, read.path, read.bounds, read.block)
    yield from output_alignment(known.boxes, known.chain)


def _voxels(known: Known, volumes: Sequence[VolumeTraffic]) -> Voxels:
    places, needs = known.places, known.needs
    bounds = volumes[0].bounds if volumes else None
    read = volumes[0] if needs.reads else None
    return Voxels(
        places.total(sizes(places.edges())),
        places.total(sizes(places.edges(bounds))),
        read.voxels if read else 0,
        read.block_voxels if read else 0,
        computed_voxels(places, needs),
    )


def computed_voxels(places: Places, needs: Needs) -> int:
    """Voxels that nets return for their patches."""
    return sum(places.total(_numbers(net.patches)) * net.patch_voxels for net in needs.computes)


def _numbers(lists: Sequence[Sequence[int]]) -> Numbers:
    """Numbers by the place of a box, as `Places` takes them."""
    z, y, x = (np.array(axis, np.int64) for axis in lists)
    return z, y, x


def _assumptions(
    known: Known, wanted: Wanted, volumes: Sequence[Volume], memory: Memory
) -> Iterator[str]:
    """What the numbers rest on, in sentences for people."""
    yield f"prices are those of {known.prices.region} on {known.prices.date}: check them"
    sources = {f"{volume.use} bytes: {volume.ratio_source}" for volume in volumes}
    yield from sorted(sources)
    if known.times is None:
        return
    yield (
        f"a task takes a worker {known.times.seconds:.3g} s ({known.times.source}) on every kind "
        "of machine, divided by its `speed` in the price table"
    )
    yield (
        f"one worker on a machine, {wanted.in_flight} tasks in flight, "
        f"{wanted.startup:.0f} s to start a machine; each task is done at its first delivery"
    )
    shares = {machine.interruptions_an_hour for machine in known.prices.machines}
    yield (
        f"spot machines are interrupted at random, {min(shares):.0%} to {max(shares):.0%} of them "
        "in an hour; a task then starts anew"
    )
    yield "masks, files beside volumes, other volumes than inputs and idle polls are not counted"
