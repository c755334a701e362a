from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from cloudvolume import CloudVolume
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import (
    BoxNotAligned,
    BoxOutsideVolume,
    ChunkMismatch,
    ConfigError,
    DataMissing,
    StorageFull,
    StorageUnavailable,
)
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.storage.precomputed import PrecomputedVolume
from chunkflow_worker.storage.precomputed_info import create_volume, volume_bounds
from chunkflow_worker.storage.volume import check_aligned
from tests.support.small_disk import NoMount, small_disk

BOUNDS = BoundingBox.parse("-3-17_10-50_0-70")  # 20 x 40 x 70, not a multiple of the blocks
BLOCK = Vec3(8, 16, 32)


@pytest.fixture(params=["file", "s3", "mem"])
def path(request: pytest.FixtureRequest, tmp_path: Path, aws: dict[str, str]) -> Iterator[str]:
    if request.param == "file":
        yield f"file://{tmp_path}/volume"
    elif request.param == "mem":
        yield f"mem://{uuid.uuid4().hex}/volume"
    else:
        bucket = f"bucket-{uuid.uuid4().hex[:8]}"
        boto3.client("s3").create_bucket(Bucket=bucket)
        yield f"s3://{bucket}/volume"


def make(path: str, dtype: str = "uint8", channels: int = 1) -> PrecomputedVolume:
    create_volume(
        path,
        bounds=BOUNDS,
        voxel_size=(40, 7.16, 7.16),
        block_size=BLOCK,
        dtype=dtype,
        channels=channels,
    )
    return PrecomputedVolume(path)


def noise(box: BoundingBox, channels: int = 1, dtype: str = "uint8") -> np.ndarray:
    shape = box.size if channels == 1 else (channels, *box.size)
    return (np.random.default_rng(3).random(shape) * 255).astype(dtype)


@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 1), ("float32", 3), ("uint64", 1)])
def test_what_is_written_is_read_back_by_cloudvolume_itself(
    path: str, dtype: str, channels: int
) -> None:
    volume = make(path, dtype, channels)
    array = noise(BOUNDS, channels, dtype)
    volume.write(BOUNDS, array)
    theirs = np.asarray(CloudVolume(path, progress=False)[:])
    assert np.array_equal(theirs.transpose().reshape(array.shape), array)
    assert np.array_equal(volume.read(BOUNDS), array)
    part = BoundingBox.parse("0-5_20-49_31-33")
    assert np.array_equal(volume.read(part), array[(..., *part.slices(BOUNDS.start))])


def test_the_volume_knows_itself(path: str) -> None:
    volume = make(path)
    assert volume.bounds == BOUNDS == volume_bounds(path)
    assert volume.voxel_size == (40, 7.16, 7.16)
    assert (volume.block_size, volume.dtype, volume.channels, volume.layer_type) == (
        BLOCK,
        np.uint8,
        1,
        "image",
    )


def test_missing_blocks_are_an_error_unless_filled(path: str) -> None:
    volume = make(path)
    first = BoundingBox.sized(BOUNDS.start, BLOCK)
    volume.write(first, noise(first))
    assert volume.missing(first) == []
    assert len(volume.missing(BOUNDS)) == 3 * 3 * 3 - 1
    with pytest.raises(DataMissing, match="lacks"):
        volume.read(BOUNDS)
    filled = PrecomputedVolume(path, fill_missing=True).read(BOUNDS)
    assert np.array_equal(filled[first.slices(BOUNDS.start)], noise(first))
    assert np.count_nonzero(filled) == np.count_nonzero(noise(first))


@pytest.mark.parametrize(
    "box", ["-3-5_10-26_1-33", "-3-4_10-26_0-32", "-3-17_10-50_0-69", "-2-5_10-26_0-32"]
)
def test_boxes_that_share_blocks_with_neighbours_are_refused(path: str, box: str) -> None:
    volume = make(path)
    with pytest.raises(BoxNotAligned, match="nearest box of whole blocks is"):
        volume.write(BoundingBox.parse(box), noise(BoundingBox.parse(box)))
    assert len(volume.missing(BOUNDS)) == 27, "nothing was written"


def test_boxes_outside_and_arrays_of_other_shapes_are_refused(path: str) -> None:
    volume = make(path)
    with pytest.raises(BoxOutsideVolume):
        volume.read(BOUNDS.shift((1, 0, 0)))
    with pytest.raises(ChunkMismatch, match="takes 1 channels"):
        volume.write(BOUNDS, noise(BOUNDS, 2))


