"""What HDF5 files say of their voxels, in the forms of the programs that write them.

chunkflow             datasets `voxel_size` (nm) and `voxel_offset`, attribute `layer_type`
CREMI                 attributes `resolution` and `offset` (nm), label volumes below `labels`
funlib, gunpowder     attributes `voxel_size` or `resolution`, `offset`, `units`, `axis_names`
ilastik, vigra        attributes `axistags` (JSON), `axis_units`, `display_mode`
Fiji, PlantSeg        attribute `element_size_um`
HDF5 itself           labels of dimensions, and its specification of images
MATLAB 7.3            attribute `MATLAB_class`: the axes are in reverse order
BigDataViewer         datasets t00000/s00/0/cells, whose voxel size stands in an XML file

An attribute of the dataset counts before those of its groups. Names may end in a unit and an order
of axes: `voxel_size_nm_zyx`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import ChunkMismatch, DataRefused
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.units import nanometres
from chunkflow_worker.storage.axes import axis_letters, colours_last
from chunkflow_worker.storage.formats.h5_chunks import check_values
from chunkflow_worker.storage.formats.h5_inside import members
from chunkflow_worker.storage.json_text import parse_json
from chunkflow_worker.storage.voxel_metadata import (
    VoxelMetadata,
    in_nanometres,
    plain,
    voxel_size_of,
)

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk, LayerType, VoxelSize

Scope = Mapping[str, Any]
Place = tuple[float, float, float]

_BY_DEFAULT = {3: "zyx", 4: "czyx", 5: "tczyx"}
_OF_MATLAB = {2: "xy", 3: "zxy", 4: "czxy"}  # rows are y, columns are x
_TRUE_COLOUR = {"INTERLACE_PIXEL": "yxc", "INTERLACE_LINE": "ycx", "INTERLACE_PLANE": "cyx"}

# Names without `_`, unit and order. Those in nanometres if no unit is given come first.
_SIZES = ("voxelsize", "resolution")
_SIZES_WITH_UNIT = ("elementsize", "pixelsize", "voxelspacing", "spacing", "scale", "pixelspacing")
_ORIGINS = ("offset",)
_ORIGINS_WITH_UNIT = ("origin", "translation", "translate", "voxeloffset")
_VOXEL_OFFSETS = ("voxeloffset", "globaloffset")
_LIKE_A_SIZE = re.compile(r"resol|spacing|voxel_?size|pixel_?size|element_?size|transform|calib")
_LIKE_AN_ORIGIN = re.compile(r"offset|origin(?!al)|translat")
_SUFFIXES = ("nm", "um", "µm", "mm", "micron", "microns", "micrometer", "nanometer", "nanometers")
_IMAGES = ("image", "probability_map", "affinity_map", "unknown", "None")  # chunkflow's types
_SMALLEST = 1  # nanometre: smaller voxels without a unit may be in micrometres
_LONGEST = 17  # numbers in a dataset of one length for each axis
_NAMES_OF_AXES = ("axis_names", "axes", "DIMENSION_LABELS", "dims", "axes_order", "image_layout")
_BIG_DATA_VIEWER = re.compile(r"/t\d+/s\d+/\d+/cells$")


def axes_of(data: Any, place: str) -> tuple[str, dict[str, str]]:
    """The letters of a dataset's axes, and what its tags say and is not taken (see VoxelMetadata).

    Without tags these are zyx or czyx. place: names the dataset in errors.
    Raises ChunkMismatch for another number of axes without tags.
    """
    attrs, ndim = _attributes(data), len(data.shape)
    default = _BY_DEFAULT.get(ndim, "")
    for names in _axis_names(attrs, data):
        letters = axis_letters(names)
        if letters is not None and len(letters) == ndim:
            fastest = f"names its axes {' '.join(names[::-1])}: the fastest comes first, as in N5"
            return letters, {"axes": fastest} if _is_of_n5(attrs) else {}
        if default:
            return default, {"axes": f"names its axes {' '.join(names)}, and {default} is taken"}
    if "MATLAB_class" in attrs and ndim in _OF_MATLAB:
        letters = _OF_MATLAB[ndim]
        return letters, {
            "axes": "is of MATLAB, and rows are taken as y, columns as x: this is the order "
            f"{letters} in HDF5"
        }
    if _text(attrs.get("IMAGE_SUBCLASS")) == "IMAGE_TRUECOLOR" and ndim == 3:
        mode = _text(attrs.get("INTERLACE_MODE"))
        return _TRUE_COLOUR.get(mode, "yxc"), {}
    if not default:
        raise ChunkMismatch(
            f"{place} has shape {data.shape}; a chunk is numbers in zyx or czyx: --axes names the "
            "axes of another array, for example yx"
        )
    text = colours_last(data.shape, default)
    return default, {"axes": text} if text else {}


def metadata_of(data: Any, letters: str, file: Any) -> VoxelMetadata:
    """What the file says of a dataset. letters: of the dataset's axes."""
    scopes = list(_scopes(data, file))
    ignored: dict[str, str] = {}

    size: VoxelSize | None = None
    found = _first(_lengths(scope, letters, _SIZES, _SIZES_WITH_UNIT) for scope in scopes)
    found = found or _resolution_of_tags(scopes[0], letters)
    if found is not None:
        size = voxel_size_of(found.lengths) if found.lengths else None
        if found.problem:
            ignored["voxel_size"] = found.problem
        elif size is None:
            ignored["voxel_size"] = f"has the {found.name} {plain(found.lengths or ())}"
    else:
        said = _unknown_size(data, scopes)
        if said:
            ignored["voxel_size"] = said

    voxels = _first(_voxel_offset(scope, letters) for scope in scopes)
    place = _first(_lengths(scope, letters, _ORIGINS, _ORIGINS_WITH_UNIT) for scope in scopes)
    offset, origin = None, None
    if voxels is not None:
        offset, problem = _rounded(voxels)
        if problem:
            ignored["voxel_offset"] = problem
    elif place is not None:
        origin = place.lengths if place.lengths and all(map(isfinite, place.lengths)) else None
        if origin is None:
            ignored["voxel_offset"] = place.problem or f"has an {place.name} that is no number"
    elif said := _unknown_origin(scopes):
        ignored["voxel_offset"] = said

    layer_type, unknown_type = _layer_type(data, scopes)
    if unknown_type:
        ignored["layer_type"] = unknown_type
    white, unknown_white = _white(scopes[0], data.dtype)
    if unknown_white:
        ignored["invert"] = unknown_white
    return VoxelMetadata(size, offset, origin, layer_type, white, ignored)


