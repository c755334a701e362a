"""Parts of TIFF files, and sets of files with parts that are missing."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

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


WIDE = np.random.default_rng(0).integers(0, 255, (3, 60, 90), np.uint8)
COLOURS = np.stack([WIDE, 255 - WIDE, WIDE // 2])
BOXES = ["1-3_5-40_10-20", "0-1_0-1_0-1", "2-3_59-60_80-90", "0-3_30-34_0-90"]


@pytest.mark.parametrize("compression", ["zlib", "jpeg", "lzw"])
@pytest.mark.parametrize(
    ("array", "axes", "colours", "expected"),
    [
        (WIDE, "ZYX", {"photometric": "minisblack"}, WIDE),
        (np.moveaxis(COLOURS, 0, -1), "ZYXS", {"photometric": "rgb"}, COLOURS),
        (
            COLOURS.swapaxes(0, 1),
            "ZSYX",
            {"photometric": "rgb", "planarconfig": "separate"},
            COLOURS,
        ),
    ],
)
@pytest.mark.parametrize("pieces", [{"tile": (16, 32)}, {"rowsperstrip": 8}, {}])
@pytest.mark.parametrize("box", BOXES)
def test_the_tiles_and_strips_in_a_box_are_all_that_is_read(
    run_step: Any,
    tmp_path: Path,
    array: Any,
    axes: str,
    colours: dict[str, Any],
    expected: Any,
    pieces: dict[str, Any],
    compression: str,
    box: str,
) -> None:
    path, options = tmp_path / "a.tif", {**colours, **pieces, "compression": compression}
    tifffile.imwrite(path, array, metadata={"axes": axes}, **options)
    load = LoadTif(file_name=str(path), axes="zcyx" if axes == "ZSYX" else None)
    whole = run_step(load).chunk("chunk").array
    if compression != "jpeg":
        assert np.array_equal(whole, expected)
    bbox = BoundingBox.parse(box)
    part = run_step(load, bbox=bbox).chunk("chunk").array
    assert np.array_equal(part, whole[(..., *bbox.slices())])


def test_a_small_box_of_a_large_page_takes_little_memory(run_step: Any, tmp_path: Path) -> None:
    """Its tiles are holes: an offset and a length of 0 stand for tiles of zeros."""
    path, side = tmp_path / "a.tif", 400_000
    sevens = zlib.compress(bytes([7]) * 512**2)
    tiles = (sevens if n == 0 else b"" for n in range((side // 512 + 1) ** 2))
    options: dict[str, Any] = {"shape": (side, side), "dtype": "uint8", "tile": (512, 512)}
    tifffile.imwrite(path, tiles, bigtiff=True, compression="zlib", metadata=None, **options)
    box = BoundingBox.parse("0-1_0-9_511-513")
    chunk = run_step(LoadTif(file_name=str(path)), bbox=box).chunk("chunk")
    assert chunk.array[0, 0].tolist() == [7, 0]


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"imagej": True}])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_file_that_is_cut_short_says_so(
    run_step: Any, tmp_path: Path, kept: float, options: dict[str, Any]
) -> None:
    path = tmp_path / "a.tif"
    options = {"metadata": {"axes": "ZYX"}, "photometric": "minisblack", **options}
    tifffile.imwrite(path, WIDE, **options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(DataMissing, match="its end is missing"):
        run_step(LoadTif(file_name=str(path)))


def test_pages_that_are_cut_off_are_no_shorter_stack(run_step: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    first, *others = [Image.fromarray(section) for section in WIDE]
    first.save(path, save_all=True, append_images=others)
    with tifffile.TiffFile(path) as file:
        end = file.pages[2].offset
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(DataMissing, match="the pages after the first 2"):
        run_step(LoadTif(file_name=str(path)))


@pytest.mark.parametrize(("series", "expected"), [(None, WIDE), (0, WIDE), (1, WIDE[:2])])
def test_two_stacks_of_one_file_are_not_joined(
    run_step: Any, tmp_path: Path, series: int | None, expected: Any
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for stack in (WIDE, WIDE[:2]):
            file.write(stack, photometric="minisblack")
    chunk = run_step(LoadTif(file_name=f"{tmp_path}/a.tif", series=series)).chunk("chunk")
    assert np.array_equal(chunk.array, expected)


def test_what_is_no_tiff_is_said_in_words(run_step: Any, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("hello")
    with pytest.raises(DataMissing, match=r"as TIFF: it does not begin like one$"):
        run_step(LoadTif(file_name=f"{tmp_path}/a.tif"))
