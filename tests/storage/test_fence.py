from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chunkflow_worker.errors import LeaseLost
from chunkflow_worker.storage.fence import Fence, before_write, fenced
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.local_file import atomic_file
from chunkflow_worker.volumes.volume import Volume, blocks_of
from chunkflow_worker.volumes.zarr.create import create_zarr
from tests.support.sample import BLOCK, BOUNDS, VOXEL_SIZE, make, noise


def lost() -> None:
    raise LeaseLost("the lease has ended")


def put(folder: Path) -> None:
    Files(str(folder)).put("a", b"1", "text/plain")


def put_all(folder: Path) -> None:
    Files(str(folder)).put_all({"a": b"1"}, "text/plain")


def write_file(folder: Path) -> None:
    with atomic_file(folder / "a") as part:
        part.write_bytes(b"1")


WRITERS: dict[str, Callable[[Path], None]] = {"put": put, "put_all": put_all, "file": write_file}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_nothing_is_written_after_the_lease(write: Callable[[Path], None], tmp_path: Path) -> None:
    fence = Fence(lost)
    with fenced(fence), pytest.raises(LeaseLost):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fence.writes == 0
    fence = Fence(lambda: None)
    with fenced(fence):
        write(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert fence.writes == 1


def test_nothing_is_deleted_after_the_lease(tmp_path: Path) -> None:
    put(tmp_path)
    with fenced(Fence(lost)), pytest.raises(LeaseLost):
        Files(str(tmp_path)).delete("a")
    assert (tmp_path / "a").exists()


def make_zarr(path: str) -> Volume:
    return create_zarr(
        path,
        driver="zarr3",
        bounds=BOUNDS,
        voxel_size=VOXEL_SIZE,
        block_size=BLOCK,
        dtype="uint8",
        channels=0,
    )


@pytest.mark.parametrize("make_volume", [make, make_zarr])
def test_no_block_is_written_after_the_lease(
    make_volume: Callable[[str], Volume], path: str
) -> None:
    volume = make_volume(path)
    with fenced(Fence(lost)), pytest.raises(LeaseLost):
        volume.write(BOUNDS, noise(BOUNDS))
    assert len(volume.missing(BOUNDS)) == len(list(blocks_of(volume, BOUNDS)))


def test_an_upload_stops_when_the_lease_ends(unique_name: str) -> None:
    volume = make(f"mem://{unique_name}")
    leases = iter([None] * 6)

    def check() -> None:
        if next(leases, lost) is lost:
            lost()

    fence = Fence(check)
    with fenced(fence), pytest.raises(LeaseLost):
        volume.write(BOUNDS, noise(BOUNDS))
    assert fence.writes == 6
    assert len(volume.missing(BOUNDS)) == 27 - 6


def test_each_block_is_let_through(unique_name: str) -> None:
    volume, array, fence = make(f"mem://{unique_name}"), noise(BOUNDS), Fence(lambda: None)
    with fenced(fence):
        volume.write(BOUNDS, array)
    assert (volume.read(BOUNDS) == array).all()
    assert fence.writes == 27


def test_without_a_fence_writes_are_free() -> None:
    before_write()
