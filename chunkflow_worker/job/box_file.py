"""`read_boxes`: reads boxes that a person or a command has listed in a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from tokenize import TokenError

from chunkflow_worker.errors import ConfigError, Fault
from chunkflow_worker.image.bbox import BoundingBox, Vec3

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
    try:
        is_array = path.suffix == ".npy"
        rows = _rows(path, subject, option) if is_array else _lines(path, subject, option)
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror or error}"
        raise ConfigError.one(subject, option, problem) from None
    boxes, faults = list[BoundingBox](), list[Fault]()
    for place, found in rows:
        try:
            boxes.append(_box(found) if isinstance(found, list) else _line(found))
        except ValueError as error:
            faults.append(Fault(f"{path}, {place}", *map(str, error.args)))
    if faults:
        raise box_faults(subject, faults)
    if not boxes:
        raise ConfigError.one(subject, option, f"{path} has no boxes")
    return boxes


def box_faults(subject: str, faults: list[Fault]) -> ConfigError:
    """The error for the faults of a list of boxes; of very many, it names the first ones."""
    shown, more = faults[:_MOST_FAULTS], len(faults) - _MOST_FAULTS
    if more > 0:
        shown = [*shown, Fault("further boxes", f"{more} more are wrong")]
    return ConfigError(subject, shown)


def _rows(path: Path, subject: str, option: str) -> Iterable[tuple[str, list[int]]]:
    import numpy as np

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