def is_unsigned_in_disguise(data: Any) -> bool:
    """Whether int16 stands for uint16: BigDataViewer's first format had no unsigned type."""
    return str(data.dtype) in ("int16", ">i2") and bool(_BIG_DATA_VIEWER.search(data.name))


def attributes_for(chunk: Chunk, with_offset: bool) -> dict[str, Any]:
    """Attributes for the dataset of a chunk, in the forms that Fiji, ilastik and funlib read."""
    from chunkflow_worker.image.chunk import UNKNOWN_SIZE

    letters = "czyx"[-chunk.array.ndim :]
    kinds = {"c": 1}  # vigra's flags: 1 for channels, 2 for space
    tags = [
        {"key": letter, "typeFlags": kinds.get(letter, 2), "resolution": 0, "description": ""}
        for letter in letters
    ]
    names = [f"{letter}^" if letter == "c" else letter for letter in letters]
    attributes: dict[str, Any] = {"axistags": json.dumps({"axes": tags}), "axis_names": names}
    if chunk.voxel_size == UNKNOWN_SIZE:
        return attributes
    attributes |= {
        "resolution": chunk.voxel_size,
        "units": ["nm"] * 3,
        "element_size_um": [in_nanometres(size, 1e-3) for size in chunk.voxel_size],
    }
    if with_offset:
        pairs = zip(chunk.voxel_offset, chunk.voxel_size, strict=True)
        attributes["offset"] = [in_nanometres(offset, size) for offset, size in pairs]
    return attributes


