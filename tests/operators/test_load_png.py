"""load-png: the tests write pictures with Pillow."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chunkflow_worker.errors import (
    BoxOutsideVolume,
    ChunkMismatch,
    ConfigError,
    DataMissing,
    DataRefused,
)
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.load_png import LoadPng
from chunkflow_worker.operators.save_pngs import SavePngs
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.task import Task

VOXELS = np.random.default_rng(0).integers(0, 256, (6, 7, 9), np.uint8)


def write(folder: Path, voxels: np.ndarray, first: int = 0, name: str = "{:05d}") -> str:
    folder.mkdir(exist_ok=True)
    for z, section in enumerate(voxels, first):
        Image.fromarray(section).save(folder / f"{name.format(z)}.png")
    return str(folder)


@pytest.fixture
def stack(tmp_path: Path) -> str:
    return write(tmp_path / "stack", VOXELS, 40)


def test_without_a_box_the_whole_stack_is_read_and_file_numbers_give_z(run_step, stack) -> None:
    task = run_step(LoadPng(path=stack, voxel_size=(40, 8, 8)))
    chunk = task.chunk("chunk")
    assert np.array_equal(chunk.array, VOXELS)
    assert str(chunk.bbox) == "40-46_0-7_0-9"
    assert chunk.voxel_size == (40.0, 8.0, 8.0)
    assert chunk.dtype == np.uint8
    assert chunk.bounds == chunk.bbox
    assert task.bytes_read == VOXELS.nbytes


@pytest.mark.parametrize("slash", ["", "/"])
def test_reads_the_first_section_of_the_box_and_applies_the_offset(run_step, stack, slash) -> None:
    """chunkflow 1.2.0 fails on a box's first section, and ignores the offset of the pictures."""
    load = LoadPng(path=stack + slash, voxel_offset=(-41, 100, -3))
    box = BoundingBox.parse("0-2_102-105_-1-6")
    chunk = run_step(load, bbox=box).chunk("chunk")
    assert chunk.bbox == box
    assert np.array_equal(chunk.array, VOXELS[1:3, 2:5, 2:9])
    assert str(chunk.bounds) == "-1-5_100-107_-3-6"


def test_reads_the_context_that_later_operators_need(stack) -> None:
    load = {"op": "load-png", "path": stack, "output_chunk_name": "read"}
    crop = {"op": "crop-margin", "margin_size": [2] * 6, "input_chunk_name": "read"}
    with Pipeline.parse({"operators": [load, crop]}).open() as opened:
        opened.run(task := Task(BoundingBox.parse("41-44_3-5_0-4")))
    assert str(task.chunk("read").bbox) == "40-46_1-7_0-6"
    assert np.array_equal(task.chunk("chunk").array, VOXELS[1:4, 3:5, 0:4])


def test_a_cutout_overrides_the_box_of_the_task(run_step, stack) -> None:
    load = LoadPng(path=stack, cutout_offset=(42, 1, 2), chunk_size=(3, 4, 5))
    for bbox in (None, BoundingBox.parse("40-41_0-7_0-9")):
        chunk = run_step(load, bbox=bbox).chunk("chunk")
        assert np.array_equal(chunk.array, VOXELS[2:5, 1:5, 2:7])
        assert str(chunk.bbox) == "42-45_1-5_2-7"
    with pytest.raises(BoxOutsideVolume, match="the cutout 45-48_1-5_2-7 is not inside"):
        run_step(LoadPng(path=stack, cutout_offset=(45, 1, 2), chunk_size=(3, 4, 5)))


@pytest.mark.parametrize("bbox", [None, BoundingBox.parse("41-45_0-7_0-9")])
def test_a_missing_section_is_an_error(run_step, stack, bbox) -> None:
    """chunkflow 1.2.0 prints a line and continues with zeros."""
    Path(stack, "00043.png").unlink()
    with pytest.raises(
        DataMissing, match=r"stack: 1 sections of .* are missing, for example number 43"
    ):
        run_step(LoadPng(path=stack), bbox=bbox)
    before_the_gap = BoundingBox.parse("40-43_0-7_0-9")
    assert run_step(LoadPng(path=stack), bbox=before_the_gap).chunk("chunk").bbox.size.z == 3


def test_a_prefix_and_the_number_of_digits(run_step, tmp_path) -> None:
    write(tmp_path / "a", VOXELS, 998, "sec_{:03d}")
    write(tmp_path / "a", VOXELS, 0, "other_{:03d}")
    chunk = run_step(LoadPng(path=f"{tmp_path}/a/sec_", digit_num=3)).chunk("chunk")
    assert np.array_equal(chunk.array, VOXELS)
    assert chunk.bbox.start.z == 998
    with pytest.raises(ConfigError, match=r"digit_num: .* 'sec_1000.png' does not have 5 digits"):
        run_step(LoadPng(path=f"{tmp_path}/a/sec_", digit_num=5))
    assert run_step(LoadPng(path=f"{tmp_path}/a/sec_")).chunk("chunk").bbox.start.z == 998


