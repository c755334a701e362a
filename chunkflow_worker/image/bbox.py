"""Voxel geometry: `Vec3` and `BoundingBox`, whole numbers in zyx order."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

_BOX = re.compile(r"(-?\d+)-(-?\d+)_(-?\d+)-(-?\d+)_(-?\d+)-(-?\d+)", re.ASCII)


class Vec3(NamedTuple):
    """Three whole numbers in zyx order: a voxel position, a size or a step."""

    z: int
    y: int
    x: int

    @classmethod
    def of(cls, value: Iterable[int] | int) -> Vec3:
        """A Vec3 from three numbers, or from one number for all axes.

        Raises ValueError unless there are exactly three whole numbers.
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
        return Vec3(*(a + b for a, b in zip(self, Vec3.of(other), strict=True)))

    def __sub__(self, other: Iterable[int] | int) -> Vec3:
        return Vec3(*(a - b for a, b in zip(self, Vec3.of(other), strict=True)))

    def __mul__(self, other: Iterable[int] | int) -> Vec3:  # type: ignore[override]
        return Vec3(*(a * b for a, b in zip(self, Vec3.of(other), strict=True)))

    def __floordiv__(self, other: Iterable[int] | int) -> Vec3:
        return Vec3(*(a // b for a, b in zip(self, Vec3.of(other), strict=True)))

    def __mod__(self, other: Iterable[int] | int) -> Vec3:
        return Vec3(*(a % b for a, b in zip(self, Vec3.of(other), strict=True)))

    def __neg__(self) -> Vec3:
        return Vec3(-self.z, -self.y, -self.x)

    def power(self, exponent: int) -> Vec3:
        return Vec3(self.z**exponent, self.y**exponent, self.x**exponent)

    def min(self, other: Vec3) -> Vec3:
        return Vec3(*(min(a, b) for a, b in zip(self, other, strict=True)))

    def max(self, other: Vec3) -> Vec3:
        return Vec3(*(max(a, b) for a, b in zip(self, other, strict=True)))

    def fits_in(self, other: Vec3) -> bool:
        """True when no axis is larger than the other's."""
        return all(a <= b for a, b in zip(self, other, strict=True))

    @property
    def product(self) -> int:
        return self.z * self.y * self.x

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def parse(value: Any) -> Vec3:
            try:
                return cls.of(value) if not isinstance(value, int | str) else cls.of(())
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
    """Half-open box of voxels in global coordinates of its own mip: `start <= voxel < stop`.

    As text: ``z0-z1_y0-y1_x0-x1``, negative numbers allowed, for example ``-8-56_0-64_128-192``.
    """

    start: Vec3
    stop: Vec3

    def __post_init__(self) -> None:
        if not self.start.fits_in(self.stop):
            raise ValueError(
                f"box starts at {tuple(self.start)}, behind its stop {tuple(self.stop)}"
            )

    @classmethod
    def sized(cls, start: Iterable[int], size: Iterable[int] | int) -> BoundingBox:
        first = Vec3.of(start)
        return cls(first, first + size)

    @classmethod
    def parse(cls, text: str) -> BoundingBox:
        """Read the text form. Raises ValueError for any other text and for an empty or inverted box."""
        match = _BOX.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is not a box; write it as z0-z1_y0-y1_x0-x1, for example 0-64_0-512_0-512"
            )
        z0, z1, y0, y1, x0, x1 = map(int, match.groups())
        if not (z0 < z1 and y0 < y1 and x0 < x1):
            raise ValueError(f"box {text} is empty: each axis must start before it stops")
        return cls(Vec3(z0, y0, x0), Vec3(z1, y1, x1))

    def __str__(self) -> str:
        return "_".join(f"{a}-{b}" for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> Vec3:
        return self.stop - self.start

    @property
    def voxels(self) -> int:
        return self.size.product

    def grow(self, margin: Iterable[int] | int) -> BoundingBox:
        """Larger by `margin` on both sides of each axis; smaller when it is negative."""
        return BoundingBox(self.start - margin, self.stop + margin)

    def scaled(self, factor: Vec3) -> BoundingBox:
        """The same box in voxels that are `factor` times smaller."""
        return BoundingBox(self.start * factor, self.stop * factor)

    def coarse(self, factor: Vec3) -> BoundingBox:
        """The voxels, `factor` times as large, that have a part in the box. Voxel i covers i * factor to (i + 1) * factor."""
        return BoundingBox(self.start // factor, -(-self.stop // factor))

    def shift(self, offset: Iterable[int]) -> BoundingBox:
        return BoundingBox(self.start + offset, self.stop + offset)

    def clip(self, other: BoundingBox) -> BoundingBox | None:
        """The part inside `other`; None when they share no voxel."""
        start, stop = self.start.max(other.start), self.stop.min(other.stop)
        return (
            BoundingBox(start, stop)
            if all(a < b for a, b in zip(start, stop, strict=True))
            else None
        )

    def contains(self, other: BoundingBox) -> bool:
        return self.start.fits_in(other.start) and other.stop.fits_in(self.stop)

    def slices(self, origin: Iterable[int] = (0, 0, 0)) -> tuple[slice, slice, slice]:
        """Index of this box in an array whose first voxel lies at `origin`."""
        start, stop = self.start - origin, self.stop - origin
        return (slice(start.z, stop.z), slice(start.y, stop.y), slice(start.x, stop.x))

    def split(self, size: Vec3) -> Iterator[BoundingBox]:
        """Boxes of `size` that cover this one in z, y, x order; the last of an axis may be smaller."""
        starts = (range(a, b, s) for a, b, s in zip(self.start, self.stop, size, strict=True))
        for start in itertools.product(*starts):
            yield BoundingBox(Vec3(*start), (Vec3(*start) + size).min(self.stop))
