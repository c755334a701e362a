"""Scenario `poison`: some boxes fail, for three causes.

An error for good, an error that might pass, and a missing block of the input. These boxes end in
the dead letters, each with its cause; all others are done; and after the repair all are done.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.record import Record
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from tests.chaos.report import Report, broken
from tests.support.service import BLOCK, Service

MAX_RECEIVES = 3
FOR_GOOD, FOR_NOW, MISSING = "made to fail for good", "made to fail now", "lacks the block"
COLUMNS = (
    "cause",
    "boxes",
    "dead, with this cause in the record",
    "attempts",
    "other boxes done",
    "done after repair and redrive",
)


@dataclass(frozen=True)
class Poison:
    """The boxes that fail, by their cause, and how the cause is made and repaired."""

    folder: Path
    boxes: dict[str, list[str]]

    def spread(self) -> list[tuple[Path, Path]]:
        """Make the boxes fail; returns the hidden blocks, where they are and where they were."""
        for cause in (FOR_GOOD, FOR_NOW):
            self.file(cause).write_text("\n".join(self.boxes[cause]))
        return [hide(self.folder, box) for box in self.boxes[MISSING]]

    def file(self, cause: str) -> Path:
        """Boxes on which the operator `fail` fails."""
        return self.folder / cause.replace(" ", "-")

    def chain(self) -> list[dict[str, object]]:
        for_good = {"op": "fail", "file": str(self.file(FOR_GOOD)), "permanent": True}
        return [for_good, {"op": "fail", "file": str(self.file(FOR_NOW)), "words": FOR_NOW}]


def scenario(
    folder: Path,
    aws: dict[str, str],
    seed: int,
    size: Vec3 = Vec3(1, 15, 20),
    poisoned: int = 30,
    workers: int = 2,
) -> Report:
    """size: of the job, in boxes. poisoned: the number of boxes that fail, a third by each cause.

    The attempts of a cause are the most that any of its boxes had, since the local SQS may fail a
    receive that it has counted.
    """
    service = Service(folder, f"poison-{uuid.uuid4().hex[:8]}", aws)
    try:
        return _run(service, seed, size, poisoned, workers)
    finally:
        service.close()


def _run(service: Service, seed: int, size: Vec3, poisoned: int, workers: int) -> Report:
    volume = service.volumes(size * BLOCK)
    boxes = [str(BoundingBox.sized(Vec3(*index) * BLOCK, BLOCK)) for index in np.ndindex(*size)]
    chosen = random.Random(seed).sample(boxes, poisoned)
    causes = {cause: chosen[i::3] for i, cause in enumerate((FOR_GOOD, FOR_NOW, MISSING))}
    poison = Poison(service.root, causes)
    others = [box for box in boxes if box not in chosen]
    hidden = poison.spread()
    service.chain(*poison.chain())
    service.create_queue(visibility=10, max_receives=MAX_RECEIVES)
    service.enqueue()
    for _ in range(workers):
        service.start_worker(in_flight=4)
    service.wait_done(len(others), 300)
    service.wait(lambda: service.messages() == (0, 0, poisoned), f"{poisoned} dead letters", 120)
    failed = {record.bbox: record for record in service.records() if record.state == "failed"}
    others_equal = _equal(service, others, volume)
    named, attempts = _named(causes, failed), _attempts(causes, failed)

    redriven = _repair(service, poison, hidden, len(others))
    service.wait_done(len(boxes), 120)
    service.wait(lambda: service.messages() == (0, 0, 0), "no message left", 60)
    done, still_failed = service.ledger.boxes()
    all_done = len(done) == len(boxes) and not still_failed
    equal = np.array_equal(service.output(), service.input())
    promises = {
        "the poisoned boxes fail, and no others": set(failed) == set(chosen),
        "each record names its cause": all(named[c] == len(causes[c]) for c in causes),
        "an error that might pass is tried again": attempts[FOR_NOW] == MAX_RECEIVES,
        "the other boxes are right": others_equal,
        "redrive by cause sends its boxes": f"{len(causes[FOR_GOOD])}" in redriven,
        "all boxes are done after the repair": all_done,
        "the output is right": equal,
        "no worker exits": all(process.poll() is None for process in service.workers),
    }
    rows = []
    for cause, there in causes.items():
        repaired = len(there) if all_done and equal else "not all"
        rows.append((cause, len(there), named[cause], attempts[cause], len(others), repaired))
    return Report("poison", COLUMNS, rows, broken(promises))


def _repair(
    service: Service, poison: Poison, hidden: Sequence[tuple[Path, Path]], others: int
) -> str:
    """Repair the causes and send the boxes back; returns what the redrive by cause printed."""
    for cause in (FOR_GOOD, FOR_NOW):
        poison.file(cause).write_text("")
    queue = ("--queue", service.queue)
    ledger = ("--ledger", service.ledger.path)
    printed = service.producer("redrive", *queue, *ledger, "--cause", "for good")
    service.wait_done(others + len(poison.boxes[FOR_GOOD]), 120)
    for away, block in hidden:
        away.rename(block)
    service.producer("redrive", *queue)
    return printed


def _named(causes: dict[str, list[str]], failed: dict[str, Record]) -> dict[str, int]:
    """Boxes of each cause whose final record names it."""
    return {
        cause: sum(
            box in failed and cause in failed[box].error and failed[box].final for box in there
        )
        for cause, there in causes.items()
    }


def _attempts(causes: dict[str, list[str]], failed: dict[str, Record]) -> dict[str, int]:
    return {
        cause: max((failed[box].attempts for box in there if box in failed), default=0)
        for cause, there in causes.items()
    }


def _equal(service: Service, boxes: Sequence[str], volume: BoundingBox) -> bool:
    """True when the output of these boxes is the input, of which blocks may be hidden."""
    source = PrecomputedVolume(service.path("in"), fill_missing=True).read(volume)
    output = service.output_where_written()
    parts = [BoundingBox.parse(box).slices() for box in boxes]
    return all(np.array_equal(output[part], source[part]) for part in parts)


def hide(folder: Path, box: str) -> tuple[Path, Path]:
    """Take a block of the input away; returns where it is now, and where it was."""
    z, y, x = box.split("_")
    (block,) = (folder / "in").glob(f"*/{x}_{y}_{z}*")
    away = folder / f"hidden-{block.name}"
    block.rename(away)
    return away, block
