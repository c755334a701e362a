"""How fast is inference, compared with chunkflow, MONAI and the net alone?

Runs on the GPU if there is one, else on the CPU.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.agreement import differences, keeping_output
from benchmarks.environment import gpu
from benchmarks.job import NET, Job
from benchmarks.options import options
from benchmarks.race import Program, bare, chunkflow, monai, ours, race
from benchmarks.table import record, rounds, speed_table
from chunkflow_worker.inference.torch_net.precision import cpu_has

TITLE = "Inference with a net of 0.8 M parameters"
_STRICT = "float32"
_NOTES = (
    "MONAI runs one patch at a time and weights patches with a Gaussian. Its weights differ from "
    "ours, so its values are not compared. The net alone runs the patches and discards the "
    "output: `plain` as torch runs it by default, `our engine` as ours runs it."
)


def programs(job: Job, on_gpu: bool) -> list[Program]:
    """Return the programs in the order in which they take turns.

    On a GPU, torch convolves in TF32 by default. The other programs keep that default: compare them
    with our tf32. On a CPU, OpenVINO runs our nets; they also run by torch, as without OpenVINO.
    """
    strict = [_STRICT, "tf32"] if on_gpu else [_STRICT]
    reduced = ["auto"] if on_gpu or cpu_has("bfloat16") else []
    found = [ours(f"ours, {p}", replace(job, precision=p)) for p in [*strict, *reduced]]
    by_torch = replace(job, acceleration="none")
    if on_gpu:
        found.append(
            ours("ours, auto, compiled", replace(job, precision="auto", acceleration="compile"))
        )
    else:
        found += [
            ours(f"ours by torch, {p}", replace(by_torch, precision=p)) for p in [*strict, *reduced]
        ]
    found += [chunkflow(job), monai(job), bare("net alone, plain", replace(job, precision="plain"))]
    return found + [
        bare(f"net alone, our engine, {p}", replace(job, precision=p)) for p in [*strict, *reduced]
    ]


def main() -> None:
    given = options(__doc__, repeats=3)
    on_gpu = bool(gpu())
    # A GPU gets more patches. Their number makes the last patch of each axis move inward, as in
    # real tasks.
    job = Job(
        (112, 1152, 1152) if on_gpu else (36, 448, 448),
        model=NET,
        warm_up="chunk" if on_gpu else "patch",
    )
    with tempfile.TemporaryDirectory() as folder:
        results = race(keeping_output(programs(job, on_gpu), Path(folder)), given.repeats)
        compared = differences(results, must_agree=not on_gpu)
    ours_plain = [
        r.program.label
        for r in results
        if r.program.module == "ours_runner" and r.program.job.acceleration == "auto"
    ]
    table = speed_table(results, ours_plain)
    text = (
        f"Chunk {_text(job.chunk)} uint8, patch {_text(job.patch)}, overlap {_text(job.overlap)}: "
        f"{job.patches} patches in every program, {job.channels} channels of float32; "
        f"{rounds(given.repeats)}.\n\n{table}\n\n{compared}\n{_NOTES}"
    )
    record(TITLE, text, results, given.write)


def _text(size: tuple[int, int, int]) -> str:
    return "x".join(map(str, size))


if __name__ == "__main__":
    main()
