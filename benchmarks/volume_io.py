"""Which library should read and write each format of volumes?

All read and write the same boxes of the same image on this disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
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
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume

BOUNDS = BoundingBox.sized((0, 0, 0), (128, 1024, 1024))
BLOCK = Vec3(64, 128, 128)
BOX = SHARD = Vec3(128, 512, 512)
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
"""How a library reads and writes a box of the volume in a folder. The volume is opened once."""


def ours(path: Path) -> Access:
    volume = open_volume(f"file://{path}")
    return volume.read, volume.write


def zarr_python(path: Path) -> Access:
    import zarr

    array = zarr.open_array(path / "0", mode="r+")

    def write(box: BoundingBox, voxels: Any) -> None:
        array[box.slices()] = voxels

    return lambda box: array[box.slices()], write


def tensorstore(path: Path) -> Access:
    """Axes are stored as x, y, z, and channels for precomputed, in N5 as x, y, z."""
    import tensorstore

    driver, folder, turned = "zarr", path / "0", False
    if (path / "info").exists():
        driver, folder, turned = "neuroglancer_precomputed", path, True
    elif (path / "attributes.json").exists():
        driver, folder, turned = "n5", path / "s0", True
    elif (path / "zarr.json").exists():
        driver = "zarr3"
    spec: dict[str, Any] = {"driver": driver, "kvstore": {"driver": "file", "path": f"{folder}/"}}
    if driver != "neuroglancer_precomputed":
        spec["store_data_equal_to_fill_value"] = True
    array = tensorstore.open(spec, open=True).result()
    array = array[..., 0] if driver == "neuroglancer_precomputed" else array
    array = array.T if turned else array

    def write(box: BoundingBox, voxels: Any) -> None:
        array[box.slices()].write(voxels).result()

    return lambda box: array[box.slices()].read().result(), write


def cloudvolume(path: Path) -> Access:
    from cloudvolume import CloudVolume

    volume = CloudVolume(f"file://{path}", progress=False, compress=False)

    def write(box: BoundingBox, voxels: Any) -> None:
        z, y, x = box.slices()
        volume[x, y, z] = voxels.T

    def read(box: BoundingBox) -> Any:
        z, y, x = box.slices()
        return np.ascontiguousarray(np.asarray(volume[x, y, z])[..., 0].T)

    return read, write


@dataclass(frozen=True)
class Format:
    """A format of volumes. prefix: of its address. others: libraries to compare ours with.

    writes: those of them that write it.
    """

    prefix: str
    others: dict[str, Callable[[Path], Access]]
    options: dict[str, Any]
    cannot_write: tuple[str, ...] = ()


_ZARR = {"zarr-python": zarr_python, "tensorstore": tensorstore}
_PRECOMPUTED = {"CloudVolume": cloudvolume, "tensorstore": tensorstore}
FORMATS = {
    "precomputed": Format("precomputed", _PRECOMPUTED, {}),
    "precomputed in shards": Format(
        "precomputed", _PRECOMPUTED, {"shard_size": SHARD}, ("CloudVolume",)
    ),
    "Zarr 2": Format("zarr2", _ZARR, {}),
    "Zarr 3": Format("zarr3", _ZARR, {}),
    "Zarr 3 in shards": Format("zarr3", _ZARR, {"shard_size": SHARD}),
    "N5": Format("n5", {"tensorstore": tensorstore}, {}),
}


def main() -> None:
    given = options(__doc__, repeats=5)
    image = voxels()
    rows = []
    for name, kind in FORMATS.items():
        libraries = {"ours": ours, **kind.others}
        times: dict[tuple[str, str], list[Times]] = {}
        for first in range(given.repeats):
            # The libraries take turns in being the first.
            for library in islice(cycle(libraries), first, first + len(libraries)):
                writer = ours if library in kind.cannot_write else libraries[library]
                for step, found in timed(kind, libraries[library], writer, image).items():
                    times.setdefault((step, library), []).append(found)
        for step in STEPS:
            for library in libraries:
                if step != "write" or library not in kind.cannot_write:
                    rows.append(
                        [f"{name}, {step}: {library}", *figures(step, times[step, library])]
                    )
    table = markdown(["Program", "Mvoxel/s", "slowest to fastest", "CPU ms/Mvoxel"], rows)
    versions = ", ".join(
        f"{library} {version(package)}"
        for library, package in (
            ("CloudVolume", "cloud-volume"),
            ("tensorstore", "tensorstore"),
            ("zarr-python", "zarr"),
        )
    )
    text = (
        f"An image of {_text(BOUNDS.size)} uint8 in blocks of {_text(BLOCK)}, or in shards of "
        f"{_text(SHARD)}, on a local disk, in boxes of {_text(BOX)}; {rounds(given.repeats)}. "
        "Precomputed blocks are raw, and compressed with gzip in shards; Zarr has blosc with zstd, "
        "and N5 gzip. Ours moves precomputed blocks itself, in CloudVolume's encodings, and leaves "
        f"Zarr and N5 to tensorstore. {versions}.\n\n{table}"
    )
    record("Volumes: reading and writing", text, [], given.write)


def timed(
    kind: Format, library: Callable[[Path], Access], writer: Callable[[Path], Access], image: Any
) -> dict[str, Times]:
    """Write the image to a new volume and read it back, box by box; return the times."""
    with tempfile.TemporaryDirectory() as folder:
        create_volume(
            f"{kind.prefix}://file://{folder}",
            bounds=BOUNDS,
            voxel_size=(40, 8, 8),
            block_size=BLOCK,
            dtype="uint8",
            **kind.options,
        )
        path = Path(folder)
        read, _ = library(path)
        _, write = writer(path)

        def work(step: str, box: BoundingBox) -> None:
            if step == "write":
                write(box, image[box.slices()])
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
