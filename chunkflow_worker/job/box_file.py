"""Reads boxes that a person or a command has listed in a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tokenize import TokenError

import numpy as np

from chunkflow_worker.errors import ConfigError, Fault
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.chosen_boxes import ChosenBoxes
from chunkflow_worker.job.grid import Boxes

_SIX = re.compile(r"-?\d+(?:[\s,]+-?\d+){5}", re.ASCII)
_MOST_FAULTS = 20  # that are told of one file


def read_boxes(path: Path, subject: str, option: str) -> list[BoundingBox]:
    """The boxes of a file.

    path: a .npy file with rows of z0 y0 x0 z1 y1 x1, or text with one box per line: those six
        numbers, or z0-z1_y0-y1_x0-x1. Empty lines, and lines that begin with #, are ignored. A
        hyphen stands for text from the standard input.
    subject, option: who reads it, for messages.
    Raises ConfigError with the faults of the file.
    """
    return [box for _, box in _read(path, subject, option)]


def listed_boxes(boxes: Boxes, path: Path, subject: str, option: str) -> Boxes:
    """Those of the boxes of a job that a file lists, each once, in the order of the job.

    Raises ConfigError with the faults of the file, and the boxes that the job does not have.
    """
    chosen = np.zeros(boxes.last - boxes.first, bool)
    faults = []
    for place, box in _read(path, subject, option):
        index = boxes.index_of(box)
        if index is None:
            faults.append(Fault(place, f"{box} is not a box of the job"))
        else:
            chosen[boxes.task_index(index) - boxes.first] = True
    if faults:
        *others, last = faults
        size = "x".join(map(str, boxes.chunk_size))
        cure = f"its boxes are {size}, from {boxes[0]} to {boxes[-1]}"
        raise _error(subject, [*others, replace(last, cure=cure)])
    return ChosenBoxes.of(boxes.whole_grid(), chosen)


def _read(path: Path, subject: str, option: str) -> list[tuple[str, BoundingBox]]:
    """The boxes, each with its place in the file."""
    try:
        is_array = path.suffix == ".npy"
        rows = _rows(path, subject, option) if is_array else _lines(path, subject, option)
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror or error}"
        raise ConfigError.one(subject, option, problem) from None
    boxes, faults = list[tuple[str, BoundingBox]](), list[Fault]()
    for place, found in rows:
        try:
            box = _box(found) if isinstance(found, list) else _line(found)
            boxes.append((f"{path}, {place}", box))
        except ValueError as error:
            faults.append(Fault(f"{path}, {place}", *map(str, error.args)))
    if faults:
        raise _error(subject, faults)
    if not boxes:
        raise ConfigError.one(subject, option, f"{path} has no boxes")
    return boxes


def _error(subject: str, faults: list[Fault]) -> ConfigError:
    """The error for the faults of a file; of very many, it names the first ones."""
    more = len(faults) - _MOST_FAULTS
    if more > 0:
        rest = Fault("further lines", f"{more} more are wrong", faults[-1].cure)
        faults = [*faults[:_MOST_FAULTS], rest]
    return ConfigError(subject, faults)


def _rows(path: Path, subject: str, option: str) -> Iterable[tuple[str, list[int]]]:
    legal = "whole numbers in rows of z0 y0 x0 z1 y1 x1"
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, MemoryError, TokenError):
        problem = f"{path} is not a .npy file of numbers, or it is damaged"
        raise ConfigError.one(subject, option, problem, legal) from None
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
        raise ConfigError.one(subject, option, f"{path} {found}", legal)
    return ((f"row {i}", row) for i, row in enumerate(rows.tolist()))


def _lines(path: Path, subject: str, option: str) -> Iterable[tuple[str, str]]:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
    except UnicodeDecodeError:
        raise ConfigError.one(subject, option, f"{path} is neither text nor named .npy") from None
    lines = ((f"line {i}", line.strip()) for i, line in enumerate(text.splitlines(), 1))
    return ((place, line) for place, line in lines if line and not line.startswith("#"))


def _line(line: str) -> BoundingBox:
    if _SIX.fullmatch(line):
        return _box([int(n) for n in re.split(r"[\s,]+", line)])
    return BoundingBox.parse(line)


def _box(row: list[int]) -> BoundingBox:
    start, stop = Vec3(*row[:3]), Vec3(*row[3:])
    if not (start + 1).fits_in(stop):
        raise ValueError(
            f"the box starts at {tuple(start)} and stops at {tuple(stop)}",
            "write z0 y0 x0 z1 y1 x1, with z0 < z1 and so on",
        )
    return BoundingBox(start, stop)
