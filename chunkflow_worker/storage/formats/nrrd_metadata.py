"""What the header of an NRRD file says of its voxels, by https://teem.sourceforge.net/nrrd/format.html

The header lists the fastest axis first. `space directions` give the steps of the axes in the
coordinates of a space; files without a space have `spacings` and `axis mins`. The anatomical spaces
of 3D Slicer and ITK are in millimetres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.units import nanometres
from chunkflow_worker.storage.voxel_metadata import (
    VoxelMetadata,
    in_nanometres,
    plain,
    voxel_size_of,
)

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import LayerType

Header = Mapping[str, Any]

_SPATIAL = ("domain", "space")
_TIME = "time"
_ROUNDING = 1e-6  # of a step, across its direction
_UNKNOWN = ("none", "???", "")
_ANATOMICAL = ("left", "right", "LPS", "RAS", "LAS", "scanner")


@dataclass(frozen=True)
class _Geometry:
    """Lengths of the axes x, y and z of the chunk, their place, and what was not understood."""

    lengths: tuple[float, ...] | None = None
    place: tuple[float, ...] | None = None
    problem: str = ""
    problem_of_place: str = ""


def axes_of(header: Header, place: str) -> str:
    """The letters of the axes, slowest first: the reverse of the header's order.

    Axes of the array whose steps lie along another axis of the space are named by that.
    place: names the file in errors.
    Raises ChunkMismatch for two axes, or for blocks of bytes.
    """
    dimension = int(header["dimension"])
    if header["type"] == "block":
        raise ChunkMismatch(f"{place} has blocks of bytes; a chunk is numbers in zyx or czyx")
    spatial = _spatial_axes(header)
    if dimension < 3:
        raise ChunkMismatch(
            f"{place} has {dimension} axes of type {header['type']}; a chunk is numbers in zyx or "
            "czyx: --axes names the axes of another array, for example yx"
        )
    kinds = header.get("kinds") or ["???"] * dimension
    letters = ["?"] * dimension
    others = [axis for axis in range(dimension) if axis not in spatial]
    for axis in others:
        is_time = str(kinds[axis]).lower() == _TIME
        letters[axis] = "t" if is_time else "?" if "c" in letters else "c"
    for letter, axis in zip(_names_in_space(header, spatial), spatial, strict=True):
        letters[axis] = letter
    return "".join(letters)[::-1]


def metadata_of(header: Header, letters: str) -> VoxelMetadata:
    """What the header says of the voxels. letters: of the axes, slowest first."""
    ignored: dict[str, str] = {}
    spatial = [letters[::-1].index(letter) for letter in "xyz" if letter in letters]
    found = _Geometry()
    if len(spatial) < 3 and not {"spacings", "space directions"}.isdisjoint(header):
        found = _Geometry(problem="gives the size of pixels, and none along z")
    if len(spatial) == 3:
        given = header.get("space directions") is not None
        found = _of_directions(header, spatial) if given else _of_spacings(header, spatial)
    size = voxel_size_of(found.lengths[::-1]) if found.lengths else None
    if found.lengths and size is None:
        ignored["voxel_size"] = f"has the spacings {plain(found.lengths)} (x y z)"
    elif found.problem and found.lengths != (1, 1, 1):
        ignored["voxel_size"] = found.problem
    if found.problem_of_place:
        ignored["voxel_offset"] = found.problem_of_place
    origin = None
    if found.place is not None and len(found.place) == 3:
        x, y, z = found.place
        origin = (z, y, x)
    return VoxelMetadata(size, None, origin, _layer_type(header), None, ignored)


def _spatial_axes(header: Header) -> list[int]:
    """The axes in space, in the header's order; the first three if it does not tell.

    They are two for one picture in colours.
    """
    dimension, directions = int(header["dimension"]), header.get("space directions")
    axes: list[int] = []
    if directions is not None:
        axes = [a for a, step in enumerate(directions) if _is_vector(step)]
    elif header.get("kinds"):
        axes = [a for a, kind in enumerate(header["kinds"]) if str(kind).lower() in _SPATIAL]
        unknown = [a for a, kind in enumerate(header["kinds"]) if str(kind).lower() in _UNKNOWN]
        axes = sorted((axes + unknown)[:3]) if len(axes) < 3 else axes
    return axes if len(axes) in (2, 3) else list(range(min(dimension, 3)))


def _is_vector(step: Any) -> bool:
    """pynrrd gives NaN, or None, for the direction of an axis that is not in space."""
    return step is not None and all(number == number for number in step)


def _steps(header: Header, axes: Sequence[int]) -> list[list[float]] | None:
    """A row for each axis, a column for each of space: x, y, z; None if there is no such table.

    What is left of a rotation by 90 degrees, such as 6e-17, becomes 0.
    """
    directions = header["space directions"]
    rows = [[float(n) for n in directions[a]] for a in axes if _is_vector(directions[a])]
    if len(rows) != 3 or any(len(row) != 3 for row in rows):
        return None
    return [[n if abs(n) > _ROUNDING * max(map(abs, row)) else 0.0 for n in row] for row in rows]


def _is_turned(steps: list[list[float]]) -> bool:
    """Whether each axis lies along one of space, and each of space has one axis."""
    columns = list(zip(*steps, strict=True))
    lines = [*steps, *columns]
    return all(sum(number != 0 for number in line) == 1 for line in lines)


def _names_in_space(header: Header, spatial: Sequence[int]) -> str:
    """x, y and z in the order of the header's axes."""
    steps = None if header.get("space directions") is None else _steps(header, spatial)
    if steps is None or not _is_turned(steps):
        return "xyz"[: len(spatial)]
    return "".join("xyz"[next(i for i, n in enumerate(row) if n)] for row in steps)


