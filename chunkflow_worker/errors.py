"""The errors of the service. The top split is the only question that the queue asks: try again or not.

ChunkflowError
├── RetryableError            the message goes back to the queue with a growing delay
│   ├── StorageUnavailable    storage or network trouble
│   │   ├── StorageFull       it takes no writes: a full or read-only disk
│   │   └── StorageAway       an outage that this worker has waited out in vain; costs the task no attempt
│   ├── BlockDamaged          a stored block can't be decoded; someone may be about to write it anew
│   ├── OutOfMemory           on the host or on the device
│   ├── TaskTooLong           the task took longer than a task may
│   ├── LeaseLost             another worker may hold the message by now
│   ├── Preempted             this worker was told to stop; costs the task no attempt
│   └── PipelineMismatch      the message is for another pipeline than this worker's
└── PermanentError            no use in trying again; the message goes to the dead-letter queue
    ├── ConfigError           the user's configuration is wrong; carries every fault found
    ├── MessageMalformed      not a task message of this service
    ├── BoxOutsideJob         the message names a box that its job does not have
    ├── BoxOutsideVolume      the box and the volume have no voxel in common
    ├── BoxNotAligned         writing the box would touch files of a neighbouring box
    ├── DataMissing           blocks that should be there are not
    ├── ChunkMismatch         an operator was given a chunk of the wrong kind, shape or place
    └── ModelError            a ConvNet that cannot be loaded, or does not do what it declares
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_LONGEST_QUOTE = 500

NO_AWS_CREDENTIALS = "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run with a role"


class ChunkflowError(Exception):
    """Root of all errors raised on purpose."""


class RetryableError(ChunkflowError):
    """Trying again later may well succeed."""


class PermanentError(ChunkflowError):
    """Trying again cannot succeed."""


class StorageUnavailable(RetryableError):
    """Storage could not be reached, or answered with an error of its own."""


class StorageFull(StorageUnavailable):
    """The disk is full or read-only."""


class StorageAway(StorageUnavailable):
    """Storage was away for as long as a worker waits for it, and not for this task alone."""


class BlockDamaged(RetryableError):
    """A stored block is cut short or is none of this volume."""


class OutOfMemory(RetryableError):
    """Host or device memory ran out."""


class TaskTooLong(RetryableError):
    """The task ran into the time limit of tasks."""


class LeaseLost(RetryableError):
    """The message is visible to other workers again, so this one must not acknowledge it."""


class Preempted(RetryableError):
    """The worker was told to stop while the task was running."""


class PipelineMismatch(RetryableError):
    """The message was made for a pipeline with another digest than this worker's."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a configuration.

    place: where it stands, for example ``operators.2.threshold``.
    problem: what is wrong there.
    cure: the legal values or the likely remedy; may be empty.
    """

    place: str
    problem: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}" + (f"\n    {self.cure}" if self.cure else "")


class ConfigError(PermanentError):
    """A configuration with one or more faults, all of them told at once."""

    def __init__(self, subject: str, faults: Iterable[Fault]):
        self.subject = subject
        self.faults = tuple(faults)
        if len(self.faults) == 1:
            super().__init__(f"{subject}: {self.faults[0]}")
        else:
            super().__init__(
                "\n".join(
                    [
                        f"{subject}: {len(self.faults)} faults",
                        *(f"  {fault}" for fault in self.faults),
                    ]
                )
            )

    @classmethod
    def one(cls, subject: str, place: str, problem: str, cure: str = "") -> ConfigError:
        return cls(subject, [Fault(place, problem, cure)])


class MessageMalformed(PermanentError):
    """The message is not a task of this service, or of a version that it does not know.

    Its text may quote the sender, who must not be able to forge lines of the log or to fill it: it is one line, cut when long.
    """

    def __init__(self, text: str):
        plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
        super().__init__(plain if len(plain) <= _LONGEST_QUOTE else f"{plain[:_LONGEST_QUOTE]}...")


class BoxOutsideJob(PermanentError):
    """The job of the message has no such box."""


class BoxOutsideVolume(PermanentError):
    """The box has no voxel in common with the volume."""


class BoxNotAligned(PermanentError):
    """The box does not fit the volume's blocks."""


class DataMissing(PermanentError):
    """The volume lacks blocks inside the box."""


class ChunkMismatch(PermanentError):
    """A chunk does not fit its box or the operator that reads it."""


class ModelError(PermanentError):
    """The ConvNet cannot be loaded or does not keep to its declared sizes."""
