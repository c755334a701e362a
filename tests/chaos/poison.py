"""Poisoned boxes: they end in the dead letters with their causes, all others are done, and after the repair all are.

Causes: an error for good, one that might pass, and an absent block of the input.
"""

from __future__ import annotations

import random
import uuid
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from tests.chaos.report import Report
from tests.support.service import BLOCK, Service

MAX_RECEIVES = 3


def scenario(
    folder: Path,
    aws: dict[str, str],
    seed: int,
    size: Vec3 = Vec3(1, 15, 20),
    poisoned: int = 30,
    workers: int = 2,
) -> Report:
    """size: of the job, in boxes. poisoned: boxes, a third for each cause.

    Attempts are the most that any of its boxes had: the local SQS may fail a receive that it has counted.
    """
    with ExitStack() as stack:
        service = Service(folder, f"poison-{uuid.uuid4().hex[:8]}", aws)
        stack.callback(service.close)
        volume = service.volumes(size * BLOCK)
        boxes = [str(BoundingBox.sized(Vec3(*index) * BLOCK, BLOCK)) for index in np.ndindex(*size)]
        chosen = random.Random(seed).sample(boxes, poisoned)
        third = -(-poisoned // 3)
        for_good, for_now, absent = chosen[:third], chosen[third : 2 * third], chosen[2 * third :]
        files = {
            "made to fail for good": (folder / "for-good", for_good),
            "made to fail now": (folder / "for-now", for_now),
        }
        for file, lines in files.values():
            file.write_text("\n".join(lines))
        hidden = [hide(folder, box) for box in absent]
        service.chain(
            {"op": "fail", "file": str(folder / "for-good"), "permanent": True},
            {"op": "fail", "file": str(folder / "for-now"), "words": "made to fail now"},
        )
        service.create_queue(visibility=10, max_receives=MAX_RECEIVES)
        service.enqueue()
        for _ in range(workers):
            service.start_worker(in_flight=4)
        service.wait_done(len(boxes) - poisoned, 300)
        service.wait(
            lambda: service.messages() == (0, 0, poisoned), f"{poisoned} dead letters", 120
        )
        failed = {record.bbox: record for record in service.records() if record.state == "failed"}
        source, output = service_input(service, hidden, volume), service.output_where_written()
        others_right = all(
            np.array_equal(output[part.slices()], source[part.slices()])
            for part in (BoundingBox.parse(box) for box in boxes if box not in chosen)
        )
        causes = {
            "made to fail for good": for_good,
            "made to fail now": for_now,
            "lacks the block": absent,
        }
        told = {
            cause: sum(
                box in failed and cause in failed[box].error and failed[box].final for box in there
            )
            for cause, there in causes.items()
        }
        attempts = {
            cause: max((failed[box].attempts for box in there if box in failed), default=0)
            for cause, there in causes.items()
        }

        for file, _ in files.values():
            file.write_text("")
        first = service.producer(
            "redrive",
            "--queue",
            service.queue,
            "--ledger",
            service.ledger.path,
            "--cause",
            "for good",
        )
        service.wait_done(len(boxes) - poisoned + len(for_good), 120)
        for away, block in hidden:
            away.rename(block)
        service.producer("redrive", "--queue", service.queue)
        service.wait_done(len(boxes), 120)
        service.wait(lambda: service.messages() == (0, 0, 0), "no message left", 60)
        done, still_failed = service.ledger.boxes()
        complete = (
            np.array_equal(service.output(), service.input())
            and len(done) == len(boxes)
            and not still_failed
        )
        lived = all(process.poll() is None for process in service.workers)
    rows = [
        (
            cause,
            len(there),
            told[cause],
            attempts[cause],
            len(boxes) - poisoned,
            len(there) if complete else "not all",
        )
        for cause, there in causes.items()
    ]
    holds = (
        complete and lived and others_right and set(failed) == set(chosen) and f"{len(for_good)}" in first
        and all(told[cause] == len(there) for cause, there in causes.items())
        and attempts["made to fail now"] == MAX_RECEIVES
    )  # fmt: skip
    columns = (
        "cause",
        "boxes",
        "dead, with this cause in the record",
        "attempts",
        "other boxes done",
        "done after repair and redrive",
    )
    return Report("poison", columns, rows, holds)


def hide(folder: Path, box: str) -> tuple[Path, Path]:
    """Take a block of the input away; where it is now, and where it was."""
    z, y, x = box.split("_")
    (block,) = (folder / "in").glob(f"*/{x}_{y}_{z}*")
    away = folder / f"hidden-{block.name}"
    block.rename(away)
    return away, block


def service_input(
    service: Service, hidden: list[tuple[Path, Path]], volume: BoundingBox
) -> np.ndarray:
    """The input, with zeros where its blocks were taken away."""
    from chunkflow_worker.storage.precomputed import PrecomputedVolume

    return PrecomputedVolume(service.path("in"), fill_missing=bool(hidden)).read(volume)
