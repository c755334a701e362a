"""How much memory does a chunk need at most, and does `chunkflow-worker check` predict it?"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import yaml

from benchmarks.environment import ROOT
from benchmarks.job import TINY_NET, Job
from benchmarks.options import options
from benchmarks.race import Result, chunkflow, ours, race
from benchmarks.runners.ours_runner import operator
from benchmarks.table import markdown, record


def stated_peak(job: Job) -> float | None:
    """Return the GB that `chunkflow-worker check` predicts for this chunk; None if it does not."""
    operators = [
        {"op": "create-chunk", "size": list(job.chunk)},
        operator(job).model_dump(mode="json", exclude_defaults=True) | {"op": "inference"},
    ]
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Path(folder) / "pipeline.yaml"
        pipeline.write_text(yaml.safe_dump({"operators": operators}))
        program = "from chunkflow_worker.cli.worker import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program, "check", pipeline],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
    found = re.search(r"peak memory\D*([0-9.]+) ?GB", done.stdout)
    return float(found[1]) if found else None


def main() -> None:
    given = options(__doc__, 1, "processes per program; the largest peak counts")
    job = Job((112, 1152, 1152), warm_up="none")
    tiny = replace(job, model=TINY_NET)
    programs = [
        ours("ours, identity, uint8", replace(job, dtype="uint8")),
        ours("ours, a net of one layer, uint8", replace(tiny, dtype="uint8")),
        ours("ours, identity, float32", job),
        chunkflow(job),
    ]
    rows, results = [], []
    for program in programs:
        runs: list[Result] = [race([program], 1)[0] for _ in range(given.repeats)]
        results += runs
        stated = stated_peak(program.job) if program.module == "ours_runner" else None
        peak = max(run.peak for run in runs)
        predicted = "not stated" if stated is None else f"{stated:.2f}"
        rows.append([program.label, f"{peak / 1e9:.2f}", predicted])
    table = markdown(["Program", "peak, GB", "`check` states, GB"], rows)
    text = (
        f"Chunk 112x1152x1152 uint8 ({job.voxels / 1e9:.2f} GB), 3 output channels (uint8 0.45 GB, "
        "float32 1.78 GB), patch 20x256x256, overlap 4x64x64, one process each. The peak is "
        "resident memory, with chunk and output, minus what the process used after it had loaded "
        f"its libraries and the net.\n\n{table}"
    )
    record("Memory", text, results, given.write)


if __name__ == "__main__":
    main()
