"""load-nrrd: files of other programs, which the tests write with pynrrd or by hand."""

from __future__ import annotations

from typing import Any

import nrrd
import numpy as np
import pytest

from chunkflow_worker.errors import BoxOutsideVolume, ChunkMismatch, DataMissing
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.operators.load_nrrd import LoadNrrd

# Axes x, y, z: the default order of pynrrd.
XYZ = np.arange(4 * 3 * 2, dtype=np.uint16).reshape(4, 3, 2)


@pytest.fixture
def load(run_step, tmp_path):
    def write_and_load(
        array: np.ndarray, header: dict[str, Any], bbox: BoundingBox | None = None, **options: Any
    ) -> Any:
        nrrd.write(f"{tmp_path}/a.nrrd", array, header)
        load = LoadNrrd(file_name=f"{tmp_path}/a.nrrd", **options)
        return run_step(load, bbox=bbox).chunk("chunk")

    return write_and_load


def test_the_first_axis_of_a_plain_file_is_x(load) -> None:
    chunk = load(XYZ, {})
    assert np.array_equal(chunk.array, XYZ.T)
    assert str(chunk.bbox) == "0-2_0-3_0-4"
    assert chunk.voxel_size == (1.0, 1.0, 1.0)
    assert chunk.layer_type == "image"


def test_reads_only_the_box_of_the_task(load) -> None:
    chunk = load(XYZ, {}, BoundingBox.parse("1-3_1-2_0-3"), voxel_offset=(1, 0, -1))
    assert str(chunk.bbox) == "1-3_1-2_0-3"
    assert np.array_equal(chunk.array, XYZ.T[0:2, 1:2, 1:4])
    assert str(chunk.bounds) == "1-3_0-3_-1-3"
    with pytest.raises(BoxOutsideVolume):
        load(XYZ, {}, BoundingBox.parse("2-3_0-1_0-1"))


@pytest.mark.parametrize(
    ("unit", "nanometres"),
    [("nm", 1), ("um", 1000), ("microns", 1000), ("mm", 1e6), ("Angstrom", 0.1)],
)
def test_units_become_nanometres(load, unit, nanometres) -> None:
    steps = {
        "space dimension": 3,
        "space directions": np.diag([8, 7, 40.0]),
        "space origin": [80, -7, 120.0],
    }
    chunk = load(XYZ, steps | {"space units": [unit] * 3})
    assert chunk.voxel_size == pytest.approx((40 * nanometres, 7 * nanometres, 8 * nanometres))
    assert tuple(chunk.voxel_offset) == (3, -1, 10)
    chunk = load(XYZ, {"spacings": [8, 7, 40.0], "units": [unit] * 3})
    assert chunk.voxel_size == pytest.approx((40 * nanometres, 7 * nanometres, 8 * nanometres))


def test_axes_stored_in_another_order_are_transposed(load) -> None:
    zyx = XYZ.T  # the first axis, which varies fastest in the file, is z
    directions = [[0, 0, 40.0], [0, 7.0, 0], [8.0, 0, 0]]
    chunk = load(
        zyx, {"space dimension": 3, "space directions": directions, "space origin": [8, 14, 40.0]}
    )
    assert np.array_equal(chunk.array, XYZ.T)
    assert (chunk.voxel_size, tuple(chunk.voxel_offset)) == ((40.0, 7.0, 8.0), (1, 2, 1))


@pytest.mark.parametrize("position", [0, 3])
def test_channels_become_the_first_axis(load, position) -> None:
    channels = np.stack([XYZ, XYZ + 100], position)
    kinds = ["domain"] * 3
    kinds.insert(position, "vector")
    chunk = load(channels, {"kinds": kinds})
    assert np.array_equal(chunk.array, np.stack([XYZ.T, XYZ.T + 100]))
    directions = np.insert(np.diag([8, 7, 40.0]), position, np.nan, axis=0)
    chunk = load(channels, {"space dimension": 3, "space directions": directions})
    assert np.array_equal(chunk.array, np.stack([XYZ.T, XYZ.T + 100]))
    assert chunk.voxel_size == (40.0, 7.0, 8.0)


@pytest.mark.parametrize(
    "directions", [np.diag([-8, 8, 40.0]), [[6, 6, 0.0], [-6, 6, 0], [0, 0, 40]]]
)
def test_mirrored_and_oblique_axes_are_read_as_stored(load, caplog, directions) -> None:
    header = {"space dimension": 3, "space directions": directions, "space units": ["nm"] * 3}
    header["space origin"] = [80, 80, 40.0]
    chunk = load(XYZ, header)
    assert np.array_equal(chunk.array, XYZ.T)
    lengths = np.linalg.norm(directions, axis=1)[::-1]
    assert chunk.voxel_size == pytest.approx(tuple(lengths))
    assert tuple(chunk.voxel_offset) == (0, 0, 0)
    [record] = caplog.records
    assert "axes: voxels are read as stored" in record.getMessage()
    assert "(--voxel-offset sets it)" in record.getMessage()
    caplog.clear()
    chunk = load(XYZ, header, voxel_size=(1, 2, 3), voxel_offset=(0, 0, 9))
    assert (chunk.voxel_size, chunk.voxel_offset) == ((1.0, 2.0, 3.0), (0, 0, 9))
    [record] = caplog.records
    assert "--voxel-size 1 2 3 replaces it" in record.getMessage()


def test_options_override_the_header_and_convert(load) -> None:
    steps = {
        "space dimension": 3,
        "space directions": np.diag([8, 8, 40.0]),
        "space origin": [80, 80, 40.0],
    }
    chunk = load(
        XYZ * 100,
        steps,
        voxel_offset=(5, 6, 7),
        voxel_size=(1, 1, 1),
        layer_type="segmentation",
        dtype="uint32",
    )
    assert tuple(chunk.voxel_offset) == (5, 6, 7)
    assert chunk.voxel_size == (1.0, 1.0, 1.0)
    assert chunk.layer_type == "segmentation"
    assert chunk.dtype == np.uint32
    assert chunk.array.max() == XYZ.max() * 100


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
def test_every_encoding_and_byte_order(load, encoding) -> None:
    chunk = load(XYZ.astype(">u2"), {"encoding": encoding})
    assert np.array_equal(chunk.array, XYZ.T)
    assert chunk.dtype.isnative


def test_a_picture_of_two_axes_is_refused(load) -> None:
    with pytest.raises(ChunkMismatch, match="has 2 axes"):
        load(np.zeros((2, 2), np.uint8), {})


def test_missing_and_damaged_files_are_errors(run_step, tmp_path) -> None:
    with pytest.raises(DataMissing, match=r"there is no file .*none.nrrd"):
        run_step(LoadNrrd(file_name=f"{tmp_path}/none.nrrd"))
    (tmp_path / "text.nrrd").write_text("hello")
    with pytest.raises(DataMissing, match=r"text.nrrd cannot be read as NRRD"):
        run_step(LoadNrrd(file_name=f"{tmp_path}/text.nrrd"))
    nrrd.write(f"{tmp_path}/cut.nrrd", XYZ)
    (tmp_path / "cut.nrrd").write_bytes((tmp_path / "cut.nrrd").read_bytes()[:-20])
    with pytest.raises(DataMissing, match=r"cut.nrrd cannot be read as NRRD"):
        run_step(LoadNrrd(file_name=f"{tmp_path}/cut.nrrd"))
