"""save-h5: the tests read files with h5py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.load_h5 import LoadH5
from chunkflow_worker.operators.save_h5 import SaveH5
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task

VOXELS = np.random.default_rng(0).integers(0, 2**16, (4, 5, 6)).astype(np.uint16)
CHUNK = Chunk(VOXELS, Vec3(-2, 100, 1000), (40.0, 7.16, 7.5))


def stored(path: Path) -> dict[str, Any]:
    with h5py.File(path, "r") as file:
        return {name: file[name][()] for name in file} | dict(file.attrs)


def test_the_file_holds_voxels_offset_voxel_size_and_layer_type(run_step, tmp_path) -> None:
    path = tmp_path / "new" / "a.h5"
    task = run_step(SaveH5(file_name=str(path)), chunk=CHUNK)
    content = stored(path)
    assert content.keys() == {"main", "voxel_offset", "voxel_size", "layer_type"}
    assert content["main"].dtype == np.uint16
    assert np.array_equal(content["main"], VOXELS)
    assert content["voxel_offset"].tolist() == [-2, 100, 1000]
    assert content["voxel_size"].tolist() == [40.0, 7.16, 7.5]
    assert content["layer_type"] == "image"
    assert task.bytes_written == VOXELS.nbytes
    assert list(path.parent.iterdir()) == [path]


def test_a_prefix_names_a_file_for_each_task(tmp_path) -> None:
    """Named defect of the peer: save-h5 with a prefix wrote every task to the first task's file."""
    boxes = [
        BoundingBox.parse("0-2_0-3_0-4"),
        BoundingBox.parse("2-4_0-3_0-4"),
        BoundingBox.parse("-2-0_0-3_0-4"),
    ]
    with SaveH5(file_name=f"{tmp_path}/part_").open(
        Run(needed_box=lambda box, bounds: box)
    ) as step:
        for i, box in enumerate(boxes):
            step(Task(box, {"chunk": Chunk(np.full(box.size, i, np.uint8), box.start)}))
    assert {p.name for p in tmp_path.iterdir()} == {f"part_{box}.h5" for box in boxes}
    for i, box in enumerate(boxes):
        content = stored(tmp_path / f"part_{box}.h5")
        assert np.unique(content["main"]).tolist() == [i]
        assert content["voxel_offset"].tolist() == list(box.start)


def test_one_file_is_not_overwritten_by_the_next_box(tmp_path) -> None:
    first, second = BoundingBox.parse("0-1_0-1_0-1"), BoundingBox.parse("1-2_0-1_0-1")
    with SaveH5(file_name=f"{tmp_path}/a.h5").open(Run(needed_box=lambda box, bounds: box)) as step:
        for _ in range(2):
            step(Task(first, {"chunk": Chunk(np.zeros((1, 1, 1)), first.start)}))
        with pytest.raises(
            ConfigError, match="would overwrite what was written for box 0-1_0-1_0-1"
        ):
            step(Task(second, {"chunk": Chunk(np.zeros((1, 1, 1)), second.start)}))
    assert stored(tmp_path / "a.h5")["voxel_offset"].tolist() == [0, 0, 0]


def test_the_chunk_is_cropped_to_the_box_of_the_task_and_the_box_names_the_file(
    run_step, tmp_path
) -> None:
    box = BoundingBox.parse("-1-1_101-104_1000-1003")
    run_step(SaveH5(file_name=f"{tmp_path}/"), bbox=box, chunk=CHUNK)
    content = stored(tmp_path / f"{box}.h5")
    assert np.array_equal(content["main"], VOXELS[1:3, 1:4, 0:3])
    assert content["voxel_offset"].tolist() == [-1, 101, 1000]


def test_a_box_that_crosses_the_border_saves_the_part_inside(run_step, tmp_path) -> None:
    box = BoundingBox.parse("0-9_100-105_1000-1006")
    run_step(SaveH5(file_name=f"{tmp_path}/"), bbox=box, chunk=CHUNK)
    assert np.array_equal(stored(tmp_path / f"{box}.h5")["main"], VOXELS)


def test_without_a_box_of_the_task_a_prefix_is_completed_with_the_box_of_the_chunk(
    run_step, tmp_path
) -> None:
    run_step(SaveH5(file_name=f"{tmp_path}/", input_name="map"), map=CHUNK)
    assert [p.name for p in tmp_path.iterdir()] == ["-2-2_100-105_1000-1006.h5"]


@pytest.mark.parametrize("layer_type", ["segmentation", "image"])
def test_ids_of_32_and_64_bits_are_listed_for_every_layer_type(
    run_step, tmp_path, layer_type
) -> None:
    run_step(
        SaveH5(file_name=f"{tmp_path}/a.h5"),
        chunk=Chunk(np.array([[[0, 7, 3]]], np.uint32), layer_type=layer_type),
    )
    assert stored(tmp_path / "a.h5")["unique_nonzeros"].tolist() == [3, 7]


def test_the_file_of_a_segmentation_lists_its_object_ids(run_step, tmp_path) -> None:
    ids = np.array([[[0, 7, 7], [2**63, 3, 0]]], np.uint64)
    run_step(SaveH5(file_name=f"{tmp_path}/a.h5"), chunk=Chunk(ids, layer_type="segmentation"))
    content = stored(tmp_path / "a.h5")
    assert content["unique_nonzeros"].tolist() == [3, 7, 2**63]
    assert content["layer_type"] == "segmentation"
    run_step(
        SaveH5(file_name=f"{tmp_path}/b.h5"), chunk=Chunk(ids[:, :, 1:2], layer_type="segmentation")
    )
    assert stored(tmp_path / "b.h5")["unique_nonzeros"].tolist() == [3, 7], (
        "the smallest id is listed even if the chunk holds no 0"
    )