@dataclass(frozen=True)
class _Found:
    """An attribute that was found: lengths zyx, the problem that it has, or both."""

    name: str
    lengths: Place | None
    problem: str = ""


def _first(found: Iterator[_Found | None]) -> _Found | None:
    return next((item for item in found if item is not None), None)


def _scopes(data: Any, file: Any) -> Iterator[Scope]:
    """What is said of a dataset, its groups and the file, nearest first."""
    yield _attributes(data)
    group = data.parent
    while True:
        beside = {name: item[()] for name, item in members(group, _is_said) if _is_short(item)}
        yield _attributes(group) | beside
        if group.name in ("/", None) or group == group.parent:
            break
        group = group.parent


def _is_said(name: str) -> bool:
    return _meaning(name)[0] in (*_SIZES, *_VOXEL_OFFSETS)


def _is_short(item: Any) -> bool:
    """Whether it is a small dataset whose values are in the file itself."""
    if (getattr(item, "size", None) or _LONGEST) >= _LONGEST:
        return False
    try:
        check_values(item, Path(item.file.filename))
    except DataRefused:
        return False
    return True


def _attributes(item: Any) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name in item.attrs:
        try:
            said[name] = item.attrs[name]
        except (OSError, TypeError, ValueError):  # of a type that h5py can't read
            said[name] = None
    return said


def _text(value: Any) -> str:
    """Text of an attribute: str, bytes or an array of one of them."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list) and value and all(isinstance(v, bytes) for v in value):
        value = b"".join(value) if len(value[0]) == 1 else value[0]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _parsed(value: Any) -> Any:
    """A value as Python objects: arrays become lists, JSON is read, 0.04 of 32 bits stays 0.04."""
    if str(getattr(value, "dtype", "")) == "float32":
        value = value.astype(str).astype(float)
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, bytes | str):
        text = _text(value)
        try:
            return parse_json(text)
        except ValueError:
            return text
    if isinstance(value, tuple | list):
        return [_text(item) if isinstance(item, bytes) else item for item in value]
    return value


def _axis_names(attrs: Scope, data: Any) -> Iterator[list[str]]:
    """The names of the axes in each form in which they are given."""
    if "axistags" in attrs:
        tags = _parsed(attrs["axistags"])
        try:
            names = [str(tag["key"]) for tag in tags["axes"]]
        except (TypeError, KeyError):
            names = [_text(attrs["axistags"])[:60]]
        if "?" not in names:  # vigra does not know what the axes are
            yield names
    for key in _NAMES_OF_AXES:
        names = _parsed(attrs.get(key))
        if isinstance(names, str) and len(names) == len(data.shape):
            names = [*names]
        if isinstance(names, list) and all(isinstance(name, str) for name in names) and any(names):
            yield names[::-1] if key == "axes" and _is_of_n5(attrs) else names
    dimensions = [[scale.name for scale in dimension.values()] for dimension in data.dims]
    if dimensions and all(dimensions):
        yield [str(names[0]).rpartition("/")[2] for names in dimensions]


def _is_of_n5(attrs: Scope) -> bool:
    """Whether attributes list the fastest axis first, as N5's programs do, also in HDF5."""
    names = _parsed(attrs.get("axes"))
    is_named = isinstance(names, list | str) and "x" in names and "y" in names
    return is_named and names.index("x") < names.index("y")


