"""Dead letters with what the ledger knows of them, grouped by what caused them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from chunkflow_worker.config.catalog import operator_with
from producer.look.dead_letters import DeadLetter, cause_of

if TYPE_CHECKING:
    from pathlib import Path

    from chunkflow_worker.job.ledger import Ledger, Record

MALFORMED = "no task message"
DONE = "done after all, by another delivery"
UNRECORDED = "no record: its workers were killed in the midst of it (out of memory?) or had another pipeline, or this is another ledger"


@dataclass(frozen=True)
class Failure:
    """A dead letter. error, log: of the last attempt. attempts: that were made; 0 when no record tells."""

    box: str
    job: str
    error: str
    attempts: int = 0
    worker: str = ""
    finished: str = ""
    log: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cause:
    """Dead letters whose error texts differ only in box and numbers."""

    text: str
    failures: tuple[Failure, ...]


def causes(letters: Iterable[DeadLetter], ledger: Ledger | None) -> list[Cause]:
    """The causes of dead letters, the most frequent first. Raises StorageUnavailable and QueueUnavailable."""
    groups: dict[str, list[Failure]] = {}
    for cause, failure in _failures(letters, ledger):
        groups.setdefault(cause, []).append(failure)
    found = [
        Cause(text, tuple(sorted(failures, key=lambda f: f.box)))
        for text, failures in groups.items()
    ]
    return sorted(found, key=lambda cause: (-len(cause.failures), cause.text))


def reproduce_command(box: str, pipeline: Path | None) -> str:
    """What runs the chain on one box on this machine, and writes nothing."""
    file = shlex.quote(str(pipeline)) if pipeline else "PIPELINE.yaml"
    tasks = f"{operator_with('is_grid')} --bounding-box={box}"
    return f"chunkflow --verbose --dry-run --pipeline {file} {tasks}"


def _failures(
    letters: Iterable[DeadLetter], ledger: Ledger | None
) -> Iterator[tuple[str, Failure]]:
    remaining = iter(letters)
    while batch := list(islice(remaining, 100)):
        boxes = {letter.message.bbox for letter in batch if letter.message}
        failed = {r.bbox: r for r in ledger.records(boxes, failed=True)} if ledger else {}
        done = {r.bbox: r for r in ledger.records(boxes - failed.keys())} if ledger else {}
        for letter in batch:
            if letter.message is None:
                yield MALFORMED, Failure("", "", letter.problem)
            else:
                box, job = letter.message.bbox, letter.message.job
                yield _known(box, job, failed.get(box), box in done, ledger is not None)


def _known(
    box: str, job: str, record: Record | None, done: bool, has_ledger: bool
) -> tuple[str, Failure]:
    if record is None:
        cause = DONE if done else UNRECORDED if has_ledger else "unknown without a ledger"
        return cause, Failure(box, job, "")
    failure = Failure(
        box, job, record.error, record.attempts, record.worker, record.finished, tuple(record.log)
    )
    return cause_of(record.error), failure
