"""`verify`: compares the output in storage with the records of the tasks that wrote it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from math import ceil, floor
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import BlockDamaged, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.in_order import in_order
from chunkflow_worker.job.ledger import Ledger, Record, Written
from producer.look.faulty import UNREADABLE, fault_of
from producer.look.nets import Nets, has_file
from producer.look.problem import Kind, Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from chunkflow_worker.job.written_paths import WrittenPaths
    from chunkflow_worker.storage.precomputed.volume import PrecomputedVolume
    from producer.plan.pipeline_file import PipelineFile

CLOCKS_APART = timedelta(seconds=60)  # the largest difference between a worker's and storage's
_BATCH = 100  # records that are read at once


@dataclass(frozen=True)
class Source:
    """The image that a job read. Where it is zero, the output may be zero too."""

    volume: str
    mip: int = 0


def input_of(pipeline: PipelineFile | None) -> Source | None:
    """The first volume that the chain loads, or else the one that its grid is cut from.

    None without a pipeline file: the grid in the job's record may name any volume.
    """
    if pipeline is None:
        return None
    for operator in pipeline.chain:
        for volume in operator.loads():
            return Source(volume.path, volume.mip or 0)
    path, mip = pipeline.tasks.get("volume_path"), pipeline.tasks.get("mip")
    return Source(path, mip or 0) if isinstance(path, str) else None


class Verifier:
    """Checks the output of tasks by their records. Several threads may use it.

    pipeline: the digest that the records must have; any digest when empty.
    net: the digest of a file that the boxes' net must have; any net when empty.
    source: the input of the job; without it, no zero block is reported.
    quick: check only that blocks exist and are not older than their task; read no voxels.
    allow_zeros: do not report zero blocks that a task itself wrote as zero.
    paths: that records may name; any when None.
    nets: of the boxes that were checked.
    """

    def __init__(
        self,
        pipeline: str = "",
        source: Source | None = None,
        *,
        quick: bool = False,
        allow_zeros: bool = False,
        net: str = "",
        paths: WrittenPaths | None = None,
    ):
        self._pipeline, self._source, self._net = pipeline, source, net
        self._paths = paths
        self.nets = Nets()
        self._quick, self._allow_zeros = quick, allow_zeros
        self._volumes: dict[tuple[str, int, bool], PrecomputedVolume] = {}
        self._lock = threading.Lock()

    def check(self, record: Record) -> list[Problem]:
        """What is wrong with the output of a task that is recorded as done.

        Raises StorageUnavailable, and ConfigError when a volume does not exist.
        """
        if self._pipeline and record.pipeline and record.pipeline != self._pipeline:
            detail = f"done by job {record.job} with another pipeline, {record.pipeline}"
            return [Problem(record.bbox, "stale", detail=detail)]
        self.nets.add(record)
        if self._net and record.models and not has_file(record, self._net):
            detail = f"done with another net, {', '.join(record.models.values())}"
            return [Problem(record.bbox, "stale", detail=detail)]
        if self._paths is not None and (fault := fault_of(record, self._paths)):
            return [fault]
        if record.state == "done" and not record.written:
            return [Problem(record.bbox, "not-checked")]
        check = self._check_times if self._quick else self._check_voxels
        return [problem for written in record.written for problem in check(record, written)]

    def _check_times(self, record: Record, written: Written) -> Iterator[Problem]:
        volume = self._volume(written.volume, written.mip)
        times = volume.block_times(BoundingBox.parse(written.bbox))
        missing = tuple(name for name, time in times.items() if time is None)
        old = _older_than_task(times, record)
        if missing:
            yield Problem(record.bbox, "missing", volume.path, missing)
        if old:
            yield Problem(record.bbox, "stale", volume.path, old, "older than their task")

    def _check_voxels(self, record: Record, written: Written) -> Iterator[Problem]:
        volume = self._volume(written.volume, written.mip)
        box = BoundingBox.parse(written.bbox)
        bad, unchanged = self._bad_blocks(volume, box, written)
        for kind, blocks in bad.items():
            names = tuple(map(volume.block_name, blocks))
            detail = "as the task wrote them" if unchanged else ""
            yield Problem(record.bbox, kind, volume.path, names, detail)
        if written.nan:
            detail = f"{written.nan} voxels were NaN before they became integers"
            yield Problem(record.bbox, "nan", volume.path, detail=detail)
        if unchanged or bad:
            return
        times = volume.block_times(box)
        if written.crc32:
            names, detail = _stored_outside_task(times, record), "other voxels than the task wrote"
            yield Problem(record.bbox, "stale", volume.path, names, detail)
        elif old := _older_than_task(times, record):
            yield Problem(record.bbox, "stale", volume.path, old, "older than their task")

    def _bad_blocks(
        self, volume: PrecomputedVolume, box: BoundingBox, written: Written
    ) -> tuple[dict[Kind, list[BoundingBox]], bool]:
        """The bad blocks by kind, and whether all voxels are those that the task wrote."""
        from chunkflow_worker.storage.volume import blocks_of, checksum

        bad: dict[Kind, list[BoundingBox]] = {}
        blocks = list(blocks_of(volume, box))
        arrays: Iterable[tuple[BoundingBox, NDArray[Any]]]
        unchanged = False
        try:
            voxels = volume.read(box)
        except (DataMissing, BlockDamaged):
            arrays = _read_each(volume, blocks, bad)
        else:
            arrays = ((block, voxels[(..., *block.slices(box.start))]) for block in blocks)
            unchanged = checksum(voxels) == written.crc32
        zeros_are_right = (unchanged and self._allow_zeros) or volume.layer_type != "image"
        for block, array in arrays:
            if not array.any():
                if not zeros_are_right and self._has_input(volume, block):
                    bad.setdefault("zero", []).append(block)
            elif _has_nan(array):
                bad.setdefault("nan", []).append(block)
        return bad, unchanged

    def _has_input(self, volume: PrecomputedVolume, block: BoundingBox) -> bool:
        """True when the input of the job is not zero everywhere in the place of the block."""
        if self._source is None:
            return False
        source = self._volume(self._source.volume, self._source.mip, fill_missing=True)
        ratios = [a / b for a, b in zip(volume.voxel_size, source.voxel_size, strict=True)]
        start = Vec3.of(floor(n * ratio) for n, ratio in zip(block.start, ratios, strict=True))
        stop = Vec3.of(ceil(n * ratio) for n, ratio in zip(block.stop, ratios, strict=True))
        box = BoundingBox(start, stop).clip(source.bounds)
        return box is not None and bool(source.read(box).any())

    def _volume(self, path: str, mip: int, fill_missing: bool = False) -> PrecomputedVolume:
        from chunkflow_worker.storage.precomputed.volume import PrecomputedVolume

        key = (path, mip, fill_missing)
        with self._lock:
            if key not in self._volumes:
                self._volumes[key] = PrecomputedVolume(path, mip, fill_missing)
            return self._volumes[key]


def verify(
    ledger: Ledger, boxes: Boxes, verifier: Verifier, threads: int = 4
) -> Iterator[list[Problem]]:
    """Yield the problems of every box, in the order of the boxes.

    Holds the voxels of at most `threads` boxes in memory. Raises StorageUnavailable, and
    ConfigError when a volume does not exist.
    """
    done, failed, *_ = ledger.listing()

    def check(task: tuple[str, Record | None]) -> list[Problem]:
        box, record = task
        if record is not None:
            try:
                return verifier.check(record)
            except MemoryError:
                return [Problem(box, "not-checked", detail="too large for the memory here")]
        if box in failed:
            return [Problem(box, "failed")]
        return [Problem(box, "no-record", detail=UNREADABLE if box in done else "")]

    tasks = _with_records(ledger, boxes, done)
    return in_order(check, tasks, threads, window=2 * threads, name="verify")


def _with_records(
    ledger: Ledger, boxes: Boxes, done: set[str]
) -> Iterator[tuple[str, Record | None]]:
    """Every box, with its record of success."""
    names = map(str, boxes)
    while batch := list(islice(names, _BATCH)):
        records = {r.bbox: r for r in ledger.records(name for name in batch if name in done)}
        for name in batch:
            yield name, records.get(name)


def _read_each(
    volume: PrecomputedVolume, blocks: Iterable[BoundingBox], bad: dict[Kind, list[BoundingBox]]
) -> Iterator[tuple[BoundingBox, NDArray[Any]]]:
    """Yield the blocks that can be read, and add the others to `bad`."""
    for block in blocks:
        try:
            yield block, volume.read(block)
        except DataMissing:
            bad.setdefault("missing", []).append(block)
        except BlockDamaged:
            bad.setdefault("damaged", []).append(block)


def _has_nan(array: NDArray[np.generic]) -> bool:
    from chunkflow_worker.image.conversion import count_nan

    return count_nan(array) > 0


def _older_than_task(times: dict[str, datetime | None], record: Record) -> tuple[str, ...]:
    """Blocks that are older than their task, even if the clocks differ."""
    if not record.started:
        return ()
    started = datetime.fromisoformat(record.started) - CLOCKS_APART
    return tuple(name for name, time in times.items() if time is not None and time < started)


def _stored_outside_task(times: dict[str, datetime | None], record: Record) -> tuple[str, ...]:
    """Blocks that were not stored while their task ran; none when the record has no times."""
    if not (record.started and record.finished):
        return ()
    started = datetime.fromisoformat(record.started)
    finished = datetime.fromisoformat(record.finished)
    return tuple(
        name for name, time in times.items() if time is not None and not started <= time <= finished
    )
