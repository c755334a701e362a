"""Which of several things that an HDF5 file says counts; its common forms are in tests/compat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.storage.formats.h5_metadata import (
    attributes_for,
    axes_of,
    is_unsigned_in_disguise,
    metadata_of,
)
from chunkflow_worker.storage.voxel_metadata import VoxelMetadata

EM = np.zeros((2, 3, 4), np.uint8)
SIZE = (40.0, 7.16, 4.0)


@pytest.fixture
def said(tmp_path: Path) -> Callable[..., VoxelMetadata]:
    """What a file says of its dataset `volumes/em`."""

    def said(
        data: Any = EM,
        root: Mapping[str, Any] | None = None,
        group: Mapping[str, Any] | None = None,
        beside: Mapping[str, Any] | None = None,
        **attributes: Any,
    ) -> VoxelMetadata:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            dataset = file.create_dataset("volumes/em", data=data)
            dataset.attrs.update(attributes)
            file["volumes"].attrs.update(group or {})
            file.attrs.update(root or {})
            for name, value in (beside or {}).items():
                file[name] = value
            return metadata_of(dataset, axes_of(dataset, "a.h5")[0], file)

    return said


def test_the_nearest_counts(said: Callable[..., VoxelMetadata]) -> None:
    far = {"resolution": (1, 1, 2)}
    assert said(root=far).voxel_size == (1.0, 1.0, 2.0)
    assert said(root=far, group={"voxel_size": (2, 2, 2)}).voxel_size == (2.0, 2.0, 2.0)
    assert said(root=far, group=far, resolution=SIZE).voxel_size == SIZE
    assert said(root={"layer_type": "image"}, layer_type=b"segmentation").layer_type == (
        "segmentation"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("voxel_size_nm_zyx", (40, 7.16, 4)),
        ("voxel_size_xyz_um", (0.004, 0.00716, 0.04)),
        ("element_size_um", np.array([0.04, 0.00716, 0.004], np.float32)),
        ("resolution", "[40, 7.16, 4]"),
        ("pixelSizeNm", [40, 7.16, 4]),
        ("spacing_mm", (4e-5, 7.16e-6, 4e-6)),
    ],
)
def test_a_name_may_end_in_a_unit_and_an_order(
    said: Callable[..., VoxelMetadata], name: str, value: Any
) -> None:
    found = said(root={name: value})
    assert found.voxel_size == SIZE
    assert not found.ignored


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        ("image", "image"),
        ("probability_map", "image"),
        ("affinity_map", "image"),
        ("unknown", "image"),
        ("segmentation", "segmentation"),
    ],
)
def test_the_layer_types_of_chunkflow(
    said: Callable[..., VoxelMetadata], stored: str, kind: str
) -> None:
    found = said(root={"layer_type": stored})
    assert (found.layer_type, found.ignored) == (kind, {})


@pytest.mark.parametrize("value", [1.5, [1.5], "sharp"])
@pytest.mark.parametrize("name", ["offset", "scale", "origin"])
def test_one_number_is_no_place(said: Callable[..., VoxelMetadata], name: str, value: Any) -> None:
    """For example a scale of values."""
    found = said(**{name: value})
    assert (found.voxel_size, found.voxel_offset, found.origin) == (None, None, None)


@pytest.mark.parametrize("name", ["transform", "calibration", "VoxelSizes", "pixelResolution"])
def test_what_looks_like_a_size_is_told(said: Callable[..., VoxelMetadata], name: str) -> None:
    assert f"attribute {name}, whose form is not known" in said(**{name: "?"}).ignored["voxel_size"]


def test_the_offset_of_the_first_versions_of_chunkflow(
    said: Callable[..., VoxelMetadata],
) -> None:
    assert said(beside={"global_offset": (1, -2, 3)}).voxel_offset == (1, -2, 3)
    found = said(beside={"voxel_offset": (1.5, 2, 3)})
    assert found.voxel_offset == (2, 2, 3)
    assert found.ignored["voxel_offset"] == (
        "has the voxel_offset 1.5 2 3, which is rounded to whole voxels"
    )


@pytest.mark.parametrize(
    ("shape", "attributes", "letters"),
    [
        ((2, 3, 4), {}, "zyx"),
        ((2, 3, 4, 5), {}, "czyx"),
        ((2, 3, 4), {"axes": ["x", "y", "z"]}, "zyx"),
        ((2, 3, 4, 2), {"axes": ["c", "x", "y", "z"]}, "zyxc"),
        ((2, 3, 4), {"axes": "yxc"}, "yxc"),
        ((2, 3), {"axis_names": ["y", "x"]}, "yx"),
        ((2, 3, 4, 5), {"MATLAB_class": b"double"}, "czxy"),
        (
            (2, 3, 3),
            {"IMAGE_SUBCLASS": b"IMAGE_TRUECOLOR", "INTERLACE_MODE": b"INTERLACE_PIXEL"},
            "yxc",
        ),
        (
            (3, 2, 3),
            {"IMAGE_SUBCLASS": b"IMAGE_TRUECOLOR", "INTERLACE_MODE": b"INTERLACE_PLANE"},
            "cyx",
        ),
        ((2, 3, 4), {"axistags": '{"axes": [{"key": "?"}, {"key": "?"}, {"key": "?"}]}'}, "zyx"),
    ],
)
def test_axes(tmp_path: Path, shape: tuple[int, ...], attributes: Any, letters: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("a", shape, "u1")
        data.attrs.update(attributes)
        assert axes_of(data, "a.h5")[0] == letters


@pytest.mark.parametrize("shape", [(5,), (5, 3), (1, 1, 1, 1, 1, 1)])
def test_another_number_of_axes_needs_names(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("a", shape, "u1")
        with pytest.raises(ChunkMismatch, match=r"a\.h5 has shape .* --axes names the axes"):
            axes_of(data, "a.h5")


def test_scales_of_dimensions_name_the_axes_and_their_coordinates_are_told(tmp_path: Path) -> None:
    """As xarray and NetCDF 4 write them."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("a", data=EM)
        for axis, name in enumerate("xyz"):
            file[name] = np.arange(EM.shape[axis]) * 4.0
            file[name].make_scale(name)
            data.dims[axis].attach_scale(file[name])
        assert axes_of(data, "a.h5") == ("xyz", {})
        assert "dimension scales" in metadata_of(data, "xyz", file).ignored["voxel_size"]


