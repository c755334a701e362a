"""How long does a whole chain take: load, inference without a net, save?

There is no net, so everything else counts: reading, blending, converting, compressing, writing.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.job import Job
from benchmarks.options import options
from benchmarks.race import Program, chunkflow, ours, race
from benchmarks.table import record, rounds, speed_table
from benchmarks.volume_io import BLOCK, BOUNDS, voxels
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume

BOX = (128, 512, 512)
CHANNELS = 3


def main() -> None:
    given = options(__doc__, repeats=3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = Job(tuple(BOUNDS.size), box=BOX, channels=CHANNELS, dtype="uint8", warm_up="none")
        programs = [
            of_chain(ours("ours", replace(job, volumes=made(folder / "ours")))),
            of_chain(chunkflow(replace(job, volumes=made(folder / "chunkflow")))),
        ]
        results = race(programs, given.repeats)
        difference = largest_difference(folder / "ours", folder / "chunkflow")
    text = (
        f"An image of {_text(BOUNDS.size)} uint8 in blocks of {_text(BLOCK)}, in boxes of "
        f"{_text(BOX)}: load-precomputed, inference (identity, patch 20x256x256, overlap 4x64x64, "
        f"{CHANNELS} channels), save-precomputed to uint8 with gzip, on a local disk; "
        f"{rounds(given.repeats)}. chunkflow runs with its classes, box after box; the command "
        "line needs numpy.product, which NumPy 2 has no more, and cv2, which it does not declare. "
        f"Largest difference of a voxel: {difference}.\n\n"
        f"{speed_table(results, ['ours'], patches=False)}"
    )
    record("A whole chain", text, results, given.write)


def of_chain(program: Program) -> Program:
    """The program that runs the chain, in the environment of the one that runs inference alone."""
    return replace(program, module=program.module.replace("_runner", "_chain_runner"))


def made(folder: Path) -> str:
    """A folder with the volume `in`, and an empty one, `out`."""
    for name, channels in (("in", 1), ("out", CHANNELS)):
        create_volume(
            f"precomputed://file://{folder}/{name}",
            bounds=BOUNDS,
            voxel_size=(40, 8, 8),
            block_size=BLOCK,
            dtype="uint8",
            channels=channels,
        )
    open_volume(f"file://{folder}/in").write(BOUNDS, voxels())
    return str(folder)


def largest_difference(one: Path, other: Path) -> int:
    """Of a voxel of the output, in grey levels."""
    worst = 0
    for box in BOUNDS.split(BLOCK):
        a, b = (_output(folder, box) for folder in (one, other))
        worst = max(worst, int(np.abs(a - b).max()))
    return worst


def _output(folder: Path, box: BoundingBox) -> np.ndarray:
    return open_volume(f"file://{folder}/out").read(box).astype(np.int16)


def _text(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


if __name__ == "__main__":
    main()
