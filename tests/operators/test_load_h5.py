"""load-h5: the tests write files with h5py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from chunkflow_worker.errors import BoxOutsideVolume, ChunkMismatch, ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.operators.load_h5 import LoadH5
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import SkipTask, Task

VOXELS = np.arange(10 * 11 * 12, dtype=np.uint16).reshape(10, 11, 12)
OFFSET = (-2, 100, 1000)
BOUNDS = BoundingBox.sized(OFFSET, VOXELS.shape)


def write(path: Path, attrs: dict[str, Any] | None = None, **datasets: Any) -> str:
    with h5py.File(path, "w") as file:
        file.attrs.update(attrs or {})
        for name, data in datasets.items():
            file[name] = data
    return str(path)


@pytest.fixture
def volume(tmp_path: Path) -> str:
    return write(
        tmp_path / "a.h5",
        {"layer_type": "segmentation"},
        main=VOXELS,
        voxel_offset=OFFSET,
        voxel_size=(40, 7.16, 7.5),
    )


def test_without_a_box_the_whole_file_is_read_with_its_metadata(run_step, volume) -> None:
    task = run_step(LoadH5(file_name=volume))
    chunk = task.chunk("chunk")
    assert np.array_equal(chunk.array, VOXELS)
    assert chunk.dtype == np.uint16
    assert (chunk.bbox, chunk.bounds, chunk.voxel_size) == (BOUNDS, BOUNDS, (40.0, 7.16, 7.5))
    assert chunk.layer_type == "segmentation"
    assert task.bbox is None
    assert task.bytes_read == VOXELS.nbytes


def test_reads_only_the_box_of_the_task(run_step, volume) -> None:
    task = run_step(
        LoadH5(file_name=volume, output_chunk_name="a"),
        bbox=BoundingBox.parse("-1-4_102-105_1003-1010"),
    )
    chunk = task.chunk("a")
    assert chunk.bbox == task.bbox
    assert np.array_equal(chunk.array, VOXELS[1:6, 2:5, 3:10])
    assert chunk.bounds == BOUNDS
    assert task.bytes_read == chunk.array.nbytes


def test_reads_the_context_that_later_operators_need_up_to_the_end_of_the_file(volume) -> None:
    load = {"op": "load-h5", "file_name": volume, "output_chunk_name": "read"}
    crop = {"op": "crop-margin", "margin_size": [2, 2, 2, 3, 3, 3], "input_chunk_name": "read"}
    with Pipeline.parse({"operators": [load, crop]}).open() as opened:
        opened.run(task := Task(BoundingBox.parse("-1-4_102-105_1003-1012")))
    assert str(task.chunk("read").bbox) == "-2-7_100-108_1001-1012"
    assert np.array_equal(task.chunk("chunk").array, VOXELS[1:6, 2:5, 3:12])


def test_a_box_partly_outside_the_file_is_clipped_and_one_fully_outside_is_refused(
    run_step, volume
) -> None:
    chunk = run_step(
        LoadH5(file_name=volume), bbox=BoundingBox.parse("5-50_100-111_1000-1012")
    ).chunk("chunk")
    assert np.array_equal(chunk.array, VOXELS[7:])
    assert str(chunk.bbox) == "5-8_100-111_1000-1012"
    chunk = run_step(
        LoadH5(file_name=volume), bbox=BoundingBox.parse("-9-3_90-109_990-1011")
    ).chunk("chunk")
    assert np.array_equal(chunk.array, VOXELS[:5, :9, :11])
    assert str(chunk.bbox) == "-2-3_100-109_1000-1011"
    with pytest.raises(
        BoxOutsideVolume, match=f"box 8-50_100-111_1000-1012 is outside .*a.h5, which is {BOUNDS}"
    ):
        run_step(LoadH5(file_name=volume), bbox=BoundingBox.parse("8-50_100-111_1000-1012"))


def test_only_the_cutout_is_read_from_the_file(run_step, tmp_path) -> None:
    """Chunks outside the box are damaged: reading any of them would fail."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("main", data=VOXELS, chunks=(5, 11, 12), compression="gzip")
        where = data.id.get_chunk_info_by_coord((5, 0, 0))
    with path.open("r+b") as file:
        file.seek(where.byte_offset)
        file.write(b"\xff" * where.size)
    box = BoundingBox.parse("0-5_0-11_0-12")
    chunk = run_step(LoadH5(file_name=str(path)), bbox=box).chunk("chunk")
    assert np.array_equal(chunk.array, VOXELS[:5])
    with pytest.raises(DataMissing, match=r"a.h5 cannot be read as HDF5"):
        run_step(LoadH5(file_name=str(path)), bbox=BoundingBox.parse("4-6_0-11_0-12"))


