"""What inference on a box will need, before anything runs: patches, utilization, memory. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import DTypeLike

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.inference.lattice import Lattice, LatticeKind, PatchShape, make_lattice
from chunkflow_worker.inference.patching import Patching

# On a global lattice, the boxes of a grid need different numbers of patches. The price is the mean
# over this many boxes in a row, per axis.
_BOXES = 16


@dataclass(frozen=True)
class Price:
    """What a box costs.

    patches: for one box; the mean over a grid of boxes.
    utilization: voxels of the box per voxel that the net returns.
    """

    patches: float
    utilization: float


def price(kind: LatticeKind, size: Vec3, shape: PatchShape, margin: Vec3) -> Price:
    """The price of a box of `size`, away from the border of the image."""
    patches = 1.0
    for axis in range(3):
        boxes = _BOXES if kind == "global" else 1
        total = 0
        for i in range(boxes):
            start = Vec3(*(i * n if a == axis else 0 for a, n in enumerate(size)))
            box = BoundingBox.sized(start, size)
            total += len(make_lattice(kind, box, shape, margin=margin).starts[axis])
        patches *= total / boxes
    return Price(patches, size.product / (patches * shape.output.product))


def better_sizes(
    kind: LatticeKind,
    size: Vec3,
    shape: PatchShape,
    margin: Vec3,
    unit: Vec3 = Vec3(1, 1, 1),
    count: int = 3,
) -> list[tuple[Vec3, Price]]:
    """Multiples of `unit` near `size` with a higher utilization, best first; at most `count`.

    They have from 0.5 to 1.5 times the voxels of `size`.
    """
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
    """Multiples of `unit` along an axis.

    These are the nearest to `size`, and the largest that need a number of patches, for some numbers
    of patches.
    """
    stride = shape.stride[axis]
    spare = shape.overlap[axis] - 2 * margin[axis] if kind == "chunk" else 0
    fewest, below = max(1, (size - spare) // stride - 1), size // unit * unit
    in_patches = {(n * stride + spare) // unit * unit for n in range(fewest, fewest + 4)}
    return {n for n in {below, below + unit, -(-size // unit) * unit} | in_patches if n > 0}


@dataclass(frozen=True)
class Memory:
    """Bytes that one task needs while its patches run.

    image: what the patches read.
    output: the result.
    slabs: the part of the result that is being blended, and the sum of its weights.
    patch: one patch on its way through the net, and its weights.
    """

    image: int
    output: int
    slabs: int
    patch: int

    @property
    def total(self) -> int:
        return self.image + self.output + self.slabs + self.patch


def memory(
    lattice: Lattice,
    input_channels: int,
    channels: int,
    image_type: DTypeLike,
    dtype: DTypeLike,
    kept: int,
) -> Memory:
    """The memory of one task on the host. A GPU also holds `image` and `slabs`.

    channels: that the net returns. kept: of the output.

    On the host, a float32 output is blended in place, so only the sum of weights is a slab.
    """
    box, height = lattice.box.size, lattice.shape.output.z
    section = box.y * box.x * 4
    in_place = np.dtype(dtype) == np.float32
    patch_input = lattice.shape.input.product * input_channels  # scaled
    # As the net returns it, and as float32; the weights, and their shares.
    patch_output = lattice.shape.output.product * (2 * channels + 2)
    return Memory(
        image=lattice.input_box.voxels * input_channels * np.dtype(image_type).itemsize,
        output=lattice.box.voxels * kept * np.dtype(dtype).itemsize,
        slabs=height * section * (1 if in_place else 1 + channels),
        patch=4 * (patch_input + patch_output),
    )


def plan_lines(
    patching: Patching, size: Vec3, unit: Vec3, needed: Memory, image_type: str
) -> Iterator[str]:
    """The plan for a box of `size`, for people. `needed`: memory of its task."""
    shape, margin = patching.shape, patching.margin
    for kind in get_args(LatticeKind):
        cost = price(kind, size, shape, margin)
        used = " (used here)" if kind == patching.kind else ""
        computed = cost.patches * shape.output.product
        yield (
            f"{kind} lattice{used}: {cost.patches:.4g} patches per task, voxel utilization "
            f"{cost.utilization:.0%} ({size.product / 1e6:.4g} Mvoxel out of {computed / 1e6:.4g})"
        )
    better = better_sizes(patching.kind, size, shape, margin, unit)
    sizes = ", ".join(f"{list(other)} {cost.utilization:.0%}" for other, cost in better)
    yield f"nearby chunk sizes with a better utilization: {sizes or 'none'}"
    further = max(needed.image, needed.output)
    yield (
        f"memory of a task {gigabytes(needed.total)} GB: image {gigabytes(needed.image)} "
        f"({image_type}), output {gigabytes(needed.output)}, slabs {gigabytes(needed.slabs)}, "
        f"patch {gigabytes(needed.patch)}; each further task in flight {gigabytes(further)}"
    )


def gigabytes(size: int) -> str:
    """A number of bytes in gigabytes, for people; with more digits if it is small."""
    return f"{size / 1e9:.2f}" if size == 0 or size >= 5e6 else f"{size / 1e9:.4f}"
