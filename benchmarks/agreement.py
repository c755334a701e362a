"""Checks that the programs computed the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.race import Program, Result

TOLERANCE = 1e-5
_COMPARABLE = ("ours_runner", "chunkflow_runner")  # these weight patches in the same way


def keeping_output(programs: Sequence[Program], folder: Path) -> list[Program]:
    """Return the programs; those with comparable values save their first result in the folder."""
    kept = []
    for i, program in enumerate(programs):
        output = str(folder / f"{i}.npy") if program.module in _COMPARABLE else ""
        kept.append(replace(program, job=replace(program.job, output=output)))
    return kept


def differences(results: Sequence[Result], must_agree: bool = True) -> str:
    """Return a sentence with the largest difference of each output from the first one.

    With `must_agree`, raises SystemExit when chunkflow's output differs by more than TOLERANCE.
    """
    first, *others = [r for r in results if r.program.job.output]
    expected = np.load(first.program.job.output, mmap_mode="r")
    found = []
    for other in others:
        values, label = np.load(other.program.job.output, mmap_mode="r"), other.program.label
        if values.shape != expected.shape:
            raise SystemExit(
                f"{label} returned {values.shape}, and {first.program.label} {expected.shape}"
            )
        most = max(float(np.abs(a - b).max()) for a, b in zip(values, expected, strict=True))
        found.append(f"{label} {most:.1e}")
        agrees = most <= TOLERANCE  # False for NaN
        if must_agree and other.program.module == "chunkflow_runner" and not agrees:
            raise SystemExit(
                f"{label} and {first.program.label} differ by {most:.1e}: "
                "they do not compute the same"
            )
    found_text = ", ".join(found)
    return f"Largest difference from `{first.program.label}`, outputs in [0, 1]: {found_text}."
