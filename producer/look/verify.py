"""Looks at every block that the records of a job say was stored."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from math import ceil, floor
from typing import TYPE_CHECKING, Any, Literal

from chunkflow_worker.errors import BlockDamaged, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.ledger import JobRecord, Ledger, Record, Written

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from chunkflow_worker.storage.precomputed import PrecomputedVolume
    from producer.plan.pipeline_file import PipelineFile

Kind = Literal["no-record", "failed", "missing", "damaged", "nan", "zero", "stale"]

KINDS: dict[Kind, str] = {
    "no-record": "not done: no record",
    "failed": "not done: the last attempt failed",
    "missing": "blocks that are not stored",
    "damaged": "blocks that are cut short or can't be decoded",
    "nan": "voxels that are NaN",
    "zero": "blocks that are zero where the input is not",
    "stale": "not what the task wrote: of an earlier run or another pipeline, or changed since",
}

CLOCKS_APART = timedelta(seconds=60)  # of a worker and the storage, at most
_BATCH = 100  # records read at once


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the output of a box. blocks: their names below `volume`; none when it is about the whole box."""

    box: str
    kind: Kind
    volume: str = ""
    blocks: tuple[str, ...] = ()
    detail: str = ""

    @property
    def recorded(self) -> bool:
        """The box has a record of success, which the problem belies."""
        return self.kind not in ("no-record", "failed")


@dataclass(frozen=True)
class Source:
    """The image that a job read. Where it is zero, its output may be."""

    volume: str
    mip: int = 0


def input_of(pipeline: PipelineFile | None, job: JobRecord) -> Source | None:
    """The first volume that the chain loads, or else the one that the job's grid was cut from."""
    operators = pipeline.operators if pipeline else []
    loading = [operator for operator in operators if operator["op"] == "load-precomputed"]
    place = loading[0] if loading else job.grid
    path, mip = place.get("volume_path"), place.get("mip")
    return Source(path, mip or 0) if isinstance(path, str) else None


class Verifier:
    """Checks the output of tasks by their records; may be used from several threads.

    pipeline: digest that the records must have; empty for any. source: the input; without it, no block counts as wrongly zero.
    quick: look only whether blocks are there, and older than their task; read none.
    allow_zeros: blocks that a task itself wrote as zeros are right.
    """

    def __init__(
        self,
        pipeline: str = "",
        source: Source | None = None,
        *,
        quick: bool = False,
        allow_zeros: bool = False,
    ):
        self._pipeline, self._source, self._quick, self._allow_zeros = (
            pipeline,
            source,
            quick,
            allow_zeros,
        )
        self._volumes: dict[tuple[str, int, bool], PrecomputedVolume] = {}
        self._lock = threading.Lock()

    def check(self, record: Record) -> list[Problem]:
        """What is wrong with a task that is done. Raises StorageUnavailable, and ConfigError when a volume is gone."""
        if self._pipeline and record.pipeline and record.pipeline != self._pipeline:
            return [
                Problem(
                    record.bbox,
                    "stale",
                    detail=f"done by job {record.job} with another pipeline, {record.pipeline}",
                )
            ]
        found = self._by_times if self._quick else self._by_voxels
        return [problem for written in record.written for problem in found(record, written)]

    def _by_times(self, record: Record, written: Written) -> Iterator[Problem]:
        volume = self._volume(written.volume, written.mip)
        times = volume.block_times(BoundingBox.parse(written.bbox))
        missing = tuple(name for name, time in times.items() if time is None)
        old = _older(times, record)
        if missing:
            yield Problem(record.bbox, "missing", volume.path, missing)
        if old:
            yield Problem(record.bbox, "stale", volume.path, old, "older than their task")

    def _by_voxels(self, record: Record, written: Written) -> Iterator[Problem]:
        from chunkflow_worker.storage.volume import blocks_of, checksum

        volume, box = self._volume(written.volume, written.mip), BoundingBox.parse(written.bbox)
        blocks = list(blocks_of(volume, box))
        arrays: Iterable[tuple[BoundingBox, NDArray[Any]]]
        bad: dict[Kind, list[BoundingBox]] = {}
        genuine = False
        try:
            whole = volume.read(box)
        except (DataMissing, BlockDamaged):
            arrays = _readable(volume, blocks, bad)
        else:
            arrays = ((block, whole[(..., *block.slices(box.start))]) for block in blocks)
            genuine = checksum(whole) == written.crc32
        for block, array in arrays:
            if not array.any():
                if (
                    volume.layer_type == "image"
                    and not (genuine and self._allow_zeros)
                    and self._has_input(volume, block)
                ):
                    bad.setdefault("zero", []).append(block)
            elif _has_nan(array):
                bad.setdefault("nan", []).append(block)
        for kind, places in bad.items():
            detail = "as the task wrote them" if genuine else ""
            yield Problem(
                record.bbox, kind, volume.path, tuple(map(volume.block_name, places)), detail
            )
        if written.nan:
            yield Problem(
                record.bbox,
                "nan",
                volume.path,
                detail=f"{written.nan} voxels were NaN before they became integers",
            )
        if genuine or bad:
            return
        times = volume.block_times(box)
        if written.crc32:
            yield Problem(
                record.bbox,
                "stale",
                volume.path,
                _outside(times, record),
                "other voxels than the task wrote",
            )
        elif old := _older(times, record):
            yield Problem(record.bbox, "stale", volume.path, old, "older than their task")

    def _has_input(self, volume: PrecomputedVolume, block: BoundingBox) -> bool:
        if self._source is None:
            return False
        source = self._volume(self._source.volume, self._source.mip, fill_missing=True)
        ratios = [a / b for a, b in zip(volume.voxel_size, source.voxel_size, strict=True)]
        start = Vec3.of(floor(n * ratio) for n, ratio in zip(block.start, ratios, strict=True))
        stop = Vec3.of(ceil(n * ratio) for n, ratio in zip(block.stop, ratios, strict=True))
        box = BoundingBox(start, stop).clip(source.bounds)
        return box is not None and bool(source.read(box).any())

    def _volume(self, path: str, mip: int, fill_missing: bool = False) -> PrecomputedVolume:
        from chunkflow_worker.storage.precomputed import PrecomputedVolume

        key = (path, mip, fill_missing)
        with self._lock:
            if key not in self._volumes:
                self._volumes[key] = PrecomputedVolume(path, mip, fill_missing)
            return self._volumes[key]


