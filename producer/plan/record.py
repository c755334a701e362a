"""`record_job`: writes the record of a job to the ledger before the job is sent."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.chosen_boxes import ChosenBoxes
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.masked import marks_of
from producer.plan.verified_note import forget_verified


def record_job(ledger: Ledger, record: JobRecord) -> bool:
    """Write the record of a job that will be sent now. Returns False when the ledger has the job.

    The parts of a job may be sent one after another: they have the same grid, but other task
    indices. The record then covers all parts that were sent.
    Raises ConfigError when the ledger has a job of this name with another grid or pipeline, or with
    a part that does not adjoin this one, or when the job is cancelled. Raises StorageUnavailable.
    """
    refuse_cancelled(ledger, record.job)
    known = ledger.job(record.job)
    forget_verified(ledger)
    ledger.write_job(record if known is None else _joined(known, record))
    return known is None


def refuse_cancelled(ledger: Ledger, job: str) -> None:
    """Raise ConfigError for a job of which workers would drop what is sent."""
    if ledger.states.read(job).state == "cancelled":
        problem = "is cancelled: workers would drop its messages"
        cure = f"choose another --job, or run: chunkflow-producer resume --job {job}"
        raise ConfigError.one("job", job, problem, cure)


def _joined(known: JobRecord, new: JobRecord) -> JobRecord:
    if _without_part(known) != _without_part(new):
        raise _name_taken(new.job, "is in the ledger with another grid or pipeline")
    known_first, known_last = _part(known)
    first, last = _part(new)
    if first > known_last or last < known_first:
        raise _name_taken(
            new.job,
            f"is in the ledger with tasks {known_first} to {known_last}; "
            f"tasks {first} to {last} do not adjoin them",
        )
    first, last = min(first, known_first), max(last, known_last)
    grid = new.grid | {"task_index_start": first, "task_index_stop": last}
    began = known.began or known.enqueued
    joined = {"tasks": last - first, "grid": grid, "chosen": "", "began": began}
    if not (known.chosen or new.chosen):
        return new.model_copy(update=joined)
    chosen = np.zeros(last - first, bool)
    for boxes in (known.boxes(), new.boxes()):
        part = boxes.chosen if isinstance(boxes, ChosenBoxes) else True
        chosen[boxes.first - first : boxes.last - first] |= part
    every = new.model_copy(update=joined)
    boxes = ChosenBoxes.of(every.boxes(), chosen)
    return every.model_copy(update={"tasks": len(boxes), "chosen": marks_of(boxes)})


def _part(record: JobRecord) -> tuple[int, int]:
    """The first task index and the one after the last."""
    boxes = record.boxes()
    return boxes.first, boxes.last


def _without_part(record: JobRecord) -> tuple[Any, ...]:
    grid = {k: v for k, v in record.grid.items() if not k.startswith("task_index_")}
    return record.pipeline, record.bounds, grid


def _name_taken(job: str, problem: str) -> ConfigError:
    return ConfigError.one("job", job, problem, "choose another --job")