def _meaning(name: str) -> tuple[str, str, str]:
    """A name without separators, the unit and the order of axes that it ends in."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace("-", "_").replace(" ", "_")
    parts = words.split("_")
    order = unit = ""
    while len(parts) > 1 and parts[-1] in ("zyx", "xyz", *_SUFFIXES):
        last = parts.pop()
        order, unit = (last, unit) if last in ("zyx", "xyz") else (order, last)
    return "".join(parts), unit, order


def _lengths(
    scope: Scope, letters: str, in_nm: tuple[str, ...], with_unit: tuple[str, ...]
) -> _Found | None:
    """Three lengths in nanometres that the scope gives by one of these names."""
    letters = letters[::-1] if _is_of_n5(scope) else letters
    for name, value in scope.items():
        meaning, unit, order = _meaning(name)
        if meaning not in (*in_nm, *with_unit):
            continue
        if meaning in _VOXEL_OFFSETS and not unit:
            continue
        numbers = _parsed(value)
        if not isinstance(numbers, list) and meaning not in (*_SIZES, "elementsize", "pixelsize"):
            continue  # one number, such as a scale of values
        per_axis = _by_axis(numbers, order or letters)
        shown = " ".join(map(str, numbers)) if isinstance(numbers, list) else str(numbers)
        if per_axis is None or not all(isinstance(n, int | float) for n in per_axis):
            return _Found(name, None, f"has the {name} {shown}, not a length for z, y and x")
        units = [unit] * 3 if unit else _units(scope, name, letters)
        if units is None and meaning not in in_nm:
            if {*per_axis} == ({1} if in_nm is _SIZES else {0}):  # says nothing
                return _Found(name, (per_axis[0],) * 3)
            return _Found(name, None, f"has the {name} {shown} without a unit")
        factors = [nanometres(u) for u in units or ["nm"] * 3]
        if None in factors:
            odd = (units or [""])[factors.index(None)]
            return _Found(name, None, f"has the {name} {shown} in the unknown unit {odd!r}")
        z, y, x = (in_nanometres(n, f or 1) for n, f in zip(per_axis, factors, strict=True))
        is_odd = units is None and meaning in _SIZES and 0 < min(z, y, x) < _SMALLEST
        text = f"has the {name} {shown} without a unit: nanometres are taken"
        return _Found(name, (z, y, x), text if is_odd else "")
    return None


def _by_axis(values: Any, letters: str) -> list[Any] | None:
    """The values for z, y and x from those for all axes, or for all without channels."""
    if not isinstance(values, list):
        return None
    for kept in (letters, letters.replace("c", ""), "".join(n for n in letters if n in "zyx")):
        if len(values) == len(kept) and {"z", "y", "x"} <= set(kept):
            return [values[kept.index(letter)] for letter in "zyx"]
    return None


def _units(scope: Scope, name: str, letters: str) -> list[str] | None:
    """The units for z, y and x; None if the scope gives none."""
    for key in ("units", "unit", f"{name}_units", f"{name}_unit", "axis_units"):
        given = _parsed(scope.get(key))
        if isinstance(given, dict):
            given = [str(given.get(letter, "")) for letter in "zyx"]
            return given if all(given) else None
        if isinstance(given, str) and given:
            return [given] * 3
        if isinstance(given, list) and given:
            units = given * 3 if len(given) == 1 else _by_axis(given, letters)
            return [str(unit) for unit in units] if units and all(units) else None
    return None


def _resolution_of_tags(attrs: Scope, letters: str) -> _Found | None:
    """The voxel size of ilastik's tags; None if they leave it 0."""
    try:
        tags = {tag["key"]: float(tag["resolution"]) for tag in _parsed(attrs["axistags"])["axes"]}
        numbers = [tags[letter] for letter in "zyx"]
    except (KeyError, TypeError, ValueError):
        return None
    if not any(numbers):
        return None
    shown = f"gives the resolution {plain(numbers)} in its axistags"
    units = _units(attrs, "axis", letters)
    factors = [nanometres(unit) for unit in units] if units else []
    if units is None or None in factors:
        known = f"in the unknown units {' '.join(units)}" if units else "without a unit"
        return _Found("axistags", None, f"{shown} {known}")
    z, y, x = (in_nanometres(n, f or 1) for n, f in zip(numbers, factors, strict=True))
    return _Found("resolution of the axistags", (z, y, x))


