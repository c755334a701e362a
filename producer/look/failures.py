"""`Cause`: tasks that failed for the same reason, by the dead letters and by the ledger."""

from __future__ import annotations

import shlex
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.job.cause import ERROR_LENGTH, cause_of
from chunkflow_worker.job.in_order import in_order
from producer.look.dead_letters import DeadLetter
from producer.look.survey import Survey

if TYPE_CHECKING:
    from pathlib import Path

    from chunkflow_worker.job.grid import Boxes
    from chunkflow_worker.job.ledger import Ledger
    from chunkflow_worker.job.record import Record

MALFORMED = "not a task message"
DONE = "the task is done, by another delivery of its message"
UNRECORDED = (
    "no record: the workers were killed while they ran the task (out of memory?), "
    "or they had another pipeline, or this is not their ledger"
)
NO_LEDGER = "unknown without a ledger"
UNREADABLE = "the record of the failure cannot be read"

_BATCH, _BATCHES = 100, 8  # records that are read at once; batches of them
_LOGS = 5  # kept for a cause
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Failure:
    """A task that failed.

    box, job: empty for a malformed message. error, log: of the last attempt; of many failures with
        one cause, some have a log.
    attempts: how many were made; 0 when the ledger has no record of a failure.
    final: the box is given up.
    """

    box: str
    job: str
    error: str
    attempts: int = 0
    worker: str = ""
    finished: str = ""
    log: tuple[str, ...] = ()
    final: bool = False


@dataclass(frozen=True)
class Cause:
    """Failures whose error texts differ only in boxes and numbers."""

    text: str
    failures: tuple[Failure, ...]


def causes(letters: Iterable[DeadLetter], ledger: Ledger | None) -> list[Cause]:
    """Group dead letters by cause, the most frequent cause first.

    Raises StorageUnavailable, and QueueUnavailable while it reads the letters.
    """
    return _grouped(_failures(letters, ledger))


def without_letter(ledger: Ledger, boxes: Boxes | None, known: Container[str]) -> list[Cause]:
    """Group the failures that only the ledger knows, in the same way.

    SQS deletes dead letters after some days, and a task that will be tried again has none yet.
    boxes: of a job; None for any. known: boxes that have a dead letter.
    Raises StorageUnavailable.
    """
    if boxes is None:
        failed = sorted(ledger.listing().failed)
    else:
        survey = Survey(ledger, boxes)
        survey.look()
        failed = list(survey.failed())
    return _grouped(_only_recorded(ledger, [box for box in failed if box not in known]))


def _only_recorded(ledger: Ledger, boxes: list[str]) -> Iterator[tuple[str, Failure]]:
    def read(names: list[str]) -> tuple[list[str], dict[str, Record]]:
        return names, {record.bbox: record for record in ledger.records(names, failed=True)}

    for names, records in in_order(read, _batches(boxes), _BATCHES, name="records"):
        for box in names:
            if record := records.get(box):
                yield cause_of(record.error), _recorded(box, record.job, record)
            else:
                yield UNREADABLE, Failure(box, "", "")


def _batches(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    remaining = iter(items)
    return iter(lambda: list(islice(remaining, _BATCH)), [])


def _grouped(found: Iterable[tuple[str, Failure]]) -> list[Cause]:
    groups: dict[str, list[Failure]] = {}
    for cause, failure in found:
        group = groups.setdefault(cause, [])
        group.append(failure if len(group) < _LOGS else replace(failure, log=()))
    grouped = [
        Cause(text, tuple(sorted(failures, key=lambda failure: failure.box)))
        for text, failures in groups.items()
    ]
    return sorted(grouped, key=lambda cause: (-len(cause.failures), cause.text))


def reproduce_command(box: str, pipeline: Path | None) -> str:
    """A command that runs the chain on one box on this machine, and writes nothing."""
    file = shlex.quote(str(pipeline)) if pipeline else "PIPELINE.yaml"
    tasks = f"{operator_with('is_grid')} --bounding-box={box}"
    return f"chunkflow --verbose --dry-run --pipeline {file} {tasks}"


def redrive_command(
    cause: str, queue: str, pipeline: Path | None, ledger: str | None, stage: str
) -> str:
    """A command that sends the tasks of a cause back to the queue. stage: empty for any."""
    return producer_command(
        "redrive", queue=queue, pipeline=pipeline, ledger=ledger, stage=stage, cause=cause
    )


def producer_command(name: str, **options: object) -> str:
    """A command line of the producer, with those of the options that are not empty.

    A pipeline has its stage in its name, so the option `stage` is left out beside it.
    """
    if options.get("pipeline"):
        options.pop("stage", None)
    given = [f"--{name} {shlex.quote(str(value))}" for name, value in options.items() if value]
    return " ".join([f"chunkflow-producer {name}", *given])


def _failures(
    letters: Iterable[DeadLetter], ledger: Ledger | None
) -> Iterator[tuple[str, Failure]]:
    """Every dead letter, with the text of its cause."""

    def look(batch: list[DeadLetter]) -> list[tuple[str, Failure]]:
        messages = [letter.delivery.message for letter in batch if letter.delivery]
        boxes = {message.bbox for message in messages}
        failed = {r.bbox: r for r in ledger.records(boxes, failed=True)} if ledger else {}
        done = {r.bbox for r in ledger.records(boxes - failed.keys())} if ledger else set()
        found = []
        for letter in batch:
            if letter.delivery is None:
                found.append((MALFORMED, Failure("", "", letter.problem)))
                continue
            message = letter.delivery.message
            if record := failed.get(message.bbox):
                failure = _recorded(message.bbox, message.job, record)
                found.append((cause_of(record.error), failure))
                continue
            unrecorded = UNRECORDED if ledger else NO_LEDGER
            cause = DONE if message.bbox in done else unrecorded
            found.append((cause, Failure(message.bbox, message.job, "")))
        return found

    for found in in_order(look, _batches(letters), _BATCHES, name="records"):
        yield from found


def _recorded(box: str, job: str, record: Record) -> Failure:
    return Failure(
        box,
        job,
        record.error[:ERROR_LENGTH],
        record.attempts,
        record.worker,
        record.finished,
        tuple(record.log),
        record.final,
    )
