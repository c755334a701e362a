"""`check_steady`: a net gives one answer for one input, or says that it does not."""

from __future__ import annotations

import logging

import numpy as np

from chunkflow_worker.errors import ModelError
from chunkflow_worker.inference.engine import Answers
from chunkflow_worker.report.once import warn_once

log = logging.getLogger(__name__)

# GPUs add numbers in any order, so two answers of a steady net may differ by 1e-6 of the largest
# value in float32, and by the last digit in a reduced precision. Where a net compares its values
# with a threshold, a few voxels may then differ by much.
_TOLERANCE = {"float32": 1e-4, "tf32": 1e-4, "float64": 1e-4}
_REDUCED_TOLERANCE = 1e-2
_FEW = 1e-4  # share of all values


def check_steady(answers: Answers, model: str, precision: str, allow_random: bool) -> None:
    """Compare two answers of a net for one input.

    model: the net's file, or another name for it.
    precision: of its arithmetic.
    allow_random: only warn.

    Raises ModelError if they differ, or if the net changed itself meanwhile.
    """
    problem = _problem(answers, precision)
    lost = 1 - np.isfinite(answers.first).mean()
    if lost:
        warn_once(
            log,
            f"{model} gives NaN or infinite values for noise from 0 to 1 ({lost:.0%} of them): its "
            "weights may hold such values, or it divides by zero",
        )
    if not problem:
        return
    if allow_random:
        warn_once(log, f"{model} {problem}; it runs because of --allow-random")
        return
    raise ModelError(
        f"{model} {problem}\n    dropout or batch norms are in training mode, or forward draws "
        "random numbers: call net.eval() before the net is traced or exported, and give F.dropout "
        "training=self.training\n    or give --allow-random to run it as it is"
    )


def _problem(answers: Answers, precision: str) -> str:
    """What is wrong, as a clause about the net; empty if nothing is."""
    first, second = (np.asarray(a, np.float32) for a in (answers.first, answers.second))
    if first.shape != second.shape:
        return f"gives two answers for one input: {list(first.shape)} and {list(second.shape)}"
    if not np.array_equal(first, second, equal_nan=True) and (
        problem := _differing(first, second, precision)
    ):
        return problem
    if answers.changed:
        return (
            f"changes itself while it runs, so an answer depends on earlier patches: "
            f"{answers.changed}"
        )
    return ""


def _differing(first: np.ndarray, second: np.ndarray, precision: str) -> str:
    """How far two answers of one shape are from each other; empty if that is rounding."""
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(first - second))
    finite = np.abs(first[np.isfinite(first)])
    tolerance = _TOLERANCE.get(precision, _REDUCED_TOLERANCE) * (finite.max() if finite.size else 1)
    differs = ~(difference <= tolerance)  # also where one of them is NaN
    if differs.mean() <= _FEW:
        return ""
    return (
        f"gives two answers for one input: {differs.mean():.0%} of its values differ, "
        f"by up to {difference[~np.isnan(difference)].max(initial=0):.2g}"
    )
