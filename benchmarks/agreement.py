"""Whether programs computed the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.race import Program, Result

TOLERANCE = 1e-5
_ALIKE = ("ours_runner", "chunkflow_runner")  # these weight patches alike


def keeping_output(programs: Sequence[Program], folder: Path) -> list[Program]:
    """The programs, of which those whose values can be compared leave their first result in the folder."""
    jobs = [
        replace(p.job, output=str(folder / f"{i}.npy") if p.module in _ALIKE else "")
        for i, p in enumerate(programs)
    ]
    return [replace(program, job=job) for program, job in zip(programs, jobs, strict=True)]


def differences(results: Sequence[Result], must_agree: bool = True) -> str:
    """How far outputs are from the first's; ends the benchmark when chunkflow's is not within the tolerance."""
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
        # not (a <= b), so that NaN fails
        if must_agree and other.program.module == "chunkflow_runner" and not most <= TOLERANCE:
            raise SystemExit(
                f"{label} and {first.program.label} differ by {most:.1e}: they don't compute the same"
            )
    return f"Largest difference from `{first.program.label}`, outputs being in [0, 1]: {', '.join(found)}."
