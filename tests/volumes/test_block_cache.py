"""Blocks that neighbouring boxes share are read once."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_worker.api import Run, Task
from chunkflow_worker.errors import DataMissing, DataRefused, StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.load_volume import LoadVolume
from chunkflow_worker.operators.save_volume import SaveVolume
from chunkflow_worker.volumes import block_cache
from chunkflow_worker.volumes.block_cache import BlockCache, Reuse, read_cached
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from chunkflow_worker.volumes.volume import Take, Volume, chunks_of
from tests.support.sample import BLOCK, BOUNDS, VOXEL_SIZE, make, noise

FORMATS: dict[str, dict[str, Any]] = {
    "precomputed": {},
    "precomputed in shards": {"shard_size": BLOCK * Vec3(1, 1, 2)},
    "zarr2": {},
    "zarr3": {},
    "zarr3 in shards": {"shard_size": BLOCK * 2},
    "n5": {},
}
BLOCK_BYTES = BLOCK.product


def made(folder: Path, name: str, channels: int = 1) -> tuple[Volume, Any]:
    """A volume of noise, and its voxels."""
    path, array = f"file://{folder}/{name.replace(' ', '-')}", noise(BOUNDS, channels)
    create_volume(
        f"{name.partition(' ')[0]}://{path}", bounds=BOUNDS, voxel_size=VOXEL_SIZE,
        block_size=BLOCK, dtype="uint8", channels=channels, **FORMATS[name],
    )  # fmt: skip
    volume = open_volume(path)
    volume.write(BOUNDS, array)
    return volume, array


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
def test_boxes_are_those_that_the_volume_reads(name: str, channels: int, tmp_path: Path) -> None:
    volume, array = made(tmp_path, name, channels)
    for most in (0, 3 * BLOCK_BYTES, 10**9):
        cached = BlockCache(most)
        for text in ("-3-17_10-50_0-70", "-3-9_12-33_1-65", "0-1_30-31_69-70", "5-17_10-50_32-64"):
            box = BoundingBox.parse(text)
            found, _ = read_cached(volume, box, cached)
            assert np.array_equal(found, array[(..., *box.slices(BOUNDS.start))])
            assert np.array_equal(found, volume.read(box))


def test_blocks_that_boxes_share_are_fetched_once(tmp_path: Path) -> None:
    volume, _ = made(tmp_path, "precomputed")
    asked, cached = counted(volume), BlockCache(10**9)
    left, right = BoundingBox.parse("-3-17_10-50_0-40"), BoundingBox.parse("-3-17_10-50_40-70")
    _, reuse = read_cached(volume, left, cached)
    assert reuse == Reuse(0, 0)
    _, reuse = read_cached(volume, right, cached)
    shared = set(chunks_of(volume, left)) & set(chunks_of(volume, right))
    assert shared
    assert reuse == Reuse(len(shared), sum(block.voxels for block in shared))
    assert sorted(map(str, asked)) == sorted(map(str, chunks_of(volume, BOUNDS)))


def counted(volume: Volume) -> list[BoundingBox]:
    """The blocks that the volume is asked for from now on."""
    asked: list[BoundingBox] = []
    read = volume.read_blocks

    def read_blocks(blocks: Iterable[BoundingBox], take: Take) -> None:
        blocks = list(blocks)
        asked.extend(blocks)
        read(blocks, take)

    volume.read_blocks = read_blocks  # type: ignore[method-assign]
    return asked


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 40), max_size=30), most=st.integers(0, 100))
def test_no_more_is_kept_than_is_allowed(sizes: list[int], most: int) -> None:
    cached, volume = BlockCache(most), make("mem://kept")
    blocks = [BoundingBox.sized((n, 0, 0), (1, 1, size)) for n, size in enumerate(sizes)]
    for block, size in zip(blocks, sizes, strict=True):
        cached.put(volume, block, np.zeros(size, np.uint8))
    kept = [block for block in blocks if cached.get(volume, block) is not None]
    assert sum(block.voxels for block in kept) <= most
    fitting = [block for block in blocks if block.voxels <= most]
    assert kept == fitting[len(fitting) - len(kept) :], "those that were put last"


def test_what_was_used_last_is_kept(tmp_path: Path) -> None:
    volume, _ = made(tmp_path, "precomputed")
    first, second, third = list(chunks_of(volume, BOUNDS))[:3]
    cached = BlockCache(2 * BLOCK_BYTES)
    for block in (first, second, first, third):
        read_cached(volume, block, cached)
    assert cached.get(volume, first) is not None
    assert cached.get(volume, second) is None


def test_absent_blocks_are_an_error_and_not_remembered(tmp_path: Path) -> None:
    volume, array = made(tmp_path, "zarr3")
    (tmp_path / "zarr3" / "0" / "c" / "0" / "0" / "0").unlink()
    cached = BlockCache(10**9)
    with pytest.raises(DataMissing, match="lacks 1 blocks"):
        read_cached(volume, BOUNDS, cached)
    volume.write(BOUNDS, array)
    assert np.array_equal(read_cached(volume, BOUNDS, cached)[0], array)


def test_what_a_task_writes_is_read_anew(run_step: Any, tmp_path: Path) -> None:
    """Also by the tasks after it, in the same process."""
    volume, array = made(tmp_path, "precomputed")
    load, save = LoadVolume(volume_path=volume.path), SaveVolume(volume_path=volume.path)
    with load.open(Run(needed_box=lambda box, _: box)) as step:
        for value in (array, 255 - array):
            run_step(save, chunk=Chunk(value, BOUNDS.start, VOXEL_SIZE))
            for reused in (0, len(list(chunks_of(volume, BOUNDS)))):
                step(task := Task(bbox=BOUNDS))
                assert np.array_equal(task.chunk("chunk").array, value)
                assert (task.blocks_reused, task.bytes_reused > 0) == (reused, reused > 0)


def test_no_more_is_read_than_the_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, _ = made(tmp_path, "precomputed")
    monkeypatch.setattr("chunkflow_worker.storage.largest.usable_bytes", lambda: 100)
    with pytest.raises(DataRefused, match="half of the memory"):
        read_cached(volume, BOUNDS, BlockCache(0))


@pytest.mark.parametrize(("size", "is_read"), [("0", True), ("1MiB", False)])
def test_the_size_is_an_option(
    size: str, is_read: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHUNKFLOW_BLOCK_CACHE", size)
    block_cache.block_cache.cache_clear()
    volume, _ = made(tmp_path, "precomputed")
    with LoadVolume(volume_path=volume.path).open(Run(needed_box=lambda box, _: box)) as step:
        step(Task(bbox=BOUNDS))
        step(task := Task(bbox=BOUNDS))
    assert (task.blocks_reused == 0) is is_read
    block_cache.block_cache.cache_clear()


def test_a_write_that_fails_may_have_changed_blocks(
    run_step: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, array = made(tmp_path, "precomputed")
    load, save = LoadVolume(volume_path=volume.path), SaveVolume(volume_path=volume.path)
    write = PrecomputedVolume.write

    def write_and_fail(*given: Any) -> None:
        write(*given)
        raise StorageUnavailable("the connection broke")

    with load.open(Run(needed_box=lambda box, _: box)) as step:
        step(Task(bbox=BOUNDS))
        monkeypatch.setattr(PrecomputedVolume, "write", write_and_fail)
        with pytest.raises(StorageUnavailable):
            run_step(save, chunk=Chunk(255 - array, BOUNDS.start, VOXEL_SIZE))
        step(task := Task(bbox=BOUNDS))
    assert np.array_equal(task.chunk("chunk").array, 255 - array)


class Slow:
    """A volume whose first fetch begins, and goes on when the other reader has begun its own."""

    def __init__(self, volume: Volume, fails: bool):
        self._volume, self._fails = volume, fails
        self.fetched: list[BoundingBox] = []
        self.begun, self.go_on = Event(), Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._volume, name)

    def read_blocks(self, blocks: Iterable[BoundingBox], take: Take) -> None:
        wanted = list(blocks)
        self.fetched += wanted
        if not self.begun.is_set():
            self.begun.set()
            assert self.go_on.wait(60)
            if self._fails:
                raise StorageUnavailable("away")
        else:
            self.go_on.set()
        self._volume.read_blocks(wanted, take)


@pytest.mark.parametrize("fails", [False, True])
def test_what_another_task_fetches_now_is_fetched_once(fails: bool, tmp_path: Path) -> None:
    """Unless the other one fails: then the task that waited for it fetches the blocks itself."""
    volume, array = made(tmp_path, "precomputed")
    slow, cached = Slow(volume, fails), BlockCache(10**9)
    first, second = BoundingBox.parse("-3-17_10-50_0-64"), BoundingBox.parse("-3-17_10-50_32-70")
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(read_cached, slow, first, cached)  # type: ignore[arg-type]
        assert slow.begun.wait(60)
        other = pool.submit(read_cached, slow, second, cached)  # type: ignore[arg-type]
        found, reuse = other.result(60)
    assert np.array_equal(found, array[second.slices(BOUNDS.start)])
    shared, all_of_first = 9, 18
    if fails:
        assert isinstance(one.exception(), StorageUnavailable)
        assert reuse.blocks == 0
        assert len(slow.fetched) == all_of_first + 9 + shared
    else:
        assert np.array_equal(one.result()[0], array[first.slices(BOUNDS.start)])
        assert reuse.blocks == shared
        assert len(slow.fetched) == len(set(slow.fetched)) == 27
