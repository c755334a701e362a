"""`Converter`: what the operators that give a chunk another type have in common."""

from __future__ import annotations

import logging
from math import isfinite
from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.config.options import field
from chunkflow_worker.job.clipped import WORTH_A_WORD, Clipped
from chunkflow_worker.pipeline.operator import Operator
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report.once import warn_once

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike

    from chunkflow_worker.image.chunk import Chunk
    from chunkflow_worker.image.conversion import Tally

log = logging.getLogger(__name__)

_ROUNDING = 1e-3  # by which a mask of floats may differ from 0 and 1


def scale_option() -> Any:
    """Declare the option `scale`; each `Converter` does it where its help shall show it."""
    return field(
        None,
        help="Map an image's values from LOW to HIGH to the full range of the type, or to 0 to 1 "
        "for floats; values outside saturate. Default: only floats from 0 to 1 and uint8 are "
        "mapped to each other.",
        metavar="LOW HIGH",
    )


class Converter(Operator):
    """Base of operators that convert the values of a chunk to another type."""

    if TYPE_CHECKING:
        scale: tuple[float, float] | None

    @field_validator("scale", check_fields=False)
    @classmethod
    def _is_a_range(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not (all(map(isfinite, value)) and value[0] < value[1]):
            raise ValueError("takes two numbers, the lower one first")
        return value

    def converted(self, chunk: Chunk, dtype: DTypeLike | None, task: Task) -> Chunk:
        """The chunk as `dtype`; None for its own type. What an image loses is noted in the task.

        Raises ChunkMismatch if the chunk holds ids that the type does not hold.
        """
        from chunkflow_worker.image.conversion import Tally

        if self.scale is None and (dtype is None or dtype == chunk.dtype):
            return chunk
        tally = Tally()
        made = chunk.as_dtype(dtype or chunk.dtype, self.scale, tally)
        if tally.values:
            why = "" if self.scale else _why(tally, chunk.dtype, made.dtype)
            note_clipped(task, Clipped(self.label, tally.clipped, tally.values), why)
        if self.scale is None and _lost_fractions(tally, chunk, made):
            became = (
                f"values from {tally.low:.6g} to {tally.high:.6g} become 0 or 1 in {made.dtype}"
            )
            text = f"{became}; --scale 0 1 keeps them apart"
            warn_once(log, f"{self.label}: {text}", about=f"fractions lost by {self.label}")
        return made


def _lost_fractions(tally: Tally, chunk: Chunk, made: Chunk) -> bool:
    """Whether a map from 0 to 1 was rounded to integers. A mask of 0 and 1 loses nothing."""
    rounded = tally.values > 0 and chunk.dtype.kind == "f" and made.dtype.kind in "ui"
    # Such maps may overshoot a little; up to these limits, values become 0 or 1.
    if not rounded or made.dtype.name == "uint8" or not -0.5 <= tally.low <= tally.high < 1.5:
        return False
    return bool((abs(chunk.array - made.array) > _ROUNDING).any())


def note_clipped(task: Task, clipped: Clipped, why: str) -> None:
    """Note clipped values in the task, and warn if they are many, once for each operator.

    why: what is wrong, and how to cure it; empty if the user knows.
    """
    task.clipped.append(clipped)
    share = clipped.values / clipped.of
    if why and share > WORTH_A_WORD:
        place = clipped.operator if task.bbox is None else f"{clipped.operator} on {task.bbox}"
        text = f"{place}: {100 * share:.1f} % of the voxels are clipped: {why}"
        warn_once(log, text, about=f"clipped by {clipped.operator}")


def _why(tally: Tally, source: np.dtype[Any], target: np.dtype[Any]) -> str:
    from chunkflow_worker.image.conversion import takes

    low, high = takes(source, target)
    parts = [f"{tally.nan} are NaN, which becomes 0"] if tally.nan and target.kind != "f" else []
    if tally.low < low or tally.high > high:
        floats = " of floats" if source.kind == "f" else ""
        parts.append(
            f"they reach from {tally.low:.6g} to {tally.high:.6g}, and {target} takes "
            f"{low:.6g} to {high:.6g}{floats}; --scale LOW HIGH maps another range to it"
        )
        if floats and target.name == "uint8" and tally.low >= 0 and 1 < tally.high <= 255:
            parts[-1] += ", and --scale 0 255 keeps greys from 0 to 255"
        elif isfinite(tally.high - tally.low) and f"{tally.low:.6g}" != f"{tally.high:.6g}":
            parts[-1] += f", for example --scale {tally.low:.6g} {tally.high:.6g}"
        if source.kind == "f" and tally.low < 0 and target.name == "uint8":
            parts[-1] += "; or end the net with a sigmoid, if these are its logits"
        if (source.name, target.name) == ("uint16", "uint8"):
            parts[-1] += f"; or stretch the greys before, by {operator_with('stretches')}"
    return ", and ".join(parts)
