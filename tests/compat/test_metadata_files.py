"""What other programs' files say of their voxels is read right, or said to be unread.

The table has a line for each loader, trait and program that writes the trait: the size of voxels,
their unit, place, axes, kind or photometry. A loader gives the expected value without a word, or
exactly one warning, which names the option that sets the value.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import imageio.v3 as imageio
import nrrd
import numpy as np
import pytest
import tifffile

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.pipeline.operator import find_operator
from tests.support.foreign_files import (
    SIZE,
    ZYX,
    Writer,
    axistags,
    coloured_png,
    dimension_labels,
    h5,
    imagej,
    in_space,
    npy,
    npy_v2,
    nrrd_file,
    nrrd_text,
    ome,
    ome_sizes,
    other_pngs,
    pillow_tif,
    pngs,
    tif,
)

CZYX = np.stack([ZYX, ZYX + 100])
RGB = np.stack([np.tile(ZYX[:2], (1, 4, 3))] * 3, axis=-1)
FILE = {"load-h5": "a.h5", "load-tif": "a.tif", "load-nrrd": "a.nrrd", "load-npy": "a.npy"}
OFFSET = (3, -2, 10)
NM = tuple(o * s for o, s in zip(OFFSET, SIZE, strict=True))  # the offset in nanometres
TRAITS = ("size", "unit", "offset", "axes", "kind", "photometry")


@dataclass(frozen=True)
class Case:
    """A file that `program` writes, and what becomes of its trait.

    write: makes the file in a folder.
    expected: the chunk's `size`, `offset`, `kind` and `array`; those of a file that says nothing if
        they are not named.
    warns: the option that the one warning names; none is given if it is empty.
    """

    loader: str
    trait: str
    program: str
    write: Writer
    expected: Mapping[str, Any] = field(default_factory=dict)
    warns: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.loader} {self.trait} {self.program}"


MICROMETRES = {"spacing": 0.04, "unit": "um"}
RANDOM_COLOURS = np.random.default_rng(0).integers(0, 65536, (3, 256), np.uint16)
GREY_COLOURS = np.stack([np.arange(256, dtype=np.uint16) * 257] * 3)
SIZED = {"size": SIZE}
SEGMENTATION = {"kind": "segmentation"}
SEGMENTED = {"layer_type": "segmentation"}
SEEN = {"voxel_size": SIZE}

CASES = [
    # HDF5
    Case("load-h5", "size", "chunkflow", h5(name="main", beside={"voxel_size": SIZE}), SIZED),
    Case("load-h5", "size", "CREMI", h5(resolution=SIZE), SIZED),
    Case("load-h5", "size", "funlib", h5(voxel_size=SIZE, units=["nm"] * 3), SIZED),
    Case(
        "load-h5",
        "size",
        "ilastik",
        h5(
            axistags=axistags("zyx", {"z": 0.04, "y": 0.0075, "x": 0.004}),
            axis_units=json.dumps(dict.fromkeys("zyx", "um")),
        ),
        SIZED,
    ),
    Case("load-h5", "size", "Fiji", h5(element_size_um=(0.04, 0.0075, 0.004)), SIZED),
    Case("load-h5", "size", "named", h5(root={"voxel_size_nm_xyz": SIZE[::-1]}), SIZED),
    Case("load-h5", "size", "zero", h5(resolution=(0, 4, 4)), warns="voxel-size"),
    Case("load-h5", "size", "text", h5(resolution="coarse"), warns="voxel-size"),
    Case("load-h5", "size", "n5-viewer", h5(pixelResolution="{}"), warns="voxel-size"),
    Case("load-h5", "unit", "funlib um", h5(voxel_size=(1, 2, 3), units=["um"] * 3),
         {"size": (1000.0, 2000.0, 3000.0)}),
    Case("load-h5", "unit", "micrometres?", h5(resolution=(0.25, 0.1, 0.1)),
         {"size": (0.25, 0.1, 0.1)}, warns="voxel-size"),
    Case("load-h5", "unit", "PlantSeg",
         h5(element_size_um=(0.04, 0.0075, 0.004), original_element_size_um=(1, 1, 1)), SIZED),
    Case("load-h5", "unit", "unknown", h5(resolution=SIZE, units="ell"), warns="voxel-size"),
    Case("load-h5", "unit", "no unit", h5(spacing=SIZE), warns="voxel-size"),
    Case("load-h5", "unit", "ilastik without",
         h5(axistags=axistags("zyx", dict.fromkeys("zyx", 4))), warns="voxel-size"),
    Case("load-h5", "offset", "chunkflow", h5(beside={"voxel_offset": OFFSET}), {"offset": OFFSET}),
    Case("load-h5", "offset", "CREMI", h5(resolution=SIZE, offset=NM), SIZED | {"offset": OFFSET}),
    Case("load-h5", "offset", "funlib",
         h5(CZYX, voxel_size=SIZE, offset=NM, axis_names=["c^", *"zyx"]),
         SIZED | {"offset": OFFSET, "array": CZYX}),
    Case("load-h5", "offset", "not whole", h5(resolution=SIZE, offset=(121, -15, 40)),
         SIZED | {"offset": OFFSET}, warns="voxel-offset"),
    Case("load-h5", "offset", "without size", h5(offset=NM), warns="voxel-offset"),
    Case("load-h5", "axes", "ilastik", h5(np.moveaxis(CZYX, 0, -1), axistags=axistags("zyxc")),
         {"array": CZYX}),
    Case("load-h5", "axes", "ilastik time", h5(ZYX[None, ..., None], axistags=axistags("tzyxc")),
         {"array": ZYX[None]}),
    Case("load-h5", "axes", "funlib", h5(np.moveaxis(CZYX, 0, 1), axis_names=["z", "c^", "y", "x"]),
         {"array": CZYX}),
    Case("load-h5", "axes", "HDF5", dimension_labels, {"array": ZYX}),
    Case("load-h5", "axes", "MATLAB", h5(ZYX.transpose(0, 2, 1), MATLAB_class=b"uint8"),
         {"array": ZYX}, warns="axes"),
    Case("load-h5", "axes", "N5",
         h5(axes=[*"xyz"], resolution=SIZE[::-1], offset=NM[::-1], units=["nm"] * 3),
         SIZED | {"offset": OFFSET}, warns="axes"),
    Case("load-h5", "axes", "xarray", h5(CZYX.swapaxes(0, 1), dims=[*"zcyx"]), {"array": CZYX}),
    Case("load-h5", "axes", "PlantSeg", h5(CZYX.swapaxes(0, 1), image_layout="ZCYX"),
         {"array": CZYX}),
    Case("load-h5", "size", "SimpleITK, none", h5(spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0))),
    Case("load-h5", "axes", "pictures in colours", h5(RGB), {"array": RGB}, warns="axes"),
    Case("load-h5", "axes", "pictures in colours, a time", h5(RGB[None]), {"array": RGB},
         warns="axes"),
    Case("load-h5", "axes", "unknown", h5(axis_names=["depth", "row", "column"]), warns="axes"),
    Case("load-h5", "kind", "chunkflow", h5(root={"layer_type": "segmentation"}), SEGMENTATION),
    Case("load-h5", "kind", "CREMI", h5(name="volumes/labels/neuron_ids"), SEGMENTATION),
    Case("load-h5", "kind", "ilastik", h5(display_mode="random-colortable"), SEGMENTATION),
    Case("load-h5", "kind", "unknown", h5(root={"layer_type": "mask"}), warns="layer-type"),
    Case("load-h5", "photometry", "HDF5 grey",
         h5(CLASS=b"IMAGE", IMAGE_SUBCLASS=b"IMAGE_GRAYSCALE", IMAGE_WHITE_IS_ZERO=0)),
    Case("load-h5", "photometry", "HDF5 white", h5(CLASS=b"IMAGE", IMAGE_WHITE_IS_ZERO=1),
         {"array": 255 - ZYX}, warns="no-invert"),
    Case("load-h5", "photometry", "HDF5 palette", h5(IMAGE_SUBCLASS=b"IMAGE_INDEXED"),
         warns="layer-type"),
    # TIFF
    Case("load-tif", "size", "ImageJ", imagej(**MICROMETRES), SIZED),
    Case("load-tif", "size", "OME", ome(**ome_sizes(0.04, 0.0075, 0.004)), SIZED),
    Case("load-tif", "size", "tifffile",
         tif(resolution=(250, 1 / 0.0075), metadata={"axes": "ZYX", **MICROMETRES}), SIZED),
    Case("load-tif", "size", "ImageJ without spacing", imagej(unit="um"),
         {"size": (1000.0, 7.5, 4.0)}, warns="voxel-size"),
    Case("load-tif", "size", "OME without z", ome(PhysicalSizeX=1.0, PhysicalSizeY=1.0),
         warns="voxel-size"),
    Case("load-tif", "size", "Pillow", pillow_tif(dpi=(300, 300)), warns="voxel-size"),
    Case("load-tif", "size", "Pillow screen", pillow_tif(dpi=(72, 72))),
    Case("load-tif", "size", "libtiff cm",
         tif(resolution=(2.5e6, 2.5e6), resolutionunit="CENTIMETER"), warns="voxel-size"),
    *[
        Case("load-tif", "unit", f"ImageJ {unit}", imagej(spacing=0.04, unit=unit),
             {"size": tuple(float(f"{n * nm:.12g}") for n in (0.04, 0.0075, 0.004))})
        for unit, nm in {"micron": 1e3, "\\u00B5m": 1e3, "nm": 1, "mm": 1e6, "inch": 25.4e6}.items()
    ],
    Case("load-tif", "unit", "OME nm", ome(unit="nm", **ome_sizes(*SIZE)), SIZED),
    Case("load-tif", "unit", "OME pixel", ome(unit="pixel", **ome_sizes(*SIZE))),
    Case("load-tif", "unit", "OME unknown", ome(unit="ell", **ome_sizes(*SIZE)),
         warns="voxel-size"),
    Case("load-tif", "unit", "ImageJ pixel", imagej(spacing=2, unit="pixel"), warns="voxel-size"),
    Case("load-tif", "unit", "without", tif(resolution=(250, 250), resolutionunit="NONE"),
         warns="voxel-size"),
    Case("load-tif", "offset", "ImageJ",
         imagej(zorigin=-3, yorigin=2, xorigin=-10, **MICROMETRES), SIZED | {"offset": OFFSET}),
    Case("load-tif", "offset", "ImageJ half", imagej(xorigin=0.25, **MICROMETRES), SIZED,
         warns="voxel-offset"),
    Case("load-tif", "offset", "OME stage",
         ome(**ome_sizes(0.04, 0.0075, 0.004), Plane={"PositionX": [12.5] * 4}), SIZED,
         warns="voxel-offset"),
    Case("load-tif", "offset", "Pillow", pillow_tif()),
    Case("load-tif", "axes", "ImageJ hyperstack",
         imagej(CZYX.swapaxes(0, 1), "ZCYX", **MICROMETRES),
         SIZED | {"array": CZYX}),
    Case("load-tif", "axes", "OME", ome(CZYX, "CZYX"), {"array": CZYX}),
    Case("load-tif", "axes", "OME channels",
         ome(ZYX, "CYX", Channel={"Name": [*"abcd"]}), {"array": ZYX[:, None]}),
    Case("load-tif", "axes", "ImageJ channels", imagej(ZYX, "CYX", mode="composite", **MICROMETRES),
         SIZED | {"array": ZYX[:, None]}),
    Case("load-tif", "axes", "Pillow", pillow_tif(), {"array": ZYX}),
    Case("load-tif", "axes", "tifffile, ImageJ", tif(imagej=True), warns="axes"),
    Case("load-tif", "axes", "tifffile, OME", tif(ome=True), warns="axes"),
    Case("load-tif", "axes", "tifffile, 3 pages",
         tif(ZYX[:3], photometric="rgb", planarconfig="separate"),
         {"array": ZYX[:3]}, warns="axes"),
    Case("load-tif", "axes", "tifffile, 4 pages of channels",
         tif(np.stack([ZYX] * 2), photometric="rgb", planarconfig="separate"),
         {"array": np.stack([ZYX] * 2)}, warns="axes"),
    Case("load-tif", "axes", "Fiji, grey channels",
         imagej(ZYX, "CYX", ImageJ="1.53t", **MICROMETRES), SIZED | {"array": ZYX[:, None]}),
    Case("load-tif", "axes", "ImageJ, other pages",
         tif(description="ImageJ=1.53t\nimages=900\nslices=900\n", metadata=None),
         warns="axes"),
    Case("load-tif", "axes", "ImageJ time", imagej(ZYX, "TYX", **MICROMETRES), SIZED, warns="axes"),
    Case("load-tif", "kind", "Pillow", pillow_tif()),
    Case("load-tif", "kind", "ImageJ", imagej(**MICROMETRES), SIZED),
    Case("load-tif", "kind", "palette", tif(photometric="palette", colormap=RANDOM_COLOURS),
         warns="layer-type"),
    Case("load-tif", "kind", "palette of ids",
         tif(photometric="palette", colormap=RANDOM_COLOURS), SEGMENTATION,
         options=SEGMENTED),
    Case("load-tif", "photometry", "white is zero", tif(photometric="miniswhite"),
         {"array": 255 - ZYX}, warns="no-invert"),
    Case("load-tif", "photometry", "white is zero, 16 bits",
         tif(ZYX.astype("u2"), photometric="miniswhite"),
         {"array": 65535 - ZYX.astype("u2")}, warns="no-invert"),
    Case("load-tif", "photometry", "white is zero, floats",
         tif(ZYX.astype("f4"), photometric="miniswhite"), {"array": ZYX.astype("f4")},
         warns="invert"),
    Case("load-tif", "photometry", "ids with white as zero", tif(photometric="miniswhite"),
         SEGMENTATION, options=SEGMENTED),
    Case("load-tif", "photometry", "grey palette",
         tif(photometric="palette", colormap=GREY_COLOURS)),
    Case("load-tif", "photometry", "ImageJ, signed 16 bits",
         tif((ZYX.astype("u2") * 300), metadata=None,
             description="ImageJ=1.53t\nimages=4\nslices=4\nc0=-32768.0\nc1=1.0\n"),
         {"array": (ZYX * 300.0 - 32768).astype("i2")}),
    Case("load-tif", "photometry", "tifffile bool", tif(ZYX > 50, photometric=None),
         {"array": ZYX > 50}),
    Case("load-tif", "photometry", "Pillow 1 bit, white is zero",
         pillow_tif(ZYX > 50, compression="group4", tiffinfo={262: 0}), {"array": ZYX > 50},
         warns="no-invert"),
    Case("load-tif", "photometry", "Pillow 1 bit", pillow_tif(ZYX > 50), {"array": ZYX > 50}),
    Case("load-tif", "photometry", "inks", tif(ZYX.transpose(1, 2, 0), photometric="separated"),
         {"array": ZYX[:, None]}, warns="invert"),
    # NRRD
    Case("load-nrrd", "size", "pynrrd space", in_space(), SIZED),
    Case("load-nrrd", "size", "pynrrd spacings",
         nrrd_file(spacings=SIZE[::-1], units=["nm"] * 3), SIZED),
    Case("load-nrrd", "size", "teem",
         nrrd_text("spacings: 4 7.5 40", 'units: "nm" "nm" "nm"'), SIZED),
    Case("load-nrrd", "size", "nan", nrrd_text("spacings: 4 nan 40"), warns="voxel-size"),
    Case("load-nrrd", "size", "oblique",
         in_space(space_directions=[[3, 4, 0], [-4, 3, 0], [0, 0, 40]]),
         {"size": (40.0, 5.0, 5.0)}, warns="voxel-offset"),
    Case("load-nrrd", "size", "mirrored", in_space(space_directions=np.diag([-4, 7.5, 40.0])),
         SIZED, warns="voxel-offset"),
    Case("load-nrrd", "unit", "um",
         nrrd_file(spacings=(0.004, 0.0075, 0.04), units=["um"] * 3), SIZED),
    Case("load-nrrd", "unit", "micro sign",
         nrrd_text("spacings: 0.004 0.0075 0.04", 'units: "µm" "µm" "µm"'), SIZED),
    Case("load-nrrd", "size", "pixels alone",
         nrrd_file(ZYX[:1].transpose(2, 1, 0), spacings=(4, 4, np.nan),
                   kinds=["domain", "domain", "list"]), {"array": ZYX[:1, None]},
         warns="voxel-size"),
    Case("load-nrrd", "unit", "Slicer", in_space(None, space="left-posterior-superior"),
         {"size": (40e6, 7.5e6, 4e6)}, warns="voxel-size"),
    Case("load-nrrd", "unit", "without", in_space(None), SIZED, warns="voxel-size"),
    Case("load-nrrd", "unit", "unknown", in_space("ell"), warns="voxel-size"),
    Case("load-nrrd", "offset", "pynrrd", in_space(space_origin=NM[::-1]),
         SIZED | {"offset": OFFSET}),
    Case("load-nrrd", "offset", "teem",
         nrrd_text("spacings: 4 7.5 40", "axis mins: 40 -15 120", 'units: "nm" "nm" "nm"'),
         SIZED | {"offset": OFFSET}),
    Case("load-nrrd", "offset", "not whole", in_space(space_origin=(41, -15, 120)),
         SIZED | {"offset": OFFSET}, warns="voxel-offset"),
    Case("load-nrrd", "axes", "vectors",
         nrrd_file(CZYX.transpose(0, 3, 2, 1), kinds=["vector", *["domain"] * 3]), {"array": CZYX}),
    Case("load-nrrd", "axes", "list last",
         nrrd_file(CZYX.T, kinds=[*["domain"] * 3, "list"]), {"array": CZYX}),
    Case("load-nrrd", "axes", "one picture in colours",
         nrrd_file(ZYX[:3].transpose(0, 2, 1), kinds=["RGB-color", "space", "space"]),
         {"array": ZYX[:3, None]}),
    Case("load-nrrd", "axes", "ITK, turned by 90 degrees",
         in_space(data=ZYX.transpose(0, 2, 1), space_origin=NM[::-1],
                  space_directions=[[0, 2.4e-15, 40], [4, 2.4e-16, 0], [4.6e-16, 7.5, 0]]),
         SIZED | {"offset": OFFSET}),
    Case("load-nrrd", "axes", "none",
         in_space(data=CZYX.T, space_directions=[*np.diag(SIZE[::-1]), [np.nan] * 3]),
         SIZED | {"array": CZYX}),
    Case("load-nrrd", "axes", "z first",
         in_space(data=ZYX, space_directions=np.diag(SIZE)[:, ::-1]), SIZED),
    Case("load-nrrd", "kind", "chunkflow", nrrd_file(layer_type="segmentation"), SEGMENTATION),
    Case("load-nrrd", "kind", "Slicer", nrrd_file(Segment0_ID="Segment_1"), SEGMENTATION),
    Case("load-nrrd", "kind", "without", nrrd_file()),
    Case("load-nrrd", "photometry", "big endian", nrrd_file(ZYX.T.astype(">u2")),
         {"array": ZYX.astype("u2")}),
    # PNG
    Case("load-png", "size", "Pillow", pngs(dpi=(300, 300)), warns="voxel-size"),
    Case("load-png", "size", "Pillow screen", pngs(dpi=(72, 72))),
    Case("load-png", "size", "given", pngs(dpi=(300, 300)), SIZED, options=SEEN),
    Case("load-png", "unit", "per metre", pngs(dpi=(6_350_000,) * 2), warns="voxel-size"),
    Case("load-png", "offset", "unpadded numbers", pngs(name="slice_{}", first=8),
         {"offset": (8, 0, 0)}),
    Case("load-png", "offset", "a number that stays", pngs(name="2024_s{:d}_v2", first=98),
         {"offset": (98, 0, 0)}),
    Case("load-png", "offset", "five digits", pngs(first=99_998), {"offset": (99_998, 0, 0)},
         options={"digit_num": 5}),
    Case("load-png", "offset", "without numbers", other_pngs(imageio.imwrite, *"abcd"),
         warns="voxel-offset"),
    Case("load-png", "axes", "imagecodecs",
         other_pngs(lambda path, data: path.write_bytes(imagecodecs.png_encode(data)))),
    Case("load-png", "axes", "imageio", other_pngs(imageio.imwrite)),
    Case("load-png", "kind", "Pillow", pngs(), SEGMENTATION, options=SEGMENTED),
    Case("load-png", "kind", "Pillow palette", coloured_png, SEGMENTATION | {"array": ZYX[:1]},
         options=SEGMENTED),
    *[
        Case("load-png", "photometry", f"Pillow {mode}", pngs(mode=mode))
        for mode in ("L", "LA", "RGB", "RGBA")
    ],
    Case("load-png", "photometry", "Pillow 16 bits", pngs(ZYX.astype("u2") * 257),
         {"array": ZYX.astype("u2") * 257}),
    Case("load-png", "photometry", "Pillow 1 bit", pngs(np.array([[[0, 255]]], "u1"), mode="1"),
         {"array": np.array([[[0, 255]]], "u1")}),
    # NumPy: says only its axes and its type
    Case("load-npy", "size", "numpy", npy(), SIZED, options=SEEN),
    Case("load-npy", "unit", "numpy", npy()),
    Case("load-npy", "offset", "numpy", npy(), {"offset": OFFSET},
         options={"voxel_offset": OFFSET}),
    Case("load-npy", "axes", "Fortran order", npy(np.asfortranarray(CZYX)), {"array": CZYX}),
    Case("load-npy", "axes", "channels last", npy(np.moveaxis(CZYX, 0, -1)), {"array": CZYX},
         options={"axes": "zyxc"}),
    Case("load-npy", "axes", "pictures in colours", npy(RGB), {"array": RGB}, warns="axes"),
    Case("load-npy", "axes", "a picture in colours", npy(RGB[0]), {"array": RGB[0]}, warns="axes"),
    Case("load-npy", "axes", "one section", npy(ZYX[0]), {"array": ZYX[:1]},
         options={"axes": "yx"}),
    Case("load-npy", "axes", "version 2", npy_v2),
    Case("load-npy", "kind", "numpy", npy(), SEGMENTATION, options=SEGMENTED),
    Case("load-npy", "photometry", "big endian", npy(ZYX.astype(">f4")),
         {"array": ZYX.astype("f4")}),
]  # fmt: skip


def test_each_loader_has_cases_of_each_trait() -> None:
    loaders = {*FILE, "load-png"}
    assert {(case.loader, case.trait) for case in CASES} == {*product(loaders, TRAITS)}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_trait_is_read_right_or_said_to_be_unread(
    run_step: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, case: Case
) -> None:
    case.write(tmp_path)
    source = {"path": str(tmp_path)} if case.loader == "load-png" else {}
    source = source or {"file_name": str(tmp_path / FILE[case.loader])}
    operator = find_operator(case.loader)(**(source | dict(case.options)))
    with caplog.at_level(logging.WARNING):
        chunk = run_step(operator).chunk("chunk")
        run_step(operator)
    expected = {"size": (1, 1, 1), "offset": (0, 0, 0), "kind": "image", **case.expected}
    assert chunk.voxel_size == pytest.approx(expected["size"], rel=1e-6)
    assert tuple(chunk.voxel_offset) == expected["offset"]
    assert chunk.layer_type == expected["kind"]
    array = expected.get("array", ZYX)
    assert (chunk.array.dtype, chunk.array.shape) == (array.dtype, array.shape)
    assert np.array_equal(chunk.array, array)
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == bool(case.warns), warnings
    assert not case.warns or f"--{case.warns}" in warnings[0]
    if case.warns and case.loader != "load-png":
        assert f"(--{case.warns}" in warnings[0]


CHUNK = Chunk(ZYX, Vec3(*OFFSET), SIZE, "segmentation")


def saved(run_step: Any, folder: Path, name: str, chunk: Chunk) -> Path:
    path = folder / FILE[f"load-{name}"]
    run_step(find_operator(f"save-{name}")(file_name=str(path)), chunk=chunk)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_imagej_reads_the_voxel_size_of_save_tif(run_step: Any, tmp_path: Path, dtype: str) -> None:
    path = saved(run_step, tmp_path, "tif", CHUNK.with_array(ZYX.astype(dtype)))
    with tifffile.TiffFile(path) as file:
        assert file.is_imagej
        metadata, page = file.imagej_metadata, file.pages[0]
        assert metadata is not None
        assert (metadata["unit"], metadata["slices"]) == ("um", 4)
        assert metadata["spacing"] == pytest.approx(0.04)
        for axis, length in zip("YX", (0.0075, 0.004), strict=True):
            pixels, units = page.tags[f"{axis}Resolution"].value
            assert units / pixels == pytest.approx(length, rel=1e-6)
        origin = tuple(-metadata[f"{axis}origin"] for axis in "zyx")
        assert origin == OFFSET
        assert page.tags["PhotometricInterpretation"].value == 1
        assert np.array_equal(file.asarray(), ZYX.astype(dtype))


@pytest.mark.parametrize(
    ("array", "kind"),
    [(CZYX, "CZYX"), (ZYX.astype("u4"), "ZYX"), (ZYX.astype("i2"), "ZYX"), (ZYX[:3] * 1.0, "ZYX")],
)
def test_ome_readers_read_the_voxel_size_of_save_tif(
    run_step: Any, tmp_path: Path, array: Any, kind: str
) -> None:
    path = saved(run_step, tmp_path, "tif", CHUNK.with_array(array))
    with tifffile.TiffFile(path) as file:
        assert (file.is_ome, file.series[0].axes) == (True, kind)
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        assert tuple(pixels[f"PhysicalSize{axis}"] for axis in "ZYX") == SIZE
        assert {pixels[f"PhysicalSize{axis}Unit"] for axis in "ZYX"} == {"nm"}
        assert file.pages[0].tags["XResolution"].value[0] == 2_500_000  # per cm
        assert np.array_equal(file.asarray(), array)


@pytest.mark.parametrize("dtype", ["uint64", "int64", "float16", "bool"])
def test_other_types_have_their_resolution_in_tags(
    run_step: Any, tmp_path: Path, dtype: str
) -> None:
    path = saved(run_step, tmp_path, "tif", CHUNK.with_array(ZYX.astype(dtype)))
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags
        assert tags["XResolution"].value == (2_500_000, 1)
        assert tags["ResolutionUnit"].value == 3
        assert np.array_equal(file.asarray(), ZYX.astype(dtype))


def test_h5py_reads_the_forms_of_other_programs_in_save_h5(run_step: Any, tmp_path: Path) -> None:
    path = saved(run_step, tmp_path, "h5", CHUNK.with_array(CZYX))
    with h5py.File(path) as file:
        said = dict(file["main"].attrs)
        assert tuple(file["voxel_size"][:]) == tuple(said["resolution"]) == SIZE
        assert tuple(file["voxel_offset"][:]) == OFFSET
        assert tuple(said["offset"]) == NM
        assert said["element_size_um"].tolist() == [0.04, 0.0075, 0.004]
        assert said["axis_names"].tolist() == ["c^", "z", "y", "x"]
        assert said["units"].tolist() == ["nm"] * 3
        assert [tag["key"] for tag in json.loads(said["axistags"])["axes"]] == [*"czyx"]


def test_pynrrd_reads_the_voxel_size_of_save_nrrd(run_step: Any, tmp_path: Path) -> None:
    array, header = nrrd.read(str(saved(run_step, tmp_path, "nrrd", CHUNK)), index_order="C")
    assert np.array_equal(array, ZYX)
    assert np.diag(header["space directions"]).tolist() == [*SIZE[::-1]]
    assert header["space origin"].tolist() == [*NM[::-1]]
    assert header["space units"] == ["nm"] * 3


@pytest.mark.parametrize("name", ["h5", "tif", "nrrd"])
@pytest.mark.parametrize(
    "array", [ZYX, CZYX, CZYX[:1], ZYX.astype("u4"), ZYX.astype("u8"), ZYX[:3]]
)
def test_our_own_files_are_read_without_a_word(
    run_step: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, array: Any
) -> None:
    path = saved(run_step, tmp_path, name, CHUNK.with_array(array))
    back = run_step(find_operator(f"load-{name}")(file_name=str(path))).chunk("chunk")
    assert np.array_equal(back.array, array)
    assert back.array.shape == array.shape
    assert (back.voxel_size, back.voxel_offset, back.layer_type) == (SIZE, OFFSET, "segmentation")
    assert not caplog.records


def test_what_fiji_changes_in_our_tif_counts(run_step: Any, tmp_path: Path) -> None:
    """A program that keeps our JSON, and changes the voxel size beside it."""
    path = saved(run_step, tmp_path, "tif", CHUNK)
    with tifffile.TiffFile(path) as file:
        kept = dict(file.imagej_metadata or {})
    metadata = {"axes": "ZYX", "chunkflow": kept["chunkflow"], "spacing": 0.08, "unit": "um"}
    tifffile.imwrite(path, ZYX, imagej=True, resolution=(125, 125), metadata=metadata)
    back = run_step(find_operator("load-tif")(file_name=str(path))).chunk("chunk")
    assert back.voxel_size == (80.0, 8.0, 8.0)
