"""Parts of TIFF files, and sets of files with parts that are missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from chunkflow_worker.errors import ChunkMismatch, DataMissing
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.operators.load_tif import LoadTif

ZYX = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)
CZYX = np.stack([ZYX, ZYX + 1000, ZYX + 2000])
BOX = BoundingBox.parse("1-3_1-4_2-6")
PART = CZYX[:, 1:3, 1:4, 2:6]


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd"])
@pytest.mark.parametrize(
    ("array", "options"),
    [
        (CZYX, {"ome": True, "metadata": {"axes": "CZYX"}}),
        (CZYX.swapaxes(0, 1), {"imagej": True, "metadata": {"axes": "ZCYX"}}),
        (CZYX.swapaxes(0, 1), {"ome": True, "metadata": {"axes": "ZCYX"}}),
        (np.moveaxis(CZYX, 0, -1), {"photometric": "rgb"}),
        (CZYX, {"tile": (16, 16), "bigtiff": True, "byteorder": ">"}),
        (CZYX, {"contiguous": False, "rowsperstrip": 2}),
    ],
)
def test_a_part_of_every_layout(
    run_step: Any, tmp_path: Path, array: Any, options: dict[str, Any], compression: str | None
) -> None:
    contiguous = options.pop("contiguous", True)
    options = {"photometric": "minisblack", **options, "compression": compression}
    with tifffile.TiffWriter(
        tmp_path / "a.tif",
        **{k: options.pop(k) for k in ("ome", "imagej", "bigtiff", "byteorder") if k in options},
    ) as file:
        file.write(array, contiguous=contiguous, **options)
    chunk = run_step(LoadTif(file_name=f"{tmp_path}/a.tif"), bbox=BOX).chunk("chunk")
    assert np.array_equal(chunk.array, PART)
    assert chunk.array.flags.c_contiguous
    assert chunk.array.flags.writeable
    assert chunk.dtype.isnative


def test_a_stack_of_imagej_above_4_gb_is_read_without_loading_it(
    run_step: Any, tmp_path: Path
) -> None:
    """Such a file has one page, and the other sections lie behind it. Its bytes are a hole here."""
    path, sections, side = tmp_path / "a.tif", 4500, 1000
    options: dict[str, Any] = {"shape": (sections, side, side), "dtype": "uint8"}
    tifffile.imwrite(path, imagej=True, truncate=True, metadata={"axes": "ZYX"}, **options)
    with tifffile.TiffFile(path) as file:
        assert (len(file.pages), file.is_bigtiff) == (1, False)
        start = file.series[0].dataoffset
    assert start is not None
    with path.open("r+b") as raw:
        raw.seek(start + 4400 * side * side + 5)
        raw.write(b"\x07")
        raw.truncate(start + sections * side * side)
    box = BoundingBox.parse("4399-4401_0-2_0-8")
    chunk = run_step(LoadTif(file_name=str(path)), bbox=box).chunk("chunk")
    assert chunk.array.nonzero() == (1, 0, 5)
    assert chunk.array.max() == 7
    assert str(chunk.bounds) == "0-4500_0-1000_0-1000"


@pytest.fixture
def ome_set(tmp_path: Path) -> Callable[..., Path]:
    """An image whose sections are OME-TIFF files of their own."""

    def write(*missing: int) -> Path:
        names = [f"section_{z}.ome.tif" for z in range(4)]
        ids = [f"urn:uuid:00000000-0000-0000-0000-00000000000{z}" for z in range(4)]
        planes = "".join(
            f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1">'
            f'<UUID FileName="{name}">{ids[z]}</UUID></TiffData>'
            for z, name in enumerate(names)
        )
        for z, name in enumerate(names):
            if z in missing:
                continue
            xml = (
                '<?xml version="1.0" encoding="UTF-8"?>'
                '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
                f'UUID="{ids[z]}"><Image ID="Image:0"><Pixels ID="Pixels:0" Type="uint16" '
                'DimensionOrder="XYZCT" SizeX="6" SizeY="5" SizeZ="4" SizeC="1" SizeT="1" '
                'PhysicalSizeX="0.004" PhysicalSizeY="0.004" PhysicalSizeZ="0.04">'
                f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
            )
            options: dict[str, Any] = {"metadata": None, "photometric": "minisblack"}
            tifffile.imwrite(tmp_path / name, ZYX[z], description=xml, **options)
        return tmp_path / names[0]

    return write


def test_an_image_of_several_files_is_read_from_all(
    run_step: Any, ome_set: Callable[..., Path]
) -> None:
    chunk = run_step(LoadTif(file_name=str(ome_set()))).chunk("chunk")
    assert np.array_equal(chunk.array, ZYX)
    assert chunk.voxel_size == (40.0, 4.0, 4.0)


@pytest.mark.parametrize("missing", [(1,), (1, 3), (1, 2, 3)])
def test_files_that_are_missing_are_named_and_not_read_as_zeros(
    run_step: Any, ome_set: Callable[..., Path], missing: tuple[int, ...]
) -> None:
    names = ", ".join(f"section_{z}.ome.tif" for z in missing)
    problem = f"lacks {len(missing)} of its 4 planes: .* missing beside it: {names}"
    path = ome_set(*missing)
    with pytest.raises(DataMissing, match=problem):
        run_step(LoadTif(file_name=str(path)))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_numbers_are_refused(run_step: Any, tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", ZYX.astype(dtype), photometric="minisblack")
    with pytest.raises(ChunkMismatch, match=r"a\.tif holds complex numbers"):
        run_step(LoadTif(file_name=f"{tmp_path}/a.tif"))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "float16", "float64", "uint64"])
def test_types_are_kept(run_step: Any, tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", -ZYX.astype(dtype), photometric="minisblack")
    chunk = run_step(LoadTif(file_name=f"{tmp_path}/a.tif")).chunk("chunk")
    assert chunk.dtype == dtype
    assert np.array_equal(chunk.array, -ZYX.astype(dtype))