def test_a_file_without_metadata_has_offset_zero_and_voxels_of_one_nanometre(
    run_step, tmp_path
) -> None:
    chunk = run_step(LoadH5(file_name=write(tmp_path / "a.h5", main=VOXELS))).chunk("chunk")
    assert str(chunk.bbox) == "0-10_0-11_0-12"
    assert chunk.voxel_size == (1.0, 1.0, 1.0)
    assert chunk.layer_type == "image"


def test_options_override_the_metadata_of_the_file(run_step, volume) -> None:
    load = LoadH5(
        file_name=volume, voxel_offset=(0, 0, 0), voxel_size=(1.5, 2, 3), layer_type="image"
    )
    chunk = run_step(load, bbox=BoundingBox.parse("1-2_0-11_0-12")).chunk("chunk")
    assert np.array_equal(chunk.array, VOXELS[1:2])
    assert chunk.voxel_size == (1.5, 2.0, 3.0)
    assert chunk.layer_type == "image"
    assert str(chunk.bounds) == "0-10_0-11_0-12"


@pytest.mark.parametrize(
    "cutout",
    [
        {"cutout_start": (0, 101, 1002), "cutout_stop": (3, 105, 1007)},
        {"cutout_start": (0, 101, 1002), "cutout_size": (3, 4, 5)},
    ],
)
def test_a_cutout_overrides_the_box_of_the_task(run_step, volume, cutout) -> None:
    for bbox in (None, BoundingBox.parse("5-6_100-111_1000-1012")):
        task = run_step(LoadH5(file_name=volume, **cutout), bbox=bbox)
        assert np.array_equal(task.chunk("chunk").array, VOXELS[2:5, 1:5, 2:7])
        assert task.bbox == bbox


@pytest.mark.parametrize(
    ("cutout", "part"),
    [
        ({"cutout_start": (0, 101, 1002)}, VOXELS[2:, 1:, 2:]),
        ({"cutout_stop": (0, 101, 1002)}, VOXELS[:2, :1, :2]),
        ({"cutout_size": (1, 2, 3)}, VOXELS[:1, :2, :3]),
    ],
)
def test_a_cutout_takes_missing_values_from_the_file(run_step, volume, cutout, part) -> None:
    assert np.array_equal(run_step(LoadH5(file_name=volume, **cutout)).chunk("chunk").array, part)


@pytest.mark.parametrize(
    "cutout",
    [
        {"cutout_start": (-3, 100, 1000)},
        {"cutout_stop": (9, 111, 1012)},
        {"cutout_stop": (-2, 111, 1012)},
        {"cutout_start": (8, 100, 1000)},
        {"cutout_size": (11, 1, 1)},
    ],
)
def test_a_cutout_outside_the_file_is_refused(run_step, volume, cutout) -> None:
    with pytest.raises(
        BoxOutsideVolume, match=rf"the cutout from .* is not inside .*a.h5, which is {BOUNDS}"
    ):
        run_step(LoadH5(file_name=volume, **cutout))


def test_set_bbox_sets_the_box_of_the_task(run_step, volume) -> None:
    assert run_step(LoadH5(file_name=volume, set_bbox=True)).bbox == BOUNDS
    task = run_step(LoadH5(file_name=volume, set_bbox=True, cutout_size=(1, 2, 3)))
    assert task.bbox == BoundingBox.sized(OFFSET, (1, 2, 3))
    task = run_step(
        LoadH5(file_name=volume, set_bbox=True), bbox=BoundingBox.parse("7-50_100-111_1000-1012")
    )
    assert str(task.bbox) == "7-8_100-111_1000-1012"


def test_set_bbox_with_a_cutout_reads_the_context_that_later_operators_need(volume) -> None:
    load = {"op": "load-h5", "file_name": volume, "set_bbox": True}
    load |= {"cutout_start": [0, 102, 1003], "cutout_size": [2, 3, 4]}
    crop = {"op": "crop-margin", "margin_size": [1] * 6}
    with Pipeline.parse({"operators": [load, crop]}).open() as opened:
        opened.run(task := Task())
    assert task.chunk("chunk").bbox == task.bbox == BoundingBox.sized((0, 102, 1003), (2, 3, 4))
    assert np.array_equal(task.chunk("chunk").array, VOXELS[2:4, 2:5, 3:7])


