"""The errors of the service. The first level answers the question of the queue: retry or not?

ChunkflowError
├── RetryableError            the message goes back to the queue with a growing delay
│   ├── AccessRefused         a person must act: no credentials, or credentials that are refused
│   ├── StorageUnavailable    storage or the network failed
│   │   ├── StorageRefused    storage refused the credentials, or there are none
│   │   ├── StorageFull       the disk is full or read-only
│   │   └── StorageOutage     storage was down longer than a worker waits; costs the task no attempt
│   ├── BlockDamaged          a stored block can't be decoded; another worker may write it again
│   ├── OutOfMemory           on the host or on the device
│   ├── TaskTooLong           the task exceeded the time limit of tasks
│   ├── LeaseLost             another worker may hold the message now
│   ├── TaskHeld              another worker has the task, and SQS could not know; costs no attempt
│   ├── JobPaused             the job of the message is paused; costs the task no attempt
│   ├── StageElsewhere        other workers do the stage of the message; costs the task no attempt
│   ├── Preempted             this worker must stop; costs the task no attempt
│   ├── JobUnreadable         the job's record is damaged, or of a later version than this worker
│   └── PipelineMismatch      the message was made for another pipeline than this worker's
└── PermanentError            a retry is useless; the message goes to the dead-letter queue
    ├── ConfigError           the user's configuration is wrong; lists every fault found
    ├── MessageMalformed      not a task message of this service
    ├── BoxOutsideJob         the message names a job that the ledger lacks, or a box that it lacks
    ├── BoxOutsideVolume      the box, or a part of it, is outside the volume
    ├── BoxNotAligned         writing the box would touch files of a neighbouring box
    ├── DataMissing           blocks or files that the task reads do not exist
    ├── DataRefused           a file names others that it may not, or asks for too much memory
    ├── ChunkMismatch         a chunk has the wrong kind, shape or position for an operator
    └── ModelError            a ConvNet can't be loaded, or contradicts its declared sizes
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_MAX_MESSAGE_LENGTH = 500


class ChunkflowError(Exception):
    """Root of all errors that this package raises on purpose."""


class RetryableError(ChunkflowError):
    """A retry may succeed."""


class PermanentError(ChunkflowError):
    """A retry cannot succeed."""


class AccessRefused(RetryableError):
    """A service refused the credentials, or there are none; a retry may succeed after a login."""


class StorageUnavailable(RetryableError):
    """Storage could not be reached, or it answered with an error."""


class StorageRefused(StorageUnavailable, AccessRefused):
    """Storage refused the credentials, or there are none."""


class StorageFull(StorageUnavailable):
    """The disk is full or read-only."""


class StorageOutage(StorageUnavailable):
    """Storage was down for as long as a worker waits, and the task is not the cause."""


class BlockDamaged(RetryableError):
    """A stored block is truncated, or is not a block of this volume."""


class OutOfMemory(RetryableError):
    """The host or the device ran out of memory."""


class TaskTooLong(RetryableError):
    """The task exceeded the time limit of tasks."""


class LeaseLost(RetryableError):
    """The message is visible to other workers again, so this worker must not acknowledge it."""


class TaskHeld(RetryableError):
    """Another worker is doing the task, and lost its message only because SQS was away.

    seconds: after which to look again.
    """

    def __init__(self, text: str, seconds: int):
        super().__init__(text)
        self.seconds = seconds


class JobPaused(RetryableError):
    """The job of the message is paused.

    seconds: for which the message is put aside.
    """

    def __init__(self, job: str, seconds: int):
        super().__init__(f"job {job} is paused")
        self.seconds = seconds


class StageElsewhere(RetryableError):
    """The message is of a stage that this worker leaves to others.

    seconds: for which the message is put aside.
    """

    def __init__(self, stage: str, seconds: int = 5):
        super().__init__(f"stage {stage} is for other workers")
        self.seconds = seconds


class Preempted(RetryableError):
    """The worker received a stop signal while the task was running."""


class PipelineMismatch(RetryableError):
    """The message was made for a pipeline whose digest differs from this worker's."""


class JobUnreadable(RetryableError):
    """The record of the message's job is damaged, or of a later version than this worker's."""


ENDS_A_RUN = (Preempted, PipelineMismatch, AccessRefused, StorageFull)
"""Errors that say nothing of the box, and would meet all others too."""


@dataclass(frozen=True)
class Fault:
    """One mistake in a configuration.

    place: the key or line at fault, for example ``operators.2.threshold``.
    problem: what is wrong there.
    cure: the legal values or the likely remedy; may be empty.
    """

    place: str
    problem: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}" + (f"\n    {self.cure}" if self.cure else "")


class ConfigError(PermanentError):
    """A configuration with one or more faults; reports all of them at once.

    subject: what is configured, for example the name of a file.
    """

    def __init__(self, subject: str, faults: Iterable[Fault]):
        self.subject = subject
        self.faults = tuple(faults)
        if len(self.faults) == 1:
            text = f"{subject}: {self.faults[0]}"
        else:
            heading = f"{subject}: {len(self.faults)} errors"
            text = "\n".join([heading, *(f"  {fault}" for fault in self.faults)])
        super().__init__(text)

    @classmethod
    def one(cls, subject: str, place: str, problem: str, cure: str = "") -> ConfigError:
        """The error for a single fault."""
        return cls(subject, [Fault(place, problem, cure)])


class Mistake(ValueError):
    """A wrong value, found where its place in the configuration is not known.

    problem: what is wrong with it.
    cure: the legal values or the likely remedy; may be empty.
    """

    def __init__(self, problem: str, cure: str = ""):
        super().__init__(f"{problem}: {cure}" if cure else problem)
        self.problem, self.cure = problem, cure

    def at(self, subject: str, place: str) -> ConfigError:
        """The error for the value at `place`."""
        return ConfigError.one(subject, place, self.problem, self.cure)


class MessageMalformed(PermanentError):
    """The message is not a task of this service, or has a version that this worker does not know.

    The text may quote the sender. The sender must not be able to forge lines of the log or to fill
    it, so the text is kept to one line and is cut when it is long.
    """

    def __init__(self, text: str):
        one_line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
        if len(one_line) > _MAX_MESSAGE_LENGTH:
            one_line = f"{one_line[:_MAX_MESSAGE_LENGTH]}..."
        super().__init__(one_line)


class BoxOutsideJob(PermanentError):
    """The ledger has no such job, or the job no such box."""


class BoxOutsideVolume(PermanentError):
    """The box, or a part of it, is outside the volume."""


class BoxNotAligned(PermanentError):
    """The box does not consist of whole blocks of the volume."""


class DataMissing(PermanentError):
    """Blocks inside the box, or a file to read, do not exist."""


class DataRefused(PermanentError):
    """A file would read other files than itself, or unpacks to more than the memory allows."""


class ChunkMismatch(PermanentError):
    """A chunk does not fit its box or the operator that reads it."""


class ModelError(PermanentError):
    """The ConvNet cannot be loaded, or contradicts its declared sizes."""


def exit_status(error: ChunkflowError) -> int:
    """The exit status of a command that ends with `error`: 2 if a person must act, else 1."""
    return 2 if isinstance(error, PermanentError | AccessRefused) else 1
