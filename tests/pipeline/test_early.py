from __future__ import annotations

import gc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any
from weakref import ref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import BoxNotAligned, ChunkflowError, StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.save_volume import SaveVolume
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.early import EarlyWrites
from chunkflow_worker.pipeline.operator import EarlyStep, Run
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.pipeline.volume_step import VolumeStep
from chunkflow_worker.storage.fence import Fence, fenced
from chunkflow_worker.volumes.block_cache import block_cache, read_cached
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from chunkflow_worker.volumes.volume import CheckedVolume

BOUNDS = BoundingBox.parse("2-16_0-8_0-20")
BLOCK = Vec3(4, 8, 8)
FORMATS = ("precomputed", "zarr3", "n5")

# Two patches of noise come first, then the three of the box.
NET = """
import os, time

class PatchInferencer:
    def __init__(self, weights, mask):
        self.patches = 0

    def __call__(self, patches):
        self.patches += 1
        end = time.monotonic() + 30
        while self.patches == {last} and not os.path.exists({block!r}):
            if time.monotonic() > end:
                raise RuntimeError("the first block was not written")
            time.sleep(0.01)
        if self.patches == {fails}:
            raise RuntimeError("a broken net")
        return patches * 0.5
"""


class Place:
    """A folder with an input, and an output whose blocks are not written."""

    def __init__(self, folder: Path, store: str = "precomputed", dtype: str = "uint8"):
        self.folder, self.store = folder, store
        self.input = self.create("in", "precomputed", "uint8")
        self.output = self.create("out", store, dtype)
        noise = np.random.default_rng(0).integers(1, 255, BOUNDS.size, np.uint8)
        self.input.write(BOUNDS, noise)

    def create(self, name: str, store: str, dtype: str) -> CheckedVolume:
        path = f"{store}://file://{self.folder}/{name}"
        sizes: dict[str, Any] = {"bounds": BOUNDS, "block_size": BLOCK, "voxel_size": (40, 8, 8)}
        create_volume(path, dtype=dtype, **sizes)
        return open_volume(f"{path}" if store == "precomputed" else path, output=True)

    def chain(
        self, last: int = 0, fails: int = 0, between: dict[str, Any] | None = None, **options: Any
    ) -> Pipeline:
        """load, a net, and save. last: the patch that waits until a block is stored."""
        first = next(iter(self.blocks))
        block = f"{self.output.path.removeprefix('file://')}/{self.output.block_name(first)}"
        (self.folder / "net.py").write_text(NET.format(last=last, block=block, fails=fails))
        net = {
            "op": "inference",
            "framework": "universal",
            "convnet_model": str(self.folder / "net.py"),
            "input_patch_size": [6, 8, 20],
            "output_patch_overlap": [2, 0, 0],
            "num_output_channels": 1,
            "mask_output_chunk": True,
            "dtype": "uint8",
        }
        load = {"op": "load-volume", "volume_path": self.input.path}
        save = {"op": "save-volume", "volume_path": self.output.path, "name": "save"} | options
        return Pipeline.parse({"operators": [load, net, *([between] if between else []), save]})

    @property
    def blocks(self) -> list[BoundingBox]:
        return list(BOUNDS.split(BLOCK))


@pytest.mark.parametrize("store", FORMATS)
def test_the_first_blocks_are_stored_before_the_last_patch_is_computed(
    tmp_path: Path, store: str
) -> None:
    place = Place(tmp_path, store)
    task = Task(BOUNDS)
    with place.chain(last=5).open() as opened:
        opened.run(task)
    expected = np.rint(place.input.read(BOUNDS) / 255 * 0.5 * 255).astype(np.uint8)
    assert np.allclose(place.output.read(BOUNDS), expected, atol=1)


