"""fetch-task-from-file"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError
from typing import ClassVar, Literal

from pydantic import model_validator

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import TaskSource
from chunkflow_worker.pipeline.task import Task

_SIX = re.compile(r"-?\d+(?:[\s,]+-?\d+){5}", re.ASCII)


class FetchTaskFromFile(TaskSource):
    """Take boxes from a file, for example one that `generate-tasks --file-path` has written.

    Each box is a task for the operators that follow. The file is a .npy file with rows of z0 y0 x0
    z1 y1 x1, or text with one box per line: those six numbers, or z0-z1_y0-y1_x0-x1. Empty lines,
    and lines that begin with #, are ignored. With an index, counted from 0, only that part of the
    tasks is taken. The index is --job-index, or with --slurm-job-array the index in a Slurm job
    array, or with disBatch the variable DISBATCH_REPEAT_INDEX if it is set. Without an index, all
    tasks are taken.
    """

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = r"""
        chunkflow fetch-task-from-file -f boxes.npy --slurm-job-array -g 10 \
            load-zarr -f em.zarr \
            save-precomputed -v file://em
    """
    differs: ClassVar[str] = "An index after the last task is an error."
    reads_files: ClassVar[tuple[str, ...]] = ("file_path",)
    box_file: ClassVar[str] = "file_path"
    op: Literal["fetch-task-from-file"] = "fetch-task-from-file"
    file_path: str = field(flag="-f", help="File with the boxes.")
    job_index: int | None = field(
        None, flag="-i", ge=0, help="Part of the tasks to take, counted from 0."
    )
    slurm_job_array: bool = field(
        False, help="Take the index from the variable SLURM_ARRAY_TASK_ID."
    )
    granularity: int = field(1, flag="-g", ge=1, help="Number of tasks for each index.")

    @model_validator(mode="after")
    def _has_one_index(self) -> FetchTaskFromFile:
        if self.job_index is not None and self.slurm_job_array:
            raise ValueError(
                "job_index and slurm_job_array both say which tasks to take: give one of them"
            )
        return self

    def tasks(self) -> Iterator[Task]:
        boxes = _read(Path(self.file_path))
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


def _read(path: Path) -> list[BoundingBox]:
    try:
        boxes = _read_npy(path) if path.suffix == ".npy" else _read_text(path)
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror or error}"
        raise ConfigError.one("fetch-task-from-file", "file_path", problem) from None
    if not boxes:
        raise ConfigError.one("fetch-task-from-file", "file_path", f"{path} has no boxes")
    return boxes


def _read_npy(path: Path) -> list[BoundingBox]:
    import numpy as np

    legal = "whole numbers in rows of z0 y0 x0 z1 y1 x1"
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, MemoryError, TokenError):
        problem = f"{path} is not a .npy file of numbers, or it is damaged"
        raise ConfigError.one("fetch-task-from-file", "file_path", problem, legal) from None
    if (
        not isinstance(rows, np.ndarray)
        or rows.ndim != 2
        or rows.shape[1] != 6
        or rows.dtype.kind not in "iu"
    ):
        found = (
            f"holds {rows.dtype} of shape {rows.shape}"
            if isinstance(rows, np.ndarray)
            else "holds several arrays"
        )
        raise ConfigError.one("fetch-task-from-file", "file_path", f"{path} {found}", legal)
    return [_box(row, f"{path}, row {i}") for i, row in enumerate(rows.tolist())]


def _read_text(path: Path) -> list[BoundingBox]:
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except UnicodeDecodeError:
        raise ConfigError.one(
            "fetch-task-from-file", "file_path", f"{path} is neither text nor named .npy"
        ) from None
    return [
        _line(line, f"{path}, line {i}")
        for i, line in enumerate(lines, 1)
        if line and not line.startswith("#")
    ]


def _line(line: str, place: str) -> BoundingBox:
    if _SIX.fullmatch(line):
        return _box([int(n) for n in re.split(r"[\s,]+", line)], place)
    try:
        return BoundingBox.parse(line)
    except ValueError as error:
        raise ConfigError.one("fetch-task-from-file", place, str(error)) from None


def _box(row: list[int], place: str) -> BoundingBox:
    start, stop = Vec3(*row[:3]), Vec3(*row[3:])
    if not (start + 1).fits_in(stop):
        problem = f"the box starts at {tuple(start)} and stops at {tuple(stop)}"
        raise ConfigError.one(
            "fetch-task-from-file",
            place,
            problem,
            "write z0 y0 x0 z1 y1 x1, with z0 < z1 and so on",
        )
    return BoundingBox(start, stop)
