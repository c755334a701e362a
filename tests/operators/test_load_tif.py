"""load-tif: the tests write files with tifffile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from chunkflow_worker.errors import BoxOutsideVolume, ChunkMismatch, ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.operators.load_tif import LoadTif
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task

STACK = np.arange(10 * 11 * 12, dtype=np.uint16).reshape(10, 11, 12)


def write(path: Path, array: Any, **options: Any) -> str:
    tifffile.imwrite(path, array, **{"photometric": "minisblack", **options})
    return str(path)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "lzw", "tile": (16, 16)},
        {"imagej": True},
        {"metadata": None},
        {"bigtiff": True},
    ],
)
def test_a_stack_is_read_whole_or_in_part(run_step, tmp_path, options) -> None:
    path = write(tmp_path / "a.tif", STACK, **options)
    task = run_step(LoadTif(file_name=path))
    chunk = task.chunk("chunk")
    assert np.array_equal(chunk.array, STACK)
    assert chunk.dtype == np.uint16
    assert chunk.voxel_size == (1.0, 1.0, 1.0)
    assert chunk.layer_type == "image"
    assert task.bbox is None
    assert task.bytes_read == STACK.nbytes
    task = run_step(LoadTif(file_name=path), bbox=BoundingBox.parse("2-5_1-4_3-9"))
    assert np.array_equal(task.chunk("chunk").array, STACK[2:5, 1:4, 3:9])
    assert task.chunk("chunk").bounds == chunk.bbox
    assert task.bytes_read == 3 * 3 * 6 * 2


def test_reads_only_the_pages_of_the_box(run_step, tmp_path) -> None:
    """The other pages are damaged: reading any of them would fail."""
    path = tmp_path / "a.tif"
    write(path, STACK, compression="zlib")
    with tifffile.TiffFile(path) as tif:
        pages = [(page.dataoffsets[0], page.databytecounts[0]) for page in tif.pages]
    with path.open("r+b") as file:
        for z in (0, 1, 5, 6, 7, 8, 9):
            offset, size = pages[z]
            file.seek(offset)
            file.write(b"\xff" * size)
    load = LoadTif(file_name=str(path))
    intact, damaged = BoundingBox.parse("2-5_0-11_0-12"), BoundingBox.parse("4-6_0-11_0-12")
    assert np.array_equal(run_step(load, bbox=intact).chunk("chunk").array, STACK[2:5])
    with pytest.raises(DataMissing, match=r"a.tif cannot be read as TIFF"):
        run_step(load, bbox=damaged)


@pytest.mark.parametrize(
    "options", [{}, {"contiguous": False}, {"compression": "zlib"}, {"metadata": None}]
)
def test_pages_written_one_by_one_are_read_as_one_stack(run_step, tmp_path, options) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for section in STACK:
            file.write(section, photometric="minisblack", **options)
    path = str(tmp_path / "a.tif")
    assert np.array_equal(run_step(LoadTif(file_name=path)).chunk("chunk").array, STACK)
    part = run_step(LoadTif(file_name=path), bbox=BoundingBox.parse("2-5_1-4_3-9"))
    assert np.array_equal(part.chunk("chunk").array, STACK[2:5, 1:4, 3:9])


def test_reads_the_first_of_several_images_unless_another_is_chosen(
    run_step, tmp_path, caplog
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(STACK, photometric="minisblack")
        file.write(STACK[0, :5, :6], photometric="minisblack")
    assert np.array_equal(
        run_step(LoadTif(file_name=str(tmp_path / "a.tif"))).chunk("chunk").array, STACK
    )
    assert "several images, and only the first is read; shapes: (10, 11, 12), (5, 6)" in caplog.text
    assert "(--series sets it)" in caplog.text
    caplog.clear()
    chosen = run_step(LoadTif(file_name=str(tmp_path / "a.tif"), series=1)).chunk("chunk")
    assert np.array_equal(chosen.array[0], STACK[0, :5, :6])
    assert not caplog.records
    with pytest.raises(ConfigError, match=r"series: there is no image 2\n *legal: 0 to 1"):
        run_step(LoadTif(file_name=str(tmp_path / "a.tif"), series=2))


def test_a_single_page_is_one_section(run_step, tmp_path) -> None:
    chunk = run_step(LoadTif(file_name=write(tmp_path / "a.tiff", STACK[3]))).chunk("chunk")
    assert np.array_equal(chunk.array, STACK[3:4])


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((3, 4, 5, 6), {}),
        ((3, 4, 5, 6), {"metadata": {"axes": "CZYX"}}),
        ((4, 3, 5, 6), {"metadata": {"axes": "ZCYX"}}),
        ((4, 3, 5, 6), {"imagej": True, "metadata": {"axes": "ZCYX"}}),
        ((4, 5, 6, 3), {"photometric": "rgb"}),
        ((5, 6, 3), {"photometric": "rgb"}),
        ((1, 4, 5, 6), {"metadata": {"axes": "CZYX"}}),
        ((3, 1, 5, 6), {"metadata": {"axes": "CZYX"}}),
        ((5, 5, 6), {"metadata": {"axes": "CYX"}}),
    ],
)
def test_channels_and_colours_become_the_first_axis(run_step, tmp_path, shape, options) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    axes = options.get("metadata", {}).get(
        "axes", "CZYX" if shape[-1] == 6 else "ZYXS"[-len(shape) :]
    )
    channel = next(i for i, letter in enumerate(axes) if letter in "CS")
    expected = np.moveaxis(array, channel, 0)
    expected = expected if expected.ndim == 4 else expected[:, np.newaxis]
    path = write(tmp_path / "a.tif", array, **options)
    assert np.array_equal(run_step(LoadTif(file_name=path)).chunk("chunk").array, expected)
    box = BoundingBox.parse(f"0-{min(2, expected.shape[1])}_1-4_2-6")
    part = run_step(LoadTif(file_name=path), bbox=box).chunk("chunk")
    assert np.array_equal(part.array, expected[:, : box.stop.z, 1:4, 2:6])


@pytest.mark.parametrize("planes", [3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_planes_of_colour_are_sections_unless_they_are_named_channels(
    run_step, tmp_path, caplog, planes: int, dtype: str
) -> None:
    """tifffile before 2027 writes any stack of 3 or 4 pages as the planes of a colour picture."""
    array = np.arange(planes * 5 * 6).astype(dtype).reshape(planes, 5, 6)
    path = write(tmp_path / "a.tif", array, photometric="rgb", planarconfig="separate")
    assert np.array_equal(run_step(LoadTif(file_name=path)).chunk("chunk").array, array)
    [record] = caplog.records
    assert (
        f"a.tif stores {planes} planes of colour: they are read as sections" in record.getMessage()
    )
    assert "(--axes sets it)" in record.getMessage()
    caplog.clear()
    colours = run_step(LoadTif(file_name=path, axes="cyx")).chunk("chunk").array
    assert np.array_equal(colours, array[:, np.newaxis])
    assert not caplog.records


def test_a_time_series_with_channels_is_refused(run_step, tmp_path) -> None:
    path = write(tmp_path / "a.tif", np.zeros((2, 3, 4, 5, 6), np.uint8), imagej=True)
    with pytest.raises(
        ChunkMismatch, match=r"a.tif has the axes tzcyx of shape .* t \(2\) does not fit in a chunk"
    ):
        run_step(LoadTif(file_name=path))


def test_options_set_offset_voxel_size_and_layer_type(run_step, tmp_path) -> None:
    path = write(tmp_path / "a.tif", STACK)
    load = LoadTif(
        file_name=path,
        voxel_offset=(-2, 100, 1000),
        voxel_size=(40, 7.16, 7.5),
        layer_type="segmentation",
    )
    chunk = run_step(load, bbox=BoundingBox.parse("-1-1_100-111_1005-1020")).chunk("chunk")
    assert np.array_equal(chunk.array, STACK[1:3, :, 5:])
    before = run_step(load, bbox=BoundingBox.parse("-9-1_90-109_990-1011")).chunk("chunk")
    assert np.array_equal(before.array, STACK[:3, :9, :11])
    assert str(before.bbox) == "-2-1_100-109_1000-1011"
    assert (chunk.voxel_size, chunk.layer_type) == ((40.0, 7.16, 7.5), "segmentation")
    assert str(chunk.bounds) == "-2-8_100-111_1000-1012"
    with pytest.raises(
        BoxOutsideVolume,
        match=r"box 0-1_0-1_0-1 is outside .*a.tif, which is -2-8_100-111_1000-1012",
    ):
        run_step(load, bbox=BoundingBox.parse("0-1_0-1_0-1"))


def test_reads_the_context_that_later_operators_need_up_to_the_end_of_the_file(tmp_path) -> None:
    load = {
        "op": "load-tif",
        "file_name": write(tmp_path / "a.tif", STACK),
        "output_chunk_name": "read",
    }
    crop = {"op": "crop-margin", "margin_size": [2, 2, 2, 3, 3, 3], "input_chunk_name": "read"}
    with Pipeline.parse({"operators": [load, crop]}).open() as opened:
        opened.run(task := Task(BoundingBox.parse("1-6_2-5_3-12")))
    assert str(task.chunk("read").bbox) == "0-9_0-8_1-12"
    assert np.array_equal(task.chunk("chunk").array, STACK[1:6, 2:5, 3:12])


def test_a_prefix_names_a_file_for_each_task(tmp_path) -> None:
    boxes = [BoundingBox.parse("0-2_0-3_0-4"), BoundingBox.parse("2-4_0-3_0-4")]
    for i, box in enumerate(boxes):
        write(
            tmp_path / f"{box}.tif",
            np.full(box.size, i + 1, np.uint8),
            metadata={"voxel_offset": list(box.start)},
        )
    with LoadTif(file_name=f"{tmp_path}/").open(Run(needed_box=lambda box, bounds: box)) as step:
        for i, box in enumerate(boxes):
            step(task := Task(box))
            assert task.chunk("chunk").bbox == box
            assert np.unique(task.chunk("chunk").array).tolist() == [i + 1]


def test_the_dtype_changes_only_with_the_option(run_step, tmp_path) -> None:
    path = write(tmp_path / "a.tif", np.array([[[0, 51, 255]]], np.uint8))
    assert run_step(LoadTif(file_name=path)).chunk("chunk").dtype == np.uint8
    for dtype in ("float16", "float32", "float64"):
        chunk = run_step(LoadTif(file_name=path, dtype=dtype)).chunk("chunk")
        assert chunk.dtype == dtype
        assert chunk.array.ravel().tolist() == pytest.approx([0, 0.2, 1], abs=1e-3)
    wide = write(tmp_path / "b.tif", np.array([[[0, 255, 1000]]], np.uint16))
    narrow = run_step(LoadTif(file_name=wide, dtype="uint8")).chunk("chunk")
    assert narrow.array.ravel().tolist() == [0, 255, 255]


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_big_endian_voxels_are_converted_to_the_native_byte_order(
    run_step, tmp_path, compression
) -> None:
    path = write(tmp_path / "a.tif", STACK, byteorder=">", compression=compression)
    chunk = run_step(LoadTif(file_name=path)).chunk("chunk")
    assert chunk.dtype.isnative
    assert np.array_equal(chunk.array, STACK)


def test_errors_name_the_file_that_is_missing_or_not_tiff(run_step, tmp_path) -> None:
    with pytest.raises(DataMissing, match=r"there is no file .*/none.tif"):
        run_step(LoadTif(file_name=f"{tmp_path}/none.tif"))
    (tmp_path / "text.tif").write_text("hello")
    with pytest.raises(DataMissing, match=r"text.tif cannot be read as TIFF: it does not begin"):
        run_step(LoadTif(file_name=f"{tmp_path}/text.tif"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"voxel_size": [1, 0, 1]}, "takes numbers above 0"),
        ({"file_name": "s3://bucket/a.tif"}, "without a protocol"),
        ({"dtype": "int8"}, "is not one of its values"),
    ],
)
def test_wrong_options_are_refused_without_reading_data(options, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Pipeline.parse({"operators": [{"op": "load-tif", "file_name": "a.tif", **options}]})
