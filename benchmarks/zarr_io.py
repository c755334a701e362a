"""Which library should read and write Zarr: zarr-python or tensorstore? The same boxes of the same image on this disk."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np

from benchmarks.table import markdown, record, rounds
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.operators.create_chunk import CreateChunk
from chunkflow_worker.storage.zarr import open_zarr
from chunkflow_worker.storage.zarr_create import create_zarr

BOUNDS = BoundingBox.sized((0, 0, 0), (128, 1024, 1024))
BLOCK = Vec3(64, 128, 128)
BOX = Vec3(64, 512, 512)
MARGIN = 32  # what a filter or a net asks for around a box

# How a library reads and writes a box of the array in a folder. Each opens it once, as an operator does.
Access = tuple[Callable[[BoundingBox], Any], Callable[[BoundingBox, Any], None]]


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    image = voxels()
    boxes = list(BOUNDS.split(BOX))
    grown = [box.grow(MARGIN).clip(BOUNDS) or box for box in boxes]
    rows = []
    for driver, name in (("zarr", "Zarr 2"), ("zarr3", "Zarr 3")):
        found: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for first in range(repeats):
            for library in islice(
                cycle(LIBRARIES), first, first + len(LIBRARIES)
            ):  # none is always the first
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
                    steps = {
                        "write": lambda write=write: [
                            write(box, image[box.slices((0, 0, 0))]) for box in boxes
                        ],
                        "read": lambda read=read: [read(box) for box in boxes],
                        f"read with {MARGIN} around": lambda read=read: [
                            read(box) for box in grown
                        ],
                    }
                    for step, run in steps.items():
                        wall, cpu = perf_counter(), process_time()
                        run()
                        found.setdefault((step, library), []).append(
                            (perf_counter() - wall, process_time() - cpu)
                        )
                    assert np.array_equal(read(BOUNDS), image)
        for step in dict.fromkeys(step for step, _ in found):
            size = sum(box.voxels for box in (grown if "around" in step else boxes)) / 1e6
            for library in LIBRARIES:
                seconds, cpu_seconds = zip(*found[step, library], strict=True)
                speeds = [
                    f"{size / median(seconds):.0f}",
                    f"{size / max(seconds):.0f} to {size / min(seconds):.0f}",
                ]
                rows.append(
                    [
                        f"{name}, {step}: {library}",
                        *speeds,
                        f"{median(cpu_seconds) / size * 1e3:.2f}",
                    ]
                )
    table = markdown(["Program", "Mvoxel/s", "slowest to fastest", "CPU ms/Mvoxel"], rows)
    text = (
        f"An image of {_text(BOUNDS.size)} uint8 in blocks of {_text(BLOCK)}, blosc with zstd, on a local disk, in boxes of "
        f"{_text(BOX)}; {rounds(repeats)}. zarr-python {version('zarr')}, tensorstore {version('tensorstore')}.\n\n{table}"
    )
    record("Zarr: zarr-python and tensorstore", text, [])


def _text(size: Vec3) -> str:
    return "x".join(map(str, size))


def voxels() -> Any:
    """Waves with some noise, which compress as electron micrographs do."""
    from chunkflow_worker.pipeline.operator import Run
    from chunkflow_worker.pipeline.task import Task

    task = Task(bbox=BOUNDS)
    with CreateChunk().open(Run(needed_box=lambda box, bounds: box)) as step:
        step(task)
    noise = np.random.default_rng(0).normal(0, 12, BOUNDS.size)
    return np.clip(task.chunk("chunk").array + noise, 1, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
