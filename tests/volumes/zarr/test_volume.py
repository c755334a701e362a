"""Arrays of tensorstore as volumes; tests/operators has arrays of other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import boto3
import numpy as np
import pytest
import zarr

from chunkflow_worker.errors import (
    BlockDamaged,
    BoxNotAligned,
    BoxOutsideVolume,
    ChunkMismatch,
    ConfigError,
    DataMissing,
)
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.zarr.create import create_zarr
from chunkflow_worker.volumes.zarr.metadata import Driver
from chunkflow_worker.volumes.zarr.volume import ZarrVolume, open_level, open_zarr
from tests.support.sample import BLOCK, BOUNDS, noise

VOXEL_SIZE = (40.0, 8.0, 7.16)
Make = Callable[..., ZarrVolume]


def make(
    path: str, driver: Driver = "zarr3", dtype: str = "uint8", channels: int = 0
) -> ZarrVolume:
    return create_zarr(
        path,
        driver=driver,
        bounds=BOUNDS,
        voxel_size=VOXEL_SIZE,
        block_size=BLOCK,
        dtype=dtype,
        channels=channels,
    )


@pytest.mark.parametrize("driver", ["zarr", "zarr3", "n5"])
@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 0), ("float32", 3), ("uint64", 1)])
def test_what_is_written_is_read_back(path: str, driver: Driver, dtype: str, channels: int) -> None:
    array = noise(BOUNDS, max(channels, 1), dtype)
    make(path, driver, dtype, channels).write(BOUNDS, array)
    volume = open_zarr(path)
    assert volume is not None
    assert volume.path == f"{path}/{'s0' if driver == 'n5' else '0'}"
    assert (volume.bounds, volume.block_size, volume.voxel_size) == (BOUNDS, BLOCK, VOXEL_SIZE)
    assert (volume.dtype, volume.channels) == (dtype, max(channels, 1))
    assert np.array_equal(volume.read(BOUNDS), array)
    part = BoundingBox.parse("0-5_20-49_31-33")
    assert np.array_equal(volume.read(part), array[(..., *part.slices(BOUNDS.start))])


def test_missing_blocks_are_an_error_unless_filled(path: str) -> None:
    volume = make(path)
    first = BoundingBox.sized(BOUNDS.start, BLOCK)
    volume.write(first, np.zeros(first.size, np.uint8))
    assert volume.missing(first) == [], "zeros are stored"
    missing = volume.missing(BOUNDS)
    assert len(missing) == 3 * 3 * 3 - 1
    # As a grid of whole blocks; the last one of an axis ends where the volume ends.
    assert (missing[0], missing[-1]) == ("-3-5_10-26_32-64", "13-17_42-50_64-70")
    text = "lacks 26 blocks of box -3-17_10-50_0-70, for example -3-5_10-26_32-64"
    with pytest.raises(DataMissing, match=text):
        volume.read(BOUNDS)
    filled = open_zarr(path, fill_missing=True)
    assert filled is not None
    assert not filled.read(BOUNDS).any()


def test_boxes_and_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    volume = make(f"file://{tmp_path}/em")
    with pytest.raises(BoxNotAligned, match="nearest box of whole blocks is -3-5_10-26_0-32"):
        volume.write(box := BoundingBox.parse("-3-5_10-26_0-31"), noise(box))
    outside = BOUNDS.shift((8, 0, 0))
    with pytest.raises(BoxOutsideVolume, match=f"box {outside} is not inside"):
        volume.write(outside, noise(outside))
    with pytest.raises(BoxOutsideVolume):
        volume.read(outside)
    with pytest.raises(ChunkMismatch, match=r"takes 1 channels of \[20, 40, 70\], and got \[2, "):
        volume.write(BOUNDS, noise(BOUNDS, 2))
    assert len(volume.missing(BOUNDS)) == 27, "nothing was written"


@pytest.mark.parametrize("axes", [("t", "z", "y", "x"), ("y", "t", "x", "z"), ("x", "y", "z", "t")])
def test_axes_of_one_voxel_are_dropped_and_the_others_turned(
    tmp_path: Path, axes: tuple[str, ...]
) -> None:
    array = noise(BoundingBox.parse("0-4_0-5_0-6"))
    stored = array[..., np.newaxis].transpose(["zyxt".index(axis) for axis in axes])
    made = zarr.create_array(
        f"{tmp_path}/a", shape=stored.shape, dtype="u1", dimension_names=axes, zarr_format=3
    )
    made[:] = stored
    volume = open_zarr(f"{tmp_path}/a")
    assert volume is not None
    assert np.array_equal(volume.read(volume.bounds), array)


@pytest.mark.parametrize(
    ("axes", "dtype", "text"),
    [
        (
            ("t", "z", "y", "x"),
            "u1",
            "has 2 time points, .* choose it with load-zarr --time-point 0 to 1",
        ),
        (("a", "z", "y", "x"), "u1", r"has axes a z y x of \[2, 3, 4, 5\] voxels"),
        (("c", "z", "y", "w"), "u1", "a chunk has z, y, x and at most channels: store the part"),
        (("c", "z", "y", "x"), "c8", "holds complex64, and a chunk holds integers, floats or"),
    ],
)
def test_an_array_that_is_no_chunk_is_refused(
    tmp_path: Path, axes: tuple[str, ...], dtype: str, text: str
) -> None:
    zarr.create_array(
        f"{tmp_path}/a", shape=(2, 3, 4, 5), dtype=dtype, dimension_names=axes, zarr_format=3
    )
    with pytest.raises(ChunkMismatch, match=text):
        open_zarr(f"{tmp_path}/a")


def test_an_array_is_found_by_its_name_its_format_or_as_the_finest(tmp_path: Path) -> None:
    for mip in (1, 0):
        create_zarr(
            f"{tmp_path}/em",
            mip,
            driver="zarr3",
            bounds=BOUNDS,
            voxel_size=(40.0, 8.0 * 2**mip, 8.0 * 2**mip),
            block_size=BLOCK,
            dtype="uint8",
            layer_type="segmentation",
        )
    finest, coarse = open_zarr(f"{tmp_path}/em"), open_zarr(f"{tmp_path}/em", "1")
    itself = open_zarr(f"{tmp_path}/em/1")
    assert finest is not None
    assert coarse is not None
    assert itself is not None
    assert (finest.path, coarse.path) == (f"file://{tmp_path}/em/0", f"file://{tmp_path}/em/1")
    assert (finest.voxel_size, coarse.voxel_size) == ((40, 8, 8), (40, 16, 16))
    assert (itself.bounds, itself.voxel_size) == (coarse.bounds, coarse.voxel_size)
    assert finest.layer_type == itself.layer_type == "segmentation"
    assert open_zarr(f"{tmp_path}/em", "2") is None
    assert open_zarr(f"{tmp_path}/em", driver="n5") is None
    assert open_zarr(f"{tmp_path}/none") is None


def test_a_given_voxel_size_keeps_the_first_voxel(tmp_path: Path) -> None:
    make(f"file://{tmp_path}/em")
    volume = open_zarr(f"{tmp_path}/em", voxel_size=(10.0, 20.0, 30.0))
    assert volume is not None
    assert (volume.voxel_size, volume.bounds) == ((10.0, 20.0, 30.0), BOUNDS)


def test_damaged_blocks_and_metadata_have_errors_of_their_own(tmp_path: Path) -> None:
    volume = make(f"file://{tmp_path}/em")
    volume.write(BOUNDS, noise(BOUNDS))
    block = tmp_path / "em" / "0" / "c" / "0" / "0" / "0"
    block.write_bytes(block.read_bytes()[:20])
    with pytest.raises(BlockDamaged, match="em/0: "):
        volume.read(BoundingBox.sized(BOUNDS.start, Vec3(1, 1, 1)))
    file = tmp_path / "em" / "0" / "zarr.json"
    file.write_text(file.read_text().replace("blosc", "magic"))
    with pytest.raises(ConfigError, match=r"em/0: zarr.json: its compression .*: magic\n.*zstd"):
        open_zarr(f"{tmp_path}/em")


def test_an_array_without_z_is_one_section(tmp_path: Path) -> None:
    stored = np.arange(20, dtype=np.uint8).reshape(4, 5)
    for name, axes, array in (("a", "yx", stored), ("b", "xy", stored.T)):
        zarr.create_array(f"{tmp_path}/{name}", data=array, dimension_names=list(axes))
        volume = open_zarr(f"{tmp_path}/{name}")
        assert volume is not None
        assert volume.bounds == BoundingBox.parse("0-1_0-4_0-5")
        assert np.array_equal(volume.read(volume.bounds), stored[np.newaxis])


def test_a_time_point_is_chosen(tmp_path: Path) -> None:
    stored = noise(BoundingBox.parse("0-4_0-5_0-6"), 3)
    zarr.create_array(f"{tmp_path}/a", data=stored, dimension_names=[*"tzyx"])
    for i in range(3):
        volume = open_zarr(f"{tmp_path}/a", time_point=i)
        assert volume is not None
        assert np.array_equal(volume.read(volume.bounds), stored[i])
    with pytest.raises(ChunkMismatch, match="has no time point 3: the last one is 2"):
        open_zarr(f"{tmp_path}/a", time_point=3)


def test_shards_are_the_blocks_that_are_written(tmp_path: Path) -> None:
    array = noise(BoundingBox.parse("0-8_0-12_0-16"))
    made = zarr.create_array(
        f"{tmp_path}/a", shape=array.shape, chunks=(2, 2, 2), shards=(4, 4, 4), dtype="u1"
    )
    made[:] = array
    volume = open_zarr(f"{tmp_path}/a")
    assert volume is not None
    assert volume.block_size == Vec3(4, 4, 4)
    assert np.array_equal(volume.read(volume.bounds), array)
    Path(tmp_path, "a", "c", "0", "1", "2").unlink()
    with pytest.raises(DataMissing, match=r"lacks 1 blocks of .*, for example 0-4_4-8_8-12"):
        volume.read(volume.bounds)


def test_a_bucket_may_be_a_store(aws: dict[str, str], unique_name: str) -> None:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    make(f"s3://{unique_name}").write(BOUNDS, noise(BOUNDS))
    keys = {o["Key"] for o in boto3.client("s3").list_objects_v2(Bucket=unique_name)["Contents"]}
    assert {"zarr.json", "0/zarr.json"} <= keys
    volume = open_zarr(f"s3://{unique_name}")
    assert volume is not None
    assert np.array_equal(volume.read(BOUNDS), noise(BOUNDS))


def test_multiscales_of_another_number_of_axes_are_told(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a", zarr_format=2)
    group.create_array("0", shape=(2, 3, 4), dtype="u1")
    group.attrs["multiscales"] = [{"axes": ["y", "x"], "datasets": [{"path": "0"}]}]
    with pytest.raises(ChunkMismatch, match=r"\[2, 3, 4\] voxels, .* names 2 axes: y x; correct"):
        open_zarr(f"{tmp_path}/a")


@pytest.mark.parametrize(("driver", "version"), [("zarr", 2), ("zarr3", 3)])
def test_an_array_of_several_time_points_is_not_written(
    tmp_path: Path, driver: Driver, version: int
) -> None:
    named = {"dimension_names": list("tzyx")} if version == 3 else {}
    made = zarr.create_array(
        tmp_path / "a", shape=(2, 3, 4, 5), dtype="u1", zarr_format=version, **named
    )
    made.attrs["_ARRAY_DIMENSIONS"] = list("tzyx")
    with pytest.raises(ChunkMismatch, match="has 2 time points, and only an array of one"):
        open_level(str(tmp_path), "a", driver)
