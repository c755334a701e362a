"""Which library should read and write Zarr: zarr-python or tensorstore?

Both read and write the same boxes of the same image on this disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np

from benchmarks.options import options
from benchmarks.table import markdown, record, rounds
from chunkflow_worker.api import BoundingBox, Run, Task, Vec3
from chunkflow_worker.operators.create_chunk import CreateChunk
from chunkflow_worker.volumes.zarr.create import create_zarr
from chunkflow_worker.volumes.zarr.volume import open_zarr

BOUNDS = BoundingBox.sized((0, 0, 0), (128, 1024, 1024))
BLOCK = Vec3(64, 128, 128)
BOX = Vec3(64, 512, 512)
MARGIN = 32  # voxels that a filter or a net needs around a box

BOXES = list(BOUNDS.split(BOX))
STEPS = {
    "write": BOXES,
    "read": BOXES,
    f"read with {MARGIN} around": [box.grow(MARGIN).clip(BOUNDS) or box for box in BOXES],
}
"""What is timed, and on which boxes."""

Times = tuple[float, float]
"""Seconds, and CPU seconds of all threads."""

Read = Callable[[BoundingBox], Any]
Write = Callable[[BoundingBox, Any], None]
Access = tuple[Read, Write]
"""How a library reads and writes a box of the array in a folder. The array is opened once."""


def zarr_python(path: Path) -> Access:
    import zarr

    array = zarr.open_array(path, mode="r+")

    def write(box: BoundingBox, voxels: Any) -> None:
        array[box.slices((0, 0, 0))] = voxels

    return lambda box: array[box.slices((0, 0, 0))], write


def tensorstore_alone(path: Path) -> Access:
    import tensorstore

    driver = "zarr3" if (path / "zarr.json").exists() else "zarr"
    spec = {
        "driver": driver,
        "kvstore": {"driver": "file", "path": f"{path}/"},
        "store_data_equal_to_fill_value": True,
    }
    array = tensorstore.open(spec, open=True).result()

    def write(box: BoundingBox, voxels: Any) -> None:
        array[box.slices((0, 0, 0))].write(voxels).result()

    return lambda box: array[box.slices((0, 0, 0))].read().result(), write


def ours(path: Path) -> Access:
    volume = open_zarr(f"file://{path}")
    assert volume is not None
    return volume.read, volume.write


LIBRARIES: dict[str, Callable[[Path], Access]] = {
    "zarr-python": zarr_python,
    "tensorstore": tensorstore_alone,
    "ours, which is tensorstore with checks": ours,
}


def main() -> None:
    given = options(__doc__, repeats=5)
    image = voxels()
    rows = []
    for driver, name in (("zarr", "Zarr 2"), ("zarr3", "Zarr 3")):
        times: dict[tuple[str, str], list[Times]] = {}
        for first in range(given.repeats):
            # The libraries take turns in being the first.
            for library in islice(cycle(LIBRARIES), first, first + len(LIBRARIES)):
                for step, found in timed(library, driver, image).items():
                    times.setdefault((step, library), []).append(found)
        for step in STEPS:
            for library in LIBRARIES:
                rows.append([f"{name}, {step}: {library}", *figures(step, times[step, library])])
    table = markdown(["Program", "Mvoxel/s", "slowest to fastest", "CPU ms/Mvoxel"], rows)
    text = (
        f"An image of {_text(BOUNDS.size)} uint8 in blocks of {_text(BLOCK)}, blosc with zstd, "
        f"on a local disk, in boxes of {_text(BOX)}; {rounds(given.repeats)}. "
        f"zarr-python {version('zarr')}, tensorstore {version('tensorstore')}.\n\n{table}"
    )
    record("Zarr: zarr-python and tensorstore", text, [], given.write)


def timed(library: str, driver: str, image: Any) -> dict[str, Times]:
    """Write the image to a new array and read it back, box by box; return the times."""
    with tempfile.TemporaryDirectory() as folder:
        create_zarr(
            f"file://{folder}",
            driver=driver,
            bounds=BOUNDS,
            voxel_size=(40, 8, 8),
            block_size=BLOCK,
            dtype="uint8",
        )
        read, write = LIBRARIES[library](Path(folder) / "0")

        def work(step: str, box: BoundingBox) -> None:
            if step == "write":
                write(box, image[box.slices((0, 0, 0))])
            else:
                read(box)

        times = {}
        for step, boxes in STEPS.items():
            wall, cpu = perf_counter(), process_time()
            for box in boxes:
                work(step, box)
            times[step] = perf_counter() - wall, process_time() - cpu
        assert np.array_equal(read(BOUNDS), image)
        return times


def figures(step: str, times: list[Times]) -> list[str]:
    """Return speed, slowest to fastest, and CPU time of one step, as text."""
    size = sum(box.voxels for box in STEPS[step]) / 1e6
    seconds, cpu_seconds = zip(*times, strict=True)
    return [
        f"{size / median(seconds):.0f}",
        f"{size / max(seconds):.0f} to {size / min(seconds):.0f}",
        f"{median(cpu_seconds) / size * 1e3:.2f}",
    ]


def _text(size: Vec3) -> str:
    return "x".join(map(str, size))


def voxels() -> Any:
    """Return waves with noise. They compress as well as electron micrographs do."""
    task = Task(bbox=BOUNDS)
    with CreateChunk().open(Run(needed_box=lambda box, bounds: box)) as step:
        step(task)
    noise = np.random.default_rng(0).normal(0, 12, BOUNDS.size)
    return np.clip(task.chunk("chunk").array + noise, 1, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
