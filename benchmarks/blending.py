"""What does everything around the net cost?

There is no net: patches are cut, weighted, summed and divided.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.agreement import differences, keeping_output
from benchmarks.job import Job
from benchmarks.options import options
from benchmarks.race import chunkflow, ours, race
from benchmarks.table import record, rounds, speed_table


def main() -> None:
    given = options(__doc__, repeats=3)
    job = Job((84, 832, 832))
    with tempfile.TemporaryDirectory() as folder:
        results = race(
            keeping_output([ours("ours", job), chunkflow(job)], Path(folder)), given.repeats
        )
        compared = differences(results)
    table = speed_table(results, ["ours"], patches=False)
    text = (
        "Chunk 84x832x832 uint8, patch 20x256x256, overlap 4x64x64: "
        f"{job.patches} patches, 3 channels of float32, framework identity, on the CPU; "
        f"{rounds(given.repeats)}; Mvoxel of input.\n\n{table}\n\n{compared}"
    )
    record("Blending alone", text, results, given.write)


if __name__ == "__main__":
    main()
