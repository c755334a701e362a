"""`Holds`: small objects beside the records that hold tasks while SQS can't.

A lease is a matter of time. When SQS is away for longer, all leases end although nobody can take
the messages. So a worker that can't renew a lease writes instead, beside the record of the task:

    <ledger>/<box>.held.json      until when, and by whom; removed when the task ends

It is as good as a lease for as long, and is renewed like one. When SQS answers again and delivers
the message once more, its receiver finds the object, and puts the message back instead of doing the
task twice.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chunkflow_worker.errors import TaskHeld
from chunkflow_worker.job.sqs import MAX_DELAY_SECONDS
from chunkflow_worker.job.storage_clock import age_of
from chunkflow_worker.storage.files import Files

_SUFFIX = ".held.json"
_MOST_BYTES = 10_000  # of an object that is one
_ROUNDING = timedelta(seconds=2)  # of the times that storage gives


class _Hold(BaseModel):
    """worker: its name. seconds: for which it holds the task, from when the object was written."""

    model_config = ConfigDict(extra="ignore")

    worker: str = Field("", max_length=1000)
    seconds: int = Field(ge=1, le=43_200)


class Holds:
    """The holds of one ledger. worker: the name of who asks.

    Methods raise StorageUnavailable.
    """

    def __init__(self, files: Files, worker: str):
        self._files, self._worker = files, worker

    def write(self, bbox: str, seconds: int) -> None:
        """Hold a task for so many seconds from now on."""
        hold = _Hold(worker=self._worker, seconds=seconds)
        self._files.put_json(f"{bbox}{_SUFFIX}", hold.model_dump())

    def remove(self, bbox: str) -> None:
        self._files.delete(f"{bbox}{_SUFFIX}")

    def check(self, bbox: str) -> None:
        """Raises TaskHeld if a worker holds the task now."""
        try:
            hold = _Hold.model_validate(self._files.get_json(f"{bbox}{_SUFFIX}", _MOST_BYTES))
        except ValidationError:
            return  # there is none, or it is none of ours
        age = age_of(self._files, f"{bbox}{_SUFFIX}")
        if age is None:
            return
        if age <= timedelta(seconds=hold.seconds) + _ROUNDING:
            seconds = min(hold.seconds, MAX_DELAY_SECONDS)
            raise TaskHeld(f"worker {hold.worker!r} still has task {bbox}", seconds)
