"""load-npy: the tests write files with numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chunkflow_worker.errors import BoxOutsideVolume, ChunkMismatch, DataMissing
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.points import Points
from chunkflow_worker.operators.load_npy import LoadNpy
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.task import Task

VOXELS = np.arange(10 * 11 * 12, dtype=np.uint16).reshape(10, 11, 12)


@pytest.fixture
def file(tmp_path: Path) -> str:
    np.save(tmp_path / "a.npy", VOXELS)
    return str(tmp_path / "a.npy")


def test_without_a_box_the_whole_file_is_read(run_step, file) -> None:
    task = run_step(
        LoadNpy(file_name=file, voxel_offset=(-2, 100, 1000), voxel_size=(40, 7.16, 7.5))
    )
    chunk = task.chunk("chunk")
    assert np.array_equal(chunk.array, VOXELS)
    assert chunk.dtype == np.uint16
    assert str(chunk.bbox) == str(chunk.bounds) == "-2-8_100-111_1000-1012"
    assert chunk.voxel_size == (40.0, 7.16, 7.5)
    assert task.bytes_read == VOXELS.nbytes
    assert chunk.array.flags.writeable
    assert not isinstance(chunk.array, np.memmap)


def test_reads_the_box_of_the_task_and_the_context_that_later_operators_need(file) -> None:
    load = {
        "op": "load-npy",
        "file_name": file,
        "voxel_offset": [-2, 100, 1000],
        "output_name": "read",
    }
    crop = {"op": "crop-margin", "margin_size": [2, 2, 2, 3, 3, 3], "input_chunk_name": "read"}
    with Pipeline.parse({"operators": [load, crop]}).open() as opened:
        opened.run(task := Task(BoundingBox.parse("-1-4_102-105_1003-1012")))
    assert str(task.chunk("read").bbox) == "-2-7_100-108_1001-1012"
    assert np.array_equal(task.chunk("chunk").array, VOXELS[1:6, 2:5, 3:12])
    assert task.bytes_read == task.chunk("read").array.nbytes < VOXELS.nbytes


def test_a_box_partly_outside_the_file_is_clipped_and_one_fully_outside_is_refused(
    run_step, file
) -> None:
    box = BoundingBox.parse("5-50_0-11_0-12")
    chunk = run_step(LoadNpy(file_name=file), bbox=box).chunk("chunk")
    assert np.array_equal(chunk.array, VOXELS[5:])
    with pytest.raises(
        BoxOutsideVolume, match=r"box 10-50_0-11_0-12 is outside .*a.npy, which is 0-10_0-11_0-12"
    ):
        run_step(LoadNpy(file_name=file), bbox=BoundingBox.parse("10-50_0-11_0-12"))


def test_the_box_in_the_file_name_gives_the_offset(run_step, tmp_path) -> None:
    box = BoundingBox.parse("2-4_0-3_8-12")
    np.save(tmp_path / f"part_{box}.npy", np.ones((2, 3, 4)))
    assert run_step(LoadNpy(file_name=f"{tmp_path}/part_"), bbox=box).chunk("chunk").bbox == box
    np.save(tmp_path / f"part_{box}.npy", np.ones((2, 3, 5)))
    with pytest.raises(
        ChunkMismatch, match=r"holds \[2, 3, 5\] voxels, and its box has \[2, 3, 4\]"
    ):
        run_step(LoadNpy(file_name=f"{tmp_path}/part_"), bbox=box)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_channels_orders_and_big_endian_numbers(run_step, tmp_path, shape, order) -> None:
    array = np.asarray(np.random.default_rng(0).random(shape), ">f4", order=order)
    np.save(tmp_path / "a.npy", array)
    back = run_step(LoadNpy(file_name=f"{tmp_path}/a.npy")).chunk("chunk").array
    assert np.array_equal(back, array)
    assert back.dtype.isnative
    assert back.flags.c_contiguous


def test_points_are_read_and_moved(run_step, tmp_path) -> None:
    """Named defect of the peer: load-npy was defined twice, and the one that read points could not
    be reached.
    """
    points = np.array([[1, 2, 3], [4, 5, 6]], np.int32)
    np.save(tmp_path / "a.npy", points)
    load = LoadNpy(
        file_name=f"{tmp_path}/a.npy",
        voxel_offset=(10, 20, 30),
        voxel_size=(40, 8, 8),
        output_name="points",
    )
    value = run_step(load).values["points"]
    assert isinstance(value, Points)
    assert value.array.tolist() == [[11, 22, 33], [14, 25, 36]]
    assert value.voxel_size == (40.0, 8.0, 8.0)
    plain = run_step(LoadNpy(file_name=f"{tmp_path}/a.npy")).values["chunk"].array
    assert np.array_equal(plain, points)
    assert plain.dtype == np.int32


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2)), np.zeros(3), np.zeros((1, 1, 1, 1, 1)), np.zeros((1, 1, 1), "S3")]
)
def test_an_array_that_is_neither_a_chunk_nor_points_is_refused(run_step, tmp_path, array) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ChunkMismatch, match=r"a chunk is numbers in zyx or czyx, and points"):
        run_step(LoadNpy(file_name=f"{tmp_path}/a.npy"))


def test_missing_damaged_and_unsafe_files_are_errors(run_step, tmp_path) -> None:
    with pytest.raises(DataMissing, match=r"there is no file .*none.npy"):
        run_step(LoadNpy(file_name=f"{tmp_path}/none.npy"))
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(DataMissing, match=r"text.npy cannot be read as NumPy: it does not begin"):
        run_step(LoadNpy(file_name=f"{tmp_path}/text.npy"))
    np.save(tmp_path / "code.npy", np.array([print], object), allow_pickle=True)
    with pytest.raises(ChunkMismatch, match=r"code.npy holds Python objects, .*can run code"):
        run_step(LoadNpy(file_name=f"{tmp_path}/code.npy"))
    np.savez(tmp_path / "many", a=VOXELS)
    (tmp_path / "many.npz").rename(tmp_path / "many.npy")
    with pytest.raises(ChunkMismatch, match=r"several arrays \(a\), .*numpy.save"):
        run_step(LoadNpy(file_name=f"{tmp_path}/many.npy"))
    np.save(tmp_path / "a.npy", VOXELS)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-5])
    with pytest.raises(DataMissing, match=r"a.npy cannot be read as NumPy: its end is missing"):
        run_step(LoadNpy(file_name=f"{tmp_path}/a.npy"))


@pytest.mark.parametrize(
    ("old", "new"), [(b"'shape'", b"'shopa'"), (b"|u1", b"<q9"), (b"}", b"("), (b"False", b"Maybe")]
)
def test_a_damaged_header_is_told(run_step, tmp_path, old: bytes, new: bytes) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 4), "u1"))
    content = (tmp_path / "a.npy").read_bytes()
    assert old in content
    (tmp_path / "a.npy").write_bytes(content.replace(old, new))
    with pytest.raises(DataMissing, match="its header is damaged"):
        run_step(LoadNpy(file_name=f"{tmp_path}/a.npy"))


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros((2, 3, 4), [("em", "u1"), ("ids", "u8")]), "a table with the fields em, ids"),
        (np.zeros((2, 3, 4), "c8"), "type complex64"),
        (np.zeros((2, 3, 4), "M8[s]"), r"type datetime64\[s\]"),
        (np.zeros((2, 3, 4), "U3"), "type <U3"),
        (np.zeros((2, 3, 4), "g"), "type float128"),
        (np.zeros((0, 3, 4)), "holds no voxels"),
    ],
)
def test_what_is_not_numbers_is_named(run_step, tmp_path, array, problem: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ChunkMismatch, match=problem):
        run_step(LoadNpy(file_name=f"{tmp_path}/a.npy"))


@pytest.mark.parametrize(
    ("axes", "shape", "chunk"),
    [
        ("yx", (5, 3), (1, 5, 3)),
        ("yx", (5, 6), (1, 5, 6)),
        ("zyxc", (2, 3, 4, 5), (5, 2, 3, 4)),
        ("xyz", (2, 3, 4), (4, 3, 2)),
        ("tczyx", (1, 2, 3, 4, 5), (2, 3, 4, 5)),
    ],
)
def test_axes_say_what_an_array_is(run_step, tmp_path, axes: str, shape, chunk) -> None:
    """Without them, an array of shape (n, 3) is points, and other plane ones are refused."""
    np.save(tmp_path / "a.npy", np.zeros(shape))
    load = LoadNpy(file_name=f"{tmp_path}/a.npy", axes=axes)
    assert run_step(load).chunk("chunk").array.shape == chunk
