"""fetch-task-from-file"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import ClassVar, Literal

from pydantic import model_validator

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ENDS_A_RUN, ConfigError, LeaseLost, PermanentError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.box_file import read_boxes
from chunkflow_worker.job.delivery import LOCAL_JOB, Delivery
from chunkflow_worker.job.file_leases import FileLease, FileLeases
from chunkflow_worker.job.message import TaskMessage
from chunkflow_worker.pipeline.operator import TaskSource
from chunkflow_worker.pipeline.task import Task


class FetchTaskFromFile(TaskSource):
    """Take boxes from a file, for example one that `generate-tasks --file-path` has written.

    Each box is a task for the operators that follow. The file is a .npy file with rows of z0 y0 x0
    z1 y1 x1, or text with one box per line: those six numbers, or z0-z1_y0-y1_x0-x1. Empty lines,
    and lines that begin with #, are ignored. With an index, counted from 0, only that part of the
    tasks is taken. The index is --job-index, or with --slurm-job-array the index in a Slurm job
    array, or with disBatch the variable DISBATCH_REPEAT_INDEX if it is set. Without an index, all
    tasks are taken.

    With --leases, many processes share the file, as workers share a queue, and need no index. Each
    box is taken by one process at a time. The box of a process that was killed is taken again when
    its lease expires, and a box that failed is taken again at once. After --attempts it is given
    up. A process ends when every box is done or given up. Repeat the command to go on after an
    interruption. To do a list anew, give another folder.
    """

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = r"""
        chunkflow fetch-task-from-file -f boxes.npy --slurm-job-array -g 10 \
            load-zarr -f em.zarr \
            save-precomputed -v file://em
    """
    differs: ClassVar[str] = "An index after the last task is an error."
    reads_files: ClassVar[tuple[str, ...]] = ("file_path",)
    writes_files: ClassVar[tuple[str, ...]] = ("leases",)
    flags: ClassVar[tuple[str, ...]] = ("leases",)
    op: Literal["fetch-task-from-file"] = "fetch-task-from-file"
    file_path: str = field(flag="-f", help="File with the boxes.")
    job_index: int | None = field(
        None, flag="-i", ge=0, help="Part of the tasks to take, counted from 0."
    )
    slurm_job_array: bool = field(
        False, help="Take the index from the variable SLURM_ARRAY_TASK_ID."
    )
    granularity: int = field(1, flag="-g", ge=1, help="Number of tasks for each index.")
    leases: str | None = field(
        None,
        flag="-l",
        help="Folder on a shared disk for small files that say who has which box; it is created.",
    )
    lease_seconds: int = field(
        120,
        ge=5,
        help="With --leases: seconds after which the box of a process that died is taken again.",
    )
    attempts: int = field(
        3, flag="-r", ge=1, help="With --leases: how many times a box is taken at most."
    )

    @model_validator(mode="after")
    def _has_one_index(self) -> FetchTaskFromFile:
        if self.job_index is not None and self.slurm_job_array:
            raise ValueError(
                "job_index and slurm_job_array both say which tasks to take: give one of them"
            )
        if self.leases and (self.job_index is not None or self.slurm_job_array):
            raise ValueError(
                "leases share all boxes of the file: leave out job_index and slurm_job_array"
            )
        return self

    @property
    def consumes(self) -> bool:
        return self.leases is not None

    def tasks(self) -> Iterator[Task]:
        return self._leased(ends_at_failure=True) if self.leases else self._part()

    def tasks_to_the_end(self) -> Iterator[Task]:
        return self._leased(ends_at_failure=False) if self.leases else self._part()

    def job_boxes(self) -> Sequence[BoundingBox]:
        return read_boxes(Path(self.file_path), self.op, "file_path")

    def _leased(self, ends_at_failure: bool) -> Iterator[Task]:
        boxes = [str(box) for box in self.job_boxes()]
        leases = FileLeases(Path(self.leases or ""), self.attempts, self.lease_seconds)
        taking = _Taking(leases.id, ends_at_failure, Event())
        for lease in leases.take(boxes, taking.closed):
            yield taking.task(lease)

    def _part(self) -> Iterator[Task]:
        boxes = self.job_boxes()
        index, origin = self._index()
        if index is not None:
            parts = -(-len(boxes) // self.granularity)
            if index >= parts:
                legal = (
                    f"the file has {len(boxes)} tasks, {self.granularity} for each index: "
                    f"0 to {parts - 1}"
                )
                raise ConfigError.one(
                    "fetch-task-from-file", origin, f"is {index}, after the last", legal
                )
            boxes = boxes[index * self.granularity : (index + 1) * self.granularity]
        yield from (Task(bbox=box) for box in boxes)

    def _index(self) -> tuple[int | None, str]:
        """The index, and the option or variable that it comes from."""
        if self.job_index is not None:
            return self.job_index, "job_index"
        variable = "SLURM_ARRAY_TASK_ID" if self.slurm_job_array else "DISBATCH_REPEAT_INDEX"
        text = os.environ.get(variable)
        if text is None and not self.slurm_job_array:
            return None, ""
        if text is None or re.fullmatch(r"\d+", text, re.ASCII) is None:
            problem = "is not set" if text is None else f"is {text!r}"
            cure = (
                "submit with sbatch --array=0-..., or leave out --slurm-job-array"
                if self.slurm_job_array
                else "a number from 0 on"
            )
            raise ConfigError.one("fetch-task-from-file", variable, problem, cure)
        return int(text), variable


def _is_final(lease: FileLease, error: BaseException) -> bool:
    return lease.is_last or isinstance(error, PermanentError)


@dataclass(frozen=True)
class _Taking:
    """Makes tasks of leased boxes.

    id: of the tasks of this folder. closed: set when no more boxes are to be taken.
    """

    id: str
    ends_at_failure: bool
    closed: Event

    def task(self, lease: FileLease) -> Task:
        message = TaskMessage(job=LOCAL_JOB, bbox=lease.box)
        return Task(
            bbox=message.box,
            delivery=Delivery(message, self.id, lease.attempt, plain_body=lease.box),
            is_final=partial(_is_final, lease),
            hold=partial(self._hold, lease),
        )

    @contextmanager
    def _hold(self, lease: FileLease) -> Iterator[Callable[[], None]]:
        """Keep the box from others in the block, and then say what became of it."""
        try:
            with lease:
                yield lease.check
                lease.done()
        except BaseException as error:
            ends_run = isinstance(error, ENDS_A_RUN) or not isinstance(error, Exception)
            if ends_run or self.ends_at_failure:
                self.closed.set()
            if ends_run:
                lease.give_back()
            elif not isinstance(error, LeaseLost):
                lease.failed(final=_is_final(lease, error))
            raise