@pytest.mark.parametrize("compression", ["gzip", "lzf", "szip"])
@pytest.mark.parametrize("dtype", ["uint8", "uint64", "float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 33, 65), (2, 3, 17, 9)])
def test_every_compression_keeps_every_voxel(run_step, tmp_path, compression, dtype, shape) -> None:
    array = (np.random.default_rng(1).random(shape) * 255).astype(dtype)
    for chunk_size in (None, (2, 16, 16)):
        save = SaveH5(file_name=f"{tmp_path}/a.h5", compression=compression, chunk_size=chunk_size)
        run_step(save, chunk=Chunk(array))
        with h5py.File(tmp_path / "a.h5", "r") as file:
            assert np.array_equal(file["main"][()], array)
            assert file["main"].dtype == dtype
            tiny = compression == "szip" and array.size < 8
            assert file["main"].compression == (None if tiny else compression)
            if chunk_size:
                fitting = tuple(min(c, s) for c, s in zip(chunk_size, shape[-3:], strict=True))
                assert file["main"].chunks == (1,) * (len(shape) - 3) + fitting


def test_options_for_offset_and_voxel_size(run_step, tmp_path) -> None:
    run_step(
        SaveH5(file_name=f"{tmp_path}/a.h5", with_offset=False, voxel_size=(1, 2, 3.5)), chunk=CHUNK
    )
    content = stored(tmp_path / "a.h5")
    assert "voxel_offset" not in content
    assert content["voxel_size"].tolist() == [1, 2, 3.5]


def test_conversion_to_uint8_saturates_and_does_not_change_the_chunk(run_step, tmp_path) -> None:
    """chunkflow 1.2.0 converted 1.5 to 126, and scaled the chunk in memory."""
    array = np.array([[[0.0, 0.5, 1.0, 1.5, -1.0, np.nan]]], np.float32)
    task = run_step(SaveH5(file_name=f"{tmp_path}/a.h5", dtype="uint8"), chunk=Chunk(array))
    assert stored(tmp_path / "a.h5")["main"].ravel().tolist() == [0, 128, 255, 255, 0, 0]
    assert task.chunk("chunk").array.ravel()[:5].tolist() == [0.0, 0.5, 1.0, 1.5, -1.0]
    assert task.bytes_written == 6


@pytest.mark.parametrize(("touch", "written"), [(True, ["0-1_0-1_0-1.h5"]), (False, [])])
def test_a_missing_chunk_is_saved_as_an_empty_file_if_touch_is_set(
    tmp_path, run_step, touch: bool, written: list[str]
) -> None:
    task = Task(BoundingBox.parse("0-1_0-1_0-1"), {"chunk": None})
    run_step(SaveH5(file_name=f"{tmp_path}/", touch=touch), task)
    assert [p.name for p in tmp_path.iterdir()] == written
    assert all(p.stat().st_size == 0 for p in tmp_path.iterdir())


def test_an_unknown_chunk_name_is_an_error(tmp_path, run_step) -> None:
    with pytest.raises(ChunkMismatch, match="no chunk named 'map'; made so far: chunk"):
        run_step(SaveH5(file_name=f"{tmp_path}/a.h5", input_name="map"), chunk=CHUNK)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_nothing(tmp_path) -> None:
    with SaveH5(file_name=f"{tmp_path}/new/").open(
        Run(lambda box, bounds: box, dry_run=True)
    ) as step:
        step(task := Task(values={"chunk": CHUNK}))
        step(Task(CHUNK.bbox, {"chunk": None}))
    assert list(tmp_path.iterdir()) == []
    assert task.bytes_written == 0


def test_saving_the_same_chunk_twice_writes_the_same_bytes(run_step, tmp_path) -> None:
    for name in ("a.h5", "b.h5"):
        run_step(SaveH5(file_name=f"{tmp_path}/{name}"), chunk=CHUNK)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_failed_write_keeps_the_old_file(run_step, tmp_path) -> None:
    path = tmp_path / "a.h5"
    run_step(SaveH5(file_name=str(path)), chunk=CHUNK)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        run_step(SaveH5(file_name=str(path)), chunk=Chunk(np.array([[[object()]]])))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_load_h5_reads_it_back(run_step, tmp_path) -> None:
    chunk = Chunk(
        np.random.default_rng(2).random((2, 3, 4, 5)),
        Vec3(-1, -2, -3),
        (40.0, 7.16, 7.5),
        "segmentation",
    )
    run_step(SaveH5(file_name=f"{tmp_path}/a.h5"), chunk=chunk)
    back = run_step(LoadH5(file_name=f"{tmp_path}/a.h5")).chunk("chunk")
    assert np.array_equal(back.array, chunk.array)
    assert back.bbox == chunk.bbox
    assert back.voxel_size == chunk.voxel_size
    assert back.layer_type == chunk.layer_type


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"chunk_size": [0, 1, 1]}, "takes numbers above 0"),
        ({"voxel_size": [1, 1, -1]}, "takes numbers above 0"),
        ({"dtype": "complex64"}, "is not one of its values"),
        ({"file_name": "gs://bucket/a.h5"}, "without a protocol"),
        ({"compression": "zip"}, "legal: 'gzip', 'lzf' or 'szip'"),
    ],
)
def test_wrong_options_are_refused_without_running_the_chain(options, text: str) -> None:
    create = {"op": "create-chunk"}
    with pytest.raises(ConfigError, match=text):
        Pipeline.parse({"operators": [create, {"op": "save-h5", "file_name": "a.h5", **options}]})
