"""save-zarr: the tests read images with zarr-python and tensorstore."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import yaozarrs
import zarr

from chunkflow_worker.errors import BoxNotAligned, BoxOutsideVolume, ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.load_zarr import LoadZarr
from chunkflow_worker.operators.save_zarr import SaveZarr
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task

DRIVERS = ["zarr", "zarr3", "n5"]
BOUNDS = BoundingBox.parse("-8-12_16-50_0-40")
VOXELS = np.random.default_rng(0).integers(0, 60000, BOUNDS.size).astype(np.uint16)
CHUNK = Chunk(VOXELS, BOUNDS.start, (40.0, 7.16, 8.0), "segmentation", BOUNDS)
BLOCKS = {"chunk_size": (8, 16, 16)}


def multiscales_of(folder: Path, driver: str) -> dict[str, Any]:
    if driver == "zarr":
        return json.loads((folder / ".zattrs").read_text())["multiscales"][0]
    return json.loads((folder / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("order", ["zyx", "xyz"])
@pytest.mark.parametrize("channels", [0, 2])
def test_load_zarr_restores_the_chunk(run_step, tmp_path, driver, order, channels) -> None:
    array = np.stack([VOXELS, VOXELS[::-1]]) if channels else VOXELS
    chunk = CHUNK.with_array(array)
    store = f"{tmp_path}/a"
    task = run_step(SaveZarr(store=store, driver=driver, order=order, **BLOCKS), chunk=chunk)
    assert task.bytes_written == array.nbytes
    back = run_step(LoadZarr(store=store)).chunk("chunk")
    assert np.array_equal(back.array, array)
    assert back.bbox == BOUNDS
    assert back.bounds == BOUNDS
    assert back.voxel_size == CHUNK.voxel_size
    assert back.dtype == np.uint16
    assert back.layer_type == "segmentation"


@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
@pytest.mark.parametrize("order", ["zyx", "xyz"])
def test_zarr_python_reads_it_and_multiscales_give_scale_and_translation(
    run_step, tmp_path, driver, order
) -> None:
    array = np.stack([VOXELS, VOXELS[::-1]])
    run_step(
        SaveZarr(store=f"{tmp_path}/a", driver=driver, order=order, **BLOCKS),
        chunk=CHUNK.with_array(array),
    )
    group = zarr.open_group(f"{tmp_path}/a", mode="r")
    assert np.array_equal(group["0"][:], array if order == "zyx" else array.transpose(0, 3, 2, 1))
    multiscales = multiscales_of(tmp_path / "a", driver)
    space = [{"name": n, "type": "space", "unit": "nanometer"} for n in order]
    assert multiscales["axes"] == [{"name": "c", "type": "channel"}, *space]
    # Version 0.5 of the format has the field beside the multiscales.
    assert multiscales.get("version") == ("0.4" if driver == "zarr" else None)
    assert driver == "zarr" or group.attrs["ome"]["version"] == "0.5"
    [dataset] = multiscales["datasets"]
    scale, translation = dataset["coordinateTransformations"]
    assert (dataset["path"], scale["type"], translation["type"]) == ("0", "scale", "translation")
    by_axis = {"z": (40.0, -320.0), "y": (7.16, 16 * 7.16), "x": (8.0, 0.0), "c": (1.0, 0.0)}
    assert scale["scale"] == [by_axis[n][0] for n in f"c{order}"]
    assert translation["translation"] == pytest.approx([by_axis[n][1] for n in f"c{order}"])


@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
@pytest.mark.parametrize("order", ["zyx", "xyz"])
@pytest.mark.parametrize("channels", [0, 2])
def test_metadata_of_two_levels_are_valid_ome_zarr(
    run_step, tmp_path, driver, order, channels
) -> None:
    """Validated by yaozarrs, which implements the specification."""
    array = np.stack([VOXELS, VOXELS[::-1]]) if channels else VOXELS
    run_step(
        SaveZarr(store=f"{tmp_path}/a", driver=driver, order=order, **BLOCKS),
        chunk=CHUNK.with_array(array),
    )
    coarse = Chunk(
        array[..., ::2, ::2, ::2], BOUNDS.start // 2, (80.0, 14.32, 16.0), "segmentation"
    )
    run_step(
        SaveZarr(store=f"{tmp_path}/a", driver=driver, order=order, mip=1, **BLOCKS), chunk=coarse
    )
    if driver == "zarr":
        valid = yaozarrs.validate_ome_json(
            (tmp_path / "a" / ".zattrs").read_text(), yaozarrs.v04.Image
        )
    else:
        valid = yaozarrs.validate_ome_json(
            (tmp_path / "a" / "zarr.json").read_text(), yaozarrs.v05.OMEZarrGroupJSON
        ).attributes.ome
    [image] = valid.multiscales
    assert [axis.name for axis in image.axes] == ["c"] * bool(channels) + list(order)
    assert [dataset.path for dataset in image.datasets] == ["0", "1"]


@pytest.mark.parametrize(("driver", "key"), [("zarr", "0"), ("zarr3", "0"), ("n5", "s0")])
def test_tensorstore_reads_it(run_step, tmp_path, driver, key) -> None:
    run_step(SaveZarr(store=f"{tmp_path}/a", driver=driver, **BLOCKS), chunk=CHUNK)
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{tmp_path}/a/{key}/"}}
    array = tensorstore.open(spec, open=True).result()
    expected = VOXELS.transpose() if driver == "n5" else VOXELS
    assert np.array_equal(array.read().result(), expected)
    if driver != "zarr":
        assert array.domain.labels == (("x", "y", "z") if driver == "n5" else ("z", "y", "x"))
    if driver == "n5":
        assert array.dimension_units == (
            tensorstore.Unit(8, "nm"),
            tensorstore.Unit(7.16, "nm"),
            tensorstore.Unit(40, "nm"),
        )


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "uint16", "uint32", "uint64", "int64", "float32", "float64"]
)
@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
def test_the_dtype_of_the_chunk_is_kept(run_step, tmp_path, dtype, driver) -> None:
    """chunkflow 1.2.0 converts every chunk to float64."""
    array = (np.arange(24).reshape(2, 3, 4) % 5).astype(dtype)
    run_step(SaveZarr(store=f"{tmp_path}/a", driver=driver), chunk=Chunk(array))
    back = zarr.open_group(f"{tmp_path}/a", mode="r")["0"]
    assert back.dtype == dtype
    assert np.array_equal(back[:], array)


def test_conversion_to_uint8_scales_and_saturates(run_step, tmp_path) -> None:
    floats = Chunk(np.array([[[-1, 0, 0.2, 1, 1.5]]], np.float32))
    run_step(SaveZarr(store=f"{tmp_path}/a", dtype="uint8"), chunk=floats)
    back = run_step(LoadZarr(store=f"{tmp_path}/a")).chunk("chunk")
    assert back.array.ravel().tolist() == [0, 0, 51, 255, 255]


@pytest.mark.parametrize("driver", DRIVERS)
def test_boxes_fill_one_image_and_blocks_of_zeros_are_stored(tmp_path, driver) -> None:
    """A missing block means that it was not processed, so blocks of zeros must exist."""
    array = VOXELS.copy()
    array[:8, :16, :16] = 0
    chunk = CHUNK.with_array(array)
    with SaveZarr(store=f"{tmp_path}/a", driver=driver, order="zyx", **BLOCKS).open(
        Run(lambda box, bounds: box)
    ) as step:
        boxes = list(BOUNDS.split(Vec3(8, 32, 16)))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda box: step(Task(box, {"chunk": chunk.cutout(box)})), boxes))
    with LoadZarr(store=f"{tmp_path}/a").open(Run(lambda box, bounds: box)) as step:
        step(task := Task())
    assert np.array_equal(task.chunk("chunk").array, array)


def test_workers_may_start_at_the_same_time(tmp_path) -> None:
    """Each process creates the images and two levels of each, and writes its own box."""
    code = """
