"""`Weights`: how much each voxel of a patch counts where patches overlap."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.image.bbox import Vec3

if TYPE_CHECKING:
    from chunkflow_worker.inference.arrays import Arrays
    from chunkflow_worker.inference.lattice import Lattice

Bump = Literal["wu", "zung", "linear"]

# The smallest share of a patch along one axis. The product of three is still a normal float32, so a
# voxel is never divided by zero; it changes a share by 1e-10 at most.
_LEAST = 1e-10


def patch_weights(size: Vec3, bump: Bump = "wu") -> NDArray[np.float64]:
    """Weights of an output patch, shape zyx, symmetric, 1 in the middle, nowhere larger.

    A blended value is the sum of weight x value over all patches at a voxel, divided by the sum of
    their weights. So the shares of all patches sum to one everywhere, for any overlap.

    bump: the function of the voxel's position i on an axis of n voxels.
        wu: exp(-sum 1/(1-t^2)) with t = 2(i+1)/(n+1) - 1, then rescaled linearly to a range of 1
            to 1e6. This is ``--bump wu`` of chunkflow.
        zung: exp(-sum (u(1-u))^-1.5) with u = (i+1)/(n+1). Far from the middle, it is smaller than
            the smallest float, and 0 here; `Weights` computes its shares without that loss.
        linear: the product of min(i+1, n-i).
    """
    if bump == "linear":
        tents = [np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)) for n in size]
        weights = _outer([tent / tent.max() for tent in tents], np.multiply)
    elif bump == "zung":
        weights = _exp(_outer([zung_logarithms(n) for n in size], np.add))
    else:
        weights = _exp(_outer([-1 / (1 - (2 * _unit(n) - 1) ** 2) for n in size], np.add))
        low, high = float(weights.min()), float(weights.max())
        weights = (
            (weights - low) / (high - low) * (1 - 1e-6) + 1e-6
            if high > low
            else np.ones_like(weights)
        )
    result: NDArray[np.float64] = weights / weights.max()
    return result


def zung_logarithms(n: int) -> NDArray[np.float64]:
    """Logarithms of the zung bump along an axis of n voxels."""
    u = _unit(n)
    logarithms: NDArray[np.float64] = -((u * (1 - u)) ** -1.5)
    return logarithms


class Weights:
    """The weights of the patches that an engine returns, in the memory where they are blended.

    Those of wu and linear are the same for all patches. Those of zung span more than floats do: at
    the rim of a patch of 128 voxels, their logarithm is -1500. So each patch gets its share of the
    sum of weights. The bump is a product of one function per axis, and patches lie on a lattice, so
    a share is a product of one share per axis, which is computed from logarithms.
    """

    def __init__(self, size: Vec3, bump: Bump, arrays: Arrays):
        self._arrays, self._size = arrays, size
        self._same: Any = None
        if bump != "zung":
            self._same = arrays.put(patch_weights(size, bump).astype(np.float32))

    def on(self, lattice: Lattice) -> Callable[[Vec3], Any]:
        """A function of a patch's position that gives its weights, zyx, float32."""
        if self._same is not None:
            return lambda position: self._same
        return _Shares(lattice, self._arrays)


class _Shares:
    """The shares of the patches of a lattice. Neighbours along x often have the same ones.

    The next call for other shares overwrites the array.
    """

    def __init__(self, lattice: Lattice, arrays: Arrays):
        self._axes = [
            _distinct(shares_along(starts, zung_logarithms(n)), arrays)
            for starts, n in zip(lattice.starts, lattice.shape.output, strict=True)
        ]
        self._key: tuple[int, ...] = ()
        self._made = arrays.zeros(tuple(lattice.shape.output))

    def __call__(self, position: Vec3) -> Any:
        found = [axis[start] for axis, start in zip(self._axes, position, strict=True)]
        key = tuple(id(values) for values in found)
        if key != self._key:
            z, y, x = found
            self._key = key
            self._made[:] = (z[:, None] * y)[:, :, None]  # in place: a new array would cost more
            self._made *= x
        return self._made


def shares_along(
    starts: tuple[int, ...], logarithms: NDArray[np.float64]
) -> dict[int, NDArray[np.float64]]:
    """The shares of patches along an axis, by their starts. At each voxel they sum to one.

    logarithms: of the weights of a patch along the axis.
    """
    n, first = len(logarithms), starts[0]
    total = np.full(starts[-1] - first + n, -np.inf)
    for start in starts:
        here = total[start - first : start - first + n]
        np.logaddexp(here, logarithms, out=here)
    return {
        start: np.maximum(np.exp(logarithms - total[start - first : start - first + n]), _LEAST)
        for start in starts
    }


def _distinct(shares: dict[int, NDArray[np.float64]], arrays: Arrays) -> dict[int, Any]:
    """The shares on the device, float32; those that are equal are one array."""
    known: dict[bytes, Any] = {}
    for values in shares.values():
        if values.tobytes() not in known:
            known[values.tobytes()] = arrays.put(values.astype(np.float32))
    return {start: known[values.tobytes()] for start, values in shares.items()}


def _unit(n: int) -> NDArray[np.float64]:
    """Positions of the voxels on an axis, evenly spaced between 0 and 1, both excluded."""
    return np.arange(1, n + 1) / (n + 1)


def _outer(axes: list[NDArray[Any]], combine: Any) -> NDArray[np.float64]:
    """Combine one value per axis into an array zyx."""
    z, y, x = axes
    result: NDArray[np.float64] = combine(
        combine(z[:, None, None], y[None, :, None]), x[None, None, :]
    )
    return result


def _exp(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The exponential, scaled to a largest value of 1 so that it cannot overflow."""
    result: NDArray[np.float64] = np.exp(logits - logits.max())
    return result