def _voxel_offset(scope: Scope, letters: str) -> _Found | None:
    """A position in voxels."""
    for name, value in scope.items():
        meaning, unit, order = _meaning(name)
        if meaning not in _VOXEL_OFFSETS or unit:
            continue
        numbers = _parsed(value)
        per_axis = _by_axis(numbers, order or "".join(n for n in letters if n in "czyx"))
        if per_axis is None or not all(isinstance(n, int | float) for n in per_axis):
            shown = " ".join(map(str, numbers)) if isinstance(numbers, list) else str(numbers)
            return _Found(name, None, f"has the {name} {shown}, not three numbers z y x")
        z, y, x = map(float, per_axis)
        return _Found(name, (z, y, x))
    return None


def _rounded(found: _Found) -> tuple[Vec3 | None, str]:
    """A position in whole voxels, and what is wrong with it."""
    if found.lengths is None or not all(map(isfinite, found.lengths)):
        return None, found.problem or f"has a {found.name} that is no number"
    offset = Vec3(*map(round, found.lengths))
    if offset == found.lengths:
        return offset, ""
    return offset, f"has the {found.name} {plain(found.lengths)}, which is rounded to whole voxels"


def _unknown_size(data: Any, scopes: Sequence[Scope]) -> str:
    """What looks like a voxel size and is none of the known forms; empty if there is nothing."""
    if _BIG_DATA_VIEWER.search(data.name):
        return "is of BigDataViewer, which keeps the voxel size in an XML file"
    if "ImarisDataSet" in scopes[-1] or "DataSetInfoDirectoryName" in scopes[-1]:
        return "is of Imaris: its voxel size is not read, nor where its data end and padding begins"
    names = [name for scope in scopes for name in scope if _LIKE_A_SIZE.search(name.lower())]
    if names:
        return f"has the attribute {names[0]}, whose form is not known"
    if any(len(dimension) for dimension in data.dims):
        return "gives coordinates of its axes (dimension scales), which are not read"
    return ""


def _unknown_origin(scopes: Sequence[Scope]) -> str:
    names = [
        name
        for scope in scopes
        for name, value in scope.items()
        if _LIKE_AN_ORIGIN.search(name.lower()) and getattr(value, "size", 1) == 3
    ]
    return f"has the attribute {names[0]}, whose form is not known" if names else ""


def _layer_type(data: Any, scopes: Sequence[Scope]) -> tuple[LayerType | None, str]:
    for scope in scopes:
        if "layer_type" in scope:
            name = _text(scope["layer_type"])
            if name in ("segmentation", "labels", "label"):
                return "segmentation", ""
            return ("image", "") if name in _IMAGES else (None, f"has the layer_type {name!r}")
    if data.dtype.kind not in "ui":
        return None, ""
    # ilastik shows ids so; CREMI and others keep them below a group of this name.
    is_labels = _text(scopes[0].get("display_mode", "")) == "random-colortable"
    if is_labels or "labels" in data.name.split("/")[:-1]:
        return "segmentation", ""
    if _text(scopes[0].get("IMAGE_SUBCLASS")) == "IMAGE_INDEXED":
        return None, "has a palette, and its values are indices of colours"
    return None, ""


def _white(attrs: Scope, dtype: Any) -> tuple[int | None, str]:
    """The value of black if 0 is white (HDF5's specification of images)."""
    if _text(attrs.get("IMAGE_WHITE_IS_ZERO", 0)) in ("0", "False", "None"):
        return None, ""
    if dtype.kind == "u" and dtype.itemsize <= 2:  # larger ones are ids
        return 2 ** (8 * dtype.itemsize) - 1, ""
    return None, f"says that 0 is white, and its {dtype} values are kept"
