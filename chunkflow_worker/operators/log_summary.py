"""log-summary"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ValidationError, field_validator

from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.archive.archives import Archives
from chunkflow_worker.job.ledger import RECORD_BYTES
from chunkflow_worker.pipeline.operator import TaskSource
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report.progress import duration_text
from chunkflow_worker.report.say import say
from chunkflow_worker.storage.json_text import parse_json

_NOT_DONE = (".failed.json", ".again.json")


class LogSummary(TaskSource):
    """Print the time of each operator and the speed in voxels per second, over many tasks.

    Reads a folder with the records of workers or local runs, also archived ones, or with
    chunkflow's own task logs. For each device, prints the number of tasks, and the seconds and
    Mvoxel/s of each operator while it ran. At the end, prints the voxels of all tasks, and the
    speed from the start of the first task to the end of the last task, if the records contain
    these times. The tasks may come from different chains. Failed and skipped tasks are left out.
    """

    group: ClassVar[str] = "Service"
    example: ClassVar[str] = "chunkflow log-summary -l s3://lab/membranes/log"
    differs: ClassVar[str] = (
        "Speeds are in Mvoxel/s; they were 1,000 times too high. Logs of different chains are "
        "accepted. The voxels are those of each task's box unless --output-size is given."
    )
    reads_paths: ClassVar[tuple[str, ...]] = ("log_dir",)
    replaces: ClassVar[Mapping[str, str]] = {
        "cloud-watch": (
            "write `chunkflow --metrics cloudwatch` before the first operator; workers send "
            "metrics without it"
        ),
    }
    op: Literal["log-summary"] = "log-summary"
    log_dir: str = field(
        "./log", flag="-l", help="Folder of the records: a path on this machine, s3:// or gs://."
    )
    output_size: Vec3 | None = field(
        None, flag="-s", help="Size of every task's output; default: the size of its box."
    )

    _sizes = field_validator("output_size")(above_zero)

    def tasks(self) -> Iterator[Task]:
        self._summarize()
        yield Task()

    def _summarize(self) -> None:
        from chunkflow_worker.report.timings import Timing, print_timings

        devices: dict[str, list[Timing]] = {}
        starts: list[datetime] = []
        ends: list[datetime] = []
        others = skipped = 0
        for log in self._logs():
            if log is None:
                others += 1
            elif log.state != "done" or not log.timer:
                skipped += 1
            else:
                timing = Timing(
                    log.timer, self.output_size.product if self.output_size else log.size()
                )
                devices.setdefault(log.compute_device or "", []).append(timing)
                starts += [log.started] if log.started else []
                ends += [log.finished] if log.finished else []
        for device, timings in sorted(devices.items()):
            print_timings(timings, f"{device or 'no device'}:")
            say("")
        done = [timing for timings in devices.values() for timing in timings]
        voxels = sum(timing.voxels for timing in done)
        parts = ["1 task" if len(done) == 1 else f"{len(done)} tasks"]
        if voxels:
            parts.append(f"{voxels / 1e6:.1f} Mvoxel")
        if starts and len(starts) == len(ends) == len(done):
            seconds = (max(ends) - min(starts)).total_seconds()
            speed = f", {voxels / 1e6 / seconds:.3g} Mvoxel/s" if voxels and seconds > 0 else ""
            parts.append(f"within {duration_text(seconds)}{speed}")
        if skipped:
            parts.append(f"{skipped} skipped")
        if others:
            parts.append(f"not task logs: {others}")
        say(", ".join(parts))

    def _logs(self) -> Iterator[_Log | None]:
        """The logs of all tasks that ended; None for a file that is not a log.

        Raises ConfigError if there are no files.
        """
        from chunkflow_worker.storage.files import Files

        files = Files(self.log_dir)
        names = [
            name for name in files.list() if name.endswith(".json") and not name.endswith(_NOT_DONE)
        ]
        archives = Archives(files.path)
        if not names and not archives.all():
            cure = (
                "give the folder of the records: log below the output volume, or the --ledger "
                "that you chose"
            )
            raise ConfigError.one(
                self.label, "log_dir", f"{files.path} holds no records of tasks", cure
            )
        for content in files.get_jsons(names, RECORD_BYTES):
            yield _log(content)
        own = {name.removesuffix(".json") for name in names} if archives.all() else set()
        for box, text in archives.all_texts():
            if box not in own:
                yield _log(parse_json(text.encode()))


def _log(content: Any) -> _Log | None:
    try:
        return _Log.model_validate(content)
    except ValidationError:
        return None


class _Log(BaseModel):
    """The common fields of a ledger's records and chunkflow's own task logs."""

    timer: dict[str, float]
    compute_device: str | None = None
    bbox: str | None = None
    state: str = "done"
    voxels: int = 0
    started: datetime | None = None
    finished: datetime | None = None

    @field_validator("started", "finished", mode="before")
    @classmethod
    def _empty_is_unknown(cls, value: Any) -> Any:
        return value or None

    def size(self) -> int:
        """Voxels of its box; 0 if unknown."""
        with suppress(ValueError):
            return self.voxels or BoundingBox.parse(self.bbox or "").voxels
        return 0