def _of_directions(header: Header, spatial: Sequence[int]) -> _Geometry:
    """The length of a voxel is that of its step, in whatever direction this goes."""
    steps = _steps(header, spatial)
    if steps is None:
        text = "has space directions that are not three for three axes"
        return _Geometry(problem=text, problem_of_place=text)
    unit, problem = _unit(header, "space units", 0)
    factor = unit or 1.0
    lengths = tuple(in_nanometres(sum(n * n for n in row) ** 0.5, factor) for row in steps)
    if _is_turned(steps):  # keep the digits of a step along one axis
        lengths = tuple(in_nanometres(max(map(abs, row)), factor) for row in steps)
    origin = header.get("space origin")
    if unit is None:
        text = f"{problem} for voxels of {plain(lengths)} (x y z)"
        return _Geometry(None, None, text, "" if origin is None else text)
    place = None if origin is None else tuple(in_nanometres(float(n), factor) for n in origin)
    if place is not None and any(n != n for n in place):
        place = None
    is_straight = _is_turned(steps) and min(map(min, steps)) >= 0
    if is_straight:
        return _Geometry(lengths, place, problem)
    kind = "mirrored" if _is_turned(steps) else "oblique"
    text = f"has {kind} axes: voxels are read as stored, without its directions and origin"
    return _Geometry(lengths, None, problem, text)


def _of_spacings(header: Header, spatial: Sequence[int]) -> _Geometry:
    spacings = header.get("spacings")
    if spacings is None:
        thick = header.get("thicknesses")
        text = "gives thicknesses of slices, which are no distances between them, and no spacings"
        return _Geometry(problem="" if thick is None else text)
    lengths = [float(spacings[a]) for a in spatial]
    if all(n != n for n in lengths):
        return _Geometry()
    mins = header.get("axis mins", header.get("axismins"))
    units = [_unit(header, "units", axis) for axis in spatial]
    odd = next((text for unit, text in units if unit is None), "")
    if odd:
        text = f"{odd} for spacings of {plain(lengths)} (x y z)"
        return _Geometry(None, None, text, "" if mins is None else text)
    sizes = tuple(in_nanometres(n, u or 1) for n, (u, _) in zip(lengths, units, strict=True))
    place = None
    if mins is not None:
        starts = [float(mins[a]) for a in spatial]
        place = tuple(
            in_nanometres(n if n == n else 0.0, u or 1)
            for n, (u, _) in zip(starts, units, strict=True)
        )
    return _Geometry(sizes, place, next((text for _, text in units if text), ""))


def _unit(header: Header, field: str, axis: int) -> tuple[float | None, str]:
    """Nanometres of an axis' unit, and what to tell of it; None if it is not known."""
    given = header.get(field)
    text = str(given[axis]).strip().strip('"') if given is not None and len(given) > axis else ""
    if text.lower() in _UNKNOWN:
        space = str(header.get("space", ""))
        # ITK writes no units, and means these.
        if field == "space units" and space.startswith(_ANATOMICAL):
            return 1e6, f"gives no unit: millimetres are taken, as its space is {space}"
        return 1.0, "gives no unit: nanometres are taken"
    unit = nanometres(text)
    return unit, "" if unit is not None else f"has the unknown unit {text!r}"


def _layer_type(header: Header) -> LayerType | None:
    """Of our own files, or of the segmentations of 3D Slicer."""
    stored = header.get("layer_type")
    if stored in ("image", "segmentation"):
        return "segmentation" if stored == "segmentation" else "image"
    return "segmentation" if "Segment0_ID" in header else None
