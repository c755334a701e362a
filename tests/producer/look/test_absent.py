"""Blocks of Zarr and N5 that are absent since they hold the fill value, or were deleted.

Each array holds four blocks: of noise, of zeros, of its fill value, and of noise.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zarr

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.job.record import Record, Written
from chunkflow_worker.operators.save_zarr import SaveZarr
from chunkflow_worker.pipeline.saving import write_verified
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.volumes.zarr.volume import open_zarr
from producer.look.tally import COMPARED, EMPTY, FILLED, FOUND
from producer.look.verify import Verifier
from tests.support.records import task_record

BOX = BoundingBox.parse("0-4_0-4_0-16")
BLOCKS = list(BOX.split(Vec3(4, 4, 4)))
NOISE, ZEROS, FILL, MORE_NOISE = range(4)

ARRAYS: dict[str, tuple[str, Any, str]] = {
    "zarr2 of 0": ("zarr", 0, "uint8"),
    "zarr2 of 7": ("zarr", 7, "uint8"),
    "zarr2 of NaN": ("zarr", float("nan"), "float32"),
    "zarr2 of null": ("zarr", None, "uint8"),
    "zarr3 of 0": ("zarr3", 0, "uint16"),
    "zarr3 of 7": ("zarr3", 7, "uint8"),
    "zarr3 of -1": ("zarr3", -1, "float32"),
    "n5": ("n5", 0, "uint8"),
}
WITH_FILL = [name for name, (_, fill, _) in ARRAYS.items() if fill is not None]


class Array:
    """An array in a folder, and the record of the task that wrote it."""

    def __init__(self, folder: Path, driver: str, fill: Any, dtype: str, channels: int = 0):
        self.folder, self.driver, self.fill, self.dtype = folder, driver, fill, dtype
        self.create(folder, channels)
        shape = (*([channels] if channels else []), *BOX.size)
        self.voxels = np.random.default_rng(0).integers(8, 99, shape).astype(dtype)
        for block, value in ((ZEROS, 0), (FILL, fill or 0)):
            self.voxels[(..., *BLOCKS[block].slices(BOX.start))] = value
        self.task = Task()
        volume = open_zarr(f"file://{folder}", driver=driver, order="zyx")  # type: ignore[arg-type]
        assert volume is not None
        self.names = [volume.block_name(block) for block in BLOCKS]
        chunk = Chunk(self.voxels, BOX.start, layer_type="segmentation")
        write_verified(chunk, volume, self.task, SaveZarr(store=f"file://{folder}"))

    def create(self, folder: Path, channels: int = 0) -> Any:
        """An array without blocks, made by another program."""
        shape, chunks = BOX.size, (4, 4, 4)
        if self.driver == "n5":
            metadata = {
                "dimensions": shape[::-1], "blockSize": chunks, "dataType": self.dtype,
                "axes": ["x", "y", "z"], "compression": {"type": "gzip"},
            }  # fmt: skip
            kvstore = {"driver": "file", "path": f"{folder}/"}
            spec = {"driver": "n5", "kvstore": kvstore, "metadata": metadata}
            return tensorstore.open(spec, create=True).result()
        return zarr.create_array(
            folder,
            shape=(*([channels] if channels else []), *shape),
            chunks=(*([1] if channels else []), *chunks),
            dtype=self.dtype,
            fill_value=self.fill,
            zarr_format=3 if self.driver == "zarr3" else 2,
            attributes={"_ARRAY_DIMENSIONS": ["c", "z", "y", "x"][-3 - bool(channels) :]},
            dimension_names=(["c", "z", "y", "x"][-3 - bool(channels) :])
            if self.driver == "zarr3"
            else None,
        )

    def file(self, block: int) -> Path:
        return self.folder / self.names[block]

    def record(self, **fields: Any) -> Record:
        return task_record(str(BOX), **({"written": self.task.written} | fields))

    def check(
        self, quick: bool, **fields: Any
    ) -> tuple[dict[str, tuple[str, ...]], dict[str, int]]:
        """The names of blocks by kind of problem, and what was counted."""
        verifier = Verifier(quick=quick)
        blocks: dict[str, tuple[str, ...]] = {}
        for problem in verifier.check(self.record(**fields)):
            blocks[problem.kind] = (*blocks.get(problem.kind, ()), *problem.blocks)
        return blocks, verifier.tally.counts()


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Array]:
    return lambda name, **options: Array(tmp_path / "array", *ARRAYS[name], **options)


def counted(quick: bool, stored: int, filled: int = 0) -> dict[str, int]:
    counts = {FOUND if quick else COMPARED: stored, FILLED: filled}
    return {what: count for what, count in counts.items() if count}


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", ARRAYS)
def test_a_worker_stores_all_blocks_also_those_of_zeros_and_of_the_fill_value(
    make: Callable[..., Array], name: str, quick: bool
) -> None:
    array = make(name)
    assert all(array.file(block).exists() for block in range(4))
    problems, counts = array.check(quick)
    is_nan = name == "zarr2 of NaN" and not quick
    assert problems == ({"nan": (array.names[FILL],)} if is_nan else {})
    assert counts == counted(quick, 4)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", ARRAYS)
def test_a_deleted_block_is_missing(make: Callable[..., Array], name: str, quick: bool) -> None:
    array = make(name)
    for block in (NOISE, MORE_NOISE):
        array.file(block).unlink()
    problems, counts = array.check(quick)
    assert problems["missing"] == (array.names[NOISE], array.names[MORE_NOISE])
    assert counts == counted(quick, 2)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", ARRAYS)
def test_a_block_of_the_fill_value_may_be_absent_and_one_of_zeros_may_not(
    make: Callable[..., Array], name: str, quick: bool
) -> None:
    array = make(name)
    for block in (ZEROS, FILL):
        array.file(block).unlink()
    problems, counts = array.check(quick)
    if array.fill is None:  # then nothing says what an absent block holds
        expected, filled = (array.names[ZEROS], array.names[FILL]), 0
    elif array.fill == 0:
        expected, filled = (), 2
    else:
        expected, filled = (array.names[ZEROS],), 1
    assert problems.get("missing", ()) == expected
    assert problems.keys() <= {"missing", "nan"}
    assert counts == counted(quick, 2, filled)


@pytest.mark.parametrize("name", [name for name in WITH_FILL if name != "n5"])
def test_what_zarr_python_copies_without_blocks_of_the_fill_value_is_right(
    make: Callable[..., Array], name: str, tmp_path: Path
) -> None:
    array = make(name)
    source = zarr.open_array(array.folder, mode="r")
    copy = array.create(tmp_path / "copy")
    copy[:] = source[:]  # which leaves them out by default
    shutil.rmtree(array.folder)
    (tmp_path / "copy").rename(array.folder)
    assert not array.file(FILL).exists()
    problems, counts = array.check(quick=False)
    assert problems.keys() <= {"nan"}
    filled = 2 if array.fill == 0 else 1
    assert counts == counted(False, 4 - filled, filled)


@pytest.mark.parametrize("name", WITH_FILL)
def test_a_block_that_was_overwritten_by_the_fill_value_is_stale(
    make: Callable[..., Array], name: str
) -> None:
    array = make(name)
    shutil.copyfile(array.file(FILL), array.file(NOISE))
    problems, _ = array.check(quick=False)
    kind = "nan" if name == "zarr2 of NaN" else "stale"
    assert array.names[NOISE] in problems[kind]


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", WITH_FILL)
def test_where_a_task_left_nothing_blocks_are_absent_zero_or_of_the_fill_value(
    make: Callable[..., Array], name: str, quick: bool
) -> None:
    array = make(name)
    first = array.task.written[0]
    empty = Written(first.volume, 0, str(BOX), empty=True, driver=first.driver, order=first.order)
    for block in (NOISE, FILL):
        array.file(block).unlink()
    problems, counts = array.check(quick, written=[empty])
    assert problems == {"stale": (array.names[MORE_NOISE],)}
    assert counts == {EMPTY: 3}


def test_of_several_channels_one_may_be_absent(make: Callable[..., Array]) -> None:
    array = make("zarr3 of 7", channels=2)
    assert array.check(quick=False) == ({}, counted(False, 4))
    place = array.file(FILL).relative_to(array.folder / "c")
    (array.folder / "c" / "1" / Path(*place.parts[1:])).unlink()
    for quick in (False, True):
        assert array.check(quick) == ({}, counted(quick, 3, 1))
    (array.folder / "c" / "1" / array.file(NOISE).relative_to(array.folder / "c" / "0")).unlink()
    for quick in (False, True):
        assert array.check(quick)[0] == {"missing": (array.names[NOISE],)}