@pytest.mark.parametrize("store", FORMATS)
def test_the_record_is_the_same_as_without(tmp_path: Path, store: str) -> None:
    place = Place(tmp_path, store)
    tasks = []
    for between in (None, {"op": "copy-var", "from_name": "chunk", "to_name": "other"}):
        tasks.append(Task(BOUNDS))
        with place.chain(between=between).open() as opened:
            opened.run(tasks[-1])
    (early,), (late,) = (task.written for task in tasks)
    assert early.blocks == late.blocks
    assert len(early.blocks.split()) == len(place.blocks)
    assert replace(early, stored=late.stored) == late
    assert tasks[0].bytes_written == tasks[1].bytes_written == BOUNDS.voxels


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[EarlyWrites | None]:
    """What the steps that save give for each task."""
    found, early = list[EarlyWrites | None](), VolumeStep.early

    def keep(step: VolumeStep, task: Task) -> EarlyWrites | None:
        found.append(early(step, task))
        return found[-1]

    monkeypatch.setattr(VolumeStep, "early", keep)
    return found


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Counter[BoundingBox]:
    """Boxes that are being written to precomputed volumes: 0 for those that are written."""
    found, write = Counter[BoundingBox](), PrecomputedVolume.write

    def count(volume: PrecomputedVolume, box: BoundingBox, array: Any) -> list[str]:
        found[box] += 1
        try:
            return write(volume, box, array)
        finally:
            found[box] -= 1

    monkeypatch.setattr(PrecomputedVolume, "write", count)
    return found


def test_nothing_is_being_written_after_a_task_has_failed(
    tmp_path: Path, writes: Counter[BoundingBox]
) -> None:
    place = Place(tmp_path)
    writes.clear()  # of the input
    task = Task(BOUNDS)
    chain = place.chain(last=5, fails=5)  # fails when the first block is there
    with chain.open() as opened, pytest.raises(ChunkflowError, match="broken net"):
        opened.run(task)
    assert writes
    assert set(writes.values()) == {0}
    assert task.written == []


def test_a_write_that_failed_is_an_error_of_the_operator_that_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)

    def write(self: Any, box: BoundingBox, array: Any) -> list[str]:
        raise StorageUnavailable("the disk is gone")

    with place.chain().open() as opened:
        monkeypatch.setattr(type(place.output), "write", write)
        with pytest.raises(StorageUnavailable, match=r"^save on .*: the disk is gone"):
            opened.run(Task(BOUNDS))


def test_no_block_is_written_after_the_lease_has_ended(tmp_path: Path) -> None:
    place, asked = Place(tmp_path), Event()

    def refuse() -> None:
        asked.set()
        raise StorageUnavailable("the lease has ended")

    with (
        place.chain().open() as opened,
        fenced(Fence(refuse)),
        pytest.raises(StorageUnavailable, match="the lease has ended"),
    ):
        opened.run(Task(BOUNDS))
    assert asked.is_set()
    assert len(place.output.missing(BOUNDS)) == len(place.blocks)


NOT_EARLY: dict[str, dict[str, Any]] = {
    "a threshold on all voxels": {"intensity_threshold": 3},
    "a scale": {"scale": [0, 100]},
}


@pytest.mark.parametrize("options", NOT_EARLY.values(), ids=NOT_EARLY)
def test_a_chunk_that_must_be_whole_is_not_written_early(
    tmp_path: Path, options: dict[str, Any], made: list[EarlyWrites | None]
) -> None:
    place = Place(tmp_path)
    with place.chain(**options).open() as opened:
        opened.run(Task(BOUNDS))
    assert made == [None]
    assert place.output.missing(BOUNDS) == []


def test_a_second_volume_is_written_too(tmp_path: Path) -> None:
    place = Place(tmp_path)
    second = place.create("second", "zarr3", "uint8")
    first = place.chain().dump()
    save = {"op": "save-volume", "volume_path": second.path}
    with Pipeline.parse({"operators": [*first["operators"], save]}).open() as opened:
        opened.run(Task(BOUNDS))
    assert np.array_equal(place.output.read(BOUNDS), second.read(BOUNDS))
    assert second.missing(BOUNDS) == []


def test_the_chunk_of_a_task_that_is_done_is_not_kept(tmp_path: Path) -> None:
    gc.disable()  # it would find what only a circle of references keeps
    try:
        task = Task(BOUNDS)
        with Place(tmp_path).chain().open() as opened:
            opened.run(task)
            chunk = ref(task.values["chunk"].array)
            del task
            assert chunk() is None
    finally:
        gc.enable()