def test_a_prefix_names_a_file_for_each_task(tmp_path) -> None:
    """Named defect of the peer: load-h5 with a prefix read the first task's file for all."""
    boxes = [BoundingBox.parse("0-2_0-3_0-4"), BoundingBox.parse("2-4_0-3_0-4")]
    for i, box in enumerate(boxes):
        write(
            tmp_path / f"part_{box}.h5",
            main=np.full(box.size, i + 1, np.uint8),
            voxel_offset=box.start,
        )
    with LoadH5(file_name=f"{tmp_path}/part_").open(
        Run(needed_box=lambda box, bounds: box)
    ) as step:
        for i, box in enumerate(boxes):
            step(task := Task(box))
            assert task.chunk("chunk").bbox == box
            assert np.unique(task.chunk("chunk").array).tolist() == [i + 1]


def test_a_prefix_is_completed_with_the_cutout_and_is_an_error_without_a_box(
    run_step, tmp_path
) -> None:
    write(tmp_path / "0-2_0-3_0-4.h5", main=np.ones((2, 3, 4), np.uint8))
    load = LoadH5(file_name=f"{tmp_path}/", cutout_start=(0, 0, 0), cutout_size=(2, 3, 4))
    assert run_step(load, bbox=BoundingBox.parse("8-9_8-9_8-9")).chunk("chunk").array.sum() == 24
    with pytest.raises(ConfigError, match="a prefix of files needs a box"):
        run_step(LoadH5(file_name=f"{tmp_path}/"))


def test_an_empty_file_skips_the_task(run_step, tmp_path) -> None:
    path = tmp_path / "a.h5"
    path.touch()
    with pytest.raises(SkipTask, match=r"a.h5 is empty"):
        run_step(LoadH5(file_name=str(path)))
    with LoadH5(file_name=str(path), remove_empty=True).open(
        Run(lambda box, bounds: box, dry_run=True)
    ) as step:
        with pytest.raises(SkipTask):
            step(Task())
        assert path.exists()
    with pytest.raises(SkipTask):
        run_step(LoadH5(file_name=str(path), remove_empty=True))
    assert not path.exists()


def test_remove_empty_keeps_a_file_of_zeros(run_step, tmp_path) -> None:
    path = write(tmp_path / "a.h5", main=np.zeros((2, 2, 2), np.uint8))
    assert not run_step(LoadH5(file_name=path, remove_empty=True)).chunk("chunk").array.any()
    assert Path(path).exists()


def test_reads_raw_among_several_datasets_and_the_named_one(run_step, tmp_path) -> None:
    path = tmp_path / "a.h5"
    other = np.zeros(3)
    write(
        path,
        a_global=other,
        b_offset=other,
        c_unique_ids=other,
        voxel_size=(1, 2, 3),
        raw=VOXELS,
        z=VOXELS[:1],
    )
    with h5py.File(path, "a") as file:
        file.create_group("group")["deep"] = VOXELS[::-1]
    assert np.array_equal(run_step(LoadH5(file_name=str(path))).chunk("chunk").array, VOXELS)
    assert np.array_equal(
        run_step(LoadH5(file_name=str(path), dataset_path="z")).chunk("chunk").array, VOXELS[:1]
    )
    deep = run_step(LoadH5(file_name=str(path), dataset_path="/group/deep")).chunk("chunk")
    assert np.array_equal(deep.array, VOXELS[::-1])


@pytest.mark.parametrize("name", ["nothing", "group"])
def test_the_error_for_a_missing_dataset_lists_the_existing_datasets(
    run_step, tmp_path, name
) -> None:
    path = write(tmp_path / "a.h5", raw=VOXELS, voxel_offset=OFFSET)
    with h5py.File(path, "a") as file:
        file.create_group("group")
    listed = r"the file has: raw \(10x11x12 uint16\), voxel_offset \(3 int64\)"
    with pytest.raises(ConfigError, match=f"dataset_path: '{name}' is .*\n.*{listed}"):
        run_step(LoadH5(file_name=path, dataset_path=name))


def test_a_file_without_voxels_is_an_error(run_step, tmp_path) -> None:
    with pytest.raises(
        ConfigError, match=r"no dataset of voxels, .*\n +it has: voxel_offset \(3 int"
    ):
        run_step(LoadH5(file_name=write(tmp_path / "a.h5", voxel_offset=OFFSET)))


@pytest.mark.parametrize(
    "data", [np.zeros((2, 2)), np.zeros((1, 1, 1, 1, 1, 1)), np.zeros((1, 1, 1), "S3")]
)
def test_a_dataset_that_is_not_a_chunk_is_refused(run_step, tmp_path, data) -> None:
    with pytest.raises(
        ChunkMismatch, match=r"'main' has shape .*; a chunk is numbers in zyx or czyx"
    ):
        run_step(LoadH5(file_name=write(tmp_path / "a.h5", main=data)))


