"""What inference on a box will take, before anything runs: patches, utilization, memory. Pure."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.inference.lattice import Lattice, LatticeKind, PatchShape, make_lattice

# Boxes of a grid lie differently on a global lattice; this many in a row are averaged per axis.
_BOXES = 16


@dataclass(frozen=True)
class Price:
    """patches: for one box, on average over a grid. utilization: voxels of the box per voxel that the net returns."""

    patches: float
    utilization: float


def price(kind: LatticeKind, size: Vec3, shape: PatchShape, margin: Vec3) -> Price:
    """Of a box of `size`, far from the image's border."""
    patches = 1.0
    for axis in range(3):
        counts = []
        for i in range(_BOXES if kind == "global" else 1):
            start = Vec3(*(i * n if a == axis else 0 for a, n in enumerate(size)))
            counts.append(
                len(
                    make_lattice(kind, BoundingBox.sized(start, size), shape, margin=margin).starts[
                        axis
                    ]
                )
            )
        patches *= sum(counts) / len(counts)
    return Price(patches, size.product / (patches * shape.output.product))


def better_sizes(
    kind: LatticeKind,
    size: Vec3,
    shape: PatchShape,
    margin: Vec3,
    unit: Vec3 = Vec3(1, 1, 1),
    count: int = 3,
) -> list[tuple[Vec3, Price]]:
    """Multiples of `unit` near `size` of higher utilization, best first, from half to one and a half of its voxels."""
    now = price(kind, size, shape, margin)
    found = []
    for candidate in itertools.product(
        *(_near(kind, size[a], shape, margin, unit[a], a) for a in range(3))
    ):
        other = Vec3(*candidate)
        if other != size and 0.5 <= other.product / size.product <= 1.5:
            found.append((other, price(kind, other, shape, margin)))
    found.sort(key=lambda pair: -pair[1].utilization)
    return [(other, p) for other, p in found if p.utilization > now.utilization * 1.01][:count]


def _near(
    kind: LatticeKind, size: int, shape: PatchShape, margin: Vec3, unit: int, axis: int
) -> set[int]:
    """Multiples of `unit` along an axis: the nearest to `size`, and the largest in each of some numbers of patches."""
    stride, spare = (
        shape.stride[axis],
        (shape.overlap[axis] - 2 * margin[axis]) if kind == "chunk" else 0,
    )
    fewest, below = max(1, (size - spare) // stride - 1), size // unit * unit
    in_patches = {(n * stride + spare) // unit * unit for n in range(fewest, fewest + 4)}
    return {n for n in {below, below + unit, -(-size // unit) * unit} | in_patches if n > 0}


@dataclass(frozen=True)
class Memory:
    """Bytes that one task takes while its patches run.

    image: what the patches read. output: the result. slabs: what is blended at the moment, and the sum of its weights.
    patch: one patch on its way in and out of the net, and its weights.
    """

    image: int
    output: int
    slabs: int
    patch: int

    @property
    def total(self) -> int:
        return self.image + self.output + self.slabs + self.patch


def memory(
    lattice: Lattice, input_channels: int, channels: int, image_type: DTypeLike, dtype: DTypeLike
) -> Memory:
    """Of one task on the host; a GPU holds `image` and `slabs` besides.

    On the host a float32 output is blended where it lies, so only the sum of weights is a slab.
    """
    box, height = lattice.box.size, lattice.shape.output.z
    section = box.y * box.x * 4
    in_place = np.dtype(dtype) == np.float32
    return Memory(
        image=lattice.input_box.voxels * input_channels * np.dtype(image_type).itemsize,
        output=lattice.box.voxels * channels * np.dtype(dtype).itemsize,
        slabs=height * section * (1 if in_place else 1 + channels),
        # Scaled; as the net returns it and in float32; weights, and their shares.
        patch=4
        * (
            lattice.shape.input.product * input_channels
            + lattice.shape.output.product * (2 * channels + 2)
        ),
    )
