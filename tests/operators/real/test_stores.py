"""Each format of volumes is an equal citizen: real voxels written, read, masked and skipped by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import yaozarrs
import zarr
from cloudvolume import CloudVolume
from yaozarrs import validate_zarr_store

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.image.pyramid import downsample
from chunkflow_worker.volumes.open_volume import open_volume
from tests.support.stores import STORES, Store

OFFSET, SIZE = Vec3(-7, 11, -30), (33, 50, 70)  # no block divides them
BOUNDS = BoundingBox.sized(OFFSET, SIZE)
BLOCK, SHARD, CHUNK = "8 16 16", "16 32 32", "16 32 32"


def cloudvolume(path: str) -> np.ndarray:
    return np.asarray(CloudVolume(path, progress=False)[:])[..., 0].T


def by_tensorstore(driver: str, path: str, key: str = "") -> np.ndarray:
    kvstore = {"driver": "file", "path": f"{Path(path.removeprefix('file://')) / key}/"}
    array = tensorstore.open({"driver": driver, "kvstore": kvstore}).result()
    stored: np.ndarray = array.read().result()
    return stored


def sharded_precomputed(path: str) -> np.ndarray:
    theirs = cloudvolume(path)
    assert np.array_equal(by_tensorstore("neuroglancer_precomputed", path)[..., 0].T, theirs)
    return theirs


def ome_zarr(path: str) -> np.ndarray:
    validate_zarr_store(path.removeprefix("file://"))
    array: np.ndarray = zarr.open_array(f"{path.removeprefix('file://')}/0", mode="r")[:]
    return array


def ome_zarr3(path: str) -> np.ndarray:
    assert np.array_equal(by_tensorstore("zarr3", path, "0"), ome_zarr(path))
    return ome_zarr(path)


def n5(path: str) -> np.ndarray:
    return by_tensorstore("n5", path, "s0").T


THEIRS: dict[str, Callable[[str], np.ndarray]] = {
    "precomputed": cloudvolume,
    "precomputed in shards": sharded_precomputed,
    "compressed_segmentation": cloudvolume,
    "OME-Zarr 0.4": ome_zarr,
    "OME-Zarr 0.5": ome_zarr3,
    "OME-Zarr 0.5 in shards": ome_zarr3,
    "N5": n5,
}
"""Reads the finest level by other programs."""


@pytest.fixture(params=STORES)
def name(request: pytest.FixtureRequest) -> str:
    """Of the format."""
    return str(request.param)


@pytest.fixture
def store(name: str) -> Store:
    return STORES[name]


def create(chunkflow: Any, store: Store, path: str, dtype: str = "uint32") -> str:
    """Create a volume of these bounds. Returns its address."""
    address, options = store.address(path), "-t segmentation -d uint32"
    if dtype == "uint8":
        options = "-t image -d uint8"
    elif store.holds_ids_only:
        options += f" -e {store.encoding}"
    if store.is_sharded:
        options += f" --shard-size {SHARD}"
    place = f"-z {' '.join(map(str, SIZE))} -o {' '.join(map(str, OFFSET))} -s 10 10 10"
    chunkflow(f"create-volume -v {address} {place} -b {BLOCK} {options}")
    return address


@pytest.mark.shows("create-volume", "save-volume", "load-volume")
def test_it_holds_what_the_tasks_write(
    chunkflow: Any, pieces: Any, tmp_path: Path, name: str, store: Store
) -> None:
    address = create(chunkflow, store, f"file://{tmp_path}/a")
    array = pieces.array[tuple(slice(0, n) for n in SIZE)]
    np.save(tmp_path / "seg.npy", array)
    load = f"load-npy -f seg.npy --voxel-offset {' '.join(map(str, OFFSET))}"
    size = "--voxel-size 10 10 10 -l segmentation"
    said = chunkflow(
        f"generate-tasks -v {address} -c {CHUNK}", f"{load} {size}", f"save-volume -v {address}"
    )
    assert "done 18 of 18" in said
    assert np.array_equal(THEIRS[name](f"file://{tmp_path}/a"), array)
    chunkflow(f"load-volume -v {address}", "save-npy -f read.npy")
    assert np.array_equal(np.load("read.npy"), array)
    # Without its format, the address is of the same volume.
    chunkflow(f"load-volume -v file://{tmp_path}/a", "save-npy -f detected.npy")
    assert np.array_equal(np.load("detected.npy"), array)


@pytest.mark.shows("skip-task-by-blocks-in-volume", "mask")
def test_it_masks_and_tells_which_tasks_are_done(
    chunkflow: Any, raw: Any, tmp_path: Path, store: Store
) -> None:
    address = create(chunkflow, store, f"file://{tmp_path}/a", "uint8")
    array = (raw.array[tuple(slice(0, n) for n in SIZE)] > 120).astype(np.uint8)
    np.save(tmp_path / "mask.npy", array)
    where = " ".join(map(str, OFFSET))
    load = f"load-npy -f mask.npy --voxel-offset {where} -l image"
    grid = f"generate-tasks -b {BoundingBox.sized(OFFSET, (16, 50, 70))} -c {CHUNK}"
    chunkflow(grid, f"{load} --voxel-size 10 10 10", f"save-volume -v {address}")
    random = "create-chunk -p random -e 10 10 10"
    mask = f"mask -v {address} -m 0 --fill-missing"
    skip = f"skip-task-by-blocks-in-volume -v {address}"
    said = chunkflow(
        f"generate-tasks -v {address} -c {CHUNK}", skip, random, mask, "save-npy -f rest/"
    )
    assert said.count("all blocks are in") == 6
    rest = [np.load(path) for path in Path("rest").iterdir()]
    assert len(rest) == 12
    assert not any(chunk.any() for chunk in rest), "no block of the mask is stored there"
    chunkflow(f"create-bbox -s {where} -z 16 50 70", random, mask, "save-npy -f half.npy")
    kept = np.load("half.npy") != 0
    assert not kept[array[:16] == 0].any()
    assert kept[array[:16] != 0].mean() > 0.9


@pytest.mark.shows("downsample-upload")
def test_it_gets_a_pyramid_of_three_levels(
    chunkflow: Any, raw: Any, tmp_path: Path, store: Store
) -> None:
    address = create(chunkflow, store, f"file://{tmp_path}/a", "uint8")
    array = raw.array[tuple(slice(0, n) for n in SIZE)]
    np.save(tmp_path / "raw.npy", array)
    load = f"load-npy -f raw.npy --voxel-offset {' '.join(map(str, OFFSET))} -l image"
    fine = f"{load} --voxel-size 10 10 10"
    pyramid = f"downsample-upload -v {address} -f 1 2 2 -s 0 -p 3"
    # Along y and x, the start is no multiple of 4, so that only whole sections are whole blocks.
    chunkflow(f"generate-tasks -v {address} -c 16 50 70", fine, pyramid)
    for mip in range(3):
        stored = open_volume(address, mip)
        assert stored.voxel_size == (10, 10 * 2**mip, 10 * 2**mip)
        assert stored.bounds == BOUNDS.downsample(Vec3(1, 2**mip, 2**mip))
        chunkflow(f"load-volume -v {address} -m {mip}", f"save-npy -f {mip}.npy")
    whole = Chunk(array, OFFSET, (10, 10, 10), "image", BOUNDS)
    for mip in range(3):
        assert np.array_equal(np.load(f"{mip}.npy"), whole.array)
        whole = downsample(whole, Vec3(1, 2, 2))
    if "zarr" in store.name:
        check_places(tmp_path / "a")


def check_places(folder: Path) -> None:
    """The multiscales put the centre of each coarse voxel among those of the fine ones."""
    validate_zarr_store(str(folder))
    datasets = yaozarrs.open_group(str(folder)).ome_metadata().multiscales[0].datasets
    assert [dataset.path for dataset in datasets] == ["0", "1", "2"]
    for mip, dataset in enumerate(datasets):
        scale, translation = dataset.coordinateTransformations
        factor = Vec3(1, 2, 2).power(mip)
        assert scale.scale == list(factor * 10)
        # Readers take it for the centre of the first voxel, also of the finest level.
        corner = np.array(translation.translation) - np.array(scale.scale) / 2 + 5
        assert corner.tolist() == list(BOUNDS.downsample(factor).start * factor * 10)
