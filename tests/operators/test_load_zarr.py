"""load-zarr: the tests write arrays with zarr-python and tensorstore."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zarr

from chunkflow_worker.errors import (
    BlockDamaged,
    BoxOutsideVolume,
    ChunkMismatch,
    ConfigError,
    DataMissing,
)
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.operators.load_zarr import LoadZarr
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.task import Task

VOXELS = np.random.default_rng(0).integers(1, 60000, (10, 12, 14)).astype(np.uint16)


@pytest.fixture
def make(tmp_path: Path):
    def make_array(
        array: np.ndarray,
        attributes: dict[str, Any] | None = None,
        version: int = 3,
        **options: Any,
    ) -> str:
        made = zarr.create_array(
            f"{tmp_path}/a",
            shape=array.shape,
            dtype=array.dtype,
            chunks=(*(1,) * (array.ndim - 3), 4, 4, 4),
            zarr_format=version,
            attributes=attributes or {},
            **options,
        )
        made[:] = array
        return f"{tmp_path}/a"

    return make_array


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("shape", [(10, 12, 14), (2, 10, 12, 14)])
def test_a_plain_array_has_offset_zero(run_step, make, version, shape) -> None:
    """Named defect of the peer: load-zarr could not run."""
    array = np.broadcast_to(VOXELS, shape)
    task = run_step(LoadZarr(store=make(array, version=version)))
    chunk = task.chunk("chunk")
    assert np.array_equal(chunk.array, array)
    assert (str(chunk.bbox), chunk.voxel_size) == ("0-10_0-12_0-14", (1.0, 1.0, 1.0))
    assert task.bbox == chunk.bbox
    assert task.bytes_read == array.nbytes


@pytest.mark.parametrize(
    ("attributes", "offset"),
    [
        ({"voxel_offset": [1, -2, 3], "voxel_size": [40, 8, 7.5]}, "1-11_-2-10_3-17"),
        ({"offset": [40, -16, 22.5], "resolution": [40, 8, 7.5]}, "1-11_-2-10_3-17"),
        (
            {
                "_ARRAY_DIMENSIONS": ["z", "y", "x"],
                "offset": [40, -16, 22.5],
                "resolution": [40, 8, 7.5],
            },
            "1-11_-2-10_3-17",
        ),
        (
            {
                "units": ["um"] * 3,
                "offset": [0.04, -0.016, 0.0225],
                "resolution": [0.04, 0.008, 0.0075],
            },
            "1-11_-2-10_3-17",
        ),
    ],
)
def test_reads_offset_and_voxel_size_stored_beside_the_array(
    run_step, make, attributes, offset
) -> None:
    store = make(VOXELS, attributes, version=2)
    chunk = run_step(LoadZarr(store=store)).chunk("chunk")
    assert (str(chunk.bbox), chunk.voxel_size) == (offset, (40.0, 8.0, 7.5))
    given = run_step(LoadZarr(store=store, voxel_size=(4, 4, 4))).chunk("chunk")
    assert (given.bbox, given.voxel_size) == (chunk.bbox, (4.0, 4.0, 4.0))


@pytest.mark.parametrize(
    ("names", "options"),
    [(("x", "y", "z"), {}), (None, {"order": "xyz"}), (("X", "Y", "Z"), {"order": "zyx"})],
)
def test_axes_in_the_order_xyz_are_transposed(run_step, make, names, options) -> None:
    store = make(np.ascontiguousarray(VOXELS.transpose()), dimension_names=names)
    assert np.array_equal(run_step(LoadZarr(store=store, **options)).chunk("chunk").array, VOXELS)


def test_the_first_axis_of_an_n5_array_is_x(run_step, tmp_path) -> None:
    spec = {
        "driver": "n5",
        "kvstore": {"driver": "file", "path": f"{tmp_path}/a/deep/"},
        "metadata": {
            "dimensions": [14, 12, 10],
            "blockSize": [4, 4, 4],
            "dataType": "uint16",
            "compression": {"type": "gzip"},
        },
    }
    tensorstore.open(spec, create=True).result()[...] = VOXELS.transpose()
    chunk = run_step(
        LoadZarr(store=f"{tmp_path}/a", path="deep", driver="n5", voxel_size=(40, 8, 8))
    ).chunk("chunk")
    assert np.array_equal(chunk.array, VOXELS)
    assert chunk.voxel_size == (40.0, 8.0, 8.0)


@pytest.mark.parametrize("version", ["0.3", "0.4", "0.5"])
def test_an_ome_zarr_of_five_axes_in_micrometres(run_step, tmp_path, version) -> None:
    old = version != "0.5"
    group = zarr.open_group(f"{tmp_path}/a", mode="w", zarr_format=2 if old else 3)
    axes: list[Any] = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    levels = []
    for i in (0, 1):
        array = np.stack([VOXELS, VOXELS[::-1]])[None, :, :: i + 1, :: i + 1, :: i + 1]
        group.create_array(str(i), shape=array.shape, dtype=array.dtype)[:] = array
        steps = [{"type": "scale", "scale": [1, 1, *(s * (i + 1) for s in (0.04, 0.008, 0.008))]}]
        steps += [{"type": "translation", "translation": [0, 0, 0.16, 0.16, -0.16]}]
        levels.append(
            {"path": str(i)} | ({} if version == "0.3" else {"coordinateTransformations": steps})
        )
    scales = [
        {
            "version": version,
            "axes": ["t", "c", "z", "y", "x"] if version == "0.3" else axes,
            "datasets": levels,
        }
    ]
    group.attrs.update(
        {"multiscales": scales} if old else {"ome": {"version": "0.5", "multiscales": scales}}
    )
    chunk = run_step(LoadZarr(store=f"{tmp_path}/a")).chunk("chunk")
    assert np.array_equal(chunk.array, np.stack([VOXELS, VOXELS[::-1]]))
    if version != "0.3":
        assert chunk.voxel_size == pytest.approx((40.0, 8.0, 8.0))
        assert tuple(chunk.voxel_offset) == (4, 20, -20)
    coarse = run_step(LoadZarr(store=f"{tmp_path}/a", path="1")).chunk("chunk")
    assert np.array_equal(coarse.array[0], VOXELS[::2, ::2, ::2])
    if version != "0.3":
        assert coarse.voxel_size == pytest.approx((80.0, 16.0, 16.0))
        assert tuple(coarse.voxel_offset) == (2, 10, -10)


def test_reads_the_box_of_the_task_and_the_context_that_later_operators_need(make) -> None:
    load = {"op": "load-zarr", "store": make(VOXELS), "output_chunk_name": "read"}
    crop = {"op": "crop-margin", "margin_size": [2] * 6, "input_chunk_name": "read"}
    with Pipeline.parse({"operators": [load, crop]}).open() as opened:
        opened.run(task := Task(BoundingBox.parse("1-4_3-5_6-12")))
    assert str(task.chunk("read").bbox) == "0-6_1-7_4-14"
    assert np.array_equal(task.chunk("chunk").array, VOXELS[1:4, 3:5, 6:12])


def test_a_cutout_sets_the_box_of_a_task_that_has_none(run_step, make) -> None:
    load = LoadZarr(store=make(VOXELS), chunk_start=(1, 2, 3), chunk_size=(2, 3, 4))
    task = run_step(load)
    assert str(task.bbox) == "1-3_2-5_3-7"
    assert np.array_equal(task.chunk("chunk").array, VOXELS[1:3, 2:5, 3:7])
    task = run_step(load, bbox=BoundingBox.parse("8-9_0-1_0-1"))
    assert (str(task.bbox), str(task.chunk("chunk").bbox)) == ("8-9_0-1_0-1", "1-3_2-5_3-7")
    with pytest.raises(BoxOutsideVolume, match="box 10-12_0-1_0-1 is outside"):
        run_step(LoadZarr(store=load.store), bbox=BoundingBox.parse("10-12_0-1_0-1"))


@pytest.mark.parametrize("version", [2, 3])
def test_a_missing_block_is_an_error_and_not_zeros(run_step, make, version) -> None:
    store = make(VOXELS, version=version)
    block = Path(store, "1.0.2" if version == 2 else "c/1/0/2")
    block.unlink()
    with pytest.raises(
        DataMissing, match="a lacks 1 blocks of box 0-10_0-12_0-14, for example 4-8_0-4_8-12"
    ):
        run_step(LoadZarr(store=store))
    other_blocks = BoundingBox.parse("0-4_0-12_0-14")
    assert run_step(LoadZarr(store=store), bbox=other_blocks).chunk("chunk").array.all()
    filled = run_step(LoadZarr(store=store, fill_missing=True)).chunk("chunk").array
    assert np.argwhere(filled == 0).tolist() == [
        [z, y, x] for z in range(4, 8) for y in range(4) for x in range(8, 12)
    ]


def test_a_damaged_block_raises_block_damaged(run_step, make) -> None:
    store = make(VOXELS, version=2)
    Path(store, "1.0.2").write_bytes(b"hello")
    with pytest.raises(BlockDamaged):
        run_step(LoadZarr(store=store))


def test_an_array_that_is_not_a_chunk_is_refused(run_step, make) -> None:
    with pytest.raises(
        ChunkMismatch, match=r"has axes c z y of .*a chunk has z, y, x and at most channels"
    ):
        run_step(LoadZarr(store=make(VOXELS, dimension_names=("c", "z", "y"))))


def test_a_missing_store_or_one_of_another_format_is_an_error(run_step, make, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"store: there is no Zarr or N5 array at .*/none"):
        run_step(LoadZarr(store=f"{tmp_path}/none"))
    store = make(VOXELS)
    with pytest.raises(ConfigError, match=r"store: there is no n5 array at .*/a"):
        run_step(LoadZarr(store=store, driver="n5"))
    with pytest.raises(ConfigError, match=r"store: there is no Zarr or N5 array at .*/a/b"):
        run_step(LoadZarr(store=store, path="b"))
    content = json.loads(Path(store, "zarr.json").read_text())
    content["codecs"] = [{"name": "magic"}]
    Path(store, "zarr.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"zarr.json: its compression can't be read: magic\n"):
        run_step(LoadZarr(store=store))


def image(folder: Path, path: str = "0", unit: str = "nanometer", **more: Any) -> str:
    """An OME-Zarr 0.4 image of one level at `path`, and more attributes of its group."""
    group = zarr.open_group(folder, mode="w", zarr_format=2)
    group.create_array(path, data=VOXELS, chunks=(4, 4, 4))
    axes = [{"name": n, "type": "space", "unit": unit} for n in "zyx"]
    steps = [
        {"type": "scale", "scale": [40, 8, 8]},
        {"type": "translation", "translation": [80, 16, -8]},
    ]
    datasets = [{"path": path, "coordinateTransformations": steps}]
    scales = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    group.attrs.update({"multiscales": scales, **more})
    return str(folder)


@pytest.mark.parametrize(
    ("store", "path"),
    [
        ("a.zarr/em", None),
        ("a.zarr/em/s0", None),
        ("a.zarr/em/s0/", None),
        ("a.zarr/em", "s0/"),
        ("a.zarr/em", "/s0"),
        ("a.zarr", "em"),
        ("a.zarr", "em/s0"),
        ("a.zarr", "/em/s0/"),
    ],
)
def test_an_array_is_the_same_by_all_of_its_names(run_step, tmp_path, store, path) -> None:
    image(tmp_path / "a.zarr/em", "s0")
    chunk = run_step(LoadZarr(store=f"{tmp_path}/{store}", path=path)).chunk("chunk")
    assert np.array_equal(chunk.array, VOXELS)
    assert (chunk.voxel_size, str(chunk.bbox)) == ((40.0, 8.0, 8.0), "2-12_2-14_-1-13")


@pytest.mark.parametrize(
    ("unit", "options", "warnings"),
    [
        ("nanometer", {}, 0),
        ("furlong", {}, 1),
        ("", {}, 1),
        ("furlong", {"voxel_size": (40, 8, 8)}, 0),
    ],
)
def test_what_is_not_understood_is_told_once_with_the_option_that_sets_it(
    run_step, tmp_path, caplog, unit, options, warnings
) -> None:
    load = LoadZarr(store=image(tmp_path / "a", unit=unit), **options)
    with caplog.at_level(logging.WARNING):
        chunk = run_step(load).chunk("chunk")
        run_step(load)
    unknown = unit == "furlong" and not options
    assert chunk.voxel_size == ((1.0, 1.0, 1.0) if unknown else (40.0, 8.0, 8.0))
    assert tuple(chunk.voxel_offset) == (2, 2, -1)
    assert [
        r.getMessage().endswith("(load-zarr --voxel-size sets it)") for r in caplog.records
    ] == [True] * warnings
    assert all((unit or "no unit") in record.getMessage() for record in caplog.records)


def test_the_options_come_before_the_store(run_step, tmp_path, caplog) -> None:
    store = image(tmp_path / "a", **{"image-label": {"version": "0.4"}})
    chunk = run_step(LoadZarr(store=store)).chunk("chunk")
    assert chunk.layer_type == "segmentation"
    given = LoadZarr(store=store, layer_type="image", voxel_size=(1, 2, 3), voxel_offset=(7, -8, 9))
    chunk = run_step(given).chunk("chunk")
    assert (chunk.layer_type, chunk.voxel_size) == ("image", (1.0, 2.0, 3.0))
    assert str(chunk.bbox) == "7-17_-8-4_9-23"
    assert np.array_equal(chunk.array, VOXELS)
    assert not caplog.records


def test_a_position_between_voxels_is_told_unless_given(run_step, tmp_path, caplog) -> None:
    store = image(tmp_path / "a")
    file = tmp_path / "a" / ".zattrs"
    file.write_text(file.read_text().replace("80", "100"))
    load = LoadZarr(store=store, voxel_offset=(2, 2, -1))
    assert run_step(load).chunk("chunk").voxel_offset == (2, 2, -1)
    assert not caplog.records
    assert run_step(LoadZarr(store=store)).chunk("chunk").voxel_offset == (2, 2, -1)
    [record] = caplog.records
    assert "between voxels, at z y x = 2.5 2 -1, and 2 2 -1 is used" in record.getMessage()
    assert record.getMessage().endswith("(load-zarr --voxel-offset sets it)")


def test_a_time_point_is_chosen(run_step, make) -> None:
    store = make(np.stack([VOXELS, VOXELS[::-1]]), dimension_names=[*"tzyx"])
    with pytest.raises(ChunkMismatch, match=r"has 2 time points, .*--time-point 0 to 1"):
        run_step(LoadZarr(store=store))
    chunk = run_step(LoadZarr(store=store, time_point=1)).chunk("chunk")
    assert np.array_equal(chunk.array, VOXELS[::-1])


def test_other_data_are_told_with_the_operator_that_reads_them(run_step, tmp_path, volume) -> None:
    volume("em", VOXELS)
    with pytest.raises(ConfigError, match=r"is a precomputed volume\n.*load-volume -v .*/em"):
        run_step(LoadZarr(store=f"file://{tmp_path}/em"))
    for name, cure in (("a.zarr.zip", "unpack it"), ("a.h5", "load-h5, load-tif and others")):
        (tmp_path / name).write_bytes(b"PK\x03\x04" if "zip" in name else b"\x89HDF\r\n\x1a\n")
        with pytest.raises(ConfigError, match=f"{name} is an? .*, and .* a folder\n.*{cure}"):
            run_step(LoadZarr(store=f"{tmp_path}/{name}"))
    with pytest.raises(ConfigError, match="unpack it"):
        run_step(LoadZarr(store="s3://none/a.zarr.zip"))


def test_axes_in_other_words_are_taken_in_order_and_told(run_step, make, caplog) -> None:
    store = make(VOXELS, dimension_names=[*"kji"])
    assert np.array_equal(run_step(LoadZarr(store=store)).chunk("chunk").array, VOXELS)
    [record] = caplog.records
    assert "its axes k j i are taken as z y x" in record.getMessage()
    assert record.getMessage().endswith("(load-zarr --order sets it)")
    turned = run_step(LoadZarr(store=store, order="xyz")).chunk("chunk").array
    assert np.array_equal(turned, VOXELS.transpose())
    assert len(caplog.records) == 1


@pytest.mark.parametrize("name", [".zarray", ".zattrs", "zarr.json", "attributes.json"])
def test_a_file_of_metadata_is_no_store(run_step, tmp_path, name) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError, match=rf"store is a folder\n *give its folder, {tmp_path}$"):
        run_step(LoadZarr(store=f"{tmp_path}/{name}"))
