"""OME-Zarr of all versions, as its specification describes them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.volumes.zarr.geometry import Geometry
from chunkflow_worker.volumes.zarr.ome import (
    from_multiscale,
    listed_as,
    multiscales,
    path_in_group,
)

LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.sampled_from([*"zyxc"])
JSON = st.recursive(
    LEAVES | st.sampled_from(["scale", "translation", "identity", "space", "channel", "nanometer"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "scale", "translation", "name", "unit", "path"]), inner
        )
    ),
    max_leaves=12,
)
SPACE = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]


def image(**changes: Any) -> dict[str, Any]:
    """Attributes of a group that lists two arrays, in micrometres."""
    axes: list[Any] = [{"name": "c", "type": "channel"}, *SPACE]
    datasets = []
    for i, size in enumerate((0.5, 1.0)):
        steps = [
            {"type": "scale", "scale": [1, 2 * size, size, size]},
            {"type": "translation", "translation": [0, 4, 0, -3]},
        ]
        datasets.append({"path": str(i), "coordinateTransformations": steps})
    return {"multiscales": [{"axes": axes, "datasets": datasets} | changes]}


def geometry(attributes: dict[str, Any], name: str = "0", n5: bool = False) -> Geometry | None:
    listed = listed_as(attributes, name)
    assert listed is not None
    return from_multiscale(name, *listed, order="zyx", n5=n5)


def read(attributes: dict[str, Any], name: str = "0", n5: bool = False) -> Geometry:
    found = geometry(attributes, name, n5)
    assert found is not None
    return found


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_scale_and_translation_of_a_level(version: str) -> None:
    found = read(image() if version == "0.4" else {"ome": image()}, "1")
    assert found.axes == ("c", "z", "y", "x")
    assert found.scales == [1, 2000, 1000, 1000]
    assert found.translations == [0, 4000, 0, -3000]
    assert found.ignored == ()


def test_a_transformation_of_all_datasets_is_applied_after_their_own() -> None:
    steps = [
        {"type": "scale", "scale": [1, 10, 10, 10]},
        {"type": "translation", "translation": [0, 1, 0, 0]},
    ]
    found = read(image(coordinateTransformations=steps))
    assert found.scales == pytest.approx([1, 10_000, 5_000, 5_000])
    assert found.translations == pytest.approx([0, 4 * 10_000 + 1_000, 0, -3 * 10_000])


def test_each_axis_has_its_own_unit() -> None:
    axes = [{"name": n, "unit": u} for n, u in zip("zyx", ("micrometer", "nm", "Å"), strict=True)]
    steps = [{"type": "scale", "scale": [0.04, 4, 40]}]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    found = read({"multiscales": [{"axes": axes, "datasets": datasets}]})
    assert (found.scales, found.ignored) == ([40, 4, 4], ())


@pytest.mark.parametrize(
    ("name", "listed"),
    [("0", "0"), ("s0/", "s0"), ("a/b", "/a/b/"), ("scale0/image", "./scale0/image")],
)
def test_paths_have_several_forms(name: str, listed: str) -> None:
    attributes = {"multiscales": [{"datasets": [{"path": "x"}, {"path": listed}]}]}
    found = listed_as(attributes, name)
    assert found is not None
    assert found[1] == 1
    assert listed_as(attributes, "other") is None
    assert path_in_group(listed) == path_in_group(name)


def test_0_3_has_names_of_axes_alone_and_no_voxel_size() -> None:
    found = read({"multiscales": [{"axes": ["z", "y", "x"], "datasets": [{"path": "0"}]}]})
    assert (found.axes, found.scales, found.translations) == (("z", "y", "x"), [1] * 3, [0] * 3)
    assert [note.about for note in found.ignored] == [("voxel size",)]


def test_0_1_and_0_2_name_no_axes() -> None:
    assert geometry({"multiscales": [{"version": "0.2", "datasets": [{"path": "0"}]}]}) is None


def test_0_6_is_a_draft() -> None:
    systems = [{"name": "intrinsic", "axes": SPACE}]
    scales = [{"coordinateSystems": systems, "datasets": [{"path": "s0"}]}]
    attributes = {"ome": {"version": "0.6rc0", "multiscales": scales}}
    with pytest.raises(ConfigError, match=r"0\.6 is a draft, and can't be read\n.*0\.5"):
        geometry(attributes, "s0")


@pytest.mark.parametrize(
    "step",
    [
        {"type": "affine", "affine": [[1, 0, 0, 0, 0]] * 4},
        {"type": "rotation", "rotation": [[1, 0, 0, 0]] * 4},
        {"type": "scale", "path": "/scales"},
        {"type": "translation", "path": "/places"},
        {"type": "scale", "scale": [1, 2]},
        {"type": "scale", "scale": ["a", "b", "c", "d"]},
        "scale",
    ],
)
def test_other_transformations_are_told(step: Any) -> None:
    datasets = [{"path": "0", "coordinateTransformations": [step]}]
    [note] = read(image(datasets=datasets)).ignored
    assert note.about == ("voxel size", "position")
    assert "is not applied" in note.text


def test_identity_and_a_scale_of_the_spatial_axes_alone() -> None:
    steps = [{"type": "identity"}, {"type": "scale", "scale": [2, 1, 1]}]
    found = read(image(datasets=[{"path": "0", "coordinateTransformations": steps}]))
    assert (found.scales, found.ignored) == ([1, 2000, 1000, 1000], ())


@pytest.mark.parametrize("unit", ["furlong", "", None, "pixel"])
def test_a_unit_that_is_missing_or_not_known_is_told(unit: str | None) -> None:
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": n, "type": "space"} | ({} if unit is None else {"unit": unit}) for n in "zyx"]
    found = read(image(axes=axes))
    assert found.voxel_size == ((1, 1, 1) if unit else (1, 0.5, 0.5))
    [note] = found.ignored
    assert note.about == ("voxel size",)
    assert (unit or "no unit") in note.text


def test_the_axes_of_n5_are_those_of_the_array_whichever_way_they_are_listed() -> None:
    """n5-universe lists them like the array, x first; others like the specification, x last."""
    for names, scale in (("xyz", [4, 8, 40]), ("zyx", [40, 8, 4])):
        axes = [{"name": n, "type": "space", "unit": "nanometer"} for n in names]
        steps = [{"type": "scale", "scale": scale}]
        datasets = [{"path": "s0", "coordinateTransformations": steps}]
        found = read({"multiscales": [{"axes": axes, "datasets": datasets}]}, "s0", n5=True)
        assert found.axes == ("x", "y", "z")
        assert found.scale == {"z": 40, "y": 8, "x": 4}


@given(JSON, JSON, JSON, st.booleans())
def test_multiscales_may_hold_anything(axes: Any, own: Any, all_steps: Any, n5: bool) -> None:
    dataset = {"path": "0", "coordinateTransformations": own}
    scales = {"axes": axes, "datasets": [dataset], "coordinateTransformations": all_steps}
    found = geometry({"multiscales": [scales]}, n5=n5)
    assert (found is None) is not isinstance(axes, list)
    if found is not None:
        assert min(found.checked().voxel_size) > 0


def test_multiscales_that_are_no_list_are_none() -> None:
    for content in ("x", [1], [{"datasets": "0"}], [{"datasets": [{"path": 0}]}]):
        assert multiscales({"multiscales": content}) == []
    assert multiscales({}) == multiscales({"ome": 1}) == []
