"""`Geometry`: the axes of an array, the size of its voxels and its position. Pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import UNKNOWN_SIZE, VoxelSize
from chunkflow_worker.image.units import nanometres
from chunkflow_worker.storage.voxel_metadata import in_nanometres

Order = Literal["zyx", "xyz"]
"""Order of the spatial axes, the slowest first."""
About = Literal["voxel size", "position", "order"]

SPATIAL = ("z", "y", "x")
# In N5 the first axis is the fastest, and readers expect x there.
N5_AXES = ("x", "y", "z", "c", "t")
_OTHER_NAMES = {
    "depth": "z",
    "plane": "z",
    "height": "y",
    "row": "y",
    "width": "x",
    "column": "x",
    "col": "x",
    "channel": "c",
    "channels": "c",
    "ch": "c",
    "time": "t",
    "frame": "t",
}
_KINDS = {"channel": "c", "time": "t"}
_NUMBERED = re.compile(r"d(im)?_?\d+")  # what xarray and funlib call axes without names
_WHOLE = 0.01  # of a voxel: positions this near to a voxel are rounding errors


class Ignored(NamedTuple):
    """Something that a store says, or should say, and that has no effect.

    about: what it would set.
    text: a sentence about the array, without its subject.
    """

    about: tuple[About, ...]
    text: str


@dataclass(frozen=True)
class Geometry:
    """The axes of an array, and its position and voxel size in nanometres.

    axes: names of the axes, in the array's order.
    scale: size of a voxel by axis; 1 for an axis that is left out.
    translation: position of the first voxel by axis; 0 for an axis that is left out.
    ignored: what the store says and this does not hold.
    is_named: whether the store or its format says which axis is which.
    """

    axes: tuple[str, ...]
    scale: Mapping[str, float]
    translation: Mapping[str, float]
    ignored: tuple[Ignored, ...] = ()
    is_named: bool = True

    @property
    def scales(self) -> list[float]:
        """Size of a voxel along each axis, in their order."""
        return [self.scale.get(axis, 1.0) for axis in self.axes]

    @property
    def translations(self) -> list[float]:
        """Position of the first voxel along each axis, in their order."""
        return [self.translation.get(axis, 0.0) for axis in self.axes]

    @property
    def voxel_size(self) -> VoxelSize:
        """Edge lengths of a voxel, zyx; 1 where they are not known."""
        z, y, x = (float(self.scale.get(axis, 1.0)) for axis in SPATIAL)
        return (z, y, x)

    @property
    def start(self) -> Vec3:
        """Global position of the first voxel, in voxels."""
        return Vec3.of(round(start) for start in self._starts())

    def with_voxel_size(self, voxel_size: VoxelSize) -> Geometry:
        """The same array with voxels of another size, zyx; it starts at the same voxel."""
        scale = dict(zip(SPATIAL, voxel_size, strict=True))
        places = zip(SPATIAL, self._starts(), strict=True)
        return replace(self, scale=scale, translation={n: at * scale[n] for n, at in places})

    def with_voxel_offset(self, offset: Vec3) -> Geometry:
        """The same array at another position, zyx, in voxels."""
        places = zip(SPATIAL, offset, strict=True)
        return replace(self, translation={n: at * self.scale.get(n, 1.0) for n, at in places})

    def checked(self) -> Geometry:
        """The same with sizes above zero only; says what is wrong with sizes and position."""
        bad = {n: s for n, s in self.scale.items() if not (math.isfinite(s) and s > 0)}
        bad = {n: s for n, s in bad.items() if n in SPATIAL}
        scale = {n: s for n, s in self.scale.items() if n not in bad}
        translation = {n: t for n, t in self.translation.items() if math.isfinite(t)}
        notes = list(self.ignored)
        if bad:
            sizes = ", ".join(f"{size:g} along {axis}" for axis, size in bad.items())
            notes.append(Ignored(("voxel size",), f"its voxel size is {sizes}, and 1 is used"))
        if "z" not in self.axes and any(scale.get(axis, 1.0) != 1 for axis in "yx"):
            text = "it has no axis z, and the size of a voxel along z is taken as 1"
            notes.append(Ignored(("voxel size",), text))
        checked = replace(self, scale=scale, translation=translation)
        starts = checked._starts()
        if not all(map(is_whole, starts)):
            place = " ".join(f"{start:.6g}" for start in starts)
            rounded = " ".join(map(str, checked.start))
            text = f"it starts between voxels, at z y x = {place}, and {rounded} is used"
            notes.append(Ignored(("position",), text))
        return replace(checked, ignored=tuple(notes))

    def without_shift(self, finest: Geometry) -> Geometry:
        """The same without the shift of a coarse level against the finest.

        Many programs store the centre of the first voxel. That of a coarse voxel lies in the middle
        of the fine voxels that it covers: half its size minus half of theirs from their corner.
        A whole voxel is no such shift; at a factor of three it may be as long. The level may begin
        before the finest one, where its voxels have whole places.
        """
        translation = dict(self.translation)
        for axis in SPATIAL:
            size, fine = (g.scale.get(axis, 1.0) for g in (self, finest))
            at, fine_at = (g.translation.get(axis, 0.0) for g in (self, finest))
            shift = (size - fine) / 2
            is_shift = abs(at - fine_at - shift) < _WHOLE * size or is_whole((at - shift) / size)
            if size > fine and is_shift and not is_whole(at / size):
                translation[axis] = at - shift
        return replace(self, translation=translation)

    def _starts(self) -> list[float]:
        return [self.translation.get(n, 0.0) / self.scale.get(n, 1.0) for n in SPATIAL]


def is_whole(number: float) -> bool:
    """Whether a position in voxels is that of a voxel, but for rounding errors."""
    return abs(number - round(number)) <= _WHOLE


def axis_names(names: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The names that we give to axes: z, y, x, c and t; other names stay as they are.

    names: pairs of name and type, such as space, time and channel; empty for an unknown type.
    """
    result: list[str] = []
    for name, kind in names:
        plain = name.strip().lower()
        # funlib and Neuroglancer mark axes of channels.
        known = "c" if plain.endswith(("^", "'")) else _OTHER_NAMES.get(plain, plain)
        known = _KINDS.get(kind, known)
        result.append(f"{plain}{len(result)}" if known in result else known)
    return tuple(result)


