"""`Vec3` and `BoundingBox`: voxel geometry in whole numbers, zyx."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

_RANGE = r"(-?\d{1,18})-(-?\d{1,18})"  # numbers of 64 bits
_BOX = re.compile(f"{_RANGE}_{_RANGE}_{_RANGE}", re.ASCII)


class Vec3(NamedTuple):
    """Three whole numbers, zyx: a voxel position, a size or a step.

    Operators work axis by axis, with another vector or with one number for all axes.
    """

    z: int
    y: int
    x: int

    @classmethod
    def of(cls, value: Iterable[int] | int) -> Vec3:
        """A vector of three numbers, or of one number for all axes.

        Raises ValueError for anything but three whole numbers.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, int):
            return cls(value, value, value)
        numbers = tuple(value)
        try:
            whole = all(not isinstance(n, str | bool) and int(n) == n for n in numbers)
        except (TypeError, OverflowError):
            whole = False
        if len(numbers) != 3 or not whole:
            raise ValueError("takes three whole numbers, z y x")
        return cls(*(int(n) for n in numbers))

    def __add__(self, other: Iterable[int] | int) -> Vec3:  # type: ignore[override]
        z, y, x = Vec3.of(other)
        return Vec3(self.z + z, self.y + y, self.x + x)

    def __sub__(self, other: Iterable[int] | int) -> Vec3:
        z, y, x = Vec3.of(other)
        return Vec3(self.z - z, self.y - y, self.x - x)

    def __mul__(self, other: Iterable[int] | int) -> Vec3:  # type: ignore[override]
        z, y, x = Vec3.of(other)
        return Vec3(self.z * z, self.y * y, self.x * x)

    def __floordiv__(self, other: Iterable[int] | int) -> Vec3:
        z, y, x = Vec3.of(other)
        return Vec3(self.z // z, self.y // y, self.x // x)

    def __mod__(self, other: Iterable[int] | int) -> Vec3:
        z, y, x = Vec3.of(other)
        return Vec3(self.z % z, self.y % y, self.x % x)

    def __neg__(self) -> Vec3:
        return Vec3(-self.z, -self.y, -self.x)

    def power(self, exponent: int) -> Vec3:
        """Each axis to the power of `exponent`."""
        return Vec3(self.z**exponent, self.y**exponent, self.x**exponent)

    def min(self, other: Vec3) -> Vec3:
        """The smaller number of each axis."""
        return Vec3(min(self.z, other.z), min(self.y, other.y), min(self.x, other.x))

    def max(self, other: Vec3) -> Vec3:
        """The larger number of each axis."""
        return Vec3(max(self.z, other.z), max(self.y, other.y), max(self.x, other.x))

    def fits_in(self, other: Vec3) -> bool:
        """Whether no axis is larger than the same axis of `other`."""
        return self.z <= other.z and self.y <= other.y and self.x <= other.x

    @property
    def product(self) -> int:
        """z * y * x, for example the number of voxels of a size."""
        return self.z * self.y * self.x

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def parse(value: Any) -> Vec3:
            try:
                vector = cls.of(value) if not isinstance(value, int | str) else cls.of(())
                if any(abs(n) >= 2**63 for n in vector):
                    raise ValueError("too large")
                return vector
            except (TypeError, ValueError):
                raise ValueError("takes three whole numbers, z y x") from None

        return core_schema.no_info_plain_validator_function(
            parse, serialization=core_schema.plain_serializer_function_ser_schema(list)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3}


@dataclass(frozen=True, order=True)
class BoundingBox:
    """Half-open box of voxels, `start <= voxel < stop`, in global coordinates of its own mip.

    As text: ``z0-z1_y0-y1_x0-x1``, negative numbers allowed, for example ``-8-56_0-64_128-192``.
    """

    start: Vec3
    stop: Vec3

    def __post_init__(self) -> None:
        if not self.start.fits_in(self.stop):
            raise ValueError(
                f"box starts at {tuple(self.start)}, behind its stop at {tuple(self.stop)}"
            )

    @classmethod
    def sized(cls, start: Iterable[int], size: Iterable[int] | int) -> BoundingBox:
        """The box of `size` voxels that begins at `start`."""
        first = Vec3.of(start)
        return cls(first, first + size)

    @classmethod
    @lru_cache(1000)  # a record names the box of its task several times
    def parse(cls, text: str) -> BoundingBox:
        """Read the text form. Raises ValueError for other text and for empty or inverted boxes."""
        match = _BOX.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is not a box; "
                "write it as z0-z1_y0-y1_x0-x1, for example 0-64_0-512_0-512"
            )
        z0, z1, y0, y1, x0, x1 = map(int, match.groups())
        if not (z0 < z1 and y0 < y1 and x0 < x1):
            raise ValueError(f"box {text} is empty: each axis must start before it stops")
        return cls(Vec3(z0, y0, x0), Vec3(z1, y1, x1))

    def __str__(self) -> str:
        (z0, y0, x0), (z1, y1, x1) = self.start, self.stop
        return f"{z0}-{z1}_{y0}-{y1}_{x0}-{x1}"

    @property
    def size(self) -> Vec3:
        """Number of voxels along each axis."""
        return self.stop - self.start

    @property
    def voxels(self) -> int:
        """Number of voxels in the box."""
        return self.size.product

    def grow(self, margin: Iterable[int] | int) -> BoundingBox:
        """A box larger by `margin` on both sides of each axis; smaller when it is negative."""
        return BoundingBox(self.start - margin, self.stop + margin)

    def upsample(self, factor: Vec3) -> BoundingBox:
        """The same box in voxels that are `factor` times as small."""
        return BoundingBox(self.start * factor, self.stop * factor)

    def downsample(self, factor: Vec3) -> BoundingBox:
        """The smallest box of voxels `factor` times as large that covers this one.

        A large voxel i covers the small voxels from i * factor to (i + 1) * factor.
        """
        return BoundingBox(self.start // factor, -(-self.stop // factor))

    def shift(self, offset: Iterable[int]) -> BoundingBox:
        """The box moved by `offset` voxels."""
        return BoundingBox(self.start + offset, self.stop + offset)

    def clip(self, other: BoundingBox) -> BoundingBox | None:
        """The part inside `other`; None when they share no voxel."""
        start, stop = self.start.max(other.start), self.stop.min(other.stop)
        if start.z >= stop.z or start.y >= stop.y or start.x >= stop.x:
            return None
        return BoundingBox(start, stop)

    def contains(self, other: BoundingBox) -> bool:
        """Whether all voxels of `other` lie in this box."""
        return self.start.fits_in(other.start) and other.stop.fits_in(self.stop)

    def slices(self, origin: Iterable[int] = (0, 0, 0)) -> tuple[slice, slice, slice]:
        """Indices of this box, zyx, in an array whose first voxel lies at `origin`."""
        start, stop = self.start - origin, self.stop - origin
        return (slice(start.z, stop.z), slice(start.y, stop.y), slice(start.x, stop.x))

    def split(self, size: Vec3) -> Iterator[BoundingBox]:
        """Cover this box with boxes of `size`, x fastest; the last of an axis may be smaller."""
        axes = (range(a, b, s) for a, b, s in zip(self.start, self.stop, size, strict=True))
        for place in itertools.product(*axes):
            start = Vec3(*place)
            yield BoundingBox(start, (start + size).min(self.stop))
