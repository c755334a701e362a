"""Axes, sizes and positions, apart from any store."""

from __future__ import annotations

import math

import pytest

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.volumes.zarr.geometry import (
    Geometry,
    axis_names,
    by_axis,
    measured,
    numbers_by_axis,
    placed_axes,
    times,
    unnamed_axes,
)

ZYX = ("z", "y", "x")


def test_another_voxel_size_keeps_the_first_voxel() -> None:
    known = Geometry(("c", "x", "y", "z"), {"z": 40, "y": 8, "x": 8}, {"z": 80, "y": -8})
    other = known.with_voxel_size((10.0, 2.0, 4.0))
    assert (other.axes, other.scales) == (known.axes, [1, 4, 2, 10])
    assert other.translations == [0, 0, -2, 20], "voxel 2, -1, 0"
    assert other.start == known.start == Vec3(2, -1, 0)
    assert Geometry(ZYX, {}, {}).with_voxel_size((1.0, 2.0, 3.0)).scales == [1, 2, 3]


def test_another_position_keeps_the_voxel_size() -> None:
    moved = Geometry(ZYX, {"z": 40, "y": 8, "x": 8}, {"z": 80}).with_voxel_offset(Vec3(1, -2, 3))
    assert (moved.start, moved.voxel_size) == (Vec3(1, -2, 3), (40, 8, 8))


@pytest.mark.parametrize(
    ("places", "start", "told"),
    [
        ((80.0, 8.0, -8.0), (2, 1, -1), False),
        ((80.3, 8.0, 0.0), (2, 1, 0), False),  # a rounding error
        ((80.0, 12.0, 0.0), (2, 2, 0), True),
        ((100.0, 0.0, 0.0), (2, 0, 0), True),
    ],
)
def test_a_position_between_voxels_is_told(
    places: tuple[float, ...], start: tuple[int, ...], told: bool
) -> None:
    sizes = {"z": 40.0, "y": 8.0, "x": 8.0}
    checked = Geometry(ZYX, sizes, dict(zip(ZYX, places, strict=True))).checked()
    assert tuple(checked.start) == start
    assert [note.about for note in checked.ignored] == [("position",)] * told


@pytest.mark.parametrize("size", [0.0, -4.0, math.nan, math.inf])
def test_a_size_that_is_not_above_zero_is_told_and_not_used(size: float) -> None:
    checked = Geometry(ZYX, {"z": 40.0, "y": size, "x": 4.0}, {}).checked()
    assert checked.voxel_size == (40.0, 1.0, 4.0)
    [note] = checked.ignored
    assert note.about == ("voxel size",)
    assert note.text == f"its voxel size is {size:g} along y, and 1 is used"


def test_the_size_of_a_voxel_along_an_axis_that_is_missing_is_told() -> None:
    [note] = Geometry(("y", "x"), {"y": 8.0, "x": 8.0}, {}).checked().ignored
    assert (note.about, "no axis z" in note.text) == (("voxel size",), True)
    assert Geometry(("y", "x"), {}, {}).checked().ignored == ()
    assert Geometry(ZYX, {"y": 8.0, "x": 8.0}, {}).checked().ignored == ()


@pytest.mark.parametrize(
    ("fine", "coarse", "factor", "expected"),
    [
        (0.0, 2.0, 2, 0.0),
        (0.0, 6.0, 4, 0.0),
        (80.0, 82.0, 2, 80.0),
        (0.0, 0.0, 2, 0.0),  # positions of corners
        (0.0, 4.0, 2, 4.0),  # another image
        (0.0, 4.0, 3, 0.0),
        (8.0, 12.0, 3, 12.0),  # positions of corners: voxel 2 of s0, and voxel 1 of s1
        (12.0, 20.0, 5, 20.0),
        (12.0, 10.0, 2, 8.0),  # voxel 3 of s0, and voxel 1 of s1, which begins with voxel 2
        (-4.0, -10.0, 4, -16.0),
    ],
)
def test_the_centre_of_a_coarse_voxel_is_no_shift(
    fine: float, coarse: float, factor: int, expected: float
) -> None:
    """The centre of the first voxel of s1 lies half a fine voxel from that of s0."""
    finest = Geometry(ZYX, dict.fromkeys(ZYX, 4.0), {"x": fine})
    level = Geometry(ZYX, dict.fromkeys(ZYX, 4.0 * factor), {"x": coarse})
    assert level.without_shift(finest).translation["x"] == expected
    assert finest.without_shift(finest).translation == {"x": fine}


@pytest.mark.parametrize(
    ("names", "axes"),
    [
        ([("Z", ""), ("Y", ""), ("X", "")], "zyx"),
        ([("depth", ""), ("row", ""), ("width", "")], "zyx"),
        ([("stain", "channel"), ("z", "space")], "cz"),
        ([("T", ""), ("Channel", ""), ("x", "")], "tcx"),
        ([("c^", ""), ("y", "")], "cy"),
        ([("c'", ""), ("y", "")], "cy"),
    ],
)
def test_names_of_axes_in_other_words(names: list[tuple[str, str]], axes: str) -> None:
    assert axis_names(names) == tuple(axes)


