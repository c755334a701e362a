"""TIFF metadata that is not in tests/compat: damaged, of other programs, of other colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.storage.formats.tiff_file import image_of, open_tiff
from chunkflow_worker.storage.formats.tiff_metadata import axes_of, metadata_of
from chunkflow_worker.storage.voxel_metadata import VoxelMetadata

ZYX = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)


def said(path: Path, array: Any = ZYX, **options: Any) -> VoxelMetadata:
    tifffile.imwrite(path, array, **{"photometric": "minisblack", **options})
    with open_tiff(tifffile, path) as tif:
        return metadata_of(tif, image_of(tif, None, path)[0], path)


@pytest.mark.parametrize(
    "metadata",
    [
        {"spacing": "far", "unit": "um"},
        {"spacing": 0, "unit": "um"},
        {"spacing": float("nan"), "unit": "nm"},
    ],
)
def test_a_spacing_that_is_no_length_is_told(tmp_path: Path, metadata: dict[str, Any]) -> None:
    found = said(
        tmp_path / "a.tif",
        imagej=True,
        resolution=(250, 250),
        metadata={"axes": "ZYX", **metadata},
    )
    assert found.voxel_size is None
    assert found.ignored["voxel_size"].startswith("gives ")


@pytest.mark.parametrize("size", ["0", "-4", "nan", "wide"])
def test_a_physical_size_that_is_no_length_is_told(tmp_path: Path, size: str) -> None:
    metadata = {"axes": "ZYX", "PhysicalSizeX": size, "PhysicalSizeY": 4, "PhysicalSizeZ": 40}
    found = said(tmp_path / "a.tif", ome=True, metadata=metadata)
    assert found.voxel_size is None
    assert found.ignored["voxel_size"].startswith("gives the PhysicalSize Z 40 µm, Y 4 µm, X ")


@pytest.mark.parametrize("units", [("zunit", 1), ("yunit", 2)])
def test_imagej_may_have_a_unit_for_an_axis(tmp_path: Path, units: tuple[str, int]) -> None:
    name, _ = units
    metadata = {"axes": "ZYX", "spacing": 0.5, "unit": "um", name: "nm"}
    found = said(tmp_path / "a.tif", imagej=True, resolution=(2, 2), metadata=metadata)
    nm = {"zunit": (0.5, 500.0, 500.0), "yunit": (500.0, 0.5, 500.0)}
    assert found.voxel_size == nm[name]


@pytest.mark.parametrize("photometric", ["cielab", "icclab", "itulab"])
def test_colours_without_brightness_are_refused(tmp_path: Path, photometric: str) -> None:
    colours = ZYX[:3].transpose(1, 2, 0)
    with pytest.raises(ChunkMismatch, match=f"a.tif has colours as {photometric.upper()}"):
        said(tmp_path / "a.tif", colours, photometric=photometric)


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_white_is_the_largest_value_of_the_bits(tmp_path: Path, bits: int) -> None:
    array = ZYX > 9 if bits == 1 else ZYX.astype(f"u{bits // 8}")
    assert (
        said(tmp_path / "a.tif", array, photometric="miniswhite", software="x").white == 2**bits - 1
    )


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64", "uint32", "uint64"])
def test_white_of_other_types_is_told(tmp_path: Path, dtype: str) -> None:
    found = said(tmp_path / "a.tif", ZYX.astype(dtype), photometric="miniswhite")
    assert found.white is None
    assert found.ignored["invert"] == f"says that 0 is white, and its {dtype} values are kept"


@pytest.mark.parametrize(
    ("shape", "options", "letters"),
    [
        ((2, 3, 5, 6), {}, "czyx"),
        ((2, 5, 6, 3), {"photometric": "rgb"}, "zyxc"),
        ((2, 4, 5, 6), {"imagej": True, "metadata": {"axes": "TZYX"}}, "tzyx"),
        ((2, 4, 5, 6), {"imagej": True, "metadata": {"axes": "TCYX"}}, "tcyx"),
        ((2, 2, 5, 6), {"metadata": {"axes": "QZYX"}}, "czyx"),
        ((2, 5, 6), {"metadata": {"axes": "CYX"}}, "cyx"),
        ((5, 6), {}, "yx"),
    ],
)
def test_axes(tmp_path: Path, shape: tuple[int, ...], options: Any, letters: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros(shape, "u1"), **{"photometric": "minisblack", **options})
    with open_tiff(tifffile, path) as tif:
        assert axes_of(tif, tif.series[0]) == (letters, shape, {})


def test_metadata_of_other_programs_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(tifffile.TiffFile, "flags", {"lsm"})
    found = said(tmp_path / "a.tif")
    assert found.ignored["voxel_size"] == "is of Zeiss LSM, and its voxel size is not read"