import sys, numpy as np
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.operators.save_zarr import SaveZarr
from chunkflow_worker.pipeline.task import Task
bounds = BoundingBox.parse("0-32_0-8_0-8")
n, folder, *drivers = int(sys.argv[1]), *sys.argv[2:]
box = BoundingBox(Vec3(8 * n, 0, 0), Vec3(8 * n + 8, 8, 8))
for driver, mip in ((d, m) for d in drivers for m in (n % 2, (n + 1) % 2)):
    save = SaveZarr(store=f"{folder}/{driver}", driver=driver, mip=mip, chunk_size=(8, 8, 8))
    with save.open(Run(lambda b, _: b)) as step:
        size = (40.0 * (mip + 1), 8.0, 8.0)
        array = np.full(box.size, n + 1, np.uint8)
        step(Task(box, {"chunk": Chunk(array, box.start, size, bounds=bounds)}))
"""
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(n), str(tmp_path), *DRIVERS])
        for n in range(4)
    ]
    assert [w.wait(60) for w in workers] == [0] * 4
    for driver in DRIVERS:
        with LoadZarr(store=f"{tmp_path}/{driver}").open(Run(lambda box, bounds: box)) as step:
            step(task := Task())
        expected = np.repeat([1, 2, 3, 4], 8).tolist()
        assert task.chunk("chunk").array[:, 0, 0].tolist() == expected, driver
        if driver != "n5":
            levels = multiscales_of(tmp_path / driver, driver)["datasets"]
            assert [level["path"] for level in levels] == ["0", "1"]
            scales_along_z = [level["coordinateTransformations"][0]["scale"][0] for level in levels]
            assert scales_along_z == [40.0, 80.0]


def test_shape_and_resolution_create_an_image_for_a_chunk_without_bounds(
    run_step, tmp_path
) -> None:
    box = BoundingBox.parse("8-16_0-16_16-32")
    chunk = Chunk(np.ones(box.size, np.uint8), box.start)
    save = SaveZarr(
        store=f"{tmp_path}/a",
        shape=(20, 30, 40),
        resolution=(40, 8, 8),
        mip=1,
        chunk_size=(8, 16, 16),
    )
    run_step(save, bbox=box, chunk=chunk)
    back = run_step(LoadZarr(store=f"{tmp_path}/a", path="1"), bbox=box).chunk("chunk")
    assert back.bbox == box
    assert str(back.bounds) == "0-20_0-30_0-40"
    assert back.voxel_size == (80.0, 16.0, 16.0)
    assert back.array.all()
    with pytest.raises(ConfigError, match="shape: is not given, there is no image yet"):
        run_step(SaveZarr(store=f"{tmp_path}/b"), bbox=box, chunk=chunk)


def test_boxes_that_share_blocks_are_refused(run_step, tmp_path) -> None:
    save = SaveZarr(store=f"{tmp_path}/a", **BLOCKS)
    for text in ("-8-4_16-32_0-16", "-4-0_16-32_0-16", "0-8_16-33_0-16"):
        box = BoundingBox.parse(text)
        with pytest.raises(BoxNotAligned, match=r"would share blocks of \[8, 16, 16\] voxels"):
            run_step(save, bbox=box, chunk=CHUNK.cutout(box))
    edge = BoundingBox.parse("8-12_48-50_32-40")
    run_step(save, bbox=edge, chunk=CHUNK.cutout(edge))
    outside = Chunk(np.zeros((8, 16, 16), np.uint16), Vec3(100, 0, 0), CHUNK.voxel_size)
    with pytest.raises(BoxOutsideVolume):
        run_step(save, chunk=outside)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"shape": (1, 2, 3)}, "shape"),
        ({"resolution": (1, 2, 3)}, "resolution"),
        ({"dtype": "uint8"}, "dtype"),
        ({"chunk_size": (4, 4, 4)}, "chunk_size"),
    ],
)
def test_options_that_contradict_an_existing_image_are_refused(
    run_step, tmp_path, options, text
) -> None:
    run_step(SaveZarr(store=f"{tmp_path}/a", **BLOCKS), chunk=CHUNK)
    with pytest.raises(ConfigError, match=f"{text}: the options ask for .*, but .*/a/0 has"):
        run_step(SaveZarr(store=f"{tmp_path}/a", **options), chunk=CHUNK)
    with pytest.raises(ChunkMismatch, match="has 1 channels, and the chunk has 2"):
        run_step(
            SaveZarr(store=f"{tmp_path}/a"), chunk=CHUNK.with_array(np.stack([VOXELS, VOXELS]))
        )


def test_another_voxel_size_is_refused_without_the_resolution_option(run_step, tmp_path) -> None:
    run_step(SaveZarr(store=f"{tmp_path}/a", **BLOCKS), chunk=CHUNK)
    other = replace(CHUNK, voxel_size=(8.0, 8.0, 8.0))
    with pytest.raises(
        ChunkMismatch, match=r"the chunk has voxels of \[8.0, 8.0, 8.0\] nm, and those of .*/a/0"
    ):
        run_step(SaveZarr(store=f"{tmp_path}/a"), chunk=other)
    run_step(SaveZarr(store=f"{tmp_path}/a", resolution=CHUNK.voxel_size), chunk=other)


def test_a_level_with_other_axes_is_refused(run_step, tmp_path) -> None:
    run_step(SaveZarr(store=f"{tmp_path}/a", **BLOCKS), chunk=CHUNK)
    with pytest.raises(ConfigError, match="another one already exists here: its axes are"):
        run_step(SaveZarr(store=f"{tmp_path}/a", mip=1, order="xyz"), chunk=CHUNK)


@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
@pytest.mark.parametrize("order", ["zyx", "xyz"])
def test_a_level_has_the_order_of_the_levels_that_exist(run_step, tmp_path, driver, order) -> None:
    first = SaveZarr(store=f"{tmp_path}/a", driver=driver, order=order, **BLOCKS)
    run_step(first, chunk=CHUNK)
    coarse = Chunk(VOXELS[::2, ::2, ::2], BOUNDS.start // 2, (80.0, 14.32, 16.0), "segmentation")
    run_step(SaveZarr(store=f"{tmp_path}/a", driver=driver, mip=1, **BLOCKS), chunk=coarse)
    back = zarr.open_group(f"{tmp_path}/a", mode="r")["1"][:]
    assert np.array_equal(back, coarse.array if order == "zyx" else coarse.array.transpose())


@pytest.mark.parametrize(("driver", "dtype"), [("zarr", "uint16"), ("zarr3", "uint64")])
def test_a_segmentation_is_a_label_image_of_ome_zarr(run_step, tmp_path, driver, dtype) -> None:
    """Validated by yaozarrs; napari and others show it in colours."""
    chunk = CHUNK.with_array(VOXELS.astype(dtype))
    run_step(SaveZarr(store=f"{tmp_path}/a", driver=driver, **BLOCKS), chunk=chunk)
    group = zarr.open_group(f"{tmp_path}/a", mode="r").attrs.asdict()
    if driver == "zarr":
        label = yaozarrs.validate_ome_object(group, yaozarrs.v04.LabelImage)
    else:
        label = yaozarrs.validate_ome_object(group["ome"], yaozarrs.v05.LabelImage)
    assert label.image_label.version == ("0.4" if driver == "zarr" else "0.5")


@pytest.mark.parametrize(
    "chunk", [replace(CHUNK, layer_type="image"), CHUNK.with_array(VOXELS.astype(np.float32))]
)
def test_an_image_and_floats_are_no_label_image(run_step, tmp_path, chunk) -> None:
    for driver in ("zarr", "zarr3"):
        run_step(SaveZarr(store=f"{tmp_path}/{driver}", driver=driver, **BLOCKS), chunk=chunk)
        attributes = zarr.open_group(f"{tmp_path}/{driver}", mode="r").attrs.asdict()
        assert "image-label" not in {**attributes, **attributes.get("ome", {})}


@pytest.mark.parametrize("channels", [0, 2])
def test_n5_viewers_find_the_size_of_each_level(run_step, tmp_path, channels) -> None:
    """By the rules of n5-viewer, factors multiply the size; without them s1 would be twice s0."""
    array = np.stack([VOXELS] * 2) if channels else VOXELS
    save = SaveZarr(store=f"{tmp_path}/a", driver="n5", mip=1, **BLOCKS)
    run_step(save, chunk=CHUNK.with_array(array))
    attributes = json.loads((tmp_path / "a" / "s1" / "attributes.json").read_text())
    pixels, factors = attributes["pixelResolution"], attributes["downsamplingFactors"]
    assert pixels["unit"] == "nm"
    sizes = [size * factor for size, factor in zip(pixels["dimensions"], factors, strict=True)]
    assert sizes == [8.0, 7.16, 40.0, 1.0][: 4 if channels else 3]


def test_an_array_of_another_format_is_refused(run_step, tmp_path) -> None:
    run_step(SaveZarr(store=f"{tmp_path}/a", driver="zarr", **BLOCKS), chunk=CHUNK)
    with pytest.raises(
        ConfigError,
        match="another one already exists here: it is of the format zarr\n    choose another path",
    ):
        run_step(SaveZarr(store=f"{tmp_path}/a", driver="zarr3", **BLOCKS), chunk=CHUNK)
    assert not (tmp_path / "a" / "0" / "zarr.json").exists()


def test_writes_to_an_array_of_chunkflow_at_the_root_of_the_store(run_step, tmp_path) -> None:
    made = zarr.create_array(
        f"{tmp_path}/a", shape=(40, 50, 12), chunks=(8, 8, 4), dtype="u2", zarr_format=2
    )
    # As chunkflow 1.2.0 leaves it.
    made.attrs.update({"dimension_units": ["8 nm", "7 nm", "40 nm"], "_ARRAY_DIMENSIONS": [*"xyz"]})
    chunk = Chunk(VOXELS[8:, :34], Vec3(0, 16, 0), (40.0, 7.0, 8.0))
    run_step(SaveZarr(store=f"{tmp_path}/a"), chunk=chunk)
    assert np.array_equal(made[:, 16:, :], chunk.array.transpose())


@pytest.mark.parametrize("order", [None, "zyx", "xyz"])
def test_an_array_that_names_no_axes_needs_the_order(run_step, tmp_path, order) -> None:
    made = zarr.create_array(
        f"{tmp_path}/a", shape=(16, 16, 16), chunks=(8, 8, 8), dtype="u2", zarr_format=2
    )
    chunk = Chunk(VOXELS[:16, :16, :16])
    save = SaveZarr(store=f"{tmp_path}/a", order=order)
    if order is None:
        with pytest.raises(
            ConfigError, match=r"which of its axes is x\n.*--order zyx or --order xyz"
        ):
            run_step(save, chunk=chunk)
    else:
        run_step(save, chunk=chunk)
        assert np.array_equal(made[:], chunk.array if order == "zyx" else chunk.array.transpose())


def test_a_dry_run_writes_nothing(tmp_path) -> None:
    with SaveZarr(store=f"{tmp_path}/a").open(Run(lambda box, bounds: box, dry_run=True)) as step:
        step(Task(values={"chunk": CHUNK}))
    assert not list(tmp_path.iterdir())


def test_a_hole_is_refused(run_step, tmp_path) -> None:
    task = Task(
        BOUNDS,
        {"chunk": CHUNK.cutout(BoundingBox.parse("-8-0_16-50_0-40"))},
        voxel_size=CHUNK.voxel_size,
    )
    with pytest.raises(ChunkMismatch, match="would leave a hole"):
        run_step(SaveZarr(store=f"{tmp_path}/a", **BLOCKS), task)


@pytest.mark.parametrize("driver", DRIVERS)
def test_saves_to_an_object_store(run_step, aws, unique_name, driver) -> None:
    import boto3

    boto3.client("s3").create_bucket(Bucket=unique_name)
    save = SaveZarr(store=f"s3://{unique_name}/some/image", driver=driver, **BLOCKS)
    run_step(save, chunk=CHUNK)
    run_step(save, chunk=CHUNK)
    assert np.array_equal(
        run_step(LoadZarr(store=f"s3://{unique_name}/some/image")).chunk("chunk").array, VOXELS
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [("order", "yxz"), ("dtype", "text"), ("shape", [0, 1, 1]), ("store", "ftp://a/b")],
)
def test_wrong_options_are_refused(tmp_path, option, value) -> None:
    save = {"op": "save-zarr", "store": f"{tmp_path}/a", option: value}

    def run() -> None:
        chain = Pipeline.parse({"operators": [{"op": "create-chunk"}, save]})
        with chain.open() as opened:
            opened.run(Task())

    with pytest.raises(
        ConfigError, match=r"takes xyz or zyx|takes a type|above 0|unknown protocol"
    ):
        run()