def test_a_second_axis_of_channels_keeps_its_own_name() -> None:
    """As funlib's sample^ and channel^."""
    assert axis_names([("sample^", ""), ("channel^", ""), ("y", "")])[0::2] == ("c", "y")


def test_axes_that_no_store_names() -> None:
    assert unnamed_axes(2, order="zyx", n5=False) == ("y", "x")
    assert unnamed_axes(2, order="xyz", n5=False) == ("x", "y")
    assert unnamed_axes(3, order="xyz", n5=False) == ("x", "y", "z")
    assert unnamed_axes(5, order="zyx", n5=False) == ("t", "c", "z", "y", "x"), "OME-Zarr 0.1"
    assert unnamed_axes(4, order="zyx", n5=True) == ("x", "y", "z", "c")
    assert len(unnamed_axes(7, order="zyx", n5=False)) == 7


@pytest.mark.parametrize(
    ("axes", "placed", "told"),
    [
        (("c", "z", "y", "x"), ("c", "z", "y", "x"), False),
        (("k", "j", "i"), ("z", "y", "x"), True),
        (("dim_0", "dim_1", "dim_2"), ("z", "y", "x"), False),  # xarray's for no name
        (("c", "d0", "d1", "d2"), ("c", "z", "y", "x"), False),  # funlib's
        (("c", "z", "y", "w"), ("c", "z", "y", "w"), False),
    ],
)
def test_spatial_axes_with_other_names(
    axes: tuple[str, ...], placed: tuple[str, ...], told: bool
) -> None:
    result, notes = placed_axes(axes, order="zyx", n5=False)
    assert result == placed
    assert [note.about for note in notes] == [("order",)] * told


def test_lists_may_leave_out_channels_or_all_but_space() -> None:
    axes = ("t", "c", "z", "y", "x")
    assert by_axis(axes, [1, 2, 3, 4, 5]) == dict(zip(axes, [1, 2, 3, 4, 5], strict=True))
    assert by_axis(axes, [1, 3, 4, 5]) == {"t": 1, "z": 3, "y": 4, "x": 5}
    assert by_axis(axes, [3, 4, 5]) == {"z": 3, "y": 4, "x": 5}
    assert by_axis(axes, [4, 5]) == by_axis(axes, "345") == {}
    assert numbers_by_axis(axes, [3, "4", 5]) == numbers_by_axis(axes, [True, 1, 1]) == {}


def test_units_of_length() -> None:
    sizes = {"z": 0.04, "y": 8.0, "x": 40.0, "c": 1.0}
    units = {"z": "micrometer", "y": "nm", "x": "Å"}
    found = measured(("c", *ZYX), sizes, {"z": 0.08}, units, unit_expected=True)
    assert (found.scale, found.translation) == ({"z": 40, "y": 8, "x": 4, "c": 1}, {"z": 80})
    assert found.ignored == ()


@pytest.mark.parametrize(
    ("units", "text"),
    [
        ({"z": "furlong", "y": "nm", "x": "nm"}, "the unit 'furlong' of z is not known"),
        ({"z": "pixel", "y": "pixel", "x": "nm"}, "the unit 'pixel' of z y is not known"),
        ({"z": "a b", "y": "s", "x": "s"}, "the unit 'a b', 's' of z y x is not known"),
    ],
)
def test_a_size_in_an_unknown_unit_is_unknown(units: dict[str, str], text: str) -> None:
    places = {"z": 8.0, "y": -4.0, "x": 0.0}
    found = measured(ZYX, dict.fromkeys(ZYX, 4.0), places, units, unit_expected=False)
    assert found.voxel_size == (1.0, 1.0, 1.0)
    assert found.start == Vec3(2, -1, 0), "in voxels it is known"
    assert [note.text for note in found.ignored] == [f"{text}, and 1 1 1 nm is used"]


@pytest.mark.parametrize(
    ("units", "missing"), [({"y": "nm"}, "z x"), ({"z": " ", "y": "", "x": None}, "z y x")]
)
def test_a_unit_that_is_missing_is_told_where_the_format_wants_one(
    units: dict[str, str | None], missing: str
) -> None:
    sizes = dict.fromkeys(ZYX, 4.0)
    found = measured(ZYX, sizes, {}, units, unit_expected=True)
    text = f"no unit of length is stored for {missing}, and nanometres are used"
    assert (found.scale, [note.text for note in found.ignored]) == (sizes, [text])
    assert measured(ZYX, sizes, {}, units, unit_expected=False).ignored == ()


def test_products_have_no_rounding_errors() -> None:
    assert 1.001 * 1e3 != 1001
    assert times({"x": 1.001, "y": 1 / 3}, {"x": 1e3}) == {"x": 1001, "y": 1 / 3}


def test_a_size_of_zero_in_an_unknown_unit() -> None:
    units = {"z": "pixel", "y": "nm", "x": "nm"}
    sizes = {"z": 0.0, "y": 8.0, "x": 4.0}
    found = measured(ZYX, sizes, {"y": 24.0}, units, unit_expected=True)
    assert (found.voxel_size, tuple(found.start)) == ((1.0, 1.0, 1.0), (0, 3, 0))
