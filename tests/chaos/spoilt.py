"""Scenario `spoilt`: blocks of a finished job are spoilt in several ways.

`verify` must find each of them and no other, and the job that it sends again must repair them.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_worker.image.bbox import Vec3
from tests.chaos.report import Report, broken
from tests.chaos.verified import verify
from tests.support.forked import AnyWorker
from tests.support.service import BLOCK, Service

GRID = Vec3(3, 5, 5)
COLUMNS = ("what was done to a block", "boxes", "found wrong", "reported as")


def scenario(
    folder: Path, aws: dict[str, str], seed: int, each: int = 10, grid: Vec3 = GRID
) -> Report:
    """each: number of blocks that are spoilt in each way. grid: the number of boxes, zyx."""
    service = Service(folder, f"spoilt-{seed}", aws)
    try:
        return _spoil_and_verify(service, folder, seed, each, grid)
    finally:
        service.close()


def _spoil_and_verify(service: Service, folder: Path, seed: int, each: int, grid: Vec3) -> Report:
    whole = service.volumes(grid * BLOCK, out_dtype="float32")
    boxes = [str(box) for box in whole.split(BLOCK)]
    service.create_queue()
    worker = _run(service, "earlier", boxes, {"op": "threshold", "threshold": 0.0})
    worker.terminate()
    worker.wait(30)
    shutil.copytree(folder / "out", folder / "earlier")
    _run(service, "job", boxes, {"op": "normalize-intensity"})
    calm = service.output()
    wrong_before = len(verify(service).wrong)

    ways = _ways(folder)
    chosen = random.Random(seed).sample(boxes, each * len(ways))
    spoilt = {way: chosen[i :: len(ways)] for i, way in enumerate(ways)}
    for way, (_, spoil) in ways.items():
        for box in spoilt[way]:
            spoil(_block(folder / "out", box))
    kinds = verify(service, "--enqueue").kinds
    found = {
        way: sum(kinds.pop(box, "") == kind for box in spoilt[way])
        for way, (kind, _) in ways.items()
    }
    service.wait_done(len(boxes), 300)
    wrong_after = len(verify(service).wrong)
    equal = np.array_equal(service.output(), calm)
    bytes_now = "the same bytes" if equal else "OTHER BYTES"
    rows = [
        *((way, each, found[way], kind) for way, (kind, _) in ways.items()),
        ("nothing", len(boxes) - len(chosen), len(kinds) + wrong_before, ""),
        ("those boxes done again", len(chosen), wrong_after, bytes_now),
    ]
    promises = {
        "each spoilt block is found, as what it is": all(found[way] == each for way in ways),
        "no other block is found": not kinds and not wrong_before,
        "nothing is wrong after the boxes were done again": not wrong_after,
        "the output has the same bytes again": equal,
    }
    return Report("spoilt", COLUMNS, rows, broken(promises))


def _run(service: Service, job: str, boxes: list[str], step: dict[str, Any]) -> AnyWorker:
    """Do a job over all boxes, also those that another job has done; its worker runs on."""
    service.chain(step)
    service.enqueue(job=job)
    worker = service.start_worker(in_flight=2)

    def all_done() -> bool:
        return all(record.job == job for record in service.ledger.records(boxes))

    service.wait_done(len(boxes), 300)
    service.wait(all_done, f"all boxes of {job} done", 300)
    return worker


def _block(volume: Path, box: str) -> Path:
    (block,) = volume.glob(f"8_8_40/{'_'.join(reversed(box.split('_')))}*")
    return block


def _ways(folder: Path) -> dict[str, tuple[str, Callable[[Path], object]]]:
    """What is done to the file of a block, and the kind that `verify` must report."""

    def truncate(block: Path) -> None:
        block.write_bytes(block.read_bytes()[: block.stat().st_size // 2])

    def fill(value: float, count: int | None = None) -> Callable[[Path], None]:
        def rewrite(block: Path) -> None:
            voxels = np.frombuffer(block.read_bytes(), np.float32).copy()
            voxels[:count] = value
            block.write_bytes(voxels.tobytes())

        return rewrite

    def earlier(block: Path) -> Path:
        return folder / "earlier" / block.relative_to(folder / "out")

    return {
        "deleted": ("missing", Path.unlink),
        "truncated to its half": ("damaged", truncate),
        "one voxel made NaN": ("nan", fill(np.nan, 1)),
        "made zero": ("zero", fill(0)),
        "that of an earlier run, its time kept": (
            "stale",
            lambda block: shutil.copy2(earlier(block), block),
        ),
        "that of an earlier run, its time new": (
            "stale",
            lambda block: shutil.copyfile(earlier(block), block),
        ),
    }
