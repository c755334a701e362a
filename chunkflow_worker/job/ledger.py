"""The ledger: one JSON record per task in object storage, of what is done, what failed and why.

    <ledger>/<box>.json           the task is done, or was skipped
    <ledger>/<box>.failed.json    the last failure of a task that is not done
    <ledger>/<box>.again.json     the record of an earlier success, when one job did a task again
    <ledger>/jobs/<job>.json      what was enqueued

A listing is enough to tell done from failed, and a late failure can never overwrite a success.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chunkflow_worker.config.options import faults_of
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.clipped import Clipped
from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.written_file import WrittenFile

_FAILED = ".failed"
_AGAIN = ".again"
_OF_FAILURES = {"error", "final", "log"}  # fields that the record of a success lacks
_Kind = TypeVar("_Kind", bound=BaseModel)


@dataclass(frozen=True)
class Written:
    """What a task left in a volume.

    bbox: in voxels of that mip; whole blocks, except where nothing was written.
    blocks: `checksum` of each block, in the order of `blocks_of`, separated by spaces.
    of_bytes: they are of the blocks as they are stored, because the encoding changes the voxels.
    stored: when the first and the last of the blocks were stored, by the clock of the storage, in
        ISO 8601; empty where it keeps no times.
    nan: voxels that were NaN before they became integers.
    driver, order: format of an array of Zarr or N5, and order of its spatial axes; empty for a
        precomputed volume.
    empty: the task wrote nothing, so the blocks must be absent or zero.
    crc32: `checksum` of all the voxels, which earlier versions recorded instead of `blocks`.
    """

    volume: str
    mip: int
    bbox: str
    blocks: str = ""
    of_bytes: bool = False
    stored: tuple[str, ...] = ()
    nan: int = 0
    empty: bool = False
    driver: Annotated[str, Field(pattern=r"^(zarr|zarr3|n5)?$")] = ""
    order: Annotated[str, Field(pattern=r"^(zyx|xyz)?$")] = ""
    crc32: str = ""


class Record(BaseModel):
    """The record of one task.

    Times are seconds, sizes are bytes, `started` and `finished` are UTC in ISO 8601. The names
    `bbox`, `timer` and `compute_device` are those of chunkflow's task logs.

    models: digest (SHA-256) of each file of code or weights that the result depends on, by operator
        and option.
    patches, patches_skipped: that the net ran on, and that were known to be zero.
    waited: for the device; not part of `timer`.
    written: what the task left in volumes, for `verify`.
    files: the files and objects that the task wrote.
    no_files: paths where no file may be unless it is in `files`; * stands for the id of an object.
    unseen: operators that may have written more than is known, such as plugins without results.
    unchecked: operators whose output the record does not describe, so that nothing can compare it.
    clipped: values that the type of an operator's output could not hold.
    log: what the worker logged while a task failed.
    """

    model_config = ConfigDict(extra="ignore")

    bbox: str
    job: str
    task_id: str
    state: Literal["done", "skipped", "failed"]
    attempts: int
    worker: str
    compute_device: str = ""
    precision: str = ""
    models: dict[str, str] = Field(default_factory=dict)
    patches: int = 0
    patches_skipped: int = 0
    waited: float = 0.0
    timer: dict[str, float] = Field(default_factory=dict)
    seconds: float = 0.0
    voxels: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    written: list[Written] = Field(default_factory=list)
    files: list[WrittenFile] = Field(default_factory=list)
    no_files: list[str] = Field(default_factory=list)
    unseen: list[str] = Field(default_factory=list)
    unchecked: list[str] = Field(default_factory=list)
    clipped: list[Clipped] = Field(default_factory=list)
    pipeline: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    started: str = ""
    finished: str = ""
    skipped: str = ""
    error: str = ""
    log: list[str] = Field(default_factory=list)
    final: bool = False


class JobRecord(BaseModel):
    """What a producer enqueued.

    tasks: number of boxes. grid: the options that make them.
    began, enqueued: when its first and its last part were sent.
    """

    model_config = ConfigDict(extra="ignore")

    job: str
    queue: str
    tasks: int
    pipeline: str = ""
    grid: dict[str, Any] = Field(default_factory=dict)
    bounds: str | None = None
    enqueued: str = ""
    began: str = ""

    def boxes(self) -> Boxes:
        """The boxes that the job was enqueued with.

        Raises ConfigError when this version can't read the record.
        """
        try:
            bounds = BoundingBox.parse(self.bounds) if self.bounds else None
            return Grid.model_validate(self.grid).boxes(bounds)
        except ValidationError as error:
            raise ConfigError(f"job {self.job}", faults_of(error, Grid, "grid")) from None
        except ValueError as error:
            problem = f"its record can't be read: {error}"
            raise ConfigError.one(f"job {self.job}", "grid", problem) from None


class Listing(NamedTuple):
    """Boxes as text.

    done: recorded as done or skipped. failed: not done, and the last attempt failed.
    again: that one job did more than once, as far as the ledger knows: of two workers that record
        the same box at the same instant, neither sees the other.
    """

    done: set[str]
    failed: set[str]
    again: set[str]


class Ledger:
    """Records below one path.

    to_write: refuse a path that is read only at once. Raises ConfigError.
    """

    def __init__(self, path: str, *, to_write: bool = False):
        self._files = Files(path)
        if to_write:
            self._files.check_writable()
        self._jobs = Files(f"{self._files.path}/jobs")
        self.path = self._files.path

    def write(self, record: Record) -> None:
        """Write the record of a task and remove what it supersedes. Raises StorageUnavailable."""
        if record.state == "failed":
            self._write_failure(record)
        else:
            self._write_success(record)

    def _write_failure(self, record: Record) -> None:
        if not self.is_done(record.bbox):
            content = record.model_dump(exclude_defaults=True)
            self._files.put_json(f"{record.bbox}{_FAILED}.json", content)

    def _write_success(self, record: Record) -> None:
        box = record.bbox
        earlier = _valid(Record, self._files.get_json(f"{box}.json"))
        if earlier is not None and earlier.job == record.job:
            self._files.put_json(f"{box}{_AGAIN}.json", earlier.model_dump(exclude=_OF_FAILURES))
        elif earlier is not None:
            self._files.delete(f"{box}{_AGAIN}.json")
        self._files.put_json(f"{box}.json", record.model_dump(exclude=_OF_FAILURES))
        self._files.delete(f"{box}{_FAILED}.json")

    def remove(self, bbox: BoundingBox | str) -> None:
        """Remove the records of a task, so that it is not done any more.

        Raises StorageUnavailable.
        """
        for suffix in ("", _FAILED, _AGAIN):
            self._files.delete(f"{bbox}{suffix}.json")

    def read(self, bbox: BoundingBox | str) -> Record | None:
        """The record of a task: of its success if there is one, else of its last failure."""
        for suffix in ("", _FAILED):
            record = _valid(Record, self._files.get_json(f"{bbox}{suffix}.json"))
            if record is not None:
                return record
        return None

    def is_done(self, bbox: BoundingBox | str, task_id: str | None = None) -> bool:
        """True when the task is recorded as done or skipped.

        task_id: only a record by this message counts.
        """
        found = self._files.get_json(f"{bbox}.json")
        return isinstance(found, dict) and (task_id is None or found.get("task_id") == task_id)

    def boxes(self) -> tuple[set[str], set[str]]:
        """Boxes that are done (or skipped), and boxes whose last attempt failed, as text."""
        done, failed, _ = self.listing()
        return done, failed

    def listing(self) -> Listing:
        """The boxes of all records, without reading the records."""
        names = [n.removesuffix(".json") for n in self._files.list() if n.endswith(".json")]
        done = {n for n in names if not n.endswith((_FAILED, _AGAIN))}
        failed, again = (
            {n.removesuffix(s) for n in names if n.endswith(s)} for s in (_FAILED, _AGAIN)
        )
        return Listing(done, failed - done, again & done)

    def records(self, boxes: Iterable[str], failed: bool = False) -> Iterator[Record]:
        """The records of many boxes, without those that are missing or of another service.

        failed: the records of failures instead of successes.
        """
        suffix = _FAILED if failed else ""
        for found in self._files.get_jsons([f"{b}{suffix}.json" for b in boxes]):
            record = _valid(Record, found)
            if record is not None:
                yield record

    def write_job(self, job: JobRecord) -> None:
        self._jobs.put_json(f"{job.job}.json", job.model_dump())

    def jobs(self) -> list[JobRecord]:
        """All jobs that were enqueued for this ledger, oldest first."""
        found = self._jobs.get_jsons([n for n in self._jobs.list() if n.endswith(".json")])
        jobs = (_valid(JobRecord, content) for content in found)
        return sorted((job for job in jobs if job is not None), key=lambda job: job.enqueued)


def _valid(kind: type[_Kind], content: Any) -> _Kind | None:
    """None for what is no record: chunkflow's own task logs may have the same names."""
    try:
        return kind.model_validate(content)
    except ValidationError:
        return None
