"""Files of voxels as other programs write them: by their libraries, or by their specifications.

Each function returns one that writes a file named `a` in a folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import nrrd
import numpy as np
import tifffile
from PIL import Image

ZYX = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
SIZE = (40.0, 7.5, 4.0)  # of voxels in nanometres
NRRD_KEYS = ("layer_type", "Segment0_ID")  # a user's keys, which keep their underscore

Writer = Callable[[Path], Any]


def h5(
    data: Any = ZYX,
    name: str = "data",
    root: Mapping[str, Any] | None = None,
    beside: Mapping[str, Any] | None = None,
    **attributes: Any,
) -> Writer:
    """An HDF5 file of one dataset. root: attributes of the file. beside: datasets at its root."""

    def write(folder: Path) -> None:
        with h5py.File(folder / "a.h5", "w") as file:
            file.create_dataset(name, data=data).attrs.update(attributes)
            file.attrs.update(root or {})
            for key, value in (beside or {}).items():
                file[key] = value

    return write


def axistags(letters: str, resolution: Mapping[str, float] | None = None) -> str:
    """As vigra.AxisTags.toJSON writes them, in ilastik's files."""
    flags = {"c": 1, "t": 8}
    tags = [
        {
            "key": letter,
            "typeFlags": flags.get(letter, 2),
            "resolution": (resolution or {}).get(letter, 0),
            "description": "",
        }
        for letter in letters
    ]
    return json.dumps({"axes": tags})


def dimension_labels(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        data = file.create_dataset("data", data=ZYX.transpose(2, 1, 0))
        for dimension, label in zip(data.dims, "xyz", strict=True):
            dimension.label = label


def tif(data: Any = ZYX, **options: Any) -> Writer:
    options = {"photometric": "minisblack", **options}
    return lambda folder: tifffile.imwrite(folder / "a.tif", data, **options)


def imagej(data: Any = ZYX, axes: str = "ZYX", **metadata: Any) -> Writer:
    """ImageJ counts pixels per unit in the resolution."""
    metadata = {"axes": axes, **metadata}
    per_unit = (1 / 0.004, 1 / 0.0075)
    return tif(data, imagej=True, resolution=per_unit, metadata=metadata)


def ome(data: Any = ZYX, axes: str = "ZYX", unit: str = "", **metadata: Any) -> Writer:
    """https://www.openmicroscopy.org/Schemas/OME/2016-06: PhysicalSize is in µm by default."""
    units = {f"PhysicalSize{axis}Unit": unit for axis in "XYZ"} if unit else {}
    return tif(data, ome=True, metadata={"axes": axes, **metadata, **units})


def ome_sizes(z: float, y: float, x: float) -> dict[str, float]:
    return {"PhysicalSizeZ": z, "PhysicalSizeY": y, "PhysicalSizeX": x}


def pillow_tif(data: Any = ZYX, **options: Any) -> Writer:
    def write(folder: Path) -> None:
        first, *others = [Image.fromarray(section) for section in data]
        first.save(folder / "a.tif", save_all=True, append_images=others, **options)

    return write


def nrrd_file(data: Any = ZYX.T, **header: Any) -> Writer:
    """pynrrd's arrays have the order of the header: x first."""
    named = {
        name if name in NRRD_KEYS else name.replace("_", " "): value
        for name, value in header.items()
    }
    return lambda folder: nrrd.write(str(folder / "a.nrrd"), data, named)


def in_space(units: str | None = "nm", **header: Any) -> Writer:
    space = {"space_dimension": 3, "space_directions": np.diag(SIZE[::-1]), **header}
    return nrrd_file(**(space | ({"space_units": [units] * 3} if units else {})))


def nrrd_text(*lines: str, data: Any = ZYX) -> Writer:
    """A header by https://teem.sourceforge.net/nrrd/format.html, with raw bytes after it."""
    z, y, x = data.shape
    head = ["NRRD0005", "type: uint8", "dimension: 3", f"sizes: {x} {y} {z}", "encoding: raw"]
    text = "\n".join([*head, *lines, "", ""]).encode()
    return lambda folder: (folder / "a.nrrd").write_bytes(text + data.tobytes())


def pngs(
    data: Any = ZYX, name: str = "{:05d}", first: int = 0, mode: str = "", **options: Any
) -> Writer:
    def write(folder: Path) -> None:
        for z, section in enumerate(data, first):
            picture = Image.fromarray(section)
            picture = picture.convert(mode) if mode else picture
            picture.save(folder / f"{name.format(z)}.png", **options)

    return write


def coloured_png(folder: Path) -> None:
    picture = Image.fromarray(ZYX[0])
    picture.putpalette(bytes(range(256)) * 3)
    picture.save(folder / "0.png")


def other_pngs(encode: Callable[[Path, Any], Any], *names: str) -> Writer:
    """Pictures by another library; named slice_0, slice_1 and so on if there are no names."""

    def write(folder: Path) -> None:
        for z, section in enumerate(ZYX):
            encode(folder / f"{names[z] if names else f'slice_{z}'}.png", section)

    return write


def npy(data: Any = ZYX) -> Writer:
    return lambda folder: np.save(folder / "a.npy", data)


def npy_v2(folder: Path) -> None:
    with (folder / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, ZYX, version=(2, 0))
