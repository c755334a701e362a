"""save-tif: the tests read files with tifffile."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.load_tif import LoadTif
from chunkflow_worker.operators.save_tif import SaveTif
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task

DTYPES = ["uint8", "uint16", "uint32", "uint64", "int16", "int64", "float16", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_dtype_is_kept(run_step, tmp_path, dtype: str) -> None:
    """Named defect of the peer: save-tif turned uint8 into float64."""
    array = (np.random.default_rng(0).random((4, 5, 6)) * 200).astype(dtype)
    task = run_step(SaveTif(file_name=f"{tmp_path}/a.tif"), chunk=Chunk(array))
    back = tifffile.imread(tmp_path / "a.tif")
    assert back.dtype == dtype
    assert np.array_equal(back, array)
    assert task.bytes_written == array.nbytes


@pytest.mark.parametrize(
    ("compression", "stored"),
    [("", 1), ("zlib", 8), ("lzw", 5), ("lzma", 34925), ("packints", 32773)],
)
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (3, 17, 4), (5, 6, 3), (2, 3, 17, 9), (1, 2, 3, 4), (3, 1, 4, 3)]
)
def test_every_compression_is_lossless_and_writes_one_page_per_section(
    run_step, tmp_path, compression, stored, shape
) -> None:
    array = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)
    run_step(SaveTif(file_name=f"{tmp_path}/a.tif", compression=compression), chunk=Chunk(array))
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        # ImageJ's form and OME-TIFF leave out axes of one voxel, and keep the order of the others.
        axes = [axis for axis, n in zip("CZYX"[-len(shape) :], shape, strict=True) if n > 1]
        assert np.array_equal(tif.asarray().squeeze(), array.squeeze())
        assert [axis for axis in tif.series[0].axes if axis in axes] == axes
        assert len(tif.pages) == np.prod(shape[:-2])
        assert {page.compression for page in tif.pages} == {stored}
    back = run_step(LoadTif(file_name=f"{tmp_path}/a.tif")).chunk("chunk")
    assert np.array_equal(back.array, array)
    assert back.array.shape == shape


def test_jpeg_is_lossy_and_accepts_only_uint8(run_step, tmp_path) -> None:
    z, y, x = np.mgrid[:2, :64, :64]
    array = (z * 50 + y + x).astype(np.uint8)
    run_step(SaveTif(file_name=f"{tmp_path}/a.tif", compression="jpeg"), chunk=Chunk(array))
    assert np.abs(tifffile.imread(tmp_path / "a.tif").astype(int) - array).max() <= 4
    with pytest.raises(
        ChunkMismatch, match="jpeg takes uint8, and the chunk is float32; add --dtype uint8"
    ):
        run_step(
            SaveTif(file_name=f"{tmp_path}/b.tif", compression="jpeg"),
            chunk=Chunk(array.astype(np.float32)),
        )
    run_step(
        SaveTif(file_name=f"{tmp_path}/b.tif", compression="jpeg", dtype="uint8"),
        chunk=Chunk(array / np.float32(255)),
    )
    assert np.abs(tifffile.imread(tmp_path / "b.tif").astype(int) - array).max() <= 4


def test_load_tif_restores_offset_voxel_size_and_layer_type(run_step, tmp_path) -> None:
    chunk = Chunk(
        np.arange(24, dtype=np.uint32).reshape(2, 3, 4),
        Vec3(-2, 100, 1000),
        (40.0, 7.16, 7.5),
        "segmentation",
    )
    run_step(SaveTif(file_name=f"{tmp_path}/a.tif"), chunk=chunk)
    back = run_step(LoadTif(file_name=f"{tmp_path}/a.tif")).chunk("chunk")
    assert np.array_equal(back.array, chunk.array)
    assert back.bbox == chunk.bbox
    assert back.voxel_size == chunk.voxel_size
    assert back.layer_type == "segmentation"
    given = LoadTif(
        file_name=f"{tmp_path}/a.tif",
        voxel_offset=(0, 0, 0),
        voxel_size=(1, 2, 3),
        layer_type="image",
    )
    other = run_step(given).chunk("chunk")
    assert str(other.bbox) == "0-2_0-3_0-4"
    assert other.voxel_size == (1.0, 2.0, 3.0)
    assert other.layer_type == "image"


def test_a_prefix_names_a_file_for_each_task(tmp_path) -> None:
    """Named defect of the peer: save-tif wrote every task to one file."""
    boxes = [BoundingBox.parse("0-2_0-3_0-4"), BoundingBox.parse("2-4_0-3_0-4")]
    with SaveTif(file_name=f"{tmp_path}/part_").open(
        Run(needed_box=lambda box, bounds: box)
    ) as step:
        for i, box in enumerate(boxes):
            step(Task(box, {"chunk": Chunk(np.full(box.size, i, np.uint8), box.start)}))
    assert {p.name for p in tmp_path.iterdir()} == {f"part_{box}.tif" for box in boxes}
    for i, box in enumerate(boxes):
        assert np.unique(tifffile.imread(tmp_path / f"part_{box}.tif")).tolist() == [i]


def test_without_a_file_name_the_box_names_the_file(run_step, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    chunk = Chunk(np.zeros((2, 3, 4), np.uint8), Vec3(-2, 0, 0))
    run_step(SaveTif(), chunk=chunk)
    run_step(SaveTif(), bbox=BoundingBox.parse("-1-0_0-3_0-4"), chunk=chunk)
    assert {p.name for p in tmp_path.iterdir()} == {"-2-0_0-3_0-4.tif", "-1-0_0-3_0-4.tif"}


def test_one_file_is_not_overwritten_by_the_next_box(tmp_path) -> None:
    with SaveTif(file_name=f"{tmp_path}/a.tiff").open(
        Run(needed_box=lambda box, bounds: box)
    ) as step:
        step(Task(values={"chunk": Chunk(np.zeros((1, 1, 1), np.uint8))}))
        with pytest.raises(ConfigError, match="would overwrite"):
            step(Task(values={"chunk": Chunk(np.ones((1, 1, 1), np.uint8), Vec3(1, 0, 0))}))
    assert tifffile.imread(tmp_path / "a.tiff").ravel().tolist() == [0]


def test_the_chunk_is_cropped_to_the_box_of_the_task(run_step, tmp_path) -> None:
    array = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
    run_step(
        SaveTif(file_name=f"{tmp_path}/a.tif"),
        bbox=BoundingBox.parse("1-3_1-4_0-6"),
        chunk=Chunk(array),
    )
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), array[1:3, 1:4])


def test_conversion_to_uint8_saturates_and_does_not_change_the_chunk(run_step, tmp_path) -> None:
    array = np.array([[[0.0, 0.5, 1.0, 1.5, -1.0]]], np.float32)
    task = run_step(SaveTif(file_name=f"{tmp_path}/a.tif", dtype="uint8"), chunk=Chunk(array))
    assert tifffile.imread(tmp_path / "a.tif").ravel().tolist() == [0, 128, 255, 255, 0]
    assert task.chunk("chunk").array.ravel().tolist() == [0.0, 0.5, 1.0, 1.5, -1.0]


def test_a_dry_run_writes_nothing(tmp_path) -> None:
    with SaveTif(file_name=f"{tmp_path}/new/").open(
        Run(lambda box, bounds: box, dry_run=True)
    ) as step:
        step(task := Task(values={"chunk": Chunk(np.zeros((1, 1, 1), np.uint8))}))
    assert list(tmp_path.iterdir()) == []
    assert task.bytes_written == 0


def test_saving_the_same_chunk_twice_writes_the_same_bytes(run_step, tmp_path) -> None:
    chunk = Chunk(np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    for name in ("a.tif", "b.tif"):
        run_step(SaveTif(file_name=f"{tmp_path}/{name}"), chunk=chunk)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_a_file_above_the_limit_of_classic_tiff_is_a_bigtiff(
    run_step, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("chunkflow_worker.storage.formats.tiff_create.BIGGEST_CLASSIC_TIFF", 10)
    for size, big in ((10, False), (11, True)):
        run_step(
            SaveTif(file_name=f"{tmp_path}/{size}.tif"),
            chunk=Chunk(np.zeros((1, 1, size), np.uint8)),
        )
        with tifffile.TiffFile(tmp_path / f"{size}.tif") as tif:
            assert tif.is_bigtiff is big


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"compression": "delta"},
            "'delta' is not one of its values\n"
            ".*legal: '', 'zlib', 'lzw', 'lzma', 'packints' or 'jpeg'",
        ),
        (
            {"compression": "jpeg", "dtype": "uint16"},
            "compression jpeg takes only uint8, and dtype is uint16",
        ),
        ({"file_name": "s3://bucket/a.tif"}, "without a protocol"),
    ],
)
def test_wrong_options_are_refused_without_running_the_chain(options, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Pipeline.parse({"operators": [{"op": "create-chunk"}, {"op": "save-tif", **options}]})
