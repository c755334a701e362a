"""What TIFF files say of their voxels, in the forms of the programs that write them.

ImageJ, Fiji          `spacing`, `unit` and origin in the description, resolution in tags
OME-TIFF              PhysicalSizeX, Y, Z with units, in XML
tifffile              the same names as ImageJ, in JSON
chunkflow             JSON of its own in the description of each of the forms above

Resolution in tags alone gives no distance of sections, so it is no voxel size. That of 72 or 96
pixels per inch stands for "not known" in programs that must write one, ImageJ among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isclose, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.units import nanometres
from chunkflow_worker.storage.json_text import parse_json
from chunkflow_worker.storage.voxel_metadata import (
    VoxelMetadata,
    in_nanometres,
    is_same_size,
    plain,
    voxel_size_of,
)

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import VoxelSize

OWN_KEY = "chunkflow"  # of our JSON among ImageJ's keys

_NO_UNITS = ("", "pixel", "pixels", "reference frame", "null", "none")
_OF_SCREENS = (72, 96)  # pixels per inch
_RESOLUTION_UNITS = {2: "inch", 3: "cm", 4: "mm", 5: "um"}  # 4 and 5 are tifffile's
_WHITE_IS_ZERO, _PALETTE, _CMYK = 0, 3, 5
_AS_READ = (1, 2, 4, 6, 34892)  # grey, RGB, mask, YCbCr (decoded as RGB), linear raw
_TIFFFILES_IMAGEJ = "1.11a"  # the version that tifffile writes as ImageJ's
_FOREIGN = {
    "lsm": "Zeiss LSM",
    "stk": "MetaMorph",
    "fluoview": "Olympus FluoView",
    "fei": "FEI",
    "sem": "Zeiss SEM",
    "tvips": "TVIPS",
    "svs": "Aperio SVS",
    "ndpi": "Hamamatsu NDPI",
    "scn": "Leica SCN",
    "eer": "EER",
    "geotiff": "GeoTIFF",
    "mdgel": "MD Gel",
    "scanimage": "ScanImage",
    "andor": "Andor",
    "nih": "NIH Image",
}


def axes_of(tif: Any, image: Any) -> tuple[str, tuple[int, ...], dict[str, str]]:
    """The letters of an image's axes, their lengths, and what is said of them and not taken.

    See VoxelMetadata. tifffile's letters that name no axis become z, then c.
    """
    named, shape = str(image.axes), tuple(int(n) for n in image.shape)
    own = _own(tif).get("axes")
    if own == "CZYX" and {*named} <= {*own}:  # the formats drop axes of length 1
        sizes = dict(zip(named, shape, strict=True))
        return "czyx", tuple(sizes.get(letter, 1) for letter in own), {}
    if named == "SYX":
        text = f"stores {shape[0]} planes of colour: they are read as sections, axes zyx, not cyx"
        return "zyx", shape, {"axes": text}
    if named in ("QSYX", "ISYX"):
        text = "stores planes of colour: they are read as the sections of channels, axes czyx"
        return "czyx", shape, {"axes": text}
    if named == "CYX" and not _has_real_channels(tif):
        text = f"says that its {shape[0]} pages are channels: they are read as sections, axes zyx"
        return "zyx", shape, {"axes": text}
    if named == "TYX":
        text = f"says that its {shape[0]} pages are points in time: they are read as sections, zyx"
        return "zyx", shape, {"axes": text}
    form = "imagej" if tif.is_imagej else "ome" if tif.is_ome else image.kind
    odd = {}
    if image.kind != form:
        text = f"describes other pages than its {len(image.pages)}, which are read as they come"
        odd = {"axes": text}
    letters = named.replace("S", "C") if "C" not in named else named
    letters = "".join(n.lower() if n in "XYZCT" else n for n in letters)
    for wanted in "zc":
        unnamed = [n for n in letters if n.isupper()]
        if unnamed and wanted not in letters:
            letters = letters[::-1].replace(unnamed[-1], wanted, 1)[::-1]
    return letters.lower(), shape, odd


def metadata_of(tif: Any, image: Any, path: Path) -> VoxelMetadata:
    """What the file says of an image.

    Raises ChunkMismatch for colours that have no brightness, such as CIELab.
    """
    own = _own(tif)
    size, ignored = _voxel_size(tif, image)
    said = _numbers(own.get("voxel_size"))
    exact = voxel_size_of(said) if said else None
    if exact and (
        size is None or is_same_size(exact, size)
    ):  # else another program changed the size
        size, ignored = exact, {}
    offset: Vec3 | None = None
    place = _numbers(own.get("voxel_offset"))
    if place:
        offset = Vec3(*map(round, place))
    else:
        offset, odd = _origin(tif, image)
        ignored |= odd
    layer_type = own.get("layer_type")
    white, unheard = _photometry(image, path)
    return VoxelMetadata(
        size,
        offset,
        None,
        layer_type if layer_type in ("image", "segmentation") else None,
        white,
        ignored | unheard,
    )


def is_signed_in_disguise(tif: Any, image: Any) -> bool:
    """Whether uint16 stands for int16: ImageJ stores such values with 32768 added."""
    said = (tif.imagej_metadata or {}) if tif.is_imagej else {}
    return image.dtype.name == "uint16" and (said.get("c0"), said.get("c1")) == (-32768, 1)


def _own(tif: Any) -> Mapping[str, Any]:
    """The JSON of our own files; that of other programs, by tifffile, is like it."""
    if tif.is_imagej:
        text = (tif.imagej_metadata or {}).get(OWN_KEY, "")
    elif tif.is_ome:
        image = next(iter(_ome_images(tif)), None)
        text = _ome_child(image, "Description") if image is not None else ""
    else:
        return dict((tif.shaped_metadata or ({},))[0])
    try:
        own = parse_json(str(text))
    except ValueError:
        return {}
    return own if isinstance(own, dict) else {}


def _numbers(value: Any) -> tuple[float, float, float] | None:
    """Three finite numbers, zyx."""
    if not isinstance(value, list | tuple) or len(value) != 3:
        return None
    if not all(isinstance(n, int | float) and isfinite(n) for n in value):
        return None
    z, y, x = map(float, value)
    return z, y, x


def _has_real_channels(tif: Any) -> bool:
    """Whether pages are channels on purpose.

    tifffile calls the pages of any stack channels if its user names no axes, in ImageJ's form and
    in OME's. Other programs give ImageJ's channels colours, and OME's channels names.
    """
    if tif.is_imagej:
        said = tif.imagej_metadata or {}
        return said.get("mode") in ("composite", "color") or said.get("ImageJ") != _TIFFFILES_IMAGEJ
    if tif.is_ome:
        channels = [item for item in _ome_root(tif).iter() if item.tag.endswith("}Channel")]
        return any({*item.keys()} - {"ID", "SamplesPerPixel"} for item in channels)
    return True


def _voxel_size(tif: Any, image: Any) -> tuple[VoxelSize | None, dict[str, str]]:
    if tif.is_ome:
        size, text = _size_of_ome(tif, image)
    elif "unit" in (props := _imagej_properties(tif)) or "spacing" in props:
        size, text = _size_of_imagej(props, image.keyframe)
    else:
        size, text = None, _resolution(tif, image.keyframe)
    return size, {"voxel_size": text} if text else {}


def _imagej_properties(tif: Any) -> Mapping[str, Any]:
    if tif.is_imagej:
        return tif.imagej_metadata or {}
    return dict((tif.shaped_metadata or ({},))[0]) if tif.is_shaped else {}


def _size_of_imagej(props: Mapping[str, Any], page: Any) -> tuple[VoxelSize | None, str]:
    """ImageJ counts spacing, which is 1 by default, and the pixels of its resolution in `unit`."""
    y, x = (_pixel(page, axis) for axis in "YX")
    spacing = props.get("spacing", 1)
    if not isinstance(spacing, int | float):
        return None, f"gives the spacing {spacing!r}"
    z = abs(float(spacing))
    tag = _RESOLUTION_UNITS.get(_tag(page, "ResolutionUnit", 1), "")
    unit = str(props.get("unit") or tag)
    units = [str(props.get("zunit") or unit), str(props.get("yunit") or unit), unit]
    if y is None or x is None:
        return None, f"gives the spacing {plain([z])} {unit} and no resolution"
    if unit.lower() in _NO_UNITS and (z, y, x) == (1, 1, 1):
        return None, ""
    shown = f"gives voxels of {plain((z, y, x))} (z y x)"
    factors = [nanometres(one) for one in units]
    if None in factors:
        odd = units[factors.index(None)]
        return None, f"{shown} in the unknown unit {odd!r}" if odd else f"{shown} without a unit"
    size = tuple(in_nanometres(n, f or 1) for n, f in zip((z, y, x), factors, strict=True))
    found = voxel_size_of(size)
    if found is None:
        return None, f"{shown} {unit}"
    missing = "gives no spacing of sections: it is taken as 1, as in ImageJ"
    return (
        found,
        "" if "spacing" in props else f"{missing}, so that voxels are of {plain(found)} nm",
    )


def _tag(page: Any, name: str, default: Any = None) -> Any:
    tag = page.tags.get(name)
    value = default if tag is None else tag.value
    return getattr(value, "value", value)  # of an enumeration


def _pixel(page: Any, axis: str) -> float | None:
    """Length of a pixel in the unit of the resolution; None if it is missing or 0."""
    value = _tag(page, f"{axis}Resolution")
    if not isinstance(value, tuple) or len(value) != 2 or 0 in value:
        return None
    return float(value[1] / value[0])


def _resolution(tif: Any, page: Any) -> str:
    """What tags say of the size of pixels; empty if that is nothing."""
    foreign = [_FOREIGN[flag] for flag in sorted(tif.flags & _FOREIGN.keys())]
    if foreign:
        return f"is of {foreign[0]}, and its voxel size is not read"
    y, x = (_pixel(page, axis) for axis in "YX")
    unit = _RESOLUTION_UNITS.get(_tag(page, "ResolutionUnit", 1))
    if y is None or x is None or (unit is None and (y, x) == (1, 1)):
        return ""
    factor = nanometres(unit) if unit else None
    if factor is None:
        return f"gives pixels of {plain((y, x))} without a unit"
    per_inch = round(25.4e6 / (x * factor))
    if per_inch in _OF_SCREENS:
        return ""
    pixels = plain(in_nanometres(n, factor) for n in (y, x))
    return f"gives pixels of {pixels} nm ({per_inch} per inch), and no distance of sections"


def _size_of_ome(tif: Any, image: Any) -> tuple[VoxelSize | None, str]:
    """OME's sizes are in micrometres unless a unit is given."""
    pixels = _ome_pixels(tif, image)
    sizes = {axis: pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"}
    units = {axis: pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX"}
    given = [axis for axis in "ZYX" if sizes[axis] is not None]
    if not given or all(units[axis] in _NO_UNITS for axis in given):
        return None, ""
    shown = ", ".join(f"{axis} {sizes[axis]} {units[axis]}" for axis in given)
    text = f"gives the PhysicalSize {shown}"
    factors = {axis: nanometres(units[axis]) for axis in given}
    try:
        lengths = [in_nanometres(float(sizes[axis] or ""), factors[axis] or 1) for axis in given]
    except ValueError:
        return None, text
    size = voxel_size_of(lengths)
    if len(given) < 3:
        return None, f"{text}, and none for {' and '.join(n for n in 'ZYX' if n not in given)}"
    if None in factors.values():
        return None, f"{text}, in an unknown unit"
    return (None, text) if size is None else (size, "")


def _ome_root(tif: Any) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(tif.ome_metadata or "<OME/>")
    except ElementTree.ParseError:
        return ElementTree.Element("OME")


def _ome_images(tif: Any) -> list[ElementTree.Element]:
    return [item for item in _ome_root(tif) if item.tag.endswith("Image")]


def _ome_child(image: ElementTree.Element, name: str) -> str:
    return next((item.text or "" for item in image if item.tag.endswith(name)), "")


def _ome_pixels(tif: Any, image: Any) -> ElementTree.Element:
    images, number = _ome_images(tif), tif.series.index(image)
    found = images[number] if number < len(images) else ElementTree.Element("Image")
    return next((p for p in found if p.tag.endswith("Pixels")), ElementTree.Element("Pixels"))


def _origin(tif: Any, image: Any) -> tuple[Vec3 | None, dict[str, str]]:
    """The position of the first voxel: ImageJ gives that of the origin, in pixels."""
    if tif.is_ome:
        plane = next((p for p in _ome_pixels(tif, image) if p.tag.endswith("Plane")), None)
        stage = [] if plane is None else [plane.get(f"Position{axis}", "0") for axis in "ZYX"]
        if any(float(position or 0) for position in stage):
            text = f"gives the position {' '.join(stage)} (z y x) of the stage, which is not taken"
            return None, {"voxel_offset": text}
        return None, {}
    props = _imagej_properties(tif)
    place = [props.get(f"{axis}origin", 0) for axis in "zyx"]
    if not all(isinstance(n, int | float) and isfinite(n) for n in place) or not any(place):
        return None, {}
    offset = Vec3(*(round(-n) for n in place))
    if all(isclose(-n, o, abs_tol=1e-3) for n, o in zip(place, offset, strict=True)):
        return offset, {}
    text = f"gives the origin {plain(place)} (z y x), which is rounded to whole voxels"
    return offset, {"voxel_offset": text}


def _photometry(image: Any, path: Path) -> tuple[int | None, dict[str, str]]:
    """The value of black if 0 is white, and what is said of colours and not taken."""
    page = image.keyframe
    photometric = int(page.photometric)
    # tifffile says so of each bool array that it writes, and keeps the values.
    if page.dtype.kind == "b" and page.software.startswith("tifffile"):
        return None, {}
    if photometric == _WHITE_IS_ZERO and page.dtype.name in ("bool", "uint8", "uint16"):
        bits = page.bitspersample
        return 2 ** int(bits if isinstance(bits, int) else bits[0]) - 1, {}
    if photometric == _WHITE_IS_ZERO:
        return None, {"invert": f"says that 0 is white, and its {page.dtype} values are kept"}
    if photometric == _PALETTE:
        text = "has a colour map: the values are its indices, not brightness"
        return None, {} if _is_grey(page.colormap) else {"layer_type": text}
    if photometric == _CMYK:
        return None, {"invert": "holds the inks of a print (CMYK), whose values are kept"}
    if photometric not in _AS_READ:
        name = getattr(page.photometric, "name", photometric)
        raise ChunkMismatch(
            f"{path} has colours as {name}, and a chunk needs grey or RGB: convert it first"
        )
    return None, {}


def _is_grey(colours: Any) -> bool:
    """Whether a colour map, of shape (3, n), shows each index as the grey of its value."""
    if colours is None:
        return False
    n = colours.shape[1]
    return all(
        abs(int(value) - i * 65535 // max(n - 1, 1)) <= 256
        for band in colours
        for i, value in enumerate(band.tolist())
    )
