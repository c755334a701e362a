"""Every format restores what was written: values, dtype, offset, voxel size and layer type. What it
cannot store, it refuses.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkflow_worker.cli.chunkflow import cli
from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.load_npy import LoadNpy
from chunkflow_worker.operators.save_npy import SaveNpy
from chunkflow_worker.pipeline.operator import Run, find_operator
from chunkflow_worker.pipeline.task import Task

NUMBERS = (
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
)
ALL_DTYPES = (*NUMBERS, "float16", "bool")
NEUROGLANCER = tuple(dtype for dtype in NUMBERS if dtype not in ("int64", "float64"))


@dataclass(frozen=True)
class Format:
    """How to write and read a format: operators with their options, where `{}` is the folder.

    dtypes: the dtypes it supports. drops: whether it drops the axis of a single channel.
    """

    save: dict[str, dict[str, Any]]
    load: dict[str, dict[str, Any]]
    dtypes: tuple[str, ...] = ALL_DTYPES
    drops: bool = False


def zarr(driver: str, dtypes: tuple[str, ...] = ALL_DTYPES, **options: Any) -> Format:
    save = {"store": "{}/a", "driver": driver, "chunk_size": (2, 3, 2), **options}
    return Format({"save-zarr": save}, {"load-zarr": {"store": "{}/a"}}, dtypes, drops=True)


FORMATS = {
    "h5": Format({"save-h5": {"file_name": "{}/a.h5"}}, {"load-h5": {"file_name": "{}/a.h5"}}),
    "tif": Format({"save-tif": {"file_name": "{}/a.tif"}}, {"load-tif": {"file_name": "{}/a.tif"}}),
    "nrrd": Format(
        {"save-nrrd": {"file_name": "{}/a.nrrd"}},
        {"load-nrrd": {"file_name": "{}/a.nrrd"}},
        NUMBERS,
    ),
    "OME-Zarr 0.4, zarr 2": zarr("zarr"),
    "OME-Zarr 0.5, zarr 3": zarr("zarr3"),
    "OME-Zarr 0.5, xyz": zarr("zarr3", order="xyz"),
    "N5": zarr("n5", NUMBERS),
    "precomputed": Format(
        {
            "create-info": {"volume_path": "file://{}/a", "block_size": (2, 3, 2)},
            "save-precomputed": {"volume_path": "file://{}/a"},
        },
        {"load-precomputed": {"volume_path": "file://{}/a"}},
        NEUROGLANCER,
        drops=True,
    ),
}


@st.composite
def chunks(draw: st.DrawFn, dtypes: tuple[str, ...]) -> Chunk:
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shape = draw(st.lists(st.integers(1, 5), min_size=3, max_size=4))
    if dtype.kind in "ui":
        limits = np.iinfo(dtype)
        array = np.random.default_rng(0).integers(
            limits.min, limits.max, shape, dtype, endpoint=True
        )
    else:
        array = np.random.default_rng(0).normal(0, 100, shape).astype(dtype)
    return Chunk(
        array,
        Vec3(*draw(st.tuples(*[st.integers(-(10**6), 10**6)] * 3))),
        draw(st.tuples(*[st.integers(1, 10**7).map(lambda n: n / 100)] * 3)),
        draw(st.sampled_from(["image", "segmentation"])),
    )


def run_all(run_step: Any, steps: dict[str, dict[str, Any]], folder: str, **values: Any) -> Chunk:
    """Run the operators in this folder. Returns the chunk of the last task."""
    for name, options in steps.items():
        placed = {
            key: value.format(folder) if isinstance(value, str) else value
            for key, value in options.items()
        }
        task = run_step(find_operator(name)(**placed), **values)
    chunk: Chunk = task.chunk("chunk")
    return chunk


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_written_chunk_is_restored(run_step, name: str, data: st.DataObject) -> None:
    kind = FORMATS[name]
    chunk = data.draw(chunks(kind.dtypes))
    with TemporaryDirectory() as folder:
        run_all(run_step, kind.save, folder, chunk=chunk)
        back = run_all(run_step, kind.load, folder)
    assert np.array_equal(back.czyx, chunk.czyx)
    assert back.dtype == chunk.dtype
    layer_type = chunk.layer_type
    if name == "precomputed" and chunk.is_segmentation:
        layer_type = "segmentation"  # set by create-info
    assert back.bbox == chunk.bbox
    assert back.voxel_size == chunk.voxel_size
    assert back.layer_type == layer_type
    assert back.array.ndim == (3 if kind.drops and chunk.channels == 1 else chunk.array.ndim)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, d) for name, kind in FORMATS.items() for d in ALL_DTYPES if d not in kind.dtypes],
)
def test_a_dtype_that_the_format_does_not_support_is_refused(
    run_step, tmp_path: Path, name: str, dtype: str
) -> None:
    """A retry would not help, so this is not an error of storage."""
    with pytest.raises((ChunkMismatch, ConfigError), match=f"has no {dtype}"):
        run_all(
            run_step, FORMATS[name].save, str(tmp_path), chunk=Chunk(np.zeros((1, 2, 3), dtype))
        )
    assert not list(tmp_path.iterdir())


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunk=chunks(ALL_DTYPES))
def test_npy_is_restored_with_the_options_in_its_warning(run_step, caplog, chunk: Chunk) -> None:
    caplog.clear()
    with TemporaryDirectory() as folder:
        run_step(SaveNpy(file_name=f"{folder}/a.npy"), chunk=chunk)
        messages = " ".join(record.getMessage() for record in caplog.records)
        options = messages.partition(" load it with: load-npy")[2]
        arguments = ["--file-name", f"{folder}/a.npy", *shlex.split(options)]
        command = cli.get_command(None, "load-npy")  # type: ignore[arg-type]
        parameters = command.make_context("load-npy", arguments).params
        load = LoadNpy(**{k: v for k, v in parameters.items() if v is not None})
        back = run_step(load).chunk("chunk")
    assert np.array_equal(back.array, chunk.array)
    assert (back.dtype, back.array.shape) == (chunk.dtype, chunk.array.shape)
    assert back.bbox == chunk.bbox
    assert back.voxel_size == chunk.voxel_size
    assert back.layer_type == chunk.layer_type


def test_npy_warns_once_and_only_about_lost_metadata(run_step, tmp_path, caplog) -> None:
    at_zero = Chunk(np.zeros((1, 2, 3)))
    run_step(SaveNpy(file_name=f"{tmp_path}/a.npy"), chunk=at_zero)
    run_step(SaveNpy(file_name=f"{tmp_path}/a_"), chunk=Chunk(at_zero.array, Vec3(-1, 0, 7)))
    assert not caplog.records, "the file name contains the box"
    with SaveNpy(file_name=f"{tmp_path}/b_").open(Run(lambda box, bounds: box)) as step:
        for z in range(3):
            step(Task(values={"chunk": Chunk(at_zero.array, Vec3(z, 0, 7), (40.0, 7.5, 8.0))}))
    [record] = caplog.records
    assert record.getMessage().endswith("load it with: load-npy --voxel-size 40.0 7.5 8.0")
