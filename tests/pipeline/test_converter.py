"""Operators that convert: what an image loses is told once and noted; ids are exact or refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.pipeline.converter import Converter
from chunkflow_worker.pipeline.operator import Run, find_operator
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

BOX = BoundingBox.parse("0-2_0-8_0-8")
# How to let each operator make uint8 of a chunk or of a file that is at `{}`.
TO_UINT8: dict[str, dict[str, Any]] = {
    "save-precomputed": {"volume_path": "file://{}/v"},
    "save-volume": {"volume_path": "file://{}/v"},
    "downsample-upload": {"volume_path": "file://{}/v", "start_mip": 0, "stop_mip": 1},
    "save-zarr": {"store": "file://{}/z", "dtype": "uint8", "chunk_size": (2, 8, 8)},
    "save-h5": {"file_name": "{}/a.h5", "dtype": "uint8"},
    "save-tif": {"file_name": "{}/a.tif", "dtype": "uint8"},
    "save-pngs": {"output_path": "{}/pngs"},
    "load-h5": {"file_name": "{}/i.h5", "dtype": "uint8"},
    "load-tif": {"file_name": "{}/i.tif", "dtype": "uint8"},
    "load-nrrd": {"file_name": "{}/i.nrrd", "dtype": "uint8"},
    "load-png": {"path": "{}/i", "dtype": "uint8"},
}
SAVERS = [name for name in TO_UINT8 if not name.startswith("load")]
IMAGES = {
    "uint16": np.linspace(0, 65535, 128).round().astype("u2"),
    "int16": np.linspace(-32768, 32767, 128).round().astype("i2"),
    "float 0 to 255": np.linspace(0, 255, 128, dtype="f4"),
    "float 0.02 to 254": np.linspace(0.02, 254, 128, dtype="f4"),
    "float 7": np.full(128, 7, "f4"),
    "uint16 of 4000": np.full(128, 4000, "u2"),
    "float with NaN": np.where(np.arange(128) < 64, np.nan, 0.5),
    "float with infinity": np.where(np.arange(128) < 64, np.inf, 0.5),
}


def convert_with(run_step, folder: Path, name: str, array: np.ndarray, **options: Any) -> Task:
    """Run the operator on a chunk of BOX, or on a file that holds it."""
    chunk = Chunk(array.reshape(BOX.size), **options.pop("chunk", {}))
    volume = f"file://{folder}/v"
    if "volume_path" in TO_UINT8[name] and not (folder / "v").exists():
        create_volume(
            volume,
            bounds=BOX,
            voxel_size=(1, 1, 1),
            block_size=BOX.size,
            dtype="uint8",
            layer_type=chunk.layer_type,
        )
    if name.startswith("load"):
        kind = "pngs" if name == "load-png" else name.removeprefix("load-")
        where = {"output_path": f"{folder}/i", "dtype": "uint16"}
        made = where if kind == "pngs" else {"file_name": f"{folder}/i.{kind}"}
        run_step(find_operator(f"save-{kind}")(**made), chunk=chunk)
    placed = {k: v.format(folder) if isinstance(v, str) else v for k, v in TO_UINT8[name].items()}
    task: Task = run_step(find_operator(name)(**placed, **options), chunk=chunk)
    return task


def test_the_table_has_every_operator_with_the_option() -> None:
    from chunkflow_worker.config.catalog import folder_names

    with_scale = {n for n in folder_names() if issubclass(find_operator(n), Converter)}
    assert with_scale == {*TO_UINT8, "quantize"}
    assert all("scale" in find_operator(n).model_fields for n in with_scale)


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("name", SAVERS)
def test_clipped_voxels_are_told_once_and_counted_in_every_task(
    run_step, tmp_path, caplog, name: str, image: str
) -> None:
    values = IMAGES[image]
    scaled = values.astype(float) * (255 if values.dtype.kind == "f" else 1)
    lost = int((~((np.rint(scaled) >= 0) & (np.rint(scaled) <= 255))).sum())
    for _ in range(2):
        task = convert_with(run_step, tmp_path, name, values)
        assert [(c.operator, c.values, c.of) for c in task.clipped] == [(name, lost, 128)]
    [record] = [r for r in caplog.records if "clipped" in r.getMessage()]
    assert record.levelno == logging.WARNING
    assert f"{name}: {100 * lost / 128:.1f} % of the voxels are clipped" in record.getMessage()


@pytest.mark.parametrize("name", ["load-h5", "load-tif", "load-nrrd", "load-png"])
def test_readers_tell_too(run_step, tmp_path, caplog, name: str) -> None:
    task = convert_with(run_step, tmp_path, name, IMAGES["uint16"])
    assert task.clipped[-1].values == 127
    assert f"{name}: 99.2 % of the voxels are clipped" in caplog.text


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("uint16", ["from 0 to 65535, and uint8 takes 0 to 255", "--scale 0 65535", "normalize-c"]),
        ("int16", ["from -32768 to 32767", "--scale -32768 32767"]),
        ("float 0 to 255", ["from 0 to 255, and uint8 takes 0 to 1 of floats", "--scale 0 255"]),
        ("float 0.02 to 254", ["from 0.02 to 254", "--scale 0 255 keeps greys"]),
        ("float 7", ["from 7 to 7", "--scale 0 255 keeps greys"]),
        ("uint16 of 4000", ["from 4000 to 4000", "maps another range to it; or stretch"]),
        ("float with NaN", ["64 are NaN, which becomes 0"]),
        ("float with infinity", ["from 0.5 to inf", "--scale LOW HIGH"]),
    ],
)
def test_the_warning_names_the_range_and_the_option(
    run_step, tmp_path, caplog, image: str, words: list[str]
) -> None:
    convert_with(run_step, tmp_path, "save-h5", IMAGES[image])
    assert all(word in caplog.text for word in words), caplog.text
    assert "scale" in caplog.text or image == "float with NaN"


@pytest.mark.parametrize(
    ("low", "high", "kind", "told"),
    [(-4, 3, "f4", True), (-4, -1, "f2", True), (-1, 1, "f8", True), (0, 5, "f4", False),
     (-4, 3, "i2", False)],
)  # fmt: skip
def test_values_that_may_be_logits_are_told_to_be(
    run_step, tmp_path, caplog, low: int, high: int, kind: str, told: bool
) -> None:
    convert_with(run_step, tmp_path, "save-h5", np.linspace(low, high, 128).astype(kind))
    assert ("end the net with a sigmoid, if these are its logits" in caplog.text) == told


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(0, 1, 4096, dtype="f4") * np.float32(1 + 1e-6),  # rounds to 255
        np.where(np.arange(4096) < 4, 1.5, 0.5),  # just under one in a thousand
        np.arange(4096).astype("u2") % 256,
        np.arange(4096).astype("u1"),
    ],
)
def test_few_clipped_voxels_are_counted_and_not_told(run_step, tmp_path, caplog, values) -> None:
    path = f"{tmp_path}/a.h5"
    operator = find_operator("save-h5")(file_name=path, dtype="uint8")
    task = run_step(operator, chunk=Chunk(values.reshape(16, 16, 16)))
    assert not caplog.records
    assert sum(c.values for c in task.clipped) == (4 if values.max() == 1.5 else 0)


@pytest.mark.parametrize("kind", ["uint16", "int16", "uint32", "int8"])
def test_a_map_that_becomes_0_and_1_is_told(run_step, tmp_path, caplog, kind: str) -> None:
    save = find_operator("save-h5")(file_name=f"{tmp_path}/a.h5", dtype=kind)
    mask = Chunk((np.arange(128) % 2).astype("f4").reshape(BOX.size))
    run_step(save, chunk=mask)
    assert not caplog.records, "a mask stays what it is"
    run_step(save, chunk=Chunk(np.linspace(0, 1, 128, dtype="f4").reshape(BOX.size)))
    [record] = caplog.records
    assert f"become 0 or 1 in {kind}; --scale 0 1" in record.getMessage()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.linspace(-1e-6, 1 + 1e-6, 128), "from -1e-06 to 1 become 0 or 1"),
        (np.linspace(-0.2, 1.2, 128), "from -0.2 to 1.2 become 0 or 1"),
        (np.full(128, 0.3), "from 0.3 to 0.3 become 0 or 1"),
        (np.where(np.arange(128) % 2, 1 - 1e-6, 1e-6), ""),
        (np.ones(128), ""),
    ],
)
def test_a_map_that_overshoots_is_still_a_map(run_step, tmp_path, caplog, values, told) -> None:
    save = find_operator("save-h5")(file_name=f"{tmp_path}/a.h5", dtype="uint16")
    run_step(save, chunk=Chunk(values.astype("f4").reshape(BOX.size)))
    assert len(caplog.records) == bool(told)
    assert told in caplog.text


@pytest.mark.parametrize("name", SAVERS)
def test_a_scale_fits_an_image_into_the_type(run_step, tmp_path, caplog, name: str) -> None:
    task = convert_with(run_step, tmp_path, name, IMAGES["uint16"], scale=(100, 65535 - 100))
    assert not [r for r in caplog.records if "clipped" in r.getMessage()]
    assert [(c.values, c.of) for c in task.clipped] == [(2, 128)]
    expected = np.interp(IMAGES["uint16"].astype(float), (100, 65435), (0, 255)).round()
    if "volume_path" in TO_UINT8[name]:
        made = PrecomputedVolume(f"file://{tmp_path}/v").read(BOX)
        assert made.ravel().tolist() == expected.tolist()


@pytest.mark.parametrize("name", ["load-h5", "load-tif", "load-nrrd", "load-png"])
def test_readers_scale_too(run_step, tmp_path, name: str) -> None:
    task = convert_with(run_step, tmp_path, name, IMAGES["uint16"], scale=(0, 65535))
    made = task.chunk("chunk").array
    assert made.ravel().tolist() == (IMAGES["uint16"] / 257).round().tolist()


def test_quantize_tells_of_a_map_that_is_no_probability(run_step, caplog) -> None:
    chunk = Chunk(IMAGES["float 0 to 255"].reshape(BOX.size))
    quantize = find_operator("quantize")
    run_step(quantize(), chunk=chunk)
    assert "quantize: 99.2 % of the voxels are clipped" in caplog.text
    made = run_step(quantize(scale=(0, 255)), chunk=chunk).chunk("chunk").array
    assert made.ravel().tolist() == IMAGES["float 0 to 255"].round().tolist()


@pytest.mark.parametrize("options", [{}, {"scale": (0, 9)}])
@pytest.mark.parametrize("kind", ["uint16", "uint32", "int64", "uint64", "float32"])
@pytest.mark.parametrize("name", [name for name in TO_UINT8 if name != "load-png"])
def test_ids_that_do_not_fit_are_refused_and_nothing_is_written(
    run_step, tmp_path, name: str, kind: str, options: dict[str, Any]
) -> None:
    ids = np.arange(128, dtype=kind) + np.array(200, kind)
    chunk = {"layer_type": "segmentation"}
    needed = "can't be scaled" if options else "largest id of the segmentation is 327"
    with pytest.raises(ChunkMismatch, match=needed):
        convert_with(run_step, tmp_path, name, ids, chunk=chunk, **options)
    written = [p.name for p in tmp_path.rglob("*") if p.is_file() and not p.name.startswith("i.")]
    assert written in ([], ["info"])


@pytest.mark.parametrize("kind", ["uint16", "float32", "int32"])
@pytest.mark.parametrize("name", ["save-precomputed", "save-zarr", "downsample-upload"])
def test_what_goes_to_a_segmentation_is_ids(run_step, tmp_path, name: str, kind: str) -> None:
    """The chunk's file may not have said it."""
    image = {"is_image": True}
    if name == "save-zarr":
        ids = np.arange(128, dtype="u1")
        convert_with(run_step, tmp_path, name, ids, chunk={"layer_type": "segmentation"})
    else:
        create_volume(
            f"file://{tmp_path}/v",
            bounds=BOX,
            voxel_size=(1, 1, 1),
            block_size=BOX.size,
            dtype="uint8",
            layer_type="segmentation",
        )
    task = convert_with(run_step, tmp_path, name, np.arange(128, dtype=kind), chunk=image)
    assert task.bytes_written == 128
    with pytest.raises(ChunkMismatch, match=r"is a segmentation: the largest id .* is 256"):
        convert_with(run_step, tmp_path, name, np.arange(129, 257, dtype=kind), chunk=image)


