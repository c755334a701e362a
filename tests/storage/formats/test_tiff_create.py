"""The form of TIFF that a chunk gets; what others read in it is in tests/compat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.load_tif import LoadTif
from chunkflow_worker.storage.formats.tiff_create import write_tiff

SIZE = (40.0, 7.16, 4.0)


def chunk(shape: tuple[int, ...] = (3, 4, 5), dtype: str = "uint8", **options: Any) -> Chunk:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    return Chunk(array, **{"voxel_offset": Vec3(1, -2, 3), "voxel_size": SIZE, **options})


@pytest.mark.parametrize(
    ("made", "form"),
    [
        (chunk(dtype="uint8"), "imagej"),
        (chunk(dtype="uint16"), "imagej"),
        (chunk(dtype="float32"), "imagej"),
        (chunk((2, 3, 4, 5)), "ome"),
        (chunk((3, 4, 1)), "ome"),
        (chunk(dtype="uint32"), "ome"),
        (chunk(dtype="float64"), "ome"),
        (chunk(dtype="uint64"), "shaped"),
        (chunk(dtype="float16"), "shaped"),
        (chunk(dtype="bool"), "shaped"),
    ],
)
def test_forms_restore_the_chunk(run_step: Any, tmp_path: Path, made: Chunk, form: str) -> None:
    write_tiff(tifffile, tmp_path / "a.tif", made, None)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert form in file.flags
        assert {page.photometric.name for page in file.pages} == {"MINISBLACK"}
    back = run_step(LoadTif(file_name=f"{tmp_path}/a.tif")).chunk("chunk")
    assert np.array_equal(back.array, made.array)
    assert (back.array.shape, back.dtype) == (made.array.shape, made.dtype)
    assert (back.voxel_offset, back.voxel_size) == (made.voxel_offset, made.voxel_size)


@pytest.mark.parametrize("dtype", ["uint8", "uint32", "uint64"])
def test_a_file_above_the_limit_of_classic_tiff_is_a_bigtiff(
    run_step: Any, tmp_path: Path, monkeypatch: Any, dtype: str
) -> None:
    monkeypatch.setattr("chunkflow_worker.storage.formats.tiff_create.BIGGEST_CLASSIC_TIFF", 10)
    made = chunk(dtype=dtype)
    write_tiff(tifffile, tmp_path / "a.tif", made, "zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_bigtiff
        assert not file.is_imagej
    back = run_step(LoadTif(file_name=f"{tmp_path}/a.tif")).chunk("chunk")
    assert np.array_equal(back.array, made.array)
    assert back.voxel_size == SIZE


@pytest.mark.parametrize("made", [chunk(), chunk((2, 3, 4, 5)), chunk(dtype="int64")])
def test_the_same_chunk_gives_the_same_bytes(tmp_path: Path, made: Chunk) -> None:
    for name in "ab":
        write_tiff(tifffile, tmp_path / name, made, "zlib")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("dtype", ["uint8", "uint32", "uint64"])
def test_an_unknown_voxel_size_is_not_written_as_a_nanometre(tmp_path: Path, dtype: str) -> None:
    write_tiff(tifffile, tmp_path / "a.tif", chunk(dtype=dtype, voxel_size=(1.0, 1.0, 1.0)), None)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].tags["XResolution"].value == (1, 1)
        assert "spacing" not in (file.imagej_metadata or {})
        assert "PhysicalSize" not in (file.ome_metadata or "")