def test_files_without_numbers_are_sorted_by_name_and_one_picture_is_one_section(
    run_step, tmp_path
) -> None:
    for name, section in zip("cab", VOXELS, strict=False):
        Image.fromarray(section).save(tmp_path / f"{name}.png")
    chunk = run_step(LoadPng(path=str(tmp_path), voxel_offset=(5, 0, 0))).chunk("chunk")
    assert np.array_equal(chunk.array, VOXELS[[1, 2, 0]])
    assert chunk.voxel_offset == Vec3(5, 0, 0)
    assert np.array_equal(
        run_step(LoadPng(path=f"{tmp_path}/c.png")).chunk("chunk").array, VOXELS[:1]
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_reads_what_save_pngs_wrote(run_step, tmp_path, dtype) -> None:
    chunk = Chunk(VOXELS.astype(dtype) * (1 if dtype == "uint8" else 250), Vec3(99_998, 30, -4))
    run_step(SavePngs(output_path=str(tmp_path), dtype=dtype), chunk=chunk)
    back = run_step(LoadPng(path=str(tmp_path), voxel_offset=(0, 30, -4))).chunk("chunk")
    assert np.array_equal(back.array, chunk.array)
    assert (back.bbox, back.dtype) == (chunk.bbox, dtype)


def test_values_are_converted_not_wrapped(run_step, tmp_path) -> None:
    """chunkflow 1.2.0 casts: 300 becomes 44."""
    path = write(tmp_path / "a", np.array([[[7, 300]]], np.uint16))
    narrow = run_step(LoadPng(path=path, dtype="uint8")).chunk("chunk")
    assert narrow.array.ravel().tolist() == [7, 255]
    path = write(tmp_path / "a", np.array([[[0, 255]]], np.uint8))
    floats = run_step(LoadPng(path=path, dtype="float32")).chunk("chunk")
    assert floats.array.ravel().tolist() == [0, 1]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_grey_pictures_of_every_kind_are_read(run_step, tmp_path, mode) -> None:
    grey = np.array([[0, 255], [255, 0]], np.uint8)
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "00000.png")
    else:
        Image.fromarray(grey).convert(mode).save(tmp_path / "00000.png")
    array = run_step(LoadPng(path=str(tmp_path))).chunk("chunk").array
    assert np.array_equal(array[0] // (257 if mode == "I;16" else 1), grey)


def test_colour_and_mixed_sizes_or_bit_depths_are_refused(run_step, tmp_path) -> None:
    colour = np.zeros((7, 9, 3), np.uint8)
    colour[0, 0] = 1, 2, 3
    path = write(tmp_path / "a", VOXELS)
    Image.fromarray(colour).save(f"{path}/00003.png")
    with pytest.raises(ChunkMismatch, match=r"00003.png is in colour, and a section is grey"):
        run_step(LoadPng(path=path))
    Image.fromarray(VOXELS[0, 1:]).save(f"{path}/00003.png")
    with pytest.raises(
        ChunkMismatch, match=r"00003.png has \[6, 9\] pixels, and the first picture has \[7, 9\]"
    ):
        run_step(LoadPng(path=path))
    Image.fromarray(VOXELS[0].astype(np.uint16)).save(f"{path}/00003.png")
    with pytest.raises(ChunkMismatch, match=r"some pictures of .* have 8 and others 16 bits"):
        run_step(LoadPng(path=path))


def test_missing_and_damaged_pictures_are_errors(run_step, tmp_path) -> None:
    with pytest.raises(DataMissing, match="there is no file"):
        run_step(LoadPng(path=f"{tmp_path}/none/a"))
    with pytest.raises(DataMissing, match="there are no PNG pictures at"):
        run_step(LoadPng(path=str(tmp_path)))
    path = write(tmp_path / "a", VOXELS)
    Path(path, "00002.png").write_bytes(Path(path, "00002.png").read_bytes()[:60])
    with pytest.raises(DataMissing, match=r"00002.png cannot be read as PNG"):
        run_step(LoadPng(path=path))
    Path(path, "00000.png").write_text("hello" * 9)
    with pytest.raises(DataMissing, match=r"00000.png cannot be read as PNG"):
        run_step(LoadPng(path=path))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cutout_offset": [1, 0, 0]}, "cutout_offset needs chunk_size"),
        ({"dtype": "text"}, "takes a type of numbers"),
        ({"path": "s3://bucket/a"}, "without a protocol"),
        ({"digit_num": 0}, "0: must be at least 1"),
    ],
)
def test_wrong_options_are_refused(options, text) -> None:
    with pytest.raises(ConfigError, match=text):
        Pipeline.parse({"operators": [{"op": "load-png", "path": "a"} | options]})