def unnamed_axes(count: int, *, order: Order, n5: bool) -> tuple[str, ...]:
    """The axes of an array of `count` dimensions that no store names."""
    if n5:
        return (*N5_AXES, *(f"d{i}" for i in range(count)))[:count]
    spatial = tuple(axis for axis in order if count > 2 or axis != "z")
    return (*(f"d{i}" for i in range(count)), "t", "c", *spatial)[-count:] if count else ()


def placed_axes(
    axes: tuple[str, ...], *, order: Order, n5: bool
) -> tuple[tuple[str, ...], list[Ignored]]:
    """`axes` with the spatial ones named z, y and x when the store calls all of them otherwise."""
    other = [axis for axis in axes if axis not in (*SPATIAL, "c", "t")]
    if any(axis in SPATIAL for axis in axes) or len(other) not in (2, 3):
        return axes, []
    names = dict(zip(other, unnamed_axes(len(other), order=order, n5=n5), strict=True))
    placed = tuple(names.get(axis, axis) for axis in axes)
    if all(_NUMBERED.fullmatch(axis) for axis in other):
        return placed, []
    text = f"its axes {' '.join(other)} are taken as {' '.join(names.values())}"
    return placed, [Ignored(("order",), text)]


def by_axis(axes: tuple[str, ...], values: Any) -> dict[str, Any]:
    """A list for all axes, for those without channels or for the spatial ones, by axis.

    Empty for anything else.
    """
    if not isinstance(values, list):
        return {}
    without_channels = tuple(axis for axis in axes if axis != "c")
    spatial = tuple(axis for axis in axes if axis in SPATIAL)
    for names in (axes, without_channels, spatial):
        if len(names) == len(values):
            return dict(zip(names, values, strict=True))
    return {}


def numbers_by_axis(axes: tuple[str, ...], values: Any) -> dict[str, float]:
    """Like `by_axis`, and empty unless all values are numbers."""
    found = by_axis(axes, values)
    return {n: float(v) for n, v in found.items()} if all(map(is_number, found.values())) else {}


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def measured(
    axes: tuple[str, ...],
    scale: Mapping[str, float],
    translation: Mapping[str, float],
    units: Mapping[str, Any],
    *,
    unit_expected: bool,
) -> Geometry:
    """The geometry of numbers by axis that count in units.

    If a unit is not known, the size of a voxel is not, and the position in voxels is kept.
    units: name of the unit by axis; it may be None or empty.
    unit_expected: the format wants a unit, so one that is missing is told. It means nanometres.
    """
    spatial = [axis for axis in axes if axis in SPATIAL and axis in (scale or translation)]
    names = {axis: str(units.get(axis) or "").strip() for axis in spatial}
    factors = {axis: nanometres(name) if name else 1.0 for axis, name in names.items()}
    unknown = [axis for axis in spatial if factors[axis] is None]
    missing = [axis for axis in spatial if not names[axis]]
    known = {axis: factor for axis, factor in factors.items() if factor is not None}
    found, text = Geometry(axes, times(scale, known), times(translation, known)), ""
    if unknown:
        units_of = ", ".join(dict.fromkeys(repr(names[axis]) for axis in unknown))
        text = f"the unit {units_of} of {' '.join(unknown)} is not known, and 1 1 1 nm is used"
        sized = {axis: size for axis, size in found.scale.items() if size}
        found = replace(found, scale=sized).with_voxel_size(UNKNOWN_SIZE)
    elif missing and unit_expected:
        text = f"no unit of length is stored for {' '.join(missing)}, and nanometres are used"
    return replace(found, ignored=(Ignored(("voxel size",), text),) if text else ())


def times(numbers: Mapping[str, float], factors: Mapping[str, float]) -> dict[str, float]:
    """The product by axis, without rounding errors such as 1.001 * 1000 = 1000.9999999999999."""
    return {axis: in_nanometres(n, factors.get(axis, 1.0)) for axis, n in numbers.items()}