@pytest.mark.parametrize("value", [(1, 1), (2, 1), (0, float("inf")), (float("nan"), 1)])
def test_a_scale_is_two_numbers_in_order(value: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match="the lower one first"):
        find_operator("save-h5")(file_name="a", scale=value)


def test_tasks_of_two_threads_are_warned_of_once(caplog) -> None:
    operator = find_operator("quantize")()
    with operator.open(Run(lambda box, bounds: box)) as step:
        for z in range(3):
            box = BoundingBox.parse(f"{2 * z}-{2 * z + 2}_0-8_0-8")
            chunk = Chunk(np.full(BOX.size, 7 + z, "f4"), box.start)
            step(Task(bbox=box, values={"chunk": chunk}))
    [record] = caplog.records
    assert "quantize on 0-2_0-8_0-8" in record.getMessage()


@pytest.mark.parametrize("told", [None, "image", "segmentation"])
@pytest.mark.parametrize("kind", ["int32", "uint64"])
@pytest.mark.parametrize("name", ["h5", "tif", "nrrd", "npy", "zarr"])
def test_only_the_user_s_word_makes_an_image_of_wide_integers(
    run_step, tmp_path, name: str, kind: str, told: str | None
) -> None:
    """The files say that they hold an image; writers that do not know better do so."""
    path = {"store" if name == "zarr" else "file_name": f"{tmp_path}/a.{name}"}
    chunk = Chunk(np.full(BOX.size, 300, kind), is_image=True)
    run_step(find_operator(f"save-{name}")(**path), chunk=chunk)
    task = run_step(find_operator(f"load-{name}")(**path, layer_type=told))
    loaded = task.chunk("chunk")
    assert loaded.is_segmentation == (told != "image")
    save = find_operator("save-pngs")(output_path=f"{tmp_path}/pngs")
    if told == "image":
        assert run_step(save, chunk=loaded).clipped[0].values == 128
    else:
        hint = "--layer-type image" if told is None else "uint16 holds it$"
        with pytest.raises(ChunkMismatch, match=hint):
            run_step(save, chunk=loaded)