def test_big_data_viewer_stores_unsigned_voxels_as_signed(run_step, tmp_path: Path, caplog) -> None:
    from chunkflow_worker.operators.load_h5 import LoadH5

    bright = np.full((2, 3, 4), 40_000, np.uint16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["t00000/s00/0/cells"] = bright.view(np.int16)
        file["other"] = bright.view(np.int16)
        assert is_unsigned_in_disguise(file["t00000/s00/0/cells"])
        assert not is_unsigned_in_disguise(file["other"])
    load = LoadH5(file_name=str(tmp_path / "a.h5"), dataset_path="t00000/s00/0/cells")
    assert np.array_equal(run_step(load).chunk("chunk").array, bright)
    assert "is of BigDataViewer, which keeps the voxel size in an XML file" in caplog.text


@pytest.mark.parametrize("with_offset", [True, False])
def test_attributes_say_what_was_given(
    said: Callable[..., VoxelMetadata], with_offset: bool
) -> None:
    chunk = Chunk(EM, Vec3(1, 100, -3), SIZE)
    found = said(**attributes_for(chunk, with_offset))
    assert found.voxel_size == SIZE
    assert found.offset(SIZE) == ((1, 100, -3) if with_offset else None, "")
    assert not found.ignored
    unknown = said(**attributes_for(Chunk(EM, Vec3(1, 2, 3)), with_offset))
    assert (unknown.voxel_size, unknown.origin, unknown.ignored) == (None, None, {})
