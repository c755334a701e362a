"""Whether another library gives the output of the net itself, and what is said if it does not."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ModelError
from chunkflow_worker.report.once import warn_once

log = logging.getLogger(__name__)

TOLERANCE = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 5e-2, "float16": 1e-2}
"""Largest difference from the net itself in float32, relative to the largest value of the output.

Sums in another order differ by 1e-5; a net that was converted wrongly differs by far more.
"""


class Unsuited(Exception):
    """A library can't run a net, or would change its output. The text says why, as a clause."""


def compare(found: NDArray[Any], expected: NDArray[Any], precision: str, library: str) -> None:
    """Raises Unsuited unless an output in that precision is the expected one.

    expected: what the net itself gives in float32 for the same noise.
    library: that computed `found`, for people.
    """
    if found.shape != expected.shape:
        raise Unsuited(f"its output is {list(found.shape)}, not {list(expected.shape)}")
    largest = max(float(np.abs(expected).max(initial=0)), 1e-6)
    with np.errstate(invalid="ignore"):
        error = np.abs(np.subtract(found, expected, dtype=np.float32)).max(initial=0) / largest
    if np.isnan(error):
        raise Unsuited("its output for noise is not finite")
    if error > TOLERANCE[precision]:
        raise Unsuited(f"its output for noise differs by {error:.2g} of its largest value")
    log.info(
        "%s runs the net in %s: for noise, it differs by %.2g of the largest value",
        library,
        precision,
        error,
    )


def refuse(problem: Unsuited, library: str, other: str, *, asked_for: bool) -> None:
    """Say why the `other` library runs a net. Raises ModelError if the library was asked for."""
    if asked_for:
        raise ModelError(
            f"{library} can't run the net: {problem}\n    leave out --acceleration: {other} runs it"
        ) from problem
    warn_once(
        log,
        f"{other} runs the net, more slowly than {library} would: {problem}; "
        "--acceleration none spares the attempt",
    )


def reason(error: BaseException, longest: int = 200) -> str:
    """The line of a library's error that says most, for the end of a message."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return (told or [type(error).__name__])[0][:longest]