def test_absent_volume_and_mip_say_what_to_do(path: str) -> None:
    with pytest.raises(ConfigError, match="chunkflow create-info"):
        PrecomputedVolume(path)
    with pytest.raises(ConfigError, match="no precomputed volume here"):
        volume_bounds(path)
    make(path)
    for opened in (lambda: PrecomputedVolume(path, mip=3), lambda: volume_bounds(path, 3)):
        with pytest.raises(ConfigError, match="the volume has mips 0 to 0"):
            opened()


def test_creating_again_changes_nothing_and_another_volume_is_refused(path: str) -> None:
    make(path).write(BOUNDS, noise(BOUNDS))
    assert np.array_equal(make(path).read(BOUNDS), noise(BOUNDS))
    with pytest.raises(ConfigError, match="another volume lies here already"):
        make(path, "uint16")


def test_further_mips_are_coarser_by_the_factor(path: str) -> None:
    create_volume(
        path,
        bounds=BOUNDS,
        voxel_size=(40, 8, 8),
        block_size=BLOCK,
        dtype="uint8",
        factor=Vec3(1, 2, 2),
        max_mip=2,
    )
    assert PrecomputedVolume(path, 2).voxel_size == (40, 32, 32)
    assert volume_bounds(path, 1).size == (20, 20, 35)


def test_storage_that_cannot_be_reached_is_retryable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    volume = make(f"file://{tmp_path}/volume")
    monkeypatch.setattr(
        volume._volume, "download", lambda box: (_ for _ in ()).throw(ConnectionResetError("reset"))
    )
    with pytest.raises(StorageUnavailable, match="ConnectionResetError: reset"):
        volume.read(BOUNDS)