@pytest.mark.parametrize("name", ["slice_{}", "{}", "run2_s{:04d}_v1", "z{:d}-em"])
def test_sections_come_in_the_order_of_their_numbers_at_these_z(
    run_step, tmp_path, name: str
) -> None:
    path = write(tmp_path / "a", VOXELS, 8, name)
    chunk = run_step(LoadPng(path=path)).chunk("chunk")
    assert np.array_equal(chunk.array, VOXELS)
    assert str(chunk.bbox) == "8-14_0-7_0-9"
    part = run_step(LoadPng(path=path), bbox=BoundingBox.parse("9-11_0-7_0-9")).chunk("chunk")
    assert np.array_equal(part.array, VOXELS[1:3])
    Path(path, f"{name.format(10)}.png").unlink()
    with pytest.raises(DataMissing, match=r"sections of .* are missing, for example number 10"):
        run_step(LoadPng(path=path))


def test_sections_below_zero_are_read_back(run_step, tmp_path) -> None:
    chunk = Chunk(VOXELS, Vec3(-2, 0, 0))
    run_step(SavePngs(output_path=str(tmp_path)), chunk=chunk)
    back = run_step(LoadPng(path=str(tmp_path))).chunk("chunk")
    assert np.array_equal(back.array, VOXELS)
    assert back.bbox == chunk.bbox


def test_hidden_files_of_macos_are_no_sections(run_step, tmp_path) -> None:
    path = write(tmp_path / "a", VOXELS)
    Path(path, "._00000.png").write_bytes(b"a resource fork")
    assert run_step(LoadPng(path=path)).chunk("chunk").bbox.size.z == 6


@pytest.mark.parametrize(
    "names", [("1", "2", "overview"), ("1", "01"), ("x1_y1", "x1_y2", "x2_y1")]
)
def test_names_without_one_number_are_refused(run_step, tmp_path, names) -> None:
    for name in names:
        Image.fromarray(VOXELS[0]).save(tmp_path / f"{name}.png")
    with pytest.raises(ConfigError, match=r"have numbers, but .*\n.*name them like 00042.png"):
        run_step(LoadPng(path=str(tmp_path)))


def test_indices_of_a_palette_are_the_ids_of_a_segmentation(run_step, tmp_path) -> None:
    ids = np.array([[0, 1], [2, 3]], np.uint8)
    picture = Image.fromarray(ids)
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.save(tmp_path / "0.png")
    chunk = run_step(LoadPng(path=str(tmp_path), layer_type="segmentation")).chunk("chunk")
    assert chunk.layer_type == "segmentation"
    assert np.array_equal(chunk.array[0], ids)
    with pytest.raises(ChunkMismatch, match=r"in colour.*--layer-type segmentation reads"):
        run_step(LoadPng(path=str(tmp_path)))


@pytest.mark.parametrize(
    ("pattern", "expected", "first"),
    [("*_ch1.png", VOXELS[2:4], 40), ("z*_ch0*", VOXELS[:2], 40), ("z41*", VOXELS[1:4:2], 0)],
)
def test_a_pattern_takes_some_of_the_pictures(
    run_step, tmp_path: Path, pattern: str, expected: np.ndarray, first: int
) -> None:
    for channel in (0, 1):
        write(tmp_path, VOXELS[2 * channel :][:2], 40, f"z{{}}_ch{channel}")
    chunk = run_step(LoadPng(path=f"{tmp_path}/{pattern}")).chunk("chunk")
    assert np.array_equal(chunk.array, expected)
    assert chunk.voxel_offset.z == first


def test_what_is_cut_short_or_lies_deeper_is_said(run_step, tmp_path: Path) -> None:
    picture = Path(write(tmp_path / "sections", VOXELS[:1])) / "00000.png"
    with pytest.raises(DataMissing, match=r"no PNG pictures at .*; it has the folders sections"):
        run_step(LoadPng(path=str(tmp_path)))
    picture.write_bytes(picture.read_bytes()[:-30])
    with pytest.raises(DataMissing, match="as PNG: its end is missing"):
        run_step(LoadPng(path=str(picture)))


def test_faults_of_colour_profiles_are_no_warnings(run_step, tmp_path: Path, caplog) -> None:
    Image.fromarray(VOXELS[0]).save(tmp_path / "1.png", icc_profile=b"short")
    run_step(LoadPng(path=str(tmp_path)))
    assert not caplog.records


def bomb(path: Path, width: int, height: int) -> None:
    """A picture of zeros: each thousand pixels take a byte."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    packer = zlib.compressobj(1)
    lines = b"".join(packer.compress(bytes(1 + width)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


@pytest.mark.parametrize("layer_type", ["image", "segmentation"])
def test_a_picture_above_the_bound_is_refused(run_step, tmp_path: Path, layer_type) -> None:
    bomb(tmp_path / "0.png", 30_000, 30_000)
    with pytest.raises(DataRefused, match=r"0.png: the picture has 858.3 MiB .*\n.*to 1GiB"):
        run_step(LoadPng(path=str(tmp_path), layer_type=layer_type))
