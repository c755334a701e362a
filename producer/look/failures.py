"""`Cause`: dead letters that failed for the same reason, with what the ledger says about them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.report.plain import one_line
from producer.look.dead_letters import DeadLetter

if TYPE_CHECKING:
    from pathlib import Path

    from chunkflow_worker.job.ledger import Ledger, Record
    from chunkflow_worker.job.message import TaskMessage

MALFORMED = "not a task message"
DONE = "the task is done, by another delivery of its message"
UNRECORDED = (
    "no record: the workers were killed while they ran the task (out of memory?), "
    "or they had another pipeline, or this is not their ledger"
)
NO_LEDGER = "unknown without a ledger"

_BATCH = 100  # records that are read at once
_BOX = re.compile(r"-?\d+--?\d+_-?\d+--?\d+_-?\d+--?\d+")
_NUMBER = re.compile(r"\b0x[0-9a-fA-F]+\b|\d+(\.\d+)?")


@dataclass(frozen=True)
class Failure:
    """A dead letter.

    box, job: empty for a malformed message. error, log: of the last attempt.
    attempts: how many were made; 0 when the ledger has no record of a failure.
    """

    box: str
    job: str
    error: str
    attempts: int = 0
    worker: str = ""
    finished: str = ""
    log: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cause:
    """Dead letters whose error texts differ only in boxes and numbers."""

    text: str
    failures: tuple[Failure, ...]


def causes(letters: Iterable[DeadLetter], ledger: Ledger | None) -> list[Cause]:
    """Group dead letters by cause, the most frequent cause first.

    Raises StorageUnavailable, and QueueUnavailable while it reads the letters.
    """
    groups: dict[str, list[Failure]] = {}
    for cause, failure in _failures(letters, ledger):
        groups.setdefault(cause, []).append(failure)
    grouped = [
        Cause(text, tuple(sorted(failures, key=lambda failure: failure.box)))
        for text, failures in groups.items()
    ]
    return sorted(grouped, key=lambda cause: (-len(cause.failures), cause.text))


def cause_of(error: str) -> str:
    """An error text on one line, without its boxes and numbers, which differ from task to task."""
    return _NUMBER.sub("#", _BOX.sub("<box>", one_line(error)))


def reproduce_command(box: str, pipeline: Path | None) -> str:
    """A command that runs the chain on one box on this machine, and writes nothing."""
    file = shlex.quote(str(pipeline)) if pipeline else "PIPELINE.yaml"
    tasks = f"{operator_with('is_grid')} --bounding-box={box}"
    return f"chunkflow --verbose --dry-run --pipeline {file} {tasks}"


def _failures(
    letters: Iterable[DeadLetter], ledger: Ledger | None
) -> Iterator[tuple[str, Failure]]:
    """Every dead letter, with the text of its cause."""
    remaining = iter(letters)
    while batch := list(islice(remaining, _BATCH)):
        messages = [letter.delivery.message for letter in batch if letter.delivery]
        boxes = {message.bbox for message in messages}
        failed = {r.bbox: r for r in ledger.records(boxes, failed=True)} if ledger else {}
        done = {r.bbox for r in ledger.records(boxes - failed.keys())} if ledger else set()
        for letter in batch:
            if letter.delivery is None:
                yield MALFORMED, Failure("", "", letter.problem)
        for message in messages:
            if record := failed.get(message.bbox):
                yield cause_of(record.error), _recorded(message, record)
            elif message.bbox in done:
                yield DONE, Failure(message.bbox, message.job, "")
            else:
                yield UNRECORDED if ledger else NO_LEDGER, Failure(message.bbox, message.job, "")


def _recorded(message: TaskMessage, record: Record) -> Failure:
    return Failure(
        message.bbox,
        message.job,
        record.error,
        record.attempts,
        record.worker,
        record.finished,
        tuple(record.log),
    )
