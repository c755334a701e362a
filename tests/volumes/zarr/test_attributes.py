"""Attributes as other programs write them; tests/compat has whole stores of theirs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_worker.volumes.zarr.attributes import from_attributes
from chunkflow_worker.volumes.zarr.geometry import Geometry, Order
from chunkflow_worker.volumes.zarr.metadata import Driver, Group, StoredArray

SIZES = {"z": 40, "y": 8, "x": 4}
KEYS = [
    *("axes", "types", "units", "unit", "resolution", "voxel_size", "offset", "voxel_offset"),
    *("pixelResolution", "downsamplingFactors", "scales", "dimension_units", "transform"),
    *("affineTransform", "_ARRAY_DIMENSIONS", "axis_names", "multiscales", "ome"),
]
LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.sampled_from([*"zyxc"])
JSON = st.recursive(
    LEAVES | st.sampled_from(["nm", "40 nm", "e", "1.2.3 um", "-", "s0"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["axes", "scale", "translate", "units", "unit", "dimensions", "datasets"]
            ),
            inner,
        )
    ),
    max_leaves=8,
)


def read(
    attributes: dict[str, Any] | None = None,
    *groups: dict[str, Any],
    driver: Driver = "zarr",
    shape: tuple[int, ...] = (10, 12, 14),
    place: str = "file:///a.n5/c0/s0",
    order: Order = "zyx",
    **content: Any,
) -> Geometry:
    """The geometry of an array with these attributes, and of groups, the nearest first."""
    content |= {"dimensions" if driver == "n5" else "shape": list(shape)}
    parts = place.split("/")
    above = [
        Group("/".join(parts[:-i]), "/".join(parts[-i:]), group)
        for i, group in enumerate(groups, 1)
    ]
    array = StoredArray(place, driver, content, attributes or {}, tuple(above))
    return from_attributes(array, order)


def n5(attributes: dict[str, Any] | None = None, *groups: dict[str, Any], **more: Any) -> Geometry:
    return read(attributes, *groups, driver="n5", **more)


def test_an_array_without_attributes_starts_at_zero_with_unknown_voxels() -> None:
    assert read() == Geometry(("z", "y", "x"), {}, {}, is_named=False)
    assert read(order="xyz").axes == ("x", "y", "z")
    assert read(shape=(2, 3, 4, 5)).axes == ("c", "z", "y", "x")
    assert n5() == Geometry(("x", "y", "z"), {}, {})
    assert n5(shape=(4, 3, 2, 1)).axes == ("x", "y", "z", "c")


@pytest.mark.parametrize(
    ("attributes", "content", "axes"),
    [
        ({"axes": ["z", "x", "y"]}, {}, ("z", "x", "y")),
        ({"axes": [{"name": "X"}, {"name": "Y"}, {"name": "Z"}]}, {}, ("x", "y", "z")),
        ({"axes": "xyz"}, {}, ("x", "y", "z")),
        ({"_ARRAY_DIMENSIONS": ["X", "Y", "Z"]}, {}, ("x", "y", "z")),
        ({"axis_names": ["x", "y", "z"], "types": ["space"] * 3}, {}, ("x", "y", "z")),
        ({}, {"dimension_names": ["y", "z", "x"]}, ("y", "z", "x")),
        ({"transform": {"axes": ["x", "y", "z"]}}, {}, ("x", "y", "z")),
    ],
)
def test_axes_are_those_that_the_store_names(
    attributes: dict[str, Any], content: dict[str, Any], axes: tuple[str, ...]
) -> None:
    found = read(attributes, **content)
    assert (found.axes, found.is_named) == (axes, True)


@pytest.mark.parametrize(
    ("attributes", "content"),
    [
        ({"axes": ["z", "y"]}, {}),
        ({}, {"dimension_names": ["z", None, "x"]}),
        ({}, {"dimension_names": ["dim_0", "dim_1", "dim_2"]}),
        ({"_ARRAY_DIMENSIONS": ["x", "x", "x"]}, {}),
    ],
)
def test_axes_are_not_named_by_half(attributes: dict[str, Any], content: dict[str, Any]) -> None:
    found = read(attributes, **content)
    assert (found.axes, found.is_named) == (("z", "y", "x"), False)


@pytest.mark.parametrize(
    ("attributes", "translation"),
    [
        ({"resolution": [40, 8, 4], "offset": [80, -8, 12]}, {"z": 80, "y": -8, "x": 12}),
        ({"voxel_size": [40, 8, 4], "voxel_offset": [2, -1, 3]}, {"z": 80, "y": -8, "x": 12}),
        ({"resolution": [0.04, 0.008, 4], "units": ["um", "micrometer", "nm"]}, {}),
        ({"resolution": [0.04, 0.008, 0.004], "unit": "µm", "offset": [0.08, 0, 0]}, {"z": 80}),
        ({"pixelResolution": {"dimensions": [4, 8, 40], "unit": "nm"}}, {}),
        ({"pixelResolution": {"dimensions": [0.004, 0.008, 0.04], "unit": "um"}}, {}),
        ({"pixelResolution": [0.004, 0.008, 0.04], "unit": "um"}, {}),
        ({"pixelResolution": [4, 8, 40], "units": ["nm"] * 3}, {}),
        ({"dimension_units": ["40 nm", "8nm", "0.004 um"]}, {}),
    ],
)
def test_sizes_and_positions_are_in_nanometres(
    attributes: dict[str, Any], translation: dict[str, float]
) -> None:
    found = read(attributes)
    assert found.scale == SIZES
    assert {n: at for n, at in found.translation.items() if at} == translation
    assert found.ignored == ()


def test_numbers_of_the_spatial_axes_alone_leave_out_channels() -> None:
    shape = (2, 10, 12, 14)
    assert read({"resolution": [40, 8, 4]}, shape=shape).scale == SIZES
    assert read({"resolution": [1, 40, 8, 4]}, shape=shape).scales == [1, 40, 8, 4]
    pixels = {"pixelResolution": {"unit": "nm", "dimensions": [4, 8, 40, 1]}}
    assert n5(pixels, shape=(14, 12, 10, 2)).scales == [4, 8, 40, 1]


TRANSFORM = {
    "axes": ["z", "y", "x"],
    "units": ["nm", "nm", "nm"],
    "scale": [40, 8, 4],
    "translate": [80, -8, 12],
}
REVERSED = {name: values[::-1] for name, values in TRANSFORM.items()}


@pytest.mark.parametrize(
    "transform", [TRANSFORM, REVERSED | {"ordering": "F"}, REVERSED | {"order": "F"}]
)
def test_the_transform_of_cosem_says_in_which_order_it_lists(transform: dict[str, Any]) -> None:
    for found in (n5({"transform": transform}), n5({}, {"multiscales": listed(transform)})):
        assert found.axes == ("x", "y", "z")
        assert found.scale == SIZES
        assert found.translation == {"z": 80, "y": -8, "x": 12}
        assert found.ignored == ()


def listed(transform: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"datasets": [{"path": "s0", "transform": transform}]}]


def test_a_coarse_level_of_cosem_is_not_shifted() -> None:
    """Its position is that of the centre of its first voxel."""
    coarse = TRANSFORM | {"scale": [40, 16, 8], "translate": [80, -4, 14]}
    datasets = [{"path": "s0", "transform": TRANSFORM}, {"path": "s1", "transform": coarse}]
    group = {"multiscales": [{"datasets": datasets}]}
    found = n5({"transform": coarse}, group, place="file:///a.n5/c0/s1")
    assert found.translation == {"z": 80, "y": -8, "x": 12}


PIXELS = {"pixelResolution": {"unit": "nm", "dimensions": [4, 8, 40]}}
FACTORS = [[1, 1, 1], [2, 2, 1]]


@pytest.mark.parametrize(
    ("level", "own", "groups"),
    [
        # n5-viewer: on the array
        (1, PIXELS | {"downsamplingFactors": [2, 2, 1]}, []),
        # n5-viewer: on the channel, and on the root
        (1, {}, [PIXELS | {"scales": FACTORS}]),
        (1, {}, [{}, PIXELS | {"scales": FACTORS}]),
        (1, {"downsamplingFactors": [2, 2, 1]}, [PIXELS]),
        # BigDataViewer's factors, with Paintera's resolution
        (1, {}, [{"resolution": [4, 8, 40]}, {"downsamplingFactors": FACTORS}]),
        (0, {}, [PIXELS | {"scales": FACTORS}]),
        (0, PIXELS, [{}]),
        # CellMap: the array has its own size, the group that of the finest level
        (1, {"pixelResolution": {"unit": "nm", "dimensions": [8, 16, 40]}}, [PIXELS]),
    ],
)
def test_the_size_of_a_level_is_that_of_the_finest_times_its_factors(
    level: int, own: dict[str, Any], groups: list[dict[str, Any]]
) -> None:
    found = n5(own, *groups, place=f"file:///a.n5/c0/s{level}")
    assert found.scale == ({"z": 40, "y": 16, "x": 8} if level else SIZES)
    assert found.ignored == ()


def test_factors_that_are_not_stored_are_guessed_and_told() -> None:
    """As n5-viewer guesses them, from the name of the level."""
    found = n5({}, PIXELS, place="file:///a.n5/c0/s2")
    assert found.scale == {"z": 160, "y": 32, "x": 16}
    assert [note.about for note in found.ignored] == [("voxel size",)]


def test_paintera_keeps_resolution_and_offset_in_the_group() -> None:
    data = {"multiScale": True, "resolution": [4, 8, 40], "offset": [12, -8, 80]}
    found = n5({}, data, {"painteraData": {"type": "raw"}})
    assert found.scale == SIZES
    assert found.translation == {"z": 80, "y": -8, "x": 12}


@pytest.mark.parametrize(
    ("attributes", "place", "text"),
    [
        ({"pixelResolution": [4, 8, 40]}, "", "no unit of length is stored for x y z"),
        ({"pixelResolution": PIXELS["pixelResolution"] | {"unit": "pixel"}}, "", "'pixel' of x y"),
        ({"resolution": [4, 8, 40], "units": ["furlong"] * 3}, "", "'furlong' of x y z"),
        ({"resolution": "4 8 40"}, "", "attribute resolution is not a list"),
        ({"resolution": [4, 8]}, "", "attribute resolution is not a list"),
        ({"offset": 3}, "", "attribute offset is not a list"),
        ({"pixelResolution": [4, 8]}, "", "attribute pixelResolution is not a list"),
        ({"pixelResolution": {"dimensions": [8, 40], "unit": "nm"}}, "", "pixelResolution is not"),
        ({"pixelResolution": "4 8 40"}, "", "attribute pixelResolution is not a list"),
        (PIXELS | {"downsamplingFactors": [2, 2]}, "", "downsamplingFactors is not a list"),
        ({"transform": {"scale": [1]}}, "", "attribute transform is not COSEM's"),
        ({"affineTransform": [[1, 0.3, 0, 0]]}, "", "affineTransform is not applied"),
        ({"downsamplingFactors": [2, 2, 2]}, "", "no voxel size, and 1 is used"),
        ({}, "file:///a.n5/setup0/timepoint0/s0", "BigDataViewer keeps the voxel size in an XML"),
    ],
)
def test_what_has_no_effect_is_told_once(attributes: dict[str, Any], place: str, text: str) -> None:
    [note] = n5(attributes, place=place or "file:///a.n5/c0/s0").ignored
    assert text in note.text


@pytest.mark.parametrize("driver", ["zarr", "n5"])
def test_an_array_that_the_multiscales_of_its_group_do_not_list(driver: Driver) -> None:
    scales = {"multiscales": [{"axes": [*"zyx"], "datasets": [{"path": "other"}]}]}
    [note] = read({}, scales, driver=driver).ignored
    assert note.text.startswith("the multiscales of its group do not list it")
    assert read({"resolution": [40, 8, 4]}, scales, driver=driver).ignored == ()


@settings(max_examples=50)
@given(
    st.dictionaries(st.sampled_from(KEYS), JSON),
    st.dictionaries(st.sampled_from(KEYS), JSON),
    st.sampled_from(["s0", "7", "s99", "20240101"]),
)
def test_attributes_may_hold_anything(
    own: dict[str, Any], group: dict[str, Any], name: str
) -> None:
    for driver in ("zarr", "n5"):
        found = read(own, group, driver=driver, place=f"file:///a/{name}").checked()
        assert len(found.axes) == 3
        assert min(found.voxel_size) > 0
        assert len(found.start) == 3


def test_an_affine_transform_that_changes_nothing_is_not_told() -> None:
    identity = [[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0]]
    assert n5(PIXELS | {"affineTransform": identity}).ignored == ()


def test_old_ome_zarr_has_five_axes_and_no_voxel_size() -> None:
    group = {"multiscales": [{"version": "0.1", "datasets": [{"path": "s0"}]}]}
    found = read({}, group, shape=(1, 2, 10, 12, 14))
    assert (found.axes, found.is_named) == (("t", "c", "z", "y", "x"), True)
    assert [note.about for note in found.ignored] == [("voxel size",)]