def test_local_keys_without_a_session_token_are_enough(
    aws: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named defect of the peer: credentials were static keys alone, and no endpoint could be given.

    cloudfiles alone fails with KeyError: AWS_SESSION_TOKEN.
    """
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    assert make(f"s3://{bucket}/volume").bounds == BOUNDS


@given(st.data())
def test_a_box_is_aligned_just_when_no_block_crosses_its_faces(data: st.DataObject) -> None:
    class Volume:
        path, bounds, block_size = "v", BOUNDS, BLOCK

    start = [
        data.draw(st.integers(a, b - 1)) for a, b in zip(BOUNDS.start, BOUNDS.stop, strict=True)
    ]
    stop = [data.draw(st.integers(a + 1, b)) for a, b in zip(start, BOUNDS.stop, strict=True)]
    box = BoundingBox(Vec3(*start), Vec3(*stop))
    blocks = [b for b in BOUNDS.split(BLOCK) if b.clip(box)]
    if all(box.contains(b) for b in blocks):
        check_aligned(Volume(), box)  # type: ignore[arg-type]
    else:
        with pytest.raises(BoxNotAligned) as caught:
            check_aligned(Volume(), box)  # type: ignore[arg-type]
        nearest = BoundingBox.parse(str(caught.value).split("whole blocks is ")[1].split(" ")[0])
        check_aligned(Volume(), nearest)  # type: ignore[arg-type]
        assert nearest.contains(box)


def test_a_full_disk_leaves_no_half_blocks(tmp_path: Path) -> None:
    try:
        with small_disk(tmp_path / "disk", megabytes=1) as disk:
            volume = make(f"file://{disk.path}/volume", "uint64")
            disk.fill(leave=20_000)
            with pytest.raises(
                StorageFull, match=r"disk/volume: OSError: \[Errno 28\] No space left on device"
            ):
                volume.write(BOUNDS, noise(BOUNDS, dtype="float64").view("uint64"))
            assert len(volume.missing(BOUNDS)) == 27, "all blocks"
            assert [
                file
                for file in disk.path.rglob("*")
                if file.is_file() and file.name not in ("info", "provenance", "ballast")
            ] == []
            disk.free()
            whole = np.ones(BOUNDS.size, np.uint64)
            volume.write(BOUNDS, whole)
            assert np.array_equal(volume.read(BOUNDS), whole)
    except NoMount as reason:
        pytest.skip(f"no small disk here: {reason}")


def test_a_kill_leaves_no_half_blocks(tmp_path: Path) -> None:
    """One that passed for a block would be skipped when the job is done again."""
    volume = make(f"file://{tmp_path}/v")
    die = """
import os, sys
import numpy as np
from cloudfiles.interfaces import FileInterface
from chunkflow_worker.storage.precomputed import PrecomputedVolume

def half(self, file_path, content, *args, **kwargs):
    path = self.get_path_to_file(file_path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".gz", "wb") as file:
        file.write(content[: len(content) // 2])
    os._exit(9)

FileInterface.put_file = half
volume = PrecomputedVolume(sys.argv[1])
volume.write(volume.bounds, np.ones(volume.bounds.size, volume.dtype))
"""
    assert (
        subprocess.run(
            [sys.executable, "-c", die, volume.path], timeout=120, check=False
        ).returncode
        == 9
    )
    assert list(tmp_path.rglob("*.gz")), "half of one was written"
    assert len(volume.missing(BOUNDS)) == 27
    image = noise(BOUNDS)
    volume.write(BOUNDS, image)
    assert np.array_equal(volume.read(BOUNDS), image)


@pytest.mark.parametrize(
    ("encoding", "dtype", "channels", "error"),
    [
        ("raw", "int32", 2, 0),
        ("jpeg", "uint8", 1, 6),
        ("png", "uint8", 1, 0),
        ("npz", "float32", 3, 0),
        ("fpzip", "float32", 3, 0),
        ("kempressed", "float32", 3, 1e-5),
        ("compressed_segmentation", "uint64", 1, 0),
        ("compresso", "uint32", 1, 0),
        ("crackle", "uint64", 1, 0),
    ],
)
def test_encodings_give_back_what_was_written(
    tmp_path: Path, encoding: str, dtype: str, channels: int, error: float
) -> None:
    box = BoundingBox.parse("0-8_0-32_0-64")
    z, y, x = np.meshgrid(*(np.arange(n) for n in box.size), indexing="ij")
    smooth = np.stack([(z * 3 + y + x + 10 * c) % 250 for c in range(channels)])
    array = (smooth / 250 if dtype == "float32" else smooth).astype(dtype)
    layer = (
        "segmentation"
        if encoding in ("compressed_segmentation", "compresso", "crackle")
        else "image"
    )
    create_volume(
        f"file://{tmp_path}/v", bounds=box, voxel_size=(40, 8, 8), block_size=Vec3(8, 32, 32), dtype=dtype, channels=channels,
        layer_type=layer, encoding=encoding,
    )  # fmt: skip
    volume = PrecomputedVolume(f"file://{tmp_path}/v")
    volume.write(box, array)
    back = PrecomputedVolume(f"file://{tmp_path}/v").read(box).reshape(array.shape)
    assert back.dtype == dtype
    assert np.abs(back.astype(float) - array.astype(float)).max() <= error
    assert volume.lossless <= (error == 0)


def test_an_encoding_that_cannot_be_read_here_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = BoundingBox.parse("0-8_0-32_0-64")
    options: dict[str, Any] = {
        "bounds": box,
        "voxel_size": (40, 8, 8),
        "block_size": Vec3(8, 32, 32),
        "dtype": "float32",
    }
    create_volume(f"file://{tmp_path}/v", **options, encoding="fpzip")
    monkeypatch.setitem(sys.modules, "fpzip", None)
    absent = r"fpzip: is needed .*\n +pip install \"chunkflow-worker\[codecs\]\""
    with pytest.raises(ConfigError, match=absent):
        PrecomputedVolume(f"file://{tmp_path}/v")
    for encoding in ("fpzip", "kempressed"):
        with pytest.raises(ConfigError, match=absent):
            create_volume(f"file://{tmp_path}/w", **options, encoding=encoding)
    with pytest.raises(
        ConfigError, match="npz_uint8 can be written by CloudVolume, and read by nothing"
    ):
        create_volume(f"file://{tmp_path}/w", **options, encoding="npz_uint8")
    assert not (tmp_path / "w").exists()


def test_a_volume_that_chunkflow_made_is_the_same(tmp_path: Path) -> None:
    """Whole voxel sizes are whole numbers in the info, and so in the names of folders."""
    theirs = CloudVolume.create_new_info(
        1, "image", "uint8", "raw", [8, 8, 40], [0, 0, 0], [64, 32, 8], chunk_size=[32, 32, 8]
    )
    CloudVolume(f"file://{tmp_path}/v", info=theirs).commit_info()
    create_volume(
        f"file://{tmp_path}/v", bounds=BoundingBox.parse("0-8_0-32_0-64"), voxel_size=(40.0, 8.0, 8.0),
        block_size=Vec3(8, 32, 32), dtype="uint8",
    )  # fmt: skip
    assert (
        PrecomputedVolume(f"file://{tmp_path}/v").block_name(BoundingBox.parse("0-8_0-32_0-32"))
        == "8_8_40/0-32_0-32_0-8"
    )
