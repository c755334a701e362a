"""What the writers of Zarr and N5 say of an image is read right, or told in one warning.

Each row of WRITERS writes the same image as one program does, by its specification or source:

- OME-Zarr 0.4 and 0.5, by zarr-python; 0.5 also by yaozarrs, which validates what it writes
- xarray: names of dimensions, and coordinates beside the array
- tensorstore: `dimension_units` in Zarr 3; `axes`, `units` and `resolution` in N5
- funlib.persistence: `voxel_size` and `offset` in world units, `axis_names`, `types`
- chunkflow 1.2.0: `dimension_units` and `_ARRAY_DIMENSIONS`
- COSEM: `transform`, which lists z first
- n5-viewer: `pixelResolution` of the array, or of the channel's group with `scales`
- Paintera: `resolution` and `offset` of the group `data`
- BigDataViewer: `setup0/timepoint0/s0`, its voxel size is in an XML file
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import yaozarrs
import zarr
from yaozarrs.write.v05 import write_image

from chunkflow_worker.operators.load_zarr import LoadZarr
from tests.support.n5 import write_attributes, write_n5

VOXELS = np.random.default_rng(0).integers(0, 60000, (6, 8, 10)).astype(np.uint16)
NANOMETRES = {"nanometer": 1.0, "micrometer": 1e3, "angstrom": 0.1, "furlong": 1.0, "": 1.0}


@dataclass(frozen=True)
class Image:
    """VOXELS, and what a program says of them.

    size, start: of a voxel in nanometres and of the first voxel in voxels, zyx.
    axes: of the array as it is stored.
    """

    size: tuple[float, float, float] = (40.0, 8.0, 4.0)
    unit: str = "nanometer"
    start: tuple[float, float, float] = (2, -1, 3)
    axes: str = "zyx"
    kind: str = "image"

    @property
    def array(self) -> np.ndarray:
        channels = np.stack([VOXELS, VOXELS[::-1]]) if "c" in self.axes else VOXELS
        names = "czyx" if "c" in self.axes else "zyx"
        return np.ascontiguousarray(channels.transpose([names.index(n) for n in self.axes]))

    def sizes(self, axes: str = "") -> list[float]:
        """Size of a voxel in its unit, along the stored axes."""
        known = dict(zip("zyx", self.size, strict=True))
        in_unit = {n: size / NANOMETRES[self.unit] for n, size in known.items()}
        return [in_unit.get(axis, 1.0) for axis in axes or self.axes]

    def places(self, axes: str = "") -> list[float]:
        """Position of the first voxel in its unit, along the stored axes."""
        starts = dict(zip("zyx", self.start, strict=True))
        sizes = zip(axes or self.axes, self.sizes(axes), strict=True)
        return [starts.get(axis, 0) * size for axis, size in sizes]

    def units(self, axes: str = "") -> list[str]:
        return ["" if axis == "c" else self.unit for axis in axes or self.axes]


def ome_axes(image: Image) -> list[dict[str, str]]:
    types = {axis: {"type": "channel"} if axis == "c" else {"type": "space"} for axis in image.axes}
    units = zip(image.axes, image.units(), strict=True)
    return [{"name": n, **types[n]} | ({"unit": u} if u else {}) for n, u in units]


def ome_zarr(folder: Path, image: Image, version: int) -> Path:
    steps = [
        {"type": "scale", "scale": image.sizes()},
        {"type": "translation", "translation": image.places()},
    ]
    datasets = [{"path": "s0", "coordinateTransformations": steps}]
    scales = [{"axes": ome_axes(image), "datasets": datasets}]
    attributes: dict[str, Any] = {"multiscales": scales}
    if image.kind == "segmentation":
        attributes["image-label"] = {"colors": [{"label-value": 1}]}
    group = zarr.open_group(folder / "i.zarr/em", mode="w", zarr_format=version)
    group.create_array("s0", data=image.array)
    group.attrs.update(attributes if version == 2 else {"ome": {"version": "0.5", **attributes}})
    return folder / "i.zarr/em"


def yaozarrs_writes(folder: Path, image: Image) -> Path:
    rows = zip(image.axes, image.sizes(), image.places(), image.units(), strict=True)
    dims = [yaozarrs.DimSpec(name=n, scale=s, translation=p, unit=u or None) for n, s, p, u in rows]
    scales = [yaozarrs.v05.Multiscale.from_dims(dims, n_levels=1)]
    plain = yaozarrs.v05.Image(multiscales=scales)
    if image.kind == "image":
        return Path(write_image(folder / "i.zarr", plain, image.array, writer="tensorstore"))
    label = yaozarrs.v05.LabelImage(multiscales=scales, image_label=yaozarrs.v05.ImageLabel())
    labels = {"cells": (label, image.array)}
    write_image(folder / "i.zarr", plain, image.array, labels=labels, writer="zarr")
    return folder / "i.zarr/labels/cells"


def xarray_writes(folder: Path, image: Image, version: int) -> Path:
    group = zarr.open_group(folder / "i.zarr", mode="w", zarr_format=version)
    arrays = {"em": (image.array, list(image.axes))}
    for axis, size, place in zip(image.axes, image.sizes(), image.places(), strict=True):
        if axis != "c":
            length = image.array.shape[image.axes.index(axis)]
            arrays[axis] = (place + size * np.arange(length), [axis])
    for name, (array, dims) in arrays.items():
        named = {"dimension_names": dims} if version == 3 else {}
        made = group.create_array(name, data=array, **named)
        made.attrs.update({"_ARRAY_DIMENSIONS": dims} if version == 2 else {})
        made.attrs.update({"units": image.unit} if name != "em" and image.unit else {})
    return folder / "i.zarr/em"


def tensorstore_writes_zarr(folder: Path, image: Image) -> Path:
    dims = zip(image.axes, image.sizes(), strict=True)
    units = [None if n == "c" else f"{size} {image.unit}".strip() for n, size in dims]
    attributes = {"dimension_units": units}
    metadata = {"dimension_names": list(image.axes), "attributes": attributes}
    kvstore = {"driver": "file", "path": f"{folder}/i.zarr/"}
    spec = {"driver": "zarr3", "kvstore": kvstore, "metadata": metadata}
    array = image.array
    opened = tensorstore.open(spec, create=True, shape=array.shape, dtype=str(array.dtype))
    opened.result()[...] = array
    return folder / "i.zarr"


def tensorstore_writes_n5(folder: Path, image: Image) -> Path:
    said = {"axes": list(image.axes), "resolution": image.sizes(), "units": image.units()}
    write_n5(folder / "i.n5", image.array, said)
    return folder / "i.n5"


def funlib_writes(folder: Path, image: Image) -> Path:
    made = zarr.create_array(folder / "i.zarr/volumes/raw", data=image.array, zarr_format=2)
    spatial = image.axes.replace("c", "")
    made.attrs.update(
        {
            "axis_names": [f"{n}^" if n == "c" else n for n in image.axes],
            "types": ["channel" if n == "c" else "space" for n in image.axes],
            "units": image.units(spatial),
            "voxel_size": image.sizes(spatial),
            "offset": image.places(spatial),
        }
    )
    return folder / "i.zarr/volumes/raw"


def chunkflow_1_2_0_writes(folder: Path, image: Image) -> Path:
    made = zarr.create_array(folder / "i.zarr", data=image.array, zarr_format=2)
    made.attrs["dimension_units"] = [f"{int(size)} nm" for size in image.sizes()]
    made.attrs["_ARRAY_DIMENSIONS"] = list(image.axes)
    return folder / "i.zarr"


def fastest_first(image: Image) -> np.ndarray:
    return image.array.transpose()


def cosem_writes(folder: Path, image: Image) -> Path:
    transform = {
        "axes": list(image.axes),
        "units": image.units(),
        "scale": image.sizes(),
        "translate": image.places(),
    }
    write_n5(folder / "i.n5/em/s0", fastest_first(image), {"transform": transform})
    return folder / "i.n5/em/s0"


def n5_viewer_writes(folder: Path, image: Image) -> Path:
    pixels = {"unit": image.unit, "dimensions": image.sizes("xyz")}
    said = {"pixelResolution": pixels, "downsamplingFactors": [1, 1, 1]}
    write_n5(folder / "i.n5/c0/s0", fastest_first(image), said)
    return folder / "i.n5/c0/s0"


def n5_viewer_writes_groups(folder: Path, image: Image) -> Path:
    half = [size / factor for size, factor in zip(image.sizes("xyz"), (2, 2, 1), strict=True)]
    root = {"pixelResolution": {"unit": image.unit, "dimensions": half}, "n5": "2.5.1"}
    write_attributes(folder / "i.n5", root)
    write_attributes(folder / "i.n5/c0", {"scales": [[1, 1, 1], [2, 2, 1]]})
    write_n5(folder / "i.n5/c0/s1", fastest_first(image))
    return folder / "i.n5/c0/s1"


def paintera_writes(folder: Path, image: Image) -> Path:
    kind = {"type": "label" if image.kind == "segmentation" else "raw"}
    write_attributes(folder / "i.n5/em", {"painteraData": kind})
    sizes = {"resolution": image.sizes("xyz"), "offset": image.places("xyz")}
    write_attributes(folder / "i.n5/em/data", {"multiScale": True, **sizes})
    write_n5(folder / "i.n5/em/data/s0", fastest_first(image))
    return folder / "i.n5/em"


def bigdataviewer_writes(folder: Path, image: Image) -> Path:
    setup = {"downsamplingFactors": [[1, 1, 1]], "dataType": "uint16"}
    write_attributes(folder / "i.n5/setup0", setup)
    write_n5(folder / "i.n5/setup0/timepoint0/s0", fastest_first(image))
    return folder / "i.n5/setup0/timepoint0/s0"


@dataclass(frozen=True)
class Writer:
    """A program.

    says: the facts that it stores.
    told: whether one warning names an option even if all is well, since the facts are elsewhere.
    asks_unit: whether a missing unit is told; other programs count in nanometres.
    """

    write: Callable[[Path, Image], Path]
    says: str = "size unit start axes channels"
    told: bool = False
    asks_unit: bool = True


ALL = "size unit start axes channels kind"
WRITERS = {
    "OME-Zarr 0.4": Writer(lambda folder, image: ome_zarr(folder, image, 2), ALL),
    "OME-Zarr 0.5": Writer(lambda folder, image: ome_zarr(folder, image, 3), ALL),
    "yaozarrs": Writer(yaozarrs_writes, ALL),
    "xarray, Zarr 2": Writer(lambda folder, image: xarray_writes(folder, image, 2)),
    "xarray, Zarr 3": Writer(lambda folder, image: xarray_writes(folder, image, 3)),
    "tensorstore, Zarr 3": Writer(tensorstore_writes_zarr, "size unit axes channels"),
    "tensorstore, N5": Writer(tensorstore_writes_n5, "size unit axes channels", asks_unit=False),
    "funlib": Writer(funlib_writes, asks_unit=False),
    "chunkflow 1.2.0": Writer(chunkflow_1_2_0_writes, "size axes"),
    "COSEM": Writer(cosem_writes),
    "n5-viewer": Writer(n5_viewer_writes, "size unit"),
    "n5-viewer, in groups": Writer(n5_viewer_writes_groups, "size unit"),
    "Paintera": Writer(paintera_writes, "size start kind"),
    "BigDataViewer": Writer(bigdataviewer_writes, "", told=True),
}
# By the fact that a program must store for it.
IMAGES = {
    "plain": ("", Image()),
    "in micrometres": ("unit", Image(unit="micrometer")),
    "in angstroms": ("unit", Image(unit="angstrom")),
    "in an unknown unit": ("unit", Image(unit="furlong")),
    "without a unit": ("unit", Image(unit="")),
    "at zero": ("start", Image(start=(0, 0, 0))),
    "between voxels": ("start", Image(start=(2.5, -1, 3))),
    "of other sizes": ("size", Image(size=(30.0, 6.0, 5.0))),
    "x first": ("axes", Image(axes="xyz")),
    "y first": ("axes", Image(axes="yzx")),
    "of two channels": ("channels", Image(axes="czyx")),
    "of ids": ("kind", Image(kind="segmentation")),
}
CASES = [
    pytest.param(writer, image, id=f"{program}, {name}")
    for program, writer in WRITERS.items()
    for name, (fact, image) in IMAGES.items()
    if fact in writer.says
]


def option_told(writer: Writer, image: Image) -> str:
    """The option that the only warning names; empty if there must be none."""
    if writer.told or image.unit == "furlong" or (image.unit == "" and writer.asks_unit):
        return "--voxel-size"
    return "--voxel-offset" if image.start[0] % 1 else ""


@pytest.mark.parametrize(("writer", "image"), CASES)
@pytest.mark.filterwarnings("ignore:Warning. Space axis unit")
def test_a_store_is_read_right_or_told(
    run_step: Callable[..., Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    writer: Writer,
    image: Image,
) -> None:
    store = writer.write(tmp_path, image)
    with caplog.at_level(logging.WARNING):
        chunk = run_step(LoadZarr(store=str(store))).chunk("chunk")
    expected = np.stack([VOXELS, VOXELS[::-1]]) if "c" in image.axes else VOXELS
    assert np.array_equal(chunk.array, expected)
    is_known = "size" in writer.says and image.unit != "furlong"
    assert chunk.voxel_size == pytest.approx(image.size if is_known else (1, 1, 1))
    start = np.floor(image.start) if "start" in writer.says else (0, 0, 0)
    assert tuple(chunk.voxel_offset) == tuple(start)
    assert chunk.layer_type == image.kind
    option = option_told(writer, image)
    assert len(caplog.records) == bool(option), [r.getMessage() for r in caplog.records]
    assert all(
        record.getMessage().endswith(f"(load-zarr {option} sets it)") for record in caplog.records
    )


@pytest.mark.parametrize("program", WRITERS)
def test_options_replace_what_a_store_says_without_a_warning(
    run_step: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, program: str
) -> None:
    store = WRITERS[program].write(tmp_path, replace(Image(), start=(2.5, -1, 3)))
    load = LoadZarr(
        store=str(store), voxel_size=(5, 6, 7), voxel_offset=(7, 8, 9), layer_type="segmentation"
    )
    with caplog.at_level(logging.WARNING):
        chunk = run_step(load).chunk("chunk")
    assert np.array_equal(chunk.array, VOXELS)
    assert (chunk.voxel_size, tuple(chunk.voxel_offset)) == ((5.0, 6.0, 7.0), (7, 8, 9))
    assert chunk.layer_type == "segmentation"
    assert not caplog.records
