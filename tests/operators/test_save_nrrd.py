"""save-nrrd: the tests parse the files by the format specification, without pynrrd."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.load_nrrd import LoadNrrd
from chunkflow_worker.operators.save_nrrd import SaveNrrd
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task

DTYPES = [
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float32",
    "float64",
]
NAMES = {"uint8": "uint8", "float32": "float", "float64": "double"}


def parse(path: Path) -> tuple[dict[str, str], bytes]:
    """Header fields and voxels of an NRRD file."""
    head, _, data = path.read_bytes().partition(b"\n\n")
    lines = [line for line in head.decode().splitlines()[1:] if not line.startswith("#")]
    return dict(line.replace(":=", ": ", 1).split(": ", 1) for line in lines), gzip.decompress(data)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_header_gives_direction_and_origin_of_each_axis(run_step, tmp_path, dtype) -> None:
    """chunkflow 1.2.0 fails here: it calls a method that does not exist."""
    array = np.arange(2 * 3 * 4).astype(dtype).reshape(2, 3, 4)
    chunk = Chunk(array, Vec3(-2, 100, 1000), (40.0, 7.5, 8.0), "segmentation")
    task = run_step(SaveNrrd(file_name=f"{tmp_path}/a.nrrd"), chunk=chunk)
    fields, data = parse(tmp_path / "a.nrrd")
    assert fields["type"] == NAMES.get(dtype, dtype)
    assert (fields["dimension"], fields["sizes"]) == ("3", "4 3 2")
    assert fields["labels"] == '"x" "y" "z"'
    assert fields["space directions"] == "(8,0,0) (0,7.5,0) (0,0,40)"
    assert fields["space origin"] == "(8000,750,-80)"
    assert fields["space units"] == '"nm" "nm" "nm"'
    x_fastest = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).reshape((4, 3, 2), order="F")
    assert np.array_equal(x_fastest.transpose(), array)
    assert task.bytes_written == array.nbytes


def test_channels_are_the_slowest_axis_and_have_no_direction(run_step, tmp_path) -> None:
    array = np.random.default_rng(0).random((5, 2, 3, 4), np.float32)
    run_step(SaveNrrd(file_name=f"{tmp_path}/a.nrrd"), chunk=Chunk(array))
    fields, data = parse(tmp_path / "a.nrrd")
    assert (fields["sizes"], fields["kinds"]) == ("4 3 2 5", "domain domain domain list")
    assert fields["space directions"].endswith(" none")
    assert np.array_equal(np.frombuffer(data, "<f4").reshape(array.shape), array)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    offset=st.tuples(*[st.integers(-(10**9), 10**9)] * 3),
    voxel_size=st.tuples(*[st.floats(0.01, 1e5)] * 3),
    shape=st.lists(st.integers(1, 4), min_size=3, max_size=4),
    layer_type=st.sampled_from(["image", "segmentation"]),
)
def test_load_nrrd_restores_the_chunk(
    run_step, tmp_path, offset, voxel_size, shape, layer_type
) -> None:
    chunk = Chunk(
        np.arange(np.prod(shape), dtype=np.int64).reshape(shape),
        Vec3(*offset),
        voxel_size,
        layer_type,
    )
    run_step(SaveNrrd(file_name=f"{tmp_path}/a.nrrd"), chunk=chunk)
    back = run_step(LoadNrrd(file_name=f"{tmp_path}/a.nrrd")).chunk("chunk")
    assert np.array_equal(back.array, chunk.array)
    assert (back.bbox, back.voxel_size, back.dtype) == (chunk.bbox, chunk.voxel_size, chunk.dtype)
    assert back.layer_type == layer_type


def test_the_chunk_is_cropped_to_the_box_of_the_task_and_the_box_names_the_file(
    run_step, tmp_path
) -> None:
    box = BoundingBox.parse("1-3_1-3_1-3")
    chunk = Chunk(np.arange(64, dtype=np.uint8).reshape(4, 4, 4))
    run_step(SaveNrrd(file_name=f"{tmp_path}/a_"), chunk=chunk, bbox=box)
    assert [p.name for p in tmp_path.iterdir()] == ["a_1-3_1-3_1-3.nrrd"]
    back = run_step(LoadNrrd(file_name=f"{tmp_path}/a_"), bbox=box).chunk("chunk")
    assert np.array_equal(back.array, chunk.array[1:3, 1:3, 1:3])
    assert back.bbox == box


def test_without_a_file_name_the_box_names_the_file(run_step, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_step(SaveNrrd(), chunk=Chunk(np.zeros((1, 2, 3), np.uint8)))
    assert (tmp_path / "0-1_0-2_0-3.nrrd").exists()


@pytest.mark.parametrize("dtype", ["bool", "float16", "complex64"])
def test_dtypes_that_nrrd_does_not_support_are_refused(run_step, tmp_path, dtype) -> None:
    with pytest.raises(
        ChunkMismatch, match=f"NRRD has no {dtype}, the type of 'chunk': load it with --dtype"
    ):
        run_step(SaveNrrd(file_name=f"{tmp_path}/a.nrrd"), chunk=Chunk(np.zeros((1, 1, 1), dtype)))


def test_two_boxes_may_not_share_a_file_and_a_dry_run_writes_nothing(tmp_path) -> None:
    with SaveNrrd(file_name=f"{tmp_path}/a.nrrd").open(
        Run(lambda box, bounds: box, dry_run=True)
    ) as step:
        step(Task(values={"chunk": Chunk(np.zeros((1, 1, 1)))}))
        with pytest.raises(ConfigError, match="would overwrite"):
            step(Task(values={"chunk": Chunk(np.zeros((1, 1, 1)), Vec3(1, 0, 0))}))
    assert not list(tmp_path.iterdir())