def verify(
    ledger: Ledger, boxes: Boxes, verifier: Verifier, threads: int = 4
) -> Iterator[list[Problem]]:
    """The problems of every box, in order. Holds the voxels of `threads` boxes at most."""
    done, failed, _ = ledger.listing()
    waiting: deque[Future[list[Problem]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="verify")
    names = map(str, boxes)
    try:
        while batch := list(islice(names, _BATCH)):
            records = {
                record.bbox: record
                for record in ledger.records(name for name in batch if name in done)
            }
            for name in batch:
                if name in records:
                    waiting.append(pool.submit(verifier.check, records[name]))
                else:
                    waiting.append(
                        _known([Problem(name, "failed" if name in failed else "no-record")])
                    )
                while len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _known(problems: list[Problem]) -> Future[list[Problem]]:
    future: Future[list[Problem]] = Future()
    future.set_result(problems)
    return future


def _readable(
    volume: PrecomputedVolume, blocks: Iterable[BoundingBox], bad: dict[Kind, list[BoundingBox]]
) -> Iterator[tuple[BoundingBox, NDArray[Any]]]:
    """The blocks that can be read; the others are put where they belong."""
    for block in blocks:
        try:
            yield block, volume.read(block)
        except DataMissing:
            bad.setdefault("missing", []).append(block)
        except BlockDamaged:
            bad.setdefault("damaged", []).append(block)


def _has_nan(array: NDArray[np.generic]) -> bool:
    from chunkflow_worker.image.chunk import count_nan

    return count_nan(array) > 0


def _older(times: dict[str, datetime | None], record: Record) -> tuple[str, ...]:
    """Blocks that are surely older than their task."""
    if not record.started:
        return ()
    started = datetime.fromisoformat(record.started) - CLOCKS_APART
    return tuple(name for name, time in times.items() if time is not None and time < started)


def _outside(times: dict[str, datetime | None], record: Record) -> tuple[str, ...]:
    """Blocks that were not stored while their task ran; none when the clocks do not tell."""
    if not (record.started and record.finished):
        return ()
    started, finished = (
        datetime.fromisoformat(record.started),
        datetime.fromisoformat(record.finished),
    )
    return tuple(
        name for name, time in times.items() if time is not None and not started <= time <= finished
    )
