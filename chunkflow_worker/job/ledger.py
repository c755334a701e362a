"""The ledger: one JSON record per task in object storage, of what is done, what failed and why.

    <ledger>/<box>.json           the task is done, or was skipped
    <ledger>/<box>.failed.json    the last failure of a task that is not done
    <ledger>/<box>.again.json     the record of an earlier success, when one job did a task again
    <ledger>/<box>.late.json      a worker wrote to the box although its lease had ended
    <ledger>/<box>.held.json      a worker holds the task while SQS is away: see hold.py
    <ledger>/jobs/<job>.json      what was enqueued, or run without a queue
    <ledger>/jobs/<job>.<first>-<last>.sent    how far these tasks of the job were sent
    <ledger>/states/              which jobs are paused or cancelled: see state.py
    <ledger>/workers/             what workers do now: see heartbeat.py
    <ledger>/archive/             records of finished jobs, packed: see archive/
    <ledger>/plans/, reports/     of the producer: see producer/cost/stored.py, producer/report/

A listing is enough to tell done from failed, and a late failure can never overwrite a success.

Whoever may write to the bucket may write any record. What is read here is bounded in size, and a
record of another box or job than its name says counts for none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import nlargest
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.many_objects import get_jsons
from chunkflow_worker.job.record import Record
from chunkflow_worker.job.sent_note import SentNote
from chunkflow_worker.job.state import JobStates
from chunkflow_worker.storage.files import Files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FAILED = ".failed"
_AGAIN = ".again"
_LATE, _HELD = ".late", ".held"
Kind = Literal["done", "failed", "again", "late"]
"""What a record is; of a box, there may be several."""
_KINDS: Mapping[str, Kind] = {
    "json": "done",
    "failed.json": "failed",
    "again.json": "again",
    "late.json": "late",
}
_OF_FAILURES = {"error", "final", "log"}  # fields that the record of a success lacks
_Kind = TypeVar("_Kind", bound=BaseModel)

RECORD_BYTES = 4 * 2**20
"""The largest record that is read. Those of workers have some kilobytes."""

_MOST_JOBS = 10_000  # of one ledger that are held in memory: the latest
_AT_ONCE = 500  # records that are asked for


class Listing(NamedTuple):
    """Boxes as text.

    done: recorded as done or skipped. failed: not done, and the last attempt failed.
    again: that one job did more than once, as far as the ledger knows: of two workers that record
        the same box at the same instant, neither sees the other.
    late: done, and a worker of another chain or net wrote to them after its lease had ended.
    """

    done: set[str]
    failed: set[str]
    again: set[str]
    late: set[str]


class Ledger:
    """Records below one path.

    to_write: refuse a path that is read only at once. Raises ConfigError.
    files: the objects below the path. states: of its jobs.
    """

    def __init__(self, path: str, *, to_write: bool = False):
        self.files = Files(path)
        if to_write:
            self.files.check_writable()
        self._jobs = Files(f"{self.files.path}/jobs")
        self.path = self.files.path
        self.states = JobStates(self.path)

    def write(self, record: Record) -> None:
        """Write the record of a task and remove what it supersedes. Raises StorageUnavailable."""
        if record.state == "failed":
            self._write_failure(record)
        else:
            self._write_success(record, self._beside(record.bbox))

    def write_unless_late(self, record: Record) -> Record | None:
        """Write the record of a success, unless another chain or net wrote late to its box.

        Then the box must be done again; the note on that is removed and returned.
        """
        beside = self._beside(record.bbox)
        late = self._take_late(record) if _LATE in beside else None
        if late is None:
            self._write_success(record, beside)
        return late

    def _beside(self, bbox: str) -> set[str]:
        """The suffixes of the records of a box that there are."""
        names = {f"{bbox}{suffix}.json": suffix for suffix in ("", _FAILED, _AGAIN, _LATE)}
        return {names[name] for name in self.files.present(names)}

    def _write_failure(self, record: Record) -> None:
        if not self.is_done(record.bbox):
            content = record.model_dump(exclude_defaults=True)
            self.files.put_json(f"{record.bbox}{_FAILED}.json", content)

    def _write_success(self, record: Record, beside: set[str]) -> None:
        """beside: see `_beside`."""
        box = record.bbox
        earlier = self._read(box) if "" in beside else None
        if earlier is not None and earlier.job == record.job:
            self.files.put_json(f"{box}{_AGAIN}.json", earlier.model_dump(exclude=_OF_FAILURES))
        elif earlier is not None and _AGAIN in beside:
            self.files.delete(f"{box}{_AGAIN}.json")
        self.files.put_json(f"{box}.json", record.model_dump(exclude=_OF_FAILURES))
        if _FAILED in beside:
            self.files.delete(f"{box}{_FAILED}.json")

    def _take_late(self, record: Record) -> Record | None:
        """The note that another chain or net wrote late to the box of `record`; it is removed.

        None if what it wrote is the same.
        """
        name = f"{record.bbox}{_LATE}.json"
        late = _valid(Record, self.files.get_json(name, RECORD_BYTES))
        if late is None:
            return None
        self.files.delete(name)
        return None if _same_output(record, late) else late

    def remove(self, bbox: BoundingBox | str) -> None:
        """Remove the records of a task, so that it is not done any more.

        Raises StorageUnavailable.
        """
        for suffix in ("", _FAILED, _AGAIN, _LATE):
            self.files.delete(f"{bbox}{suffix}.json")

    def write_late(self, record: Record) -> None:
        """Note that a worker wrote to the box of `record` although its lease had ended.

        Nothing is noted where the same chain and nets have done the box: they wrote the same. But
        where its own record stands, this may have come late, too, and have replaced another's.
        """
        done = self._read(record.bbox)
        if _same_task(record, done) or not _same_output(record, done):
            content = record.model_dump(exclude_defaults=True)
            self.files.put_json(f"{record.bbox}{_LATE}.json", content)

    def forget_late(self, bbox: str) -> None:
        """Remove the note on a box whose output was found to be right."""
        self.files.delete(f"{bbox}{_LATE}.json")

    def read(self, bbox: BoundingBox | str) -> Record | None:
        """The record of a task: of its success if there is one, else of its last failure."""
        for suffix in ("", _FAILED):
            record = self._read(bbox, suffix)
            if record is not None:
                return record
        return None

    def is_done(self, bbox: BoundingBox | str, task_id: str | None = None) -> bool:
        """True when the task is recorded as done or skipped.

        task_id: only a record by this message counts.
        """
        record = self._read(bbox)
        return record is not None and task_id in (None, record.task_id)

    def _read(self, bbox: BoundingBox | str, suffix: str = "") -> Record | None:
        return next(self._records([str(bbox)], suffix), None)

    def boxes(self) -> tuple[set[str], set[str]]:
        """Boxes that are done (or skipped), and boxes whose last attempt failed, as text."""
        listing = self.listing()
        return listing.done, listing.failed

    def records_named(self, prefix: str = "") -> Iterator[tuple[str, Kind]]:
        """The boxes and kinds of all records whose names begin so, without reading the records.

        A listing of them all takes a request for each thousand in an object store.
        """
        for name in self.files.names(prefix):
            box, _, ending = name.partition(".")
            kind = _KINDS.get(ending)
            if kind:
                yield box, kind

    def listing(self) -> Listing:
        """The boxes of all records, without reading the records."""
        names = [n.removesuffix(".json") for n in self.files.list() if n.endswith(".json")]
        done = {n for n in names if not n.endswith((_FAILED, _AGAIN, _LATE, _HELD))}
        failed, again, late = (
            {n.removesuffix(s) for n in names if n.endswith(s)} for s in (_FAILED, _AGAIN, _LATE)
        )
        return Listing(done, failed - done, again & done, late & done)

    def records(self, boxes: Iterable[str], failed: bool = False) -> Iterator[Record]:
        """The records of many boxes, without those that are missing or of another service.

        failed: the records of failures instead of successes.
        """
        return self._records(boxes, _FAILED if failed else "")

    def own_records(self, boxes: Iterable[str]) -> Iterator[tuple[Record, Any]]:
        """The records of success that are objects of their own, and all that these hold."""
        return self._contents(boxes, "")

    def archived(self, boxes: Boxes) -> NDArray[np.uint8] | None:
        """A bit for each box of the grid of a job, the lowest for the first: what is archived.

        None without an archive. Only `ArchivedLedger` looks for one.
        """
        return None

    def archived_records(self, boxes: Iterable[str]) -> Iterator[tuple[Record, str]]:
        """The archived records of boxes, and all that they hold, as JSON."""
        return iter(())

    def _records(self, boxes: Iterable[str], suffix: str) -> Iterator[Record]:
        return (record for record, _ in self._contents(boxes, suffix))

    def _contents(self, boxes: Iterable[str], suffix: str) -> Iterator[tuple[Record, Any]]:
        remaining = iter(boxes)
        while batch := list(islice(remaining, _AT_ONCE)):
            found = get_jsons(self.files, [f"{box}{suffix}.json" for box in batch], RECORD_BYTES)
            for box, content in zip(batch, found, strict=True):
                record = _valid(Record, content)
                if record is None or record.bbox != box:
                    continue
                if (record.state == "failed") == (suffix == _FAILED):
                    yield record, content

    def write_job(self, job: JobRecord) -> None:
        self._jobs.put_json(f"{job.job}.json", job.model_dump())

    def note_sent(self, job: str, boxes: Boxes, note: SentNote) -> None:
        """Note how far these boxes of a job were sent. Raises StorageUnavailable."""
        self._jobs.put_json(_sent_file(job, boxes), note.model_dump(exclude_defaults=True))

    def sent_note(self, job: str, boxes: Boxes) -> SentNote | None:
        """How far these boxes of a job were sent; None when that is not known."""
        note = _valid(SentNote, self._jobs.get_json(_sent_file(job, boxes), RECORD_BYTES))
        return note if note is not None and note.total == len(boxes) else None

    def has_jobs(self) -> bool:
        """Whether anything was enqueued for this ledger, also what can't be read."""
        return any(name.endswith(".json") for name in self._jobs.list())

    def job(self, name: str) -> JobRecord | None:
        """The record of one job; None if there is none.

        Raises ConfigError when this version can't read it.
        """
        file = f"{name}.json"
        job = _job(name, self._jobs.get_json(file, RECORD_BYTES))
        if job is None and self._jobs.size(file) is not None:
            problem = "is not the record of a job, or too large for one"
            raise ConfigError.one(f"job {name}", f"{self._jobs.path}/{file}", problem)
        return job

    def jobs(self) -> list[JobRecord]:
        """All jobs that were enqueued for this ledger, oldest first; of very many, the latest."""
        names = [n.removesuffix(".json") for n in self._jobs.list() if n.endswith(".json")]
        contents = self._jobs.get_jsons([f"{name}.json" for name in names], RECORD_BYTES)
        found = (_job(name, content) for name, content in zip(names, contents, strict=True))
        latest = nlargest(_MOST_JOBS, filter(None, found), key=lambda job: job.enqueued)
        return sorted(latest, key=lambda job: job.enqueued)


def _sent_file(job: str, boxes: Boxes) -> str:
    return f"{job}.{boxes.first}-{boxes.last}.sent"


def _job(name: str, content: Any) -> JobRecord | None:
    job = _valid(JobRecord, content)
    return job if job is not None and job.job == name else None


def _same_task(record: Record, other: Record | None) -> bool:
    """Whether one worker recorded both of one message."""
    if other is None:
        return False
    return (record.task_id, record.worker) == (other.task_id, other.worker)


def _same_output(record: Record, other: Record | None) -> bool:
    """Whether both tasks write the same, since the same chain with the same nets makes it."""
    if other is None:
        return False
    return (record.pipeline, record.models) == (other.pipeline, other.models)


def _valid(kind: type[_Kind], content: Any) -> _Kind | None:
    """None for what is no record: chunkflow's own task logs may have the same names."""
    try:
        return kind.model_validate(content)
    except ValidationError:
        return None