def test_nothing_is_written_early_in_a_dry_run(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with place.chain().open(dry_run=True) as opened:
        opened.run(Task(BOUNDS))
    assert len(place.output.missing(BOUNDS)) == len(place.blocks)


def test_values_of_another_type_are_converted_as_a_whole(
    tmp_path: Path, writes: Counter[BoundingBox]
) -> None:
    place = Place(tmp_path, dtype="float32")
    writes.clear()  # of the input
    with place.chain().open() as opened:
        opened.run(Task(BOUNDS))
    assert list(writes) == [BOUNDS]
    assert place.output.read(BOUNDS).max() <= 1


def test_a_box_that_shares_blocks_is_refused_before_any_is_written(tmp_path: Path) -> None:
    place = Place(tmp_path)
    box = BoundingBox.parse("2-15_0-8_0-20")
    with place.chain().open() as opened, pytest.raises(BoxNotAligned):
        opened.run(Task(box))
    assert len(place.output.missing(BOUNDS)) == len(place.blocks)


def early_writes(place: Place) -> tuple[EarlyWrites, Task]:
    task = Task(BOUNDS)
    with SaveVolume(volume_path=place.output.path).open(Run(lambda box, bounds: box)) as step:
        assert isinstance(step, EarlyStep)
        made = step.early(task)
    assert made is not None
    return made, task


@given(
    stops=st.lists(st.integers(BOUNDS.start.z, BOUNDS.stop.z), max_size=6).map(sorted),
    seed=st.integers(0, 2**32 - 1),
)
def test_all_blocks_have_the_values_of_the_whole_chunk(
    tmp_path_factory: pytest.TempPathFactory, stops: list[int], seed: int
) -> None:
    place = Place(tmp_path_factory.mktemp("volumes"))
    early, _ = early_writes(place)
    final = np.random.default_rng(seed).integers(0, 255, BOUNDS.size, np.uint8)
    array = np.zeros_like(final)
    chunk = Chunk(array, BOUNDS.start, (40, 8, 8))
    for stop in stops:
        array[: stop - BOUNDS.start.z] = final[: stop - BOUNDS.start.z]
        early.finished(chunk, stop, lambda: None)
    array[:] = final
    sums = early.write(BOUNDS, array)
    assert np.array_equal(place.output.read(BOUNDS), final)
    assert sums == place.output.write(BOUNDS, final)


def test_sections_that_are_computed_again_replace_those_before(tmp_path: Path) -> None:
    place = Place(tmp_path)
    early, _ = early_writes(place)
    for value in (1, 2):
        array = np.full(BOUNDS.size, value, np.uint8)
        early.finished(Chunk(array, BOUNDS.start, (40, 8, 8)), 6, lambda: None)
    sums = early.write(BOUNDS, array)
    assert place.output.read(BOUNDS).min() == 2
    assert sums == place.output.write(BOUNDS, array)


def test_a_layer_is_written_when_its_sections_have_left_the_device(tmp_path: Path) -> None:
    place, left = Place(tmp_path), Event()
    early, _ = early_writes(place)
    array = np.zeros(BOUNDS.size, np.uint8)

    def arrive() -> None:
        assert left.wait(30)
        array[:] = 7

    early.finished(Chunk(array, BOUNDS.start, (40, 8, 8)), BOUNDS.stop.z, arrive)
    left.set()
    early.write(BOUNDS, array)
    assert np.unique(place.output.read(BOUNDS)).tolist() == [7]


def test_blocks_that_were_read_before_are_forgotten_although_the_task_fails(tmp_path: Path) -> None:
    place, begun = Place(tmp_path), Event()
    place.output.write(BOUNDS, np.zeros(BOUNDS.size, np.uint8))
    first = next(iter(place.blocks))
    read_cached(place.output, first, block_cache())
    early, _ = early_writes(place)
    ones = Chunk(np.ones(BOUNDS.size, np.uint8), BOUNDS.start, (40, 8, 8))
    early.finished(ones, first.stop.z, begun.set)
    assert begun.wait(30)
    early.wait()
    read, _ = read_cached(place.output, first, block_cache())
    assert np.unique(read).tolist() == [1]
