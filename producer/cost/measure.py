"""`measure`: runs some boxes of a job on this machine, and tells what they took.

They run in a process of their own, by `chunkflow --pipeline`. Nothing of the job is written: the
output goes to a folder of temporary files, or to a new folder below a place that the user names,
see `Scratch`. It is deleted at the end.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from chunkflow_worker.config.catalog import facts_of, operator_with
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.record import Record
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.path import local_folder, normal_path
from chunkflow_worker.volumes.open_volume import open_volume
from chunkflow_worker.volumes.volume import blocks_of
from producer.cost.ratio import SAMPLE, Ratio, gains_gzip, measured, sampled
from producer.cost.scratch import Scratch
from producer.cost.seconds import TaskTimes, steady_seconds, times_of
from producer.plan.pipeline_file import PipelineFile

_COMMAND = "from chunkflow_worker.cli.chunkflow import main; main()"


@dataclass(frozen=True)
class Measured:
    """ratios: of the levels that were written, by path and mip.

    files: that a task writes beside volumes. bytes_read: of voxels.
    """

    times: TaskTimes
    ratios: dict[tuple[str, int], Ratio]
    files: float
    bytes_read: int


def measure(
    file: PipelineFile, boxes: list[BoundingBox], in_flight: int, place: str = ""
) -> Measured:
    """Run these boxes. The first ones, as many as are in flight, only warm up.

    place: of the output, for example in the same bucket as the job's; this machine when empty.
    Raises ConfigError with what the command says if it fails, and StorageUnavailable.
    """
    with _scratch(place) as scratch:
        pipeline = scratch.write_chain(file.operators)
        tasks = scratch.folder / "boxes.txt"
        tasks.write_text("".join(f"{box}\n" for box in boxes), encoding="utf-8")
        options = ["--pipeline", str(pipeline), "--ledger", scratch.ledger.path]
        options += ["--in-flight", str(in_flight), *_from_file(tasks)]
        done = subprocess.run(
            [sys.executable, "-c", _COMMAND, *options], capture_output=True, text=True, check=False
        )
        if done.returncode:
            problem = f"failed: {done.stderr.strip()}"
            raise ConfigError.one("--measure", f"chunkflow --pipeline {file.path}", problem)
        records = list(scratch.ledger.records(map(str, boxes)))
        times = times_of(records, "measured on this machine")
        if times is None:
            raise ConfigError.one("--measure", "boxes", "left no record", "see chunkflow --help")
        return Measured(
            replace(times, seconds=steady_seconds(records, in_flight)),
            dict(_ratios(scratch, records)),
            sum(len(record.files) for record in records) / len(records),
            sum(record.bytes_read for record in records),
        )


def _from_file(boxes: Path) -> list[str]:
    """The words of a command line that take the tasks from a file."""
    operator = operator_with("box_file")
    return [operator, f"--{facts_of(operator).box_file.replace('_', '-')}", str(boxes)]


@contextmanager
def _scratch(place: str) -> Iterator[Scratch]:
    """Nothing is left of it when the block ends."""
    below = f"{normal_path(place)}/chunkflow-plan-{uuid4().hex}" if place else ""
    with TemporaryDirectory(prefix="chunkflow-plan-") as name:
        try:
            yield Scratch(Path(name).resolve(), below)
        finally:
            if below:
                Files(below).clear()


def _ratios(scratch: Scratch, records: list[Record]) -> Iterator[tuple[tuple[str, int], Ratio]]:
    """The ratio of each level that was written, by the path of the job."""
    boxes: dict[tuple[str, int], list[BoundingBox]] = {}
    for record in records:
        for written in record.written:
            if not written.empty:
                place = written.volume, written.mip
                boxes.setdefault(place, []).append(BoundingBox.parse(written.bbox))
    for (path, mip), found in boxes.items():
        volume = open_volume(path, mip)
        blocks = [block for box in found for block in blocks_of(volume, box)]
        spread = blocks[:: max(1, len(blocks) // SAMPLE)]
        original = scratch.original(volume.path)
        if local_folder(volume.path) is None:
            ratio = sampled(volume, spread)
        else:
            ratio = measured(volume, spread, gzip=gains_gzip(original, mip))
        if ratio is not None:
            yield (original, mip), replace(ratio, source="blocks that sample tasks wrote")
