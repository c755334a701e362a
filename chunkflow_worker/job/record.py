"""`Record`: what the ledger holds of one task, and `Written`: what it left in a volume."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.clipped import Clipped
from chunkflow_worker.storage.written_file import WrittenFile

_MOST_WRITTEN = 10_000  # entries of one record


def _box(text: str) -> str:
    BoundingBox.parse(text)
    return text


def _time(text: str) -> str:
    """A time as it is; empty for what is none, and where arithmetic with it could fail."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return ""
    return text if time.tzinfo and 1970 <= time.year < 9999 else ""


_Time = Annotated[str, AfterValidator(_time)]


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
    mip: Annotated[int, Field(ge=0, lt=100)]
    bbox: Annotated[str, AfterValidator(_box)]
    blocks: str = ""
    of_bytes: bool = False
    stored: tuple[str, ...] = ()
    nan: Annotated[int, Field(ge=0)] = 0
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
    device_seconds: for which the task had the device to itself, to run patches.
    device_memory_peak: the most bytes of the GPU's memory that the worker's process held meanwhile;
        0 where it is not known, as on the CPU.
    device_utilization: the share of the last second of that in which the GPU was busy, for all
        processes on it; None where its driver does not tell it.
    memory_peak: the most memory that the worker's process had had until then, with other tasks.
    blocks_reused, bytes_reused: blocks of inputs that were still in memory, and their voxels.
    written: what the task left in volumes, for `verify`.
    files: the files and objects that the task wrote.
    no_files: paths where no file may be unless it is in `files`; * stands for the id of an object.
    unseen: operators that may have written more than is known, such as plugins without results.
    unchecked: operators whose output the record does not describe, so that nothing can compare it.
    clipped: values that the type of an operator's output could not hold.
    log: what the worker logged while a task failed.
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

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
    device_seconds: float = 0.0
    device_memory_peak: int = 0
    device_utilization: float | None = None
    timer: dict[str, float] = Field(default_factory=dict)
    seconds: float = 0.0
    memory_peak: int = 0
    voxels: int = 0
    bytes_read: int = 0
    blocks_reused: int = 0
    bytes_reused: int = 0
    bytes_written: int = 0
    written: list[Written] = Field(default_factory=list, max_length=_MOST_WRITTEN)
    files: list[WrittenFile] = Field(default_factory=list)
    no_files: list[str] = Field(default_factory=list)
    unseen: list[str] = Field(default_factory=list)
    unchecked: list[str] = Field(default_factory=list)
    clipped: list[Clipped] = Field(default_factory=list, max_length=_MOST_WRITTEN)
    pipeline: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    started: _Time = ""
    finished: _Time = ""
    skipped: str = ""
    error: str = ""
    log: list[str] = Field(default_factory=list)
    final: bool = False

    @property
    def patches_per_second(self) -> float | None:
        """Of the net, while the task had the device; None without a net."""
        return self.patches / self.device_seconds if self.device_seconds > 0 else None