@pytest.mark.parametrize(
    ("channels", "order"),
    [
        ("0,2", [0, 2]),
        ("2,0", [2, 0]),
        ("1-3", [1, 2, 3]),
        (" 3 , 0 - 1", [3, 0, 1]),
        ("1,1", [1, 1]),
    ],
)
def test_channels_are_read_in_the_given_order(
    run_step, tmp_path, channels: str, order: list[int]
) -> None:
    array = np.arange(4 * 3 * 4 * 5, dtype=np.float32).reshape(4, 3, 4, 5)
    load = LoadH5(file_name=write(tmp_path / "a.h5", main=array), channels=channels)
    task = run_step(load, bbox=BoundingBox.parse("1-3_0-2_2-5"))
    assert np.array_equal(task.chunk("chunk").array, array[order][:, 1:3, 0:2, 2:5])
    assert str(task.chunk("chunk").bbox) == "1-3_0-2_2-5"


def test_missing_channels_are_an_error(run_step, tmp_path) -> None:
    path = write(tmp_path / "a.h5", main=np.zeros((4, 1, 1, 1)), flat=VOXELS)
    with pytest.raises(
        ChunkMismatch, match="has the channels 0 to 3, and the option asks for channels 2-4"
    ):
        run_step(LoadH5(file_name=path, dataset_path="main", channels="2-4"))
    with pytest.raises(ChunkMismatch, match="has no channels"):
        run_step(LoadH5(file_name=path, dataset_path="flat", channels="0"))


def test_conversion_scales_bytes_and_saturates(run_step, tmp_path) -> None:
    path = write(
        tmp_path / "a.h5",
        bytes=np.array([[[0, 51, 255]]], np.uint8),
        wide=np.array([[[0, 255, 1000]]], np.uint16),
    )
    floats = run_step(LoadH5(file_name=path, dataset_path="bytes", dtype="float32")).chunk("chunk")
    assert floats.dtype == np.float32
    assert floats.array.ravel().tolist() == pytest.approx([0, 0.2, 1])
    small = run_step(LoadH5(file_name=path, dataset_path="wide", dtype="uint8")).chunk("chunk")
    assert (small.dtype, small.array.ravel().tolist()) == (np.uint8, [0, 255, 255])


def test_big_endian_voxels_are_converted_to_the_native_byte_order(run_step, tmp_path) -> None:
    path = write(tmp_path / "a.h5", main=VOXELS.astype(">u2"))
    chunk = run_step(LoadH5(file_name=path)).chunk("chunk")
    assert chunk.dtype.isnative
    assert np.array_equal(chunk.array, VOXELS)


@pytest.mark.parametrize("option", ["voxel_offset", "voxel_size"])
@pytest.mark.parametrize("numbers", [(0, 1, 2, 3), (1, 2), [[1, 2], [3, 4]], 7, "near"])
def test_a_place_or_size_that_is_not_three_numbers_is_told(
    run_step, tmp_path, caplog, option: str, numbers: Any
) -> None:
    path = write(tmp_path / "a.h5", main=VOXELS, **{option: numbers})
    chunk = run_step(LoadH5(file_name=path)).chunk("chunk")
    assert (chunk.voxel_offset, chunk.voxel_size) == ((0, 0, 0), (1, 1, 1))
    [record] = caplog.records
    flag = option.replace("_", "-")
    assert f"a.h5 has the {option} " in record.getMessage()
    assert record.getMessage().endswith(f"(--{flag} sets it)")
    caplog.clear()
    run_step(LoadH5(file_name=path, **{option: (1, 2, 3)}))
    assert not caplog.records


def test_errors_name_the_file_that_is_missing_or_not_hdf5(run_step, tmp_path) -> None:
    with pytest.raises(DataMissing, match=r"there is no file .*/none.h5"):
        run_step(LoadH5(file_name=f"{tmp_path}/none.h5"))
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(DataMissing, match=r"text.h5 cannot be read as HDF5"):
        run_step(LoadH5(file_name=f"{tmp_path}/text.h5"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cutout_stop": [1, 1, 1], "cutout_size": [1, 1, 1]}, "give one of them"),
        ({"cutout_start": [1, 1, 1], "cutout_stop": [2, 1, 2]}, "must be before cutout_stop"),
        ({"cutout_size": [1, 0, 1]}, "takes numbers above 0"),
        ({"voxel_size": [1, 0, 1]}, "takes numbers above 0"),
        ({"channels": "a"}, "takes channel numbers, for example 0,2 or 0-2"),
        ({"channels": "3-1"}, "takes channel numbers"),
        ({"file_name": "s3://bucket/a.h5"}, "without a protocol"),
    ],
)
def test_wrong_options_are_refused_without_reading_data(options, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Pipeline.parse({"operators": [{"op": "load-h5", "file_name": "a.h5", **options}]})
